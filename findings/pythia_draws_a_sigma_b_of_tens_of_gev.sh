#!/usr/bin/env bash
# pythia8mc 8.317.2 (Python 3.11).
#
# Behaviour: particleData.mSel of the three Sigma_b (5112, 5212, 5222; m0 5.8 GeV, width some 5 MeV) draws masses of tens of GeV
# within 100,000 draws: the table gives them a width but no range, mMin = mMax = 0, and that is taken for a Breit-Wigner
# without upper end. They are the only baryons with a width and no range; the Delta++, twenty
# times as wide, stays below 2 GeV.
#
# Expected by a reader of the manual, which says that no upper limit is imposed "if mMax < mMin" (here they are equal) and
# that both "would typically be 0" where there is no width: a baryon 5 MeV wide stays within some widths of its mass.
#
# Output seen:
#   baryons with a width and no range: [5112, 5212, 5222]
#   5112: mMin 0.0, mMax 0.0, heaviest of 100000 above 20 GeV: True
#   2224: mMin 1.08, mMax 2.0, heaviest of 100000 above 20 GeV: False
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pythia8mc==8.317.2
cd "$work"
"$work/venv/bin/python" - <<'PYTHON' | tee seen.txt
import pythia8mc

pythia = pythia8mc.Pythia("", False)
for setting in ("Print:quiet = on", "ProcessLevel:all = off", "Random:setSeed = on", "Random:seed = 1"):
    assert pythia.readString(setting)
assert pythia.init()
table = pythia.particleData

unlimited = []
pdg = table.nextId(1)
while pdg:
    if table.isBaryon(pdg) and table.mWidth(pdg) > 0 and table.mMax(pdg) <= table.mMin(pdg):
        unlimited.append(pdg)
    pdg = table.nextId(pdg)
print("baryons with a width and no range:", unlimited)
for pdg in (5112, 2224):
    heaviest = max(table.mSel(pdg) for _ in range(100_000))
    limits = f"mMin {table.mMin(pdg)}, mMax {table.mMax(pdg)}"
    print(f"{pdg}: {limits}, heaviest of 100000 above 20 GeV: {heaviest > 20}")
PYTHON
diff seen.txt - <<'EXPECTED'
baryons with a width and no range: [5112, 5212, 5222]
5112: mMin 0.0, mMax 0.0, heaviest of 100000 above 20 GeV: True
2224: mMin 1.08, mMax 2.0, heaviest of 100000 above 20 GeV: False
EXPECTED
