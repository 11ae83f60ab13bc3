"""An evaluation as one web page: summary, tables, and pictures inside the page; no script, no link elsewhere."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastsim import __version__
from fastsim.formats.atomic import AtomicPath, writing
from metrics.classifiers.trees import ClassifierTest
from metrics.evaluation import Evaluation
from metrics.report import plots
from metrics.report.meanings import result_meaning
from metrics.report.pictures import Look, Picture, looks
from metrics.report.sections import Section, sections
from metrics.report.verdict import (
    VERDICTS,
    bin_text,
    by_significance,
    closest,
    disagreement,
    metric_names,
    overall,
    plus_minus,
    sigmas_text,
    verdict,
    wins,
    worst,
)
from metrics.result import MetricResult
from metrics.sample import Sample

_PACKAGES = ("numpy", "scipy", "scikit-learn", "matplotlib", "mplhep")

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --dim: #5c6068; --line: #d9dce1; --page: #ffffff; --soft: #f4f5f7;
  --agrees: #0b6e4f; --tension: #8a5a00; --differs: #a92d2d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e7ea; --dim: #a3a8b1; --line: #3a3e46; --page: #17191d;
  --soft: #22252b; --agrees: #5fd3a8; --tension: #f0b64f; --differs: #ff8f85; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
header, main { max-width: 78rem; margin: 0 auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 1.5rem 0 .5rem; }
h2 { font-size: 1.25rem; margin: 0 0 .4rem; }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; }
section { padding: 1.2rem 0; border-top: 1px solid var(--line); }
section > p { max-width: 52rem; color: var(--dim); margin: .2rem 0 .8rem; }
nav { position: sticky; top: 0; z-index: 1; background: var(--page); border-bottom: 1px solid var(--line); }
nav ul { max-width: 78rem; margin: 0 auto; padding: .5rem 1rem; display: flex; gap: 1.1rem; overflow-x: auto;
  list-style: none; white-space: nowrap; }
nav a { color: inherit; }
section { scroll-margin-top: 2.6rem; }
.summary { background: var(--soft); border-left: 4px solid var(--dim); padding: .7rem 1rem; margin: .8rem 0 1.2rem; }
.summary p, .summary ul { margin: .3rem 0; }
.summary ul { padding-left: 1.2rem; }
.name { font-weight: 600; overflow-wrap: anywhere; }
.swatch { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .35em;
  outline: 1px solid var(--line); }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .4rem .9rem .4rem 0; border-bottom: 1px solid var(--line); }
thead th { vertical-align: bottom; max-width: 16rem; overflow-wrap: anywhere; }
td { white-space: nowrap; }
td.wrap { white-space: normal; overflow-wrap: anywhere; }
td small, tbody th small { display: block; color: var(--dim); font-weight: 400; max-width: 30rem; }
.agrees { color: var(--agrees); } .tension { color: var(--tension); } .differs { color: var(--differs); }
.agrees, .tension, .differs { font-weight: 600; white-space: nowrap; }
details { margin: .8rem 0; }
summary { cursor: pointer; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); gap: 1rem;
  margin-bottom: 1rem; }
.figures.four { grid-template-columns: repeat(auto-fill, minmax(min(100%, 16.5rem), 1fr)); }
figure { margin: 0; border: 1px solid var(--line); border-radius: 4px; overflow: hidden; background: var(--soft); }
figure.wide { grid-column: 1 / -1; }
figure img { display: block; width: 100%; max-height: 46rem; object-fit: contain; background: #ffffff; padding: .5rem; }
figcaption { padding: .5rem .7rem .6rem; font-size: .85rem; color: var(--dim); overflow-wrap: anywhere; }
figcaption b { color: var(--ink); }
@media print { nav { display: none; } figure, tr { break-inside: avoid; } body { font-size: 11px; }
  .figures { grid-template-columns: 1fr 1fr 1fr; } }
"""


