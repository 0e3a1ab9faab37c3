"""PhaNet's crops and memory: `python tests/bench/bench_phanet.py`.

The share of a training step that masks, crops and zooms take, forwards and backwards, at preset `quick` and at the
published size, by parts of the loss in turn; then the peak memory of a process that trains three scales at 224 x 224,
mini-batches of 32.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch.utils.benchmark import Timer

from fercore.papers import phanet


def seconds_of(work: Callable[[], object]) -> float:
    """Mean seconds of five calls, after two that do not count."""
    return Timer("work()", globals={"work": work}, num_threads=torch.get_num_threads()).timeit(5).median


def shares(preset: str, batch: int) -> None:
    recipe = phanet.recipe(preset, "kdef-twin", proposal_epochs=0)
    network = phanet.model(recipe, 7).train()
    criterion = phanet.criterion(recipe, network)
    side = recipe.image_size
    images = torch.randn(batch, 3, side, side).to(memory_format=torch.channels_last)
    labels = {"labels": torch.randint(0, 7, (batch,)), "pose": torch.randint(0, 5, (batch,))}

    def steps() -> None:
        for _ in range(3):  # one of each part
            terms, _ = criterion(network(images), labels)
            network.zero_grad()
            sum(terms.values()).backward()

    region = torch.full((batch,), side / 2), torch.full((batch,), side / 2), torch.full((batch,), side / 3)
    corners = [one.clone().requires_grad_() for one in region]

    def crops() -> None:
        for _ in range(3):
            seen = images
            for _ in range(2):
                seen = phanet.crop_and_zoom(seen, *corners, side, recipe.mask, recipe.sharpness)
            seen.sum().backward()

    alone, whole = seconds_of(crops), seconds_of(steps)
    print(f"{preset:6} {side:4} {batch:6} {1e3 * alone / 3:10.1f} {1e3 * whole / 3:10.0f} {100 * alone / whole:8.1f}")


def main(
    batches: Mapping[str, int] = MappingProxyType({"quick": 32, "paper": 8}), side: int = 224, batch: int = 32
) -> None:
    print("preset side  batch   crops, ms   step, ms  share, %")
    for preset, images in batches.items():
        shares(preset, images)
    recipe = phanet.recipe("paper", "kdef-twin", image_size=side)
    network = phanet.model(recipe, 7).train()
    output = network(torch.randn(batch, 3, side, side))
    labels = {name: torch.zeros(batch, dtype=torch.long) for name in ("labels", "pose")}
    terms, _ = phanet.criterion(recipe, network)(output, labels)
    sum(terms.values()).backward()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"three scales at {side} x {side}, mini-batches of {batch}: peak {peak / 2**30:.1f} GiB of this process")


if __name__ == "__main__":
    main()
