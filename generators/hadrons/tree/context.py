"""What the splitting of a node may depend on: its features, and the frame that describes the splitting.

The *sibling* of a node is the other child of its parent, its *uncle* the sibling of its parent, its *granduncle* that
of its parent's parent, the *axis* the direction of the parton, along z in the axis frame. The *partner* of a node in a
number (charge, baryon number, strangeness) is what balances it: of the siblings of the node and of its ancestors the
nearest whose number has the other sign, or the part of it that has. A star marks the rest frame of the node. An angle
theta is often given as tan(theta/2), which keeps its precision at small angles and transforms simply: in the rest frame
of a node that moves along z, tan(theta*/2) = tan(theta/2) (E + p) / M for a massless direction.

The loops over nodes are compiled.
"""

from __future__ import annotations

from math import sqrt, tan

import numpy as np
from numpy.typing import NDArray

from fastsim.compiled import compiled, compiled_inside
from fastsim.event import Floats, Ints
from generators.hadrons.tokens import CONTENT, FLAVOURS, HIGHER_SPIN, LOG_MASS, MIN_MASS, TYPE_CONTENT
from generators.hadrons.tree.clustering import Nodes
from generators.hadrons.tree.sharing import NUM_NUMBERS, TYPE_NUMBERS, numbers_of
from generators.hadrons.tree.vectors import (
    AXIS,
    across_axes,
    boosted_tangent,
    components,
    dot,
    half_tangent,
    polar,
    sin_cos,
    turned,
    unit,
)

_SCALARS = (
    "log_energy_fraction",  # of the parton's energy
    "log_energy",
    "log_mass",
    "log_mass_over_energy",
    "log_size",  # number of tokens
    "log_free_mass",  # beyond the masses of the tokens
    "log_free_mass_fraction",
    "log_sibling_energy_fraction",
    "log_sibling_mass",
    "log_sibling_size",
    "log_sibling_angle",
    "log_sibling_kt",  # energy times angle
    "log_uncle_energy_fraction",
    "log_uncle_angle",
    "log_axis_angle",
    "pz_over_energy",
    "log_mass_over_sibling_kt",
    "is_root",
    "charge",
    "baryon_number",
    "strangeness",
    "axis_logit_star",  # logit of (1 + cos theta*) / 2 of the axis
    "axis_is_ahead",  # in the rest frame: then z* is the axis, otherwise the direction of flight
    "sibling_cos_star",  # about z*
    "flight_cos_star",  # about z*
    "flight_cos_phi_star",
    "flight_sin_phi_star",
)
_DIRECTION = ("x", "y", "z", "cos_phi", "sin_phi")
"""Numbers of a direction in a node's own frame; its azimuth is given too: at small angles the components hide it."""
_NEIGHBOURS = tuple(
    f"{of}_{name}" for of in ("sibling", "uncle") for name in ("charge", "baryon_number", "strangeness", "has_carrier")
)
"""What lies on either side of a node: where its baryon came from, an antibaryon is near. All 0 for the recoil."""
_GRANDUNCLE = (
    *(f"granduncle_{name}" for name in ("charge", "baryon_number", "strangeness", "has_carrier")),
    "log_granduncle_energy_fraction",
    "log_granduncle_angle",
)
"""The generation before the uncle's; all 0 where there is none."""
_NUMBERS = ("charge", "baryon_number", "strangeness")
_OF_PARTNER = ("is_there", "cos_phi", "sin_phi", "cos_phi_star", "sin_phi_star")
_LOGS_OF_PARTNER = ("energy_fraction", "size", "generation", "energy_star", "tangent_star")
_PARTNERS = tuple(
    name
    for number in _NUMBERS
    for name in (
        *(f"{number}_partner_{of}" for of in _OF_PARTNER),
        *(f"log_{number}_partner_{of}" for of in (*_LOGS_OF_PARTNER, "angle")),
    )
)
"""Where a baryon left many generations ago, an antibaryon is still near. All 0 where there is no partner."""
_IN_REST_FRAME = ("log_sibling_tangent_star", "log_uncle_tangent_star", "uncle_cos_phi_star", "uncle_sin_phi_star")
"""Directions about z* as seen from the node's rest frame, as its own splitting is described; tan(theta*/2) is that of
massless particles. The energy of a partner in that frame is relative to half the node's mass."""
_SET = (
    *(f"flavour_{flavour}" for flavour in FLAVOURS),
    "log_parton_energy",
    "log_num_tokens",
    "total_energy_fraction",
    "total_pz_fraction",
    "log_total_mass_fraction",
    "log_total_pt_fraction",
    "log_scale_over_pt",
    "carrier_charge",
    "carrier_baryon_number",
    "carrier_strangeness",
    "log_carrier_mass",  # log(1 + m / GeV), the lower end of its line shape: tells heavy hadrons apart
    "log_light_carrier_mass",  # log(m / GeV): tells light hadrons apart
    "carrier_has_higher_spin",
)
FEATURES: tuple[str, ...] = (
    *_SCALARS,
    *(f"uncle_{name}" for name in _DIRECTION),
    *(f"axis_{name}" for name in _DIRECTION),
    *_NEIGHBOURS,
    *_GRANDUNCLE,
    *_PARTNERS,
    *_IN_REST_FRAME,
    *_SET,
)
"""Names of the columns of :func:`context`."""
NUM_CONTEXT = len(FEATURES)
_CARRIER, _CARRIER_OF_SET = FEATURES.index("carrier_charge"), _SET.index("carrier_charge")
CARRIER_NUMBERS = slice(_CARRIER, _CARRIER + NUM_NUMBERS)
"""Columns of charge, baryon number and strangeness of the carrier."""

