"""Hair: a shell over the scalp with a hairline, locks upon it, and what hangs: curtains, tails, braids, a bun."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fercore.heads.anatomy import Anatomy, back_depth, half_width
from fercore.heads.fields import Array, closed, grid_faces, ramp, smoothstep, sphere, value_noise
from fercore.heads.parts import Patch
from fercore.heads.people import LONG_HAIR, SKIN, Person
from fercore.heads.shapes import Strokes, curve, ribbons, tube, unit

THICKNESS = {  # cm
    "crop": 0.26,
    "short": 0.75,
    "quiff": 0.8,
    "medium": 1.0,
    "long": 0.95,
    "bob": 1.1,
    "bun": 0.45,
    "bald": 0.14,
    "curly": 1.5,
    "curls": 1.5,
    "afro": 3.0,
    "ponytail": 0.45,
    "braids": 0.40,
}
CURTAIN_END = {"long": -17.0, "bob": -10.5, "medium": -7.5, "curls": -14.0}  # height where long hair ends
CURLED = {"curly": 0.45, "curls": 0.55, "afro": 0.60}  # cm that curls stand out
BACK = ("bun", "ponytail", "braids")  # drawn back
COVERED = {"cap": 3.6, "beanie": 2.9, "headscarf": -30.0}  # height above which headwear presses hair down


class _Strands(NamedTuple):
    """What all pieces of one person's hair share: parting (radians), fringe or not, colour, how grey strands vary."""

    rng: np.random.Generator
    parting: float
    fringe: bool
    colour: Array


def grow_hair(
    c: Anatomy, person: Person, headwear: str | None = None, density: float = 1.0
) -> tuple[list[Strokes], list[Patch]]:
    """What moves with the scalp, and what hangs or sits still; headwear presses hair down or hides it.

    A coarse mesh (low ``density``) has fewer and wider locks.
    """
    strands = _strands(person, headwear)
    if headwear == "headscarf":
        return [], []
    shell, surface = _shell(c, person, strands, headwear)
    scalp, still = [shell], []
    if person.hair not in ("crop", "bald", "afro", "braids"):
        scalp.append(_locks(c, person, strands, surface, headwear, density))
    if person.hair in LONG_HAIR:
        still += _curtain(person, strands, density)
    if person.hair == "bun" and headwear is None:
        ball, faces = sphere(24, 16)
        bun = ball * [2.6, 2.4, 2.2] * (1 + 0.05 * np.sin(ball[:, :1] * 14)) + [0, 7.0, -9.2]
        coords = np.stack([ball[:, 0] * 5 + 20, ball[:, 1] * 5 + 20], 1)
        still.append(Patch(bun, faces, strands.colour * 0.9, 0.3, "hair", unit(np.cross(ball, [0.3, 0, 1])), coords))
    if person.hair == "ponytail":
        still.append(_tail([(0, 5.2, -9.0), (0, 4.2, -12.5), (0.6, -3, -13.0), (0.9, -10, -11.5)], 1.9, strands, 0))
    if person.hair == "braids":
        for side in (-1, 1):
            path = [(side * 5.5, -2.5, -4), (side * 7.0, -7, -1.5), (side * 6.6, -12, 2.6), (side * 6.0, -18, 4.6)]
            still.append(_tail(path, 1.05, strands, 9))
    return scalp, still


def _strands(person: Person, headwear: str | None) -> _Strands:
    rng = np.random.default_rng(person.seed + 3)
    fringe = rng.random() < 0.33 and person.hair in (*LONG_HAIR, "short", "ponytail") and headwear is None
    return _Strands(rng, rng.uniform(-0.5, 0.5), fringe, np.array(person.hair_colour))


def shade_roots(c: Anatomy, person: Person, colours: Array, headwear: str | None = None) -> Array:
    """Colours (V, 3) of the skin with fine hairs before the hairline, which would else be cut as with a knife."""
    x, y, z = c.rest.T
    angle = np.arctan2(x, z)
    above = y - _hairline(person, angle, _strands(person, headwear))
    ragged = 0.55 * (value_noise(person.seed + 9, angle * 40 + 70, y * 1.5 + 20) - 0.5)
    cover = 0.6 * smoothstep(-0.55, 0.45, above + ragged) * smoothstep(1.7, 1.2, np.abs(angle))
    cover = cover * _below_crown(person, angle, y)
    return colours * (1 - cover[:, None]) + cover[:, None] * np.array(person.hair_colour)


