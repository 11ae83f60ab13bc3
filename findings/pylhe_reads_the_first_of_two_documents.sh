#!/usr/bin/env bash
# pylhe 2.0.0 (Python 3.11).
#
# Behaviour: of a file that holds two complete Les Houches documents one after the other (as cat makes of two files), the events
# of the second are lost without an error or a warning. Counting and reading agree on the smaller number, so that a check of
# one against the other passes.
#
# Expected: all events, as a reader that goes by the event tags gives, or an error: two documents in one file are no
# well-formed XML, and Python's own parser, shown last, refuses them. Each document by itself is valid.
#
# Output seen:
#   one document: read 2, counted 2
#   two documents: read 2, counted 2, event tags 4
#   warnings: 0
#   xml.etree: ParseError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pylhe==2.0.0 numpy==1.26.4
cd "$work"
"$work/venv/bin/python" - <<'PYTHON' | tee seen.txt
import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pylhe

event = """<event>
3 1 1.0 91.0 0.0078 0.118
11 -1 0 0 0 0 0.0 0.0 45.5 45.5 0.0 0.0 9.0
-11 -1 0 0 0 0 0.0 0.0 -45.5 45.5 0.0 0.0 9.0
23 1 1 2 0 0 0.0 0.0 0.0 91.0 91.0 0.0 9.0
</event>
"""
head = """<LesHouchesEvents version="3.0">
<init>
11 -11 45.5 45.5 0 0 0 0 3 1
1.0 0.1 1.0 1
</init>
"""
document = head + 2 * event + "</LesHouchesEvents>\n"
Path("one.lhe").write_text(document)
Path("two.lhe").write_text(2 * document)


def read(path):
    return sum(1 for _ in pylhe.LHEFile.fromfile(path).events)


with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    print(f"one document: read {read('one.lhe')}, counted {pylhe.LHEFile.count_events('one.lhe')}")
    tags = Path("two.lhe").read_text().count("<event>")
    print(f"two documents: read {read('two.lhe')}, counted {pylhe.LHEFile.count_events('two.lhe')}, event tags {tags}")
print("warnings:", sum(not issubclass(warning.category, ResourceWarning) for warning in seen))
try:
    ElementTree.parse("two.lhe")
except ElementTree.ParseError:
    print("xml.etree: ParseError")
PYTHON
diff seen.txt - <<'EXPECTED'
one document: read 2, counted 2
two documents: read 2, counted 2, event tags 4
warnings: 0
xml.etree: ParseError
EXPECTED