# compiled code takes numbers, not names
_PZ_OVER_ENERGY, _IS_ROOT = FEATURES.index("pz_over_energy"), FEATURES.index("is_root")
_CHARGE = FEATURES.index("charge")
_AXIS_IS_AHEAD, _SIBLING_COS = FEATURES.index("axis_is_ahead"), FEATURES.index("sibling_cos_star")
_FLIGHT_COS = FEATURES.index("flight_cos_star")
_FLIGHT_COS_PHI, _FLIGHT_SIN_PHI = FEATURES.index("flight_cos_phi_star"), FEATURES.index("flight_sin_phi_star")
_UNCLE_DIRECTION, _AXIS_DIRECTION = FEATURES.index("uncle_x"), FEATURES.index("axis_x")
_NUM_DIRECTION = len(_DIRECTION)
_SIBLING_NUMBERS, _UNCLE_NUMBERS = FEATURES.index("sibling_charge"), FEATURES.index("uncle_charge")
_GRANDUNCLE_NUMBERS = FEATURES.index("granduncle_charge")
_NUM_SEEN = NUM_NUMBERS + 1
"""What nodes show of a neighbour: its numbers, and whether it has the carrier."""
_UNCLE_COS_PHI_STAR = FEATURES.index("uncle_cos_phi_star")
_NUM_OF_PARTNER = len(_OF_PARTNER)
_FIRST_PARTNER, _NUM_PARTNER = FEATURES.index("charge_partner_is_there"), len(_PARTNERS) // NUM_NUMBERS

