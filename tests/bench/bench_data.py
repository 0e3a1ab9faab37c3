"""How fast data sets are made and read: `python tests/bench/bench_data.py`.

Prints images a second rendered into the prepared form, with one process and with every core, and images a second read
back from it through the memory map as shuffled batches.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fercore.data import twin_designs, twins
from fercore.data.prepared import Prepared, open_prepared

BATCH = 64


def rendered(target: Path, preset: str, workers: int, people: int) -> tuple[float, float]:
    """Images a second and seconds of a KDEF twin; starting processes and hashing are part of it."""
    twin = twin_designs.parameters("kdef-twin", preset, people=people)
    start = time.perf_counter()
    twins.prepare(target, twin, workers=workers, progress=False)
    seconds = time.perf_counter() - start
    return len(twin_designs.rows(twin)) / seconds, seconds


def read(data: Prepared, epochs: int = 20) -> float:
    """Images a second, in batches of 64 in random order, as bytes in memory."""
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    for _ in range(epochs):
        order = rng.permutation(len(data))
        for first in range(0, len(data), BATCH):
            np.ascontiguousarray(data.images[order[first : first + BATCH]])
    return epochs * len(data) / (time.perf_counter() - start)


def main(presets: Sequence[str] = ("smoke", "quick", "paper"), people: int = 10) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    twins.render_person(twin_designs.parameters("kdef-twin", "smoke", people=2, pans=(0,)), "F01")  # compiles
    print(f"{'size, px':>8} {'processes':>10} {'seconds':>8} {'rendered a second':>18} {'read a second':>14}")
    with tempfile.TemporaryDirectory() as folder:
        for preset in presets:
            for workers in sorted({1, cores}):
                target = Path(folder) / f"{preset}-{workers}"
                a_second, seconds = rendered(target, preset, workers, people)
                data = open_prepared(target)
                size = data.images.shape[1]
                print(f"{size:8d} {workers:10d} {seconds:8.1f} {a_second:18.1f} {read(data):14,.0f}", flush=True)


if __name__ == "__main__":
    main()
