"""The tree model: clustering, exact kinematics of splittings, a normalised density, momentum by construction."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fastsim.errors import OutOfDomain, WeightsError
from fastsim.event import Floats, Ints, Partons
from fastsim.event.kinematics import mass
from fastsim.event.species import masses
from fastsim.sources.domains import QUARKS_AND_GLUONS, Domain
from generators.hadrons.latent import Latent
from generators.hadrons.tokens import SPECIES_MASS, TokenSample, parton_energy
from generators.hadrons.tree.clustering import Nodes, build_trees
from generators.hadrons.tree.model import TreeModel, log_jacobian, make_net, sample_tree
from generators.hadrons.tree.network import COS_THETA, M_A, M_B, PHI, SplittingNet, Splittings
from generators.hadrons.tree.sampler import SplittingSampler
from generators.hadrons.tree.splittings import (
    FEATURES,
    NUM_CONTEXT,
    breakup,
    context,
    set_features,
    split,
    splittings,
)
from generators.reference.pythia import token_sample

SMALL: dict[str, Any] = {
    "latent": {"count_width": 8, "flow_width": 16},
    "splitting": {"width": 24, "num_blocks": 1, "head_width": 16, "num_bins": 24, "num_components": 3},
}
PAIRS = {**SMALL, "splitting": {**SMALL["splitting"], "pair_width": 12, "pair_blocks": 2}}
PLAIN = {**SMALL, "splitting": {**SMALL["splitting"], "plain": True, "pair_width": 12}}
KINDS = {"residual": SMALL, "pairs": PAIRS, "plain": PLAIN}
DOMAIN = Domain(QUARKS_AND_GLUONS, 20.0, 2000.0)


@pytest.fixture(scope="module")
def sample() -> TokenSample:
    rng = np.random.default_rng(1)
    return token_sample(rng.choice([1, 2, 3, 4, 5, 21], 40), np.exp(rng.uniform(3.0, 7.6, 40)), seed=3)


@pytest.fixture(scope="module", params=list(KINDS.values()), ids=list(KINDS))
def model(sample: TokenSample, request: pytest.FixtureRequest) -> TreeModel:
    torch.manual_seed(1)
    model = TreeModel.build("small", DOMAIN, request.param)
    rows, _, _ = splittings(sample)
    model.net.set_scales(rows)
    model.latent_model.set_scales(torch.from_numpy(Latent.of(sample).features).float())
    return model.eval()


def brute_force(p4: Floats) -> list[tuple[int, int]]:
    """Cambridge clustering by definition: always the closest pair in angle."""
    names, momenta, merges = list(range(len(p4))), [p.copy() for p in p4], []
    while len(momenta) > 1:
        unit = np.array([p[1:] / np.linalg.norm(p[1:]) for p in momenta])
        distance = ((unit[:, None] - unit[None]) ** 2).sum(-1) + 9 * np.eye(len(unit))
        i, j = sorted(int(k) for k in np.unravel_index(distance.argmin(), distance.shape))
        merges.append((min(names[i], names[j]), max(names[i], names[j])))
        momenta[i], names[i] = momenta[i] + momenta[j], len(p4) + len(merges) - 1
        del momenta[j], names[j]
    return merges


def test_clustering_is_the_definition(sample: TokenSample) -> None:
    tree = build_trees(sample)
    for row in range(0, len(sample), 5):
        start, stop = sample.offsets[row], sample.offsets[row + 1]
        base, n = 2 * start - row, stop - start
        pairs = [sorted((tree.left[base + k] - base, tree.right[base + k] - base)) for k in range(n, 2 * n - 1)]
        assert [tuple(p) for p in pairs] == brute_force(sample.p4[start:stop])


def test_coordinates_and_kinematics_are_inverse(sample: TokenSample) -> None:
    rows, tree, nodes = splittings(sample)
    p4, mass = tree.p4[nodes], tree.mass[nodes]
    counts_a = rows.counts_a.numpy()
    counts_b = tree.counts[nodes] - counts_a
    least_a, least_b = counts_a @ SPECIES_MASS, counts_b @ SPECIES_MASS
    x = rows.variables.double().numpy()
    t_b, t_a = (1 / (1 + np.exp(-x[:, k])) for k in (M_B, M_A))
    m_b = np.where(counts_b.sum(-1) >= 2, least_b + t_b * (mass - least_a - least_b), least_b)
    m_a = np.where(counts_a.sum(-1) >= 2, least_a + t_a * (mass - least_a - m_b), least_a)
    energy = parton_energy(sample.flavour, sample.pt)
    of_set = set_features(sample.flavour, energy, tree.p4[tree.roots], np.diff(sample.offsets))
    a, b = split(p4, mass, context(tree, nodes, energy, of_set)[1], m_a, m_b, np.tanh(x[:, COS_THETA] / 2), x[:, PHI])
    assert (np.abs(a + b - p4).max(-1) / p4[:, 0]).max() < 1e-12
    # either child may be A; the rows hold float32 coordinates
    error = [np.abs(a - tree.p4[child[nodes]]).max(-1) for child in (tree.left, tree.right)]
    assert np.quantile(np.minimum(*error) / p4[:, 0], 0.99) < 1e-4


def test_density_is_normalised_over_all_discrete_outcomes(sample: TokenSample, model: TreeModel) -> None:
    """Kinds and contents of a five-token node sum to one."""
    net = model.net
    counts = torch.zeros(1, len(SPECIES_MASS), dtype=torch.long)
    counts[0, 1], counts[0, 3], counts[0, 4] = 2, 2, 1
    torch.manual_seed(2)
    for weight in net.parameters():
        weight.data += 0.3 * torch.randn_like(weight)
    with torch.no_grad():
        hidden = net.encode(torch.randn(1, len(net.mean)), counts)
        assert float(net.kind_log_probs(hidden, counts).exp().sum()) == pytest.approx(1, abs=1e-5)
        total = 0.0
        for a in np.ndindex(3, 3, 2):
            if 2 <= sum(a) <= 3:
                part = torch.zeros_like(counts)
                part[0, 1], part[0, 3], part[0, 4] = a
                total += float(net.content_log_prob(hidden, counts, part).exp())
    assert total == pytest.approx(1, abs=1e-4)


def test_sampled_contents_follow_the_density(model: TreeModel) -> None:
    net, num = model.net, 20_000
    counts = np.zeros((num, len(SPECIES_MASS)), dtype=np.uint8)
    counts[:, 1], counts[:, 3] = 2, 2
    context = np.tile(net.mean.numpy(), (num, 1))
    sampler = SplittingSampler(net, "float32")
    with torch.no_grad():
        drawn, both = sampler.content(sampler.encode(context, counts), counts, np.random.default_rng(3))
        hidden = net.encode(net.mean[None], torch.from_numpy(counts[:1]))
        kinds = net.kind_log_probs(hidden, torch.from_numpy(counts[:1])).exp()[0]
    single = float((drawn.sum(-1) == 1).mean())
    assert (np.flatnonzero(drawn.sum(-1) == 2) == both).all()
    expected = float(kinds[1:].sum())
    assert abs(single - expected) < 5 * np.sqrt(expected * (1 - expected) / num)


def shaken(settings: dict[str, Any], rows: Splittings) -> SplittingNet:
    """Make a network whose densities are far from flat."""
    torch.manual_seed(5)
    net = make_net(settings["splitting"]).eval()
    net.set_scales(rows)
    for weight in net.parameters():
        weight.data += 0.15 * torch.randn_like(weight)
    return net


def check_frequencies(bins: Ints, probs: NDArray[np.float32], precision: str) -> None:
    frequencies = np.bincount(bins, minlength=len(probs)) / len(bins)
    tolerance = 5 * np.sqrt(probs / len(bins)) + (0.05 * probs if precision == "bfloat16" else 0)
    assert (np.abs(frequencies - probs) < tolerance + 1e-4).all()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_sampled_masses_follow_the_density(sample: TokenSample, settings: dict[str, Any], precision: str) -> None:
    """Every bin of m_B, and of m_A given it, of one node: the sampler's own arithmetic is the network's."""
    rows, _, _ = splittings(sample)
    net = shaken(settings, rows)
    row, num = rows.rows(torch.nonzero(rows.counts_a.sum(-1) >= 2)[:1, 0]), 40_000
    context, counts, counts_a = (np.repeat(x.numpy(), num, 0) for x in (row.context, row.counts, row.counts_a))
    known = net.bins(row.variables)
    sampler, rng = SplittingSampler(net, precision), np.random.default_rng(6)
    with torch.no_grad():
        hidden = sampler.with_content(sampler.encode(context, counts), counts, counts_a)
        exact = net.with_content(net.encode(row.context, row.counts), row.counts, row.counts_a)
        before = np.repeat(known[:, M_B].numpy(), num)
        drawn = sampler.masses_b(sampler.heads(hidden), rng), sampler.masses_a(hidden, before, np.arange(num), rng)
        for variable, (bins, values) in enumerate(drawn):
            logits = net.bin_logits(net.head(exact, variable), known, variable)
            check_frequencies(bins, torch.softmax(logits, -1)[0].numpy(), precision)
            edges = net.edges[variable].numpy()
            assert (values >= edges[bins] - 1e-6).all()
            assert (values <= edges[bins + 1] + 1e-6).all()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_sampled_angles_follow_the_density(
    sample: TokenSample, settings: dict[str, Any], size: int, precision: str
) -> None:
    """Every bin of cos theta* and of phi*, of a pair and of a larger node, against the likelihood itself."""
    rows, _, _ = splittings(sample)
    net = shaken(settings, rows)
    row, num = rows.rows(torch.nonzero(rows.counts.sum(-1) == size)[:1, 0]), 40_000
    context, counts, counts_a = (np.repeat(x.numpy(), num, 0) for x in (row.context, row.counts, row.counts_a))
    sampler, rng = SplittingSampler(net, precision), np.random.default_rng(6)
    edges = net.edges[[COS_THETA, PHI]]
    middles, widths = (edges[:, 1:] + edges[:, :-1]) / 2, torch.diff(edges)
    grid = torch.cartesian_prod(*middles)
    variables = torch.cat([row.variables[:, :2].repeat(len(grid), 1), grid], 1)
    repeated = [x.repeat(len(grid), 1) for x in (row.context, row.counts, row.counts_a)]
    batch = Splittings(repeated[0], repeated[1], repeated[2], variables)
    with torch.no_grad():
        probs = (net.log_prob(batch).exp() * torch.cartesian_prod(*widths).prod(-1)).view(2 * (net.num_bins,)).numpy()
        if size == 2:
            angles = sampler.pair_angles(context, counts, counts_a)
        else:
            hidden = sampler.with_content(sampler.encode(context, counts), counts, counts_a)
            known = np.repeat(net.bins(row.variables)[:, :2].numpy(), num, 0)
            angles = sampler.angles(sampler.heads(hidden), known)
        cos, phi = sampler.draw(angles, rng)
    bins = net.bins(torch.from_numpy(np.stack([0 * cos, 0 * cos, 2 * np.arctanh(cos), phi], -1)).float()).numpy()
    joint = probs / probs.sum()
    check_frequencies(bins[:, COS_THETA], joint.sum(1), precision)
    check_frequencies(bins[:, PHI], joint.sum(0), precision)
    likeliest = int(joint.sum(1).argmax())
    check_frequencies(bins[bins[:, COS_THETA] == likeliest, PHI], joint[likeliest] / joint[likeliest].sum(), precision)


def test_sets_have_the_latents_counts_and_momentum(sample: TokenSample, model: TreeModel) -> None:
    latent = Latent.of(sample)
    rng = torch.Generator().manual_seed(4)
    with torch.no_grad():
        tokens = model.place(sample.flavour, sample.pt, latent, rng)
    assert (tokens.species_counts() == latent.counts).all()
    total = np.stack([np.bincount(tokens.index, tokens.p4[:, k]) for k in range(4)], -1)
    assert (np.abs(total - latent.total).max(-1) / latent.total[:, 0]).max() < 1e-9
    assert np.abs(mass(tokens.p4) - SPECIES_MASS[tokens.species]).max() < 1e-3


def test_same_seed_same_hadrons_and_mirror_of_antiquarks(sample: TokenSample, model: TreeModel) -> None:
    zero = np.zeros(30)
    quarks = Partons.from_pt_eta_phi(np.full(30, 2), np.full(30, 100.0), zero, zero)
    anti = Partons(-quarks.pdg_id, quarks.p4)
    a, b = (model.sample(quarks, rng=np.random.default_rng(5)) for _ in range(2))
    assert (a.p4 == b.p4).all() and (a.pdg_id == b.pdg_id).all()
    c = model.sample(anti, rng=np.random.default_rng(5))
    assert (c.p4 == a.p4).all()
    assert (np.sort(np.abs(c.pdg_id)) == np.sort(np.abs(a.pdg_id))).all() and (c.pdg_id != a.pdg_id).any()
    assert np.abs(mass(a.p4) - masses(a.pdg_id)).max() < 1e-3


def test_outside_the_domain_is_refused(model: TreeModel) -> None:
    soft = Partons.from_pt_eta_phi(np.array([1]), np.array([5.0]), np.zeros(1), np.zeros(1))
    with pytest.raises(OutOfDomain, match=r"pT = 5 GeV.*20-2000"):
        model.sample(soft, rng=np.random.default_rng(1))


def test_likelihood_has_gradients_everywhere_and_prefers_what_it_learnt(sample: TokenSample) -> None:
    torch.manual_seed(3)
    net = make_net(SMALL["splitting"])
    rows, _, _ = splittings(sample)
    net.set_scales(rows)
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        loss = net.loss(rows)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(float(loss.detach()))
    missing = [name for name, p in net.named_parameters() if p.grad is None or not torch.any(p.grad != 0)]
    assert missing == []
    assert losses[-1] < losses[0] - 0.5


def test_log_prob_ignores_order_and_azimuth(sample: TokenSample, model: TreeModel) -> None:
    base = model.log_prob(sample)
    order = np.concatenate([np.arange(a, b)[::-1] for a, b in zip(sample.offsets, sample.offsets[1:], strict=False)])
    c, s = np.cos(0.7), np.sin(0.7)
    turned = sample.p4[order] @ np.array([[1, 0, 0, 0], [0, c, s, 0], [0, -s, c, 0], [0, 0, 0, 1]])
    other = TokenSample(sample.flavour, sample.pt, sample.offsets, sample.species[order], turned)
    assert np.isfinite(base).all()
    assert np.median(np.abs(model.log_prob(other) - base)) < 0.05


def test_jacobian_of_two_tokens_against_derivatives() -> None:
    """d(coordinate)/dcos by differences, over the two-body phase space p*/4M of its definition."""
    p4 = np.array([[9.0, 0.5, 0.2, 8.0], [90.0, 9.0, 3.0, 85.0], [5.0, 1e-3, 0.0, 4.9]])
    mass = np.sqrt(p4[:, 0] ** 2 - (p4[:, 1:] ** 2).sum(-1))
    m_a, m_b = np.full(3, SPECIES_MASS[3]), np.full(3, SPECIES_MASS[5])
    flavour, pt = np.ones(3, int), np.full(3, 100.0)

    def rows(value: float, axes: Floats) -> tuple[Splittings, Nodes, Ints]:
        a, b = split(p4, mass, axes, m_a, m_b, np.full(3, value), np.full(3, 0.4))
        both = np.stack([a, b], 1).reshape(-1, 4)
        return splittings(TokenSample(flavour, pt, np.arange(0, 8, 2), np.array([3, 5] * 3), both))

    # the axes depend on the node alone: those of any pair of children will do
    _, tree, nodes = rows(0.0, np.repeat(np.eye(3)[None], 3, 0))
    energy = parton_energy(flavour, pt)
    axes = context(tree, nodes, energy, set_features(flavour, energy, p4, np.full(3, 2)))[1]
    for cos in (-0.98, -0.3, 0.6, 0.999):
        up, down = (
            rows(cos + sign * 1e-5 * (1 - cos**2), axes)[0].variables[:, COS_THETA].double().numpy() for sign in (1, -1)
        )
        batch, tree, nodes = rows(cos, axes)
        expected = (up - down) / (2e-5 * (1 - cos**2)) * 4 * mass / breakup(mass, m_a, m_b)
        np.testing.assert_allclose(np.exp(log_jacobian(batch, tree, nodes)), expected, rtol=0.05)


def test_hadrons_on_the_axis_are_at_the_pole() -> None:
    """One photon on the parton's axis: a node that it leads sees the axis ahead, and the photon at the pole."""
    for energy_on_axis, ahead in ((40.0, True), (4.0, False)):
        b = np.array([energy_on_axis, 0.0, 0.0, energy_on_axis])
        a = np.array([np.sqrt(109.0), 3.0, 0.0, 10.0])
        pair = TokenSample(np.array([1]), np.array([60.0]), np.array([0, 2]), np.array([0, 0]), np.stack([a, b]))
        rows, tree, nodes = splittings(pair)
        energy = parton_energy(pair.flavour, pair.pt)
        _, axes = context(tree, nodes, energy, set_features(pair.flavour, energy, a[None] + b, np.array([2])))
        np.testing.assert_allclose(axes[0] @ axes[0].T, np.eye(3), atol=1e-12)
        flight = tree.p4[nodes[0], 1:] / np.linalg.norm(tree.p4[nodes[0], 1:])
        is_flight = abs(axes[0, 2] @ flight - 1) < 1e-9
        assert is_flight != ahead
        if ahead:  # the softer is A
            assert float(rows.variables[0, COS_THETA]) < -12


