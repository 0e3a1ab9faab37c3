"""Skin of a person's head: colour a vertex at a time, gloss, and the hairs of brows and beard.

Colours are painted as a screen shows them to the power 1.25; `fercore.heads.scene` makes them linear.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from fercore.heads.anatomy import EYE_HALF, EYE_X, MOUTH_HALF, MOUTH_Y, Anatomy
from fercore.heads.fields import Array, bump, polyline_distance, ramp, smoothstep, value_noise
from fercore.heads.people import SKIN, Person
from fercore.heads.shapes import Strokes, ribbons, unit


class Skin(NamedTuple):
    """Colours (V, 3) of the resting skin in 0..1, its plain tone (3,), density (V,) of the beard, and gloss (V,)."""

    colours: Array
    tone: Array
    beard: Array
    gloss: Array


def paint_skin(c: Anatomy, person: Person) -> Skin:
    """The resting skin, without the shading of wrinkles (see `shade_wrinkles`)."""
    tone, hair = ramp(SKIN, person.tone), np.array(person.hair_colour)
    # blood under the skin reddens it, and a face in a picture is neither chalk nor coal
    tone = 0.92 * tone * (np.array([0.97, 0.83, 0.75]) if person.tone < 0.45 else [1.06, 0.97, 0.94]) + 0.035
    beard = _beard_density(c, person)
    colours = _complexion(c, person, tone)
    colours = _paint_eyes(c, person, colours)
    colours = _grow_beard(c, person, colours, beard, hair)
    colours = _paint_lips(c, person, colours, tone)
    colours = _paint_brows(c, person, colours, hair)
    colours *= 1 - 0.86 * np.clip(c.nostril * c.face * 1.35 - 0.25, 0, 1)[:, None]
    colours *= 1 - _lash_line(c, person)[:, None] * np.array([0.80, 0.85, 0.85])
    fold = np.exp(-((c.fold[0] / 0.2) ** 2)) * smoothstep(1, 0.5, c.fold[1]) * c.face
    colours *= (1 - 0.25 * fold * (0.1 + 0.5 * person.age))[:, None]
    return Skin(colours, tone, beard, _gloss(c, person, beard))


def shade_wrinkles(colours: Array, wrinkles: Array) -> Array:
    """Colours darkened by up to 27 % where wrinkles (V,) are deep, in cm; red least, as light shines through skin."""
    dark = 1 - 0.9 * np.clip(wrinkles, 0, 0.3)
    least, most = dark**0.7, dark**1.1
    return colours * np.stack([least, most, most], 1)


def _gloss(c: Anatomy, person: Person, beard: Array) -> Array:
    """Oily on forehead, nose and chin; lips are wet, lipstick more so; a beard is matt."""
    a, y = np.abs(c.x), c.y
    zone = bump(a, y, 0, 4.6, 3.2, 1.8) + bump(a, y, 0, -3.4, 0.9, 1.6) + 0.6 * bump(a, y, 0, -9.6, 1.2, 0.8)
    zone += 0.7 * bump(a, y, 4.2, -2.2, 1.5, 1.0)
    gloss = 0.26 + 0.30 * person.oil + 0.9 * person.oil * zone * c.face - 0.12 * person.age
    return np.clip(gloss + (0.25 + 0.5 * person.lipstick) * c.lip - 0.3 * np.clip(beard, 0, 1), 0.05, 1.0)


def _complexion(c: Anatomy, person: Person, tone: Array) -> Array:
    """Tone with blotches, blush, shadows under the eyes, freckles, moles and the spots of age."""
    a, y, seed, fair = np.abs(c.x), c.y, person.seed, 1 - person.tone
    rng, rough = np.random.default_rng(seed), 0.5 + person.roughness
    blotches = value_noise(seed, c.x * 0.55 + 20, y * 0.55 + 20) * 0.5
    blotches += value_noise(seed + 1, c.x * 1.7 + 40, y * 1.7 + 40) * 0.5
    colours = tone * (1 + 0.16 * rough * (blotches - 0.5))[:, None]
    flush = value_noise(seed + 12, c.x * 1.1 + 11, y * 1.1 + 17) - 0.5
    colours *= 1 + (0.10 * rough * flush * c.face)[:, None] * np.array([0.2, -1.0, -0.8])
    blush = 0.9 * bump(a, y, 3.9, -3.0, 1.9, 1.5) + 0.8 * bump(a, y, 0, -3.9, 1.3, 0.8)
    blush += 0.4 * bump(a, y, 0, -9.5, 1.5, 1) + 0.35 * bump(a, y, EYE_X, 0.6, 1.5, 0.5)
    blush *= c.face * (0.35 + 1.1 * person.redness) * (0.35 + 0.65 * fair)
    colours *= 1 + blush[:, None] * np.array([0.03, -0.13, -0.11])
    tired = c.face * bump(a, y, 2.8, -1.15, 1.2, 0.45) * (0.2 + 0.5 * person.age)
    colours *= 1 - tired[:, None] * np.array([0.10, 0.14, 0.09])
    pale = c.face * bump(a, y, 0, 4.5, 4.0, 2.0) * 0.05
    colours *= (1 + pale)[:, None]
    specks = smoothstep(0.74, 0.90, value_noise(seed + 2, c.x * 5 + 80, y * 5 + 80)) * c.face
    spots = person.freckles * bump(a, y, 1.8, -2.2, 3.2, 2.2) + 0.5 * max(0, person.age - 0.6) * c.front
    colours *= 1 - (specks * spots)[:, None] * np.array([0.20, 0.32, 0.36])
    for x0, y0 in zip(rng.uniform(-5, 5, 3), rng.uniform(-9, 5, 3), strict=True):
        colours *= 1 - (c.face * bump(c.x, y, x0, y0, 0.13, 0.13))[:, None] * 0.55 * (rng.random() < person.roughness)
    return colours


def _beard_density(c: Anatomy, person: Person) -> Array:
    """Where a beard grows (V,): moustache, chin, jaw and sideburns as its style has them, not on the lips."""
    if not person.beard:
        return np.zeros(len(c.x))
    a, y = np.abs(c.x), c.y
    allowed = c.front * smoothstep(-3.0, -5.0, y - 0.35 * np.clip(a - 3.5, 0, 4)) * smoothstep(1.0, 0.55, c.lip * 1.3)
    allowed *= 1 - 0.85 * bump(c.x, y, 0, -7.9, 0.5, 0.3)
    moustache = smoothstep(-4.5, -5.2, y) * smoothstep(3.1, 2.3, a) * smoothstep(-7.6, -6.9, y)
    chin = smoothstep(-7.7, -8.6, y) * smoothstep(3.2, 2.2, a)
    beside = bump(a, y, 2.95, -7.4, 0.55, 1.1)
    jaw = smoothstep(-7.6, -8.8, y) + smoothstep(4.0, 5.4, a - 0.25 * (y + 6.5)) * smoothstep(0.2, -2.2, y)
    jaw += smoothstep(2.4, 3.4, a) * smoothstep(-6.4, -7.8, y)
    zones = {
        "moustache": moustache,
        "goatee": moustache + chin + beside,
        "full": moustache + jaw + beside,
        "stubble": moustache + jaw + beside,
    }[person.beard_style]
    ragged = 0.75 + 0.5 * value_noise(person.seed + 15, c.x * 1.6 + 60, y * 1.6 + 60)
    return np.clip(zones * ragged, 0, 1) * allowed * np.clip(person.beard, 0, 1)


def _grow_beard(c: Anatomy, person: Person, colours: Array, beard: Array, hair: Array) -> Array:
    if not person.beard:
        return colours
    dense = person.beard_style != "stubble"
    strands = 0.6 + 0.8 * value_noise(person.seed + 5, np.arctan2(c.x, c.rest[:, 2]) * 48 + 300, c.y * 2.2 + 60)
    cover = np.clip(beard * strands * (1.2 if dense else 0.85), 0, 0.92 if dense else 0.45)[:, None]
    return colours * (1 - cover) + cover * (hair * 0.75 + 0.05 * ramp(SKIN, person.tone) + 0.01)


def _paint_eyes(c: Anatomy, person: Person, colours: Array) -> Array:
    """Shadow on the upper lids; mascara stands in `_lash_line`."""
    if not person.eye_makeup:
        return colours
    a = np.abs(c.x)
    hue = np.array([[0.30, 0.18, 0.16], [0.24, 0.20, 0.30], [0.20, 0.26, 0.32], [0.40, 0.22, 0.24]])
    shadow = bump(a, c.y, EYE_X + 0.15, 0.75, 1.5, 0.55) * c.face * ~c.below_eyes * smoothstep(1.75, 1.3, c.y)
    cover = np.clip(0.55 * person.eye_makeup * shadow, 0, 1)[:, None]
    return colours * (1 - cover) + cover * hue[person.seed % 4] * (0.5 + 0.8 * ramp(SKIN, person.tone))


def _paint_lips(c: Anatomy, person: Person, colours: Array, tone: Array) -> Array:
    red = tone * ([0.84, 0.57, 0.56] if person.tone < 0.5 else [0.90, 0.68, 0.70])
    sticks = np.array([[0.56, 0.08, 0.12], [0.62, 0.22, 0.26], [0.42, 0.07, 0.14], [0.66, 0.30, 0.24]])
    stick = sticks[person.seed // 7 % 4] * (1 - 0.35 * person.tone)  # chosen to go with the skin
    red = red * (1 - 0.85 * person.lipstick) + 0.85 * person.lipstick * stick
    lines = 0.93 + 0.12 * value_noise(person.seed, c.x * 7 + 9, c.y * 1.2 + 30)[:, None]
    lip = (c.lip * c.face)[:, None]
    colours = colours * (1 - lip) + lip * red * lines
    seam = np.exp(-(((c.y - MOUTH_Y) / 0.07) ** 2)) * smoothstep(1.06, 0.95, np.abs(c.x) / MOUTH_HALF) * c.face
    return colours * (1 - 0.45 * seam[:, None])


def _brow_curve(person: Person) -> list[tuple[float, float]]:
    arch, flat = person.brow_arch, 1 - person.brow_arch
    low = -0.15 * max(0.0, person.sex)
    return [
        (1.05 + 0.1 * arch, 1.74 + low),
        (2.1, 2.02 + 0.10 * arch + low),
        (3.3, 2.20 + 0.30 * arch + low),
        (4.1, 2.05 + 0.28 * arch - 0.05 * flat + low),
        (5.1, 1.38 + 0.05 * arch + low),
    ]


def _paint_brows(c: Anatomy, person: Person, colours: Array, hair: Array) -> Array:
    """A soft ground under the hairs of the brows, thinning outwards; `brow_hairs` lie on it."""
    a = np.abs(c.x)
    distance, along = polyline_distance(a, c.y, _brow_curve(person))
    width = (0.14 + 0.26 * person.brow_thickness) * np.interp(along, [0, 0.12, 0.5, 1], [0.85, 1.1, 0.9, 0.3])
    strokes = 0.70 + 0.3 * value_noise(person.seed + 7, a * 3.2 + c.y * 3.5 + 20, a * 0.6 + 30)
    cover = smoothstep(1.35, 0.4, distance / width) * strokes * smoothstep(-0.02, 0.06, along) * c.face
    cover = np.clip(cover * (0.62 + 0.33 * person.brow_thickness), 0, 0.9)[:, None]
    return colours * (1 - cover) + cover * (hair * 0.6)


def _lash_line(c: Anatomy, person: Person) -> Array:
    """Darkness (V,) of the edges of the lids: lashes, stronger on women and with make-up."""
    at_eye = (np.abs(np.abs(c.x) - EYE_X) < EYE_HALF * 1.02) & c.front
    made = (0.25 * (person.sex < 0) + 0.75 * person.eye_makeup) * 0.09
    upper = 0.85 * np.exp(-((c.y / (0.10 + made)) ** 2))
    lower = (0.35 + 2.5 * made) * np.exp(-((c.y / (0.06 + 0.3 * made)) ** 2))
    return np.clip(at_eye * np.where(c.below_eyes, lower, upper) * c.face, 0, 1)


# ---- hairs of brows and beard --------------------------------------------------------------------------------------


@cache
def _tree(c: Anatomy) -> tuple[cKDTree, Array]:
    front = np.flatnonzero(c.front & (c.face > 0.2))
    return cKDTree(np.stack([c.x, c.y], 1)[front]), front


def _plant(c: Anatomy, shape: Array, roots: Array, lean: Array, length: Array, half: float) -> tuple[Array, ...]:
    """Hairs that start at canonical ``roots`` (N, 2) and bend with ``lean`` (N, 3); see `Strokes`."""
    tree, front = _tree(c)
    ids = front[tree.query(roots)[1]]
    outward = c.normal[ids]
    base = np.concatenate([roots - np.stack([c.x, c.y], 1)[ids], np.zeros((len(roots), 1))], 1)
    base += outward * 0.01
    t = np.array([0.0, 0.5, 1.0])[:, None]
    paths = (
        base[:, None]
        + (lean * length[:, None])[:, None] * t
        + outward[:, None] * (0.22 * length)[:, None, None] * (t * (1.15 - 0.75 * t))
    )
    across = unit(np.cross(lean, outward))[:, None]
    width = np.tile(half * np.array([1.0, 0.85, 0.15]), (len(roots), 1))
    vertices, faces, strands = ribbons(paths, width, across)
    return np.repeat(ids, 6), vertices, faces, strands


def brow_hairs(c: Anatomy, person: Person, shape: Array, density: float) -> Strokes:
    """Hairs of both brows; fewer and wider ones on a coarse mesh."""
    rng = np.random.default_rng(person.seed + 21)
    n = int((110 + 190 * person.brow_thickness) * min(1.0, density) ** 2)
    corners = np.array(_brow_curve(person))
    along, side = rng.random(2 * n), np.repeat([-1, 1], n)
    where = np.stack([np.interp(along, np.linspace(0, 1, 5), corners[:, k]) for k in (0, 1)], 1)
    width = (0.12 + 0.24 * person.brow_thickness) * np.interp(along, [0, 0.12, 0.5, 1], [0.85, 1.1, 0.9, 0.25])
    where[:, 1] += width * rng.uniform(-1, 1, 2 * n)
    rise = np.interp(along, [0, 0.25, 0.6, 1], [1.3, 0.9, 0.1, -0.5]) + rng.normal(0, 0.15, 2 * n)
    lean = np.stack([side * np.interp(along, [0, 0.3, 1], [0.3, 0.8, 1.0]), rise, 0.0 * rise], 1)
    lean[:, 2] = -0.18 * np.abs(where[:, 0]) / 5 * np.abs(lean[:, 0])
    where[:, 0] *= side
    length = (0.34 + 0.16 * rng.random(2 * n)) * np.interp(along, [0, 0.2, 1], [0.8, 1.0, 0.85])
    half = 0.016 / min(1.0, density) ** 1.5
    ids, vertices, faces, strands = _plant(c, shape, where, unit(lean), length, half)
    shade = np.repeat(0.45 + 0.4 * rng.random(2 * n), 6)[:, None]
    coords = np.repeat(rng.random((2 * n, 2)) * 50, 6, 0)
    return Strokes(ids, vertices, faces, np.array(person.hair_colour) * shade, strands, coords, 0.05, "brow")


def beard_hairs(c: Anatomy, person: Person, skin: Skin, density: float) -> Strokes | None:
    """Hairs of a dense beard; None for stubble, which is painted."""
    if not person.beard or person.beard_style == "stubble":
        return None
    rng = np.random.default_rng(person.seed + 22)
    n = int(5200 * min(1.2, density) ** 2)
    where = np.stack([rng.uniform(-6.6, 6.6, n), rng.uniform(-11.2, -1.0, n)], 1)
    tree, front = _tree(c)
    ids = front[tree.query(where)[1]]
    near = np.abs(where - np.stack([c.x, c.y], 1)[ids]).max(1) < 0.3
    grown = near & (rng.random(n) < 1.1 * skin.beard[ids])
    where, ids, n = where[grown], ids[grown], int(grown.sum())
    lip = smoothstep(-7.2, -6.6, where[:, 1])  # a moustache is combed aside
    lean = np.stack([np.sign(where[:, 0]) * (0.15 + 0.7 * lip), -1 + 0.25 * lip, 0.25 + 0 * lip], 1)
    lean += 0.35 * c.normal[ids] + rng.normal(0, 0.22, (n, 3))
    length = (0.30 + 0.32 * rng.random(n)) * (0.7 + 0.5 * person.beard) * (1 - 0.25 * lip)
    ids, vertices, faces, strands = _plant(c, c.rest, where, unit(lean), length, 0.028 / min(1.0, density))
    shade = np.repeat(0.55 + 0.6 * rng.random(n), 6)[:, None]
    coords = np.repeat(rng.random((n, 2)) * 50, 6, 0)
    return Strokes(ids, vertices, faces, np.array(person.hair_colour) * shade, strands, coords, 0.12, "beard")
