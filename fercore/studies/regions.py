"""Where attention looks: how much of the regions that a network chose lies on a face's mouth, eyes and brows.

Rendered people carry masks of their parts; on photographs they are drawn from landmarks that a network has estimated. A
chosen square is held against others of the same size: in the middle of the image, anywhere, and around the landmarks of
eyes, brows and mouth, which the network that chooses does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from fercore import intervals
from fercore.data import estimates, twin_designs, twins
from fercore.data.twin_rows import Twin
from fercore.errors import DataError, RecordError
from fercore.heads import Head, level_of_detail
from fercore.heads.truth import MASKS, region_map
from fercore.paths import prepared_root, reference_records
from fercore.records import Record

PARTS = ("mouth", "eyes", "brows")
SQUARES = ("attended", "in the middle", "anywhere", "around the landmarks")
_FEATURES = slice(17, 68)  # of 68 landmarks, those that do not lie on the outline; the nose is between the others
_OUTLINES = {"mouth": (range(48, 60),), "eyes": (range(36, 42), range(42, 48)), "brows": (range(17, 22), range(22, 27))}
STEPS = 250
"""Landmarks are kept in so many steps of an image's side: finer than a pixel of what networks see."""
DRAWS = 32
"""Squares that stand for any place, drawn by a fixed seed."""


def squares(record: Record) -> np.ndarray:
    """The regions (N, scales, 3) of each test image: x, y and half, as shares of the image's side."""
    arrays = record.arrays()
    if "each_regions" not in arrays:
        what = f"{record.name} keeps no regions."
        raise RecordError(what, do="choose a record of PhaNet with more than one scale")
    return arrays["each_regions"].astype(float)


def cornered(record: Record) -> float:
    """Share of test images on which S2 touches two edges of the image, to a pixel of what the network sees."""
    x, y, half = squares(record)[:, 0].T
    near = 1 / record.recipe["image_size"]
    touched = [(middle - half < near) | (middle + half > 1 - near) for middle in (x, y)]
    return float(np.mean(touched[0] & touched[1]))


