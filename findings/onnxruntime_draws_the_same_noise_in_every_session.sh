#!/usr/bin/env bash
# onnxruntime 1.32.0 (processor; Python 3.11).
#
# Behaviour: nodes that draw random numbers and have no seed, which is how torch.randn is exported, take one seed for the
# whole process. Two sessions of one model therefore draw the same numbers, also in two threads; only a second run of one
# session goes on to other ones, and only another process has another seed.
#
# Expected: independent noise. ONNX says of the seed "if not specified we will auto generate one". Whoever draws showers
# with a session in each thread of a pool gets every shower once a thread: means are right, and errors too small. Whoever
# makes a session for each batch gets one batch over and over. Not documented; asked in issue 27771 of onnxruntime.
#
# Output seen:
#   two runs of one session: other numbers
#   two sessions: the same numbers
#   two threads, a session each: the same numbers
#   two processes: other numbers
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==1.26.4
cd "$work"
cat > draw.py <<'PYTHON'
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import onnx
import onnxruntime
from onnx import helper

noise = helper.make_node("RandomNormal", [], ["noise"], shape=[6])
output = helper.make_tensor_value_info("noise", onnx.TensorProto.FLOAT, [6])
graph = helper.make_graph([noise], "shower", [], [output])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def session():
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def draw(of):
    return str(of.run(None, {})[0].tolist())


def compare(name, first, second):
    print(f"{name}: {'the same' if first == second else 'other'} numbers")


one = session()
if sys.argv[1:]:
    print(draw(one), end="")
    sys.exit()
mine = draw(one)
compare("two runs of one session", mine, draw(one))
compare("two sessions", mine, draw(session()))
with ThreadPoolExecutor(2) as pool:
    compare("two threads, a session each", *pool.map(lambda _: draw(session()), range(2)))
compare("two processes", mine, subprocess.check_output([sys.executable, __file__, "other"], text=True))
PYTHON
"$work/venv/bin/python" draw.py | tee seen.txt
diff seen.txt - <<'EXPECTED'
two runs of one session: other numbers
two sessions: the same numbers
two threads, a session each: the same numbers
two processes: other numbers
EXPECTED
