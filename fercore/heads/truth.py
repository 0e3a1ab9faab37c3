"""What is true of a rendered picture: affect, action units, pose, face box, landmarks and masks of the face's regions.

Valence and arousal (each in -1..1) come from the place C_e of the expression on Russell's circumplex and from the
units that are at work::

    affect = clip(0.8 i C_e + 0.2 tanh(sum_u w_u a_u), -1, 1)

i: intensity 0..1; a_u: mean strength of unit u over both sides; w_u: its weights, 0 for units not listed. So two faces
of one class differ in affect, too. Places follow Russell (1980, J. Pers. Soc. Psychol. 39) and are typed by hand, as
are the weights; they describe rendered faces and are no measurement of feelings.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from fercore.errors import ParameterError
from fercore.heads.anatomy import EYE_X, REGIONS, Anatomy
from fercore.heads.fields import Array, polyline_distance
from fercore.heads.muscles import ACTION_UNITS, ActionUnits, check_action_units
from fercore.heads.parts import PARTS
from fercore.heads.render import Rendering
from fercore.heads.scene import Head, Mesh

CIRCUMPLEX = {  # valence, arousal
    "neutral": (0.0, 0.0),
    "happiness": (0.85, 0.40),
    "surprise": (0.15, 0.80),
    "sadness": (-0.70, -0.40),
    "anger": (-0.65, 0.65),
    "disgust": (-0.70, 0.35),
    "fear": (-0.60, 0.80),
    "contempt": (-0.55, 0.10),
    "squint": (-0.10, 0.10),
    "scream": (-0.60, 0.95),
}
UNIT_AFFECT = {  # unit: weights of valence, arousal
    1: (-0.15, 0.15),
    2: (0.0, 0.25),
    4: (-0.40, 0.20),
    5: (0.0, 0.50),
    6: (0.25, 0.15),
    7: (-0.10, 0.15),
    9: (-0.45, 0.20),
    10: (-0.35, 0.15),
    12: (0.80, 0.15),
    14: (-0.20, 0.0),
    15: (-0.50, -0.20),
    17: (-0.20, 0.0),
    20: (-0.30, 0.35),
    23: (-0.20, 0.20),
    24: (-0.20, 0.20),
    25: (0.05, 0.15),
    26: (0.0, 0.25),
    27: (0.0, 0.60),
    43: (0.0, -0.60),
}
MASKS = ("background", "other", "skin", "brows", "eyes", "nose", "mouth", "hair")
"""Names of the values of a region map. Skin includes ears and neck; beards are hair; other is clothes and objects."""
_MASK_OF_PART = {
    **dict.fromkeys(("skin", "ear", "neck"), "skin"),
    **dict.fromkeys(("lid", "lash", "eye", "caruncle"), "eyes"),
    **dict.fromkeys(("mouth", "teeth", "tongue"), "mouth"),
    **dict.fromkeys(("hair", "beard"), "hair"),
    "background": "background",
    "brow": "brows",
}


class Affect(NamedTuple):
    """How pleasant and how excited a face looks, each in -1..1."""

    valence: float
    arousal: float


class Truth(NamedTuple):
    """All that is known of one picture."""

    expression: str
    intensity: float  # 0 for neutral .. 1
    affect: Affect
    action_units: Array  # (44,) float32: (right, left) of each of ACTION_UNITS in turn
    pose: tuple[float, float, float]  # yaw, pitch, roll in degrees
    box: tuple[float, float, float, float]  # left, top, right, bottom in pixels
    landmarks: Array  # (68, 2) float32, pixels
    landmarks_3d: Array  # (68, 3) float32, cm in the frame of the head
    visible: Array  # (68,) bool
    regions: Array  # (H, W) uint8, index into MASKS


def affect(expression: str, intensity: float, units: ActionUnits) -> Affect:
    """Valence and arousal of an expression at ``intensity`` 0..1 that ``units`` show, by the formula above."""
    if expression not in CIRCUMPLEX:
        raise ParameterError(f"unknown expression {expression!r}", do=f"choose from {', '.join(CIRCUMPLEX)}")
    if not 0 <= intensity <= 1:
        raise ParameterError(f"intensity {intensity!r} of an expression", do="give a number in 0..1")
    at_work = np.zeros(2)
    for unit, sides in check_action_units(units).items():
        at_work += np.multiply(UNIT_AFFECT.get(unit, (0.0, 0.0)), np.mean(sides))
    place = 0.8 * intensity * np.array(CIRCUMPLEX[expression]) + 0.2 * np.tanh(at_work)
    valence, arousal = np.clip(place, -1, 1)
    return Affect(float(valence), float(arousal))


def unit_vector(units: ActionUnits) -> Array:
    """Strengths (44,) float32: right and left side of each of ACTION_UNITS in turn."""
    checked = check_action_units(units)
    return np.array([checked.get(unit, (0.0, 0.0)) for unit in ACTION_UNITS], np.float32).ravel()


def face_box(landmarks: Array, margin: float = 0.0) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) in pixels round landmarks (68, 2) and the forehead above them.

    The forehead adds 35 % of the landmarks' height above them; ``margin`` (share of the sides, 0..1) widens all round.
    The box may leave the picture, as the face may.
    """
    if np.shape(landmarks) != (68, 2):
        raise ParameterError(f"landmarks of shape {np.shape(landmarks)}", do="give (68, 2) in pixels")
    left, top = np.min(landmarks, 0)
    right, bottom = np.max(landmarks, 0)
    top -= 0.35 * (bottom - top)
    x, y = margin * (right - left), margin * (bottom - top)
    return float(left - x), float(top - y), float(right + x), float(bottom + y)


