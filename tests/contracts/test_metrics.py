"""The contract that every metric of the registry keeps, for every kind of events that it takes.

A new metric in :mod:`metrics.registry` is tested here without a line of its own, unless it is slow: then ``OPTIONS``
makes it small. What it may depend on besides its events is stated in ``BY_POSITION`` and ``MISSING_ALLOWED``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from fastsim.errors import FastsimError
from fastsim.event import ParticleSet, offsets_from_counts
from fastsim.event.kinematics import on_shell
from fastsim.event.species import masses
from fastsim.formats import hdf5
from fastsim.formats.calochallenge import Showers, write_showers
from metrics import evaluate, load, multiclass_posterior
from metrics.hadrons.clustering import cluster
from metrics.hadrons.jets import Jets
from metrics.hadrons.origins import origins
from metrics.hadrons.sample import jet_sample
from metrics.hadrons.whole_events import whole_sample
from metrics.registry import JETNET, METRICS, POSTERIOR, Metric
from metrics.result import MetricResult
from metrics.sample import Sample
from tests.helpers.jets import toy_sets, with_history
from tests.helpers.showers import electron_binning, toy_showers

SEED = 7
NUM_REAL, NUM_GENERATED = 270, 250
NULL_SIGMAS = 5.0
"""Samples of one distribution agree within so many standard deviations of the null, in every result of a metric."""
DISTORTED_SIGMAS = 4.0
"""A distorted sample is at least so far away, in some result of every metric."""

OPTIONS: dict[str, dict[str, Any]] = {
    "emd": {"num": 40, "num_batches": 1, "max_particles": 8},
    "response": {"edges": np.array([10.0, 20.0])},
    "auc_set": {"num_epochs": 3},
    "auc_pairs": {"num_epochs": 3},
    "auc_voxels": {"num_epochs": 8, "hidden": 64},
    "jetnet fpd": {"min_samples": 500, "max_samples": 2_000, "num_batches": 4},
    "jetnet kpd": {"num_batches": 4, "batch_size": 300},
    "jetnet w1m": {"num_eval_samples": 1_000},
    "jetnet w1p": {"num_eval_samples": 1_000},
    "jetnet w1efp": {"num_eval_samples": 1_000},
    "jetnet cov_mmd": {"num_eval_samples": 20, "num_batches": 3},
}
"""Options with which metrics are quick, and defined for so few events."""

BY_POSITION = {
    "fpd": "random partitions into samples of N/k events",
    "fpd_clipped": "random partitions into samples of N/k events",
    "fpd_shapes": "random partitions into samples of N/k events",
    "auc": "a random third is held out",
    "auc_shapes": "a random third is held out",
    "auc_set": "a random fifth is held out",
    "auc_pairs": "a random fifth is held out",
    "auc_voxels": "a random fifth is held out",
    "prdc": "a random smearing by 1e-6 of a standard deviation",
    "emd": "random batches",
    **dict.fromkeys((f"jetnet {name}" for name in JETNET), "random batches, drawn with replacement"),
}
"""Metrics whose value changes within its error with the order of the events, and the draw that causes it."""

MISSING_ALLOWED = dict.fromkeys(("auc", "auc_shapes"), "boosted trees take NaN as a missing value")
"""Metrics that are defined for values that are not finite, and why."""


NEED_HISTORY = ("vertices",)
"""Metrics of where particles were made, which clustered jets do not know."""
SOURCES = {"jets": "jets", "clustered": "jets", "events": "events", "showers": "showers", "arrays": "arrays"}
"""Kinds of events by source: particle sets and showers from files, jets of clustered events, plain arrays."""
JET_OBSERVABLES = ("multiplicity", "mass", "girth", "tau21", "groomed_mass", "number of photon")
"""Enough of the observables of jets: every one costs as much as the others."""


class Case(NamedTuple):
    """A metric of the registry with the source of the events that it is computed of."""

    name: str
    metric: Metric
    source: str

    def __call__(self, real: Sample, generated: Sample, seed: int = SEED) -> list[MetricResult]:
        return list(self.metric.compute(real, generated, seed, **OPTIONS.get(self.name, {})).results)


EVERY = {**METRICS, **{f"jetnet {name}": metric for name, metric in JETNET.items()}}
CASES = [
    Case(name, metric, source)
    for name, metric in EVERY.items()
    for source, kind in SOURCES.items()
    if kind in metric.kinds
    and (source != "clustered" or (metric.quick and name in METRICS and name not in NEED_HISTORY))
]


def parametrized(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: f"{case.name}-{case.source}".replace(" ", "-"))


every_metric = parametrized(CASES)


class Samples(NamedTuple):
    """Samples of one kind of events: two of one distribution, and one of another."""

    real: Sample
    equal: Sample
    distorted: Sample


def arrays_of(sample: Sample) -> Iterator[NDArray[Any]]:
    """Yield every array that a sample holds."""
    yield from (*sample.observables.values(), *sample.condition.values(), *sample.content.values(), sample.embedding)
    if sample.weights is not None:
        yield sample.weights
    parts: list[object] = [sample.events]
    if sample.origins is not None:
        parts += [sample.origins.decays, sample.origins.tracks]
        yield from (*sample.origins.vertices.values(), *sample.origins.fractions.values())
    for part in parts:
        if is_dataclass(part):
            columns = (getattr(part, field.name) for field in fields(part))
            yield from (column for column in columns if isinstance(column, np.ndarray))


def arrays_sample(num: int, rng: np.random.Generator, shift: float = 0.0) -> Sample:
    """Draw two correlated features about a condition, shifted by a part of their spread."""
    energy = rng.uniform(1.0, 3.0, num)
    x = energy[:, None] + rng.normal(shift, 1.0, size=(num, 3)) @ np.array([[1.0, 0.5, 0.0], [0, 1, 0], [0, 0, 1]])
    return Sample("arrays", {"a / GeV": x[:, 0].copy(), "b / GeV": x[:, 1].copy()}, x, {"energy": energy})


def whole_events(num: int, rng: np.random.Generator, distorted: bool) -> Sample:
    """Make events of particles whose momenta are isotropic, or drawn out along an axis."""
    counts = rng.poisson(12, num) + 2
    p = rng.normal(size=(counts.sum(), 3)) * ([1.0, 1.0, 3.0] if distorted else [1.0, 1.0, 1.0])
    pdg_id = rng.choice([22, 211, -211, 321], len(p))
    p4 = on_shell(np.concatenate([np.zeros((len(p), 1)), p], axis=1), masses(pdg_id))
    return whole_sample(ParticleSet(offsets_from_counts(counts), pdg_id, p4))


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Samples]:
    """Make samples by source; nobody can write to their arrays."""
    folder = tmp_path_factory.mktemp("samples")
    rng = np.random.default_rng(SEED)
    sizes = (NUM_REAL, NUM_GENERATED, NUM_GENERATED)
    by_source: dict[str, list[Sample]] = {source: [] for source in SOURCES}
    binning = electron_binning(2, 2, 4)
    (folder / "binning.xml").write_text(binning.to_xml(), encoding="utf-8")
    for number, num in enumerate(sizes):
        distorted = number == 2
        with hdf5.Writer(folder / f"jets-{number}.h5") as file:
            particles, partons = toy_sets(num, 14.0 if distorted else 8.0, rng, width=0.1 if distorted else 0.3)
            file.write(partons, particles)
        history = with_history(particles, partons, rng, ctau=1.0 if distorted else 0.5)
        by_source["jets"].append(replace(load(folder / f"jets-{number}.h5"), origins=origins(history, partons)))
        by_source["events"].append(whole_events(num, rng, distorted))
        jets = cluster(particles, max_jets=1)
        by_source["clustered"].append(jet_sample(jets.constituents, jets.axes, groomed=True))
        factors = {"response": 0.8, "depth": 1.3, "width": 1.5} if distorted else {}
        write_showers(folder / f"showers-{number}.h5", toy_showers(num, binning, rng, energy=(1e4, 2e4), **factors))
        by_source["showers"].append(load(folder / f"showers-{number}.h5"))
        by_source["arrays"].append(arrays_sample(num, rng, 1.0 if distorted else 0.0))
    for source in ("jets", "clustered"):
        by_source[source] = [
            replace(sample, observables={name: sample.observables[name] for name in JET_OBSERVABLES})
            for sample in by_source[source]
        ]
    for array in (array for members in by_source.values() for sample in members for array in arrays_of(sample)):
        array.setflags(write=False)
    return {source: Samples(*members) for source, members in by_source.items()}


Compute = Callable[[Case, str], list[MetricResult]]


@pytest.fixture(scope="session")
def compute(samples: dict[str, Samples]) -> Compute:
    """Compute a metric between the real sample and the "equal" or the "distorted" one, once for all tests."""

    @cache
    def of(index: int, which: str) -> list[MetricResult]:
        case = CASES[index]
        members = samples[case.source]
        return case(members.real, getattr(members, which))

    return lambda case, which: of(CASES.index(case), which)


def values_of(results: list[MetricResult]) -> dict[str, float]:
    return {r.name: r.value for r in results}


def has_null(case: Case) -> bool:
    """Tell whether a metric has a null: JetNet's have none."""
    return not case.name.startswith("jetnet ")