def test_weights_round_trip(model: TreeModel, tmp_path: Path) -> None:
    from fastsim.sources import cards

    path = model.save(tmp_path, version="1", training={"command": "test"})
    card, weights = cards.load(path)
    loaded = TreeModel.from_card(card, weights)
    partons = Partons.from_pt_eta_phi(np.full(4, 21), np.full(4, 50.0), np.zeros(4), np.zeros(4))
    assert len(loaded.sample(partons, rng=np.random.default_rng(1))) == 4
    first, second = model.state_dict(), loaded.state_dict()
    for key, value in first.items():
        torch.testing.assert_close(value, second[key], atol=1e-3, rtol=1e-3)
    small = {**card.config, "splitting": {**card.config["splitting"], "width": 32}}
    object.__setattr__(card, "config", small)
    with pytest.raises(WeightsError, match="do not fit"):
        TreeModel.from_card(card, weights)


def test_latent_can_be_given_and_is_returned(model: TreeModel) -> None:
    partons = Partons.from_pt_eta_phi(np.full(6, 1), np.full(6, 60.0), np.zeros(6), np.zeros(6))
    _, latent = model.sample_with_latent(partons, rng=np.random.default_rng(1))
    hadrons, used = model.sample_with_latent(partons, rng=np.random.default_rng(2), latent=latent)
    assert (used.counts == latent.counts).all()
    # an untrained model gives sets at their mass threshold, where rounding is amplified
    assert np.abs(hadrons.sums()[:, 0] - latent.total[:, 0]).max() < 1e-5 * 60


