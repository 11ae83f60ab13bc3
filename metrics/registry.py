"""The metrics by name: what each is computed from, for which kind of events, and whether it is quick."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np

from fastsim.errors import InvalidValue
from fastsim.formats.calochallenge import Showers
from metrics import jetnet
from metrics.classifiers.catalogue import NETWORKS, name_of, network_auc
from metrics.classifiers.trees import ClassifierTest, classifier_test
from metrics.distances.frechet import check_features, fpd
from metrics.distances.kernel import kpd
from metrics.distances.kolmogorov import ks_distances
from metrics.distances.manifold import check_unweighted, prdc
from metrics.distances.transport import coverage_and_mmd
from metrics.distances.wasserstein import w1
from metrics.hadrons.content import vertex_distances, yield_ratios
from metrics.hadrons.jets import Jets, padded
from metrics.hadrons.resonances import peak_ratios
from metrics.hadrons.spectra import spectrum_distances
from metrics.hadrons.whole_events import event_distances
from metrics.result import MetricResult
from metrics.sample import Kind, Sample, constant_observables
from metrics.showers.correlation import correlation_distance, side_distance
from metrics.showers.features import binning_of, observable_groups
from metrics.showers.response import response_differences
from metrics.showers.separation import histogram_edges, separations, voxel_separation
from metrics.showers.shapes import shape_observables, shape_vector

Events = TypeVar("Events", Jets, Showers)


@dataclass(frozen=True)
class Outcome:
    """The results of one metric, the classifier behind them, if there is one, and why results are left out, by name."""

    results: Sequence[MetricResult]
    test: ClassifierTest | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)


class Compute(Protocol):
    """Computation of a metric of a generated sample against a real one."""

    def __call__(self, real: Sample, generated: Sample, seed: int, **options: Any) -> Outcome: ...


@dataclass(frozen=True)
class Metric:
    """A metric of one generated sample.

    Attributes:
        meaning: what it measures, in words.
        kinds: the kinds of events that it is defined for.
        quick: whether it runs by default and in every bin of the condition.
        compute: function of the real sample, the generated sample and the seed; options go to the functions that
            compute the metric, such as ``num_permutations``.
    """

    meaning: str
    kinds: tuple[Kind, ...]
    quick: bool
    compute: Compute


def _weights(real: Sample, generated: Sample) -> dict[str, Any]:
    return {"real_weights": real.weights, "generated_weights": generated.weights}


def _events(kind: type[Events], *samples: Sample) -> list[Events]:
    """Return the low-level events of samples.

    Raises:
        ValueError: if a sample was made without them.
    """
    events = [s.events for s in samples if isinstance(s.events, kind)]
    if len(events) < len(samples):
        raise ValueError("this metric needs the events themselves, which the sample does not hold")
    return events


def _fpd(real: Sample, generated: Sample, seed: int, **options: Any) -> Outcome:
    return Outcome([fpd(real.embedding, generated.embedding, **_weights(real, generated), seed=seed, **options)])


CLIP = 0.99
"""Quantile of |x| in the real sample at which ``fpd_clipped`` cuts each feature x."""


def _fpd_clipped(real: Sample, generated: Sample, seed: int, **options: Any) -> Outcome:
    check_features("FPD", real.embedding, generated.embedding, 1)
    edge = np.quantile(np.abs(real.embedding), CLIP, axis=0)
    one, other = (np.clip(s.embedding, -edge, edge) for s in (real, generated))
    result = fpd(one, other, **_weights(real, generated), seed=seed, **options)
    return Outcome([replace(result, name="fpd_clipped")])


def _kpd(real: Sample, generated: Sample, seed: int, **options: Any) -> Outcome:
    return Outcome([kpd(real.embedding, generated.embedding, **_weights(real, generated), seed=seed, **options)])


def _w1(real: Sample, generated: Sample, seed: int, **options: Any) -> Outcome:
    weights = _weights(real, generated)
    constant = constant_observables(real, generated)
    return Outcome(
        [
            w1(x, generated.observables[k], **weights, name=f"w1 {k}", seed=seed, **options)
            for k, x in real.observables.items()
            if k not in constant
        ],
        left_out={f"w1 {k}": "constant in both samples, but for rounding" for k in real.observables if k in constant},
    )


def _w1p(real: Sample, generated: Sample, seed: int, **options: Any) -> Outcome:
    one, other = _events(Jets, real, generated)
    sets = [np.repeat(np.arange(len(e), dtype=np.int32), e.counts) for e in (one, other)]
    weights = [None if s.weights is None else s.weights[rows] for s, rows in zip((real, generated), sets, strict=True)]
    return Outcome(
        [
            w1(
                getattr(one, name),
                getattr(other, name),
                real_weights=weights[0],
                generated_weights=weights[1],
                real_groups=sets[0],
                generated_groups=sets[1],
                name=f"w1p {name}",
                seed=seed,
                **options,
            )
            for name in ("eta_rel", "phi_rel", "pt_rel")
        ]
    )


def _spectra(real: Sample, generated: Sample, seed: int, **options: Any) -> Outcome:
    one, other = _events(Jets, real, generated)
    return Outcome(list(spectrum_distances(one, other, **_weights(real, generated), seed=seed, **options).values()))


def _content(real: Sample, generated: Sample, seed: int, **options: Any) -> Outcome:
    if not (real.content and generated.content):
        raise ValueError("this metric needs charges and quantum numbers, which the sample does not hold")
    one, other = _events(Jets, real, generated)
    options = {**_weights(real, generated), "seed": seed, **options}
    results = ks_distances(real.content, generated.content, **options, prefix="content")
    results += peak_ratios(one, other, **options)
    results += yield_ratios(one, other, real_origins=real.origins, generated_origins=generated.origins, **options)
    if real.origins is not None and generated.origins is not None:
        fractions = real.origins.fractions, generated.origins.fractions
        results += ks_distances(*fractions, **options, prefix="content")
    return Outcome(results)


def _vertices(real: Sample, generated: Sample, seed: int, **options: Any) -> Outcome:
    for label, sample in (("real", real), ("generated", generated)):
        if sample.origins is None:
            raise ValueError(f"the {label} sample has no history: it does not say where its particles were made")
    assert real.origins is not None and generated.origins is not None
    return Outcome(vertex_distances(real.origins, generated.origins, **_weights(real, generated), seed=seed, **options))


def _whole_events(real: Sample, generated: Sample, seed: int, **options: Any) -> Outcome:
    return Outcome(event_distances(real, generated, **_weights(real, generated), seed=seed, **options))


def _auc(real: Sample, generated: Sample, seed: int, *, content: bool = True, **options: Any) -> Outcome:
    # rounding is another in each file format: a tree would tell formats apart, not events
    constant = constant_observables(real, generated)
    origins = content and real.origins is not None and generated.origins is not None
    one, other = (sample.classifier_inputs(constant, content=content, origins=origins) for sample in (real, generated))
    name = "auc" if content else "auc_shapes"
    test = classifier_test(one, other, **_weights(real, generated), name=name, seed=seed, **options)
    return Outcome([test.auc], test)


def _auc_set(real: Sample, generated: Sample, seed: int, *, pairwise: bool = False, **options: Any) -> Outcome:
    from metrics.classifiers.sets import set_auc

    one, other = _events(Jets, real, generated)
    test = set_auc(one, other, **_weights(real, generated), pairwise=pairwise, seed=seed, **options)
    return Outcome([test.auc], test)


def _auc_network(real: Sample, generated: Sample, seed: int, *, kind: str, **options: Any) -> Outcome:
    one, other = _events(Jets, real, generated)
    test = network_auc(one, other, kind, **_weights(real, generated), seed=seed, **options)
    return Outcome([test.auc], test)


def _auc_voxels(real: Sample, generated: Sample, seed: int, **options: Any) -> Outcome:
    from metrics.classifiers.voxels import voxel_auc

    one, other = _events(Showers, real, generated)
    test = voxel_auc(one, other, **_weights(real, generated), seed=seed, **options)
    return Outcome([test.auc], test)


def _prdc(real: Sample, generated: Sample, seed: int, **options: Any) -> Outcome:
    return Outcome(
        list(prdc(real.embedding, generated.embedding, **_weights(real, generated), seed=seed, **options).values())
    )


def _emd(real: Sample, generated: Sample, seed: int, **options: Any) -> Outcome:
    one, other = _events(Jets, real, generated)
    return Outcome(list(coverage_and_mmd(one, other, **_weights(real, generated), seed=seed, **options).values()))


def _separation(real: Sample, generated: Sample, seed: int, **options: Any) -> Outcome:
    groups = observable_groups(binning_of(real))
    powers = separations(real, generated, histogram_edges(real), groups=groups, seed=seed, **options)
    # a group of one observable has no mean of its own
    names = [f"separation {name if len(members) > 1 else members[0]}" for name, members in groups.items() if members]
    return Outcome(
        [powers[name] for name in names if name in powers] + [voxel_separation(real, generated, seed=seed, **options)]
    )


def _response(real: Sample, generated: Sample, seed: int, **options: Any) -> Outcome:
    return Outcome(list(response_differences(real, generated, seed=seed, **options).values()))


def _correlation(real: Sample, generated: Sample, seed: int, **options: Any) -> Outcome:
    results, left_out = [correlation_distance(real, generated, seed=seed, **options)], {}
    try:
        results.append(side_distance(real, generated, seed=seed, **options))
    except ValueError as error:  # layers of one sector have no sides
        left_out["side correlations"] = str(error)
    return Outcome(results, left_out=left_out)


def _shapes(real: Sample, generated: Sample, seed: int, **options: Any) -> Outcome:
    options = {**_weights(real, generated), "seed": seed, **options}
    return Outcome(ks_distances(shape_observables(real), shape_observables(generated), **options, prefix="shape"))


def _fpd_shapes(real: Sample, generated: Sample, seed: int, **options: Any) -> Outcome:
    options = {**_weights(real, generated), "seed": seed, **options}
    return Outcome([replace(fpd(shape_vector(real), shape_vector(generated), **options), name="fpd_shapes")])


EVERY: tuple[Kind, ...] = ("jets", "events", "showers", "cells", "arrays")
METRICS: dict[str, Metric] = {
    "fpd": Metric("Frechet physics distance of the embedding", EVERY, True, _fpd),
    "fpd_clipped": Metric("the same with each feature cut at its 99% quantile", EVERY, True, _fpd_clipped),
    "kpd": Metric("kernel physics distance of the embedding", EVERY, True, _kpd),
    "w1": Metric("Wasserstein-1 distance of every observable", ("jets", "events", "cells", "arrays"), True, _w1),
    "w1p": Metric("Wasserstein-1 distance of the particles' eta, phi and pT", ("jets",), True, _w1p),
    "spectra": Metric("fragmentation functions, energy flow, energy-energy correlator", ("jets",), True, _spectra),
    "separation": Metric("separation power of every group of features, and of voxels", ("showers",), True, _separation),
    "response": Metric("differences of response and resolution against energy", ("showers",), True, _response),
    "correlation": Metric(
        "distance of the correlations between layers, of energies and of sides", ("showers",), True, _correlation
    ),
    "shapes": Metric("Kolmogorov distances of the shapes of whole showers", ("showers",), True, _shapes),
    "fpd_shapes": Metric("Frechet physics distance of the shapes of whole showers", ("showers",), True, _fpd_shapes),
    "content": Metric("charges, quantum numbers, peaks of resonances, yields of species", ("jets",), True, _content),
    "vertices": Metric("displaced tracks, impact parameters, flight lengths, lifetimes", ("jets",), True, _vertices),
    "events": Metric("event shapes, multiplicities, x_p and x_B of whole events", ("events",), True, _whole_events),
    "auc": Metric("boosted trees on observables, content, vertices and condition", EVERY, True, _auc),
    "auc_shapes": Metric(
        "boosted trees on observables and condition alone", ("jets",), False, partial(_auc, content=False)
    ),
    "prdc": Metric("precision, recall, density, coverage of the embedding", EVERY, False, _prdc),
    "emd": Metric("coverage and minimum matching distance under the EMD", ("jets",), False, _emd),
    "auc_set": Metric("network on sets of particles", ("jets",), False, _auc_set),
    "auc_pairs": Metric("network on Lorentz invariants", ("jets",), False, partial(_auc_set, pairwise=True)),
    "auc_voxels": Metric("network on voxels", ("showers",), False, _auc_voxels),
}
"""The metrics of one generated sample, by name."""
JUDGES: dict[str, Metric] = {
    name_of(kind): Metric(f"network of the catalogue: {kind}", ("jets",), False, partial(_auc_network, kind=kind))
    for kind in NETWORKS
}
"""Networks of the catalogue as judges: computed where they are named, not among "all"."""
POSTERIOR = "posterior"
"""The one metric of several generated samples together, for every kind of events; never quick."""


def _jetnet(metric: Callable[..., Any], features: Callable[[Jets], Any]) -> Compute:
    """Make a metric of :mod:`metrics.jetnet` of the leading 30 particles."""

    def compute(real: Sample, generated: Sample, seed: int, **options: Any) -> Outcome:
        check_unweighted("the protocol of JetNet", real.weights, generated.weights)
        one, other = (features(jets) for jets in _events(Jets, real, generated))
        results = metric(one, other, seed=seed, **options)
        return Outcome([results] if isinstance(results, MetricResult) else list(results.values()))

    return compute


def _jetnet_efps(jets: Jets) -> Any:
    return jetnet.jet_efps(padded(jets))


JETNET: dict[str, Metric] = {
    "fpd": Metric("Frechet physics distance of the 36 EFPs", ("jets",), True, _jetnet(jetnet.fpd, _jetnet_efps)),
    "kpd": Metric("kernel physics distance of the 36 EFPs", ("jets",), True, _jetnet(jetnet.kpd, _jetnet_efps)),
    "w1m": Metric("Wasserstein-1 distance of the mass", ("jets",), True, _jetnet(jetnet.w1m, padded)),
    "w1p": Metric("Wasserstein-1 distances of particles", ("jets",), True, _jetnet(jetnet.w1p, padded)),
    "w1efp": Metric("Wasserstein-1 distances of EFPs", ("jets",), True, _jetnet(jetnet.w1efp, padded)),
    "cov_mmd": Metric("coverage and MMD under the EMD", ("jets",), False, _jetnet(jetnet.cov_mmd, padded)),
}
"""The metrics of JetNet 0.2.5, with its draws and without nulls."""
PROTOCOLS: dict[str, dict[str, Metric]] = {"fastsim": {**METRICS, **JUDGES}, "jetnet": JETNET}
"""The metrics by protocol, then by name."""


def check_names(names: Sequence[str] | None, protocol: str = "fastsim") -> None:
    """Check names of metrics, as :func:`metrics_for` takes them, before it is known what they are computed of.

    Raises:
        InvalidValue: if a name or the protocol is not known.
    """
    if protocol not in PROTOCOLS:
        raise InvalidValue(f"no protocol {protocol!r}; there are {', '.join(PROTOCOLS)}")
    known = [*PROTOCOLS[protocol], *([POSTERIOR] if protocol == "fastsim" else []), "all"]
    for name in names or ():
        if name not in known:
            raise InvalidValue(f"no metric {name!r}; there are {', '.join(known)}")


def defined_for(kind: Kind, name: str, protocol: str = "fastsim") -> bool:
    """Tell whether a metric of a protocol is defined for a kind of events."""
    metric = PROTOCOLS[protocol].get(name)
    return kind in metric.kinds if metric is not None else name == POSTERIOR


def metrics_for(kind: Kind, names: Sequence[str] | None, protocol: str = "fastsim") -> list[str]:
    """Choose metrics of one kind of events: the quick ones by default, "all", or those named.

    Args:
        kind: what the events are.
        names: names of metrics, ["all"], or None for the quick ones.
        protocol: "fastsim" or "jetnet".

    Returns:
        Names of metrics, each once.

    Raises:
        ValueError: if a name or the protocol is not known or not defined for these events.
    """
    check_names(names, protocol)
    metrics = PROTOCOLS[protocol]
    known = [name for name, metric in metrics.items() if kind in metric.kinds]
    if not known:
        raise InvalidValue(f"the protocol {protocol} has no metric for {kind}")
    known += [POSTERIOR] if protocol == "fastsim" else []
    if names is None:
        return [name for name in known if name != POSTERIOR and metrics[name].quick]
    if list(names) == ["all"]:
        return [name for name in known if name not in JUDGES]
    for name in names:
        if name not in known:
            raise InvalidValue(f"no metric {name!r} for {kind}; there are {', '.join(known)}")
    return list(dict.fromkeys(names))
