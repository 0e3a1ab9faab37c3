"""How fast pictures and films are answered, and in how much memory: `python tests/bench/bench_predict.py`.

A LAN of preset smoke is trained first (a minute with its rendered data). Then a film of 640 x 480 with one rendered
head that turns is answered by `fercore predict`'s own code, once short and once four times as long, and a folder of as
many pictures; each in a process of its own, whose peak memory is given: it must not grow with the film.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fercore import predict
from fercore.heads import EXPRESSIONS, Head, render, sample_person
from fercore.papers import lan
from fercore.predict import Predictor
from fercore.training import experiments

FRAMES = 100
SIDES = 12  # different views: rendering them is not what is measured


def views(size: int = 300) -> list[np.ndarray]:
    """A head that turns from side to side before a wall, as frames of 640 x 480."""
    mesh = Head(sample_person(22)).mesh(EXPRESSIONS["happiness"][0])
    frames = []
    for yaw in np.linspace(-40, 40, SIDES):
        frame = np.full((480, 640, 3), 110, np.uint8)
        frame[90 : 90 + size, 160 : 160 + size] = render(mesh, float(yaw), size=size).image
        frames.append(frame)
    return frames


def write_film(path: Path, count: int, frames: list[np.ndarray]) -> None:
    out = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (640, 480))
    for k in range(count):
        out.write(cv2.cvtColor(frames[k % len(frames)], cv2.COLOR_RGB2BGR))
    out.release()


def write_folder(path: Path, count: int, frames: list[np.ndarray]) -> None:
    path.mkdir()
    for k in range(count):
        Image.fromarray(frames[k % len(frames)]).save(path / f"{k:05d}.jpg", quality=92)


def answer(network: Path, source: Path) -> tuple[int, int, float]:
    """Frames, faces, seconds without loading the network."""
    predictor = Predictor(network)
    started, frames, faces = time.perf_counter(), 0, 0
    for _, found in predict.write(predictor, predict.frames([source]), source.with_suffix(".csv")):
        frames, faces = frames + 1, faces + len(found)
    return frames, faces, time.perf_counter() - started


def measured(what: str, network: Path, source: Path) -> None:
    done = subprocess.run(
        [sys.executable, __file__, network, source], capture_output=True, text=True, check=True
    )  # fmt: skip
    frames, faces, seconds, peak = done.stdout.split()
    each = int(frames) / float(seconds)
    print(f"{what:>18} {int(frames):7,d} {int(faces):6,d} {each:9.1f} {float(peak):10.0f}", flush=True)


def main(frames: int = FRAMES) -> None:
    print("            source  frames  faces  a second  peak, MiB")
    with tempfile.TemporaryDirectory() as folder:
        root, drawn = Path(folder), views()
        network = experiments.run(lan.recipe("smoke"), root / "records").folder
        for what, count in (("film", frames), ("film", 4 * frames)):
            write_film(root / f"{count}.avi", count, drawn)
            measured(what, network, root / f"{count}.avi")
        write_folder(root / "pictures", frames, drawn)
        measured("folder of pictures", network, root / "pictures")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        os.environ["FERCORE_PROGRESS"] = "0"
        result = answer(Path(sys.argv[1]), Path(sys.argv[2]))
        print(*result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    else:
        main()
