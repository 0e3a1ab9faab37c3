"""How fast data sets are made and read: `python tests/bench/bench_data.py`.

Renders the whole KDEF twin (4,900 images) at 112 pixels into the prepared form, with one process and with every core:
starting processes, hashing and writing are part of the seconds. Then reads it back through the memory map as shuffled
batches.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from fercore.data import twin_designs, twins
from fercore.data.prepared import Prepared, open_prepared

BATCH = 64


def rendered(target: Path, people: int, size: int, workers: int) -> float:
    """Seconds for a KDEF twin of so many people."""
    twin = twin_designs.parameters("kdef-twin", "quick", people=people, size=size)
    start = time.perf_counter()
    twins.prepare(target, twin, workers=workers, progress=False)
    return time.perf_counter() - start


def read(data: Prepared, epochs: int = 3) -> float:
    """Images a second, in batches of 64 in random order, as bytes in memory."""
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    for _ in range(epochs):
        order = rng.permutation(len(data))
        for first in range(0, len(data), BATCH):
            np.ascontiguousarray(data.images[order[first : first + BATCH]])
    return epochs * len(data) / (time.perf_counter() - start)


def main(people: int = 70, size: int = 112) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    twins.render_person(twin_designs.parameters("kdef-twin", "smoke", people=2, pans=(0,)), "F01")  # compiles
    print(" images size, px  processes  seconds  rendered a second  read a second  peak of a process, MiB")
    with tempfile.TemporaryDirectory() as folder:
        for workers in sorted({1, cores}):
            target = Path(folder) / str(workers)
            seconds = rendered(target, people, size, workers)
            data = open_prepared(target)
            whose = resource.RUSAGE_SELF if workers == 1 else resource.RUSAGE_CHILDREN
            peak = resource.getrusage(whose).ru_maxrss / 1024  # of all before, too: what is read is mapped, not held
            line = f"{len(data):7,d} {size:8d} {workers:10d} {seconds:8.1f} {len(data) / seconds:18.1f}"
            print(f"{line} {read(data):14,.0f} {peak:23.0f}", flush=True)


if __name__ == "__main__":
    main()
