"""The canonical head: one grid of vertices that every rendered person shares.

Units are centimetres; x points to the image's right (the person's left), y up, z towards the viewer; the origin lies
between the eyes at the depth of the ears. Landmarks of height: crown +11.7, hairline 7.1, brow 2.0, eyes 0, nose tip
-3.7, mouth -6.8, chin -11.5.

The skull is a stack of super-ellipses |x/W|^n + |z/D|^n = 1 (n = 2.1), one a row, whose half width W, front depth,
back depth and centre are smooth profiles over y. Nose, orbits, cheeks, lips and chin are added as depth z(x, y).

Slit topology: two rows of the grid (y = 0 and y = -6.8) have their vertices between the corners of the eyes and of the
mouth *twice*. Closed lids and closed lips are therefore the state of rest, and everything opens by moving the two
copies apart; lid and lip edges are crisp borders of the mesh. All muscle fields, masks, colours and landmarks are
functions of the canonical (x, y), so all people share them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from fercore.errors import ParameterError
from fercore.heads.fields import Array, bump, closed, polyline_distance, profile, smooth_max, smoothstep

POWER = 2.1  # of the super-ellipses
MOUTH_Y, MOUTH_HALF = -6.8, 2.5
EYE_X, EYE_HALF, EYE_RADIUS, EYE_Z = 3.2, 1.42, 1.55, 6.35
# A real eyeball has radius 1.2; the larger one gives readable eyes and the lids something to lie on.

RIGHT, LEFT = -1, 1  # sides of the person, as the sign of x
REGIONS = ("other", "forehead", "brows", "eyes", "nose", "cheeks", "mouth", "chin")
"""Names of the values of `Anatomy.region`."""


# ---- skull profiles ------------------------------------------------------------------------------------------------


def _cap(y: Array, start: float, length: float, power: float, root: float) -> Array:
    """1 below ``start``, falling to 0 over ``length`` like a super-ellipse: closes crown and chin."""
    return np.clip(1 - np.clip((y - start) / length, 0, 1) ** power, 0, 1) ** (1 / root)


def half_width(y: Array) -> Array:
    """Half width W of the head at height y."""
    heights = [-11.8, -11.0, -10, -9, -8, -7, -6, -4, -2, 0, 2, 4, 6]
    widths = [2.6, 3.3, 4.25, 5.0, 5.5, 5.85, 6.15, 6.65, 7.0, 7.25, 7.5, 7.6, 7.6]
    crown = 7.6 * _cap(y, 4, 7.7, 2.1, 2.0)
    return np.where(y > 4, crown, profile(heights, widths, y, 0.5)) * _cap(-y, 9.2, 2.35, 2.4, 2.2)


def centre_depth(y: Array) -> Array:
    """z of the middle of each cross section: the jaw sits further forward than the skull."""
    return profile([-11.5, -9, -6, -3, 0, 12], [3.6, 2.8, 1.3, 0, 0, -0.6], y, 0.8)


def front_depth(y: Array) -> Array:
    """Distance from the middle of a cross section to the face."""
    heights = [-11.6, -10.6, -9.8, -9.0, -8.2, -7, -6, -4.6, -3, -1, 0.5, 2.0, 3.0, 5, 7, 12]
    depths = [8.3, 8.75, 8.95, 8.85, 8.65, 8.9, 8.95, 8.7, 8.45, 8.45, 8.7, 9.25, 9.3, 9.3, 9.3, 9.3]
    z = profile(heights, depths, y, 0.3) - centre_depth(y)
    return z * np.where(y > 3.2, _cap(y, 3.2, 8.5, 2.1, 2.0), 1) * _cap(-y, 9.0, 2.55, 2.2, 2.0)


def back_depth(y: Array) -> Array:
    """Distance from the middle of a cross section to the back of the head."""
    z = profile([-11.6, -9, -7, -5, -3, -1, 2, 5, 12], [0.5, 2.5, 4.0, 5.4, 6.9, 8.2, 9.4, 9.6, 9.6], y, 0.6)
    return z * np.where(y > 4, _cap(y, 4, 7.7, 2.0, 2.0), 1) * _cap(-y, 9.2, 2.35, 2.4, 2.2)


@cache
def _skull_table() -> tuple[Array, Array, Array]:
    y = np.arange(2400) / 100 - 11.995
    return half_width(y), centre_depth(y), front_depth(y)


def skull_z(x: Array, y: Array) -> Array:
    """Depth of the featureless face at (x, y), from a table with steps of 0.1 mm: what skin slides on."""
    width, centre, depth = _skull_table()
    row = np.clip(((y + 12) * 100).astype(int), 0, 2399)
    q = np.clip(np.abs(x) / np.maximum(width[row], 1e-3), 0, 0.97)
    return centre[row] + depth[row] * (1 - q**POWER) ** (1 / POWER)


# ---- grid with slits -----------------------------------------------------------------------------------------------


class Slit(NamedTuple):
    """Vertex ids along the two lips of a slit, from the image's left to its right; they share both corners."""

    upper: Array
    lower: Array


