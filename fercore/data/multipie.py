"""CMU Multi-PIE: 337 people in four sessions, fifteen cameras, twenty lights.

Source: Gross, Matthews, Cohn, Kanade and Baker, "Multi-PIE" (Image and Vision Computing 28, 2010). Accepted as it is
given out: ``session01/multiview/001/01/05_1/001_01_01_051_07.png``; the name says subject, session, recording, camera
and light. The thirteen cameras at head height are used; two that look from above (08_1 and 19_1) are left out.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from fercore.data.picture_files import Listing, PictureSet, by_name, listed, said
from fercore.errors import DataError, ParameterError

CLASSES = ("neutral", "happiness", "surprise", "squint", "disgust", "scream")
"""Expressions in the order of this book; a smile is labelled happiness."""
RECORDINGS = {
    "01": {"01": "neutral", "02": "happiness"},
    "02": {"01": "neutral", "02": "surprise", "03": "squint"},
    "03": {"01": "neutral", "02": "happiness", "03": "disgust"},
    "04": {"01": "neutral", "02": "neutral", "03": "scream"},
}
"""Session -> recording -> what is shown; descriptions of the fourth session differ, see ``scream`` of :func:`read`."""
PANS = {
    "110": -90.0, "120": -75.0, "090": -60.0, "080": -45.0, "130": -30.0, "140": -15.0, "051": 0.0,
    "050": 15.0, "041": 30.0, "190": 45.0, "200": 60.0, "010": 75.0, "240": 90.0,
}  # fmt: skip
"""Camera -> pan in degrees. The sign is this book's: a head turned to the image's right is positive."""
ABOVE = ("081", "191")
PEOPLE = 337
LIGHT = "07"
"""The flash beside the frontal camera."""
_NAME = re.compile(r"(\d{3})_(0[1-4])_(\d\d)_(\d{3})_(\d\d)\.(?:png|jpg)", re.IGNORECASE)


def read(source: Path, *, lights: str = LIGHT, scream: str = "03") -> Listing:
    """Every picture of a known recording from a camera at head height.

    ``lights``: a number from 00 to 19, or ``all``. ``scream``: which recording of the fourth session is the scream, 02
    or 03; the other one is neutral. Look at a few of them before you rely on it.
    """
    lights, scream = str(lights).zfill(2), str(scream).zfill(2)  # 7 is 07
    if lights != "all" and not re.fullmatch(r"[01]\d", lights):
        do = "give a number from 00 to 19 in two digits, or all"
        raise ParameterError(f"Multi-PIE has no lights {lights!r}.", do=do)
    if scream not in ("02", "03"):
        raise ParameterError(f"The scream is recording 02 or 03 of session 4, not {scream!r}.")
    shown = RECORDINGS | {"04": {"01": "neutral", "02": "neutral", "03": "neutral"} | {scream: "scream"}}

    def parse(file: Path) -> dict[str, object] | None:
        match = _NAME.fullmatch(file.name)
        subject, session, recording, camera, light = match.groups() if match else ("", "01", "", "", "")
        expression = shown[session].get(recording)
        if camera not in ABOVE and (expression is None or camera not in PANS):
            return None
        return {
            "sample": file.stem,
            "subject": subject,
            "expression": expression,
            "pan": PANS.get(camera),
            "session": int(session),
            "recording": int(recording),
            "flash": int(light),
        }

    rows, strange = by_name(source, (".png", ".jpg"), parse)
    level = [row for row in rows if row["pan"] is not None]
    above = len(rows) - len(level)
    kept = [row for row in level if lights in ("all", f"{row['flash']:02d}")]
    if not kept:
        what = f"{source} holds no picture such as 001_01_01_051_{LIGHT}.png under lights {lights}."
        raise DataError(what, do=SET.how_to_get)
    table = pd.DataFrame(kept).assign(split="all", source="multipie", tilt=0.0, yaw=lambda t: t["pan"])
    twice, people = table["sample"].duplicated(), table["subject"].nunique()
    problems = said(
        listed("files of another name, recording or camera, which were left out", strange),
        listed("pictures whose name another one has, which were left out", table["file"][twice]),
        f"{above:,} pictures from above (cameras 08_1 and 19_1) were left out." if above else "",
        f"{people} people, published {PEOPLE}." if people != PEOPLE else "",
    )
    order = ["subject", "session", "recording", "pan", "flash"]
    return Listing(table[~twice].sort_values(order, ignore_index=True), problems)


SET = PictureSet(
    name="multipie",
    title="Multi-PIE",
    classes=CLASSES,
    folders=("multipie", "Multi-PIE", "MultiPIE"),
    is_it=lambda path: any((path / f"session{number}" / "multiview").is_dir() for number in RECORDINGS),
    lacks="no folder session01/multiview",
    how_to_get="buy a licence from Carnegie Mellon University, lay it out as "
    "multipie/session01/multiview/001/01/05_1/..., and set FERCORE_DATA to the folder that holds multipie",
    read=read,
    size=112,
    choices=("lights", "scream"),
)