def region_map(head: Head, mesh: Mesh, rendering: Rendering) -> Array:
    """Region of each pixel, (H, W) uint8 as indices into MASKS, of a ``rendering`` of the head's ``mesh``."""
    of_part = np.array([MASKS.index(_MASK_OF_PART.get(part, "other")) for part in PARTS], np.uint8)
    of_vertex = of_part[mesh.part]
    of_vertex[: len(head.anatomy.x)] = _skin_masks(head.anatomy)
    return np.where(rendering.vertex >= 0, of_vertex[rendering.vertex], 0).astype(np.uint8)


@cache
def _skin_masks(c: Anatomy) -> Array:
    """Region (V,) uint8 of each vertex of the skin, where brows, eyes and lips are drawn rather than in wide bands."""
    a, masks = np.abs(c.x), np.full(len(c.x), MASKS.index("skin"), np.uint8)
    brow = polyline_distance(a, c.y, [(1.1, 1.8), (2.0, 2.02), (3.2, 2.22), (4.2, 2.0), (5.1, 1.45)])[0]
    for name, where in (
        ("nose", c.region == REGIONS.index("nose")),
        ("eyes", ((a - EYE_X) / 1.6) ** 2 + (c.y / 0.5) ** 2 < 1),
        ("brows", brow < 0.42),
        ("mouth", c.lip > 0.5),
    ):
        masks[where & (c.face > 0.5)] = MASKS.index(name)
    return masks


def describe(
    head: Head,
    mesh: Mesh,
    rendering: Rendering,
    expression: str,
    intensity: float,
    units: ActionUnits,
    pose: tuple[float, float, float],
) -> Truth:
    """Everything that is known of a ``rendering`` of the head's ``mesh``, which shows ``units`` at ``pose``."""
    return Truth(
        expression=expression,
        intensity=float(intensity),
        affect=affect(expression, intensity, units),
        action_units=unit_vector(units),
        pose=tuple(float(angle) for angle in pose),
        box=face_box(rendering.landmarks),
        landmarks=rendering.landmarks,
        landmarks_3d=mesh.landmarks,
        visible=rendering.visible,
        regions=region_map(head, mesh, rendering),
    )
