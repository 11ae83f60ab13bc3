"""A hook of MkDocs: notebooks become pages, with the outputs that they were saved with; so do files of the root.

The site needs neither Jupyter nor fastsim for it; ``make notebooks`` runs the notebooks and saves their outputs.
"""

from __future__ import annotations

import base64
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

FROM_ROOT = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changes.md"}
"""Files of the root and their pages."""
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a Markdown page for each notebook, files for its pictures, and the pages of :data:`FROM_ROOT`."""
    root = Path(config.docs_dir).parent
    for name, page in FROM_ROOT.items():
        # links from the root into docs/ become links within it
        text = (root / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        name = notebook.src_uri.removesuffix(".ipynb")
        content = json.loads(Path(str(notebook.abs_src_path)).read_text(encoding="utf-8"))
        page, pictures = page_of(content, posixpath.basename(name))
        for picture, data in pictures.items():
            files.append(File.generated(config, posixpath.join(posixpath.dirname(name), picture), content=data))
        files.append(File.generated(config, f"{name}.md", content=page))
    return files


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Let links to files of the root, which lead there where the repository is read, lead to their pages."""
    for name, page in FROM_ROOT.items():
        markdown = markdown.replace(f"../{name})", f"{page})")
    return markdown


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let the navigation name notebooks by their files."""
    config.nav = _renamed(config.nav)
    return config


def _renamed(entry: Any) -> Any:
    if isinstance(entry, list):
        return [_renamed(one) for one in entry]
    if isinstance(entry, dict):
        return {title: _renamed(value) for title, value in entry.items()}
    return re.sub(r"\.ipynb$", ".md", entry) if isinstance(entry, str) else entry


def page_of(notebook: dict[str, Any], name: str) -> tuple[str, dict[str, bytes]]:
    """Return the Markdown of a notebook, and its pictures by file name.

    Args:
        notebook: the JSON of the file.
        name: of the page, without folder and ending.
    """
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                picture = f"{name}-{len(pictures) + 1}.png"
                pictures[picture] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![output of the cell above]({picture})")
                continue
            text = ANSI.sub("", "".join(output.get("text", data.get("text/plain", []))))
            if text.strip():
                parts.append(f"```{{.text .output}}\n{text.rstrip()}\n```")
    first = f"*This page is the notebook [{name}.ipynb]({name}.ipynb), as it ran.*"
    return "\n\n".join([parts[0], first, *parts[1:]]) + "\n", pictures