_LOGS = (
    "log_energy_fraction",
    "log_energy",
    "log_mass",
    "log_mass_over_energy",
    "log_size",
    "log_free_mass",
    "log_free_mass_fraction",
    "log_sibling_energy_fraction",
    "log_sibling_mass",
    "log_sibling_size",
    "log_uncle_energy_fraction",
    "axis_logit_star",
    "log_sibling_angle",
    "log_sibling_kt",
    "log_uncle_angle",
    "log_axis_angle",
    "log_mass_over_sibling_kt",
    "log_granduncle_energy_fraction",
    "log_granduncle_angle",
    "log_sibling_tangent_star",
    "log_uncle_tangent_star",
    *(f"log_{number}_partner_{of}" for number in _NUMBERS for of in (*_LOGS_OF_PARTNER, "angle")),
)
"""The features that are logarithms: their arguments are gathered first, and all logarithms taken at once."""
(
    _ENERGY_FRACTION,
    _ENERGY,
    _MASS,
    _MASS_OVER_ENERGY,
    _SIZE,
    _FREE_MASS,
    _FREE_MASS_FRACTION,
    _SIBLING_ENERGY,
    _SIBLING_MASS,
    _SIBLING_SIZE,
    _UNCLE_ENERGY,
    _AXIS_TANGENT,
    _SIBLING_ANGLE,
    _SIBLING_KT,
    _UNCLE_ANGLE,
    _AXIS_ANGLE,
    _MASS_OVER_KT,
    _GRANDUNCLE_ENERGY,
    _GRANDUNCLE_ANGLE,
    _SIBLING_TANGENT,
    _UNCLE_TANGENT,
    _PARTNER_LOGS,
) = range(_LOGS.index("log_charge_partner_energy_fraction") + 1)
_NUM_PARTNER_LOGS = len(_LOGS_OF_PARTNER) + 1
_COLUMN_OF_LOG = np.array([FEATURES.index(name) for name in _LOGS])
_TO_SIBLING, _TO_UNCLE, _TO_AXIS, _TO_GRANDUNCLE, _TO_PARTNER = range(5)
_NUM_ANGLES = _TO_PARTNER + NUM_NUMBERS
_LEAST_TANGENT = 1e-3
_HALF_UNIT = tan(0.5)
"""tan(theta/2) of an angle of 1 rad, whose logarithm is 0: for what is not there."""


_GROUPS: Ints = np.flatnonzero((numbers_of(TYPE_CONTENT) != TYPE_NUMBERS).any(1))
_OF_GROUPS: Floats = TYPE_NUMBERS[_GROUPS]
"""Types whose members share numbers, which neighbours show and a node itself does not, (D,), and these, (D, 3)."""


def _carrier_features(carrier: Ints) -> Floats:
    """Compute the last columns of ``FEATURES``, (N, 6), of carriers, species (N,); 0 for -1, which is none."""
    has = carrier >= 0
    numbers = numbers_of(np.where(has[:, None], CONTENT[carrier], 0))
    masses = np.log1p(MIN_MASS[carrier]), LOG_MASS[carrier], HIGHER_SPIN[carrier]
    return np.concatenate([numbers, np.where(has[:, None], np.stack(masses, -1), 0.0)], -1)


@compiled_inside
def _show_numbers(
    node: int,
    counts: NDArray[np.uint8],
    numbers: Floats,
    carrier: NDArray[np.float32],
    out: NDArray[np.float32],
    k: int,
    column: int,
) -> None:
    """Fill charge, baryon number and strangeness of a node without its carrier, and whether it has the carrier.

    They take the columns of ``out[k]`` from ``column`` on.
    """
    has = counts[node, 0]
    for j in range(NUM_NUMBERS):
        out[k, column + j] = numbers[node, j] - has * carrier[j]
    out[k, column + NUM_NUMBERS] = has


@compiled_inside
def _other_child(node: int, left: Ints, right: Ints, parent: Ints) -> int:
    """Return the sibling of a node that is no root."""
    up = parent[node]
    return int(right[up] if left[up] == node else left[up])


@compiled_inside
def _partner(
    node: int, which: int, numbers: Floats, p4: Floats, size: Ints, left: Ints, right: Ints, parent: Ints
) -> tuple[int, int]:
    """Return the partner of a node in a number, -1 where there is none, and how many generations ago it left.

    A tree that grows looks like the finished one: nodes wait in the order of their depth, so that those two
    generations before the node have split, but for those of two tokens, which come last. The partner is looked for
    down to there.
    """
    own, found, generation, child = numbers[node, which], -1, 0, node
    while abs(own) > 0.5 and found < 0 and parent[child] >= 0:
        other = _other_child(child, left, right, parent)
        generation += 1
        if numbers[other, which] * own < -0.25:
            found = other
        child = parent[child]
    for _ in range(generation - 2):
        if found < 0 or size[found] < 3:
            break
        one, two = left[found], right[found]
        in_one, in_two = numbers[one, which] * own < -0.25, numbers[two, which] * own < -0.25
        if in_one and in_two:
            to_node = unit((p4[node, 1], p4[node, 2], p4[node, 3]))
            to_one = unit((p4[one, 1], p4[one, 2], p4[one, 3]))
            to_two = unit((p4[two, 1], p4[two, 2], p4[two, 3]))
            found = one if dot(to_node, to_one) >= dot(to_node, to_two) else two
        else:
            found = one if in_one else two
    return found, generation