def _row_heights(density: float) -> tuple[Array, int, int]:
    """Heights of the grid's rows, dense at eyes and lips, and the rows of the eye and mouth slits."""
    crown = 4 + 7.69 * np.sin(np.linspace(np.pi / 2, 0.42, int(22 * density)))
    rows, y = list(crown), crown[-1]
    bands = [(7.2, 0.30), (3, 0.17), (1.6, 0.12), (-1.6, 0.075), (-5, 0.105), (-8.2, 0.075)]
    while y > -10.3:
        y -= next((step for above, step in bands if y > above), 0.14) / density
        rows.append(y)
    under = np.linspace(0, np.pi / 2, int(20 * density))[1:]
    heights = np.array(rows + list(y + (-11.53 - y) * np.sin(under)))
    eye, mouth = int(np.argmin(abs(heights))), int(np.argmin(abs(heights - MOUTH_Y)))
    for row, target in ((eye, 0.0), (mouth, MOUTH_Y)):
        heights[row - 3 : row + 4] += target - heights[row]
    return heights, eye, mouth


def _column_angles(density: float) -> Array:
    """Angles of the grid's columns round the head (0 front, +-pi back), dense where the features are."""
    features = np.arcsin(np.linspace(0, 0.70, int(50 * density) + 1)[:-1] ** (POWER / 2))
    cheek = np.linspace(np.arcsin(0.70 ** (POWER / 2)), np.pi / 2, int(18 * density))
    back = np.linspace(np.pi / 2, np.pi, int(24 * density))[1:]
    half = np.concatenate([features, cheek, back])
    return np.sort(np.concatenate([half, -half[-2:0:-1]]))


class _Grid(NamedTuple):
    vertices: Array
    faces: Array
    index: Array
    front: Array
    below_mouth: Array
    below_eyes: Array
    mouth: Slit
    eyes: dict[int, Slit]


