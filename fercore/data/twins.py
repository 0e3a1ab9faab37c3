"""Twins: rendered data sets with the design of ones that can't be shipped.

`fercore.data.twin_designs` says who shows what from where; here the rows become pictures of `fercore.heads`. A row's
``seed`` and the twin's parameters give its picture: nothing depends on the order of rendering or on how many
processes share the work. Shards that are finished stay when the work is interrupted; the next call goes on from them.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import replace
from functools import lru_cache, partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fercore.data import prepared, twin_designs
from fercore.data.photo import photograph
from fercore.data.twin_designs import design_of
from fercore.data.twin_rows import Twin, seed_of
from fercore.errors import DataError, ParameterError
from fercore.heads import (
    ACTION_UNITS,
    LEVELS,
    Accessories,
    Head,
    Light,
    Mesh,
    Person,
    Rendering,
    face_centre,
    level_of_detail,
    multipie_flashes,
    render,
    sample_accessories,
    sample_background,
    sample_expression,
    sample_film_light,
    sample_light,
    sample_person,
)
from fercore.heads.accessories import OCCLUDERS
from fercore.heads.expressions import blend, personal_style, sample_gaze
from fercore.heads.render import GREY
from fercore.heads.truth import affect, face_box, unit_vector
from fercore.progress import progress as bar
from fercore.provenance import code_hash, versions

AU_ORDER = tuple(f"AU{unit} {side}" for unit in ACTION_UNITS for side in ("right", "left"))
"""What the 44 numbers of the column ``action_units`` are: each unit on the person's right, then left side."""

SHARD = 96
"""Images that are rendered and stored together, at least; one person's images are never parted."""


def key(twin: Twin) -> str:
    """What the twin's pixels depend on: its parameters and the code that renders them; 16 hexadecimal digits."""
    here = Path(__file__).parent
    files = [here / name for name in ("twins.py", "twin_rows.py", "photo.py")]  # not what merely stores pixels
    code = code_hash(["fercore.heads"], files=files)
    return hashlib.sha256(f"{twin.model_dump_json()} {code}".encode()).hexdigest()[:16]


# ---- pictures ------------------------------------------------------------------------------------------------------


def person(twin: Twin, subject: str, sex: str) -> Person:
    """Who ``subject`` is: the same in every preset."""
    return sample_person(seed_of(twin, subject), sex)


class Face(NamedTuple):
    """One draw of an expression, of which all views of a controlled set are pictures."""

    mesh: Mesh
    intensity: float  # strength of the level, 0 for neutral
    units: dict[int, tuple[float, float]]
    level: int
    occluder: str  # what covers a part of it, "" for nothing


class View(NamedTuple):
    """One picture of a face and the head's true pose in it, degrees."""

    picture: Rendering
    yaw: float
    pitch: float
    roll: float


def wear(twin: Twin, subject: str, who: Person) -> Accessories:
    """What a person always wears: collar, glasses, headwear, earrings."""
    rng, often = np.random.default_rng(seed_of(twin, subject, "wear")), twin.accessories
    odds = {"glasses": 0.25, "sunglasses": 0.03, "headwear": 0.12, "earrings": 0.35}
    return sample_accessories(who, rng, occluder=0, **{name: share * often for name, share in odds.items()})


@lru_cache(maxsize=2)
def _head(twin: Twin, subject: str, sex: str, occluder: str | None = None) -> Head:
    who = person(twin, subject, sex)
    worn = replace(wear(twin, subject, who), occluder=occluder)
    return Head(who, level_of_detail(twin.size), worn)


def draw_face(twin: Twin, row: Any) -> Face:
    """One person's version of the expression a row shows: its level, its action units, where the eyes look."""
    rng = np.random.default_rng(row.seed)
    covered, thing = rng.random() < twin.occluders, str(rng.choice(OCCLUDERS))
    head = _head(twin, row.subject, row.sex, thing if covered else None)
    level = int(rng.choice(twin.levels))
    level = int(row.level) or level
    style = personal_style(head.person.seed)
    units = sample_expression(row.shown, level, rng, twin.jitter, twin.drop, twin.stray, style=style)
    strength = 0.0 if row.shown == "neutral" else min(1.0, LEVELS[level - 1])
    if getattr(row, "also", ""):
        other = sample_expression(row.also, level, rng, twin.jitter, twin.drop, twin.stray, style=style)
        units, strength = blend(units, other, row.also_share), strength * (1 - row.also_share)
    return Face(head.mesh(units, sample_gaze(rng)), strength, units, level, thing if covered else "")


