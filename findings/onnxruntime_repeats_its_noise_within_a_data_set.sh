#!/usr/bin/env bash
# onnxruntime 1.32.0 (processor, x86-64 Linux; Python 3.11).
#
# Behaviour: the normal numbers of one RandomNormal node repeat, from the first to the last bit, after 1.6866e9 of
# them, and uniform ones after 2**31 - 2. It is the period of the linear congruential generator that C++ calls the
# default one: each node has only one such sequence, and every seed is a place on it.
#
# Expected: a generator that a large sample does not exhaust, as NumPy's and PyTorch's are. A shower of 40,500 voxels (the
# third data set of the CaloChallenge) takes as many numbers: they have come round after 41,645 showers that draw noise
# once, and after 417 that draw it in each of a hundred steps of diffusion. The documentation does not name the generator.
#
# Output seen (a minute; the seed is the time):
#   normal numbers before the first 1000 come again: 1.6866e9, that is 41,645 showers of 40,500 voxels
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==1.26.4
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
from onnx import helper

VOXELS, LENGTH, MOST = 40_500, 4_050_000, 1_800_000_000
noise = helper.make_node("RandomNormal", [], ["noise"], shape=[LENGTH])
output = helper.make_tensor_value_info("noise", onnx.TensorProto.FLOAT, [LENGTH])
model = helper.make_model(
    helper.make_graph([noise], "shower", [], [output]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

first, period, last = session.run(None, {})[0], None, np.empty(0, np.float32)
key, drawn = first[:1000].copy(), LENGTH
while period is None and drawn < MOST:
    numbers = np.concatenate([last, session.run(None, {})[0]])  # the repetition may begin at the end of a run
    for place in np.flatnonzero(numbers == key[0]):
        if np.array_equal(numbers[place : place + len(key)], key):
            period = drawn - len(last) + int(place)
            break
    drawn, last = drawn + LENGTH, numbers[-len(key) :]
assert period is not None, f"no repetition within {MOST} numbers"
print(
    f"normal numbers before the first {len(key)} come again: {period / 1e9:.4f}e9, "
    f"that is {period / VOXELS:,.0f} showers of {VOXELS:,} voxels"
)
assert abs(period / 1.68663e9 - 1) < 1e-3, period
PYTHON