@compiled
def _context(
    p4: Floats,
    mass: Floats,
    least: Floats,
    counts: NDArray[np.uint8],
    size: Ints,
    left: Ints,
    right: Ints,
    parent: Ints,
    set_index: Ints,
    energy: Floats,
    numbers: Floats,
    of_set: NDArray[np.float32],
    groups: Ints,
    of_groups: Floats,
    rows: Ints,
    axes: Floats,
    tangents: Floats,
    logs: Floats,
    out: NDArray[np.float32],
) -> None:
    """Fill the features, or the arguments of their logarithms, and the axes of the rest frames.

    ``numbers`` (all nodes, 3) are their numbers with the carriers', ``of_set`` (N, G) the features of the sets;
    ``groups`` (D,) are the types whose numbers ``of_groups`` (D, 3) count for neighbours, but not for a node itself;
    ``rows`` (K,) are the nodes; ``tangents`` (K, 7) takes
    tan(theta/2) to sibling, uncle, axis, granduncle and partners, ``logs`` (K, 39) the arguments of the
    logarithms of ``_LOGS`` that need no angle, ``axes`` (K, 3, 3) and ``out`` (K, F) the rest but the
    features of the set.
    """
    for k in range(len(rows)):
        i = rows[k]
        m, n, e_parton = mass[i], size[i], energy[set_index[i]]
        e, own = p4[i, 0], (p4[i, 1], p4[i, 2], p4[i, 3])
        square = dot(own, own)
        carrier = of_set[set_index[i], _CARRIER_OF_SET : _CARRIER_OF_SET + NUM_NUMBERS]
        for j in range(NUM_NUMBERS):
            number = numbers[i, j] - counts[i, 0] * carrier[j]
            for g in range(len(groups)):
                number -= counts[i, groups[g]] * of_groups[g, j]
            out[k, _CHARGE + j] = number
        # the recoiling hemisphere is the sibling of a root, and the uncle of its children
        up = parent[i]
        above = parent[up] if up >= 0 else -1
        top = i if up < 0 else up
        recoil_e, recoil = 2 * e_parton - p4[top, 0], (-p4[top, 1], -p4[top, 2], -p4[top, 3])
        sib_e, sib, unc_e, unc = recoil_e, recoil, recoil_e, recoil
        for c in range(_SIBLING_NUMBERS, _UNCLE_NUMBERS + _NUM_SEEN):
            out[k, c] = 0.0
        if up < 0:
            sib_mass, sib_n = sqrt(max(recoil_e * recoil_e - dot(recoil, recoil), 0.0)), 1
        else:
            j = right[up] if left[up] == i else left[up]
            sib_e, sib, sib_mass, sib_n = p4[j, 0], (p4[j, 1], p4[j, 2], p4[j, 3]), mass[j], size[j]
            _show_numbers(j, counts, numbers, carrier, out, k, _SIBLING_NUMBERS)
        if above >= 0:
            j = right[above] if left[above] == up else left[above]
            unc_e, unc = p4[j, 0], (p4[j, 1], p4[j, 2], p4[j, 3])
            _show_numbers(j, counts, numbers, carrier, out, k, _UNCLE_NUMBERS)
        to_sib, to_unc = unit(sib), unit(unc)
        # the node's own frame: z along its momentum, x in the plane of the sibling
        z = AXIS if square == 0 else unit(own)
        x, y = across_axes(AXIS if up < 0 else to_sib, z)
        half_sib, half_unc, half_axis = half_tangent(z, to_sib), half_tangent(z, to_unc), half_tangent(z, AXIS)
        tangents[k, _TO_SIBLING], tangents[k, _TO_UNCLE], tangents[k, _TO_AXIS] = half_sib, half_unc, half_axis
        for c in range(_GRANDUNCLE_NUMBERS, _GRANDUNCLE_NUMBERS + _NUM_SEEN):
            out[k, c] = 0.0
        logs[k, _GRANDUNCLE_ENERGY], tangents[k, _TO_GRANDUNCLE] = 1.0, _HALF_UNIT
        if above >= 0 and parent[above] >= 0:
            j = _other_child(above, left, right, parent)
            _show_numbers(j, counts, numbers, carrier, out, k, _GRANDUNCLE_NUMBERS)
            logs[k, _GRANDUNCLE_ENERGY] = max(p4[j, 0] / e_parton, 1e-9)
            tangents[k, _TO_GRANDUNCLE] = half_tangent(z, unit((p4[j, 1], p4[j, 2], p4[j, 3])))
        free = max(m - least[i], 1e-6)
        logs[k, _ENERGY_FRACTION], logs[k, _ENERGY] = e / e_parton, e
        logs[k, _MASS], logs[k, _MASS_OVER_ENERGY], logs[k, _SIZE] = m, m / e, n
        logs[k, _FREE_MASS], logs[k, _FREE_MASS_FRACTION] = free, free / m
        logs[k, _SIBLING_ENERGY] = max(sib_e / e_parton, 1e-9)
        logs[k, _SIBLING_MASS], logs[k, _SIBLING_SIZE] = sib_mass + 0.01, sib_n
        logs[k, _UNCLE_ENERGY] = max(unc_e / e_parton, 1e-9)
        out[k, _PZ_OVER_ENERGY] = own[2] / e
        out[k, _IS_ROOT] = 1.0 if up < 0 else 0.0
        uncle = components(x, y, z, to_unc)
        axis = components(x, y, z, AXIS)
        for i in range(_NUM_DIRECTION):
            out[k, _UNCLE_DIRECTION + i], out[k, _AXIS_DIRECTION + i] = uncle[i], axis[i]
        # the rest frame: z* along the node's flight, or along the axis where that lies ahead
        p = sqrt(square)
        tangent = boosted_tangent(e, p, m, half_axis)
        sin_axis, cos_axis = sin_cos(tangent)
        ahead = cos_axis > 0
        to_sib_star = (0.0, 0.0, -1.0)
        if up >= 0:
            sin_sib, cos_sib = sin_cos(boosted_tangent(e, p, m, half_sib))
            to_sib_star = (sin_sib, 0.0, cos_sib)
        cos_phi, sin_phi = axis[3], axis[4]
        z_star = (sin_axis * cos_phi, sin_axis * sin_phi, cos_axis) if ahead else AXIS
        x_star, y_star = across_axes(to_sib_star if ahead else (1.0, 0.0, 0.0), z_star)
        axes[k, 0, 0], axes[k, 0, 1], axes[k, 0, 2] = turned(x_star, x, y, z)
        axes[k, 1, 0], axes[k, 1, 1], axes[k, 1, 2] = turned(y_star, x, y, z)
        axes[k, 2, 0], axes[k, 2, 1], axes[k, 2, 2] = turned(z_star, x, y, z)
        across = sqrt(x_star[2] * x_star[2] + y_star[2] * y_star[2])
        has_azimuth = ahead and across > 1e-9
        logs[k, _AXIS_TANGENT] = tangent
        out[k, _AXIS_IS_AHEAD] = 1.0 if ahead else 0.0
        out[k, _SIBLING_COS] = dot(to_sib_star, z_star)
        out[k, _FLIGHT_COS] = z_star[2]
        out[k, _FLIGHT_COS_PHI] = x_star[2] / across if has_azimuth else 0.0
        out[k, _FLIGHT_SIN_PHI] = y_star[2] / across if has_azimuth else 0.0
        logs[k, _SIBLING_TANGENT] = half_tangent(to_sib_star, z_star)
        sin, cos = sin_cos(boosted_tangent(e, p, m, half_unc))
        seen = polar((sin * uncle[3], sin * uncle[4], cos), x_star, y_star, z_star)
        logs[k, _UNCLE_TANGENT] = seen[0]
        out[k, _UNCLE_COS_PHI_STAR], out[k, _UNCLE_COS_PHI_STAR + 1] = seen[1], seen[2]
        for which in range(NUM_NUMBERS):
            j, generation = _partner(rows[k], which, numbers, p4, size, left, right, parent)
            place, first = _FIRST_PARTNER + which * _NUM_PARTNER, _PARTNER_LOGS + which * _NUM_PARTNER_LOGS
            for c in range(_NUM_OF_PARTNER):
                out[k, place + c] = 0.0
            for c in range(_NUM_PARTNER_LOGS - 1):
                logs[k, first + c] = 1.0
            tangents[k, _TO_PARTNER + which] = _HALF_UNIT
            if j >= 0:
                momentum = (p4[j, 1], p4[j, 2], p4[j, 3])
                to = unit(momentum)
                half, local = half_tangent(z, to), components(x, y, z, to)
                tangents[k, _TO_PARTNER + which] = half
                sin, cos = sin_cos(boosted_tangent(e, p, m, half))
                seen = polar((sin * local[3], sin * local[4], cos), x_star, y_star, z_star)
                out[k, place], out[k, place + 1], out[k, place + 2] = 1.0, local[3], local[4]
                out[k, place + 3], out[k, place + 4] = seen[1], seen[2]
                logs[k, first] = max(p4[j, 0] / e_parton, 1e-9)
                logs[k, first + 1], logs[k, first + 2] = size[j], generation
                logs[k, first + 3] = max(2 * (p4[j, 0] * e - dot(momentum, own)) / (m * m), 1e-9)
                logs[k, first + 4] = seen[0]


