"""Action units of the Facial Action Coding System (FACS) as fields on the canonical head.

An action unit moves each vertex by a displacement (cm at intensity 1) and presses grooves into the skin (cm, along the
inward normal). A displacement is a sum of pulls: Gaussian zones of influence round a muscle's insertion. Units that
have no field act elsewhere: on lids (5, 7, 43) and on the jaw (26, 27), see `fercore.heads.motion`. The expressions are
combinations of units as the FACS literature lists them (Ekman & Friesen's prototypes), typed by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from numbers import Real

import numpy as np

from fercore.errors import ParameterError
from fercore.heads.anatomy import MOUTH_HALF, MOUTH_Y, Anatomy, lower_lip_edge, upper_lip_edge
from fercore.heads.fields import Array, bump, polyline_distance, smoothstep

ActionUnits = dict[int, float | str | tuple[float | str, float | str]]
"""Action unit -> intensity (1 is full, at most 1.4; or a letter of FACS), or one for each side, (right, left)."""

FACS_STRENGTHS = {"A": 0.12, "B": 0.30, "C": 0.55, "D": 0.80, "E": 1.0}
"""FACS intensity (A trace, B slight, C marked, D severe, E maximum) -> strength. The steps of FACS are uneven, too."""

ACTION_UNITS = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    12: "lip corner puller",
    14: "dimpler",
    15: "lip corner depressor",
    16: "lower lip depressor",
    17: "chin raiser",
    18: "lip pucker",
    20: "lip stretcher",
    22: "lip funneler",
    23: "lip tightener",
    24: "lip pressor",
    25: "lips part",
    26: "jaw drop",
    27: "mouth stretch",
    43: "eyes closed",
}
JAW_UNITS = (26, 27)  # one bone: both sides move together
STRONGEST = 1.4


def check_action_units(units: Mapping[int, float | str | tuple]) -> dict[int, tuple[float, float]]:
    """The same action units with both sides written out as numbers, (right, left).

    Raises ParameterError for a unit that has no muscle here and for an intensity outside 0..1.4 that is none of A..E.
    """
    checked = {}
    for unit, intensity in units.items():
        if isinstance(unit, bool) or unit not in ACTION_UNITS:
            known = " ".join(map(str, ACTION_UNITS))
            raise ParameterError(f"unknown action unit {unit!r}", do=f"choose from {known}")
        sides = intensity if isinstance(intensity, tuple) else (intensity, intensity)
        sides = [FACS_STRENGTHS.get(a, a) if isinstance(a, str) else a for a in sides]
        if len(sides) != 2 or not all(_possible(a) for a in sides):
            what = f"action unit {unit} ({ACTION_UNITS[unit]}) has the impossible intensity {intensity!r}"
            raise ParameterError(what, do=f"give a number in 0..{STRONGEST}, a letter A..E, or a tuple (right, left)")
        checked[int(unit)] = (float(sides[0]), float(sides[1]))
    return checked


def _possible(intensity: object) -> bool:
    return isinstance(intensity, Real) and not isinstance(intensity, bool) and 0 <= intensity <= STRONGEST


# ---- fields --------------------------------------------------------------------------------------------------------


class _Painter:
    """Short names for what every muscle needs; all fields are symmetric, because they read the distance a from x = 0.

    a is rounded at the midline: with |x| itself, two pulled corners of the mouth would meet in a V.
    """

    def __init__(self, anatomy: Anatomy) -> None:
        self.anatomy, self.a, self.y, self.face = anatomy, np.hypot(anatomy.x, 0.7) - 0.09, anatomy.y, anatomy.face
        self.side = np.tanh(anatomy.x / 0.7)  # wide, or frowning brows fold the skin between them
        self.brow = smoothstep(0.1, 1.9, self.y)  # the muscle acts above the lids only
        self.cheek = smoothstep(0.1, -1.6, self.y)  # ... below them only
        self.upper, self.lower = anatomy.upper_mouth, anatomy.lower_mouth

    def pull(self, at: tuple, reach: tuple, by: tuple, mask: Array | float = 1.0) -> Array:
        """Displacement (V, 3) ``by`` (away from the midline, up, forward) cm at ``at``, fading over ``reach`` cm."""
        weight = bump(self.a, self.y, *at, *reach) * self.face * mask
        return np.stack([weight * by[0] * self.side, weight * by[1], weight * by[2]], 1)

    def groove(self, points: list[tuple[float, float]], depth: float, width: float) -> Array:
        """Depth (V,) of a wrinkle along a polyline: a furrow between two small ridges, fading at both ends."""
        d, t = polyline_distance(self.a, self.y, points)
        shape = np.exp(-((d / width) ** 2)) - 0.55 * np.exp(-(((d - 2.0 * width) / (1.1 * width)) ** 2))
        return depth * shape * smoothstep(0, 0.18, t) * smoothstep(1, 0.8, t) * self.face

    def dent(self, at: tuple, reach: tuple, depth: float) -> Array:
        """Depth (V,) of a round hollow."""
        return depth * bump(self.a, self.y, *at, *reach) * self.face


Fields = dict[int, Array]


def _brow_muscles(p: _Painter) -> tuple[Fields, Fields]:
    pull, groove, brow = p.pull, p.groove, p.brow
    moves = {
        1: pull((0.8, 2.2), (1.5, 1.7), (0.04, 1.05, 0), brow) + pull((0.8, 4.5), (2, 2), (0, 0.35, 0.05), brow),
        2: pull((3.9, 2.2), (1.8, 1.6), (0, 0.95, 0), brow) + pull((3.8, 4.5), (2, 2), (0, 0.3, 0.05), brow),
        4: pull((1.3, 2.1), (1.6, 1.3), (-0.42, -0.95, 0.18), brow)
        + pull((3.2, 2.1), (1.5, 1.3), (-0.18, -0.62, 0.10), brow)
        + pull((0, 2.0), (0.8, 0.8), (0, -0.3, 0.15), brow),
    }
    between = groove([(0.55, 1.0), (0.5, 2.0), (0.75, 3.3)], 0.17, 0.20)
    grooves = {
        1: sum(groove([(-2.2, h + 0.25), (0, h), (2.4, h + 0.25)], 0.13, 0.16) for h in (3.7, 4.6, 5.5)),
        2: sum(groove([(1.8, h + 0.2), (3.6, h + 0.35), (5.4, h - 0.1)], 0.11, 0.16) for h in (3.7, 4.6, 5.4)),
        4: between + 0.6 * groove([(-0.7, 0.55), (0, 0.45), (0.7, 0.55)], 0.15, 0.15),
    }
    return moves, grooves


def _cheek_and_nose_muscles(p: _Painter) -> tuple[Fields, Fields]:
    pull, groove = p.pull, p.groove
    moves = {
        6: pull((3.7, -2.2), (1.9, 1.3), (0.05, 0.75, 0.42), p.cheek)
        + pull((4.9, -1.2), (1.2, 1.2), (-0.1, 0.35, 0.05), p.cheek),
        9: pull((0.9, -3.4), (1.1, 1.3), (0.10, 0.62, 0.10))
        + pull((1.3, -5.8), (1.3, 1.0), (0, 0.62, 0.12), p.upper)
        + pull((0.9, 2.0), (1.4, 1.2), (-0.2, -0.55, 0.1), p.brow)
        + pull((2.3, -2.6), (1.2, 1.2), (-0.15, 0.35, 0.35), p.cheek),
        10: pull((1.35, -6.0), (1.3, 1.1), (0.05, 0.80, 0.18), p.upper)
        + pull((1.6, -4.9), (1.2, 1.0), (0.1, 0.4, 0.2), p.upper)
        + pull((0, -6.3), (0.8, 0.7), (0, 0.25, 0.05), p.upper),
    }
    crows_feet = sum(
        groove([(4.75, 0.1 + k * 0.15), (5.3, 0.2 + k * 0.45), (6.1, 0.2 + k * 0.85)], 0.10, 0.17) for k in (-1, 0, 1)
    )
    bunny_lines = sum(groove([(0, -0.35 - k), (0.6, -0.5 - k), (1.3, -1.0 - k)], 0.09, 0.15) for k in (0, 0.45, 0.9))
    grooves = {
        6: crows_feet + groove([(2.0, -1.15), (3.2, -1.35), (4.5, -1.0)], 0.13, 0.16),
        9: bunny_lines
        + 0.9 * groove([(-0.6, 0.4), (0, 0.35), (0.6, 0.4)], 0.15, 0.15)
        + groove([(1.65, -3.2), (1.95, -4.0), (2.3, -4.8), (2.75, -5.7)], 0.17, 0.28),
        10: groove([(1.7, -3.6), (2.15, -4.3), (2.6, -5.3), (2.9, -6.3)], 0.20, 0.30),
    }
    return moves, grooves


def _lip_corner_muscles(p: _Painter) -> tuple[Fields, Fields]:
    pull, groove, dent, corner = p.pull, p.groove, p.dent, (MOUTH_HALF, MOUTH_Y)
    moves = {
        12: pull(corner, (1.7, 1.5), (0.95, 0.76, -0.25))
        + pull((1.3, MOUTH_Y + 0.2), (1.2, 0.8), (0.10, 0.18, -0.10), p.upper)
        + pull((0, MOUTH_Y + 0.2), (1.6, 0.8), (0, 0.26, 0), p.upper)
        + pull((0, MOUTH_Y - 0.4), (1.6, 0.8), (0, 0.10, 0), p.lower)
        + pull((3.7, -3.6), (1.6, 1.5), (0.2, 0.55, 0.55))
        + pull((0, -6.2), (2.2, 1.7), (0, 0.02, -0.42))  # the whole muzzle, else the philtrum faces down
        + pull((2.8, -5.0), (1.6, 1.2), (0.30, 0.30, 0.14))
        + 0.16 * _thin_lips(p.anatomy),
        14: pull(corner, (1.15, 1.0), (0.58, 0.16, -0.36)),
        15: pull((MOUTH_HALF - 0.05, MOUTH_Y - 0.05), (1.3, 1.2), (0.08, -0.84, -0.03))
        + pull((2.9, -8.3), (1.0, 1.0), (0, -0.2, 0.15)),
        20: pull(corner, (1.5, 1.6), (0.95, -0.22, -0.3))
        + pull((3.6, -7.5), (1.5, 1.5), (0.25, -0.15, -0.1))
        + pull((0, MOUTH_Y), (2, 0.8), (0, 0, -0.2)),
    }
    dimple, rim = (MOUTH_HALF + 0.45, MOUTH_Y), (MOUTH_HALF + 1.1, MOUTH_Y)
    grooves = {
        12: groove([(1.75, -3.8), (2.3, -4.5), (3.0, -5.4), (3.45, -6.4), (3.5, -7.3)], 0.13, 0.42)
        + dent((MOUTH_HALF + 0.75, MOUTH_Y), (0.35, 0.6), 0.08),
        14: dent(dimple, (0.30, 0.75), 0.36)
        - dent(rim, (0.4, 0.8), 0.16)
        + groove([(2.2, -4.6), (2.9, -5.5), (3.4, -6.4), (3.5, -7.6)], 0.09, 0.30),
        15: groove([(2.6, -7.0), (2.95, -7.8), (3.0, -8.8)], 0.13, 0.26),
        20: groove([(3.3, -5.6), (3.6, -6.8), (3.5, -8.0)], 0.13, 0.30),
    }
    return moves, grooves


def _lip_and_chin_muscles(p: _Painter) -> tuple[Fields, Fields]:
    pull, corner, pressed = p.pull, (MOUTH_HALF, MOUTH_Y), _press_lips(p)
    moves = {
        16: pull((0.9, MOUTH_Y - 0.5), (1.5, 0.9), (0.05, -0.65, -0.02), p.lower),
        17: pull((0, -9.2), (1.7, 1.2), (0, 0.65, 0.32))
        + pull((0, -7.4), (1.9, 0.8), (0, 0.42, 0.22))
        + pull((0, MOUTH_Y + 0.2), (1.6, 0.5), (0, 0.10, 0.1), p.upper),
        18: pull(corner, (1.6, 1.3), (-0.75, 0, 0.25))
        + pull((1.2, MOUTH_Y), (1.0, 1.0), (-0.08, 0, 0.15))
        + pull((0, MOUTH_Y), (1.9, 1.1), (0, 0, 0.62)),
        22: pull(corner, (1.3, 1.1), (-0.55, 0, 0.25))
        + pull((0, MOUTH_Y + 0.4), (1.7, 0.8), (0, 0.3, 0.55), p.upper)
        + pull((0, MOUTH_Y - 0.4), (1.7, 0.8), (0, -0.38, 0.6), p.lower),
        23: pressed + pull(corner, (1, 0.9), (-0.06, 0, 0)),
        24: 1.15 * pressed
        + pull(corner, (1, 0.9), (0.02, -0.08, -0.10))
        + pull((0, -5.4), (1.5, 0.5), (0, 0, 0.12))
        + pull((0, -8.3), (1.5, 0.5), (0, 0.05, 0.18)),
        25: pull((0, MOUTH_Y + 0.2), (2.0, 0.8), (0, 0.20, 0.02), p.upper)
        + pull((0, MOUTH_Y - 0.3), (2.0, 0.8), (0, -0.34, 0.05), p.lower),
    }
    a, y = p.a, p.y
    pitted = np.sin(a * 7.3 + 1.5 * np.sin(y * 5)) * np.sin(y * 6.9 + 1.2 * np.sin(a * 4.7))
    grooves = {
        17: 0.06 * pitted * bump(a, y, 0, -9.6, 1.3, 0.9) * p.face
        + p.groove([(-1.6, -8.7), (0, -8.4), (1.6, -8.7)], 0.22, 0.2),
        23: 0.05 * np.cos(a * 9) * bump(a, y, 0, MOUTH_Y, 1.9, 0.9) * p.face,
    }
    return moves, grooves


def _thin_lips(c: Anatomy) -> Array:
    """Red of the lips rolled in towards the seam, which a smile stretches thin."""
    height = np.where(c.below_mouth, MOUTH_Y - lower_lip_edge(c.x), MOUTH_Y - upper_lip_edge(c.x))
    height += np.where(c.below_mouth, 0.02, -0.02)
    towards_seam = height * c.lip * np.clip(np.abs(c.y - MOUTH_Y) / 0.8, 0, 1)
    return np.stack([0 * height, towards_seam, -0.18 * c.lip], 1) * np.where(c.below_mouth, 0.7, 1.0)[:, None]


def _press_lips(p: _Painter) -> Array:
    """Both lips moved towards the seam and back."""
    off_seam = smoothstep(0, 0.5, np.abs(p.y - MOUTH_Y))
    inward = np.where(p.anatomy.below_mouth, 1, -1) * 0.30 * off_seam * bump(p.a, p.y, 0, MOUTH_Y, 2.3, 1.0) * p.face
    return np.stack([0 * inward, inward, -0.22 * bump(p.a, p.y, 0, MOUTH_Y, 2.2, 0.7) * p.face], 1)


@cache
def muscle_fields(anatomy: Anatomy) -> tuple[Fields, Fields]:
    """Displacement (V, 3) and groove depth (V,) of each action unit at intensity 1, in cm."""
    painter, moves, grooves = _Painter(anatomy), {}, {}
    for group in (_brow_muscles, _cheek_and_nose_muscles, _lip_corner_muscles, _lip_and_chin_muscles):
        some_moves, some_grooves = group(painter)
        moves |= some_moves
        grooves |= some_grooves
    return moves, grooves
