"""KDEF: 4,900 photographs of 70 people, seven expressions from five sides, each posed twice.

Source: Lundqvist, Flykt and Öhman, "The Karolinska Directed Emotional Faces" (1998). Accepted as it is given out: a
folder with ``AF01ANFL.JPG`` and so on, in folders of persons or not. A name says series (A, B), sex (F, M), person
(01 to 35), expression (AF, AN, DI, HA, NE, SA, SU) and side (FL, HL, S, HR, FR). Series A and B of a number show the
same person. Some files of the set in circulation are misnamed, of another size or nearly black: they are named, and
what can be used is used.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from fercore.data.labels import SEVEN
from fercore.data.picture_files import Listing, PictureSet, by_name, listed, named, said
from fercore.errors import DataError

CODES = {
    "AF": "fear", "AN": "anger", "DI": "disgust", "HA": "happiness", "NE": "neutral", "SA": "sadness", "SU": "surprise",
}  # fmt: skip
PANS = {"FL": -90.0, "HL": -45.0, "S": 0.0, "HR": 45.0, "FR": 90.0}
"""Side -> pan in degrees; full left profile to full right profile."""
_NAME = re.compile(r"([AB])([FM])(0[1-9]|[12]\d|3[0-5])(AF|AN|DI|HA|NE|SA|SU)(FL|HL|S|HR|FR)\.JPE?G", re.IGNORECASE)


def parse_name(name: str) -> dict[str, object] | None:
    """What ``AF01ANFL.JPG`` says: sample, subject, sex, series, expression, pan, yaw; None for another form of name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    series, sex, number, code, side = (part.upper() for part in match.groups())
    return {
        "sample": f"{series}{sex}{number}{code}{side}",
        "subject": f"{sex}{number}",
        "sex": {"F": "female", "M": "male"}[sex],
        "series": series,
        "expression": CODES[code],
        "pan": PANS[side],
        "yaw": PANS[side],
    }


def read(source: Path) -> Listing:
    """Every picture with a name of KDEF's form, by person, and the names of those without."""
    rows, misnamed = by_name(source, (".jpg", ".jpeg"), lambda file: parse_name(file.name))
    if not rows:
        raise DataError(f"{source} holds no file with a name like AF01ANFL.JPG.", do=SET.how_to_get)
    table = pd.DataFrame(rows).assign(split="all", source="kdef", tilt=0.0)
    twice = table["sample"].duplicated()
    people = sorted(set(table["subject"]))
    whole = {f"{series}{who}{code}{side}" for series in "AB" for who in people for code in CODES for side in PANS}
    problems = said(
        listed("files with a name of another form, which were left out", misnamed),
        listed("files whose name another one has, which were left out", table["file"][twice]),
        listed("pictures that are not there", sorted(whole - set(table["sample"]))),
    )
    order = ["subject", "series", "expression", "pan"]
    return Listing(table[~twice].sort_values(order, ignore_index=True), problems)


SET = PictureSet(
    name="kdef",
    title="KDEF",
    classes=SEVEN,
    folders=("kdef", "KDEF", "KDEF_and_AKDEF/KDEF"),
    is_it=lambda path: named(path, parse_name),
    lacks="no file with a name like AF01ANFL.JPG",
    how_to_get="ask for it at kdef.se, unpack it to a folder kdef, and set FERCORE_DATA to the folder that holds kdef",
    read=read,
    size=224,
    published={"all": 4900},
)