@compiled
def _take_angles(angles: Floats, logs: Floats) -> None:
    """Fill the arguments of the logarithms (K, 39) that need angles (K, 7) in rad, and keep tangents within bounds."""
    for k in range(len(logs)):
        kt = logs[k, _ENERGY] * angles[k, _TO_SIBLING]
        logs[k, _SIBLING_ANGLE], logs[k, _SIBLING_KT] = angles[k, _TO_SIBLING] + 1e-6, kt + 1e-4
        logs[k, _UNCLE_ANGLE], logs[k, _AXIS_ANGLE] = angles[k, _TO_UNCLE] + 1e-6, angles[k, _TO_AXIS] + 1e-6
        logs[k, _GRANDUNCLE_ANGLE] = angles[k, _TO_GRANDUNCLE] + 1e-6
        logs[k, _MASS_OVER_KT] = logs[k, _MASS] / (kt + 1e-3)
        for t in (_SIBLING_TANGENT, _UNCLE_TANGENT):
            logs[k, t] = min(max(logs[k, t], _LEAST_TANGENT), 1 / _LEAST_TANGENT)
        for which in range(NUM_NUMBERS):
            last = _PARTNER_LOGS + (which + 1) * _NUM_PARTNER_LOGS - 1
            logs[k, last - 1] = min(max(logs[k, last - 1], _LEAST_TANGENT), 1 / _LEAST_TANGENT)
            logs[k, last] = angles[k, _TO_PARTNER + which] + 1e-6


