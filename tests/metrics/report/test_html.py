"""What the page says, that it stands alone, and that no name breaks out of it."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from fastsim.errors import FastsimError
from metrics.report import html
from metrics.report.pictures import Picture
from tests.metrics.report.conftest import NASTY, Page

VOID = {"meta", "link", "img", "br", "hr"}


class Reader(HTMLParser):
    """Collects tags with their attributes and the text, and checks that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(params=["jets_page", "showers_page"])
def page(request: pytest.FixtureRequest) -> Page:
    found: Page = request.getfixturevalue(request.param)
    return found


def test_every_tag_is_closed_and_there_is_neither_script_nor_link_elsewhere(page: Page) -> None:
    reader = Reader(page.path.read_text(encoding="utf-8"))
    assert reader.open == []
    assert not reader.of("script")
    for _, attributes in reader.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    without_pictures = re.sub(r'src="data:[^"]*"', "", page.path.read_text(encoding="utf-8"))
    assert "http" not in without_pictures
    assert "url(" not in without_pictures


def test_every_picture_says_what_it_is_and_is_drawn(page: Page) -> None:
    reader = Reader(page.path.read_text(encoding="utf-8"))
    pictures = reader.of("img")
    assert len(pictures) >= 12
    assert all(len(attributes["alt"] or "") > 15 for attributes in pictures)
    assert len({attributes["src"] for attributes in pictures}) == len(pictures)
    assert len(reader.of("figure")) == len(reader.of("figcaption")) == len(pictures)


def test_showers_have_their_profile_over_the_incident_energy(showers_page: Page) -> None:
    text = unescape(showers_page.path.read_text(encoding="utf-8"))
    assert 'alt="Longitudinal profile over incident energy: ' in text
    energies = next(iter(showers_page.samples.values())).condition["energy"]
    edges = [f"{value:.4g}" for value in np.quantile(energies, [0, 1 / 3, 2 / 3, 1])]
    for low, high in itertools.pairwise(edges):
        assert f'alt="Longitudinal profile, {low} to {high} GeV: ' in text
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text, re.DOTALL)
    assert captions and not any(".." in caption for caption in captions)


def test_navigation_leads_to_every_section(page: Page) -> None:
    reader = Reader(page.path.read_text(encoding="utf-8"))
    links = [attributes["href"] for attributes in reader.of("a")]
    assert links == [f"#{attributes['id']}" for attributes in reader.of("section")]
    assert len(links) == len(set(links)) >= 4


def test_names_sizes_values_and_verdicts_are_on_the_page(jets_page: Page) -> None:
    text = jets_page.path.read_text(encoding="utf-8")
    words = "".join(Reader(text).words)
    for name, sample in jets_page.samples.items():
        assert name in words
        assert f"{len(sample):,} jets" in words
    for phrase in ("fpd", "auc", "w1 <mass>", "0.530 ± 0.020", "0.50 ± 0.10", "seed", "matplotlib", "Jets & <models>"):
        assert phrase in words
    for verdict in ("agrees", "tension", "differs"):
        assert f'<span class="{verdict}">{verdict}</span>' in text
    assert "auc: negative weights" in words


def test_the_summary_names_the_closest_sample_and_the_worst_bin(jets_page: Page) -> None:
    text = jets_page.path.read_text(encoding="utf-8")
    summary = unescape(re.sub(r"<[^>]+>", "", text[text.index('class="summary"') : text.index("<nav")]))
    assert "model.h5 is closest to real.h5" in summary
    assert "closer than every other by 3 σ is, of 3 metrics, model.h5 in 1" in summary
    assert "agrees: 0 of 2 metrics beyond 2 σ, where equal samples have 0.1 on average" in summary
    assert "worst bin: pt 60-200 in fpd (+12.3 σ)" in summary


def test_a_file_name_is_text_and_never_markup(jets_page: Page) -> None:
    text = jets_page.path.read_text(encoding="utf-8")
    assert "<b>x</b>" not in text
    assert escape(NASTY) in text
    alts = [attributes["alt"] or "" for attributes in Reader(text).of("img")]
    assert any(NASTY in alt for alt in alts)


def test_equal_arguments_give_equal_pages_and_nothing_else_in_the_folder(jets_page: Page, tmp_path: Path) -> None:
    samples = {name: replace(s, kind="arrays", events=None) for name, s in jets_page.samples.items()}
    evaluation = replace(jets_page.evaluation, kind="arrays", bins={})
    pages = []
    for _ in range(2):
        pages.append(html.write(tmp_path, evaluation, samples).read_bytes())
        assert [entry.name for entry in tmp_path.iterdir()] == ["index.html"]
    assert pages[0] == pages[1]


def test_a_report_that_fails_leaves_the_old_page(
    jets_page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    (tmp_path / "index.html").write_text("old")
    monkeypatch.setattr(html, "sections", lambda *_: [])
    evaluation = replace(jets_page.evaluation, bins={})
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FastsimError, match=r"index\.html: the disk is full"):
        html.write(tmp_path, evaluation, jets_page.samples)
    assert (tmp_path / "index.html").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["index.html"]


def test_samples_other_than_those_evaluated_are_refused(jets_page: Page, tmp_path: Path) -> None:
    samples = {name: sample for name, sample in jets_page.samples.items() if name != "model.h5"}
    with pytest.raises(ValueError, match=r"the samples are .* but the evaluation holds .*model\.h5"):
        html.write(tmp_path, jets_page.evaluation, samples)


def test_a_classifier_of_no_sample_is_refused(jets_page: Page, tmp_path: Path) -> None:
    test = jets_page.classifiers["model.h5: auc"]
    with pytest.raises(ValueError, match=r"'other: auc' is of none of the samples"):
        html.write(tmp_path, jets_page.evaluation, jets_page.samples, {"other: auc": test})


def test_pictures_are_vector_graphics_while_small() -> None:

    from metrics.report.pictures import new_figure

    figure = new_figure(2, 2)
    figure.subplots().plot([0, 1], [0, 1])
    assert Picture.of(figure, "", "", "").media == "image/svg+xml"
    figure = new_figure(2, 2)
    figure.subplots().scatter(*np.random.default_rng(0).random((2, 5000)))
    assert Picture.of(figure, "", "", "").media == "image/png"
