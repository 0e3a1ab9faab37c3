"""Expressions in one's own pictures: photographs, folders, videos, a camera, with a network that was trained here.

>>> from fercore.predict import Predictor
>>> predictor = Predictor("_runs/records/lan-lan-ferplus-quick-f0-s0-...")
>>> for face in predictor.faces("photo.jpg"): print(face.expression, face.probabilities)

A network knows what it was trained on and nothing else: `Predictor.trained_on` says it, and every table carries it.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from fercore import papers, records
from fercore.data import faces
from fercore.data.augment import normalise
from fercore.data.faces import Face
from fercore.data.picture_files import MOST_PIXELS, files_under, read_picture
from fercore.errors import DataError, FercoreError, ParameterError
from fercore.paths import records_root
from fercore.recipe import PRESETS
from fercore.records import Record
from fercore.training.experiments import recipe_of
from fercore.training.loop import load_weights

PICTURES, VIDEOS = (".jpg", ".jpeg", ".png", ".bmp"), (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")
MAPS = ("attention", "cam")
"""Maps over a face that can be drawn, the method's own before one that every network has."""
BATCH = 32


class Frame(NamedTuple):
    """One picture to look at: where it is from, its number and second in a video, its pixels or why it has none."""

    source: str
    number: int
    seconds: float
    image: np.ndarray | None
    problem: str = ""


class Seen(NamedTuple):
    """One face with its answer: probabilities (classes,) in the order of the network's classes, a map (H, W) or None;
    pose: yaw, pitch, roll in degrees where five points are known."""

    face: Face
    expression: str
    probabilities: np.ndarray
    pose: tuple[float, float, float] | None = None
    map: np.ndarray | None = None


class Predictor:
    """A trained network with the detector before it.

    checkpoint: the folder of a record with its weights, as ``fercore train`` leaves it; yunet: model file of OpenCV's
    YuNet, without which the bundled cascades search; aligned: faces are turned upright by their five points; whole:
    pictures are faces already and nothing is searched; maps: keep what the network attends to.
    """

    def __init__(
        self, checkpoint: Path | str, *, yunet: Path | str | None = None, aligned: bool = False, whole: bool = False,
        maps: bool = False,
    ) -> None:  # fmt: skip
        self.record, self.network = load(Path(checkpoint))
        self.classes, self.whole, self.maps = tuple(self.record.classes), whole, maps
        faces.check("aligned" if aligned else "detected", yunet)
        self.detector, self.aligned = faces.detector(Path(yunet) if yunet else None), aligned
        self._module = papers.module(self.record.recipe["paper"])
        if maps and not hasattr(self._module, "maps"):
            raise ParameterError(f"{self.record.recipe['paper']} has no map to draw.", do="leave out the map")

    @property
    def trained_on(self) -> str:
        """What the network learnt from, how good it was there, and what that means for other pictures."""
        r, test = self.record, self.record.metrics["test"]
        what = f"{r.recipe['method']} trained on {r.data.title}, preset {r.recipe['preset']}: "
        what += f"{100 * test['accuracy']:.1f} % of {test['images']:,} test images. "
        if r.data.real:
            return what + "On other photographs it will be right less often."
        return what + "It has never seen a photograph: what it says of one is an experiment, not a measurement."

    def faces(self, picture: Path | str | np.ndarray) -> list[Seen]:
        """The faces of a picture, the surest first: a file, or pixels (H, W, 3) uint8, RGB."""
        image = read_picture(Path(picture)) if isinstance(picture, (str, Path)) else _pixels(picture)
        if self.whole:
            height, width = image.shape[:2]
            side = min(height, width)
            found = [Face(((width - side) / 2, (height - side) / 2, side), 1.0)]
        else:
            found = self.detector(image)
        batches = (found[start : start + BATCH] for start in range(0, len(found), BATCH))
        return [seen for batch in batches for seen in self._answer(image, batch)]

    @torch.no_grad()
    def _answer(self, image: np.ndarray, found: Sequence[Face]) -> list[Seen]:
        r, data = self.record.recipe, self.record.data
        parameters = data.made.get("parameters", {})  # of a twin
        size = int(data.made.get("size") or parameters.get("size") or r["image_size"])
        cuts = np.stack([faces.cut(image, face, size, aligned=self.aligned) for face in found])
        if parameters.get("grey", data.name == "ferplus"):  # the network has only seen grey pictures
            cuts = np.repeat((cuts @ np.array([0.299, 0.587, 0.114]))[..., None].round(), 3, axis=3).astype(np.uint8)
        batch = normalise(torch.from_numpy(cuts), r["image_size"], r["standardise"])
        shares = self.network(batch).logits.float().softmax(1)
        if r["mirror"]:
            shares = (shares + self.network(batch.flip(3)).logits.float().softmax(1)) / 2
        maps: Iterable[np.ndarray | None] = [None] * len(found)
        if self.maps:
            named = self._module.maps(self.network, batch)
            maps = named[next(name for name in MAPS if name in named)].float().numpy()
        poses = [None if face.points is None else faces.pose_of(face.points) for face in found]
        return [
            Seen(face, self.classes[int(p.argmax())], p, pose, one)
            for face, p, pose, one in zip(found, shares.numpy(), poses, maps, strict=True)
        ]