@compiled
def _place(
    logs: Floats, columns: Ints, of_set: NDArray[np.float32], set_index: Ints, rows: Ints, out: NDArray[np.float32]
) -> None:
    """Put the logarithms (K, 39) into their ``columns`` of ``out`` (K, F), the features of the sets into its last.

    ``of_set`` (N, G) are the features of the sets, ``set_index`` the sets of all nodes, ``rows`` (K,) the nodes.
    """
    first = out.shape[1] - of_set.shape[1]
    for k in range(len(rows)):
        # logit (1 + cos theta*) / 2 = -2 log tan(theta*/2)
        logs[k, _AXIS_TANGENT] = min(max(-2 * logs[k, _AXIS_TANGENT], -12.0), 12.0)
        for i in range(len(columns)):
            out[k, columns[i]] = logs[k, i]
        of = set_index[rows[k]]
        for i in range(of_set.shape[1]):
            out[k, first + i] = of_set[of, i]


def set_features(
    flavour: Ints, energy: Floats, total: Floats, n: Ints, ratio: Floats, carrier: Ints, tune: Floats
) -> NDArray[np.float32]:
    """Compute what is the same for all nodes of a set: the last columns of ``FEATURES`` and its tune, (N, G).

    Args:
        flavour: of the partons, one of ``tokens.FLAVOURS``, (N,).
        energy: of the partons, in GeV, (N,).
        total: four-momenta of the sets in GeV, (N, 4).
        n: numbers of tokens, (N,).
        ratio: of the scale at which the shower starts to pT, (N,).
        carrier: species of the carriers, -1 for none, (N,).
        tune: vectors of the tunes, (N, P), P = 0 for models that have none.
    """
    onehot = flavour[:, None] == np.array(FLAVOURS)
    scaled = total / energy[:, None]
    mass2 = np.maximum(scaled[:, 0] ** 2 - (scaled[:, 1:] ** 2).sum(-1), 1e-12)
    across = np.hypot(scaled[:, 1], scaled[:, 2])
    columns = [np.log(energy), np.log(n), scaled[:, 0], scaled[:, 3], 0.5 * np.log(mass2), np.log(across + 1e-4)]
    columns.append(np.log(np.clip(ratio, 1e-3, 1.0)))
    return np.concatenate([onehot, np.stack(columns, -1), _carrier_features(carrier), tune], axis=-1, dtype=np.float32)


