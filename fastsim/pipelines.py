"""Pipelines that a TOML file describes: trained together, searched among candidates, run, and drawn.

docs/how-to/pipelines.md lists what the file says.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastsim.errors import PipelineError
from fastsim.pipeline_file import METHODS, ONE_SHOT, Description, chain_of, problem_of, read
from fastsim.search.trial import Combination, Trial, Trials

if TYPE_CHECKING:
    from torch import Tensor

    from fastsim.blocks.chain import Chain
    from fastsim.blocks.problem import Problem

_log = logging.getLogger(__name__)
_ONE_AT_A_TIME = threading.Lock()
"""Held while a process trains: what draws from torch's own generator would share it with the threads beside."""


@dataclass
class TrainCandidates:
    """Trains a combination of candidates from new weights, and judges it; can be sent to other processes.

    Attributes:
        description: the pipeline.
        folder: for checkpoints and logs, one folder a combination.
        problem: with its data; made when it is first needed.
        init: card of a chain whose weights the blocks of the same names start from.
    """

    description: Description
    folder: Path
    problem: Problem | None = None
    init: Path | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "problem": None}

    def __call__(self, combination: Combination) -> Trial:
        """Train a combination; the result depends on it and the seed alone."""
        return self.trained(combination)[0]

    def trained(self, combination: Combination) -> tuple[Trial, Chain]:
        """Train a combination, and return what came of it with the trained chain."""
        with _ONE_AT_A_TIME:
            return self._trained(combination)

    def _trained(self, combination: Combination) -> tuple[Trial, Chain]:
        import torch

        from fastsim.blocks import files
        from fastsim.blocks.problem import TEST, VALIDATION

        if self.problem is None:
            self.problem = problem_of(self.description, combination)
        text = json.dumps(combination, sort_keys=True)
        with torch.random.fork_rng():
            torch.manual_seed(zlib.crc32(f"{self.description.seed} {text}".encode()))
            chain = chain_of(self.description, combination)
            if self.init is not None:
                files.start_from(chain, self.init)
            problem = self.problem.with_chain(chain)
            label = "-".join(f"{name}.{choice}" for name, choice in combination.items()) or "chain"
            started = time.process_time()
            self._fit(problem, self.folder / label)
            seconds = time.process_time() - started
        value, error = problem.value(TEST)
        trial = Trial(
            combination=combination,
            score=problem.score(VALIDATION),
            value=value,
            error=error,
            flops=flops(problem),
            parameters=sum(parameter.numel() for parameter in chain.parameters()),
            seconds=seconds,
            milliseconds=milliseconds(problem),
        )
        _log.info("%s: %s %.5g, %.1f s", trial.label or chain.name, problem.figure.kind, value, seconds)
        return trial, chain

    def _fit(self, problem: Problem, folder: Path) -> None:
        """Train each block on its own losses first, if that is wanted, and then all together, if that is."""
        from fastsim import registry
        from fastsim.blocks.problem import VALIDATION, Joint

        options = self.description.values["training"]
        keys = ("learning_rate", "weight_decay", "ema_decay")
        settings = {key: options[key] for key in keys} | {"log_every": 50, "checkpoint_every": 500}

        def fit(joint: Any, num_steps: int, name: str, figures: Any, first: int) -> None:
            registry.fit(
                joint,
                lambda step: problem.batch(first + step),
                {
                    **settings,
                    "num_steps": num_steps,
                    "warmup": min(200, num_steps // 10),
                    "validate_every": max(1, num_steps // 10),
                },
                folder / name,
                validate=figures,
                select="validation",
            )

        done = 0
        if (steps := options["pretrain_steps"]) > 0:
            for block in problem.chain:
                names = [loss.name for loss in problem.losses if loss.of in block.outputs]
                if not names:
                    continue
                for other in problem.chain:
                    other.requires_grad_(other is block)

                def own_losses(model: Any) -> dict[str, float]:
                    total, results = 0.0, model.chain(next(problem.parts(VALIDATION)))
                    for loss in model.losses:
                        total += float(loss.weight * loss(results).detach())
                    return {"validation": total}

                fit(Joint(problem, names), steps, f"pretrain-{block.name}", own_losses, done)
                done += steps
            problem.chain.requires_grad_(True)
        if options["num_steps"] > 0:
            fit(
                Joint(problem),
                options["num_steps"],
                "joint",
                lambda model: {"validation": -problem.score(VALIDATION, model.chain)},
                done,
            )


def flops(problem: Problem) -> float:
    """Count the floating-point operations of matrix products, in the chain of a problem, an event."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from fastsim.blocks.problem import VALIDATION

    batch = next(problem.parts(VALIDATION, 64))
    counter = FlopCounterMode(display=False)
    chain = copy.deepcopy(problem.chain).eval()
    # torch's counter takes a parameter that is an operand of a view, such as a class token, for one that has a gradient
    chain.requires_grad_(False)
    with counter, torch.no_grad():
        chain(batch)
    return float(counter.get_total_flops()) / len(batch)


def milliseconds(problem: Problem, least: float = 0.1) -> float:
    """Measure the processor time of the chain of a problem an event, in batches of 256 with one thread, in ms.

    Args:
        problem: the problem.
        least: seconds that are measured at least.
    """
    import torch

    from fastsim.blocks.problem import VALIDATION

    batch = next(problem.parts(VALIDATION, 256))
    chain, training, threads = problem.chain, problem.chain.training, torch.get_num_threads()
    chain.eval()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            chain(batch.clone(recurse=False))  # what the first call alone has to do
            started, times = time.process_time(), 0
            while (spent := time.process_time() - started) < least:
                chain(batch.clone(recurse=False))
                times += 1
    finally:
        chain.train(training)
        torch.set_num_threads(threads)
    return 1e3 * spent / (times * len(batch))


def train(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    changes: Mapping[str, Any] | None = None,
    combination: Combination | None = None,
    init: str | os.PathLike[str] | None = None,
) -> tuple[Trial, Path]:
    """Train the blocks of a pipeline together, and save them; a run that was stopped goes on.

    Args:
        path: the pipeline's file.
        output: folder of checkpoints, logs, card and weights.
        changes: values that replace those of the file, by their place.
        combination: a candidate for each choice; by default the first of each.
        init: card of a chain that was trained, on other events say: blocks of the same names start from its weights.

    Returns:
        What came of it, and the path of the card.

    Raises:
        PipelineError: if the file is wrong, blocks do not fit, or a loss is not finite.
        WeightsError: if the card or weights of ``init`` are missing or altered.
    """
    from fastsim.blocks import files

    description = read(path, changes)
    wanted = dict(combination or {})
    space = chain_of(description).choices()
    if unknown := sorted(set(wanted) - set(space)):
        raise PipelineError(f"block {unknown[0]!r} has no candidates: there are {', '.join(space) or 'none that has'}")
    complete = {name: wanted.get(name, choice.labels[0]) for name, choice in space.items()}
    folder = Path(output)
    settings: dict[str, Any] = {"pipeline": description.values, "combination": complete}
    if init is not None:
        settings["init"] = files.read_card(init)["sha256"]
    card = None if init is None else Path(init)
    # data that cannot be had leave no folder that refuses what is right
    problem = problem_of(description, complete)
    _same_settings(folder / "settings.json", settings)
    trial, chain = TrainCandidates(description, folder, problem, init=card).trained(complete)
    facts = {**settings, "seconds": round(trial.seconds, 1)}
    metrics = {"value": trial.value, "validation": trial.score}
    if trial.error == trial.error:
        metrics["error"] = trial.error
    return trial, files.save(chain, folder, training=facts, metrics=metrics)


def _same_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Write what decides a result beside it; refuse a folder of something else.

    Raises:
        PipelineError: if the folder is of other settings.
    """
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise PipelineError(f"{path.parent}: holds a run with other settings; give another folder, or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        method: how.
        trials: all combinations that were trained from new weights.
        best: the best of them.
        seconds: processor time of it all.
        figure: name of the figure of merit.
    """

    method: str
    trials: tuple[Trial, ...]
    best: Trial
    seconds: float
    figure: str


def search(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    method: str | None = None,
    changes: Mapping[str, Any] | None = None,
    workers: int = 0,
    scheduler: str | None = None,
    cost: str = "flops",
) -> Found:
    """Find the best combination of candidates; a search that was stopped goes on, the same seed gives the same.

    Args:
        path: the pipeline's file.
        output: folder of trials, checkpoints, and at the end ``METHOD.json`` and ``METHOD.svg`` (of darts with its
            order: ``darts-1.json``).
        method: one of :data:`METHODS`; by default what the file says.
        changes: values that replace those of the file, by their place.
        workers: processes that train combinations side by side (grid and random).
        scheduler: address of a Dask scheduler, whose workers train them side by side instead; they find the file's
            modules, and the folder under the same name.
        cost: "flops" or "time" an event: what the picture shows the score against.

    Raises:
        PipelineError: if the file is wrong, there is nothing to choose, the cost is unknown, the method goes step by
            step and cannot use workers, or the folder is of another search.
    """
    from fastsim.search import grid, pareto, tpe
    from fastsim.search.trial import best, combinations

    description = read(path, changes)
    options = description.values["search"]
    method = method or options["method"]
    if method not in METHODS:
        raise PipelineError(f"unknown method {method!r}: there are {', '.join(METHODS)}")
    if (workers or scheduler is not None) and method not in ("grid", "random"):
        raise PipelineError(f"{method} trains one network at a time: workers and a scheduler are for grid and random")
    if cost not in pareto.COSTS:
        raise PipelineError(f"unknown cost {cost!r}: there are {', '.join(pareto.COSTS)}")
    problem = problem_of(description)
    combinations(problem.space)
    folder = Path(output)
    trials = Trials(folder / "trials.jsonl", settings_of(description))
    evaluate = TrainCandidates(description, folder / "trials", problem)
    before = 0.0
    name = f"{method}-{options['order']}" if method == "darts" else method
    if method in ONE_SHOT:
        supernet = _supernet(method, description, problem)
        chosen = supernet.run(folder / name)[: options["num_finalists"]]
        before = supernet.seconds
        done = grid.run(chosen, evaluate, trials)
    elif method == "tpe":
        done = tpe.tpe(problem.space, evaluate, trials, num=options["num_trials"], seed=description.seed)
    else:
        every = grid.grid(problem.space)
        few = every if method == "grid" else grid.sampled(problem.space, options["num_trials"], description.seed)
        done = grid.run(few, evaluate, trials, workers=workers, scheduler=scheduler)
    found = Found(
        method=method,
        trials=tuple(done),
        best=best(done),
        seconds=before + sum(trial.seconds for trial in done),
        figure=description.values["figure"]["kind"],
    )
    summary = {"method": method, "best": found.best.__dict__, "seconds": found.seconds, "search": options}
    summary["trials"] = [trial.__dict__ for trial in done]
    (folder / f"{name}.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    (folder / f"{name}.svg").write_text(pareto.picture(done, found.figure, pareto.COSTS[cost]), encoding="utf-8")
    return found


def settings_of(description: Description) -> dict[str, Any]:
    """Return what decides the result of a trial, whatever searches: trials of others are not mixed with them."""
    return {key: value for key, value in description.values.items() if key != "search"}


def _supernet(method: str, description: Description, problem: Problem) -> Any:
    """Return the one-shot search of a name, with new weights."""
    import torch

    from fastsim.search.asng import ASNG
    from fastsim.search.darts import DARTS
    from fastsim.search.spos import SPOS

    options = description.values["search"]
    with torch.random.fork_rng():
        torch.manual_seed(description.seed)
        fresh = replace(problem, chain=chain_of(description))
    common = {"num_steps": options["num_steps"], "learning_rate": options["learning_rate"]}
    if method == "darts":
        return DARTS(fresh, order=options["order"], **common)
    return {"spos": SPOS, "asng": ASNG}[method](fresh, **common)


def run(
    card: str | os.PathLike[str], input: str | os.PathLike[str], output: str | os.PathLike[str], *, seed: int = 0
) -> int:
    """Run a trained chain on arrays of an HDF5 file, and write its outputs beside them to another.

    Args:
        card: of the chain, as :func:`train` returns it.
        input: HDF5 file with a dataset (N, ...) for each input.
        output: HDF5 file to write, with all of these and the outputs.
        seed: of the random inputs that the file lacks.

    Returns:
        The number of events.

    Raises:
        PipelineError: if the file lacks an input, or exists already.
        WeightsError: if card or weights are missing or altered.
    """
    import h5py
    import torch

    from fastsim.blocks import files
    from fastsim.blocks.chain import Chain
    from fastsim.blocks.noise import with_noise
    from fastsim.blocks.problem import tensors

    if Path(output).exists():
        raise PipelineError(f"{os.fspath(output)}: exists already; give another name")
    block = files.load(card)
    chain = block if isinstance(block, Chain) else Chain([block], name=block.name)
    try:
        with h5py.File(input) as file:
            arrays = {name: file[name][()] for name in file if isinstance(file[name], h5py.Dataset)}
    except OSError as error:
        raise PipelineError(f"{os.fspath(input)}: cannot be read as HDF5: {error}") from error
    batch = tensors(arrays, os.fspath(input))
    chain.requiring({name: tuple(value.shape[1:]) for name, value in batch.items()})
    places = range(0, len(batch), 4096)
    with torch.no_grad():
        parts = [chain(with_noise(chain.inputs, batch[k : k + 4096].clone(False), [seed, k])) for k in places]
    partial = Path(f"{os.fspath(output)}.partial")
    with h5py.File(partial, "w") as file:
        for name in parts[0].keys():  # noqa: SIM118 (a TensorDict is iterated over its events)
            file[str(name)] = _joined([part[name] for part in parts]).numpy()
    partial.replace(output)
    return len(batch)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Return parts (N, ...) as one; sets, whose sizes differ, are filled up with zeros."""
    sizes = [max(values) for values in zip(*(part.shape[1:] for part in parts), strict=True)]
    result = parts[0].new_zeros((sum(map(len, parts)), *sizes))
    first = 0
    for part in parts:
        result[(slice(first, first + len(part)), *map(slice, part.shape[1:]))] = part
        first += len(part)
    return result


def show(path: str | os.PathLike[str], changes: Mapping[str, Any] | None = None) -> tuple[str, str]:
    """Return the chain of a pipeline's file, or of a card, as text and as SVG.

    Raises:
        PipelineError: if the file is wrong, or blocks do not fit together.
    """
    from fastsim.blocks import drawing, files
    from fastsim.blocks.chain import Chain

    if os.fspath(path).endswith(".json"):
        block = files.load(path)
        chain = block if isinstance(block, Chain) else Chain([block], name=block.name)
    else:
        chain = chain_of(read(path, changes))
    return drawing.text(chain), drawing.svg(chain)
