"""A judge of generated events: distances, classifiers and observables, each with its error and its null.

NumPy and SciPy are enough; scikit-learn, torch, fastjet, POT and Matplotlib are imported by what needs them.

>>> from metrics import classifier_test, fpd, kpd, w1
"""

from __future__ import annotations

from metrics.classifier import ClassifierTest, classifier_test
from metrics.frechet import fpd, frechet_distance
from metrics.hadrons.comparison import Comparison, compare
from metrics.hadrons.jets import Jets, relative
from metrics.hadrons.sample import Features, features
from metrics.kernel import kpd
from metrics.result import MetricResult
from metrics.sample import Sample
from metrics.wasserstein import w1, wasserstein_1

__all__ = [
    "ClassifierTest",
    "Comparison",
    "Features",
    "Jets",
    "MetricResult",
    "Sample",
    "classifier_test",
    "compare",
    "features",
    "fpd",
    "frechet_distance",
    "kpd",
    "relative",
    "w1",
    "wasserstein_1",
]
