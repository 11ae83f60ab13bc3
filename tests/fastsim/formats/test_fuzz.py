"""Readers of foreign files: whatever the bytes, only errors of this package come out, and memory stays bounded.

``make fuzz`` runs these for ten minutes with random seeds; the ordinary run has a few hundred fixed examples.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastsim.detector.binning import read_binning
from fastsim.errors import FastsimError
from fastsim.event import HardEvents
from fastsim.formats import calochallenge, hdf5, hepmc, lhe
from fastsim.formats.watched import WatchedFile
from fastsim.production.manifest import Manifest
from fastsim.production.store import load_chunk
from fastsim.sources import cards
from fastsim.sources.cards import ModelCard
from tests.helpers.events import event, file, with_decays

EXAMPLES = int(os.environ.get("FASTSIM_FUZZ_EXAMPLES", "40"))
"""Examples of each test."""
fuzz = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES == 40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NASTY = [
    "nan",
    "-inf",
    "1e400",
    "1e300",
    "-1",
    "0",
    "1.5",
    "9" * 40,
    "99999999999",
    "1_0",
    "0x10",
    "",
    " ",
    "\x00",
    "é",
    "\ud800",
    "<",
    ">",
    "&",
    '"',
    "<event>",
    "</event>",
    "</init>",
    "</LesHouchesEvents>",
    "<wgt id='1'>x</wgt>",
    "<weights>1 nan</weights>",
    "<!--",
    "null",
    "[]",
    "{}",
    "true",
    "../",
    "[" * 2000,
]
WORD = re.compile(r"[^\s,:=\"'<>]+")


@st.composite
def damaged(draw: st.DrawFn, text: str) -> bytes:
    """A text with words exchanged, lines lost, repeated or moved, and perhaps its end cut off."""
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["word", "word", "word", "line", "bytes", "cut"]))
        if kind == "word" and (words := list(WORD.finditer(text))):
            found = draw(st.sampled_from(words))
            text = text[: found.start()] + draw(st.sampled_from(NASTY) | st.text(max_size=5)) + text[found.end() :]
        elif kind == "line" and (lines := text.splitlines(keepends=True)):
            k, to = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines)))
            line = lines[k] if draw(st.booleans()) else lines.pop(k)
            lines.insert(to, line * draw(st.integers(0, 3)))
            text = "".join(lines)
        elif kind == "cut":
            text = text[: draw(st.integers(0, len(text)))]
        elif kind == "bytes":
            at = draw(st.integers(0, len(text)))
            text = text[:at] + draw(st.text(max_size=8)) + text[at:]
    return text.encode("utf-8", errors="surrogatepass")


@st.composite
def flipped(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes with some exchanged, and perhaps the end cut off."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(0, 6))):
        changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    whole = draw(st.integers(0, 3)) > 0
    return bytes(changed if whole else changed[: draw(st.integers(0, len(changed)))])


def only_ours(read: Callable[[], object]) -> None:
    """Reading succeeds or is refused with one line; anything else fails the test."""
    try:
        read()
    except FastsimError as error:
        assert str(error)


LHE = file(
    event(tail="<rwgt>\n<wgt id='a'> 1.0 </wgt>\n</rwgt>"), event(tail="<rwgt>\n<wgt id='a'> 2.0 </wgt>\n</rwgt>")
)


@fuzz
@given(content=damaged(LHE), packed=st.booleans())
def test_lhe(content: bytes, packed: bool) -> None:
    stream = io.BytesIO(gzip.compress(content, 1) if packed else content)
    only_ours(lambda: [len(batch) for batch in lhe.read(stream)[1]])


@fuzz
@given(content=flipped(gzip.compress(LHE.encode(), mtime=0)))
def test_lhe_gz(content: bytes) -> None:
    only_ours(lambda: [len(batch) for batch in lhe.read(io.BytesIO(content))[1]])


class Endless(io.RawIOBase):
    """A head, and then one line again and again, as a compressed bomb would give it."""

    def __init__(self, head: bytes, line: bytes) -> None:
        self.left, self.line, self.given = head, line, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self.left:
            self.left = self.line * (1 + 65536 // len(self.line))
        size = min(len(buffer), len(self.left))
        buffer[:size], self.left = self.left[:size], self.left[size:]
        self.given += size
        assert self.given < 200 << 20, "read without end"
        return size


@pytest.mark.parametrize(
    ("head", "line"),
    [
        ("<LesHouchesEvents>\n<header>\n<initrwgt>\n", "<weight id='{}'> x </weight>\n"),
        ("<LesHouchesEvents>\n<header>\n", "x"),
        ("<LesHouchesEvents>\n<init>\n2212 2212 6500. 6500. 0 0 0 0 -4 99999999\n", "1. 1. 1. 1\n"),
        (LHE[: LHE.index("</event>")], f"<wgt id='b'> {'1' * 10_000} </wgt>\n"),
    ],
)
def test_endless_lhe(head: str, line: str) -> None:
    with pytest.raises(FastsimError):
        list(lhe.read(io.BufferedReader(Endless(head.encode(), line.encode())))[1])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One good file of each binary format."""
    folder = tmp_path_factory.mktemp("fuzz")
    run, batches = lhe.read(io.BytesIO(LHE.encode()))
    events = with_decays(HardEvents.concatenate(list(batches)))
    with hdf5.EventWriter(folder / "events.h5", run) as writer:
        writer.write(events)
    with hepmc.Writer(folder / "events.hepmc3", run) as text:
        text.write(events)
    from fastsim.event.gun import Gun

    partons = Gun(num=4).partons(np.random.default_rng(1))
    assert events.particles is not None
    hdf5.write(folder / "gun.h5", partons, events.particles[np.array([0, 1, 0, 1])])
    calochallenge.write_showers(
        folder / "showers.h5", calochallenge.Showers(np.ones(3), np.ones((3, 4), dtype=np.float32))
    )
    return {path.name: path for path in folder.iterdir()}


