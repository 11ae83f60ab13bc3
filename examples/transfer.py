"""Fine-tune a tagger with few events of another sample, and compare with one trained from scratch on these.

The tagger of dijets.toml is trained on 4,000 dijets without multiparton interactions. With 40 to 2,000 events with them
- a fifth of which chooses among the states of the training - it is then trained further, and another one from new
weights; both are tested on the same events with multiparton interactions. Every seed draws other events and weights.

    python -m examples.transfer runs/dijets -o runs/transfer

prints the areas under the curve, with the standard errors of their means over the seeds, and draws them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from examples.dijets import produce
from fastsim import pipelines
from fastsim.search.points import Point, picture, table

PIPELINE = Path(__file__).with_name("dijets.toml")
SIZES = (40, 100, 400, 2000)
FINE_TUNING_RATE = 5e-4
"""Learning rate from trained weights; a quarter of that from new ones."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the events; those that it lacks are made")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/transfer"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1, help="processes that make events")
    args = parser.parse_args()
    for mpi in (False, True):
        produce(args.folder, background=4000, signal=4000, mpi=mpi, workers=args.workers)
    common = {"data.folder": str(args.folder)}
    source, card = pipelines.train(PIPELINE, args.output / "source", changes=common)
    print(f"without multiparton interactions: {source.value:.4f} +- {source.error:.4f}")

    def area(name: str, num: int, seed: int, changes: dict[str, Any], init: Path | None) -> tuple[float, float]:
        few = {**common, "data.mpi": True, "data.num": num, "data.seed": seed, "seed": seed, **changes}
        trial, _ = pipelines.train(PIPELINE, args.output / f"{name}-{num}-{seed}", changes=few, init=init)
        return trial.value, trial.error

    # a single step at no rate: the weights as they came
    kept = area("kept", SIZES[0], 1, {"training.num_steps": 1, "training.learning_rate": 1e-12}, card)
    ways: dict[str, list[Point]] = {"from scratch": [], "fine-tuned": []}
    for num in SIZES:
        for name, changes, init in (
            ("from scratch", {}, None),
            ("fine-tuned", {"training.learning_rate": FINE_TUNING_RATE}, card),
        ):
            found = [area(name.replace(" ", "-"), num, seed, changes, init) for seed in range(1, args.seeds + 1)]
            values, errors = zip(*found, strict=True)
            label = f"{name}, {num} events"
            ways[name].append(Point(label, values, sum(errors) / len(errors), float(num)))
    points = [point for pair in zip(*ways.values(), strict=True) for point in pair]
    print("\n".join(table(points, "area")))
    print(f"as trained without multiparton interactions: {kept[0]:.4f} +- {kept[1]:.4f}")
    for name, of_way in ways.items():
        path = args.output / f"{name.replace(' ', '-')}.svg"
        path.write_text(picture(of_way, f"area under the curve, {name}", "events"), encoding="utf-8")


if __name__ == "__main__":
    main()
