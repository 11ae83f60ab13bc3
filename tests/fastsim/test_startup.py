"""Start-up is counted apart, and a script without a main guard is told so."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from fastsim import startup
from fastsim.production.summary import Counts, ShowerSummary, Summary

SCRIPT = """
import sys
import fastsim
fastsim.reference("flavour=u pt=50:60 num=4", sys.argv[1], workers=2)
"""


def test_what_threads_spend_at_once_counts_once() -> None:
    startup.take()

    def start() -> None:
        with startup.starting():
            time.sleep(0.05)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.05 <= startup.take() < 0.19


def test_rates_leave_start_up_out() -> None:
    startup.take()
    with startup.starting():
        time.sleep(0.02)
    summary = Summary(output="a.h5", source="model")
    assert 0.02 <= summary.loading < 1
    with startup.starting():
        time.sleep(0.15)
    summary.add(Counts(events=100, partons=200, particles=1000))
    summary.seconds = summary.compiling + 2.0
    rows = dict(summary.rows())
    assert rows["time"] == "2.0 s (50 events/s, 100 partons/s)"
    assert rows["start-up"].endswith("s (loading, compiling: not in the rate)")
    showers = ShowerSummary(output="a.h5", events=10, seconds=3.0, compiling=1.0)
    assert dict(showers.rows())["time"] == "2.0 s (5.0 showers/s)"
    assert "start-up" not in dict(Summary(events=1, seconds=1.0).rows())


def test_a_script_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "a.h5")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "fastsim.errors.FastsimError: worker processes import the script that started them: put what it does below "
        "the line 'if __name__ == \"__main__\":', or use threads"
    )
