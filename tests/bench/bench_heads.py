"""How fast people are rendered on one core: `python tests/bench/bench_heads.py`.

Prints milliseconds of process CPU time to build a mesh, for a new person and for a new expression of the same one, and
images a second at five views a face, as the twins of the data sets are rendered.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from fercore.heads import EXPRESSIONS, Head, render, sample_person

YAWS = (-90, -45, 0, 45, 90)
RECIPES = [variants[0] for variants in EXPRESSIONS.values()]


def milliseconds(work: Callable[[int], object], repeats: int = 9) -> float:
    """Median process CPU time of ``work(i)``, i = 0, 1, ..., after one call that warms up."""
    work(0)
    times = []
    for i in range(repeats):
        start = time.process_time()
        work(i)
        times.append(time.process_time() - start)
    return 1e3 * float(np.median(times))


def main() -> None:
    print(f"{'density':>7} {'faces':>8} {'new person, ms':>15} {'new expression, ms':>19}")
    heads = {density: Head(sample_person(22), density) for density in (0.75, 1.0)}
    building = {}
    for density, head in heads.items():
        new = milliseconds(lambda i, d=density: Head(sample_person(50 + i), d).mesh(RECIPES[1]))
        building[density] = milliseconds(lambda i, h=head: h.mesh(RECIPES[i % len(RECIPES)]))
        print(f"{density:7.2f} {len(head.mesh().faces):8,d} {new:15.1f} {building[density]:19.1f}")
    print(f"\n{'size, px':>8} {'density':>8} {'render, ms':>11} {'images a second, 5 views a face':>32}")
    for size, density in ((64, 0.75), (112, 0.75), (224, 1.0)):
        mesh = heads[density].mesh(RECIPES[1])
        one = milliseconds(lambda i, m=mesh, s=size: render(m, YAWS[i % len(YAWS)], size=s))
        print(f"{size:8d} {density:8.2f} {one:11.1f} {1e3 / (one + building[density] / len(YAWS)):32.1f}")


if __name__ == "__main__":
    main()
