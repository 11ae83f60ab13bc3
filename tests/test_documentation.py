"""The documents: links lead somewhere, names exist, commands and their options exist, the citation is whole."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted(path for path in (ROOT / "docs").rglob("*.md"))
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
ENTRY_POINTS = ("fastsim.models", "fastsim.steps")
"""Look like modules, but are groups of entry points."""
NAME = re.compile(r"`((?:fastsim|generators|metrics|bench)(?:\.\w+)+)`")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    # a page that includes another one shows it in its own folder: CONTRIBUTING.md links from the root
    for link in LINK.findall(page.read_text()):
        assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    parts = name.split(".")
    for size in range(len(parts), 0, -1):
        try:
            if importlib.util.find_spec(".".join(parts[:size])) is None:
                continue
        except ModuleNotFoundError:
            continue
        found = importlib.import_module(".".join(parts[:size])) if size < len(parts) else None
        for part in parts[size:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_names_exist(page: Path) -> None:
    text = page.read_text()
    if page.name == "move-from-0.1.md":  # the first column has the old names
        text = "\n".join(row.split("|")[2] for row in text.splitlines() if row.startswith("|"))
    if page.name == "CHANGELOG.md":  # older entries keep the names of their time
        text = text.split("\n## ")[1]
    assert not [name for name in NAME.findall(text) if name not in ENTRY_POINTS and not exists(name)]


def commands(page: Path) -> list[list[str]]:
    """Return the lines of a page's shell blocks that call fastsim, as words."""
    blocks = [text for language, text in BLOCK.findall(page.read_text()) if language in ("sh", "bash")]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("fastsim ")]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=page_id)
def test_commands_have_these_options(page: Path) -> None:
    from fastsim.cli import group

    context = click.Context(group)
    for words in commands(page):
        command = group.get_command(context, words[0])
        assert command is not None, words
        if isinstance(command, click.Group):
            words = words[1:]
            command = command.commands[words[0]]
        known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
        used = {word.split("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)}
        assert used <= known | {"--help", "-h"}, f"{page.name}: {' '.join(words)}"


def test_pages_stand_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    missing = [page_id(p) for p in PAGES if "docs" in p.parts and str(p.relative_to(ROOT / "docs")) not in text]
    assert not missing


def test_citation_is_of_this_version() -> None:
    import fastsim

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert citation["version"] == fastsim.__version__
    assert citation["license"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"]


def test_hosted_workflow_names_what_there_is() -> None:
    """Every make target, script and extra that the workflow uses exists; versions are those of pyproject.toml."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    makefile = (ROOT / "Makefile").read_text()
    runs = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    for run in runs:
        for target in re.findall(r"^make (\w+)", run):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), run
        for script in re.findall(r"\.github/[\w.]+", run):
            assert (ROOT / script).is_file(), run
        for extra in re.findall(r"\"\.\[(\w+)\]\"", run):
            assert extra in project["optional-dependencies"], run
    versions = workflow["jobs"]["newest"]["strategy"]["matrix"]["python"]
    classified = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert versions == classified