def _pixels(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        what = f"A picture of shape {image.shape} and type {image.dtype}"
        raise DataError(what, do="give (height, width, 3), uint8, in the order red, green, blue")
    return np.ascontiguousarray(image)


def load(folder: Path) -> tuple[Record, torch.nn.Module]:
    """A record and its trained network; names, shapes and classes must fit."""
    folder = folder.expanduser()
    folder = folder.parent if folder.name == "model.safetensors" else folder
    record, file = records.read(folder), folder / "model.safetensors"
    if _names_no_expression(record):
        raise ParameterError(f"{folder} holds pre-training, which names no expression.", do="name one that does")
    if not file.is_file():
        do = f"train it, which takes about {max(1, round(record.seconds / 60))} minutes: {record.command}"
        raise ParameterError(f"{folder} holds a record without its weights.", do=do)
    network = papers.module(record.recipe["paper"]).model(recipe_of(record), len(record.classes))
    try:
        load_weights(network, file)
    except Exception as error:  # safetensors, torch and the system raise their own
        raise FercoreError(f"{file} does not fit its record: {error}", do="train it again") from error
    return record, network.eval()


def newest(root: Path | None = None) -> Path:
    """The record with weights of the largest preset, of these one on real data if there is one, of these the last."""
    found = [r for r in records.find(root or records_root()) if (r.folder / "model.safetensors").is_file()]
    found = [record for record in found if not _names_no_expression(record)]
    if not found:
        do = "train one first, such as: fercore train lan --preset quick --dataset ferplus"
        raise ParameterError(f"No trained network lies in {root or records_root()}.", do=do)
    return max(found, key=lambda r: (PRESETS.index(r.recipe["preset"]), r.data.real, r.started)).folder


def _names_no_expression(record: Record) -> bool:
    return record.recipe["paper"] in papers.pretraining().values()


def frames(paths: Sequence[Path | str], every: int = 1) -> Iterator[Frame]:
    """The pictures of some files and folders, and of videos every ``every``-th frame, one at a time.

    A word of digits alone is the number of a camera, which goes on until it is interrupted. A file that can't be read
    gives a frame with its problem; a path that is not there is an error.
    """
    if every < 1:
        raise ParameterError(f"every {every}-th frame", do="give a whole number from 1")
    for path in paths:
        if str(path).isdigit() and not Path(path).exists():
            yield from _video(int(str(path)), f"camera {path}", every)
            continue
        path = Path(path).expanduser()
        if not path.exists():
            raise DataError(f"There is no {path}.", do="name a picture, a video, a folder, or the number of a camera")
        files = files_under(path, PICTURES + VIDEOS) if path.is_dir() else [path]
        if not files:
            raise DataError(f"{path} holds no picture and no video.", do=f"endings are {', '.join(PICTURES + VIDEOS)}")
        for file in files:
            if file.suffix.lower() in VIDEOS:
                yield from _video(str(file), str(file), every)
            else:
                yield _picture(file)


def _picture(file: Path) -> Frame:
    try:
        return Frame(str(file), 0, 0.0, read_picture(file))
    except DataError as error:
        return Frame(str(file), 0, 0.0, None, str(error).splitlines()[0])


def _video(where: str | int, name: str, every: int) -> Iterator[Frame]:
    """Frames of a video file or a camera; one is in memory at a time."""
    film = cv2.VideoCapture(where)
    try:
        size = film.get(cv2.CAP_PROP_FRAME_WIDTH) * film.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if not film.isOpened() or size > MOST_PIXELS:
            why = "has frames that are too large" if size > MOST_PIXELS else "can't be opened or is no video"
            yield Frame(name, 0, 0.0, None, f"{name} {why}")
            return
        rate, number = film.get(cv2.CAP_PROP_FPS) or 0.0, 0
        while film.grab():
            if number % every == 0:
                there, image = film.retrieve()
                seconds = number / rate if rate > 0 else 0.0
                if there:
                    yield Frame(name, number, seconds, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
                else:
                    yield Frame(name, number, seconds, None, f"{name}: frame {number} is broken")
            number += 1
        if not number:
            yield Frame(name, 0, 0.0, None, f"{name} has no frame that can be read")
    finally:
        film.release()


def row(frame: Frame, number: int | None, seen: Seen | None, classes: Sequence[str]) -> dict[str, Any]:
    """A row of the table: one face, or a frame that shows none."""
    known = {"source": frame.source, "frame": frame.number, "seconds": round(frame.seconds, 3)}
    if seen is None:
        return known | {"problem": frame.problem or "no face found"}
    left, top, side = seen.face.square
    known |= {"face": number, "left": round(left, 1), "top": round(top, 1), "side": round(side, 1)}
    known |= {"score": round(seen.face.score, 3), "looks": seen.face.looks}
    if seen.pose is not None:
        known |= dict(zip(("yaw", "pitch", "roll"), (round(angle, 1) for angle in seen.pose), strict=True))
    shares = {f"p_{name}": round(float(p), 4) for name, p in zip(classes, seen.probabilities, strict=True)}
    return known | {"expression": seen.expression} | shares


def columns(classes: Sequence[str]) -> list[str]:
    """Columns of the table; ``looks`` is what a cascade knows of the pose, angles in degrees come with five points."""
    place = ["face", "left", "top", "side", "score", "looks", "yaw", "pitch", "roll"]
    answer = ["expression", *(f"p_{name}" for name in classes), "trained_on"]
    return ["source", "frame", "seconds", *place, *answer, "problem"]


def write(
    predictor: Predictor, source: Iterable[Frame], table: Path, overlay: Path | None = None
) -> Iterator[tuple[Frame, list[Seen]]]:
    """Answers frame by frame, one row per face written to ``table`` as they come, and pictures to ``overlay``.

    Written aside and renamed at the end, an interrupted run's, too; one that answered nothing leaves an older table as
    it is. Memory holds one frame.
    """
    table.parent.mkdir(parents=True, exist_ok=True)
    aside, taken = table.with_suffix(f".{os.getpid()}.partial"), set()
    answered, classes, always = False, predictor.classes, {"trained_on": predictor.record.data.name}
    try:
        with aside.open("w", newline="") as lines:
            out = csv.DictWriter(lines, columns(classes), lineterminator="\n")
            out.writeheader()
            for frame in source:
                found = [] if frame.image is None else predictor.faces(frame.image)
                rows = [row(frame, number, seen, classes) for number, seen in enumerate(found)]
                out.writerows(each | always for each in rows or [row(frame, None, None, classes)])
                lines.flush()
                if overlay is not None and frame.image is not None:
                    overlay.mkdir(parents=True, exist_ok=True)
                    draw(frame.image, found).save(overlay / _free_name(frame, taken))
                answered = True
                yield frame, found
    finally:
        if answered:
            os.replace(aside, table)
        aside.unlink(missing_ok=True)


def draw(image: np.ndarray, found: Sequence[Seen]) -> Image.Image:
    """The picture with a square round each face, its answer, and the map of what the network attends to, if kept."""
    picture = Image.fromarray(image)
    for seen in found:
        if seen.map is not None:
            _tint(picture, seen)
    pen = ImageDraw.Draw(picture)
    line = max(2, max(picture.size) // 400)
    font = ImageFont.load_default(max(12, max(picture.size) // 45))
    for seen in found:
        left, top, side = seen.face.square
        pen.rectangle((left, top, left + side, top + side), outline=(255, 196, 0), width=line)
        text = f"{seen.expression} {100 * seen.probabilities.max():.0f} %"
        wide, high = pen.textbbox((0, 0), text, font=font)[2:]
        y = top - high - 2 * line if top > high + 2 * line else top + line
        pen.rectangle((left, y, left + wide + 2 * line, y + high + line), fill=(255, 196, 0))
        pen.text((left + line, y), text, fill=(0, 0, 0), font=font)
    return picture


def _tint(picture: Image.Image, seen: Seen) -> None:
    """Lays the map over the face, red where it is greatest, clear where it is least."""
    left, top, side = (round(value) for value in seen.face.square)
    values = seen.map.astype(np.float32)
    values = (values - values.min()) / (np.ptp(values) or 1)
    mask = Image.fromarray((160 * values).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    picture.paste((220, 30, 30), (left, top, left + side, top + side), mask)


def _free_name(frame: Frame, taken: set[str]) -> str:
    """Name of an overlay, in a video one per frame; a name that is taken, from another folder, gets a number."""
    stem = Path(frame.source).stem.replace(" ", "-")
    stem = stem if Path(frame.source).suffix.lower() in PICTURES else f"{stem}-{frame.number:06d}"
    name, number = f"{stem}.png", 2
    while name in taken:
        name, number = f"{stem}-{number}.png", number + 1
    taken.add(name)
    return name
