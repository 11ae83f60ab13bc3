#!/usr/bin/env bash
# pythia8mc 8.317.2 (Python 3.11).
#
# Behaviour: the weights of VariationFrag for StringZ:rFactC = 1.62, made in a run at the default 1.32, move the mean
# energy fraction of charmed hadrons of Z -> c cbar by a third of what a run at 1.62 does. Their mean is 1 and their
# effective sample is large, so nothing warns.
#
# Expected: the shift of the run, within statistical errors.
#
# Output seen (about two minutes):
#   shift of the mean energy fraction for rFactC = 1.62: by weights -0.0048 +- 0.0006, by a run -0.0142 +- 0.0011
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "pythia8mc==8.317.2" "numpy<2"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import pythia8mc

NUM, ENERGY, DEFAULT, OTHER = 30_000, 91.2, 1.32, 1.62
SETTINGS = (
    *("Print:quiet = on", "Beams:idA = 11", "Beams:idB = -11", f"Beams:eCM = {ENERGY}", "PDF:lepton = off"),
    *("WeakSingleBoson:ffbar2gmZ = on", "23:onMode = off", "23:onIfAny = 4", "HadronLevel:Decay = off"),
)


def run(value: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean energy fraction of the charmed hadrons of each event, and its weight for OTHER."""
    pythia = pythia8mc.Pythia("", False)
    own = (f"StringZ:rFactC = {value}", f"VariationFrag:List = {{other frag:rFactC={OTHER}}}")
    for line in (*SETTINGS, *own, "Random:setSeed = on", f"Random:seed = {seed}"):
        assert pythia.readString(line), line
    assert pythia.init()
    info, rows = pythia.infoPython(), []
    while len(rows) < NUM:
        if not pythia.next():
            continue
        hadrons = [p for p in pythia.event if p.isFinal() and p.isHadron() and "4" in str(abs(p.id()))[-4:-1]]
        weight = next(info.getGroupWeight(k) for k in range(info.nWeightGroups()) if info.getGroupName(k) == "other")
        if hadrons:
            rows.append((np.mean([2 * p.e() / ENERGY for p in hadrons]), weight))
    return tuple(np.array(rows).T)


(z, weight), (moved, _) = run(DEFAULT, 1), run(OTHER, 2)
by_weights = np.average(z, weights=weight) - z.mean()
of_weights = np.std(weight * (z - z.mean() - by_weights) - (z - z.mean())) / len(z) ** 0.5
by_run, of_run = moved.mean() - z.mean(), np.hypot(z.std(), moved.std()) / NUM**0.5
print(
    f"shift of the mean energy fraction for rFactC = {OTHER}: by weights {by_weights:.4f} +- {of_weights:.4f}, "
    f"by a run {by_run:.4f} +- {of_run:.4f}"
)
assert abs(weight.mean() - 1) < 0.01, weight.mean()
assert by_run < -0.01 and by_weights - by_run > 5 * np.hypot(of_weights, of_run)
PYTHON
