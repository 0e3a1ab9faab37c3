"""Small data sets that the tests write themselves, and the command line within the test's own process."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fercore import cli
from fercore.data import ferplus, prepared

CLASSES = ("neutral", "happiness", "surprise")


def manifest(people: int = 12, each: int = 2, classes: Sequence[str] = CLASSES) -> pd.DataFrame:
    """``each`` images of every expression of every person, women and men by turns, in one split."""
    rows = [
        {"sample": f"{subject}-{name}-{n}", "subject": subject, "expression": name, "split": "all", "source": "test"}
        for k in range(people)
        for subject in [f"{'FM'[k % 2]}{k:02d}"]
        for name in classes
        for n in range(each)
    ]
    return pd.DataFrame(rows)


def stripes(table: pd.DataFrame, size: int, classes: Sequence[str] = CLASSES) -> np.ndarray:
    """Noisy pictures (N, size, size, 3) uint8 whose expression is the row of a bright bar, so that it can be learnt."""
    images = np.random.default_rng(0).integers(0, 90, (len(table), size, size, 3), dtype=np.uint8)
    height = size // len(classes)
    for image, name in zip(images, table["expression"], strict=True):
        top = classes.index(name) * height
        image[top : top + height] += 140
    return images


def write_prepared(
    path: Path,
    table: pd.DataFrame | None = None,
    size: int = 16,
    name: str = "kdef-twin",
    classes: Sequence[str] = CLASSES,
) -> Path:
    """A prepared data set of :func:`stripes`; all else as the real writers leave it."""
    table = manifest() if table is None else table
    with prepared.Writer(path, len(table), size) as out:
        out.images[:] = stripes(table, size, classes)
        out.finish(table, name=name, title="Stripes", classes=tuple(classes), licence="none", made={"seed": 0})
    return path


def face_at(x: float, y: float) -> np.ndarray:
    """68 points round (x, y), in pixels of a 32 px image."""
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    return np.stack([x + 8 * np.cos(angle), y + 8 * np.sin(angle)], 1)


def write_squares(target: Path, preset: str = "", *, known: bool = True) -> None:
    """Squares somewhere on noise; the landmarks lie round each."""
    rng = np.random.default_rng(0)
    table = manifest(20, 6)
    fold = table["subject"].str[1:].astype(int) % 5
    table["split"] = np.where(fold == 0, "test", np.where(fold == 1, "validation", "train"))
    middle = rng.integers(11, 21, (len(table), 2))
    table["yaw"] = rng.uniform(-90, 90, len(table))
    if known:
        table["landmarks"] = [face_at(*place).ravel().astype(np.float32) for place in middle]
        table["visible"] = [np.arange(68) % 2 == 0 for _ in middle]
    with prepared.Writer(target, len(table), 32) as out:
        for image, (x, y) in zip(out.images, middle, strict=True):
            image[:] = rng.integers(0, 60, (32, 32, 3))
            image[y - 6 : y + 6, x - 6 : x + 6] = 220
        out.finish(table, name="landmark-twin", title="Squares", classes=CLASSES, licence="none", made={"seed": 0})


def png(value: int = 120, size: int = 48) -> bytes:
    """A grey picture with a gradient, as the bytes of a PNG file."""
    pixels = np.add.outer(np.arange(size), np.arange(size)).astype(np.uint8) // 2 + np.uint8(value)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


Votes = dict[str, Sequence[int]]
SPLITS: dict[str, Votes] = {
    "FER2013Train": {
        "fer0000000": (8, 1, 0, 1, 0, 0, 0, 0, 0, 0),  # neutral under both rules
        "fer0000001": (0, 9, 0, 0, 0, 0, 0, 0, 1, 0),  # happiness
        "fer0000002": (5, 0, 0, 5, 0, 0, 0, 0, 0, 0),  # no majority; the first of equals is neutral
        "fer0000003": (0, 0, 0, 0, 0, 0, 0, 0, 0, 10),  # no face
    },
    "FER2013Valid": {"fer0028710": (0, 0, 7, 0, 0, 0, 3, 0, 0, 0), "fer0028711": (0, 0, 0, 0, 0, 0, 0, 1, 9, 0)},
    "FER2013Test": {"fer0032222": (0, 0, 0, 0, 1, 0, 0, 9, 0, 0), "fer0032223": (1, 1, 1, 1, 1, 0, 0, 0, 4, 1)},
}
"""Votes of a small FERPlus in the layout and with the quirks of the real one."""
USAGES = {
    folder: usage for usage, split in ferplus.USAGES.items() for folder, s in ferplus.FOLDERS.items() if s == split
}


def label_csv(votes: Votes) -> str:
    """No header, the face box as quoted text, no newline at the end."""
    return "\n".join(f'{name}.png,"(0, 0, 48, 48)",{",".join(map(str, row))}' for name, row in votes.items())


def ferplus_files() -> dict[str, bytes]:
    """Every file of the small FERPlus: relative name -> bytes."""
    files = {}
    new = ["Usage,Image name," + ",".join(ferplus.VOTES), "Training," + ",0" * 9 + ",10"]  # a row without a name
    for folder, votes in SPLITS.items():
        files[f"data/{folder}/label.csv"] = label_csv(votes).encode()
        for k, (name, row) in enumerate(votes.items()):
            files[f"data/{folder}/{name}.png"] = png(20 + int(name[-2:]) + 7 * k)
            new.append(f"{USAGES[folder]},{name}.png,{','.join(map(str, row))}")
    return files | {"fer2013new.csv": "\n".join(new).encode()}


def ferplus_folder(root: Path, files: dict[str, bytes] | None = None) -> Path:
    """The files unpacked at ``root/ferplus``."""
    for name, data in (ferplus_files() if files is None else files).items():
        path = root / "ferplus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root / "ferplus"


def ferplus_archive(root: Path, files: dict[str, bytes] | None = None, extra: Sequence[tarfile.TarInfo] = ()) -> Path:
    """The files as ``root/ferplus.tar.gz``, with further members that have no content."""
    root.mkdir(parents=True, exist_ok=True)
    with tarfile.open(root / "ferplus.tar.gz", "w:gz") as archive:
        for name, data in (ferplus_files() if files is None else files).items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for member in extra:
            archive.addfile(member)
    return root / "ferplus.tar.gz"


class Command:
    """``fercore WORDS`` in this process: ``good`` returns its lines, ``bad`` its one message, ``status`` its number.

    ``errors``: what the last one wrote to standard error.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys, self.errors = monkeypatch, capsys, ""

    def _run(self, *words: object) -> tuple[int, str, str]:
        self.monkeypatch.setattr("sys.argv", ["fercore", *map(str, words)])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = self.capsys.readouterr()
        self.errors = printed.err
        return int(end.value.code or 0), printed.out, printed.err

    def status(self, *words: object) -> int:
        return self._run(*words)[0]

    def good(self, *words: object) -> list[str]:
        status, out, err = self._run(*words)
        assert status == 0, err
        return out.splitlines()

    def bad(self, *words: object) -> str:
        status, out, err = self._run(*words)
        assert status == 2, out
        assert "Traceback" not in out + err and err.count("fercore: ") == 1
        return err
