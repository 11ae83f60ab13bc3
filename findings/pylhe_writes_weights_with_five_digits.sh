#!/usr/bin/env bash
# pylhe 2.1.0 (as 2.0.0; Python 3.11).
#
# Behaviour: tofile() writes the weights of an event's <rwgt> or <weights> with five digits, though its own weight gets
# eleven, and its blocks <mgrwt> and <clustering> not at all, without a word. LHEXMLFormat has formats of the event, its
# particles and the run, but none of the weights.
#
# Expected: a copy that says the same; MadGraph writes eight digits. Variations that differ by less than 5e-5, as those of
# many eigenvectors of a PDF do, come back equal, and their squared sum, which is the uncertainty, is too small or too
# large; MadGraph's systematics cannot be run on the copy, for they read <mgrwt>. Not documented; the digits are in the
# code, LHEEvent.tolhe.
#
# Output seen:
#   weight of the event: 699670670.5, copied 699670670.5
#   weight 1 (central): 699670670.0, copied 699670000.0
#   weight 2 (1 + 2e-5): 699684660.0, copied 699680000.0
#   weight 3 (1 - 2e-5): 699656680.0, copied 699660000.0
#   weight 4 (1 + 5e-6): 699674170.0, copied 699670000.0
#   blocks of an event: ['clustering', 'mgrwt', 'rwgt', 'scales'], copied ['rwgt', 'scales']
#   formats that can be set: ['eventinfo', 'initinfo', 'particle', 'procinfo']
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pylhe==2.1.0
cd "$work"
cat > events.lhe <<'LHE'
<LesHouchesEvents version="3.0">
<header>
<initrwgt>
<weightgroup name="Hessian" combine="hessian">
<weight id="1"> central </weight>
<weight id="2"> 1 + 2e-5 </weight>
<weight id="3"> 1 - 2e-5 </weight>
<weight id="4"> 1 + 5e-6 </weight>
</weightgroup>
</initrwgt>
</header>
<init>
2212 2212 6.5e+03 6.5e+03 0 0 247000 247000 -4 1
6.9967067e+08 1.0e+06 6.9967067e+08 1
</init>
<event>
 4 1 +6.996706705e+08 9.1188e+01 7.8163970e-03 1.18e-01
 21 -1 0 0 501 502 +0.0000000000e+00 +0.0000000000e+00 +1.0000000000e+02 1.0000000000e+02 0.0 0.0 1.0
 21 -1 0 0 502 501 +0.0000000000e+00 +0.0000000000e+00 -1.0000000000e+02 1.0000000000e+02 0.0 0.0 1.0
 21 1 1 2 501 503 +6.0000000000e+01 +0.0000000000e+00 +8.0000000000e+01 1.0000000000e+02 0.0 0.0 1.0
 21 1 1 2 503 501 -6.0000000000e+01 +0.0000000000e+00 -8.0000000000e+01 1.0000000000e+02 0.0 0.0 1.0
<mgrwt>
<rscale> 2 0.91188000E+02</rscale>
<pdfrwt beam="1"> 1 21 0.15384615E-01 0.91188000E+02</pdfrwt>
</mgrwt>
<clustering>
<clus scale="91.188"> 1 2 3</clus>
</clustering>
<rwgt>
<wgt id="1"> +6.9967067e+08 </wgt>
<wgt id="2"> +6.9968466e+08 </wgt>
<wgt id="3"> +6.9965668e+08 </wgt>
<wgt id="4"> +6.9967417e+08 </wgt>
</rwgt>
<scales muf="91.188" mur="91.188"></scales>
</event>
</LesHouchesEvents>
LHE
"$work/venv/bin/python" - <<'PYTHON' | tee seen.txt
import dataclasses
import re
from pathlib import Path

import pylhe

pylhe.LHEFile.fromfile("events.lhe").tofile("copy.lhe")
names = ("events.lhe", "copy.lhe")
files = [pylhe.LHEFile.fromfile(name) for name in names]
labels = {weight.id: weight.name for group in files[0].header.initrwgt.entries for weight in group.weights}
first, copy = (list(file.events)[0] for file in files)
print(f"weight of the event: {first.eventinfo.weight}, copied {copy.eventinfo.weight}")
for name, weight in first.weights.items():
    print(f"weight {name} ({labels[name].strip()}): {weight}, copied {copy.weights[name]}")
texts = [Path(name).read_text() for name in names]
blocks = [[block for block in ("clustering", "mgrwt", "rwgt", "scales") if f"<{block}" in text] for text in texts]
print(f"blocks of an event: {blocks[0]}, copied {blocks[1]}")
fields = dataclasses.fields(pylhe.LHEXMLFormat)
formats = [field.name for field in fields if isinstance(field.default, str) and re.search(r"\{\w+:", field.default)]
print(f"formats that can be set: {sorted(formats)}")
PYTHON
diff seen.txt - <<'EXPECTED'
weight of the event: 699670670.5, copied 699670670.5
weight 1 (central): 699670670.0, copied 699670000.0
weight 2 (1 + 2e-5): 699684660.0, copied 699680000.0
weight 3 (1 - 2e-5): 699656680.0, copied 699660000.0
weight 4 (1 + 5e-6): 699674170.0, copied 699670000.0
blocks of an event: ['clustering', 'mgrwt', 'rwgt', 'scales'], copied ['rwgt', 'scales']
formats that can be set: ['eventinfo', 'initinfo', 'particle', 'procinfo']
EXPECTED
