"""BU-3DFE: 2,500 scans of 100 people, six expressions in four strengths and neutral; its views are rendered.

Source: Yin, Wei, Sun, Wang and Rosato, "A 3D Facial Expression Database for Facial Behavior Research" (FG 2006). The
images that papers train on do not exist as files: each makes its own from the scans. Here the textured meshes
(``F0001/F0001_AN01WH_F3D.wrl`` with ``..._F3D.bmp`` or ``..._F2D.bmp``) are rendered by the renderer that draws this
book's own heads, in plain light before a plain ground, from the pans and tilts that the protocols name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from fercore.data import picture_files
from fercore.data.labels import SEVEN
from fercore.data.picture_files import Listing, PictureSet, by_name, listed, named, said
from fercore.errors import DataError, ParameterError

CODES = {name[:2].upper(): name for name in SEVEN}
NINE = (-90, -60, -45, -30, 0, 30, 45, 60, 90)
PANS, TILTS = tuple(sorted((*NINE, -15, 15))), (-30, -15, 0, 15, 30)
VIEWS = ("nine", "all")
MODELS, PEOPLE = 2500, 100
_NAME = re.compile(r"([FM]\d{4})_(AN|DI|FE|HA|NE|SA|SU)(0[0-4])([A-Z]{2})_F3D\.wrl", re.IGNORECASE)


def parse_name(name: str) -> dict[str, object] | None:
    """What ``F0001_AN01WH_F3D.wrl`` says: model, subject, sex, expression, level; None for a name of another form.

    Neutral has level 0, every other expression 1 to 4.
    """
    match = _NAME.fullmatch(name)
    if match is None or (match[2].upper() == "NE") != (match[3] == "00"):
        return None
    subject, code, level, group = (part.upper() for part in match.groups())
    return {
        "model": f"{subject}_{code}{level}{group}",
        "subject": subject,
        "sex": {"F": "female", "M": "male"}[subject[0]],
        "expression": CODES[code],
        "level": int(level),
    }


def scans(source: Path) -> Listing:
    """Every scan with a name of the set's form: its row, its file, its picture ("" where there is none)."""
    rows, misnamed = by_name(source, (".wrl",), lambda file: parse_name(file.name))
    if not rows:
        raise DataError(f"{source} holds no file with a name like F0001_AN01WH_F3D.wrl.", do=SET.how_to_get)
    table = pd.DataFrame(rows).drop_duplicates("model").sort_values("model", ignore_index=True)
    table["texture"] = [_texture(source, file) for file in table["file"]]
    people = table["subject"].nunique()
    misnamed = [file for file in misnamed if "_F3D" in Path(file).name.upper()]  # raw scans have other names
    problems = said(
        listed("scans with a name of another form, which were left out", misnamed),
        listed("scans without a picture, which are drawn as grey clay", table["file"][table["texture"] == ""]),
        f"{len(table):,} scans of {people} people, published {MODELS:,} of {PEOPLE}." if len(table) != MODELS else "",
    )
    return Listing(table, problems)


def _texture(source: Path, file: str) -> str:
    """The picture of a scan: of the same name, or with F2D in it; "" where there is none."""
    path = source / file
    names = (path.stem, re.sub("F3D$", "F2D", path.stem, flags=re.IGNORECASE))
    found = (path.with_name(name + ending) for name in names for ending in (".bmp", ".png", ".jpg"))
    return next((f.relative_to(source).as_posix() for f in found if f.is_file() and not f.is_symlink()), "")


def read(source: Path, *, views: str = "nine") -> Listing:
    """One row per view: nine pans of every scan; with ``all``, also ±15 degrees, and tilted cameras at full strength.

    A tilted camera looks from at most 45 degrees aside, as in PATA's third setting.
    """
    if views not in VIEWS:
        raise ParameterError(f"BU-3DFE has no views {views!r}.", do=f"take one of: {', '.join(VIEWS)}")
    found, rows = scans(source), []
    for scan in found.table.to_dict("records"):
        for tilt in TILTS if views == "all" and scan["level"] == 4 else (0,):
            for pan in PANS if views == "all" else NINE:
                if not tilt or abs(pan) <= 45:
                    sample = f"{scan['model']}_{pan:+03d}{tilt:+03d}"
                    rows.append(scan | {"sample": sample, "pan": float(pan), "tilt": float(tilt)})
    table = pd.DataFrame(rows).assign(split="all", source="bu3dfe", yaw=lambda t: t["pan"], pitch=lambda t: t["tilt"])
    note = "Views were rendered from the scans; other papers rendered theirs otherwise."
    return Listing(table, [*found.problems, note])


def draw(source: Path, table: pd.DataFrame, size: int) -> Iterator[np.ndarray]:
    """Every view in the order of the table, (size, size, 3) uint8; views of one scan follow each other."""
    from fercore.heads import read_mesh, render

    for (file, texture), views in table.groupby(["file", "texture"], sort=False):
        mesh = read_mesh(source / file, source / texture if texture else None)
        for pan, tilt in zip(views["pan"], views["tilt"], strict=True):
            yield render(mesh, pan, tilt, size=size).image


def look(source: Path, table: pd.DataFrame) -> list[str]:
    """Sentences on scans that can't be read, and on their pictures, see :func:`fercore.data.picture_files.look`."""
    from fercore.heads import read_mesh

    broken = []
    for file in table["file"].drop_duplicates():
        try:
            read_mesh(source / file)
        except DataError as error:
            broken.append(str(error).splitlines()[0])
    textures = table["texture"].drop_duplicates()
    pictures = picture_files.look(source, pd.DataFrame({"file": textures[textures != ""]}))
    return [*said(listed("broken scans", broken)), *pictures]


SET = PictureSet(
    name="bu3dfe",
    title="BU-3DFE",
    classes=SEVEN,
    folders=("bu3dfe", "BU-3DFE", "BU_3DFE"),
    is_it=lambda path: named(path, parse_name),
    lacks="no file with a name like F0001_AN01WH_F3D.wrl",
    how_to_get="ask Binghamton University for a licence, lay it out as bu3dfe/F0001/F0001_AN01WH_F3D.wrl with its "
    "picture beside it, and set FERCORE_DATA to the folder that holds bu3dfe",
    read=read,
    size=112,
    endings=(".wrl", ".bmp", ".png", ".jpg"),
    choices=("views",),
    draw=draw,
    look=look,
    code=("fercore.heads",),
)
