"""Twins: rendered data sets with the design of one that can't be shipped.

The KDEF twin repeats the design of the Karolinska Directed Emotional Faces (Lundqvist, Flykt and Öhman, 1998):
70 people, seven expressions, five pans, two series, 4,900 images, named by the same rule::

    A F 01 AN FL    series, sex, person, expression, pan

Its people are rendered (`fercore.heads`). A row's ``seed`` and the twin's parameters give its picture: nothing
depends on the order of rendering or on how many processes share the work.
"""

from __future__ import annotations

import hashlib
import math
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fercore.data import prepared
from fercore.data.labels import SEVEN
from fercore.errors import DataError, ParameterError
from fercore.heads import (
    ACTION_UNITS,
    LEVELS,
    Head,
    Light,
    Mesh,
    Person,
    Rendering,
    face_centre,
    render,
    sample_background,
    sample_expression,
    sample_light,
    sample_person,
)
from fercore.heads.render import GREY
from fercore.progress import progress as bar
from fercore.provenance import file_hash, sources, versions

EXPRESSION_CODES = {
    "neutral": "NE",
    "happiness": "HA",
    "surprise": "SU",
    "sadness": "SA",
    "anger": "AN",
    "disgust": "DI",
    "fear": "AF",
}
PAN_CODES = {-90: "FL", -45: "HL", 0: "S", 45: "HR", 90: "FR"}
"""Degrees -> KDEF's code: full left, half left, straight, half right, full right. Positive is to the image's right."""

AU_ORDER = tuple(f"AU{unit} {side}" for unit in ACTION_UNITS for side in ("right", "left"))
"""What the 44 numbers of the column ``action_units`` are: each unit on the person's right, then left side."""

PUBLISHED = {"people": 70, "women": 35, "men": 35, "expressions": 7, "pans": 5, "series": 2, "images": 4900}

NOTES = (
    "Nothing about real people follows from these pictures: they test code and methods, not faces.",
    "Not for training or judging a system that is used on people; no claim about sex, age or skin colour rests on it.",
    "Light and background are drawn anew for each view. KDEF was photographed in soft, even studio light.",
    "Expression strength varies in four levels. KDEF's actors were asked for strong, clear expressions.",
    "The five views show exactly the same face, pose and crop apart. Photographs of a person never do.",
    "A jitter that turns a profile past 90 degrees is turned back by as much: profiles lie at 90 degrees or less.",
    "Hair is smooth and stiff; nobody wears glasses; no tongue shows between the lips; brows are painted on the skin.",
    "Faces are made from averages and Gaussians, with six skin tones: they do not sample any population.",
    "How much varies was set by what a small network can read of it, before any two methods were compared.",
)

Share = Annotated[float, Field(ge=0, le=1)]


class KDEFTwin(BaseModel):
    """All parameters of a KDEF twin; the defaults are its full design at 64 pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Design.
    people: int = Field(default=70, ge=2, le=198, multiple_of=2, description="half of them women")
    expressions: tuple[Literal[SEVEN], ...] = Field(default=SEVEN, min_length=1)
    pans: tuple[Literal[tuple(PAN_CODES)], ...] = Field(default=tuple(PAN_CODES), min_length=1)
    series: Literal[1, 2] = 2

    # Pictures.
    size: int = Field(default=64, ge=16, le=1024, description="side in pixels")
    density: float = Field(
        default=0.75, ge=0.5, le=1.5, description="of the mesh; .6 at 48 px, .75 to 112 px, 1 for 224 px"
    )
    supersampling: int = Field(default=2, ge=1, le=4)

    # Difficulty.
    levels: tuple[Literal[1, 2, 3, 4], ...] = Field(default=(1, 2, 3, 4), min_length=1, description="weakest is 1")
    jitter: Share = Field(default=0.12, description="standard deviation of the log strength of each action unit")
    drop: Share = Field(default=0.05, description="probability that an action unit of the expression is left out")
    stray: Share = Field(default=0.15, description="greatest strength of one or two units of no class")
    scenery: bool = Field(default=True, description="random light and background; a grey studio if not")
    pose_jitter: float = Field(default=3.0, ge=0, le=15, description="standard deviation in degrees, yaw and pitch")
    noise: Share = Field(default=0.01, description="standard deviation of the sensor noise, white is 1")
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _no_repeats(self) -> KDEFTwin:
        for name, values in (("expressions", self.expressions), ("pans", self.pans)):
            if len(set(values)) != len(values):
                raise ValueError(f"{name} {values} names one twice")
        return self


PRESETS = {
    "smoke": KDEFTwin(people=20, series=1, size=48, density=0.6),
    "quick": KDEFTwin(),
    "paper": KDEFTwin(size=224, density=1.0),
}


def parameters(preset: str, **changes: Any) -> KDEFTwin:
    """The twin of a preset (smoke, quick, paper), with some parameters changed.

    Raises ParameterError that names each parameter that is unknown or impossible.
    """
    if preset not in PRESETS:
        raise ParameterError(f"the KDEF twin has no preset {preset!r}", do=f"choose from {', '.join(PRESETS)}")
    try:
        return KDEFTwin.model_validate({**PRESETS[preset].model_dump(), **changes})
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, item['loc'])) or 'twin'}: {item['msg']}" for item in error.errors()]
        known = ", ".join(KDEFTwin.model_fields)
        raise ParameterError(f"impossible KDEF twin: {'; '.join(wrong)}", do=f"its parameters are {known}") from None


def key(preset: str | KDEFTwin) -> str:
    """What the twin's pixels depend on: its parameters and the code that renders them; 16 hexadecimal digits."""
    code = [file_hash(path) for path in (Path(__file__), *sources(["fercore.heads"]))]  # not what merely stores pixels
    return hashlib.sha256(f"{_twin(preset).model_dump_json()} {code}".encode()).hexdigest()[:16]


