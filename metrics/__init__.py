"""Metrics that hold generated particle sets against real ones; needs numpy, and sklearn or matplotlib when used.

>>> from metrics import features, fpd, auc
"""

from __future__ import annotations

from metrics.classifier import auc, classifier_features
from metrics.frechet import fpd, frechet_distance
from metrics.hadrons.comparison import Comparison, compare
from metrics.hadrons.jets import Jets, relative
from metrics.hadrons.sample import Features, features
from metrics.result import Estimate, MetricResult
from metrics.wasserstein import wasserstein_1, wasserstein_1_bootstrap

__all__ = [
    "Comparison",
    "Estimate",
    "Features",
    "Jets",
    "MetricResult",
    "auc",
    "classifier_features",
    "compare",
    "features",
    "fpd",
    "frechet_distance",
    "relative",
    "wasserstein_1",
    "wasserstein_1_bootstrap",
]
