"""How fast real sets are read: `python tests/bench/bench_sets.py`.

On trees of the published sizes that are written first, with pictures of noise: RAF-DB (15,339 of 100 pixels) into the
prepared form, the index of AffectNet's first release (420,000 rows of its csv, every picture asked for), and FERPlus
itself where FERCORE_DATA holds it. Each is read in a process of its own, whose peak memory is given.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from fercore.data import affectnet, ferplus, rafdb
from fercore.errors import DataError
from fercore.paths import data_root

RAFDB, AFFECTNET = 15_339, 420_000
KINDS = 64  # different pictures: writing them is not what is measured


def write_rafdb(root: Path, count: int) -> None:
    """RAF-DB's tree with four fifths of the pictures to train on."""
    (root / "Image" / "aligned").mkdir(parents=True)
    (root / "EmoLabel").mkdir()
    rng, kinds, lines = np.random.default_rng(0), [], []
    for _ in range(KINDS):
        path = root / "kind.jpg"
        Image.fromarray(rng.integers(0, 255, (100, 100, 3), dtype=np.uint8)).save(path, quality=90)
        kinds.append(path.read_bytes())
        path.unlink()
    for k in range(count):
        name = f"train_{k + 1:05d}" if k < 0.8 * count else f"test_{k + 1:04d}"
        lines.append(f"{name}.jpg {k % 7 + 1}")
        (root / "Image" / "aligned" / f"{name}_aligned.jpg").write_bytes(kinds[k % KINDS])
    (root / rafdb.LABELS).write_text("\n".join(lines))


def write_affectnet(root: Path, count: int) -> None:
    """The two csv files of the first release with landmarks of their usual length, and an empty file a picture."""
    head = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"
    points = ";".join(["123.45"] * 136)
    for split, share in (("training", 0.99), ("validation", 0.01)):
        with (root / f"{split}.csv").open("w") as out:
            out.write(head)
            for k in range(max(1, round(share * count))):
                folder = root / affectnet.IMAGES / str(k % 999)
                if k < 999:
                    folder.mkdir(parents=True, exist_ok=True)
                name = f"{k % 999}/{split[0]}{k:055x}.jpg"
                (root / affectnet.IMAGES / name).touch()
                out.write(f"{name},9,8,224,224,{points},{k % 11},0.1,0.2\n")


def read(what: str, source: str, target: str) -> int:
    """Read one set; how many images came out."""
    if what == "affectnet":
        return len(affectnet.read(Path(source)).table)
    if what == "rafdb":
        rafdb.SET.prepare(Path(target), Path(source), progress=False)
    else:
        ferplus.prepare(Path(target), Path(source), progress=False)
    from fercore.data.prepared import open_prepared

    return len(open_prepared(Path(target)))


def measured(what: str, source: Path, target: Path) -> None:
    done = subprocess.run(
        [sys.executable, __file__, what, source, target], capture_output=True, text=True, check=True
    )  # fmt: skip
    images, seconds, peak = done.stdout.split()
    print(f"{what:>10} {int(images):8,d} {float(seconds):9.1f} {float(peak):10.0f}", flush=True)


def main(rafdb_images: int = RAFDB, affectnet_rows: int = AFFECTNET, real: bool = True) -> None:
    print("       set   images   seconds  peak, MiB")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, write, count in (
            ("rafdb", write_rafdb, rafdb_images),
            ("affectnet", write_affectnet, affectnet_rows),
        ):
            (root / name).mkdir()
            write(root / name, count)
            measured(name, root / name, root / "prepared" / name)
        try:
            source = ferplus.find_source(data_root()) if real else None
        except DataError:
            source = None
        if source is not None:
            measured("ferplus", source, root / "prepared" / "ferplus")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        os.environ["FERCORE_PROGRESS"] = "0"
        started = time.perf_counter()
        count = read(*sys.argv[1:])
        print(count, time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    else:
        main()
