"""Faces in a photograph: find them, turn them upright, cut them out as the networks here are used to see them.

Networks of this project learn from squares in which a face reaches from the hairline to below the chin. Detectors draw
other boxes; what each draws was measured on rendered people, whose faces' places are known
(``tests/data/test_faces.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np
from PIL import Image

from fercore.errors import FercoreError, ParameterError
from fercore.recipe import unknown

Treatment = Literal["as distributed", "detected", "aligned"]
"""What is done to a data set's picture: nothing, cut out the face that is found, turn it upright before."""
TREATMENTS: tuple[str, ...] = get_args(Treatment)
SEEN = 800
"""Pictures are searched at most this large (longer side in pixels)."""
SMALLEST = 24
"""Side in pixels of the smallest face that is searched for, before a picture is made smaller."""
OVERLAP = 0.3
"""Two boxes that share more of their union than this show one face."""
TEMPLATE = np.array([[0.321, 0.352], [0.679, 0.352], [0.500, 0.573], [0.361, 0.730], [0.639, 0.730]])
"""Where an upright frontal face has its eyes, tip of the nose and corners of the mouth, as shares of the square's side;
left and right as the picture shows them."""
POINTS = np.array([[-3.2, 0, 7.74], [3.2, 0, 7.74], [0, -3.85, 10.81], [-2.46, -6.67, 8.2], [2.46, -6.67, 8.2]])
"""The same five points of a head in centimetres: right, up, towards the viewer (`fercore.heads.anatomy`)."""
NAME_YUNET = "name the model file of YuNet, face_detection_yunet_*.onnx of OpenCV's model zoo"
_DISTANCE = 8.0
"""Of the camera, in sides of the square, for the pose: 1.5 m."""


class Face(NamedTuple):
    """One face: its square and how sure the detector is; where known, which way it looks, and five points.

    square: left, top, side in pixels of the picture, which it may leave; looks: ``ahead``, ``left`` or ``right`` as the
    picture shows it, or nothing; points (5, 2): as in :data:`TEMPLATE`, in pixels.
    """

    square: tuple[float, float, float]
    score: float
    looks: str = ""
    points: np.ndarray | None = None


Detector = Callable[[np.ndarray], list[Face]]
"""Finds the faces of a picture (H, W, 3) uint8, RGB; the surest first."""


def detector(yunet: Path | None = None) -> Detector:
    """YuNet where its model file is named, else the cascades that come with OpenCV."""
    return YuNet(yunet) if yunet else Cascades()


# --- detectors -----------------------------------------------------------------------------------------


class Cascades:
    """OpenCV's cascades for frontal faces and for profiles, the latter on the mirrored picture, too.

    Source: Viola and Jones, "Rapid Object Detection using a Boosted Cascade of Simple Features" (CVPR 2001). They find
    few faces beyond 60 degrees of yaw. A frontal box is as wide as the square wanted and lies 6 % of its side higher;
    one of a profile is larger.
    """

    _VIEWS = (("ahead", "frontalface_default", 1.0), ("left", "profileface", 0.88), ("right", "profileface", 0.88))

    def __init__(self) -> None:
        files = {name: f"{cv2.data.haarcascades}haarcascade_{name}.xml" for _, name, _ in self._VIEWS}
        self._cascades = {name: cv2.CascadeClassifier(file) for name, file in files.items()}

    def __call__(self, image: np.ndarray) -> list[Face]:
        small, scale = _smaller(image)
        grey, found = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), []
        for looks, name, share in self._VIEWS:
            seen = np.ascontiguousarray(grey[:, ::-1]) if looks == "right" else grey
            least = max(SMALLEST, round(0.04 * min(seen.shape)))
            boxes, _, scores = self._cascades[name].detectMultiScale3(
                seen, 1.1, 3, minSize=(least, least), outputRejectLevels=True
            )
            for (left, top, side, _), score in zip(boxes, np.ravel(scores), strict=True):
                if looks == "right":
                    left = seen.shape[1] - left - side
                wanted = share * side
                square = left + (side - wanted) / 2, top + (side - wanted) / 2 + 0.06 * wanted, wanted
                found.append(Face(tuple(float(v / scale) for v in square), float(score), looks))
        return _merged(found)


class YuNet:
    """OpenCV's small face network, whose model file the user supplies; it gives five points, and so the pose.

    Source: Wu et al., "YuNet: A Tiny Millisecond-level Face Detector" (2023).
    """

    def __init__(self, model: Path) -> None:
        model = _model_file(model)
        try:
            self._network = cv2.FaceDetectorYN.create(str(model), "", (320, 320), 0.7)
        except cv2.error as error:
            what = f"{model} is no network that OpenCV can read: {str(error).strip().splitlines()[0]}"
            raise FercoreError(what, do=NAME_YUNET) from error

    def __call__(self, image: np.ndarray) -> list[Face]:
        small, scale = _smaller(image)
        self._network.setInputSize((small.shape[1], small.shape[0]))
        _, rows = self._network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        found = []
        for row in np.zeros((0, 15)) if rows is None else np.asarray(rows, float):
            points = row[4:14].reshape(5, 2) / scale
            found.append(Face(square_of(points), float(row[14]), "", points))
        return _merged(found)