def draw_view(twin: Twin, mesh: Mesh, row: Any) -> View:
    """A face from a row's camera: pose, crop, light, background and what the camera does are the view's own."""
    rng = np.random.default_rng([int(row.seed), round(100 * row.pan) + 9000, round(100 * row.tilt) + 9000])
    yaw, pitch, roll = map(float, rng.normal((row.pan, row.tilt, 0), np.array([1, 1, 0.6]) * twin.pose_jitter))
    if twin.occluders or twin.accessories:  # everyday pictures: heads lean
        roll += float(np.clip(rng.normal(0, 8), -25, 25))
    yaw = math.copysign(min(abs(yaw), 180 - abs(yaw)), yaw)
    pitch, roll = (float(np.clip(angle, -45, 45)) for angle in (pitch, roll))
    loose = 0.05 + 0.06 * twin.pose_jitter + 0.5 * twin.accessories  # cm, how far a face detector's box is off
    field = float(twin.field * np.exp(rng.normal(0, 0.02 + 0.004 * twin.pose_jitter + 0.05 * twin.accessories)))
    middle = face_centre(yaw, twin.field, pitch if twin.follows_pitch else 0.0)
    centre = tuple(map(float, middle + rng.normal(0, loose, 2)))
    light, background = _scenery(twin, row, rng)
    picture = render(
        mesh, yaw, pitch, roll, twin.size,
        light=light, background=background, supersampling=twin.supersampling, field=field, centre=centre,
    )  # fmt: skip
    taken = photograph(
        picture.image,
        rng,
        noise=twin.noise,
        blur=twin.blur,
        compression=twin.compression,
        exposure=twin.exposure,
        grey=twin.grey,
    )
    return View(picture._replace(image=taken), yaw, pitch, roll)


def _scenery(twin: Twin, row: Any, rng: np.random.Generator) -> tuple[Light, Any]:
    """Light and background of a view."""
    if twin.scenery == "studio":
        return Light(), GREY
    if twin.scenery == "flash":
        return multipie_flashes()[row.flash], sample_background(twin.size, rng, "studio")
    light = sample_film_light(rng) if twin.scenery == "film" else sample_light(rng)
    return light, sample_background(twin.size, rng)


