#!/usr/bin/env bash
# diffusers 0.42.1 (Python 3.11).
#
# Behaviour: the package puts another module into its own place in sys.modules at the end of its import. A thread that
# says "import diffusers" while another thread is importing it waits, and then gets the first module, which has none of
# the classes: AttributeError for every one of them, in this thread, although the import went well.
#
# Expected: both threads get the same module. Samplers that import diffusers when they are first used, in a pool of
# threads, fail at their first batch, and never again.
#
# Output seen:
#   first thread: DPMSolverMultistepScheduler
#   second thread: module 'diffusers' has no attribute 'DPMSolverMultistepScheduler'
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "diffusers==0.42.1"
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import threading

found = []


def use():
    import diffusers

    try:
        found.append(diffusers.DPMSolverMultistepScheduler.__name__)
    except AttributeError as error:
        found.append(str(error))


threads = [threading.Thread(target=use) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
found.sort()
print("first thread:", found[0])
print("second thread:", found[1])
sys.exit(found[0] != "DPMSolverMultistepScheduler" or "no attribute" not in found[1])
PYTHON