def test_features_are_what_their_names_say(sample: TokenSample) -> None:
    rows, tree, nodes = splittings(sample)
    feature = {name: rows.context[:, k].double().numpy() for k, name in enumerate(FEATURES)}
    assert len(feature) == rows.context.shape[1] == NUM_CONTEXT
    p4, parent = tree.p4[nodes], tree.parent[nodes]
    axis_angle = np.arctan2(np.hypot(p4[:, 1], p4[:, 2]), p4[:, 3])
    energy = parton_energy(sample.flavour, sample.pt)[tree.set_index[nodes]]
    sizes, counts = tree.size[nodes], sample.counts[tree.set_index[nodes]]
    sibling = np.where(tree.left[parent] == nodes, tree.right[parent], tree.left[parent])
    inner = parent >= 0
    for name, expected, chosen in (
        ("log_energy", np.log(p4[:, 0]), slice(None)),
        ("log_energy_fraction", np.log(p4[:, 0] / energy), slice(None)),
        ("log_mass", np.log(tree.mass[nodes]), slice(None)),
        ("log_size", np.log(sizes), slice(None)),
        ("log_num_tokens", np.log(counts), slice(None)),
        ("log_parton_energy", np.log(energy), slice(None)),
        ("is_root", ~inner, slice(None)),
        ("pz_over_energy", p4[:, 3] / p4[:, 0], slice(None)),
        ("log_axis_angle", np.log(axis_angle + 1e-6), slice(None)),
        ("axis_z", np.cos(axis_angle), slice(None)),
        ("flavour_21", sample.flavour[tree.set_index[nodes]] == 21, slice(None)),
        ("log_sibling_size", np.log(tree.size[sibling]), inner),
        ("log_sibling_energy_fraction", np.log(tree.p4[sibling, 0] / energy), inner),
    ):
        np.testing.assert_allclose(feature[name][chosen], expected[chosen], rtol=1e-4, atol=1e-4, err_msg=name)