@every_metric
@pytest.mark.parametrize("which", ["equal", "distorted"])
def test_results_are_complete(case: Case, which: str, compute: Compute) -> None:
    results = compute(case, which)
    assert results
    assert len({r.name for r in results}) == len(results)
    for r in results:
        assert isinstance(r, MetricResult)
        assert math.isfinite(r.value)
        assert math.isfinite(r.error)
        assert r.error >= 0
        assert r.seed == SEED
        assert 0 < r.num_real <= NUM_REAL
        assert 0 < r.num_generated <= NUM_GENERATED
        assert r.p_value is None or 0 < r.p_value <= 1
        if has_null(case):
            assert math.isfinite(r.null_value)
            assert math.isfinite(r.null_error)
            assert r.null_error >= 0
        else:
            assert math.isnan(r.null_value)


@every_metric
def test_a_seed_gives_the_same_numbers(case: Case, samples: dict[str, Samples], compute: Compute) -> None:
    members = samples[case.source]
    np.testing.assert_equal(
        [vars(r) for r in case(members.real, members.equal)], [vars(r) for r in compute(case, "equal")]
    )


@every_metric
def test_the_order_of_events_does_not_matter(case: Case, samples: dict[str, Samples], compute: Compute) -> None:
    members, rng = samples[case.source], np.random.default_rng(1)
    real, equal = (sample[rng.permutation(len(sample))] for sample in (members.real, members.equal))
    for one, other in zip(compute(case, "equal"), case(real, equal), strict=True):
        assert one.name == other.name
        if case.name in BY_POSITION:
            assert abs(one.value - other.value) <= 5 * math.hypot(one.error, other.error) + 1e-12
        else:
            assert other.value == pytest.approx(one.value, rel=1e-9, abs=1e-12)
        if has_null(case):
            assert abs(one.null_value - other.null_value) <= 3 * math.hypot(one.null_error, other.null_error) + 1e-12


