#!/usr/bin/env bash
# diffusers 0.42.1 with PyTorch 2.13.0 (processor; Python 3.11).
#
# Behaviour: set_timesteps(N) of FlowMatchEulerDiscreteScheduler spreads N noise levels evenly from 1 to 0.001 and puts 0
# after them, so that the last of the N steps goes from 0.001 to 0. Two steps give the sample of one, and three are as
# accurate as two even ones. The schedulers of Heun and LCM for flow matching do the same; DPM-Solver++ with flow sigmas
# takes N steps of one size. diffusers' pipeline of Flux gives 1, (N - 1) / N ... 1 / N as sigmas; that of Stable
# Diffusion 3 does not.
#
# Expected: N even steps from 1 to 0, as papers on flow matching take them. It hurts fast models, of 2 to 4 evaluations
# of the network: they are judged with one less. The documentation of the scheduler says nothing of the levels.
#
# Output seen (dx/dsigma = x from sigma = 1 to 0, whose exact solution is exp(-1) = 0.368):
#   set_timesteps(1): noise levels [1.0, 0.0], solution 0.0
#   set_timesteps(2): noise levels [1.0, 0.001, 0.0], solution 0.001
#   set_timesteps(3): noise levels [1.0, 0.501, 0.001, 0.0], solution 0.25
#   set_timesteps(sigmas=[1.0, 0.5]): noise levels [1.0, 0.5, 0.0], solution 0.25
#   DPM-Solver++, set_timesteps(2): noise levels [0.999, 0.5, 0.0]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    diffusers==0.42.1 torch==2.13.0 numpy==1.26.4
cd "$work"
"$work/venv/bin/python" - <<'PYTHON' | tee seen.txt
import diffusers
import torch


def solve(scheduler):
    """Return x at sigma = 0 of dx/dsigma = x, from x = 1 at sigma = 1."""
    x = torch.ones(1)
    for timestep in scheduler.timesteps:
        x = scheduler.step(x, timestep, x).prev_sample
    return round(float(x), 3)


def levels(scheduler):
    return [round(float(sigma), 3) for sigma in scheduler.sigmas]


even, given = (diffusers.FlowMatchEulerDiscreteScheduler() for _ in range(2))
for steps in (1, 2, 3):
    even.set_timesteps(steps)
    print(f"set_timesteps({steps}): noise levels {levels(even)}, solution {solve(even)}")
given.set_timesteps(sigmas=[1.0, 0.5])
print(f"set_timesteps(sigmas=[1.0, 0.5]): noise levels {levels(given)}, solution {solve(given)}")
dpm = diffusers.DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
dpm.set_timesteps(2)
print(f"DPM-Solver++, set_timesteps(2): noise levels {levels(dpm)}")
PYTHON
diff seen.txt - <<'EXPECTED'
set_timesteps(1): noise levels [1.0, 0.0], solution 0.0
set_timesteps(2): noise levels [1.0, 0.001, 0.0], solution 0.001
set_timesteps(3): noise levels [1.0, 0.501, 0.001, 0.0], solution 0.25
set_timesteps(sigmas=[1.0, 0.5]): noise levels [1.0, 0.5, 0.0], solution 0.25
DPM-Solver++, set_timesteps(2): noise levels [0.999, 0.5, 0.0]
EXPECTED