def write(
    folder: str | os.PathLike[str],
    evaluation: Evaluation,
    samples: Mapping[str, Sample],
    classifiers: Mapping[str, ClassifierTest] | None = None,
    *,
    title: str = "Evaluation report",
    provenance: Mapping[str, str] | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    cells: Mapping[str, Sample] | None = None,
) -> Path:
    """Write ``index.html``, whole or not at all; equal arguments give equal pages.

    Args:
        folder: where the page goes; made if it is missing.
        evaluation: what was found.
        samples: the samples by their names in the evaluation, the real one first.
        classifiers: outcomes by "sample" or "sample: metric", where there are any.
        title: of the page.
        provenance: what else the page shall say about where it comes from, by name: files, command, date.
        progress: called with the number of finished sections and of all.
        cells: the calorimeter cells of the samples, where they are judged beside hadrons.

    Returns:
        The path of the page.

    Raises:
        ValueError: if the samples are not those of the evaluation.
        FastsimError: if the page cannot be written.
        ImportError: without matplotlib and mplhep.
    """
    names = [evaluation.real, *evaluation.results]
    if list(samples) != names:
        raise ValueError(f"the samples are {list(samples)}, but the evaluation holds {names}, the real one first")
    look = looks(samples)
    shown = sections(evaluation, samples, classifiers or {}, look, progress or (lambda done, total: None), cells)
    page = _page(title, evaluation, samples, shown, look, provenance or {})
    path = Path(folder) / "index.html"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        target = AtomicPath(path, force=True)
        try:
            # a file name need not be Unicode
            target.temporary.write_bytes(page.encode("utf-8", "backslashreplace"))
        except BaseException:
            target.discard()
            raise
        target.commit()
    return path


def _page(
    title: str,
    evaluation: Evaluation,
    samples: Mapping[str, Sample],
    shown: Sequence[Section],
    look: Mapping[str, Look],
    provenance: Mapping[str, str],
) -> str:
    """Write the whole page."""
    meaning = "; ".join(f"“{word}” is {text}" for word, text in VERDICTS.items())
    parts = [
        _section(
            "metrics",
            "Metrics",
            "Each value stands above its null: the same metric between samples of these sizes that are equal in "
            "distribution. σ counts the null's standard deviations from the null's mean, positive where the "
            f"sample is worse: {meaning}. One comparison in twenty is beyond 2 sigma by chance: read the verdict over "
            "all metrics, above. p is the "
            "probability of a value at least as bad between equal samples.",
            _metrics_table(evaluation, look) + _skipped(evaluation),
        )
    ]
    if evaluation.bins:
        maps = [plots.heat_map(evaluation, sample) for sample in evaluation.results]
        parts.append(
            _section(
                "bins",
                "Bins of the condition",
                "A model may be right on average and wrong in a corner: every metric again in every bin.",
                _figures(maps) + "".join(_bins_table(evaluation, sample) for sample in evaluation.results),
            )
        )
    parts += [_section(s.anchor, s.title, s.text, "".join(_figures(row) for row in s.rows)) for s in shown]
    parts.append(
        _section("run", "Run", "What this page was made from.", _run_table(evaluation, samples, look, provenance))
    )
    anchors = [("metrics", "Metrics"), *([("bins", "Bins")] if evaluation.bins else [])]
    anchors += [*((s.anchor, s.title) for s in shown), ("run", "Run")]
    links = "".join(f'<li><a href="#{anchor}">{escape(text)}</a></li>' for anchor, text in anchors)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{escape(title)}</h1>\n"
        f"{_summary(evaluation, look)}</header>\n<nav><ul>{links}</ul></nav>\n<main>\n{''.join(parts)}</main>\n"
        "</body>\n</html>\n"
    )


def _section(anchor: str, title: str, text: str, body: str) -> str:
    return f'<section id="{anchor}">\n<h2>{escape(title)}</h2>\n<p>{escape(text)}</p>\n{body}</section>\n'


