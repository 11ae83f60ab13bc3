"""Prints pip constraints that pin every dependency to the lowest version that pyproject.toml allows.

python .github/lowest_versions.py > lowest.txt
pip install . -c lowest.txt
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]

for requirement in PROJECT["dependencies"]:
    found = re.match(r"(?P<name>[\w.-]+)\s*>=\s*(?P<lowest>[\w.]+)", requirement)
    if found is None:
        raise SystemExit(f"{requirement}: has no lowest version, give it one in pyproject.toml")
    print(f"{found['name']}=={found['lowest']}")