def _slit_grid(density: float) -> _Grid:
    """The featureless skull with its three slits."""
    heights, eye_row, mouth_row = _row_heights(density)
    phi, y = np.meshgrid(_column_angles(density), heights)
    sin, cos = np.sin(phi), np.cos(phi)
    x = half_width(y) * np.sign(sin) * np.abs(sin) ** (2 / POWER)
    depth = np.where(cos > 0, front_depth(y), back_depth(y))
    z = centre_depth(y) + depth * np.sign(cos) * np.abs(cos) ** (2 / POWER)
    front = cos > -1e-9
    index = np.arange(y.size).reshape(y.shape)

    slits, copied, below = [], [], index.copy()  # below: the ids that the faces under each row use
    for row, centre, reach in (
        (mouth_row, 0, MOUTH_HALF),
        (eye_row, RIGHT * EYE_X, EYE_HALF),
        (eye_row, LEFT * EYE_X, EYE_HALF),
    ):
        upper = index[row, front[row] & (np.abs(x[row] - centre) <= reach)]
        lower = upper.copy()
        lower[1:-1] = y.size + len(copied) + np.arange(len(upper) - 2)
        below[row, upper - index[row, 0]] = lower
        copied += list(upper[1:-1])
        slits.append(Slit(upper, lower))

    a, b = below[:-1], index[1:]
    c, d = np.roll(a, -1, 1), np.roll(b, -1, 1)
    faces = np.stack([np.stack([a, b, d], -1), np.stack([a, d, c], -1)], 1).reshape(-1, 3)
    faces = np.concatenate([faces, closed(index[0])])
    everyone = np.r_[np.arange(y.size), copied].astype(int)
    is_copy, rows = np.arange(len(everyone)) >= y.size, everyone // y.shape[1]
    return _Grid(
        vertices=np.stack([x, y, z], -1).reshape(-1, 3)[everyone],
        faces=faces.astype(np.int32),
        index=index,
        front=front.ravel()[everyone],
        below_mouth=(rows > mouth_row) | is_copy & (rows == mouth_row),
        below_eyes=(rows > eye_row) | is_copy & (rows == eye_row),
        mouth=slits[0],
        eyes={RIGHT: slits[1], LEFT: slits[2]},
    )


# ---- features ------------------------------------------------------------------------------------------------------


def upper_lip_edge(x: Array) -> Array:
    """Height of the upper border of the lips (cupid's bow) at x."""
    q = np.clip(np.abs(x) / MOUTH_HALF, 0, 1)
    return MOUTH_Y + 0.80 * (1 - q**1.7) ** 0.85 - 0.13 * np.exp(-((x / 0.32) ** 2))


def lower_lip_edge(x: Array) -> Array:
    """Height of the lower border of the lips at x."""
    q = np.clip(np.abs(x) / MOUTH_HALF, 0, 1)
    return MOUTH_Y - 0.98 * (1 - q**2.1) ** 0.9


