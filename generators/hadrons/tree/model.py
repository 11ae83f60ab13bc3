"""The tree model: the hadron set as an angular-ordered tree of two-body splittings, with a likelihood.

    p(tokens | parton) = p(z | parton) * prod over splittings p(content, m_B, m_A, cos theta*, phi* | context)

z holds the species counts and the total four-momentum of the set (:mod:`generators.hadrons.latent`); the
tree is that of :mod:`generators.hadrons.tree.clustering`; each factor is a :class:`SplittingNet`. Splittings whose
ancestors are done are sampled together, in blocks; those of two tokens come last.

References:
    Andreassen, Feige, Frye, Schwartz, JUNIPR: a framework for unsupervised machine learning in particle
    physics, 2018, arXiv:1804.09720 (a density over clustering trees).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from fastsim.event import Floats, Ints
from fastsim.sources.domains import Domain
from generators.hadrons.latent import Latent
from generators.hadrons.latent_model import OF_CARRIERS, LatentModel, make_latent
from generators.hadrons.source import PrimaryModel
from generators.hadrons.tokens import TYPES, TokenSample
from generators.hadrons.tree.clustering import Nodes
from generators.hadrons.tree.context import CARRIER_NUMBERS, FEATURES, NUM_CONTEXT
from generators.hadrons.tree.draws import TreeDraws
from generators.hadrons.tree.network import SplittingNet, Splittings
from generators.hadrons.tree.splittings import breakup
from generators.hadrons.tunes import parameter
from generators.nn.compiled_network import weights_of
from generators.nn.derived import Derived

_EPS = 1e-300


def make_net(settings: Mapping[str, Any], tune: Sequence[str] = ()) -> SplittingNet:
    """Make a network with the sizes of a config, for tunes of the parameters ``tune``; unknown names are refused.

    With "of_carriers" parameters that act on the hadron of one quark are inputs of the nodes that hold it alone.
    """
    sizes = dict(settings)
    if sizes.pop(OF_CARRIERS, False):
        quarks = [(NUM_CONTEXT + k, parameter(name).quark) for k, name in enumerate(tune)]
        sizes["gates"] = [(k, FEATURES.index(f"flavour_{quark}")) for k, quark in quarks if quark]
    return SplittingNet(NUM_CONTEXT + len(tune), len(TYPES), CARRIER_NUMBERS, **sizes)


def _draws(net: SplittingNet, precision: str) -> TreeDraws:
    return TreeDraws(weights_of(net), precision)


class PrimaryTree(PrimaryModel):
    """The tree model as a source of hadrons, with the likelihood of a set."""

    kind = "primary-tree"
    has_extras = False
    tune_columns = {**PrimaryModel.tune_columns, "net": NUM_CONTEXT}  # noqa: RUF012

    def __init__(
        self, name: str, domain: Domain, latent: LatentModel, net: SplittingNet, settings: Mapping[str, Any]
    ) -> None:
        super().__init__(name, domain, latent, settings.get("precision", "bfloat16"), settings.get("tune", ()))
        self.net, self._settings = net, dict(settings)
        self._draws = Derived(_draws)

    def train(self, mode: bool = True) -> Self:
        """Set the mode as every module does; from then on samples use the weights as they are.

        Samples follow every change of weights that torch counts. After one that it does not (through ``weight.data``
        or a NumPy view, see :class:`generators.nn.derived.Derived`), call this or ``eval()``.
        """
        self._draws.forget()
        return super().train(mode)

    @classmethod
    def build(cls, name: str, domain: Domain, config: Mapping[str, Any]) -> PrimaryTree:
        unknown = set(config) - {"latent", "splitting", "precision", "tune"}
        if unknown:
            raise ValueError(
                f"unknown key {sorted(unknown)[0]!r}: a tree model takes latent, splitting, precision, tune"
            )
        tune = config.get("tune", ())
        # first: a seed then gives it the same weights in every model
        latent = make_latent(config.get("latent", {}), tune)
        return cls(name, domain, latent, make_net(config.get("splitting", {}), tune), config)

    def config(self) -> dict[str, Any]:
        return dict(self._settings)

    def place(self, tokens: TokenSample, energy: Floats, latent: Latent, rng: np.random.Generator) -> Floats:
        return self._draws.of(self.net, self.precision).momenta(tokens, energy, latent.total, rng)

    def log_prob(self, sample: TokenSample) -> Floats:
        """Return the log-density of token sets given their partons, through their clustering tree, shape (N,).

        The measure is prod_i d^3p_i / 2E_i in GeV^2 for each token, tokens of one species being
        indistinguishable: with dm^2 and the two-body phase space of each splitting,
        prod_i d^3p_i/2E_i = d^4P prod_splittings (p*/4M) dcos dphi prod_inner dm^2. Redraws that keep sampled
        tokens inside the hemisphere, and other trees that sum to the same set, are not in it.

        A model of tunes is where it stands, :attr:`tune`; see :meth:`log_density` for others.

        Args:
            sample: N sets in the axis frame, of at least two tokens each (of a single one, the value holds the
                density of a mass that is not free).
        """
        return self.log_density(sample)

    def log_density(self, sample: TokenSample, tune: ArrayLike | None = None) -> Floats:
        """Return the log-density (N,) of token sets as :meth:`log_prob` does, at other tunes.

        Args:
            sample: N sets in the axis frame.
            tune: vectors of :meth:`generators.hadrons.tunes.Tune.vector`, of all sets (P,) or one a set (N, P); by
                default the model's own.

        Raises:
            InvalidValue: if the vectors have another shape.
        """
        from generators.hadrons.tree.density import TreeDensity

        return TreeDensity(self, sample)(tune)


def log_jacobian(rows: Splittings, tree: Nodes, nodes: Ints) -> Floats:
    """Return log of d(coordinates) / [(p*/4M) dcos dphi dm^2 of composite children] for each splitting, (K,).

    Args:
        rows, tree, nodes: from :func:`generators.hadrons.tree.splittings.splittings`; masses in GeV.
    """
    x, mass = rows.variables.double().numpy(), tree.mass[nodes]
    least_a, least_b = rows.least.double().numpy().T
    free = np.maximum(mass - least_a - least_b, _EPS)
    t_b, t_a = (np.where(np.isnan(x[:, k]), 0.0, 1 / (1 + np.exp(-x[:, k]))) for k in (0, 1))
    m_b = least_b + t_b * free
    left = free - t_b * free
    m_a = least_a + t_a * left

    def mass_term(t: Floats, m: Floats, span: Floats) -> Floats:
        # logit t = x, m = least + t span: dx / dm^2 = 1 / [t (1 - t) span 2m]
        safe = np.clip(t, 1e-12, 1 - 1e-12)
        product = 2 * safe * (1 - safe) * np.maximum(span, _EPS) * np.maximum(m, _EPS)
        return np.where(t > 0, -np.log(product), 0.0)

    # x = logit((1 + cos)/2): dx / dcos = 2 / (1 - cos^2) = 1 / (2 s (1 - s)), s = (1 + cos)/2
    angle = np.logaddexp(0, x[:, 2]) + np.logaddexp(0, -x[:, 2]) - np.log(2)
    phase_space = np.log(np.maximum(breakup(mass, m_a, m_b), _EPS) / (4 * mass))
    result: Floats = mass_term(t_b, m_b, free) + mass_term(t_a, m_a, left) + angle - phase_space
    return result
