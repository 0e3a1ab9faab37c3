"""DML-Net's five-tuples, loss and three trunks: `python tests/bench/bench_dmlnet.py`.

Seconds to build the five-tuples of an epoch, for the KDEF twin and for 280,000 images; the share of a training step
that the triplet losses take at a mini-batch of 60; images a second of one trunk, of three one after the other, of three
with eyes and mouth as one batched pass (weights stacked), and of one trunk shared by all three; milliseconds an image
of the rows of Table 8, which `--keep` puts beside the records.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch.func import functional_call, stack_module_state
from torch.utils.benchmark import Timer

from fercore import published
from fercore.backbones.resnet import ResNet50
from fercore.papers import dmlnet
from fercore.studies import speed


def tuples(most: int) -> None:
    print("five-tuples of                images  seconds  left over, %")
    rng = np.random.default_rng(0)
    sizes = {"kdef-twin": (3430, 7, 5, 49), "AffectNet's size": (most, 8, 7, most // 56)}
    sizes["19 of 20 from the front"] = sizes["AffectNet's size"]
    for name, (images, *kinds) in sizes.items():
        labels = [rng.integers(0, kind, images) for kind in kinds]
        if "front" in name:
            labels[1][rng.random(images) < 0.95] = 3
        start = time.perf_counter()
        found = dmlnet.five_tuples(*labels, seed=0)
        seconds = time.perf_counter() - start
        print(f"{name:25} {images:10,d} {seconds:8.2f} {100 * (1 - found.size / images):13.1f}")


def seconds_of(work: Callable[[], object]) -> float:
    """Mean seconds of five calls, after two that do not count."""
    return Timer("work()", globals={"work": work}, num_threads=torch.get_num_threads()).timeit(5).median


def loss(batch: int) -> None:
    network = dmlnet.model(dmlnet.recipe("quick"), 7).train()
    images = torch.randn(batch, 3, 48, 48).to(memory_format=torch.channels_last)
    labels = [torch.randint(0, kind, (batch,)) for kind in (7, 5, 49)]

    def step() -> None:
        output = network(images)
        whole = output.logits.logsumexp(1).sum() + output.pose_logits.logsumexp(1).sum()
        (whole + sum(dmlnet.triplet_losses(output.embedding, *labels))).backward()

    embedding = torch.randn(batch, 64, requires_grad=True)
    alone = seconds_of(lambda: sum(dmlnet.triplet_losses(embedding, *labels)).backward())
    whole = seconds_of(step)
    print(f"\ntriplet losses: {1e3 * alone:.2f} ms of a step of {1e3 * whole:.0f} ms, {100 * alone / whole:.1f} %")


def trunks(side: int, batches: tuple[int, ...], width: int) -> None:
    torch.manual_seed(0)
    separate, shared = (
        dmlnet.DMLNet(lambda: ResNet50(width), 7, poses=5, embedding=128, shared=one).eval() for one in (False, True)
    )
    regions = list(separate.regions.values())
    weights, buffers = stack_module_state(regions)
    bare = regions[0]

    def stacked(images: torch.Tensor) -> None:
        separate.backbone(images)
        both = torch.stack(dmlnet.thirds(images))
        torch.vmap(lambda p, b, x: functional_call(bare, (p, b), (x,)))(weights, buffers, both)

    works = {
        "one trunk": lambda images: separate.backbone(images), "three, one after the other": separate,
        "eyes and mouth stacked": stacked, "one trunk for all three": shared,
    }  # fmt: skip
    print(f"\nResNet-50 at {side} x {side}, images a second; in brackets of one trunk")
    print("batch  " + "  ".join(f"{name:>27}" for name in works))
    for batch in batches:
        images, cells, first = torch.randn(batch, 3, side, side), [], 0.0
        with torch.no_grad():
            for work in works.values():
                rate = batch / seconds_of(partial(work, images))
                first = first or rate
                cells.append(f"{rate:18.1f} ({100 * rate / first:4.0f} %)")
        print(f"{batch:5d}  " + "  ".join(cells), flush=True)


def rows(side: int, batches: tuple[int, ...], width: int, *, repeats: int = 7, keep: bool = False) -> None:
    networks = {
        (published.method(method), "whole"): dmlnet.model(dmlnet.recipe("paper", "kdef", method=method, width=width), 7)
        for method in published.ABOUT["dmlnet"]["methods"]
    }
    forms: tuple[speed.Form, ...] = ("eager", "folded")
    table = speed.measure(networks, side, forms=forms, precisions=("fp32",), batches=batches, repeats=repeats)
    print(
        "\n" + table[["network", "form", "batch", "milliseconds"]].to_string(index=False, float_format="{:.1f}".format)
    )
    if keep:
        print(f"kept in {speed.keep(table)}")


def main(
    most: int = 280_000, batch: int = 60, side: int = 224, batches: tuple[int, ...] = (1, 8), width: int = 64,
    repeats: int = 7, keep: bool = False,
) -> None:  # fmt: skip
    tuples(most)
    loss(batch)
    trunks(side, batches, width)
    rows(side, (1, 15), width, repeats=repeats, keep=keep)


if __name__ == "__main__":
    main(keep="--keep" in sys.argv)