def _nose(a: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    """Ridge, wings, nostrils and the depth they make together, at distance a from the midline."""
    ridge = profile(
        [-5.1, -4.85, -4.62, -4.4, -4.1, -3.75, -3.2, -2.5, -1.5, -0.5, 0.4, 1.3, 2.4],
        [0, 0.10, 0.80, 1.45, 1.80, 1.92, 1.80, 1.50, 1.05, 0.68, 0.42, 0.20, 0],
        y,
        0.2,
    )
    width = profile([-5, -4.3, -3.7, -3, -2, -1, 0, 1], [0.80, 1.05, 1.15, 1.05, 0.95, 0.88, 0.85, 1.2], y, 0.25)
    nose = ridge * np.exp(-((a / width) ** 2))
    wing = 1.28 * bump(a, y, 1.22, -3.98, 0.55, 0.52) * smoothstep(-4.95, -4.45, y)
    nostril = bump(a, y, 0.62, -4.5, 0.34, 0.17)
    tip = 0.42 * bump(a, y, 0, -3.72, 0.85, 0.62)
    side = 0.40 * bump(a, y, 1.0, -2.4, 0.9, 1.6)
    z = smooth_max(nose + tip, wing, 0.35) - 0.175 + side - 0.55 * nostril
    round_wing = np.hypot(a - 1.22, (y + 3.98) / 0.95) - 0.82
    z -= 0.15 * np.exp(-((round_wing / 0.20) ** 2)) * smoothstep(0.9, 1.6, a) * smoothstep(-4.9, -4.2, y)
    return nose, wing, nostril, z


def _orbits_and_cheeks(a: Array, y: Array, fold: tuple[Array, Array]) -> Array:
    """Depth of eye sockets, brow ridge, cheekbones, cheeks and nasolabial fold."""
    z = -1.05 * bump(a, y, EYE_X - 0.1, 0.25, 1.75, 1.0) - 0.10 * bump(a, y, EYE_X - 0.1, -1.0, 1.3, 0.5)
    z -= 0.35 * bump(a, y, 1.7, 0.3, 0.8, 0.9)
    ridge = polyline_distance(a, y, [(1.0, 1.75), (2.6, 2.1), (4.4, 1.85), (5.4, 1.0)])[0]
    z += 0.35 * np.exp(-((ridge / 0.75) ** 2)) * smoothstep(-0.2, 1.2, a) + 0.12 * bump(a, y, 0, 2.2, 1.0, 0.8)
    z += 0.55 * bump(a, y, 4.7, -2.5, 1.9, 1.25) + 0.45 * bump(a, y, 3.2, -3.6, 1.8, 1.6)
    z += 0.15 * bump(a, y, 2.2, -2.4, 1, 1) - 0.35 * bump(a, y, 4.4, -5.9, 1.4, 1.5)
    trough = np.hypot((a - 3.1) / 1.7, (y + 0.1) / 1.35) - 1
    z -= 0.05 * np.exp(-((trough / 0.16) ** 2)) * (y < 0)
    return z - 0.10 * np.exp(-((fold[0] / 0.28) ** 2)) * smoothstep(1, 0.55, fold[1])


def _lips_and_chin(a: Array, y: Array, below: Array) -> tuple[Array, Array, Array]:
    """Bulge of the lips, mask of the vermilion, and depth of muzzle, seam, philtrum and chin."""
    up = (y - MOUTH_Y) / np.maximum(upper_lip_edge(a) + 0.02 - MOUTH_Y, 0.05)
    down = (MOUTH_Y - y) / np.maximum(MOUTH_Y - lower_lip_edge(a) + 0.02, 0.05)
    upper, lower = 0.36 * np.exp(-(((up - 0.45) / 0.5) ** 2)), 0.50 * np.exp(-(((down - 0.45) / 0.45) ** 2))
    bulge = np.where(below, lower, upper) * smoothstep(1.02, 0.72, a / MOUTH_HALF)
    red = np.where(below, smoothstep(1.06, 0.90, down), smoothstep(1.06, 0.90, up))
    red = red * smoothstep(1.03, 0.98, a / MOUTH_HALF) * (np.abs(y - MOUTH_Y) < 1.2)
    z = bulge + 0.38 * bump(a, y, 0, -6.4, 2.9, 1.7)
    z -= 0.22 * np.exp(-(((y - MOUTH_Y) / 0.13) ** 2)) * smoothstep(1.12, 0.9, a / MOUTH_HALF)
    z -= 0.15 * bump(a, y, MOUTH_HALF + 0.1, MOUTH_Y, 0.45, 0.45)
    z += -0.10 * bump(a, y, 0, -5.45, 0.30, 0.55) + 0.04 * bump(a, y, 0.5, -5.5, 0.25, 0.6)
    z += -0.34 * bump(a, y, 0, -8.35, 1.7, 0.42) + 0.35 * bump(a, y, 0, -9.7, 1.5, 0.9)
    return bulge, red, z + 0.1 * bump(a, y, 0.6, -9.9, 0.8, 0.6)


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The canonical head. V vertices; all arrays are read-only by convention, because all people share them."""

    x: Array  # (V,) canonical coordinates before features: the arguments of every field
    y: Array
    rest: Array  # (V, 3) the average head, eyes and mouth closed
    normal: Array  # (V, 3) outward direction of the featureless skull
    faces: Array  # (F, 3) int32
    index: Array  # (rows, columns) vertex ids of the grid, without the copies at the slits
    front: Array  # (V,) bool: the half of the head that holds the face
    face: Array  # (V,) 1 on the face, fading to 0 towards the ears: weight of every feature and muscle
    side: Array  # (V,) smooth sign of x
    below_mouth: Array  # (V,) bool: lower lip's copies and everything under them
    below_eyes: Array  # (V,) bool
    mouth: Slit
    eyes: dict[int, Slit]  # by RIGHT, LEFT
    eye_anchors: dict[int, Array]  # two vertices above and below each eye, whose shift moves the eyeball
    upper_mouth: Array  # (V,) weights of the muscles of the upper and of the lower lip, which add to 1
    lower_mouth: Array
    jaw: Array  # (V,) share of the jaw's rotation
    nose: Array  # (V,) masks and reliefs that identity and colours use
    nostril: Array
    lip: Array
    lip_bulge: Array
    fold: tuple[Array, Array]  # nasolabial fold: distance to it and place along it
    region: Array  # (V,) index into REGIONS
    landmarks: Array  # (68,) vertex ids in the iBUG order


@cache
def canonical(density: float = 1.0) -> Anatomy:
    """The canonical head at ``density`` times the resolution of 38 thousand vertices (0.5..1.5)."""
    if not 0.5 <= density <= 1.5:
        raise ParameterError(f"density {density!r} of a head", do="choose 0.5..1.5: 0.75 up to 112 px, 1 for 224 px")
    grid = _slit_grid(density)
    flat = grid.vertices
    x, y, a = flat[:, 0], flat[:, 1], np.abs(flat[:, 0])
    face, side = grid.front * smoothstep(-1, 3, flat[:, 2]), np.tanh(x / 0.25)
    normal = np.stack([x / 55, y / 300, (flat[:, 2] - centre_depth(y)) / 75], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    fold = polyline_distance(a, y, [(1.75, -3.9), (2.15, -4.7), (2.75, -5.7), (3.15, -6.9), (3.2, -7.6)])
    nose, wing, nostril, nose_z = _nose(a, y)
    bulge, red, mouth_z = _lips_and_chin(a, y, grid.below_mouth)

    rest = flat.copy()
    rest[:, 2] += face * (nose_z + _orbits_and_cheeks(a, y, fold) + mouth_z)
    rest[:, 0] += face * side * 0.10 * wing * smoothstep(0.6, 1.3, a)
    rest[:, 1] -= face * (0.12 * bump(a, y, 0, -4.0, 0.9, 0.6) + 0.25 * bump(a, y, 0, -4.75, 0.35, 0.3))
    rest[:, 0] -= side * 0.38 * bump(rest[:, 2], y, 3.2, 3.0, 2.6, 2.0) * (a > 4)  # temples
    rest[:, 1] += smoothstep(-5.5, -10.2, y) * np.clip(7.2 - rest[:, 2], 0, 9) * 0.40  # jawline rises to the ear
    seam = 0.13 * smoothstep(0.8, 2.6, a) * smoothstep(4.2, 2.8, a)
    seam += 0.04 * np.exp(-(((a - 0.6) / 0.6) ** 2)) - 0.05 * np.exp(-((a / 0.4) ** 2))
    rest[:, 1] += face * np.exp(-(((y - MOUTH_Y) / 0.7) ** 2)) * seam

    # 1 on the lower lip, 0 on the upper; past the corners both blend into a vertical ramp, or the mouth is a hexagon
    beyond = 1 - (1 - np.clip(a / (1.06 * MOUTH_HALF), 0, 1) ** 2.2) ** 0.72
    lower = (1 - beyond) * grid.below_mouth + beyond * smoothstep(MOUTH_Y + 1.7, MOUTH_Y - 2.0, y)
    anchors = {s: np.array([_nearest(grid, s * EYE_X, h) for h in (1.5, -1.5)]) for s in (RIGHT, LEFT)}
    return Anatomy(
        x=x.copy(),
        y=y.copy(),
        rest=rest,
        normal=normal,
        faces=grid.faces,
        index=grid.index,
        front=grid.front,
        face=face,
        side=side,
        below_mouth=grid.below_mouth,
        below_eyes=grid.below_eyes,
        mouth=grid.mouth,
        eyes=grid.eyes,
        eye_anchors=anchors,
        upper_mouth=1 - lower,
        lower_mouth=lower,
        jaw=lower * smoothstep(-0.5, -4.2, y) * smoothstep(-3, 2, rest[:, 2]),
        nose=nose,
        nostril=nostril,
        lip=red,
        lip_bulge=bulge,
        fold=fold,
        region=_regions(a, y, face),
        landmarks=_landmarks(grid),
    )


# ---- regions and landmarks -----------------------------------------------------------------------------------------


def _regions(a: Array, y: Array, face: Array) -> Array:
    """Index into REGIONS for each vertex; later rules win."""
    region = np.zeros(len(a), int)
    nose_half = np.interp(y, [-5.0, -4.0, -1.0, 1.0], [1.9, 1.9, 1.2, 0.8])
    for name, where in (
        ("forehead", (y > 2.8) & (y < 7.1) & (a < 5.8)),
        ("cheeks", (y <= 1.2) & (y > -9) & (a < 6.5)),
        ("brows", (y > 1.2) & (y <= 2.8) & (a < 5.8)),
        ("eyes", (np.abs(y) <= 1.2) & (np.abs(a - EYE_X) < 2.0)),
        ("nose", (y > -5.0) & (y <= 1.2) & (a < nose_half)),
        ("mouth", (y > -8.2) & (y <= -5.0) & (a < 3.2)),
        ("chin", (y <= -8.2) & (a < 3.2)),
    ):
        region[where & (face > 0.5)] = REGIONS.index(name)
    return region


def _nearest(grid: _Grid, x: float, y: float) -> int:
    """Vertex of the front of the grid (no slit copy) that is nearest to the canonical (x, y)."""
    n = grid.index.size
    distance = (grid.vertices[:n, 0] - x) ** 2 + (grid.vertices[:n, 1] - y) ** 2 + 1e3 * ~grid.front[:n]
    return int(np.argmin(distance))


def _landmarks(grid: _Grid) -> Array:
    """68 vertex ids in the order of the iBUG 300-W mark-up: jaw, brows, nose, eyes, lips."""

    def on_eye(side: int) -> list[int]:
        upper, lower = grid.eyes[side]
        third, two = (round(t * (len(upper) - 1)) for t in (0.33, 0.67))
        return [upper[0], upper[third], upper[two], upper[-1], lower[two], lower[third]]

    def on_lip(x: float, ids: Array) -> int:
        return ids[np.argmin(np.abs(grid.vertices[ids, 0] - x))]

    angles = np.linspace(-1, 1, 17)
    jaw_x = 7.0 * np.sin(angles * 1.45) * (1 - 0.12 * (1 - np.abs(angles)))
    jaw_y = -0.6 - 10.3 * np.abs(np.cos(angles * np.pi / 2)) ** 0.62
    brow = [(-5.1, 1.5), (-4.3, 2.15), (-3.3, 2.35), (-2.2, 2.15), (-1.2, 1.8)]
    bridge = [(0, 0.4), (0, -1.1), (0, -2.5), (0, -3.7)]
    nostrils = [(x, -4.6) for x in (-1.2, -0.6, 0, 0.6, 1.2)]
    points = [*zip(jaw_x, jaw_y, strict=True), *brow, *((-x, y) for x, y in brow[::-1]), *bridge, *nostrils]
    ids = [_nearest(grid, x, y) for x, y in points] + on_eye(RIGHT) + on_eye(LEFT)
    upper, lower = grid.mouth
    ids += [upper[0], *(_nearest(grid, x, upper_lip_edge(np.float64(x))) for x in (-1.5, -0.5, 0, 0.5, 1.5)), upper[-1]]
    ids += [_nearest(grid, x, lower_lip_edge(np.float64(x))) for x in (1.5, 0.7, 0, -0.7, -1.5)]
    ids += [on_lip(x, upper) for x in (-2.1, -0.8, 0, 0.8, 2.1)] + [on_lip(x, lower) for x in (0.8, 0, -0.8)]
    return np.array(ids)