def context(tree: Nodes, rows: Ints, energy: Floats, of_set: NDArray[np.float32]) -> tuple[NDArray[np.float32], Floats]:
    """Compute what the splittings of nodes are conditioned on, and the frames that describe them.

    Features are scalars and directions of the node, its sibling and its uncle. Sibling and uncle of a root, and the
    uncle of its children, are the recoiling hemisphere.

    Args:
        tree: trees that hold the nodes' ancestors and the children of these.
        rows: nodes of two tokens or more, (K,).
        energy: of the partons, in GeV, (N,).
        of_set: the result of :func:`set_features`, (N, G).

    Returns:
        Features (K, NUM_CONTEXT + P) with the columns ``FEATURES`` and the tune's, and axes (K, 3, 3) of the nodes'
        rest frames: unit vectors x, y, z in the coordinates of the lab. z is the node's direction of flight, x lies
        towards its sibling (for a root, towards the axis). Where the axis lies ahead in the rest frame, z is the axis
        instead: hadrons crowd about it, whatever the node's own direction, and so they do it at the pole.
    """
    width = NUM_CONTEXT - len(_SET) + of_set.shape[1]
    out, axes = np.empty((len(rows), width), dtype=np.float32), np.empty((len(rows), 3, 3))
    links = (tree.left, tree.right, tree.parent, tree.set_index)
    tangents, logs = np.empty((len(rows), _NUM_ANGLES)), np.empty((len(rows), len(_LOGS)))
    nodes = (tree.p4, tree.mass, tree.least, tree.counts, tree.size)
    _context(*nodes, *links, energy, tree.numbers, of_set, _GROUPS, _OF_GROUPS, rows, axes, tangents, logs, out)
    # angles and logarithms one by one would be most of the work
    angles = np.arctan(tangents)
    angles *= 2
    _take_angles(angles, logs)
    np.log(logs, out=logs)
    _place(logs, _COLUMN_OF_LOG, of_set, tree.set_index, rows, out)
    return out, axes
