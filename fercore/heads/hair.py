"""Hair: a shell over the scalp with a hairline, a curtain for long hair, a bun."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fercore.heads.anatomy import Anatomy, back_depth, half_width
from fercore.heads.fields import Array, grid_faces, ramp, smoothstep, sphere, value_noise
from fercore.heads.parts import Patch
from fercore.heads.people import LONG_HAIR, SKIN, Person

THICKNESS = {  # cm
    "crop": 0.28,
    "short": 0.75,
    "quiff": 0.8,
    "medium": 1.0,
    "long": 1.0,
    "bob": 1.15,
    "bun": 0.45,
    "bald": 0.16,
}
CURTAIN_END = {"long": -17.0, "bob": -10.5, "medium": -7.5}  # height where long hair ends


class Shell(NamedTuple):
    """Hair that moves with the scalp: vertex ids (N,) of the skin, offsets (N, 3) cm, faces, colours (N, 3)."""

    roots: Array
    offsets: Array
    faces: Array
    colours: Array

    def patch(self, skin: Array) -> Patch:
        return Patch(skin[self.roots] + self.offsets, self.faces, self.colours, 0.22, "hair")


class _Strands(NamedTuple):
    """What shell and curtain share: generator after its first draws, parting (radians), fringe or not."""

    rng: np.random.Generator
    parting: float
    fringe: bool


def grow_hair(c: Anatomy, person: Person) -> tuple[Shell, list[Patch]]:
    """The shell that moves with the scalp, and what hangs or sits still."""
    rng = np.random.default_rng(person.seed + 3)
    parting = rng.uniform(-0.5, 0.5)
    fringe = rng.random() < 0.3 and person.hair in (*LONG_HAIR, "short")
    strands = _Strands(rng, parting, fringe)
    shell, still = _shell(c, person, strands), []
    if person.hair in LONG_HAIR:
        still.append(_curtain(person, strands))
    if person.hair == "bun":
        ball, faces = sphere(24, 16)
        bun = ball * [2.6, 2.4, 2.2] * (1 + 0.05 * np.sin(ball[:, :1] * 14)) + [0, 7.0, -9.2]
        still.append(Patch(bun, faces, np.array(person.hair_colour) * 0.9, 0.2, "hair"))
    return shell, still


def _hairline(person: Person, angle: Array, strands: _Strands) -> Array:
    """Height above which hair grows, at an angle round the head (0 front, +-pi back)."""
    a, hair = np.abs(angle), person.hair
    nape = {"long": -6.5, "bob": -6.5, "medium": -5.5, "bun": -4.2}.get(hair, -4.6)
    top = 7.1 + 0.35 * person.forehead + (0.35 if person.sex >= 0 else 0)
    if hair in LONG_HAIR:
        knots = [0, 0.35, 0.62, 0.85, 1.05, 1.3, 1.6, np.pi]
        line = np.interp(a, knots, [top, top - 0.2, top - 1.0, 3.6, 0.6, -3.2, nape, nape])
    else:
        knots = [0, 0.35, 0.58, 0.74, 0.92, 1.10, 1.25, 1.36, 1.46, 1.66, 1.95, 2.3, np.pi]
        heights = [top, top - 0.05, top - 0.3, top - 1.3, 4.4, 3.3, 1.6, -1.6, -1.9, 0.6, nape + 1.6, nape, nape]
        line = np.interp(a, knots, heights)
    line = line + 0.9 * person.age * (person.sex > 0) * smoothstep(0.15, 0.5, a) * smoothstep(1.0, 0.6, a)
    if hair == "bald":
        wreath = np.interp(a, [0, 1.2, 1.5, 2.0, np.pi], [14, 12, 4.0, 3.5, 4.5])
        sides = np.interp(a, [0, 1.40, 1.62, 1.95, 2.3, np.pi], [14, 14, -0.8, -3.4, -4.6, -4.6])
        line = np.maximum(wreath, sides)
    if strands.fringe:
        tips = 0.4 * value_noise(person.seed, angle * 9 + 30, 0 * a)
        line = np.where(a < 0.75, np.minimum(line, 4.2 + 1.2 * np.abs(angle - strands.parting) + tips), line)
    return line


def _cover(person: Person, angle: Array, y: Array, strands: _Strands) -> Array:
    """Hair in 0..1, rising over 2.8 cm behind a jagged hairline (a sharp step looks like a bowl)."""
    a, seed = np.abs(angle), person.seed
    jag = 0.5 * (value_noise(seed, angle * 13 + 40, 0 * y) - 0.5) * smoothstep(1.25, 0.9, a)
    jag += 0.45 * (value_noise(seed + 8, angle * 34 + 80, y * 1.1 + 40) - 0.5) * smoothstep(1.3, 0.8, a)
    blunt = strands.fringe or person.hair == "crop"
    rise = 0.8 if person.hair == "crop" else 1.2 if strands.fringe else 2.8
    rise = rise - (0 if blunt else 1.6) * smoothstep(0.6, 1.3, a)
    return smoothstep(-0.15, rise, y - _hairline(person, angle, strands) - jag)


def _shell(c: Anatomy, person: Person, strands: _Strands) -> Shell:
    """Every second row of the grid, lifted by the thickness of the hair or sunk under the skin where none grows."""
    rows, seed, hair = c.index[::2], person.seed, person.hair
    roots, faces = rows.reshape(-1), grid_faces(*rows.shape, True)
    x, y, z = c.rest[roots].T
    angle = np.arctan2(x, z)
    a, crop = np.abs(angle), hair == "crop"
    cover = _cover(person, angle, y, strands)
    coarse = value_noise(
        seed + 4, angle * 22 + 90 + y * (2.0 if crop else 0.35), y * 0.25 + 33 + (angle * 3 if crop else 0)
    )
    thick = THICKNESS[hair] * (0.75 + 0.5 * smoothstep(4, 10, y))
    if hair == "quiff":
        thick = thick + 1.6 * smoothstep(6, 10, y) * smoothstep(0.9, 0.3, a)
    thick = thick * (0.93 + 0.14 * coarse)
    if hair in (*LONG_HAIR, "bun") and not strands.fringe:
        thick = thick * (1 - 0.55 * np.exp(-(((angle - strands.parting) / 0.07) ** 2)) * (a < 1.2))
    outward = np.stack([x / 58, np.clip(y - 1, -4, 12) / 110, z / 92], 1)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    fine = value_noise(seed + 6, angle * 60 + 60 + y * 0.8, y * 0.4 + 50)
    colour, rooted = np.array(person.hair_colour), smoothstep(-0.1, 0.30, cover)[:, None]
    colours = colour * (0.60 + 0.35 * coarse + 0.45 * fine)[:, None] * rooted
    colours += (1 - rooted) * (0.55 * ramp(SKIN, person.tone) + 0.45 * colour)  # the first centimetre shows skin
    grown = (cover > 0.02)[faces].any(1)
    return Shell(roots, outward * (thick * cover - 0.45 * (1 - cover))[:, None], faces[grown], colours)


def _curtain(person: Person, strands: _Strands) -> Patch:
    """Hair that falls from the temples round the back of the head, open at the face."""
    end, thick = CURTAIN_END[person.hair], THICKNESS[person.hair]
    y = np.linspace(3.5, end, 26)[:, None]
    q = (3.5 - y) / (3.5 - end)
    start = 1.62 - (0.22 if person.hair == "medium" else 0.40) * smoothstep(0, 0.45, q)
    t = start + (2 * np.pi - 2 * start) * np.linspace(0, 1, 90)[None]
    locks = value_noise(person.seed + 4, t * 11 + 90, y * 0.15 + 33)
    waves = strands.rng.uniform(0, 0.35) * np.sin(y * 0.9 + 3 * np.sin(t * 2))
    begin = smoothstep(0, 0.4, q)
    rx = half_width(np.maximum(y, -2.0)) * (1 + 0.045 * person.width)
    rx = rx + thick * (1.0 + 0.55 * np.sin(np.pi * q * 0.8)) * begin - 0.9 * smoothstep(0.2, 0, q)
    rx = (rx + 0.35 * (locks - 0.5) + waves) * (1 - 0.10 * smoothstep(0.75, 1, q))
    rz = back_depth(np.maximum(y, -1.5)) + thick * 0.9 * begin - 1.0 * smoothstep(0.25, 0, q)
    rz = rz - 1.0 * smoothstep(0.3, 1, q) + 0.35 * (locks - 0.5)
    z = np.where(np.cos(t) > 0, rx * 0.9, rz) * np.cos(t) - 0.3
    vertices = np.stack([rx * np.sin(t), y + 0.9 * (locks - 0.5) * q, z], -1).reshape(-1, 3)
    sheen = (0.60 + 0.6 * locks) * (0.85 + 0.3 * value_noise(person.seed + 6, t * 45 + 60, y * 0.2 + 50))
    colours = np.array(person.hair_colour) * sheen.reshape(-1, 1)
    return Patch(vertices, grid_faces(26, 90, False), colours, 0.25, "hair")