def _figures(pictures: Iterable[Picture]) -> str:
    drawn = [
        f'<figure{" class=wide" if p.wide else ""}><img src="{p.source}" alt="{escape(p.alt)}">'
        f"<figcaption><b>{escape(p.title)}</b> {escape(p.caption)}</figcaption></figure>\n"
        for p in pictures
    ]
    # four columns where a row of the page holds four, else three
    return f'<div class="figures{" four" if len(drawn) == 4 else ""}">\n{"".join(drawn)}</div>\n'


def _summary(evaluation: Evaluation, look: Mapping[str, Look]) -> str:
    """Write in sentences which sample is closest, and where each sample is worst."""
    if not any(evaluation.results.values()):
        return ""
    lines = []
    if len(evaluation.results) > 1:
        best, won = closest(evaluation), wins(evaluation)
        counts = ", ".join(f"{_name(name, look)} in {len(won[name])}" for name in evaluation.results)
        lead = "No sample is closest" if best is None else f"{_name(best, look)} is closest"
        lines.append(
            f"<p>{lead} to {_name(evaluation.real, look)}: closer than every other by 3 σ is, of "
            f"{len(metric_names(evaluation))} metrics, {counts}.</p>"
        )
    else:
        sample = next(iter(evaluation.results))
        lines.append(f"<p>{_name(sample, look)} held against {_name(evaluation.real, look)}:</p>")
    items = []
    for sample, by_name in evaluation.results.items():
        total = overall(evaluation, sample)
        words = [verdict(disagreement(r)) for r in by_name.values()]
        counts = ", ".join(f'<span class="{w}">{w}</span> in {words.count(w)}' for w in VERDICTS if w in words)
        judged = {name: disagreement(r) for name, r in by_name.items() if verdict(r.excess) != "no null"}
        furthest = max(judged, key=judged.__getitem__, default=None)
        item = (
            f'{_name(sample, look)} <span class="{total.verdict}">{total.verdict}</span>: {total.beyond} of '
            f"{total.judged} metrics beyond 2 σ, where equal samples have {total.expected:.1f} on average; "
            f"{counts or 'no metric'}"
        )
        if furthest is not None:
            item += f"; furthest in {escape(furthest)} ({sigmas_text(by_name[furthest].excess)} σ)"
        at = worst(evaluation, sample)
        if at is not None:
            item += f"; worst bin: {escape(bin_text(at[0]))} in {escape(at[1])} ({sigmas_text(at[2].excess)} σ)"
        items.append(f"<li>{item}.</li>")
    return f'<div class="summary">{"".join(lines)}<ul>{"".join(items)}</ul></div>\n'


def _metrics_table(evaluation: Evaluation, look: Mapping[str, Look]) -> str:
    """Write one row a metric: of several samples side by side, of one with the most significant metric first."""
    samples = list(evaluation.results)
    if len(samples) == 1:
        return _one_sample_table(evaluation, samples[0])
    rows = []
    for name in metric_names(evaluation):
        cells = []
        for sample, by_name in evaluation.results.items():
            where = _worst_bin(evaluation, sample, name)
            where = f"<small>worst bin: {where}</small>" if where else ""
            cells.append(f"<td>{_cell(by_name[name])}{where}</td>" if name in by_name else "<td>–</td>")
        rows.append(f'<tr><th scope="row">{_described(name)}</th>{"".join(cells)}</tr>')
    return _table(["metric", *(_name(sample, look) for sample in samples)], rows, "Metrics by sample")


def _one_sample_table(evaluation: Evaluation, sample: str) -> str:
    """Write one row a metric with a column for each figure, the most significant first."""
    rows = []
    for name in by_significance(evaluation, sample):
        result = evaluation.results[sample][name]
        word = verdict(disagreement(result))
        cells = [
            plus_minus(result.value, result.error),
            plus_minus(result.null_value, result.null_error),
            sigmas_text(result.excess),
            f'<span class="{word}">{word}</span>',
            "" if result.p_value is None else f"{result.p_value:.2g}",
            *([_worst_bin(evaluation, sample, name)] if evaluation.bins else []),
        ]
        columns = "".join(f"<td>{cell}</td>" for cell in cells)
        rows.append(f'<tr><th scope="row">{_described(name)}</th>{columns}</tr>')
    header = ["metric", "value", "null", "σ", "verdict", "p", *(["worst bin"] if evaluation.bins else [])]
    return _table(header, rows, f"Metrics of {sample}, by significance")