def _twin(preset: str | KDEFTwin) -> KDEFTwin:
    return preset if isinstance(preset, KDEFTwin) else parameters(preset)


# ---- design --------------------------------------------------------------------------------------------------------


def subjects(twin: KDEFTwin) -> list[str]:
    """Names of the people as in KDEF: F01, F02, ..., then M01, M02, ..."""
    return [f"{sex}{number:02d}" for sex in "FM" for number in range(1, twin.people // 2 + 1)]


def design(twin: KDEFTwin, people: Sequence[str] | None = None) -> pd.DataFrame:
    """One row an image, without rendering any: the manifest's columns that the design fixes, for some people or all.

    Ordered by subject, series, expression and pan. ``seed`` is the same for the five views of one face.
    """
    rows = [
        (series + subject + EXPRESSION_CODES[expression] + PAN_CODES[pan], subject, expression, pan, series)
        for subject in (subjects(twin) if people is None else people)
        for series in "AB"[: twin.series]
        for expression in twin.expressions
        for pan in twin.pans
    ]
    table = pd.DataFrame(rows, columns=["sample", "subject", "expression", "pan", "series"])
    faces = zip(table["subject"], table["expression"], table["series"], strict=True)
    return table.assign(
        sex=table["subject"].str[0].map({"F": "female", "M": "male"}),
        split="all",
        source="kdef-twin",
        seed=[_seed(twin, *face) for face in faces],
    )


def _seed(twin: KDEFTwin, *names: str) -> int:
    """A seed from the twin's and from names: the same person in every preset, whatever else is rendered."""
    text = " ".join(("kdef-twin", str(twin.seed), *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6])


def person(twin: KDEFTwin, subject: str) -> Person:
    """Who ``subject`` ("F07") is."""
    return sample_person(_seed(twin, subject), "female" if subject[0] == "F" else "male")


# ---- pictures ------------------------------------------------------------------------------------------------------


class Face(NamedTuple):
    """One draw of an expression, of which all pans are views."""

    mesh: Mesh
    intensity: float  # strength of the level, 0 for neutral
    action_units: np.ndarray  # (44,) float32, in the order of AU_ORDER


def draw_face(twin: KDEFTwin, head: Head, expression: str, seed: int) -> Face:
    """One person's version of an expression: its level, its action units, where the eyes look."""
    rng = np.random.default_rng(seed)
    level = int(rng.choice(twin.levels))
    units = sample_expression(expression, level, rng, twin.jitter, twin.drop, twin.stray)
    gaze = tuple(float(angle) for angle in rng.normal(0, 0.08, 2))
    strength = 0.0 if expression == "neutral" else LEVELS[level - 1]
    vector = np.array([units.get(unit, (0.0, 0.0)) for unit in ACTION_UNITS], np.float32).ravel().round(4)
    return Face(head.mesh(units, gaze), strength, vector)


class View(NamedTuple):
    """One picture of a face and the head's true pose in it, degrees."""

    picture: Rendering
    yaw: float
    pitch: float
    roll: float


def draw_view(twin: KDEFTwin, mesh: Mesh, pan: int, seed: int) -> View:
    """A face from one pan: pose, crop, light, background and noise are the view's own."""
    rng = np.random.default_rng([seed, pan + 90])
    yaw, pitch, roll = map(float, rng.normal((pan, 0, 0), np.array([1, 1, 0.6]) * twin.pose_jitter))
    yaw = math.copysign(min(abs(yaw), 180 - abs(yaw)), yaw)
    loose = 0.05 + 0.06 * twin.pose_jitter  # cm, how far a face detector's box is off
    field = float(19.5 * np.exp(rng.normal(0, 0.02 + 0.004 * twin.pose_jitter)))
    x, y = map(float, face_centre(pan, 19.5) + rng.normal(0, loose, 2))
    light = sample_light(rng) if twin.scenery else Light()
    picture = render(
        mesh,
        yaw,
        pitch,
        roll,
        twin.size,
        light=light,
        background=sample_background(twin.size, rng) if twin.scenery else GREY,
        supersampling=twin.supersampling,
        field=field,
        centre=(x, y),
    )
    grain = rng.normal(0, 255 * twin.noise, picture.image.shape)
    noisy = np.clip(picture.image + grain, 0, 255).round().astype(np.uint8)
    return View(picture._replace(image=noisy), yaw, pitch, roll)


def render_person(twin: KDEFTwin, subject: str) -> tuple[np.ndarray, pd.DataFrame]:
    """All images of one person, (n, S, S, 3) uint8, and their manifest rows in the order of :func:`design`."""
    who = person(twin, subject)
    head = Head(who, twin.density)
    rows = design(twin, [subject])
    images = np.empty((len(rows), twin.size, twin.size, 3), np.uint8)
    found = []
    for start in range(0, len(rows), len(twin.pans)):
        seed = int(rows["seed"].iloc[start])
        face = draw_face(twin, head, rows["expression"].iloc[start], seed)
        for row, pan in enumerate(twin.pans, start):
            view = draw_view(twin, face.mesh, pan, seed)
            images[row] = view.picture.image
            found.append(_known(face, view))
    return images, pd.concat([rows, pd.DataFrame(found).assign(age=round(20 + 50 * who.age))], axis=1)


def _known(face: Face, view: View) -> dict[str, Any]:
    """What is known about one picture beyond its design."""
    return {
        "intensity": face.intensity,
        "yaw": round(view.yaw, 3),
        "pitch": round(view.pitch, 3),
        "roll": round(view.roll, 3),
        "landmarks": view.picture.landmarks.ravel().astype(np.float32).round(2),
        "visible": view.picture.visible,
        "action_units": face.action_units,
    }


# ---- preparing -----------------------------------------------------------------------------------------------------


def prepare(target: Path, preset: str | KDEFTwin, *, workers: int | None = None, progress: bool = True) -> None:
    """Render a twin into the prepared form at ``target``, person by person, in ``workers`` processes.

    ``preset`` is a name or a twin of your own; ``workers`` None takes every core this process may use. The pixels do
    not depend on it. An interruption or a failure leaves ``target`` as it was. Memory: a few people's images.
    """
    twin = _twin(preset)
    if workers is not None and workers < 1:
        raise ParameterError(f"workers={workers} can't render anything", do="give 1 or more, or leave it out")
    names, each = subjects(twin), twin.series * len(twin.expressions) * len(twin.pans)
    manifest = []
    with (
        prepared.Writer(target, len(names) * each, twin.size) as out,
        closing(_render_people(twin, names, workers)) as people,
    ):
        for place, (images, rows) in enumerate(bar(people, "KDEF twin", len(names), unit="person", wanted=progress)):
            out.images[place * each : (place + 1) * each] = images
            manifest.append(rows)
        table = pd.concat(manifest, ignore_index=True)
        out.finish(
            table,
            name="kdef-twin",
            title="KDEF twin (rendered)",
            classes=twin.expressions,
            licence="made by this project, MIT",
            made={
                "preset": preset if isinstance(preset, str) else "",
                "parameters": twin.model_dump(mode="json"),
                "key": key(twin),
                "versions": versions(),
                "action_units": list(AU_ORDER),
            },
            notes=NOTES,
            counts=_counts(table),
        )


def _render_people(twin: KDEFTwin, names: list[str], workers: int | None) -> Iterator[tuple[np.ndarray, pd.DataFrame]]:
    """`render_person` of every name, in order; one worker renders in this process."""
    workers = workers or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()) or 1
    if workers == 1:
        yield from (render_person(twin, name) for name in names)
        return
    pool = ProcessPoolExecutor(min(workers, len(names)), get_context("spawn"), initializer=_follow_parent)
    try:
        yield from pool.map(partial(render_person, twin), names)
    except BrokenProcessPool as error:
        raise DataError(
            "A process that renders was ended from outside, perhaps for want of memory; nothing was kept.",
            do="run it again with fewer workers (a script of your own needs `if __name__ == '__main__':`)",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _follow_parent() -> None:
    """A worker leaves Ctrl-C to the process that asked for pictures, and ends with it however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=lambda: (parent_process().join(), os._exit(1)), daemon=True).start()


def _counts(table: pd.DataFrame) -> dict[str, Any]:
    """Images by class, pan, series and sex beside the published design."""
    by = {name: table.groupby(name, sort=False).size() for name in ("expression", "pan", "series", "sex", "split")}
    counted = {name: {str(k): int(n) for k, n in sizes.items()} for name, sizes in by.items()}
    return {"images": len(table), "people": table["subject"].nunique(), **counted, "published": PUBLISHED}
