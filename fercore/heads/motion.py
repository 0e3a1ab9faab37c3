"""From a resting face and action units to a moved one: skin over the skull, jaw, lids over the eyeballs."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from fercore.heads.anatomy import EYE_HALF, EYE_RADIUS, EYE_X, EYE_Z, MOUTH_HALF, MOUTH_Y, RIGHT, Anatomy, skull_z
from fercore.heads.fields import Array, bump, rotate_x, smooth_max, smoothstep
from fercore.heads.muscles import muscle_fields
from fercore.heads.people import Person

JAW_JOINT = np.array([0, -1.6, 0.4])
WIDEST = 0.52  # radians that the jaw can open
FURTHEST = 1.15  # cm that muscles together can shift skin
BothSides = dict[int, tuple[float, float]]


class Face(NamedTuple):
    """A moved face: skin vertices (V, 3), depth of its wrinkles (V,) in cm, angle of the jaw in radians."""

    skin: Array
    wrinkles: Array
    jaw: float


def move_face(
    c: Anatomy, person: Person, shape: Array, age_lines: Array, units: BothSides, look_up: float = 0.0
) -> Face:
    """The face of ``person`` (resting ``shape`` (V, 3), ``age_lines`` (V,)) with checked action units.

    ``look_up``: how far the eyes look up, in radians; the lids follow them.
    """
    shift, wrinkles = _muscles(c, person, units, age_lines)
    skin = shape + shift
    skin[:, 2] += _slide(c, shift)
    jaw = min(sum(gain * np.mean(units.get(unit, 0)) for unit, gain in ((26, 0.135), (27, 0.40))), WIDEST)
    if jaw:
        _drop_jaw(c, skin, float(jaw))
    for side, centre in eye_centres(c, shape).items():
        _close_lids(c, person, skin, side, centre, {u: sides[side != RIGHT] for u, sides in units.items()}, look_up)
    return Face(skin, wrinkles, float(jaw))


def eye_centres(c: Anatomy, shape: Array) -> dict[int, Array]:
    """Centre (3,) of each eyeball by side: it follows the socket of the resting ``shape``."""
    centres = {}
    for side, anchors in c.eye_anchors.items():
        shift = (shape[anchors] - c.rest[anchors]).mean(0)
        centres[side] = np.array([side * EYE_X, 0, EYE_Z]) + shift * [1, 0.6, 0.5]
    return centres


def _muscles(c: Anatomy, person: Person, units: BothSides, age_lines: Array) -> tuple[Array, Array]:
    """Sum of displacements (V, 3) and wrinkle depths (V,); older skin wrinkles more."""
    moves, grooves = muscle_fields(c)
    left = 0.5 + 0.5 * np.tanh(c.x / 0.5)
    shift, wrinkles, crease = np.zeros_like(c.rest), age_lines.copy(), 0.55 + 0.75 * person.age
    for unit, (on_right, on_left) in units.items():
        strength = on_right * (1 - left) + on_left * left
        if unit in moves:
            shift += strength[:, None] * moves[unit]
        if unit in grooves:
            depth = strength * grooves[unit] * crease
            wrinkles += depth
            shift -= depth[:, None] * c.normal
    far = np.square(np.square((shift * shift).sum(1, keepdims=True) / FURTHEST**2))  # (distance / furthest)^8
    limit = np.sqrt(np.sqrt(np.sqrt(1 + far)))  # hardly felt by one muscle, by two that add up
    return shift / limit, wrinkles


@cache
def _skull_under(c: Anatomy) -> tuple[Array, Array]:
    """Depth of the skull under each vertex at rest, and where skin slides (not on crown, ears and under-chin)."""
    free = smoothstep(6.2, 5, np.abs(c.x)) * smoothstep(9.5, 7.5, c.y) * smoothstep(-11.0, -10.2, c.y)
    return skull_z(c.x, c.y), free * c.face


def _slide(c: Anatomy, shift: Array) -> Array:
    """Change of depth of skin that slides over the skull: wraps a smile round the teeth."""
    depth, free = _skull_under(c)
    return free * (skull_z(c.x + shift[:, 0], np.clip(c.y + shift[:, 1], -11, 10)) - depth)


def _drop_jaw(c: Anatomy, skin: Array, angle: float) -> None:
    """Turns the jaw down about its joint, narrows the mouth, lifts the upper lip and hollows the cheeks, in place."""
    skin += (rotate_x(skin, angle, JAW_JOINT) - skin) * c.jaw[:, None]
    a, wide = np.abs(c.x), min(angle / 0.34, 1)
    skin[:, 0] -= 0.30 * wide * c.face * c.side * bump(a, c.y, MOUTH_HALF, MOUTH_Y, 1.6, 2.2)
    skin[:, 1] += 0.28 * wide * c.upper_mouth * bump(c.x, c.y, 0, MOUTH_Y, 1.8, 1) * c.face
    skin[:, 2] -= 0.35 * wide * c.face * bump(a, c.y, 3.9, -6.0, 1.6, 2.4)


def _lid_edges(person: Person, s: Array, au: dict[int, float], look_up: float) -> tuple[Array, Array]:
    """Heights of the upper and lower lid edge (cm) over s = -1..1, inner to outer corner."""

    def unit(number: int) -> float:
        return au.get(number, 0.0)

    wide = 1.02 + 0.09 * person.eye_size
    upper = 1.0 + 0.55 * unit(5) - 0.28 * unit(7) - 0.20 * unit(6) - 0.06 * unit(12) - 0.16 * unit(9)
    upper += -0.08 * unit(4) + 0.05 * unit(1) + 0.07 * person.lid + (1.5 if look_up < 0 else 0.9) * look_up
    lower = 1.0 + 0.22 * unit(5) - 0.62 * unit(7) - 0.52 * unit(6) - 0.3 * unit(9) - 0.1 * unit(12) - 0.8 * look_up
    closed = np.clip(unit(43), 0, 1)
    corner = 1 - np.abs(s) ** 8
    arch = np.maximum(1 - np.abs(np.clip(s + 0.08, -1, 1)) ** 2.3, 0) ** 0.75 * corner
    bowl = np.maximum(1 - np.abs(np.clip(s - 0.08, -1, 1)) ** 2.2, 0) ** 0.85 * corner
    shut = -0.36 * (1 - s * s)
    top = 0.57 * wide * max(upper, 0.02) * arch * (1 - closed) + closed * shut
    bottom = -0.46 * wide * max(lower, -0.15) * bowl * (1 - closed) + closed * shut
    return np.maximum(top, bottom + 0.02 * (1 - s * s) * (1 - closed)), bottom


def _close_lids(
    c: Anatomy, person: Person, skin: Array, side: int, centre: Array, au: dict[int, float], look_up: float
) -> None:
    """Moves the lids of one eye to where its units put them and lays them over the eyeball, in place."""
    along = c.x * side
    near = (along > 0.9) & (along < 6.2) & (np.abs(c.y) < 2.3) & c.front
    x, y = along[near] - EYE_X, c.y[near]
    top, bottom = _lid_edges(person, np.clip(x / EYE_HALF, -1, 1), au, look_up)
    tilt = (0.10 + 0.07 * person.eye_tilt) * np.clip(x / EYE_HALF, -1.4, 1.4)
    above = (top + tilt) * np.clip(1 - y / 1.9, 0, 1) ** 2
    below = (bottom + tilt) * np.clip(1 + y / 1.7, 0, 1) ** 2
    lid = skin[near]
    lid[:, 1] += np.where(c.below_eyes[near], below, above) * smoothstep(2.0, 1.0, np.abs(x) / EYE_HALF)

    reach = EYE_RADIUS + 0.16  # a shell over the ball, which the cornea must not pierce
    r2 = (lid[:, 0] - centre[0]) ** 2 + (lid[:, 1] - centre[1]) ** 2
    ball = np.where(r2 < reach**2, np.sqrt(np.maximum(reach**2 - r2, 0)), -2.0 * (np.sqrt(r2) - reach))
    ball += centre[2] - 0.07 * smoothstep(-0.5, -1.2, lid[:, 1] - centre[1])
    soft = 0.38 + 0.55 * smoothstep(-0.3, -1.2, lid[:, 1] - centre[1])  # or the lower lid ends in a bag
    laid = smooth_max(lid[:, 2], ball, soft) - 0.08
    lid[:, 2] += (laid - lid[:, 2]) * smoothstep(2.9, 2.0, np.abs(x)) * smoothstep(2.2, 1.6, np.abs(y))
    skin[near] = lid
