r"""A scheduler for flow matching that keeps narrow features narrow: two-stage Runge-Kutta, even steps of logit(sigma).

A step from noise level :math:`\sigma` over :math:`h` takes the velocity there and at :math:`\sigma + \theta h`, and

.. math:: x' = x + h \left[ u_1 + \frac{u_2 - u_1}{2 \theta} \right]

which is of second order for every theta: 1 is Heun's method, 2/3 Ralston's, 1/2 the midpoint method (Butcher, Numerical
methods for ordinary differential equations, section 232). In the data some directions are much narrower than the noise:
those of hard hadrons about their jet's axis, for example. On the exact flow of a Gaussian whose standard deviation is
anything from 0.02 to 1, N evaluations with theta = 1/2 + 0.8/N and levels even in logit(sigma) from log(N/3) down to
-0.6 - 1.25 log N give its variance to 15% (root mean square of the logarithms over the widths) for N = 4, 1.6% for 8
and 0.2% for 16; diffusers' Heun scheduler makes the narrow ones several times too wide. The tests of this module
measure both.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import ConfigMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor

_LAST_LOGIT, _LAST_LOGIT_SLOPE = -0.6, -1.25
_STAGE, _STAGE_SLOPE, _LARGEST_STAGE = 0.5, 0.8, 0.8


class FlowMatchRungeKuttaScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """The scheduler of this module, used as those of diffusers: ``set_timesteps``, then ``step`` for each timestep.

    Args:
        num_train_timesteps: timesteps between noise levels 0 and 1.

    Attributes:
        timesteps: noise levels times ``num_train_timesteps`` at which the velocity is wanted, in order.
        sigmas: noise levels between the steps, from 1 to 0.
    """

    order = 2

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, num_train_timesteps: int = 1000) -> None:
        self.timesteps, self.sigmas = torch.zeros(0), torch.zeros(0)
        self._fraction, self._place = 0.5, 0
        self._start: Tensor | None = None
        self._first: Tensor | None = None

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Set the noise levels for at most ``num_inference_steps`` evaluations of the velocity, two for each step.

        Raises:
            ValueError: for less than two evaluations.
        """
        if num_inference_steps < 2:
            raise ValueError(f"num_inference_steps = {num_inference_steps}: a step takes 2")
        num = num_inference_steps // 2
        last = _LAST_LOGIT + _LAST_LOGIT_SLOPE * np.log(2 * num)
        inner = np.linspace(np.log(2 * num / 3), last, num)[1:]  # in place of the first one stands noise, at level 1
        levels = np.concatenate([[1.0], 1 / (1 + np.exp(-inner)), [0.0]])
        self._fraction = min(_STAGE + _STAGE_SLOPE / (2 * num), _LARGEST_STAGE)
        stages = levels[:-1] + self._fraction * np.diff(levels)
        both = np.stack([levels[:-1], stages], 1).reshape(-1)
        self.sigmas = torch.from_numpy(levels).float().to(device)
        self.timesteps = torch.from_numpy(both * self.config.num_train_timesteps).float().to(device)
        self._place, self._start, self._first = 0, None, None

    def step(
        self, model_output: Tensor, timestep: float | Tensor, sample: Tensor, *, return_dict: bool = True
    ) -> tuple[Tensor] | dict[str, Tensor]:
        """Return the state at which the next velocity is wanted, and after the last timestep the data.

        Args:
            model_output: the velocity at ``sample``.
            timestep: its timestep; steps have to be taken in order.
            sample: the state that this method returned last; the noise at first.
            return_dict: return ``{"prev_sample": state}`` instead of ``(state,)``.
        """
        number, second = divmod(self._place, 2)
        change = float(self.sigmas[number + 1] - self.sigmas[number])
        if not second:
            self._start, self._first = sample, model_output
            state = sample + self._fraction * change * model_output
        else:
            assert self._start is not None and self._first is not None
            slope = self._first + (model_output - self._first) / (2 * self._fraction)
            state = self._start + change * slope
        self._place += 1
        return {"prev_sample": state} if return_dict else (state,)
