r"""Flow matching: the path between noise and data, the denoiser's preconditioning, and sampling.

With data :math:`x`, noise :math:`\epsilon` and noise level :math:`\sigma` from 1 (noise) to 0 (data),

.. math:: x_\sigma = (1 - \sigma) x + \sigma \epsilon, \qquad u = \epsilon - x = \mathrm{d} x_\sigma / \mathrm{d}\sigma

a network learns :math:`E[u | x_\sigma]`, and a diffusers scheduler integrates it. This is the diffusion model with
:math:`\alpha = 1 - \sigma` in another parametrisation (Gao et al., Diffusion meets flow matching, 2024).

References:
    Lipman et al., Flow matching for generative modeling, 2022, arXiv:2210.02747.
    Karras et al., Elucidating the design space of diffusion-based generative models, 2022, arXiv:2206.00364.
    Lu et al., DPM-Solver++, 2022, arXiv:2211.01095.
    Esser et al., Scaling rectified flow transformers (logit-normal times, shift), 2024, arXiv:2403.03206.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Solver = Literal["euler", "heun", "dpm", "rk2"]
_importing = threading.Lock()
_TRAIN_TIMESTEPS = 1000
"""Timesteps of diffusers' schedulers between noise levels 0 and 1."""


def draw_sigma(num: int, mean: float, width: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw noise levels (num,) whose logit is normal, in strata so that every batch covers the whole range.

    Args:
        num: how many.
        mean: of logit(sigma).
        width: standard deviation of logit(sigma).
        rng: all randomness.
    """
    from scipy.special import expit, ndtri

    uniform = (rng.permutation(num) + rng.uniform(0, 1, num)) / num
    return np.asarray(expit(mean + width * ndtri(np.clip(uniform, 1e-6, 1 - 1e-6))))


def interpolate(x: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """Compute x_sigma = (1 - sigma) x + sigma noise of data and noise (T, D) at noise levels (T, 1)."""
    return torch.lerp(x, noise, sigma)


def preconditioning(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Compute (c_in, c_skip, c_out), with which :math:`u = c_{skip} x_\sigma + c_{out} F(c_{in} x_\sigma)`.

    For data of unit variance, inputs and targets of the network F have unit variance, and F = 0 is the best linear
    guess (Karras et al. 2022, for this path).

    >>> [float(c) for c in preconditioning(torch.tensor(1.0))]
    [1.0, 1.0, 1.0]
    """
    variance = sigma**2 + (1 - sigma) ** 2
    scale = variance.rsqrt()
    return scale, (2 * sigma - 1) / variance, scale


def _diffusers() -> Any:
    """Import diffusers, one thread after the other: a second one that imports it meanwhile gets a module without names.

    The package puts another module into its own place while it is imported.
    """
    with _importing:
        import diffusers
    return diffusers


def scheduler(solver: Solver, num_inference_steps: int, shift: float = 1.0) -> Any:
    """Return a diffusers scheduler, set for at most ``num_inference_steps`` network evaluations.

    Args:
        solver: "euler"; "heun", which evaluates the network twice in a step, and once for a last one from noise level
            0.001 to 0; "dpm", the two-step multistep DPM-Solver++; or "rk2",
            :class:`generators.nn.runge_kutta.FlowMatchRungeKuttaScheduler`, two evaluations in a step too.
        num_inference_steps: the most network evaluations.
        shift: s, which moves the noise levels to s sigma / (1 + (s - 1) sigma): below 1 puts more steps near the data.
            "rk2" has levels of its own.

    Raises:
        ValueError: for an unknown solver or too few evaluations.
    """
    diffusers = _diffusers()
    if num_inference_steps < {"heun": 3, "rk2": 2}.get(solver, 1):
        raise ValueError(f"num_inference_steps = {num_inference_steps}: {solver} needs at least 1 (heun 3, rk2 2)")
    if solver == "euler":
        result = diffusers.FlowMatchEulerDiscreteScheduler(_TRAIN_TIMESTEPS, shift=shift)
        levels = np.linspace(1.0, 0.0, num_inference_steps + 1)[:-1]  # its own end with a step from 0.001 to 0
        result.set_timesteps(sigmas=levels.tolist())
    elif solver == "heun":
        result = diffusers.FlowMatchHeunDiscreteScheduler(_TRAIN_TIMESTEPS, shift=shift)
        result.set_timesteps((num_inference_steps + 1) // 2)
    elif solver == "dpm":
        result = diffusers.DPMSolverMultistepScheduler(
            _TRAIN_TIMESTEPS, prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift
        )
        result.set_timesteps(num_inference_steps)
    elif solver == "rk2":
        from generators.nn.runge_kutta import FlowMatchRungeKuttaScheduler

        result = FlowMatchRungeKuttaScheduler(_TRAIN_TIMESTEPS)
        result.set_timesteps(num_inference_steps)
    else:
        raise ValueError(f"unknown solver {solver!r}: use euler, heun, dpm or rk2")
    return result


def dpm_between(levels: Sequence[float]) -> Any:
    """Return diffusers' two-step multistep DPM-Solver++, with one network evaluation between two noise levels.

    Raises:
        ValueError: if the levels do not fall from 1, or do not end above 0.
    """
    diffusers = _diffusers()
    if len(levels) < 2 or levels[0] != 1 or levels[-1] <= 0 or any(np.diff(levels) >= 0):
        raise ValueError(f"levels {list(levels)}: noise levels fall from 1 and end above 0")
    result = diffusers.DPMSolverMultistepScheduler(
        _TRAIN_TIMESTEPS,
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        final_sigmas_type="sigma_min",  # else its last step is of first order
        lower_order_final=False,
    )
    result.set_timesteps(len(levels) - 1)
    # at 1 it would divide by the signal's share
    sigmas = torch.tensor([min(levels[0], 1 - 1e-3), *levels[1:]], dtype=torch.float32)
    result.sigmas, result.timesteps = sigmas, sigmas[:-1] * _TRAIN_TIMESTEPS
    return result


class LinearStep(NamedTuple):
    """From x at a noise level, with the estimate D of the data there, to a x + b D + c D', D' the estimate before."""

    sigma: float
    a: float
    b: float
    c: float


@lru_cache(maxsize=16)
def dpm_steps(levels: tuple[float, ...]) -> tuple[LinearStep, ...]:
    """Compute the steps of :func:`dpm_between`, of order two with the midpoint rule.

    A step of the scheduler itself takes a tenth of a millisecond, as long as a small network.

    Raises:
        ValueError: as :func:`dpm_between`.
    """
    # the scheduler's own levels: the first is a little below 1
    sigmas = dpm_between(levels).sigmas.double().numpy()
    logs = np.log1p(-sigmas) - np.log(sigmas)
    steps = []
    for i, (now, then) in enumerate(pairwise(sigmas)):
        h = logs[i + 1] - logs[i]
        share = -(1 - then) * np.expm1(-h)
        half = 0.0 if i == 0 else 0.5 * h / (logs[i] - logs[i - 1])
        steps.append(LinearStep(float(now), float(then / now), float(share * (1 + half)), float(-share * half)))
    return tuple(steps)


def euler_steps(levels: Sequence[float]) -> tuple[LinearStep, ...]:
    """Return one Euler step from each noise level to the next, of which only the last may be 0.

    >>> euler_steps([1.0, 0.25])
    (LinearStep(sigma=1.0, a=0.25, b=0.75, c=0.0),)
    """
    return tuple(
        LinearStep(float(now), float(then / now), float(1 - then / now), 0.0) for now, then in pairwise(levels)
    )


def euler_between(levels: Sequence[float]) -> Any:
    """Return a diffusers scheduler that takes one Euler step from each noise level to the next.

    Raises:
        ValueError: if the levels do not fall from 1, or end below 0.
    """
    diffusers = _diffusers()
    if len(levels) < 2 or levels[0] != 1 or levels[-1] < 0 or any(np.diff(levels) >= 0):
        raise ValueError(f"levels {list(levels)}: noise levels fall from 1 to 0, or end above it")
    result = diffusers.FlowMatchEulerDiscreteScheduler(_TRAIN_TIMESTEPS)
    result.set_timesteps(sigmas=list(levels[:-1]))
    result.sigmas[-1] = levels[-1]
    return result


def integrate(
    velocity: Callable[[Tensor, float], Tensor],
    noise: Tensor,
    *,
    solver: Solver = "heun",
    num_inference_steps: int = 16,
    shift: float = 1.0,
    levels: Sequence[float] = (),
    last: float = 0.0,
) -> Tensor:
    """Turn noise (T, D) at sigma = 1 into data (T, D): solve dx/dsigma = velocity(x, sigma) down to sigma = 0.

    Arrays may have more axes. The result is differentiable in the noise and in what ``velocity`` depends on.

    Args:
        velocity: gives u (T, D) at x (T, D) and a noise level.
        noise: normal numbers, (T, D).
        solver: see :func:`scheduler`, as for the other arguments.
        num_inference_steps: the most evaluations of ``velocity``.
        shift: of the noise levels.
        levels: noise levels from 1 to ``last`` to take one Euler step each between, instead of what the other arguments
            say.
        last: noise level to stop at; above 0 the levels are even unless given, and the solver "euler" or "dpm".

    Raises:
        ValueError: for an unknown solver, too few evaluations, or levels that end elsewhere.
    """
    if levels and levels[-1] != last:
        raise ValueError(f"levels {list(levels)}: noise levels fall from 1 to {last:g}")
    if last > 0:
        if levels:
            return _follow(velocity, noise, euler_steps(levels))
        if solver not in ("euler", "dpm") or num_inference_steps < 1:
            raise ValueError(
                f"solver {solver!r}, {num_inference_steps} steps: above 0 stop euler and dpm, from 1 step on"
            )
        even = [float(level) for level in np.linspace(1.0, last, num_inference_steps + 1)]
        return _follow(velocity, noise, dpm_steps(tuple(even)) if solver == "dpm" else euler_steps(even))
    steps = euler_between(levels) if levels else scheduler(solver, num_inference_steps, shift)
    x = noise
    for timestep in steps.timesteps:
        u = velocity(x, float(timestep) / _TRAIN_TIMESTEPS)
        x = steps.step(u, timestep, x, return_dict=False)[0]
    return x


def _follow(velocity: Callable[[Tensor, float], Tensor], noise: Tensor, steps: Sequence[LinearStep]) -> Tensor:
    """Take steps from noise, with an estimate of the data at each."""
    x, before = noise, torch.zeros_like(noise)
    for sigma, a, b, c in steps:
        estimate = x - sigma * velocity(x, sigma)
        x, before = a * x + b * estimate + c * before, estimate
    return x
