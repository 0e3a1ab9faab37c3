"""SFEW 2.0: frames of films, seven expressions, 958 to train on and 436 to validate on.

Source: Dhall, Goecke, Lucey and Gedeon, "Static Facial Expressions in Tough Conditions" (ICCV Workshops 2011). Accepted
as it is given out: ``Train/Train_Aligned_Faces/Angry/Airheads_000519240_00000005.png`` and
``Val/Val_Aligned_Faces_new/...``, a folder each for Angry, Disgust, Fear, Happy, Neutral, Sad and Surprise. Labels of
the test part are not public; nobody says who is shown, and the film stands in each name.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fercore.data.labels import SEVEN
from fercore.data.picture_files import Listing, PictureSet, by_name, listed, said
from fercore.errors import DataError

FOLDERS = {
    "angry": "anger", "disgust": "disgust", "fear": "fear", "happy": "happiness", "neutral": "neutral",
    "sad": "sadness", "surprise": "surprise",
}  # fmt: skip
PARTS = {"train": ("Train", "Train_Aligned_Faces"), "validation": ("Val", "Val_Aligned_Faces")}
"""Split -> its folder, and how the name of the folder of aligned faces begins."""
OF_CLASS = {
    "train": dict(zip(SEVEN, (150, 198, 96, 172, 178, 66, 98), strict=True)),
    "validation": dict(zip(SEVEN, (86, 73, 57, 73, 77, 23, 47), strict=True)),
}
"""Published images of each class."""


def _faces(source: Path, split: str) -> Path | None:
    """The folder of aligned faces of a part; archives in circulation name it in several ways."""
    folder, begins = PARTS[split]
    return next((path for path in sorted((source / folder).glob(begins + "*")) if path.is_dir()), None)


def read(source: Path) -> Listing:
    """Every picture in a folder of an expression."""
    tables, problems = [], []
    for split in PARTS:
        folder = _faces(source, split)
        if folder is None:
            problems.append(f"{'/'.join(PARTS[split])} is not there: no image of the part '{split}'.")
            continue
        rows, strange = by_name(source, (".png", ".jpg", ".jpeg"), parse, folder)
        tables.append(pd.DataFrame(rows).assign(split=split))
        problems.append(listed("pictures in a folder of no expression, which were left out", strange))
    if not any(map(len, tables)):
        what = f"{source} holds no picture in a folder such as Train/Train_Aligned_Faces/Angry."
        raise DataError(what, do=SET.how_to_get)
    table = pd.concat(tables, ignore_index=True).assign(subject="", source="sfew")
    table["sample"] = table["split"] + "_" + table["sample"]
    twice = table["sample"].duplicated()
    problems.append(listed("pictures whose name another one has, which were left out", table["file"][twice]))
    return Listing(table[~twice].reset_index(drop=True), said(*problems))


def parse(file: Path) -> dict[str, str] | None:
    """What ``.../Angry/Airheads_000519240_00000005.png`` says: expression, film, sample; None in another folder."""
    expression = FOLDERS.get(file.parent.name.lower())
    film = file.stem.partition("_")[0]
    return {"sample": f"{expression}_{file.stem}", "expression": expression, "film": film} if expression else None


SET = PictureSet(
    name="sfew",
    title="SFEW 2.0",
    classes=SEVEN,
    folders=("sfew", "SFEW", "SFEW_2"),
    is_it=lambda path: any(_faces(path, split) for split in PARTS),
    lacks="no folder Train/Train_Aligned_Faces",
    how_to_get="ask for it on its authors' page (SFEW 2.0, aligned faces), lay it out as "
    "sfew/Train/Train_Aligned_Faces and sfew/Val/Val_Aligned_Faces, and set FERCORE_DATA to the folder that holds sfew",
    read=read,
    size=112,
    published={"train": 958, "validation": 436},
    of_class=OF_CLASS,
)