def _hairline(person: Person, angle: Array, strands: _Strands) -> Array:
    """Height above which hair grows, at an angle round the head (0 front, +-pi back)."""
    a, hair = np.abs(angle), person.hair
    nape = {"long": -6.5, "bob": -6.5, "curls": -6.5, "medium": -5.5, "bun": -4.2}.get(hair, -4.6)
    top = 7.1 + 0.35 * person.forehead + (0.1 if person.sex >= 0 else -0.5)
    if hair in LONG_HAIR:
        knots = [0, 0.35, 0.62, 0.85, 1.05, 1.3, 1.6, np.pi]
        line = np.interp(a, knots, [top, top - 0.2, top - 1.0, 3.6, 0.6, -3.2, nape, nape])
    else:
        burn = -1.6 if person.sex > 0 else 0.4  # sideburns
        knots = [0, 0.35, 0.58, 0.74, 0.92, 1.10, 1.25, 1.36, 1.46, 1.66, 1.95, 2.3, np.pi]
        heights = [top, top - 0.05, top - 0.3, top - 1.3, 4.4, 3.3, 1.9, burn, burn - 0.3, 0.6, nape + 1.6, nape, nape]
        line = np.interp(a, knots, heights)
    recede = 0.0 if strands.fringe else person.recede  # nobody combs hair over the forehead from bare temples
    line = line + recede * (1.9 * smoothstep(0.08, 0.42, a) * smoothstep(1.05, 0.6, a) + 0.5 * (a < 1.0))
    return line


def _below_crown(person: Person, angle: Array, y: Array) -> Array:
    """Share of hair, 0..1, that a bald crown leaves at a height; what is left is a wreath from ear to ear."""
    if person.hair != "bald":
        return np.ones(np.broadcast_shapes(np.shape(angle), np.shape(y)))
    a = np.abs(angle)
    top = np.interp(a, [1.05, 1.25, 1.6, 2.2, np.pi], [0.6, 2.6, 4.4, 5.4, 5.6])
    jag = 0.8 * (value_noise(person.seed + 5, angle * 9 + 30, y * 0.6 + 20) - 0.5)
    jag = jag + 0.9 * (value_noise(person.seed + 6, angle * 40 + 30, y * 1.2 + 20) - 0.5)
    return smoothstep(0.7, -1.3, y - top + jag) * smoothstep(1.05, 1.2, a)


def _cover(person: Person, angle: Array, y: Array, strands: _Strands) -> Array:
    """Hair in 0..1, rising over 2.8 cm behind a jagged hairline (a sharp step looks like a bowl)."""
    a, seed = np.abs(angle), person.seed
    jag = 0.5 * (value_noise(seed, angle * 13 + 40, 0 * y) - 0.5) * smoothstep(1.25, 0.9, a)
    jag += 0.45 * (value_noise(seed + 8, angle * 34 + 80, y * 1.1 + 40) - 0.5) * smoothstep(1.3, 0.8, a)
    blunt = strands.fringe or person.hair in ("crop", "afro", "curly")
    rise = 0.8 if person.hair == "crop" else 1.3 if blunt else 2.8
    rise = rise - (0 if blunt else 1.6) * smoothstep(0.6, 1.3, a)
    return smoothstep(-0.15, rise, y - _hairline(person, angle, strands) - jag) * _below_crown(person, angle, y)


def _thickness(person: Person, strands: _Strands, angle: Array, y: Array, headwear: str | None) -> Array:
    """How far hair stands off the scalp (cm): volume of the style, a parting, curls, cornrows."""
    a, hair, seed = np.abs(angle), person.hair, person.seed
    thick = THICKNESS[hair] * (0.75 + 0.5 * smoothstep(4, 10, y))
    if hair == "quiff":
        thick = thick + 1.6 * smoothstep(6, 10, y) * smoothstep(0.9, 0.3, a)
    if hair == "afro":
        thick = thick * smoothstep(-7, 2.5, y)
    if hair in (*LONG_HAIR, "bun", "short") and not strands.fringe:
        groove = 0.55 if hair != "short" else 0.25
        thick = thick * (1 - groove * np.exp(-(((angle - strands.parting) / 0.055) ** 2)) * smoothstep(4, 8, y))
    clumps = value_noise(seed + 4, angle * 16 + 90 + y * 0.5, y * 0.3 + 33)
    thick = thick * (0.86 + 0.28 * clumps)
    if hair in CURLED:
        size = 2.1 if hair == "afro" else 1.3
        curls = value_noise(seed + 6, angle * 8 * size + 40, y * size + 40)
        thick = thick + CURLED[hair] * 2 * (curls - 0.5)
    if hair == "braids":  # rows of tight braids over the head
        thick = thick + 0.22 * np.abs(np.sin(angle * 9 + 0.8 * np.sin(y))) - 0.1
    if headwear:
        thick = np.minimum(thick, THICKNESS["bun"] + 8 * smoothstep(0, -4, y - COVERED[headwear]))
    return thick