@every_metric
def test_equal_samples_agree_and_distorted_ones_do_not(case: Case, compute: Compute) -> None:
    equal, distorted = compute(case, "equal"), compute(case, "distorted")
    if not has_null(case):
        sign = {r.name: 1 if r.worse == "high" else -1 for r in equal}
        further = [sign[r.name] * (r.value - values_of(equal)[r.name]) for r in distorted]
        assert max(further) > 0
        return
    assert all(abs(r.sigmas) < NULL_SIGMAS for r in equal)
    assert max(r.excess for r in distorted) > max(DISTORTED_SIGMAS, *(r.excess for r in equal))


@every_metric
def test_weights_of_one_change_nothing(case: Case, samples: dict[str, Samples], compute: Compute) -> None:
    members = samples[case.source]
    real, equal = (replace(sample, weights=np.ones(len(sample))) for sample in (members.real, members.equal))
    for one, other in zip(compute(case, "equal"), case(real, equal), strict=True):
        for name in ("value", "error", "null_value", "null_error"):
            assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-9, abs=1e-12, nan_ok=True)


@every_metric
def test_weights_of_both_signs_are_taken_or_refused(case: Case, samples: dict[str, Samples]) -> None:
    members = samples[case.source]
    signed = replace(members.equal, weights=np.where(np.arange(len(members.equal)) % 10 == 0, -1.0, 1.0))
    try:
        results = case(members.real, signed)
    except ValueError as error:
        assert "weight" in str(error)
    else:
        assert all(math.isfinite(r.value) and math.isfinite(r.error) for r in results)


def refusal(case: Case, real: Sample, generated: Sample) -> str | None:
    """Return the message with which a metric refuses samples, or None if it gives finite results instead."""
    try:
        results = case(real, generated)
    except (ValueError, FastsimError) as error:
        return str(error)
    assert all(math.isfinite(r.value) for r in results)
    return None


