r"""Flow matching: the path between noise and data, the denoiser's preconditioning, and sampling.

With data :math:`x`, noise :math:`\epsilon` and noise level :math:`\sigma` from 1 (noise) to 0 (data),

.. math:: x_\sigma = (1 - \sigma) x + \sigma \epsilon, \qquad u = \epsilon - x = \mathrm{d} x_\sigma / \mathrm{d}\sigma

a network learns :math:`E[u | x_\sigma]`; a diffusers scheduler integrates it. This is the diffusion model with
:math:`\alpha = 1 - \sigma` in another parametrisation (Gao et al. 2024).

References:
    Lipman et al., Flow matching for generative modeling, 2022, arXiv:2210.02747.
    Karras et al., Elucidating the design space of diffusion-based generative models, 2022, arXiv:2206.00364.
    Esser et al., Scaling rectified flow transformers (logit-normal times, shift), 2024, arXiv:2403.03206.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Solver = Literal["euler", "heun", "dpm"]
_TRAIN_TIMESTEPS = 1000


def draw_sigma(num: int, mean: float, width: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Noise levels (num,) with logit(sigma) normal, in strata so that every batch covers the whole range."""
    from scipy.special import expit, ndtri

    uniform = (rng.permutation(num) + rng.uniform(0, 1, num)) / num
    return np.asarray(expit(mean + width * ndtri(np.clip(uniform, 1e-6, 1 - 1e-6))))


def interpolate(x: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """x_sigma of data and noise (T, D) at noise levels (T, 1)."""
    return torch.lerp(x, noise, sigma)


def preconditioning(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""(c_in, c_skip, c_out) such that :math:`u = c_{skip} x_\sigma + c_{out} F(c_{in} x_\sigma)`.

    For data of unit variance, F has input and target of unit variance and F = 0 is the best linear guess.

    >>> [float(c) for c in preconditioning(torch.tensor(1.0))]
    [1.0, 1.0, 1.0]
    """
    variance = sigma**2 + (1 - sigma) ** 2
    scale = variance.rsqrt()
    return scale, (2 * sigma - 1) / variance, scale


def scheduler(solver: Solver, num_inference_steps: int, shift: float = 1.0) -> Any:
    """A diffusers scheduler for at most ``num_inference_steps`` network evaluations.

    ``shift`` s moves its noise levels to s sigma / (1 + (s - 1) sigma): below 1 puts more steps near the data.
    "heun" evaluates the network twice a step; "dpm" is the two-step multistep DPM-Solver++.

    Raises:
        ValueError: for an unknown solver or too few evaluations.
    """
    import diffusers

    if num_inference_steps < (3 if solver == "heun" else 1):
        raise ValueError(f"num_inference_steps = {num_inference_steps}: {solver} needs at least 1 (heun 3)")
    if solver == "euler":
        made = diffusers.FlowMatchEulerDiscreteScheduler(_TRAIN_TIMESTEPS, shift=shift)
        levels = np.linspace(1.0, 0.0, num_inference_steps + 1)[:-1]
        made.set_timesteps(sigmas=levels.tolist())
    elif solver == "heun":
        made = diffusers.FlowMatchHeunDiscreteScheduler(_TRAIN_TIMESTEPS, shift=shift)
        made.set_timesteps((num_inference_steps + 1) // 2)
    elif solver == "dpm":
        made = diffusers.DPMSolverMultistepScheduler(
            _TRAIN_TIMESTEPS, prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift
        )
        made.set_timesteps(num_inference_steps)
    else:
        raise ValueError(f"unknown solver {solver!r}: use euler, heun or dpm")
    return made


@torch.no_grad()
def integrate(
    velocity: Callable[[Tensor, float], Tensor],
    noise: Tensor,
    *,
    solver: Solver = "heun",
    num_inference_steps: int = 16,
    shift: float = 1.0,
) -> Tensor:
    """Data from noise (T, D): the solution at sigma = 0 of dx/dsigma = velocity(x, sigma)."""
    made = scheduler(solver, num_inference_steps, shift)
    x = noise
    for timestep in made.timesteps:
        u = velocity(x, float(timestep) / _TRAIN_TIMESTEPS)
        x = made.step(u, timestep, x, return_dict=False)[0]
    return x
