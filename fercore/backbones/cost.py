"""What one image costs a network: parameters, operations, time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


class Cost(NamedTuple):
    """What one image costs: ``flops`` counts a multiplication and the addition to its sum as two."""

    parameters: int
    multiply_adds: int
    flops: int


@torch.no_grad()
def cost(network: nn.Module, size: int) -> Cost:
    """Parameters, and operations of convolutions and matrix products on one image of ``size`` x ``size``.

    Papers print either convention, mostly multiply-adds and mostly under the
    name FLOPs. Batch norm, activations and pooling are not counted, as usual.
    """
    with FlopCounterMode(display=False) as counter:
        network.eval()(_images(network, 1, size))
    flops = int(counter.get_total_flops())
    return Cost(sum(p.numel() for p in network.parameters()), flops // 2, flops)


@torch.no_grad()
def frames_per_second(network: nn.Module, size: int, *, batch: int = 16, repeats: int = 5) -> float:
    """Images that the network answers in a second on its device: median of ``repeats`` batches after a first one.

    What it answers is the first thing that it returns.
    """
    images, network = _images(network, batch, size), network.eval()
    return batch / seconds(lambda: network(images)[0].cpu(), repeats)  # which waits for a GPU


def seconds(work: Callable[[], object], repeats: int = 7, device: str = "cpu") -> float:
    """Median seconds of ``work`` after a first call, which may compile."""
    found = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return float(np.median(found[1:]))


def _images(network: nn.Module, number: int, size: int) -> torch.Tensor:
    return torch.zeros(number, 3, size, size, device=next(network.parameters()).device)