def test_splittings_are_plain_rows(sample: TokenSample) -> None:
    rows, tree, nodes = splittings(sample)
    assert isinstance(rows, Splittings) and len(rows) == (np.diff(sample.offsets) - 1).sum()
    assert torch.isfinite(rows.context).all()
    assert (np.bincount(tree.set_index[nodes]) == np.diff(sample.offsets) - 1).all()


def test_no_partons_give_no_sets(model: TreeModel) -> None:
    none = Partons.from_pt_eta_phi(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0))
    sets, latent = model.sample_with_latent(none, rng=np.random.default_rng(1))
    assert len(sets) == 0 and latent.counts.shape == (0, len(SPECIES_MASS)) and latent.total.shape == (0, 4)


def test_log_prob_does_not_depend_on_the_batch(sample: TokenSample, model: TreeModel) -> None:
    np.testing.assert_allclose(model.log_prob(sample)[3:5], model.log_prob(sample[3:5]), rtol=1e-4)


def test_collinear_photons_and_nodes_at_rest() -> None:
    photon = np.array([20.0, 0.0, 0.0, 20.0])
    pair = TokenSample(
        np.array([1]), np.array([50.0]), np.array([0, 2]), np.array([0, 0]), np.stack([photon, 2 * photon])
    )
    rows, _, _ = splittings(pair)
    assert torch.isfinite(rows.context).all() and torch.isfinite(rows.variables[:, 2:]).all()
    at_rest = np.array([[10.0, 0.0, 0.0, 0.0]])
    a, b = split(at_rest, np.array([10.0]), np.eye(3)[None], *(np.array([x]) for x in (1.0, 2.0, 0.3, 1.0)))
    np.testing.assert_allclose(a + b, at_rest, atol=1e-12)


def test_more_tokens_than_a_byte_holds_are_refused(model: TreeModel) -> None:
    counts = np.zeros((1, len(SPECIES_MASS)), dtype=np.int64)
    counts[0, 1] = 256
    sampler, energy = SplittingSampler(model.net), np.array([200.0])
    with pytest.raises(ValueError, match="256 tokens of one species"):
        sample_tree(sampler, np.array([1]), energy, counts, np.array([[200.0, 0, 0, 150.0]]), np.random.default_rng(1))


def test_a_model_that_has_sampled_goes_to_other_processes(model: TreeModel, sample: TokenSample) -> None:
    latent = Latent.of(sample)
    first = model.place(sample.flavour, sample.pt, latent, torch.Generator().manual_seed(1))
    other = pickle.loads(pickle.dumps(model))
    second = other.place(sample.flavour, sample.pt, latent, torch.Generator().manual_seed(1))
    np.testing.assert_array_equal(first.p4, second.p4)
