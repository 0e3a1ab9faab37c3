"""AffectNet: photographs from the web, eight expressions with arousal and valence; both releases.

Source: Mollahosseini, Hasani and Mahoor, "AffectNet: A Database for Facial Expression, Valence, and Arousal Computing
in the Wild" (IEEE TAC 2019). The first release is ``training.csv`` and ``validation.csv`` beside
``Manually_Annotated_Images/<folder>/<56 hexadecimal digits>.jpg``, with a face box for each; the second is
``train_set`` and ``val_set``, each with ``images/0.jpg`` and ``annotations/0_exp.npy``, ``0_val.npy``, ``0_aro.npy``,
cropped. The validation part is what papers test on. The public pose lists name images of the first release; numbers of
the second can't be joined to them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from fercore.data import picture_files
from fercore.data.labels import EXPRESSIONS
from fercore.data.picture_files import BOX, Listing, PictureSet, listed, said
from fercore.data.pose_subsets import AFFECTNET_ORDER, mark
from fercore.errors import DataError

CSV = {"train": "training.csv", "validation": "validation.csv"}
SETS = {"train": "train_set", "validation": "val_set"}
IMAGES = "Manually_Annotated_Images"
COLUMNS = {  # of the csv -> of the manifest
    "subDirectory_filePath": "file", "face_x": BOX[0], "face_y": BOX[1], "face_width": BOX[2], "face_height": BOX[3],
    "expression": "code", "valence": "valence", "arousal": "arousal",
}  # fmt: skip
CODES = (*AFFECTNET_ORDER, "none", "uncertain", "no face")
"""What the numbers 0 to 10 mean; the last three are no expression and are left out."""
OF_CLASS = {
    "train": dict(zip(EXPRESSIONS, (74874, 134415, 14090, 25459, 24882, 3803, 6378, 3750), strict=True)),
    "validation": dict.fromkeys(EXPRESSIONS, 500),
}
"""Published images of each class; the second release has fewer to train on."""
POSE_LISTS = {
    "pose_over_30": ("AffectNet_dir_pose_30_affectnet_list.txt", 1944),
    "pose_over_45": ("AffectNet_dir_pose_45_affectnet_list.txt", 983),
}
"""Manifest column -> list file under ``pose_lists/`` and its number of different entries."""


def read(source: Path) -> Listing:
    """Every image of an expression that is there, of whichever release lies in ``source``."""
    first = any((source / name).is_file() for name in CSV.values())
    table, problems = _first_release(source) if first else _second_release(source)
    strange = table[~table["code"].isin(range(len(CODES)))]
    problems.append(listed("images with a number that is no expression, which were left out", strange["sample"]))
    table = table.drop(index=strange.index)
    table["expression"] = np.array(CODES)[table.pop("code").to_numpy(int)]
    without = table[~table["expression"].isin(EXPRESSIONS)]
    problems += [
        f"{split}: {len(own):,} images of no expression (none, uncertain, no face) were left out."
        for split, own in without.groupby("split")
    ]
    table = table.drop(index=without.index).assign(subject="", source="affectnet").reset_index(drop=True)
    if table.empty:
        raise DataError(f"{source} holds no image with an expression.", do=SET.how_to_get)
    if first:
        marked, unmarked = mark(table, source.parent / "pose_lists", POSE_LISTS, "validation")
        table = table.assign(**marked)
    else:
        what = "The pose lists name images of the first release; the second one numbers its images anew"
        unmarked = [f"{what}: no subset is marked."]
    return Listing(table, said(*problems, *unmarked))


def _first_release(source: Path) -> tuple[pd.DataFrame, list[str]]:
    """The two csv files; of landmarks, which are most of their bytes, nothing is read."""
    parts, problems = [], []
    for split, name in CSV.items():
        file = source / name
        if not file.is_file():
            problems.append(f"{name} is not there: no image of the part '{split}'.")
            continue
        part = _read_csv(file).assign(split=split)
        folder = source / IMAGES
        there = part["file"].map(lambda text, folder=folder: _inside(text) and (folder / text).is_file())
        problems.append(listed(f"rows of {name} without a picture", part["file"][~there]))
        part = part[there].drop_duplicates("file")
        parts.append(
            part.assign(sample=part["file"].map(lambda text: Path(text).stem), file=IMAGES + "/" + part["file"])
        )
    return pd.concat(parts, ignore_index=True), problems


def _read_csv(file: Path) -> pd.DataFrame:
    try:
        head = pd.read_csv(file, nrows=0)
        lost = [name for name in COLUMNS if name not in head]
        if lost:
            raise DataError(f"{file} has no column {', '.join(lost)}.", do="restore the published file")
        kinds = {name: "string" if new == "file" else float for name, new in COLUMNS.items()}
        table = pd.read_csv(file, usecols=list(COLUMNS), dtype=kinds, na_values=["NULL"])
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{file} is no readable csv: {error}", do="restore the published file") from error
    table = table.rename(columns=COLUMNS)[list(COLUMNS.values())]
    empty = table.index[table.isna().any(axis=1)]
    if len(empty):
        raise DataError(f"{file}, line {empty[0] + 2}: a field is empty.", do="restore the published file")
    return table.assign(code=table["code"].astype(int), file=table["file"].astype(str))


def _inside(name: str) -> bool:
    """Whether a name from a file stays in its folder."""
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _second_release(source: Path) -> tuple[pd.DataFrame, list[str]]:
    """``train_set`` and ``val_set``: a number an image, its labels in small arrays."""
    rows, problems = [], []
    for split, name in SETS.items():
        folder = source / name
        if not (folder / "images").is_dir() or not (folder / "annotations").is_dir():
            problems.append(f"{name} has no images or no annotations: no image of the part '{split}'.")
            continue
        unlabelled = []
        for path in picture_files.files_under(folder / "images", (".jpg",)):
            labels = {kind: folder / "annotations" / f"{path.stem}_{kind}.npy" for kind in ("exp", "val", "aro")}
            if not all(file.is_file() for file in labels.values()):
                unlabelled.append(path.name)
                continue
            values = {kind: _number(file) for kind, file in labels.items()}
            file = path.relative_to(source).as_posix()
            rows.append((f"{name}_{path.stem}", split, file, round(values["exp"]), values["val"], values["aro"]))
        problems.append(listed(f"images of {name} without annotations", unlabelled))
    columns = ["sample", "split", "file", "code", "valence", "arousal"]
    return pd.DataFrame(rows, columns=columns), problems


def _number(file: Path) -> float:
    """The single number of a small array, which may be text; nothing pickled is read."""
    try:
        if file.stat().st_size > 4096:
            raise ValueError("too large for one number")
        return float(np.load(file, allow_pickle=False).reshape(()).item())
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise DataError(f"{file} holds no number: {error}", do="restore the published file") from error


SET = PictureSet(
    name="affectnet",
    title="AffectNet",
    classes=EXPRESSIONS,
    folders=("affectnet", "AffectNet"),
    is_it=lambda path: (path / CSV["validation"]).is_file() or (path / SETS["validation"] / "annotations").is_dir(),
    lacks="neither validation.csv nor val_set/annotations",
    how_to_get="ask for it on its authors' page, lay it out as affectnet/training.csv, affectnet/validation.csv and "
    "affectnet/Manually_Annotated_Images, or as affectnet/train_set and affectnet/val_set, and set FERCORE_DATA to the "
    "folder that holds affectnet",
    read=read,
    size=112,
    endings=(".jpg", ".npy"),
    published={"train": 287651, "validation": 4000},
    of_class=OF_CLASS,
)