NUMPY_WORDS = (
    "zero-size",
    "broadcast",
    "out of bounds",
    "reduction",
    "axis",
    "unpack",
    "dtype",
    "concatenate",
    "Array ",
)
"""Words of messages that come from NumPy or scikit-learn and explain nothing to a user."""


@every_metric
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("num", [0, 1, 5])
@pytest.mark.parametrize("side", ["real", "generated"])
def test_small_samples_are_refused_clearly(case: Case, num: int, side: str, samples: dict[str, Samples]) -> None:
    members = samples[case.source]
    few = members.real[:num], members.equal
    message = refusal(case, *(few if side == "real" else (members.real, members.equal[:num])))
    if num == 0:
        assert message is not None
    if message is not None:
        assert not any(word in message for word in NUMPY_WORDS), message


def broken(sample: Sample, value: float) -> Sample:
    """Put a value that is not finite into every observable, the embedding, the events and the origins of a sample."""

    def spoil(array: NDArray[Any]) -> NDArray[Any]:
        array = array.copy()
        array[len(array) // 2] = value
        return array

    events = sample.events
    if isinstance(events, Jets):
        events = replace(events, pt_rel=spoil(events.pt_rel), pz_rel=spoil(events.pz_rel))
    elif isinstance(events, Showers):
        events = Showers(events.incident, spoil(events.voxels))
    elif isinstance(events, ParticleSet):
        events = replace(events, p4=spoil(events.p4))
    observables, content = (
        {name: spoil(column) for name, column in columns.items()} for columns in (sample.observables, sample.content)
    )
    known = sample.origins
    if known is not None:
        known = replace(known, vertices={name: spoil(column) for name, column in known.vertices.items()})
    return replace(
        sample,
        observables=observables,
        content=content,
        embedding=spoil(sample.embedding),
        events=events,
        origins=known,
    )


@parametrized([case for case in CASES if case.name not in MISSING_ALLOWED])
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("side", ["real", "generated"])
def test_values_that_are_not_finite_are_refused(
    case: Case, value: float, side: str, samples: dict[str, Samples]
) -> None:
    members = samples[case.source]
    pair = (
        (broken(members.real, value), members.equal) if side == "real" else (members.real, broken(members.equal, value))
    )
    message = refusal(case, *pair)
    assert message is not None
    assert any(word in message for word in ("NaN", "nan", "inf", "finite")), message


def test_no_metric_changes_its_samples(samples: dict[str, Samples], compute: Compute) -> None:
    def digest() -> str:
        hashes = hashlib.sha256()
        for members in samples.values():
            for sample in members:
                for array in arrays_of(sample):
                    assert not array.flags.writeable
                    hashes.update(np.ascontiguousarray(array).tobytes())
        return hashes.hexdigest()

    before = digest()
    for case in CASES:
        compute(case, "distorted")
    assert digest() == before


@parametrized([case for case in CASES if case.name in MISSING_ALLOWED and case.source == "arrays"])
def test_missing_values_are_taken_where_they_are_allowed(case: Case, samples: dict[str, Samples]) -> None:
    members = samples[case.source]
    assert refusal(case, members.real, broken(members.equal, math.nan)) is None


@pytest.mark.parametrize("source", SOURCES)
def test_generators_are_ranked_by_their_posterior(source: str, samples: dict[str, Samples]) -> None:
    real, equal, distorted = (sample[:120].classifier_inputs()[:] for sample in samples[source])
    generated = {"equal": equal, "distorted": distorted}
    results, repeated = (multiclass_posterior(real, generated, num_permutations=2, seed=SEED) for _ in range(2))
    assert results == repeated
    assert results["equal"].value > results["distorted"].value
    assert results["distorted"].excess > DISTORTED_SIGMAS
    assert all(0 < r.error < math.inf and 0 < r.null_error < math.inf for r in results.values())


@pytest.mark.parametrize("source", SOURCES)
def test_an_evaluation_says_why_a_metric_is_missing(source: str, samples: dict[str, Samples]) -> None:
    members = samples[source]
    names = [name for name, metric in METRICS.items() if SOURCES[source] in metric.kinds]
    evaluation, _ = evaluate(
        members.real, {"empty": members.equal[:0], "none": members.equal[:0]}, metrics=[*names, POSTERIOR]
    )
    assert set(evaluation.skipped) == {
        f"all samples: {POSTERIOR}",
        *(f"{sample}: {name}" for sample in ("empty", "none") for name in names),
    }
    assert all(evaluation.skipped.values())
