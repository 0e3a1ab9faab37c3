"""Rows of the twins: one an image, before anything is rendered.

Controlled sets (KDEF, BU-3DFE, Multi-PIE) are grids of people, expressions and cameras; wild ones (RAF-DB, FERPlus,
AffectNet, SFEW) are draws with the published number of images of each class, split and pose subset. Which function
makes which twin, and with what parameters, is said in `fercore.data.twin_designs`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import product
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, field_validator

from fercore.data.ferplus import VOTES, majority
from fercore.data.labels import EXPRESSIONS, SEVEN
from fercore.errors import ParameterError
from fercore.heads import EXPRESSIONS as SHOWN

Share = Annotated[float, Field(ge=0, le=1)]
Angle = Annotated[float, Field(ge=-90, le=90)]
Tilt = Annotated[float, Field(ge=-45, le=45)]


class Twin(BaseModel):
    """All parameters of a twin: its design, its pictures, its difficulty."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Design.
    name: str
    people: int = Field(ge=2, le=100_000, description="how many different people; half of them women")
    expressions: tuple[Literal[tuple(SHOWN)], ...] = Field(default=SEVEN, min_length=1)
    pans: tuple[Angle, ...] = Field(default=(0,), min_length=1, description="camera pans of a controlled set, degrees")
    tilts: tuple[Tilt, ...] = Field(default=(0,), min_length=1, description="camera tilts of a controlled set, degrees")
    repeats: int = Field(default=1, ge=1, le=1000, description="series of a person, or images of one")
    scale: Annotated[float, Field(gt=0, le=1)] = Field(default=1, description="share of a wild set's published images")

    # Pictures.
    size: int = Field(default=64, ge=16, le=1024, description="side in pixels")
    supersampling: int = Field(default=2, ge=1, le=4)
    scenery: Literal["studio", "room", "flash", "film"] = Field(default="room", description="light and background")
    grey: bool = Field(default=False, description="one channel, three times")
    field: float = Field(default=19.5, ge=12, le=40, description="cm that a picture spans: how tight the crop is")
    follows_pitch: bool = Field(default=False, description="whether the crop follows a bent head, as a detector's does")

    # Difficulty.
    levels: tuple[Literal[1, 2, 3, 4, 5], ...] = Field(default=(1, 2, 3, 4), min_length=1, description="weakest is 1")
    jitter: Share = Field(default=0.12, description="standard deviation of the log strength of each action unit")
    drop: Share = Field(default=0.05, description="probability that an action unit of the expression is left out")
    stray: Share = Field(default=0.15, description="greatest strength of one or two units of no class")
    pose_jitter: float = Field(default=3.0, ge=0, le=15, description="standard deviation in degrees, yaw and pitch")
    noise: Share = Field(default=0.01, description="standard deviation of the sensor noise, white is 1")
    accessories: Share = Field(default=0.0, description="share of glasses and headwear, against everyday life as 1")
    occluders: Share = Field(default=0.0, description="share of images in which something covers part of the face")
    blur: float = Field(default=0.0, ge=0, le=4, description="greatest defocus or motion, per cent of the side")
    compression: Share = Field(default=0.0, description="share of images that went through strong JPEG compression")
    exposure: Share = Field(default=0.0, description="how far tones are stretched to the full range of a photograph")
    ambiguity: Share = Field(
        default=0.0, description="how much of a second expression shows, against the raters' doubt"
    )
    label_noise: Share = Field(default=0.0, description="share of images whose label is that of a similar expression")
    seed: int = Field(default=0, ge=0)

    @field_validator("expressions", "pans", "tilts")
    @classmethod
    def _no_repeats(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) != len(values):
            raise ValueError(f"{values} names one twice")
        return values


HARDEST = 2.0
"""End of the scale of `at_hardness`."""


