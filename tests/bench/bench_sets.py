"""How fast real sets are read: `python tests/bench/bench_sets.py`.

On trees of the published sizes that are written first, with pictures of noise: RAF-DB (15,339 of 100 pixels) into the
prepared form, the index of AffectNet's first release (420,000 rows of its csv, every picture asked for), 1,008 views
rendered from 112 scans with BU-3DFE's names (20,164 vertices and a picture each), 490 pictures with KDEF's names and
size (562 x 762) and as many with Multi-PIE's (640 x 480), and FERPlus itself where FERCORE_DATA holds it. KDEF is read
once more with a face looked for in each picture. Each is read in a process of its own, whose peak memory is given.
"""

from __future__ import annotations

import functools
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from fercore.data import affectnet, bu3dfe, ferplus, kdef, multipie, rafdb
from fercore.errors import DataError
from fercore.paths import data_root

RAFDB, AFFECTNET, SCANS, PICTURES = 15_339, 420_000, 112, 490
GRID = 142  # a scan has GRID x GRID vertices
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


def soft(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture of soft blobs, which packs about as well as a photograph."""
    noise = np.random.default_rng(seed).integers(0, 255, (height // 12, width // 12, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def write_kdef(root: Path, count: int) -> None:
    """The first pictures of the women in KDEF's layout."""
    soft(562, 762).save(root / "kind.jpg", quality=90)
    kind = (root / "kind.jpg").read_bytes()
    (root / "kind.jpg").unlink()
    names = itertools.product("AB", range(1, 36), kdef.CODES, kdef.PANS)
    for series, number, code, side in itertools.islice(names, count):
        person = root / f"{series}F{number:02d}"
        person.mkdir(exist_ok=True)
        (person / f"{person.name}{code}{side}.JPG").write_bytes(kind)


def write_multipie(root: Path, count: int) -> None:
    """The first pictures of the first session in Multi-PIE's layout, by all cameras under the flash that is read."""
    soft(640, 480).save(root / "kind.png")
    kind = (root / "kind.png").read_bytes()
    (root / "kind.png").unlink()
    names = itertools.product(range(1, 251), ("01", "02"), multipie.PANS)
    for subject, recording, camera in itertools.islice(names, count):
        folder = root / "session01" / "multiview" / f"{subject:03d}" / recording / f"{camera[:2]}_{camera[2]}"
        folder.mkdir(parents=True)
        (folder / f"{subject:03d}_01_{recording}_{camera}_07.png").write_bytes(kind)


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


def write_bu3dfe(root: Path, count: int, grid: int = GRID) -> None:
    """Half an egg of the size of a face as VRML with a picture of noise, under ``count`` names of BU-3DFE."""
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(-7, 7, grid), np.linspace(-9, 9, grid)))
    z = 6 * np.sqrt(np.clip(1 - (x / 8) ** 2 - (y / 10.5) ** 2, 0, None))
    corner = (np.arange(grid - 1)[:, None] * grid + np.arange(grid - 1)).ravel()
    quads = np.stack([corner, corner + 1, corner + grid + 1, corner + grid], 1)
    faces = ",\n".join(f"{a}, {b}, {c}, {d}, -1" for a, b, c, d in quads)
    points = ", ".join(f"{a:.4f} {b:.4f} {c:.4f}" for a, b, c in zip(10 * x, 10 * y, 10 * z, strict=True))
    places = ", ".join(f"{a:.5f} {b:.5f}" for a, b in zip(x / 14 + 0.5, y / 18 + 0.5, strict=True))
    text = f"""#VRML V2.0 utf8
    Shape {{ appearance Appearance {{ texture ImageTexture {{ url "face.bmp" }} }} geometry IndexedFaceSet {{
    coord Coordinate {{ point [ {points} ] }} texCoord TextureCoordinate {{ point [ {places} ] }}
    coordIndex [ {faces} ] texCoordIndex [ {faces} ] }} }}"""
    noise = np.random.default_rng(0).integers(60, 220, (512, 512, 3), dtype=np.uint8)
    for k in range(count):
        folder = root / f"F{k // 4 + 1:04d}"
        folder.mkdir(exist_ok=True)
        name = f"{folder.name}_HA{k % 4 + 1:02d}WH"
        (folder / f"{name}_F3D.wrl").write_text(text)
        Image.fromarray(noise).save(folder / f"{name}_F2D.bmp")


def read(what: str, source: str, target: str) -> int:
    """Read one set; how many images came out."""
    if what == "affectnet":
        return len(affectnet.read(Path(source)).table)
    modules = {"rafdb": rafdb, "bu3dfe": bu3dfe, "kdef": kdef, "multipie": multipie}
    name, *treatment = what.split("-")
    if name in modules:
        choices = {"treatment": treatment[0]} if treatment else {}
        modules[name].SET.prepare(Path(target), Path(source), **choices)
    else:
        ferplus.prepare(Path(target), Path(source), progress=False)
    from fercore.data.prepared import open_prepared

    return len(open_prepared(Path(target)))


def measured(what: str, source: Path, target: Path) -> None:
    done = subprocess.run(
        [sys.executable, __file__, what, source, target], capture_output=True, text=True, check=True
    )  # fmt: skip
    images, seconds, peak = done.stdout.split()
    each = int(images) / float(seconds)
    print(f"{what:>13} {int(images):8,d} {float(seconds):9.1f} {each:9.0f} {float(peak):10.0f}", flush=True)


def main(
    rafdb_images: int = RAFDB,
    affectnet_rows: int = AFFECTNET,
    scans: int = SCANS,
    grid: int = GRID,
    pictures: int = PICTURES,
    real: bool = True,
) -> None:
    print("          set   images   seconds  a second  peak, MiB")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, write, count in (
            ("rafdb", write_rafdb, rafdb_images),
            ("affectnet", write_affectnet, affectnet_rows),
            ("bu3dfe", functools.partial(write_bu3dfe, grid=grid), scans),
            ("kdef", write_kdef, pictures),
            ("multipie", write_multipie, pictures),
        ):
            (root / name).mkdir()
            write(root / name, count)
            measured(name, root / name, root / "prepared" / name)
        measured("kdef-detected", root / "kdef", root / "prepared" / "kdef-detected")
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
