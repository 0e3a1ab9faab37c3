"""Training images a second on one core, here and in a bare PyTorch loop: `python tests/bench/bench_train.py`.

Both sides have the same network, loss, batch size, optimiser and running mean of weights, read the same memory map in
random order, and call the same `normalise` and `augment`. `fercore.training.loop.fit` does on top what a user gets:
accelerate, a rate that changes every step, named sums of the loss, a finite-loss check, 16 images of validation and a
checkpoint. The data are random pixels in FERPlus's form; the sizes are those of LAN's preset quick. Seconds are of
process CPU time, so that other work on the machine does not count. Turn by turn, best of three.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fercore.data.augment import augment, normalise
from fercore.data.labels import EXPRESSIONS
from fercore.data.prepared import Prepared, Writer, open_prepared
from fercore.papers import lan
from fercore.training.loop import fit

VALIDATION = 16


def random_data(path: Path, images: int) -> Prepared:
    """Random pixels, labels and votes of ten raters, 48 x 48; a few images more for validation."""
    generator = np.random.default_rng(0)
    count = images + VALIDATION
    manifest = pd.DataFrame({"sample": [f"{k}" for k in range(count)], "subject": "", "source": "random"})
    manifest["expression"] = generator.choice(EXPRESSIONS, count)
    votes = generator.multinomial(10, [1 / len(EXPRESSIONS)] * len(EXPRESSIONS), count)
    manifest[[f"votes_{name}" for name in EXPRESSIONS]] = votes
    manifest["split"] = ["train"] * images + ["validation"] * VALIDATION
    with Writer(path, count, 48) as out:
        out.images[:] = generator.integers(0, 256, out.images.shape, dtype=np.uint8)
        out.finish(manifest, name="random", title="Random", classes=EXPRESSIONS, licence="none", made={})
    return open_prepared(path)


def ours(recipe: lan.LANRecipe, data: Prepared, images: int, folder: Path) -> float:
    """Images a second in the second epoch of :func:`fercore.training.loop.fit`; the first one warms up."""
    torch.manual_seed(0)
    network = lan.model(recipe, len(EXPRESSIONS))
    rows = {"train": np.arange(images), "validation": np.arange(images, images + VALIDATION)}
    begun: list[float] = []

    def refresh(*_: object) -> dict[str, float]:
        begun.append(time.process_time())
        return {}

    fit(recipe, network, lan.criterion(recipe, network), data, rows, folder, refresh=refresh)
    return images / (time.process_time() - begun[1])


def bare(recipe: lan.LANRecipe, data: Prepared, images: int) -> float:
    """Images a second in the second epoch of the loop that one would write by hand."""
    torch.manual_seed(0)
    network = lan.model(recipe, len(EXPRESSIONS)).to(memory_format=torch.channels_last)
    criterion = lan.criterion(recipe, network)
    optimiser = torch.optim.SGD(
        network.parameters(), lr=recipe.learning_rate, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay
    )
    mean = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe.average), use_buffers=True)
    truth = {"labels": torch.from_numpy(data.labels()), "targets": torch.from_numpy(data.votes())}
    for _ in range(2):
        started = time.process_time()
        network.train()
        for rows in torch.randperm(images).split(recipe.batch_size):
            x = normalise(torch.from_numpy(data.images[rows.numpy()]), recipe.image_size)
            x = augment(x.contiguous(memory_format=torch.channels_last), recipe).images
            loss = sum(criterion(network(x), {name: values[rows] for name, values in truth.items()}).values())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            mean.update_parameters(network)
        seconds = time.process_time() - started
    return images / seconds


def main(images: int = 512, turns: int = 3) -> None:
    os.environ["FERCORE_PROGRESS"] = "0"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    print(f"{'method':>10} {'bare loop, images/s':>20} {'fercore.training.loop, images/s':>24} {'ratio':>6}")
    with tempfile.TemporaryDirectory() as folder:
        data = random_data(Path(folder) / "random", images)
        for method in ("resnet18", "lan"):
            recipe = lan.recipe("quick", "ferplus", method=method, epochs=2)
            rates = [
                (bare(recipe, data, images), ours(recipe, data, images, Path(folder) / f"{method}{k}"))
                for k in range(turns)
            ]
            theirs, own = (max(values) for values in zip(*rates, strict=True))
            print(f"{method:>10} {theirs:20.0f} {own:24.0f} {own / theirs:6.2f}")
    torch.set_num_threads(threads)
    print(f"\none core; batches of {recipe.batch_size}, 48 x 48 pixels, width {recipe.width}")


if __name__ == "__main__":
    main()
