"""Colour of the skin of a person's head, a vertex at a time: tone, blush, freckles, beard, lips, brows, lashes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fercore.heads.anatomy import EYE_HALF, EYE_X, MOUTH_HALF, MOUTH_Y, Anatomy
from fercore.heads.fields import Array, bump, polyline_distance, ramp, smoothstep, value_noise
from fercore.heads.people import SKIN, Person


class Skin(NamedTuple):
    """Colours (V, 3) of the resting skin in 0..1, its plain tone (3,), and the density (V,) of the beard in 0..1."""

    colours: Array
    tone: Array
    beard: Array


def paint_skin(c: Anatomy, person: Person) -> Skin:
    """The resting skin, without the shading of wrinkles (see `shade_wrinkles`)."""
    tone, hair = ramp(SKIN, person.tone), np.array(person.hair_colour)
    beard = _beard_density(c, person)
    colours = _complexion(c, person, tone)
    colours = _grow_beard(c, person, colours, beard, hair)
    colours = _paint_lips(c, person, colours, tone)
    colours = _paint_brows(c, person, colours, hair)
    colours *= 1 - 0.86 * np.clip(c.nostril * c.face * 1.35 - 0.25, 0, 1)[:, None]
    colours *= 1 - _lash_line(c)[:, None] * np.array([0.80, 0.85, 0.85])
    fold = np.exp(-((c.fold[0] / 0.2) ** 2)) * smoothstep(1, 0.5, c.fold[1]) * c.face
    colours *= (1 - 0.28 * fold * (0.15 + 0.3 * person.age))[:, None]
    return Skin(colours, tone, beard)


def shade_wrinkles(colours: Array, wrinkles: Array) -> Array:
    """Colours darkened by up to 27 % where wrinkles (V,) are deep, in cm; red least, as light shines through skin."""
    dark = np.clip(1 - 0.9 * np.clip(wrinkles, 0, 0.3), 0.5, 1)[:, None]
    return colours * dark ** np.array([0.7, 1.1, 1.1])


def _complexion(c: Anatomy, person: Person, tone: Array) -> Array:
    """Tone with blotches, blush, shadows under the eyes and freckles."""
    a, y, seed, fair = np.abs(c.x), c.y, person.seed, 1 - person.tone
    rng = np.random.default_rng(seed)
    blotches = value_noise(seed, c.x * 0.55 + 20, y * 0.55 + 20) * 0.6
    blotches += value_noise(seed + 1, c.x * 1.7 + 40, y * 1.7 + 40) * 0.4
    colours = tone * (0.95 + 0.10 * blotches)[:, None]
    blush = 0.8 * bump(a, y, 3.9, -3.0, 1.9, 1.5) + 0.8 * bump(a, y, 0, -3.9, 1.3, 0.8)
    blush += 0.35 * bump(a, y, 0, -9.5, 1.5, 1) + 0.3 * bump(a, y, EYE_X, 0.6, 1.5, 0.5)
    blush *= c.face * (0.5 + 0.5 * rng.random()) * (0.35 + 0.65 * fair)
    colours *= 1 + blush[:, None] * np.array([0.03, -0.10, -0.09])
    tired = c.face * bump(a, y, 2.8, -1.15, 1.2, 0.45) * (0.3 + 0.6 * person.age)
    colours *= 1 - tired[:, None] * np.array([0.10, 0.14, 0.10])
    if fair > 0.5 and rng.random() < 0.3:
        freckles = smoothstep(0.80, 0.92, value_noise(seed + 2, c.x * 5 + 80, y * 5 + 80))
        freckles *= bump(a, y, 1.8, -2.4, 3.2, 1.7) * c.face
        colours *= 1 - freckles[:, None] * np.array([0.14, 0.22, 0.25])
    return colours


def _beard_density(c: Anatomy, person: Person) -> Array:
    """Where a beard grows (V,): moustache, chin, jaw and sideburns, not on the lips."""
    a, y = np.abs(c.x), c.y
    allowed = c.front * smoothstep(-3.0, -5.0, y - 0.35 * np.clip(a - 3.5, 0, 4)) * smoothstep(1.0, 0.55, c.lip * 1.3)
    allowed *= 1 - 0.85 * bump(c.x, y, 0, -7.9, 0.5, 0.3)
    zones = smoothstep(-4.3, -4.9, y) * smoothstep(2.9, 2.3, a) + smoothstep(-7.9, -8.8, y)
    zones += smoothstep(4.0, 5.2, a - 0.25 * (y + 6.5)) * smoothstep(-0.5, -2.5, y)
    zones += smoothstep(2.4, 3.2, a) * smoothstep(-6.6, -7.6, y)
    return np.clip(zones, 0, 1) * allowed * np.clip(person.beard, 0, 1)


def _grow_beard(c: Anatomy, person: Person, colours: Array, beard: Array, hair: Array) -> Array:
    if not person.beard:
        return colours
    full = person.beard > 0.5
    strands = 0.55 + 0.9 * value_noise(person.seed + 5, np.arctan2(c.x, c.rest[:, 2]) * 48 + 300, c.y * 2.2 + 60)
    cover = np.clip(beard * strands * (1.15 if full else 0.55), 0, 0.93 if full else 0.45)[:, None]
    return colours * (1 - cover) + cover * (hair * 0.85 + 0.02)


def _paint_lips(c: Anatomy, person: Person, colours: Array, tone: Array) -> Array:
    red = tone * ([0.86, 0.58, 0.58] if person.tone < 0.5 else [0.92, 0.72, 0.74])
    red = red * (1 - 0.8 * person.lipstick) + 0.8 * person.lipstick * np.array([0.62, 0.12, 0.16])
    lines = 0.93 + 0.12 * value_noise(person.seed, c.x * 7 + 9, c.y * 1.2 + 30)[:, None]
    lip = (c.lip * c.face)[:, None]
    colours = colours * (1 - lip) + lip * red * lines
    seam = np.exp(-(((c.y - MOUTH_Y) / 0.07) ** 2)) * smoothstep(1.06, 0.95, np.abs(c.x) / MOUTH_HALF) * c.face
    return colours * (1 - 0.45 * seam[:, None])


def _paint_brows(c: Anatomy, person: Person, colours: Array, hair: Array) -> Array:
    """Dense short strokes along a curve, thinning outwards."""
    a, y = np.abs(c.x), c.y
    distance, along = polyline_distance(a, y, [(1.05, 1.78), (2.0, 2.02), (3.2, 2.22), (4.2, 2.0), (5.2, 1.40)])
    width = (0.20 + 0.20 * person.brow_thickness) * np.interp(along, [0, 0.12, 0.5, 1], [0.8, 1.05, 0.9, 0.35])
    strokes = 0.62 + 0.45 * value_noise(person.seed + 7, a * 3.2 + y * 3.5 + 20, a * 0.6 + 30)
    cover = smoothstep(1.25, 0.55, distance / width) * strokes * smoothstep(0, 0.06, along + 0.02) * c.face
    cover = np.clip(cover * (0.75 + 0.35 * person.brow_thickness), 0, 0.95)[:, None]
    return colours * (1 - cover) + cover * hair * (0.60 if person.hair == "bald" else 0.62)


def _lash_line(c: Anatomy) -> Array:
    """Darkness (V,) of the edges of the lids."""
    at_eye = (np.abs(np.abs(c.x) - EYE_X) < EYE_HALF * 1.02) & c.front
    upper, lower = 0.85 * np.exp(-((c.y / 0.10) ** 2)), 0.35 * np.exp(-((c.y / 0.06) ** 2))
    return np.clip(at_eye * np.where(c.below_eyes, lower, upper) * c.face, 0, 1)