def at_hardness(hardness: float) -> dict[str, float]:
    """How much faces vary at a hardness of 0 to 2: the one number by which a twin is calibrated.

    At 0 every unit has its place in the range of the variant; at 1 strengths vary by 24 %, a tenth of the units is
    left out, and one or two units of no class reach .3; at 2 all that is doubled. Raises ParameterError for a number
    outside.
    """
    if not 0 <= hardness <= HARDEST:
        raise ParameterError(f"hardness {hardness!r} of a twin", do=f"give 0..{HARDEST:g}")
    return {"jitter": round(0.24 * hardness, 4), "drop": round(0.10 * hardness, 4), "stray": round(0.30 * hardness, 4)}


def seed_of(twin: Twin, *names: Any) -> int:
    """A seed from the twin's and from names: the same in every preset, whatever else is rendered."""
    text = " ".join(map(str, (twin.name, twin.seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6])


def _only(twin: Twin, field: str, known: Sequence[Any]) -> None:
    strange = [value for value in getattr(twin, field) if value not in known]
    if strange:
        raise ParameterError(f"{twin.name} has no {field} {strange}", do=f"choose from {', '.join(map(str, known))}")


def _table(twin: Twin, columns: str, lines: Sequence[tuple[Any, ...]], face: str) -> pd.DataFrame:
    """Rows with a seed for each different combination of the columns named in ``face``."""
    table = pd.DataFrame(lines, columns=columns.split())
    keys = zip(*(table[name] for name in face.split()), strict=True)
    return table.assign(seed=[seed_of(twin, *key) for key in keys])


# ---- controlled sets -----------------------------------------------------------------------------------------------

KDEF_CODES = dict(zip(SEVEN, ("NE", "HA", "SU", "SA", "AN", "DI", "AF"), strict=True))
KDEF_PANS = {-90: "FL", -45: "HL", 0: "S", 45: "HR", 90: "FR"}
"""Degrees -> KDEF's code: full left, half left, straight, half right, full right. Positive is to the image's right."""


def kdef(twin: Twin) -> pd.DataFrame:
    """KDEF: ``A F 01 AN FL`` is series, sex, person, expression, pan; five cameras see the same face."""
    _only(twin, "expressions", SEVEN)
    _only(twin, "pans", list(KDEF_PANS))
    if twin.people % 2 or twin.people > 198:
        raise ParameterError(f"a KDEF twin of {twin.people} people", do="give an even number up to 198: half are women")
    lines = [
        (f"{series}{sex}{number:02d}{KDEF_CODES[shown]}{KDEF_PANS[pan]}", f"{sex}{number:02d}", shown, pan, series)
        for sex, number in product("FM", range(1, twin.people // 2 + 1))
        for series in "AB"[: twin.repeats]
        for shown, pan in product(twin.expressions, twin.pans)
    ]
    return _with_sex(_table(twin, "sample subject expression pan series", lines, "subject expression series"))


def bu3dfe(twin: Twin) -> pd.DataFrame:
    """BU-3DFE: six expressions in four levels, and neutral, of each person, seen from every pan.

    Cameras are tilted at level 4 and within 45 degrees alone, as in PATA's third setting.
    """
    _only(twin, "expressions", SEVEN)
    women = round(0.56 * twin.people)
    people = [f"F{k:04d}" for k in range(1, women + 1)] + [f"M{k:04d}" for k in range(1, twin.people - women + 1)]
    lines = []
    for subject, shown in product(people, twin.expressions):
        for level in (0,) if shown == "neutral" else twin.levels:
            tilts = twin.tilts if level == 4 else tuple(t for t in twin.tilts if t == 0)
            for tilt, pan in product(tilts, twin.pans):
                if tilt and abs(pan) > 45:
                    continue
                code = f"{subject}_{KDEF_CODES[shown].replace('AF', 'FE')}{level:02d}_{pan:+03.0f}{tilt:+03.0f}"
                lines.append((code, subject, shown, float(pan), float(tilt), level))
    return _with_sex(_table(twin, "sample subject expression pan tilt level", lines, "subject expression level"))


CAMERAS = {
    -90: "110", -75: "120", -60: "090", -45: "080", -30: "130", -15: "140", 0: "051",
    15: "050", 30: "041", 45: "190", 60: "200", 75: "010", 90: "240",
}  # fmt: skip
"""Multi-PIE's thirteen cameras at head height: pan in degrees -> number."""
SESSIONS = (
    ("neutral", "happiness"), ("neutral", "surprise", "squint"),
    ("neutral", "happiness", "disgust"), ("neutral", "neutral", "scream"),
)  # fmt: skip
"""Recordings 01, 02, 03 of the four sessions; a smile is labelled happiness."""
ATTENDANCE = (249, 203, 230, 239)
"""People in each session, of 337; 129 came to all four, 147 to the last three (PATA's two settings)."""


def multipie(twin: Twin) -> pd.DataFrame:
    """Multi-PIE: whoever came to a session shows its expressions to thirteen cameras, under one of twenty lights."""
    _only(twin, "pans", list(CAMERAS))
    lines = []
    for number in range(1, twin.people + 1):
        for session in (s for s in range(4) if _attends(number, s, twin.people)):
            for recording, shown in enumerate(SESSIONS[session], 1):
                if shown not in twin.expressions:
                    continue
                flash = seed_of(twin, "flash", number, session, recording) % 20
                for pan in twin.pans:
                    sample = f"{number:03d}_{session + 1:02d}_{recording:02d}_{CAMERAS[round(pan)]}_{flash:02d}"
                    lines.append((sample, f"{number:03d}", shown, pan, session + 1, recording, flash))
    table = _table(twin, "sample subject expression pan session recording flash", lines, "subject session recording")
    return table.assign(sex=np.where(table["subject"].astype(int) % 10 < 3, "female", "male"))  # 30 % women


def _attends(number: int, session: int, people: int) -> bool:
    """129 of 337 come to all sessions, 18 more to the last three; the rest are dealt so that each has its number."""
    all_four, last_three = round(129 * people / 337), round(147 * people / 337)
    if number <= last_three:
        return number <= all_four or session > 0
    rest = people - last_three
    wanted = [round(n * people / 337) - (last_three if s else all_four) for s, n in enumerate(ATTENDANCE)]
    start = (0, 0, wanted[1], wanted[1] + wanted[2])[session]  # the last three in turn: nobody else comes to them all
    return (number - last_three - 1 - start) % rest < wanted[session]


def _with_sex(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(sex=table["subject"].str[0].map({"F": "female", "M": "male"}))


# ---- wild sets -----------------------------------------------------------------------------------------------------

SIMILAR = {
    "neutral": "sadness", "happiness": "neutral", "surprise": "fear", "sadness": "neutral",
    "anger": "disgust", "disgust": "anger", "fear": "surprise", "contempt": "neutral",
}  # fmt: skip
"""What each expression is taken for most often: by raters, and by networks."""

RAFDB = {
    "train": dict(zip(SEVEN, (2524, 4772, 1290, 1982, 705, 717, 281), strict=True)),
    "test": dict(zip(SEVEN, (680, 1185, 329, 478, 162, 160, 74), strict=True)),
}
FERPLUS = {
    "train": dict(zip(EXPRESSIONS, (8733, 7284, 3136, 3022, 2098, 116, 536, 120), strict=True)),
    "validation": dict(zip(EXPRESSIONS, (1180, 862, 411, 348, 289, 25, 60, 16), strict=True)),
    "test": dict(zip(EXPRESSIONS, (1083, 892, 394, 382, 269, 16, 86, 15), strict=True)),
}
AFFECTNET = {
    "train": dict(zip(EXPRESSIONS, (74874, 134415, 14090, 25459, 24882, 3803, 6378, 3750), strict=True)),
    "validation": dict.fromkeys(EXPRESSIONS, 500),
}
SFEW = {
    "train": dict(zip(SEVEN, (150, 198, 96, 172, 178, 66, 98), strict=True)),
    "validation": dict(zip(SEVEN, (86, 73, 57, 73, 77, 23, 47), strict=True)),
}
TURNED = {
    "rafdb-twin": (1248 / 3068, 558 / 3068),
    "ferplus-twin": (1171 / 3137, 634 / 3137),
    "affectnet-twin": (1949 / 4000, 985 / 4000),
}
"""Share of the test images turned by more than 30 and more than 45 degrees, by RAN's lists as the papers count them."""


def wild(twin: Twin) -> pd.DataFrame:
    """A wild set: the published number of images of each class and split, by people who are in one split only."""
    _only(twin, "expressions", EXPRESSIONS)
    counts = {"rafdb-twin": RAFDB, "ferplus-twin": FERPLUS, "affectnet-twin": AFFECTNET, "sfew-twin": SFEW}[twin.name]
    parts = []
    # People are dealt to the splits by their images.
    total = sum(sum(split.values()) for split in counts.values())
    first = 0
    for split, classes in counts.items():
        people = max(2, round(twin.people * sum(classes.values()) / total))
        share = twin.scale if split == "train" else min(1.0, 3 * twin.scale)  # narrower intervals where it is cheap
        wanted = {name: max(2, round(n * share)) for name, n in classes.items() if name in twin.expressions}
        rng = np.random.default_rng(seed_of(twin, split))
        labels = rng.permutation(np.repeat(list(wanted), list(wanted.values())))
        numbers = np.sort(first + rng.integers(0, people, len(labels)))
        first += people
        part = pd.DataFrame({"expression": labels, "split": split, "number": numbers})
        part["sample"] = [f"{split}_{k:06d}" for k in range(1, len(part) + 1)]
        parts.append(part.assign(**_turned(len(part), TURNED.get(twin.name, (0.2, 0.08)), rng)))
    table = pd.concat(parts, ignore_index=True)
    table["subject"] = [f"p{number:05d}" for number in table.pop("number")]
    table["sex"] = np.where(table["subject"].str[1:].astype(int) % 2, "male", "female")
    table["seed"] = [seed_of(twin, sample) for sample in table["sample"]]
    rng = np.random.default_rng(seed_of(twin, "labels"))
    return _voted(table, twin, rng) if twin.name == "ferplus-twin" else _mislabelled(table, twin, rng)


def _turned(count: int, shares: tuple[float, float], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Poses of a wild set: mostly frontal with tails; exactly so many turned by more than 30 and 45 degrees.

    As in RAN's lists an image is turned when its yaw or its pitch is; one in eight is so by its pitch, up to 45.
    """
    over30, over45 = (round(share * count) for share in shares)
    place = rng.permutation(count)
    far, mid = place < over45, (place >= over45) & (place < over30)
    side = rng.choice([-1.0, 1.0], count)
    yaw = np.clip(rng.normal(0, 13, count), -29, 29)
    yaw = np.where(mid, side * rng.uniform(31, 45, count), yaw)
    yaw = np.where(far, side * np.clip(46 + rng.exponential(14, count), 46, 88), yaw)
    pitch = np.clip(rng.normal(0, 9, count), -28, 28)
    nods = mid & (rng.random(count) < 0.125)
    yaw = np.where(nods, np.clip(rng.normal(0, 13, count), -29, 29), yaw)
    pitch = np.where(nods, rng.choice([-1.0, 1.0], count) * rng.uniform(31, 44, count), pitch)
    return {"pan": yaw.round(2), "tilt": pitch.round(2), "pose_over_30": far | mid, "pose_over_45": far}


def _mislabelled(table: pd.DataFrame, twin: Twin, rng: np.random.Generator) -> pd.DataFrame:
    """Label noise keeps the published class counts: an image of a similar expression bears the label instead."""
    wrong = rng.random(len(table)) < twin.label_noise
    similar = table["expression"].map(SIMILAR)
    return table.assign(shown=np.where(wrong, similar, table["expression"]))


RATERS = {
    "neutral": (3, (510, 57, 32, 189, 51, 15, 9, 40, 96, 1)),
    "happiness": (3, (59, 870, 31, 7, 6, 3, 3, 5, 17, 0)),
    "surprise": (14, (58, 36, 750, 11, 15, 3, 90, 3, 34, 1)),
    "sadness": (3, (322, 29, 21, 390, 48, 25, 35, 22, 107, 1)),
    "anger": (6, (100, 39, 86, 46, 550, 51, 38, 15, 74, 1)),
    "disgust": (14, (113, 26, 29, 103, 179, 390, 21, 50, 87, 1)),
    "fear": (9, (62, 21, 244, 103, 47, 22, 430, 6, 64, 2)),
    "contempt": (14, (181, 26, 16, 70, 51, 86, 9, 470, 89, 0)),
}
"""Label -> concentration and parts per thousand of each answer, in the order of VOTES: how raters of FERPlus read the
faces of a label (Barsoum et al., 2016).

Fitted to the votes of the real set, label by label, over a grid of the label's own part and of the concentration: the
least sum of the differences in the histogram of agreeing raters (total variation), in mean entropy and, twice, in mean
agreement, among drawn images whose majority is the label. The other answers share the rest as they do there."""


def _voted(table: pd.DataFrame, twin: Twin, rng: np.random.Generator) -> pd.DataFrame:
    """FERPlus: ten raters vote on an ambiguous face until the majority rule gives the row's label.

    Each image has its own probabilities of the answers, Dirichlet by `RATERS`. The face blends the two likeliest
    expressions (`fercore.heads.expressions.blend`): ``also`` is the second, and ``also_share`` follows from q, its part
    of the probability of both::

        also_share = q^2 / (q^2 + (1 - q)^2)    two expressions
                     q^2                        a neutral face with a trace of one
                     1 - (1 - q)^2              an expression that fades to neutral

    times the twin's ``ambiguity``. So a face on which nine of ten agree is clear, and an expression at a quarter of its
    strength divides them.
    """
    if twin.label_noise:
        raise ParameterError("label_noise of the FERPlus twin", do="leave it out: its raters disagree by themselves")
    classes = list(EXPRESSIONS)
    label = table["expression"].map(classes.index).to_numpy()
    odds, votes = np.zeros((len(table), len(VOTES))), np.zeros((len(table), len(VOTES)), int)
    for place, name in enumerate(classes):
        concentration, parts = RATERS[name]
        open_rows = np.flatnonzero(label == place)
        while len(open_rows):
            odds[open_rows] = rng.dirichlet(concentration * (np.array(parts) + 0.5) / 1005, len(open_rows))
            votes[open_rows] = rng.multinomial(10, odds[open_rows])
            open_rows = open_rows[majority(votes[open_rows]) != place]
    seen = odds[:, : len(classes)]
    second, first = np.argsort(seen, 1)[:, -2:].T
    rare, likely = (np.take_along_axis(seen, place[:, None], 1)[:, 0] for place in (second, first))
    q = rare / (rare + likely)
    share = np.where(first == 0, q**2, np.where(second == 0, 1 - (1 - q) ** 2, q**2 / (q**2 + (1 - q) ** 2)))
    share = (twin.ambiguity * share).round(4)
    names = np.array(classes)
    found = pd.DataFrame(votes, columns=[f"votes_{name}" for name in VOTES])
    return pd.concat([table.assign(shown=names[first], also=names[second], also_share=share), found], axis=1)


def crowd(twin: Twin) -> pd.DataFrame:
    """Pre-training: ``people`` with ``repeats`` images each, any expression, any pose, one in ten people held out."""
    lines = []
    for number in range(twin.people):
        for k in range(twin.repeats):
            shown = twin.expressions[seed_of(twin, number, k, "shown") % len(twin.expressions)]
            split = "test" if number % 10 == 9 else "validation" if number % 10 == 8 else "train"
            lines.append((f"p{number:05d}_{k:04d}", f"p{number:05d}", shown, split))
    table = _table(twin, "sample subject expression split", lines, "sample")
    shares = (0.6, 0.4) if twin.name == "landmark-twin" else (0.35, 0.15)
    turned = _turned(len(table), shares, np.random.default_rng(seed_of(twin, "poses")))
    return table.assign(sex=np.where(np.arange(len(table)) // twin.repeats % 2, "male", "female"), **turned)
