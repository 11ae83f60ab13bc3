#!/usr/bin/env bash
# geant4-pybind 0.1.3 (Geant4 11.4.1, Python 3.11).
#
# Behaviour: some methods are bound, but not the types that they return: G4Region.GetProductionCuts() and
# G4VSolid.GetExtent() raise "TypeError: Unregistered type" whatever one does. G4RegionStore, a vector in C++, cannot be
# looped over. G4Region.SetFastSimulationManager() and
# G4FastSimulationPhysics are there, but neither G4FastSimulationManager nor G4VFastSimulationModel that they are for.
#
# Expected: that a method which is there returns, and a container can be read. A region made from Python cannot be given
# the cuts of another one; it has the default ones of the run.
#
# Output seen:
#   GetProductionCuts: Unregistered type : G4ProductionCuts
#   GetExtent: Unregistered type : G4VisExtent
#   G4RegionStore: 'geant4_pybind.G4RegionStore' object is not iterable
#   G4FastSimulationPhysics True G4FastSimulationManager False G4VFastSimulationModel False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "geant4-pybind==0.1.3"
# no data set is read here, but the import asks for downloads where the variables are not set
export GEANT4_DATA_DIR="$folder"
for name in G4LEDATA G4ENSDFSTATEDATA G4PARTICLEXSDATA G4LEVELGAMMADATA G4SAIDXSDATA G4NEUTRONHPDATA G4PARTICLEHPDATA \
    G4RADIOACTIVEDATA G4PIIDATA G4REALSURFACEDATA G4ABLADATA G4INCLDATA G4CHANNELINGDATA G4NUDEXLIBDATA G4URRPTDATA; do
    export "$name=$folder/$name"
done
"$folder/venv/bin/python" - <<'PYTHON'
import os
import sys

import geant4_pybind as g4

region, box = g4.G4Region("mine"), g4.G4Box("box", 1.0, 1.0, 1.0)
calls = {
    "GetProductionCuts": region.GetProductionCuts,
    "GetExtent": box.GetExtent,
    "G4RegionStore": lambda: list(g4.G4RegionStore.GetInstance()),
}
said = {}
for name, call in calls.items():
    try:
        call()
    except TypeError as error:
        said[name] = str(error.__cause__ or error).splitlines()[0]
        print(f"{name}: {said[name]}")
names = ("G4FastSimulationPhysics", "G4FastSimulationManager", "G4VFastSimulationModel")
there = {name: hasattr(g4, name) for name in names}
print(*(word for pair in there.items() for word in pair))
good = set(said) == set(calls) and list(there.values()) == [True, False, False]
sys.stdout.flush()
os._exit(0 if good else 1)
PYTHON
