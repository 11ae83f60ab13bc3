"""The distribution: what a wheel holds, that the lock fits the ranges, that the README tells the truth."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tracked() -> list[str]:
    """Files of the source tree: what git knows, or all files where there is no git."""
    git = shutil.which("git")
    if git and (ROOT / ".git").exists():
        done = subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
        return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]
    return [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file() and ".venv" not in path.parts]


def test_wheel_holds_code_and_data(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in tracked():
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), str(source)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("fastsim_hep-*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        name
        for name in tracked()
        if name.split("/")[0] in ("fastsim", "generators", "metrics", "data") and not name.endswith(".md")
    }
    assert wanted - held == set()
    assert not [name for name in held if name.startswith(("tests", "bench", "examples", "docs"))]


def test_lock_is_pinned_and_fits_the_ranges() -> None:
    from packaging.requirements import Requirement

    lock = [Requirement(line) for line in (ROOT / "requirements.lock").read_text().splitlines() if line[0] != "#"]
    pins = {pin.name.lower(): next(iter(pin.specifier)).version for pin in lock}
    assert all(str(pin.specifier).startswith("==") for pin in lock)
    assert "pyarrow" not in pins, "the newest pyarrow needs numpy 2, energyflow needs numpy 1"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [r for group in project["optional-dependencies"].values() for r in group]
    for text in [*project["dependencies"], *extras]:
        requirement = Requirement(text)
        if requirement.name != "fastsim-hep":
            assert requirement.specifier.contains(pins[requirement.name.lower()]), f"lock does not fit {text}"


def test_changelog_opens_with_this_version() -> None:
    import fastsim

    headings = re.findall(r"^## (.+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    released = [heading for heading in headings if not heading.endswith("(unreleased)")]
    assert released[0] == fastsim.__version__
    assert headings.index(released[0]) <= 1, "one unreleased version at most"


def test_no_unfinished_words_in_the_tree() -> None:
    unfinished = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3]) + r")\b")
    for name in tracked():
        if name.endswith((".py", ".md", ".toml", "Makefile", "run")):
            assert not unfinished.search((ROOT / name).read_text()), name


def readme_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the README's input file."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "data" / "examples", folder / "data" / "examples")
    shutil.copytree(ROOT / "examples", folder / "examples")
    return folder


@pytest.mark.documentation
def test_readme_commands_run(workplace: Path) -> None:
    commands = [line for block in readme_blocks("bash") for line in block.splitlines() if line.startswith("fastsim ")]
    assert len(commands) >= 4
    # in one process: starting it once is enough
    words = [shlex.split(command, comments=True)[1:] for command in commands]
    run = "import sys; from fastsim.cli import main; sys.exit(next((f'{w}' for w in WORDS if main(w)), 0))"
    done = subprocess.run(
        [sys.executable, "-c", run.replace("WORDS", repr(words))],
        cwd=workplace, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.documentation
def test_readme_python_runs(workplace: Path) -> None:
    blocks = readme_blocks("python")
    assert blocks
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], cwd=workplace, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.documentation
def test_example_scripts_run(workplace: Path) -> None:
    run = [sys.executable, "-m", "fastsim.cli"]
    source = "data/examples/pp_dijet.lhe.gz"
    commands = [("generate", "--event", "hard", "-o", "generated.hepmc3"), ("reference", "-o", "reference.hepmc3")]
    for command in commands:
        subprocess.run([*run, *command, source, "--num-events", "20"], cwd=workplace, check=True)
    script = [sys.executable, "examples/compare_with_pythia.py", "generated.hepmc3", "reference.hepmc3"]
    done = subprocess.run([*script, "-o", "plot.png"], cwd=workplace, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "multiplicity" in done.stdout
    assert (workplace / "plot.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
