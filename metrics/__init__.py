"""Metrics that judge generated events: distances, classifiers and observables, each with an error and a null.

NumPy and SciPy are enough for most; functions that need scikit-learn, torch, FastJet, POT or Matplotlib import them.

>>> from metrics import classifier_test, fpd, kpd, w1
"""

from __future__ import annotations

from fastsim.detector.binning import Binning, read_binning
from fastsim.formats.calochallenge import Showers, read_showers, write_showers
from metrics.classifiers.posterior import multiclass_posterior
from metrics.classifiers.sets import set_auc
from metrics.classifiers.significance import SignificanceImprovement, significance_improvement
from metrics.classifiers.trees import ClassifierTest, classifier_test
from metrics.classifiers.voxels import voxel_auc
from metrics.distances.frechet import fpd, frechet_distance
from metrics.distances.kernel import kpd
from metrics.distances.kolmogorov import ks_distances
from metrics.distances.manifold import prdc
from metrics.distances.transport import coverage_and_mmd, emd
from metrics.distances.wasserstein import w1, wasserstein_1
from metrics.evaluation import Evaluation, evaluate
from metrics.files import load
from metrics.hadrons.clustering import cluster
from metrics.hadrons.comparison import Comparison, compare
from metrics.hadrons.efp import efps
from metrics.hadrons.graphs import Graph, graphs
from metrics.hadrons.jets import Jets, relative
from metrics.hadrons.resonances import peak_ratios
from metrics.hadrons.sample import Features, features, jet_sample
from metrics.hadrons.tables import chi2_tables, read_tables
from metrics.hadrons.whole_events import whole_sample
from metrics.inputs import array_sample, event_sample, padded_sample
from metrics.result import MetricResult
from metrics.sample import Sample
from metrics.showers.features import showers_sample

__all__ = [
    "Binning",
    "ClassifierTest",
    "Comparison",
    "Evaluation",
    "Features",
    "Graph",
    "Jets",
    "MetricResult",
    "Sample",
    "Showers",
    "SignificanceImprovement",
    "array_sample",
    "chi2_tables",
    "classifier_test",
    "cluster",
    "compare",
    "coverage_and_mmd",
    "efps",
    "emd",
    "evaluate",
    "event_sample",
    "features",
    "fpd",
    "frechet_distance",
    "graphs",
    "jet_sample",
    "kpd",
    "ks_distances",
    "load",
    "multiclass_posterior",
    "padded_sample",
    "peak_ratios",
    "prdc",
    "read_binning",
    "read_showers",
    "read_tables",
    "relative",
    "set_auc",
    "showers_sample",
    "significance_improvement",
    "voxel_auc",
    "w1",
    "wasserstein_1",
    "whole_sample",
    "write_showers",
]
