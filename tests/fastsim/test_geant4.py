"""The face of models inside Geant4: light to import, and errors of the arguments come before Geant4 is asked for.

What it does in Geant4: tests/generators/reference/test_geant4_region.py.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

import fastsim.geant4
from fastsim.errors import FastsimError, InvalidValue, MissingLibrary


def test_import_loads_neither_torch_nor_geant4() -> None:
    code = "import sys, fastsim.geant4; print(*sorted({'torch', 'geant4_pybind', 'pythia8mc'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_arguments_are_checked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "geant4_pybind", None)  # as if it were not installed
    with pytest.raises(FastsimError, match="no-such-model"):
        fastsim.geant4.attach(object(), "no-such-model", max_theta=0.1)
    with pytest.raises(InvalidValue, match=r"max_theta is -0.1 rad, must be at least 0 and less than pi / 2"):
        fastsim.geant4.attach(object(), "pb-si-cascade", max_theta=-0.1)
    with pytest.raises(MissingLibrary, match="the extra geant4 has it"):
        fastsim.geant4.attach(object(), "pb-si-cascade", max_theta=0.1)
    with pytest.raises(FastsimError, match="no detector 'no-such'"):
        fastsim.geant4.place("no-such", object())
    with pytest.raises(MissingLibrary, match="geant4_pybind is not installed"):
        fastsim.geant4.place("pb-si-ecal", object())
