"""How fast people are rendered on one core: `python tests/bench/bench_heads.py`.

Prints milliseconds of process CPU time to build a mesh, for a new person and for a new expression of the same one, and
images a second at five views a face, as the twins of the data sets are rendered.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fercore.heads import EXPRESSIONS, Head, level_of_detail, read_mesh, render, sample_person

YAWS = (-90, -45, 0, 45, 90)
RECIPES = [variants[0] for variants in EXPRESSIONS.values()]


def milliseconds(work: Callable[[int], object], repeats: int) -> float:
    """Median process CPU time of ``work(i)``, i = 0, 1, ..., after one call that warms up."""
    work(0)
    times = []
    for i in range(repeats):
        start = time.process_time()
        work(i)
        times.append(time.process_time() - start)
    return 1e3 * float(np.median(times))


def main(sizes: Sequence[int] = (48, 64, 112, 224), repeats: int = 9, views: int = 100) -> None:
    print(f"{'density':>7} {'faces':>8} {'new person, ms':>15} {'new expression, ms':>19}")
    heads = {density: Head(sample_person(22), density) for density in sorted({level_of_detail(s) for s in sizes})}
    building = {}
    for density, head in heads.items():
        new = milliseconds(lambda i, d=density: Head(sample_person(50 + i), d).mesh(RECIPES[1]), repeats)
        building[density] = milliseconds(lambda i, h=head: h.mesh(RECIPES[i % len(RECIPES)]), repeats)
        print(f"{density:7.2f} {len(head.mesh().faces):8,d} {new:15.1f} {building[density]:19.1f}")
    print(f"\n{'size, px':>8} {'density':>8} {'render, ms':>11} {'images a second, 5 views a face':>32}")
    for size in sizes:
        density = level_of_detail(size)
        mesh = heads[density].mesh(RECIPES[1])
        one = milliseconds(lambda i, m=mesh, s=size: render(m, YAWS[i % len(YAWS)], size=s), repeats)
        print(f"{size:8d} {density:8.2f} {one:11.1f} {1e3 / (one + building[density] / len(YAWS)):32.1f}")
    bench_scan(views=views)


def bench_scan(n: int = 142, views: int = 100) -> None:
    """Views of a textured mesh of n * n points, read from a file: seconds for 1,000 at 112 px."""
    x, y = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n))
    z, index = 60 * np.exp(-(x**2) - y**2), np.arange(n * n).reshape(n, n) + 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.obj"
        lines = [f"v {70 * a:.3f} {90 * b:.3f} {c:.3f}" for a, b, c in zip(x.flat, y.flat, z.flat, strict=True)]
        lines += [f"vt {a / 2 + 0.5:.5f} {b / 2 + 0.5:.5f}" for a, b in zip(x.flat, y.flat, strict=True)]
        quads = np.stack([index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]], -1).reshape(-1, 4)
        lines += ["f " + " ".join(f"{i}/{i}" for i in quad) for quad in quads]
        path.write_text("\n".join(lines))
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (512, 512, 3), np.uint8)).save(
            path.with_suffix(".png")
        )
        start = time.process_time()
        mesh = read_mesh(path)
        reading = time.process_time() - start
    one = milliseconds(lambda i: render(mesh, YAWS[i % len(YAWS)], 30 * (i % 3 - 1), size=112), views)
    print(f"\nscan of {len(mesh.vertices):,d} points: read in {reading:.2f} s, 1,000 views at 112 px in {one:.0f} s")


if __name__ == "__main__":
    main()