def _shell(c: Anatomy, person: Person, strands: _Strands, headwear: str | None) -> tuple[Strokes, Array]:
    """Every second row of the grid, lifted by the hair or sunk under the skin; and its surface (rows, columns, 3)."""
    rows = c.index if person.hair in CURLED else c.index[::2]
    roots, faces = rows.reshape(-1), np.concatenate([grid_faces(*rows.shape, True), closed(np.arange(rows.shape[1]))])
    x, y, z = c.rest[roots].T
    angle, seed = np.arctan2(x, z), person.seed
    cover = _cover(person, angle, y, strands)
    thick = _thickness(person, strands, angle, y, headwear)
    outward = unit(np.stack([x / 58, (y - 1) / 115, (z + 0.5) / 90], 1))
    offsets = outward * (thick * cover - 0.45 * (1 - cover))[:, None]
    surface = (c.rest[roots] + offsets).reshape(*rows.shape, 3)
    thin = person.hair == "bald"  # its edge is skin with fewer and fewer hairs
    rooted = (smoothstep(0.72, 1.0, cover) if thin else smoothstep(-0.1, 0.30, cover))[:, None]
    variety = 0.85 + 0.3 * value_noise(seed + 4, angle * 5 + 9, y * 0.3 + 33)
    if person.hair in CURLED:
        variety *= 0.55 + 0.75 * value_noise(seed + 6, angle * 17 + 40, y * 2.1 + 40)
    colours = strands.colour * variety[:, None] * rooted
    colours += (1 - rooted) * (0.55 * ramp(SKIN, person.tone) + 0.45 * strands.colour)  # the first cm shows skin
    comb = np.gradient(surface, axis=0)
    comb = unit(comb + 0.35 * np.gradient(surface, axis=1) * np.sign(strands.parting + 1e-9)).reshape(-1, 3)
    if person.hair in CURLED:
        comb = unit(comb + np.random.default_rng(seed).normal(0, 1.2, comb.shape))
    down = np.cumsum(np.linalg.norm(np.diff(surface, axis=0, prepend=surface[:1]), axis=-1), 0).reshape(-1)
    coords = np.stack([angle * 7.5 + 64 + 0.12 * down, down * (5 if person.hair in CURLED else 1)], 1)
    kept = (cover > 0.02)[faces].any(1)
    gloss = 0.55 if person.hair not in CURLED else 0.18
    return Strokes(roots, offsets, faces[kept], colours, comb, coords, gloss, "hair"), surface


