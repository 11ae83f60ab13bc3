"""What each observable and each result of a metric is, in a phrase, for tables and pictures."""

from __future__ import annotations

import re

from metrics.cells.observables import CELL_OBSERVABLES
from metrics.hadrons.grooming import GROOMED
from metrics.hadrons.observables import GROUPS, OBSERVABLES
from metrics.levels import PREFIX
from metrics.registry import PROTOCOLS
from metrics.showers.shapes import SHAPES

_OBSERVABLES = {
    **OBSERVABLES,
    **GROOMED,
    **{f"number of {name}": f"{name} in the set (antiquarks' sets conjugated)" for name in GROUPS},
    "E_tot/E_inc": "energy of all voxels over the incident energy",
    **{name: shape.meaning for name, shape in SHAPES.items()},
    **CELL_OBSERVABLES,
}
_LAYERS = (
    (r"E_layer (\S+) / MeV", "energy in layer {}"),
    (r"centre (eta|phi|r) layer (\S+) / mm", "energy-weighted mean {} in layer {}"),
    (r"width (eta|phi|r) layer (\S+) / mm", "energy-weighted spread in {} in layer {}"),
    (r"energy layer (\d+) / GeV", "energy of the cells in layer {}"),
    (r"sparsity layer (\S+)", "share of the voxels of layer {} that hold energy"),
)
_RESULTS = {
    "w1p eta_rel": "Wasserstein-1 distance of the particles' pseudorapidities about the parton or jet",
    "w1p phi_rel": "Wasserstein-1 distance of the particles' azimuths about the parton or jet",
    "w1p pt_rel": "Wasserstein-1 distance of the particles' pT over that of the parton or jet",
    "spectrum energy flow": "share of the mean pT flow in Delta R that lies elsewhere",
    "spectrum EEC": "share of the mean energy-energy correlator that lies elsewhere",
    "fpd_clipped": "Frechet physics distance of the embedding, each feature cut at its 99% quantile",
    "precision": "share of generated events near real ones",
    "recall": "share of real events near generated ones",
    "density": "generated events near a real one, over what equal samples have",
    "coverage": "share of real events with a generated one near",
    "log_posterior": "mean log-probability of the sample on real events, among all samples; higher is closer",
}


_FAMILIES = {
    "content": "Kolmogorov distance of the distributions of {}",
    "vertices": "Kolmogorov distance of the distributions of {}",
    "peak": "area of the peak of {} over that of the real sample",
    "yield": "mean number of {} over that of the real sample",
    "hard": "mean number of {} with more than half of the parton's pT over that of the real sample",
    "decayed": "mean number of decayed {} over that of the real sample",
    "lifetime": "mean proper lifetime of {} over that of the real sample",
}
"""What the results of a family are, by the first word of their names; the rest of a name says of what."""


def observable_meaning(name: str) -> str:
    """Return what an observable is; nothing for columns of unknown meaning.

    >>> observable_meaning("mass"), observable_meaning("E_layer 3 / MeV"), observable_meaning("column 0")
    ('invariant mass / pT of the parton', 'energy in layer 3', '')
    """
    if name in _OBSERVABLES:
        return _OBSERVABLES[name]
    for pattern, phrase in _LAYERS:
        if match := re.fullmatch(pattern, name):
            return phrase.format(*match.groups())
    return ""


def result_meaning(name: str) -> str:
    """Return what a result of a metric is, by its name in an evaluation; nothing if it is not known.

    >>> result_meaning("w1 mass")
    'Wasserstein-1 distance of: invariant mass / pT of the parton'
    >>> result_meaning("auc")
    'boosted trees on observables, content, vertices and condition'
    """
    if name in _RESULTS:
        return _RESULTS[name]
    if name.startswith(PREFIX):
        return f"calorimeter cells: {result_meaning(name.removeprefix(PREFIX))}"
    if name.startswith("w1 "):
        meaning = observable_meaning(name.removeprefix("w1 "))
        return f"Wasserstein-1 distance of: {meaning}" if meaning else "Wasserstein-1 distance"
    if name.startswith("spectrum D(z) "):
        return f"share of the fragmentation function of {name.removeprefix('spectrum D(z) ')} that lies elsewhere"
    for family, phrase in _FAMILIES.items():
        if name.startswith(f"{family} "):
            return phrase.format(name.removeprefix(f"{family} "))
    if name.startswith("shape "):
        return f"Kolmogorov distance of: {observable_meaning(name.removeprefix('shape '))}"
    if name in ("layer correlations", "side correlations"):
        return f"RMS difference of the correlations of the layers' {'energies' if name[0] == 'l' else 'sides'}"
    if name.startswith("separation "):
        return "separation power: 0 for equal histograms, 1 for disjoint ones"
    known = PROTOCOLS["fastsim"]
    return known[name].meaning if name in known else ""
