"""The table that ends an evaluation on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metrics.evaluation import Evaluation
from metrics.report.verdict import (
    VERDICTS,
    bin_text,
    by_significance,
    closest,
    disagreement,
    family_of,
    main_metrics,
    metric_names,
    overall,
    plus_minus,
    sigmas_text,
    verdict,
    wins,
)

if TYPE_CHECKING:
    from rich.table import Table

NUM_SEEN = 5
"""Inputs of a classifier that the table names."""
CLEAR, LEAST = 3.0, 2e-3
"""Standard deviations, and AUC, that an input has to be worth to be named."""
COLOURS = {"agrees": "green", "tension": "yellow", "differs": "red", "no null": "dim"}


def text(evaluation: Evaluation) -> str:
    """Write the table as plain text of 120 columns."""
    from io import StringIO

    from rich.console import Console

    file = StringIO()
    Console(file=file, width=120).print(table(evaluation))
    return file.getvalue()


def headlines(evaluation: Evaluation) -> list[str]:
    """Write the verdict on each sample in a line, and which one is closest, where one is."""
    judged = [name for name, results in evaluation.results.items() if results]
    lines = [f"{name} {overall(evaluation, name)}." for name in judged]
    if len(judged) > 1:
        best, won = closest(evaluation), wins(evaluation)
        counts = ", ".join(f"{name} in {len(won[name])}" for name in judged)
        lead = "No sample is closest" if best is None else f"{best} is closest"
        lines.append(f"{lead}: closer than every other by 3 sigma is {counts} metrics.")
    return lines


def seen(evaluation: Evaluation) -> list[str]:
    """Write what the boosted trees of each sample look at most, in a line; nothing where they see no difference."""
    lines = []
    for test, found in evaluation.importance.items():
        clear = [i for i in found if i.value > max(CLEAR * i.error, LEAST)][:NUM_SEEN]
        if clear:
            lines.append(
                f"{test} sees most: {', '.join(f'{i.name} ({i.value:.3f})' for i in clear)} (AUC lost without)."
            )
    return lines


def table(evaluation: Evaluation) -> Table:
    """Make a table of every metric of every generated sample; the samples of one metric follow one another.

    The metrics of one sample are sorted by significance.

    Args:
        evaluation: what was found.

    Returns:
        A rich table for 120 columns: value and error, null and its error, the distance in sigmas with its verdict in
        words and colour, p-value where there is one, worst bin where there are bins; below, what could not be computed.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    samples = list(evaluation.results)
    heading = f"{samples[0]} against {evaluation.real}" if len(samples) == 1 else f"against {evaluation.real}"
    words = "; ".join(f"{word}: {meaning}" for word, meaning in VERDICTS.items())
    reasons: dict[str, list[str]] = {}
    for what, why in evaluation.skipped.items():
        reasons.setdefault(why, []).append(what)
    skipped = [
        f"not computed: {found[0]}{f' and {len(found) - 1} more' if found[1:] else ''}: {why}"
        for why, found in reasons.items()
    ]
    names, left_out = main_metrics(evaluation)
    if len(samples) == 1:
        names = [name for name in by_significance(evaluation, samples[0]) if name in names]
    if left_out:
        most = max((r.excess for by in evaluation.results.values() for k, r in by.items() if k in left_out), key=abs)
        families = dict.fromkeys(family_of(name) for name in metric_names(evaluation) if name in left_out)
        skipped.insert(0, f"{len(left_out)} more of {', '.join(families)}: {sigmas_text(most)} sigma at most.")
    found = Table(
        title=escape(f"{heading} ({evaluation.kind}, {evaluation.protocol}, seed {evaluation.seed})"),
        caption=escape(
            "\n".join(
                [
                    *headlines(evaluation),
                    *seen(evaluation),
                    f"null: the same metric between equal samples of these sizes. {words}.",
                    *skipped,
                ]
            )
        ),
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title_justify="left",
        caption_justify="left",
    )
    found.add_column("metric", style="bold", overflow="fold")
    if len(samples) > 1:
        found.add_column("sample", overflow="fold", max_width=28)
    found.add_column("value", no_wrap=True)
    found.add_column("null", no_wrap=True)
    found.add_column("sigmas", no_wrap=True, justify="right")
    found.add_column("verdict", no_wrap=True)
    p_values = any(r.p_value is not None for by_name in evaluation.results.values() for r in by_name.values())
    if p_values:
        found.add_column("p", no_wrap=True)
    if evaluation.bins:
        found.add_column("worst bin", overflow="fold")
    for name in names:
        having = [sample for sample in samples if name in evaluation.results[sample]]
        for sample in having:
            result = evaluation.results[sample][name]
            word = verdict(disagreement(result))
            # Text, not strings: a file name may hold what rich reads as markup
            row = [Text(name if sample == having[0] else "")]
            row += [Text(sample)] if len(samples) > 1 else []
            row += [
                Text(plus_minus(result.value, result.error)),
                Text(plus_minus(result.null_value, result.null_error)),
                Text(sigmas_text(result.excess)),
                Text(word, style=COLOURS[word]),
            ]
            row += [Text("" if result.p_value is None else f"{result.p_value:.2g}")] if p_values else []
            if evaluation.bins:
                at = evaluation.worst_bin(sample, name)
                row.append(Text("" if at is None else f"{bin_text(at[0])} ({sigmas_text(at[1].excess)})"))
            found.add_row(*row, end_section=len(samples) > 1 and sample == having[-1])
    return found