def _locks(
    c: Anatomy, person: Person, strands: _Strands, surface: Array, headwear: str | None, density: float
) -> Strokes:
    """Tapered locks that lie on the shell along its columns and break its outline."""
    rng, (rows, columns) = np.random.default_rng(person.seed + 31), surface.shape[:2]
    index = (c.index if person.hair in CURLED else c.index[::2]).reshape(rows, columns)
    curled, n = person.hair in CURLED, int(6.5 * columns * min(1.0, density) ** 1.5)
    column, start = rng.random(n) * columns, rng.integers(0, rows, n)
    reach = rng.uniform(2.2, 4.6, n) * (0.6 if curled else 1.0)
    hanging = np.zeros(n, bool)
    if strands.fringe:  # locks that fall over the forehead
        line, around = _row_at(c, index, 6.8), np.arctan2(c.rest[:, 0], c.rest[:, 2])
        hanging = (rng.random(n) < 0.75) & (np.abs(np.arctan2(*surface[line, column.astype(int)][:, [0, 2]].T)) < 0.85)
        start = np.where(hanging, _row_at(c, index, 9.0) + rng.integers(-2, 3, n), start)
        reach = np.where(hanging, rng.uniform(5.2, 7.0, n), reach)
        before = smoothstep(7.6, 6.4, c.y[index]) * (c.y[index] > 2) * smoothstep(1.15, 0.8, np.abs(around[index]))
        surface = surface + 0.95 * before[..., None] * unit(surface)
    t = np.linspace(0, 1, 5)[None]
    spacing = np.linalg.norm(np.diff(surface, axis=0), axis=-1).mean(1).clip(0.05)
    depth = np.cumsum(np.r_[0, spacing])
    row = np.interp(depth[start][:, None] + reach[:, None] * t, depth, np.arange(rows)).round().astype(int)
    drift = rng.normal(0.6 * np.sign(strands.parting), 0.5, n)[:, None] * columns / 90
    place = (column[:, None] + drift * 4 * t) % columns
    low, part = np.floor(place).astype(int), (place % 1)[..., None]
    paths = surface[row, low] * (1 - part) + surface[row, (low + 1) % columns] * part
    outward = unit(paths / [1, 1.3, 1.1])
    lift = (rng.uniform(0.03, 0.20, n)[:, None] * np.sin(np.pi * t * 0.8) * (2.2 if curled else 1.0))[..., None]
    if curled:
        turns = (rng.random(n)[:, None] * 6 + t * 9)[..., None]
        paths = paths + 0.28 * (np.sin(turns) * outward + np.cos(turns) * unit(np.cross(outward, [0.0, 1.0, 0.0])))
    paths = paths + lift * outward
    angle = np.arctan2(paths[..., 0], paths[..., 2])
    grown = (_cover(person, angle, paths[..., 1], strands)[:, [0, 2]] > 0.30).all(1) | hanging
    if headwear:
        grown &= paths[:, 0, 1] < COVERED[headwear] - 1.5
    across = unit(np.cross(np.gradient(paths, axis=1), outward))
    width = rng.uniform(0.10, 0.26, n)[:, None] / min(1.0, density) * (1 - 0.92 * t**2) * np.minimum(1, 0.35 + 3 * t)
    width[hanging] *= 1.7
    paths, across, width, ids = paths[grown], across[grown], width[grown], index[row, low][grown]
    vertices, faces, along = ribbons(paths, width, across)
    roots = np.repeat(ids.reshape(-1), 2)
    shade = np.repeat(0.72 + 0.5 * rng.random(len(paths)), 10)[:, None]
    coords = np.repeat(rng.random((len(paths), 2)) * 90, 10, 0) + np.tile([[0.0, 0], [0.7, 0]], (5 * len(paths), 1))
    coords[:, 1] += np.tile(np.repeat(np.arange(5) * 0.8, 2), len(paths))
    offsets = vertices - c.rest[roots]
    return Strokes(roots, offsets, faces, strands.colour * shade, along, coords, 0.2 if curled else 0.55, "hair")


def _row_at(c: Anatomy, index: Array, height: float) -> int:
    """Row of the grid of vertex ids that is nearest to this height."""
    return int(np.argmin(np.abs(c.y[index[:, 0]] - height)))