def parts(twin: Twin, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a twin's design, rendered again: masks (N, :data:`PARTS`, S, S) and the middle (N, 2) of the landmarks of
    eyes, brows, nose and mouth as shares of the side."""
    masks, middles, face, drawn = [], [], None, None
    for row in rows.itertuples(index=False):
        if drawn != (row.subject, row.seed):
            face, drawn = twins.draw_face(twin, row), (row.subject, row.seed)
            head = Head(twins.person(twin, row.subject, row.sex), level_of_detail(twin.size))
        picture = twins.draw_view(twin, face.mesh, row).picture
        where = region_map(head, face.mesh, picture)
        masks.append([where == MASKS.index(name) for name in PARTS])
        middles.append(picture.landmarks[_FEATURES].mean(0) / twin.size)
    return np.array(masks), np.array(middles)


def drawn_parts(points: np.ndarray, size: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """The same of landmarks (N, 68, 2), shares of the side: lips and eyes as polygons, brows as lines."""
    masks = []
    for face in points * size:
        for part in PARTS:
            drawn = ImageDraw.Draw(sheet := Image.new("1", (size, size)))
            for outline in _OUTLINES[part]:
                corners = [tuple(corner) for corner in face[list(outline)]]
                drawn.line(corners, 1, max(1, size // 20)) if part == "brows" else drawn.polygon(corners, 1)
            masks.append(np.array(sheet))
    return np.array(masks).reshape(len(points), len(PARTS), size, size), points[:, _FEATURES].mean(1)


def keep_landmarks(samples: np.ndarray, points: np.ndarray, dataset: str, preset: str, made: str = "") -> Path:
    """Keep landmarks of images, (N, 68, 2) in shares of the side, rounded to 1/250, beside estimated poses; ``made``:
    by what network. Returns the file; one that can't be written is a :class:`DataError`."""
    path = prepared_root() / estimates.FOLDER / f"{dataset}-{preset}-landmarks.npz"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        rounded = (STEPS * points).round().clip(0, STEPS).astype(np.uint8)
        np.savez_compressed(path, samples=samples.astype(str), points=rounded, made=made)
    except OSError as error:
        raise DataError(f"{path} can't be written: {error}", do="set FERCORE_PREPARED to your own folder") from error
    return path


def landmarks_of(samples: np.ndarray, dataset: str, preset: str) -> np.ndarray:
    """What :func:`keep_landmarks` has kept of these images, (N, 68, 2) in shares of the side; one's own before the
    book's. A :class:`DataError` where nothing is kept of one of them."""
    roots = (
        root / estimates.FOLDER / f"{dataset}-{preset}-landmarks.npz" for root in (prepared_root(), reference_records())
    )
    do = f"make them: fercore data estimate {dataset} --preset {preset} --landmarks"
    path = next(filter(Path.is_file, roots), None)
    if path is None:
        raise DataError(f"There are no estimated landmarks of {dataset} at preset {preset}.", do=do)
    with np.load(path) as kept:
        place = {name: k for k, name in enumerate(kept["samples"].tolist())}
        if missing := [name for name in samples.tolist() if name not in place]:
            raise DataError(f"{path} knows no landmarks of {missing[0]} and {len(missing) - 1} more images.", do=do)
        return kept["points"][[place[name] for name in samples.tolist()]] / STEPS


def inside(masks: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Pixels of masks (N, P, S, S) in squares (N, 3), shares of the side, whose part outside the image counts for
    nothing -> (N, P)."""
    size = masks.shape[-1]
    middles = (np.arange(size) + 0.5) / size
    within = [np.abs(middles - places[:, k, None]) < places[:, 2, None] for k in (0, 1)]
    return np.einsum("npyx,nx,ny->np", masks.astype(float), *(one.astype(float) for one in within))


def coverage(record: Record, most: int = 210) -> pd.DataFrame:
    """How much of each square lies on parts of the face: a line for each test image, scale and kind of square.

    Columns scale, square (:data:`SQUARES`), each of :data:`PARTS`, and ``all`` of them: per cent of the square's area;
    expression, subject, on rendered people pan. Of these ``most`` test images are rendered again, whole faces with all
    their views, drawn by a fixed seed; of photographs all are taken, each as another person, with landmarks that a
    network has estimated.
    """
    every, arrays = squares(record), record.arrays()
    if record.data.real:
        points = landmarks_of(arrays["samples"], record.data.name, record.recipe["preset"])
        shown = np.array(record.classes)[arrays["labels"]]
        return _held(every, *drawn_parts(points), {"expression": shown, "subject": arrays["samples"]})
    made = Twin(**record.data.made["parameters"])
    rows = twin_designs.rows(made).set_index("sample", drop=False).loc[arrays["samples"]]
    faces, of_row = np.unique(rows["seed"], return_inverse=True)
    chosen = np.argsort(np.random.default_rng(0).permutation(len(faces))[of_row], kind="stable")[:most]
    rows = rows.iloc[chosen]
    about = {"expression": rows["shown"], "pan": rows["pan"], "subject": rows["subject"]}
    return _held(every[chosen], *parts(made, rows), about)


def _held(every: np.ndarray, masks: np.ndarray, middles: np.ndarray, about: Mapping[str, Any]) -> pd.DataFrame:
    """Squares (N, scales, 3) against others of their size."""
    lines, rng = [], np.random.default_rng(1)
    for scale in range(every.shape[1]):
        attended = every[:, scale]
        half = attended[:, 2:]
        centre = np.full_like(attended[:, :2], 0.5)
        near = middles.clip(half, 1 - half)
        anywhere = [np.concatenate([rng.uniform(half, 1 - half, (len(half), 2)), half], 1) for _ in range(DRAWS)]
        kinds = [[attended], [np.concatenate([centre, half], 1)], anywhere, [np.concatenate([near, half], 1)]]
        for square, places in zip(SQUARES, kinds, strict=True):
            found = np.mean([_shares(masks, own) for own in places], 0)
            numbers: dict[str, Any] = dict(zip(PARTS, found.T, strict=True)) | {"all": found.sum(1)}
            lines.append(pd.DataFrame({"scale": f"S{scale + 2}", "square": square} | numbers | about))
    return pd.concat(lines, ignore_index=True)


def _shares(masks: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Per cent of squares that lie on each part, (N, P)."""
    whole = inside(np.ones_like(masks[:, :1]), places)
    return 100 * inside(masks, places) / whole.clip(1)


def with_intervals(lines: pd.DataFrame, part: str = "all") -> pd.DataFrame:
    """The mean of each scale and kind of square, with its 95 % interval over people: a line each."""
    found = []
    for (scale, square), own in lines.groupby(["scale", "square"], sort=False):
        told = intervals.mean(own[part].to_numpy(), own["subject"].to_numpy(str))
        found.append((scale, square, *told))
    return pd.DataFrame(found, columns=["scale", "square", "share", "low", "high"])


def ahead(lines: pd.DataFrame, scale: str, of: str, part: str = "all") -> intervals.Interval:
    """By how many points the attended square covers more of a part than another one of its size, with the 95 % interval
    over people."""
    own, other = (lines[(lines["scale"] == scale) & (lines["square"] == name)] for name in (SQUARES[0], of))
    apart = own[part].to_numpy() - other[part].to_numpy()
    return intervals.mean(apart, own["subject"].to_numpy(str))
