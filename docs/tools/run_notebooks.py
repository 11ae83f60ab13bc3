"""Runs the notebooks of the documentation and saves their outputs: ``make notebooks``.

    python docs/tools/run_notebooks.py                                   # all of docs/notebooks
    python docs/tools/run_notebooks.py docs/notebooks/production.ipynb   # one

Needs the extra ``dev``. The tests run the notebooks by the same function, and save nothing.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
TIMEOUT = 120
"""Seconds that a cell may take."""
TEMPORARY = re.compile(r"/\S*?/tmp\w+(?=/)")


def run(path: Path) -> nbformat.NotebookNode:
    """Run a notebook in its folder, and return it with its outputs.

    Warnings and names of temporary folders are left out of the outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails; the message has its traceback.
    """
    notebook = nbformat.read(path, as_version=4)
    # the packages of this tree, installed or not
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    with TemporaryDirectory() as folder:
        # sockets in a folder of our own: those of the network are open to other users of the machine
        manager = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{folder}/kernel")
        resources = {"metadata": {"path": str(path.parent)}}
        client = NotebookClient(notebook, km=manager, timeout=TIMEOUT, record_timing=False, resources=resources)
        # end the kernel too: by default one that was given lives on
        client.execute(env=environment, cleanup_kc=True)
    # without the version of Python that it ran with
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = _shown(cell.outputs)
    return notebook


def _shown(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Return the outputs of a cell without those of stderr, lines that were printed one by one as one text."""
    shown: list[nbformat.NotebookNode] = []
    for output in outputs:
        if output.output_type != "stream":
            shown.append(output)
        elif output.name == "stdout":
            output.text = TEMPORARY.sub("...", output.text)
            if shown and shown[-1].output_type == "stream":
                shown[-1].text += output.text
            else:
                shown.append(output)
    return shown


def main() -> None:
    """Run the notebooks named on the command line, or all."""
    for path in [Path(name) for name in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb")):
        nbformat.write(run(path), path)
        print(path)


if __name__ == "__main__":
    main()
