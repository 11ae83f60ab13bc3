"""The page in a real browser: it renders, every picture loads, and nothing is fetched."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.metrics.report.conftest import NASTY, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

# reports into the DOM, which --dump-dom prints: broken pictures, what was fetched, and whether the page is too wide
PROBE = """<script>addEventListener("load", () => { const all = [...document.images];
  document.title = "pictures=" + all.length + " broken=" + all.filter(i => !i.naturalWidth).length
    + " fetched=" + performance.getEntriesByType("resource").filter(e => !e.name.startsWith("data:")).length
    + " wide=" + (document.documentElement.scrollWidth > innerWidth); });</script>"""


def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        reason = f"no browser on PATH, looked for {', '.join(BROWSERS)}: apt-get install chromium"
        if os.environ.get("FASTSIM_BROWSER") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def dump(page: Path, profile: Path, width: int) -> str:
    """Return the DOM after loading, in a window of a width in pixels, with every host name unknown."""
    command = [
        browser(),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={profile}",
        f"--window-size={width},900",
        "--virtual-time-budget=5000",
        "--dump-dom",
        page.as_uri(),
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.parametrize("which, width", [("jets_page", 1280), ("showers_page", 500)])
def test_the_page_opens_with_all_pictures_and_fetches_nothing(
    which: str, width: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    page: Page = request.getfixturevalue(which)
    text = page.path.read_text(encoding="utf-8")
    probed = tmp_path / "probed.html"
    probed.write_text(text.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    dom = dump(probed, tmp_path / "profile", width)
    found = re.search(r"<title>pictures=(\d+) broken=(\d+) fetched=(\d+) wide=(\w+)</title>", dom)
    assert found is not None, dom[:300]
    assert found.groups() == (str(text.count("<img ")), "0", "0", "false")
    assert "<h1>" in dom


def test_a_broken_picture_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "broken.html"
    page.write_text(f'<img src="data:image/png;base64,AAAA" alt="">{PROBE}', encoding="utf-8")
    assert "broken=1" in dump(page, tmp_path / "profile", 800)


def test_the_browser_reads_a_file_name_as_text(jets_page: Page, tmp_path: Path) -> None:
    dom = dump(jets_page.path, tmp_path / "profile", 1280)
    assert "<title>Jets &amp; &lt;models&gt;</title>" in dom
    assert NASTY.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in dom
    assert "<b>x</b>" not in dom


def test_a_missing_browser_fails_where_required_and_is_skipped_with_a_reason_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("FASTSIM_BROWSER", "required")
    with pytest.raises(pytest.fail.Exception, match="no browser on PATH"):
        browser()
    monkeypatch.delenv("FASTSIM_BROWSER")
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        browser()