def render_rows(twin: Twin, rows: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
    """The images (n, S, S, 3) uint8 of some rows of the design, and these rows with all that is known of them."""
    images = np.empty((len(rows), twin.size, twin.size, 3), np.uint8)
    found, face, drawn = [], None, None
    for place, row in enumerate(rows.itertuples(index=False)):
        if drawn != (row.subject, row.seed):
            face, drawn = draw_face(twin, row), (row.subject, row.seed)
        view = draw_view(twin, face.mesh, row)
        images[place] = view.picture.image
        found.append(_known(twin, row, face, view))
    known = pd.DataFrame(found, index=rows.index)
    return images, pd.concat([rows.drop(columns="level"), known], axis=1)


def render_person(twin: Twin, subject: str) -> tuple[np.ndarray, pd.DataFrame]:
    """:func:`render_rows` of one person's images."""
    rows = twin_designs.rows(twin)
    chosen = rows[rows["subject"] == subject]
    if chosen.empty:
        raise ParameterError(f"{twin.name} has nobody called {subject!r}", do=f"try {rows['subject'].iloc[0]!r}")
    return render_rows(twin, chosen)


def _known(twin: Twin, row: Any, face: Face, view: View) -> dict[str, Any]:
    """What is known about one picture beyond its design. Masks and depth come from rendering the row again."""
    feeling = affect(row.shown, face.intensity, face.units)
    who = _head(twin, row.subject, row.sex).person
    return {
        "level": face.level,
        "intensity": face.intensity,
        "valence": round(feeling.valence, 4),
        "arousal": round(feeling.arousal, 4),
        "yaw": round(view.yaw, 3),
        "pitch": round(view.pitch, 3),
        "roll": round(view.roll, 3),
        "box": np.round(face_box(view.picture.landmarks), 2).astype(np.float32),
        "landmarks": view.picture.landmarks.ravel().astype(np.float32).round(2),
        "landmarks_3d": face.mesh.landmarks.ravel().astype(np.float32).round(3),
        "visible": view.picture.visible,
        "action_units": unit_vector(face.units).round(4),
        "age": round(who.years),
        "tone": round(who.tone, 3),
        "hair": who.hair,
        "occluder": face.occluder,
    }


# ---- preparing -----------------------------------------------------------------------------------------------------


def prepare(target: Path, twin: Twin, *, preset: str = "", workers: int | None = None, progress: bool = True) -> None:
    """Render a twin into the prepared form at ``target``, shard by shard, in ``workers`` processes.

    ``workers`` None takes every core this process may use; the pixels do not depend on it. An interruption leaves
    ``target`` as it was and keeps the shards that are done. Memory: a shard for each worker, whatever the twin's size.
    """
    if workers is not None and workers < 1:
        raise ParameterError(f"workers={workers} can't render anything", do="give 1 or more, or leave it out")
    design, rows = design_of(twin.name), twin_designs.rows(twin)
    parts = target.with_name(f".{target.name}.{key(twin)}.parts")
    shards = _shards(rows)
    with prepared.Writer(target, len(rows), twin.size) as out:
        try:
            parts.mkdir(exist_ok=True)
            manifest = []
            with closing(_render_shards(twin, shards, parts, workers)) as done:
                for images, known in bar(done, design.title.split(":")[0], len(shards), unit="shard", wanted=progress):
                    start = sum(map(len, manifest))
                    out.images[start : start + len(known)] = images
                    manifest.append(known)
        except OSError as error:
            raise out.disk_error(error) from error
        table = pd.concat(manifest, ignore_index=True)
        out.finish(
            table,
            name=twin.name,
            title=f"{design.title.split(':')[0]} (rendered)",
            classes=twin.expressions,
            licence="made by this project, MIT",
            made={
                "preset": preset,
                "parameters": twin.model_dump(mode="json"),
                "key": key(twin),
                "versions": versions(),
                "action_units": list(AU_ORDER),
            },
            notes=[*twin_designs.GENERAL, *design.notes, f"Calibrated by: {design.calibration}"],
            counts=_counts(table, design.published),
        )
    shutil.rmtree(parts, ignore_errors=True)


def _shards(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows in order, whole people together, at least ``SHARD`` images each but the last."""
    person_starts = np.flatnonzero(rows["subject"].ne(rows["subject"].shift()))
    cuts = [0]
    for start in person_starts:
        if start - cuts[-1] >= SHARD:
            cuts.append(int(start))
    return [rows.iloc[a:b] for a, b in zip(cuts, [*cuts[1:], len(rows)], strict=True)]


def _render_shards(
    twin: Twin, shards: list[pd.DataFrame], parts: Path, workers: int | None
) -> Iterator[tuple[np.ndarray, pd.DataFrame]]:
    """Every shard in order: read where an earlier call left it, rendered where not; one worker renders here."""
    workers = workers or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()) or 1
    work = partial(_make_shard, twin, parts)
    missing = [(number, shard) for number, shard in enumerate(shards) if _read_shard(parts, number, len(shard)) is None]
    if workers == 1 or len(missing) < 2:
        waiting = iter(map(work, missing))
        yield from _in_order(shards, missing, waiting, parts)
        return
    pool = ProcessPoolExecutor(min(workers, len(missing)), get_context("spawn"), initializer=_follow_parent)
    try:
        yield from _in_order(shards, missing, pool.map(work, missing), parts)
    except BrokenProcessPool as error:
        raise DataError(
            "A process that renders was ended from outside, perhaps for want of memory; finished shards are kept.",
            do="run it again with fewer workers (a script of your own needs `if __name__ == '__main__':`)",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(
    shards: list[pd.DataFrame], missing: list[tuple[int, pd.DataFrame]], made: Iterator[int], parts: Path
) -> Iterator[tuple[np.ndarray, pd.DataFrame]]:
    still = {number for number, _ in missing}
    for number, shard in enumerate(shards):
        if number in still:
            next(made)
        found = _read_shard(parts, number, len(shard))
        if found is None:
            raise DataError(f"{parts}: shard {number} was removed while it was read.", do="run it again")
        yield found


def _make_shard(twin: Twin, parts: Path, numbered: tuple[int, pd.DataFrame]) -> int:
    """Render a shard and write it aside, then under its name."""
    number, rows = numbered
    images, known = render_rows(twin, rows)
    aside = parts / f"{number:05d}.{os.getpid()}.partial"
    known.to_parquet(aside, index=False)
    os.replace(aside, parts / f"{number:05d}.parquet")
    with open(aside, "wb") as file:
        np.save(file, images)
    os.replace(aside, parts / f"{number:05d}.npy")  # the last to appear: with it the shard is whole
    return number


def _read_shard(parts: Path, number: int, count: int) -> tuple[np.ndarray, pd.DataFrame] | None:
    """A shard that is there and whole; None for one that is missing, cut short or something else."""
    try:
        images = np.load(parts / f"{number:05d}.npy", mmap_mode="r", allow_pickle=False)
        known = pd.read_parquet(parts / f"{number:05d}.parquet")
    except (OSError, ValueError):
        return None
    return (images, known) if len(images) == len(known) == count else None


def _follow_parent() -> None:
    """A worker leaves Ctrl-C to the process that asked for pictures, and ends with it however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=lambda: (parent_process().join(), os._exit(1)), daemon=True).start()


def _counts(table: pd.DataFrame, published: Any) -> dict[str, Any]:
    """Images by what the design fixes, beside the published numbers."""
    columns = [c for c in ("expression", "pan", "tilt", "series", "session", "sex", "split") if c in table]
    by = {name: table.groupby(name, sort=False).size() for name in columns if table[name].nunique() <= 40}
    counted = {name: {str(k): int(n) for k, n in sizes.items()} for name, sizes in by.items()}
    turned = {name: int(table[name].sum()) for name in ("pose_over_30", "pose_over_45") if name in table}
    people = {"images": len(table), "people": table["subject"].nunique()}
    return {**people, **counted, **turned, "published": dict(published)}