READERS: dict[str, Callable[[Path], object]] = {
    "gun.h5": lambda path: (hdf5.read(path), hdf5.read_weights(path)),
    "events.h5": lambda path: list(hdf5.read_events(path)[1]),
    "showers.h5": calochallenge.read_showers,
}


@pytest.mark.parametrize("name", READERS)
@fuzz
@given(data=st.data())
def test_hdf5_bytes(name: str, data: st.DataObject, files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(data.draw(flipped(files[name].read_bytes())))
    only_ours(lambda: READERS[name](path))


def test_hdf5_one_byte(files: dict[str, Path], tmp_path: Path) -> None:
    """Every eleventh byte in turn, in a file whose metadata has no checksums: h5py has many words for damage."""
    good, path = files["showers.h5"].read_bytes(), tmp_path / "a.h5"
    for at in range(0, len(good), 11):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
        only_ours(lambda: calochallenge.read_showers(path))


def test_damaged_text_is_found(files: dict[str, Path], tmp_path: Path) -> None:
    """The checksums of the format find it before its content is used."""
    path = tmp_path / "a.h5"
    good = files["events.h5"].read_bytes()
    at = good.index(b"layout_version") - 40
    for place in range(at, at + 40):
        path.write_bytes(good[:place] + b"\xff" + good[place + 1 :])
        if good[place] != 0xFF:
            with pytest.raises(FastsimError, match=r"damaged|not a readable"):
                list(hdf5.read_events(path)[1])


ODD: list[Any] = [
    np.zeros(0),
    np.zeros(3),
    np.full(3, np.nan),
    np.zeros((2, 3, 4)),
    np.array(1.0),
    np.array([2**62, -1]),
    np.array([-1, -2, -3]),
    np.array([b"text"] * 3),
    np.array([[1 + 2j]] * 3),
    np.arange(5.0)[:, None],
    np.zeros((3, 4)),
    "text",
    np.arange(3),
    np.array([0, 2**40, 2**41]),
]


@pytest.mark.parametrize("name", READERS)
@fuzz
@given(data=st.data())
def test_hdf5_content(name: str, data: st.DataObject, files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.h5"  # HDF5 remembers files by name
    path.write_bytes(files[name].read_bytes())
    names: list[str] = []
    with h5py.File(files[name]) as good:
        good.visit(names.append)
        attributes = sorted(good.attrs) or ["layout"]
    kinds = st.sampled_from(["odd", "odd", "group", "gone", "attribute"])
    values = st.sampled_from([1, "text", np.zeros(2), "{}", "[]", "null", -1.5])
    change = st.tuples(kinds, st.sampled_from(names), st.sampled_from(ODD), st.sampled_from(attributes), values)
    with h5py.File(path, "a") as content:
        for kind, table, odd, key, value in data.draw(st.lists(change, min_size=1, max_size=3)):
            if kind == "attribute":
                content.attrs[key] = value
                continue
            if not isinstance(content.get(table.rpartition("/")[0] or "/"), h5py.Group):
                continue  # a change before this one put something else there
            if table in content:
                del content[table]
            if kind == "odd":
                content[table] = odd
            elif kind == "group":
                content.create_group(table)
    only_ours(lambda: READERS[name](path))


@pytest.mark.parametrize("name", READERS)
def test_hdf5_bombs(name: str, files: dict[str, Path], tmp_path: Path) -> None:
    """A small file that claims a terabyte of zeros is refused before any memory is taken."""
    path = tmp_path / "a.h5"
    path.write_bytes(files[name].read_bytes())
    with h5py.File(path, "a") as content:
        tables: list[str] = []
        content.visititems(lambda key, item: tables.append(key) if isinstance(item, h5py.Dataset) else None)
        for table in tables:
            old = content[table]
            shape, kind = (10**11, *old.shape[1:]), old.dtype
            del content[table]
            content.create_dataset(table, shape, kind, chunks=(1000, *shape[1:]), compression="gzip")
    with pytest.raises(FastsimError, match="claims"):
        READERS[name](path)


CARD = {
    "name": "tiny",
    "kind": "tree",
    "version": "1",
    "config": {"a": 1},
    "domain": {"flavours": [21], "pt_min": 20.0, "pt_max": 200.0},
    "training": {},
    "metrics": {"auc": {"value": 0.5, "error": 0.1, "null": 0.5, "null_error": 0.1}},
    "sha256": "0" * 64,
    "licence": "BSD-3-Clause",
    "weights": "tiny.safetensors",
}


@fuzz
@given(content=damaged(json.dumps(CARD, indent=1)))
def test_cards(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tiny.json"
    path.write_bytes(content)
    (tmp_path / "tiny.safetensors").write_bytes(b"not what the card says")
    with pytest.raises(FastsimError):  # at the latest the digest is wrong
        cards.load(path)


@pytest.mark.parametrize("weights", ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "passwd"])
def test_weights_lie_beside_their_card(weights: str, tmp_path: Path) -> None:
    (tmp_path / "secret.safetensors").write_bytes(b"")
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "tiny.json").write_text(json.dumps({**CARD, "weights": weights}))
    with pytest.raises(FastsimError, match="beside the card"):
        cards.load(folder / "tiny.json")


def test_the_digest_is_checked_before_the_weights_are_used(tmp_path: Path) -> None:
    assert ModelCard.from_json(json.dumps(CARD)).name == "tiny"
    (tmp_path / "tiny.json").write_text(json.dumps(CARD))
    (tmp_path / "tiny.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(FastsimError, match="weights were altered"):
        cards.load(tmp_path / "tiny.json")


BINNING = """<Bins><Bin pid="11" name="e"><Layer id="0" r_edges="0,4.65,9.3" n_bin_alpha="4" />
<Layer id="1" r_edges="0,8" n_bin_alpha="1" /></Bin></Bins>
"""


@fuzz
@given(content=damaged(BINNING))
def test_binnings(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "binning.xml"
    path.write_bytes(content)
    only_ours(lambda: read_binning(path))


@fuzz
@given(data=st.data())
def test_hepmc(data: st.DataObject, files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "a.hepmc3"
    text = files["events.hepmc3"].read_text()
    path.write_bytes(data.draw(damaged(text if data.draw(st.booleans()) else text[:3000])))
    only_ours(lambda: list(hepmc.read(path, history=True)))
    only_ours(lambda: hepmc.read_events(path))


@pytest.mark.parametrize("more", ["", "more"])
def test_escapes_of_hepmc_lines_are_looked_at_on_their_way(more: str, files: dict[str, Path], tmp_path: Path) -> None:
    """Escapes that a line closes are as good as any; one that it leaves open ends the file before a library sees it."""
    path = tmp_path / "a.hepmc3"
    head, _, rest = files["events.hepmc3"].read_text().partition("\nW ")
    path.write_text(head + "\nA note " + "\\" * 2 + "\nW " + rest)
    assert list(hepmc.read(path))
    assert hepmc.read_events(path)
    for backslashes in range(4):  # of no format, and read by nothing but the guard
        line = b"note " + b"\\" * backslashes + b"\n" + more.encode()
        file = WatchedFile(io.BytesIO(line), b"E ")
        file.finish()
        assert (file.error is None) == (file.tail == line) == (backslashes % 2 == 0)


ROW = {
    "chunk": 0,
    "first_event": 0,
    "events": 1,
    "partons": 1,
    "particles": 2,
    "sum_weights": 1.0,
    "sum_weights2": 1.0,
    "sha256": "",
    "seconds": 0.1,
    "notes": {},
}
MANIFEST = {
    "layout": "fastsim-manifest",
    "layout_version": 1,
    "output": "a",
    "bytes": 1,
    "sha256": "",
    "settings": {},
    **{k: ROW[k] for k in list(ROW)[1:7]},
    "cross_section": [1.0, 0.1],
    "notes": {},
    "source": "x",
    "seconds": 0.1,
    "chunks": [ROW],
}


@fuzz
@given(content=damaged(json.dumps(MANIFEST, indent=1)))
def test_manifests(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.manifest.json"
    path.write_text(json.dumps(MANIFEST))
    assert Manifest.read(path).events == 1
    path.write_bytes(content)
    only_ours(lambda: Manifest.read(path))


@fuzz
@given(data=st.data())
def test_parts(data: st.DataObject, tmp_path: Path) -> None:
    """A damaged chunk is no chunk, or is what was written."""
    stream = io.BytesIO()
    np.savez(stream, a=np.arange(3.0), b=np.array(["text"]))
    path = tmp_path / "chunk-000000.npz"
    path.write_bytes(data.draw(flipped(stream.getvalue())))
    arrays = load_chunk(path)
    if arrays is not None and set(arrays) == {"a", "b"}:
        assert arrays["a"].tolist() == [0.0, 1.0, 2.0] and arrays["b"].tolist() == ["text"]