def _curtain(person: Person, strands: _Strands, density: float) -> list[Patch]:
    """Hair that falls from the temples round the back of the head, open at the face; and single locks over it."""
    end, thick, seed = CURTAIN_END[person.hair], THICKNESS[person.hair], person.seed
    curl = CURLED.get(person.hair, 0.0)
    wave = strands.rng.uniform(0, 0.35)

    def place(t: Array, y: Array, q: Array) -> Array:
        locks = value_noise(seed + 4, t * 11 + 90, y * 0.15 + 33)
        if curl:
            locks = locks + 2.4 * curl * (value_noise(seed + 5, t * 9 + 20, y * 1.1 + 40) - 0.5)
        begin = smoothstep(0, 0.4, q)
        rx = half_width(np.maximum(y, -2.0)) * (1 + 0.045 * person.width - 0.035 * max(0.0, -person.sex))
        rx = rx + thick * (1.0 + 0.55 * np.sin(np.pi * q * 0.8)) * begin - 0.9 * smoothstep(0.2, 0, q)
        rx = (rx + 0.5 * (locks - 0.5) + wave * np.sin(y * 0.9 + 3 * np.sin(t * 2))) * (
            1 - 0.14 * smoothstep(0.7, 1, q)
        )
        rz = back_depth(np.maximum(y, -1.5)) + thick * 0.9 * begin - 1.0 * smoothstep(0.25, 0, q)
        rz = rz - 1.0 * smoothstep(0.3, 1, q) + 0.5 * (locks - 0.5)
        z = np.where(np.cos(t) > 0, rx * 0.9, rz) * np.cos(t) - 0.3
        return np.stack([rx * np.sin(t), y + 1.6 * (locks - 0.5) * q, z], -1)

    rows, columns = 26, int(90 * min(1.0, density))
    y = np.linspace(3.5, end, rows)[:, None]
    q = (3.5 - y) / (3.5 - end)
    start = 1.62 - (0.22 if person.hair == "medium" else 0.40) * smoothstep(0, 0.45, q)
    t = start + (2 * np.pi - 2 * start) * np.linspace(0, 1, columns)[None]
    surface = place(t, y, q)
    strand = unit(np.gradient(surface, axis=0)).reshape(-1, 3)
    coords = np.stack([(t * 8.5 + 0 * y).reshape(-1), (-y + 0 * t).reshape(-1)], 1)
    light = 0.80 + 0.35 * value_noise(seed + 6, t * 12 + 60, y * 0.2 + 50).reshape(-1, 1)
    gloss = 0.18 if curl else 0.55
    sheet = Patch(surface.reshape(-1, 3), grid_faces(rows, columns, False), strands.colour * light, gloss, "hair")
    n, rng = int(150 * min(1.0, density)), np.random.default_rng(seed + 32)
    k = np.linspace(0, 1, 7)[None]
    q0 = rng.uniform(0.05, 0.7, n)[:, None]
    qs = q0 + (1.06 - q0) * rng.uniform(0.5, 1.0, n)[:, None] * k
    ys = 3.5 - qs * (3.5 - end)
    s0 = 1.62 - (0.22 if person.hair == "medium" else 0.40) * smoothstep(0, 0.45, qs)
    ts = s0 + (2 * np.pi - 2 * s0) * rng.beta(0.6, 0.6, n)[:, None]
    paths = place(ts, ys, qs)
    outward = unit(paths * [1, 0, 1])
    sway = rng.uniform(0, 6, n)[:, None]
    paths += outward * (0.10 + 0.14 * np.sin(3 * k + sway))[..., None]
    across = unit(np.cross(np.gradient(paths, axis=1), outward))
    paths += across * (0.20 * np.sin(4 * k + sway) + curl * 0.8 * np.sin(11 * k + sway))[..., None]
    width = rng.uniform(0.15, 0.40, n)[:, None] * (1 - 0.95 * k**3) * np.minimum(1, 0.2 + 4 * k)
    vertices, faces, along = ribbons(paths, width, across)
    shade = np.repeat(0.75 + 0.5 * rng.random(n), 14)[:, None]
    grain = np.repeat(rng.random((n, 2)) * 90, 14, 0) + np.tile([[0.0, 0], [1.2, 0]], (7 * n, 1))
    grain[:, 1] += np.tile(np.repeat(np.arange(7) * 1.5, 2), n)
    loose = Patch(vertices, faces, strands.colour * shade, gloss, "hair", along, grain)
    return [sheet._replace(strands=strand, coords=coords), loose]


def _tail(points: list[tuple[float, float, float]], radius: float, strands: _Strands, knots: int) -> Patch:
    """A pony's tail, or with ``knots`` > 0 a braid with so many of them in 10 cm."""
    path = curve(points, 60 if knots else 24)
    t = np.linspace(0, 1, len(path))
    thick = radius * np.minimum(1, 0.45 + 4 * t) * (1 - 0.75 * smoothstep(0.6, 1.0, t))
    if knots:
        thick = thick * (0.78 + 0.32 * np.abs(np.sin(np.pi * knots * t)))
    vertices, faces, along = tube(path, thick, 18)
    around = np.tile(np.arange(18), len(path))
    coords = np.stack([np.minimum(around, 18 - around) * radius * 0.6, np.repeat(t, 18) * 14], 1)
    shade = 0.9 + 0.2 * np.sin(around * 2.1 + 4 * np.repeat(t, 18))[:, None]
    if knots:
        shade = shade * (0.45 + 0.6 * np.abs(np.sin(np.pi * knots * np.repeat(t, 18))))[:, None]
    return Patch(vertices, faces, strands.colour * shade, 0.5, "hair", along, coords)