def _described(name: str) -> str:
    """Write the name of a metric, and below it what it is."""
    meaning = result_meaning(name)
    return escape(name) + (f"<small>{escape(meaning)}</small>" if meaning else "")


def _worst_bin(evaluation: Evaluation, sample: str, name: str) -> str:
    """Write where the bins have the largest difference; nothing without bins."""
    at = evaluation.worst_bin(sample, name)
    return "" if at is None else f"{escape(bin_text(at[0]))} ({sigmas_text(at[1].excess)} σ)"


def _skipped(evaluation: Evaluation) -> str:
    """Write what could not be computed, and why."""
    lines = [f"<li>{escape(what)}: {escape(why)}</li>" for what, why in evaluation.skipped.items()]
    if not lines:
        return ""
    return f"<details><summary>Not computed: {len(lines)}</summary><ul>{''.join(lines)}</ul></details>\n"


def _bins_table(evaluation: Evaluation, sample: str) -> str:
    names = metric_names(evaluation)
    rows = []
    for label, by_sample in evaluation.bins.items():
        results = by_sample.get(sample, {})
        cells = "".join(f"<td>{_cell(results[name]) if name in results else '–'}</td>" for name in names)
        rows.append(f'<tr><th scope="row">{escape(bin_text(label))}</th>{cells}</tr>')
    inner = _table(["bin", *(escape(name) for name in names)], rows, f"Metrics of {sample} by bin")
    return f"<details><summary>{escape(sample)}: every value by bin</summary>{inner}</details>\n"


def _run_table(
    evaluation: Evaluation, samples: Mapping[str, Sample], look: Mapping[str, Look], provenance: Mapping[str, str]
) -> str:
    rows = []
    for name, sample in samples.items():
        role = "real" if name == evaluation.real else "generated"
        num_events = evaluation.num_events.get(name, len(sample))
        weighted = ", weighted" if sample.weights is not None else ""
        rows.append((_name(name, look), f"{role}, {num_events:,} {escape(evaluation.kind)}{weighted}"))
    rows += [(escape(name), escape(text)) for name, text in provenance.items()]
    rows += [("protocol", escape(evaluation.protocol)), ("seed", str(evaluation.seed))]
    versions = {"fastsim": __version__, "Python": platform.python_version()}
    versions |= {package: number_or_none for package in _PACKAGES if (number_or_none := _version(package)) is not None}
    rows.append(("versions", ", ".join(f"{name} {number}" for name, number in versions.items())))
    lines = [f'<tr><th scope="row">{name}</th><td class="wrap">{text}</td></tr>' for name, text in rows]
    return _table([], lines, "Run")


def _cell(result: MetricResult) -> str:
    word = verdict(disagreement(result))
    p_value = "" if result.p_value is None else f", p = {result.p_value:.2g}"
    return (
        f'{plus_minus(result.value, result.error)} <span class="{word}">{word}</span>'
        f"<small>null {plus_minus(result.null_value, result.null_error)}</small>"
        f"<small>{sigmas_text(result.excess)} σ{p_value}</small>"
    )


def _table(header: Sequence[str], rows: Sequence[str], name: str) -> str:
    """Write a table of HTML parts, in a region that scrolls sideways where it is wider than the page."""
    head = "".join(f'<th scope="col">{cell}</th>' for cell in header)
    head = f"<thead><tr>{head}</tr></thead>" if header else ""
    body = "\n".join(rows)
    return (
        f'<div class="table" role="region" tabindex="0" aria-label="{escape(name)}"><table>{head}<tbody>\n{body}\n'
        "</tbody></table></div>\n"
    )


def _name(sample: str, look: Mapping[str, Look]) -> str:
    swatch = f'<span class="swatch" style="background:{look[sample].colour}"></span>'
    return f'<span class="name">{swatch}{escape(sample)}</span>'


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