def _smaller(image: np.ndarray) -> tuple[np.ndarray, float]:
    """The picture with a longer side of `SEEN` at most, and by what it was scaled."""
    scale = min(1.0, SEEN / max(image.shape[:2]))
    if scale == 1:
        return np.ascontiguousarray(image), 1.0
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale


def _merged(found: Sequence[Face]) -> list[Face]:
    """One face for boxes that overlap: the surest one's view and points, the mean of the squares."""
    groups: list[list[Face]] = []
    for face in sorted(found, key=lambda face: -face.score):
        near = next((group for group in groups if overlap(group[0].square, face.square) > OVERLAP), None)
        if near is None:
            groups.append([face])
        else:
            near.append(face)
    squares = [tuple(np.mean([face.square for face in group], axis=0).tolist()) for group in groups]
    return [group[0]._replace(square=square) for group, square in zip(groups, squares, strict=True)]


def overlap(one: tuple[float, float, float], two: tuple[float, float, float]) -> float:
    """Intersection over union of two squares."""
    wide, high = (min(one[k] + one[2], two[k] + two[2]) - max(one[k], two[k]) for k in (0, 1))
    shared = max(0.0, wide) * max(0.0, high)
    return shared / (one[2] ** 2 + two[2] ** 2 - shared)


def _model_file(path: Path | str) -> Path:
    """The file, or an error that says which it should be."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise ParameterError(f"There is no model file {path}.", do=NAME_YUNET)
    return path


# --- geometry ------------------------------------------------------------------------------------------


def similarity(points: np.ndarray) -> np.ndarray:
    """The turn, scale and shift (2, 3) that bring five points (5, 2) nearest to :data:`TEMPLATE`, in least squares."""
    x, y = points.T
    one, zero = np.ones(5), np.zeros(5)
    rows = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    a, b, right, down = np.linalg.lstsq(rows, TEMPLATE.T.ravel(), rcond=None)[0]
    return np.array([[a, -b, right], [b, a, down]])


def square_of(points: np.ndarray) -> tuple[float, float, float]:
    """The square (left, top, side) that suits five points, not turned."""
    matrix = similarity(points)
    side = 1 / float(np.hypot(*matrix[:, 0]))
    middle = np.linalg.solve(matrix[:, :2], np.array([0.5, 0.5]) - matrix[:, 2])
    return float(middle[0] - side / 2), float(middle[1] - side / 2), side


def pose_of(points: np.ndarray) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees of a head with these five points (5, 2), signed as in the manifest.

    A mean head is turned until its points are projected there (perspective-n-point); the camera is not known and
    taken to be 1.5 m away.
    """
    flip = np.array([1.0, -1.0, -1.0])  # a camera looks along +z and counts downwards
    side = square_of(points)[2]
    camera = np.array(
        [[_DISTANCE * side, 0, points[:, 0].mean()], [0, _DISTANCE * side, points[:, 1].mean()], [0, 0, 1]]
    )
    _, turned, _ = cv2.solvePnP(POINTS * flip, points.astype(float), camera, None, flags=cv2.SOLVEPNP_SQPNP)
    turn = cv2.Rodrigues(turned)[0] * flip[:, None] * flip
    yaw, roll = np.arctan2(-turn[2, 0], turn[2, 2]), np.arctan2(-turn[0, 1], turn[1, 1])
    pitch = -np.arcsin(np.clip(turn[2, 1], -1, 1))
    return tuple(np.rad2deg([yaw, pitch, roll]).tolist())


def cut(image: np.ndarray, face: Face, size: int, *, aligned: bool = False) -> np.ndarray:
    """A face as a square (size, size, 3) uint8; edges of the picture are drawn out where the square leaves it.

    With ``aligned`` its five points are brought to :data:`TEMPLATE`, which turns it upright; it must have them.
    """
    if aligned and face.points is None:
        raise ParameterError("To turn faces upright, their five points must be known.", do=NAME_YUNET)
    left, top, side = face.square
    matrix = similarity(face.points) if aligned else np.array([[1, 0, -left], [0, 1, -top]]) / side
    # First to a whole number of times the size, then its mean: or fine detail becomes grain.
    times = max(1, int(np.ceil(1 / (np.hypot(*matrix[:, 0]) * size))))
    whole = matrix * size * times
    whole[:, 2] += (whole[:, :2].sum(1) - 1) / 2  # from edges of pixels to their middles
    drawn = cv2.warpAffine(
        image, whole, (size * times, size * times), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(Image.fromarray(drawn).reduce(times)) if times > 1 else drawn


def check(treatment: str, yunet: Path | str | None) -> None:
    """Raise ParameterError for an unknown treatment of pictures, or for one that lacks what it needs."""
    if treatment not in TREATMENTS:
        raise ParameterError(unknown("treatment of faces", treatment, TREATMENTS))
    if treatment == "aligned" and not yunet:
        raise ParameterError("To turn faces upright, their five points must be known.", do=NAME_YUNET)
    if yunet:
        _model_file(yunet)


def largest(found: Sequence[Face]) -> Face | None:
    """Of the faces of a picture that should show one the largest; None for none."""
    return max(found, key=lambda face: face.square[2], default=None)
