"""What is in and round a face: eyeballs, lid rims, lashes, mouth, teeth, tongue, ears, neck, clothes.

Each function gives `Patch`es: pieces of mesh of one part. Those that an expression moves take the moved face; the
others belong to the person and are built once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fercore.heads.anatomy import EYE_RADIUS, LEFT, MOUTH_Y, RIGHT, Anatomy, Slit, skull_z
from fercore.heads.fields import Array, bump, grid_faces, ramp, rotate_x, smoothstep, sphere, value_noise
from fercore.heads.motion import JAW_JOINT
from fercore.heads.people import IRIS, Person

PARTS = (
    "background",
    "skin",
    "lid",
    "lash",
    "eye",
    "caruncle",
    "mouth",
    "teeth",
    "tongue",
    "ear",
    "neck",
    "clothes",
    "hair",
    "brow",
    "beard",
    "glasses",
    "headwear",
    "hand",
    "object",
)
"""Names of the values of a part map: index 0 is what no part covers."""


class Patch(NamedTuple):
    """A piece of mesh: vertices (N, 3) cm, faces (F, 3), colours (N, 3) or (3,), gloss (N,) or one, name in PARTS."""

    vertices: Array
    faces: Array
    colours: Array
    gloss: Array | float
    part: str
    strands: Array | None = None  # (N, 3): where hair is combed to
    coords: Array | None = None  # (N, 2): of the grain, see `Mesh.coords`


# ---- eyes ----------------------------------------------------------------------------------------------------------


def eyeball_template(person: Person, density: float = 1.0) -> tuple[Array, Array, Array]:
    """Eyeball that looks forward, centred at 0: vertices (N, 3) with the bulge of the cornea, faces, colours.

    A coarse mesh (low ``density``) has fewer of them: there an iris is three pixels wide.
    """
    fine = min(1.0, density + 0.15)
    ball, faces = sphere(round(40 * fine), round(56 * fine))
    theta, phi = np.arccos(np.clip(ball[:, 2], -1, 1)), np.arctan2(ball[:, 1], ball[:, 0])
    iris, pupil = 0.435, 0.185  # radians from the axis
    fibres = 0.75 + 0.5 * value_noise(person.seed, phi * 6 + 30, theta * 6)
    colours = ramp(IRIS, person.iris) * (fibres * (1.25 - 0.5 * smoothstep(0.30, iris, theta)))[:, None] * 1.25
    colours *= (1 - 0.65 * smoothstep(iris - 0.07, iris, theta))[:, None]
    colours *= (1 - 0.96 * smoothstep(pupil + 0.025, pupil - 0.025, theta))[:, None]
    white = np.array([0.90, 0.885, 0.87]) * (1 - 0.22 * smoothstep(0.5, 1.1, theta)[:, None] * [0.3, 1, 1])
    in_iris = smoothstep(iris + 0.03, iris - 0.025, theta)[:, None]
    bulge = 1 + 0.025 * smoothstep(iris * 1.1, 0, theta)
    return ball * (EYE_RADIUS * bulge)[:, None], faces, white * (1 - in_iris) + colours * in_iris


def eyeball(template: tuple[Array, Array, Array], side: int, centre: Array, gaze: tuple[float, float]) -> Patch:
    """Eyeball at ``centre``, turned by ``gaze`` = (to the image's right, up) in radians; both converge slightly."""
    vertices, faces, colours = template
    turn = gaze[0] - side * 0.02
    x, y, z = vertices.T
    turned = np.stack([x * np.cos(turn) + z * np.sin(turn), y, z * np.cos(turn) - x * np.sin(turn)], 1)
    return Patch(rotate_x(turned, -gaze[1], np.zeros(3)) + centre, faces, colours, 1.0, "eye")


def lids(c: Anatomy, person: Person, skin: Array, side: int, centre: Array, tone: Array) -> list[Patch]:
    """Rims from the lid edges back along the eyeball, lashes of the upper lid, and the caruncle in the corner."""
    patches = []
    upper, lower = c.eyes[side]
    for edge, outer, inner in (
        (upper, [0.35, 0.28, 0.28], [0.45, 0.33, 0.32]),
        (lower, [0.80, 0.58, 0.56], [0.85, 0.60, 0.58]),
    ):
        rim, n = skin[edge], len(edge)
        from_centre = rim - centre
        radius = np.linalg.norm(from_centre, axis=1, keepdims=True)
        rows = [rim] + [centre + from_centre * (r / radius) for r in (EYE_RADIUS - 0.06, EYE_RADIUS - 0.5)]
        colours = np.repeat([tone * outer, tone * inner, tone * inner], n, 0)
        patches.append(Patch(np.concatenate(rows), grid_faces(3, n, False), colours, 0.4, "lid"))
        if edge is upper:
            patches.append(_lashes(person, rim, from_centre / radius, side))
    ball, faces = sphere(10, 8)
    corner = skin[upper[0 if side == LEFT else -1]] + [side * 0.17, -0.04, -0.24]
    patches.append(Patch(ball * [0.20, 0.16, 0.16] + corner, faces, tone * [0.95, 0.58, 0.55], 0.5, "caruncle"))
    return patches


def _lashes(person: Person, rim: Array, outward: Array, side: int) -> Patch:
    n = len(rim)
    t = np.linspace(0, 1, n)[::side]  # 0 at the inner corner
    length = (0.16 + 0.10 * (person.sex < 0)) * smoothstep(0, 0.3, t) * smoothstep(1.02, 0.9, t) * (0.6 + 0.5 * t)
    direction = outward + np.stack([0.5 * side * (t - 0.4), np.full(n, 0.15), np.full(n, 0.2)], 1)
    vertices = np.concatenate([rim, rim + direction * length[:, None]])
    return Patch(vertices, grid_faces(2, n, False), np.array([0.05, 0.035, 0.03]), 0.0, "lash")


# ---- mouth ---------------------------------------------------------------------------------------------------------


def mouth_cavity(slit: Slit, skin: Array, tone: Array) -> Patch:
    """Two skirts that hang from the lips into the head and meet at the back and at the corners.

    Their first rows are the wet inner surface of the lips, which rolls towards the opening before it turns back.
    """
    n = len(slit.upper)
    middle = 1 - np.linspace(-1, 1, n) ** 4  # the skirts meet at the corners, or a scream shows a hole in the cheek
    rings = [(0, 0, 1), (-0.12, -0.06, 0.99), (-0.35, 0, 0.98), (-0.8, 0.3, 0.93), (-2, 0.8, 0.82), (-5.2, 1.2, 0.6)]
    rows = []
    for lip, sign in ((skin[slit.upper], 1), (skin[slit.lower], -1)):
        skirt = [lip * [narrow, 1, 1] + middle[:, None] * [0, sign * dy, 0] + [0, 0, dz] for dz, dy, narrow in rings]
        rows += [np.maximum(row, [-99, -99, 4.7]) for row in skirt[::sign]]  # in front of the neck inside the head
    flesh, dark = tone * [0.85, 0.46, 0.46], np.array([0.30, 0.075, 0.07])
    half = [flesh, flesh, flesh * 0.85, dark * 1.3, dark, dark * 0.3]
    colours, wet = np.repeat(half + half[::-1], n, 0), np.repeat([0.5, 0.85, 0.85, 0.5, 0.2, 0.0], n)
    gloss = np.concatenate([wet, wet[::-1]])
    return Patch(np.concatenate(rows), grid_faces(2 * len(rings), n, False), colours, gloss, "mouth")


def teeth_and_tongue(c: Anatomy, person: Person, shape: Array) -> tuple[Patch, Patch, Patch]:
    """Upper teeth, lower teeth and tongue with the jaw closed; the latter two turn with the jaw (`open_jaw`).

    They sit behind the seam of the lips of the resting ``shape`` (V, 3).
    """
    middle = c.mouth.upper[len(c.mouth.upper) // 2]
    _, drop, forward = shape[middle] - c.rest[middle]
    front = float(skull_z(np.array([0.0]), np.array([MOUTH_Y]))[0]) - 0.60 + 0.8 * forward
    ball, faces = sphere(24, 18)
    tongue = ball * [1.6, 0.62, 2.9] + [0, MOUTH_Y - 0.92 + drop, front - 3.25]
    tongue[:, 1] -= 0.22 * np.exp(-((tongue[:, 0] / 0.28) ** 2)) * (ball[:, 1] > 0)  # the groove in the middle
    shade = 0.75 + 0.35 * smoothstep(-0.5, 0.9, ball[:, 2])[:, None]
    upper, lower = (_dental_arch(person, is_upper, front, drop) for is_upper in (True, False))
    return upper, lower, Patch(tongue, faces, np.array([0.72, 0.31, 0.31]) * shade, 0.8, "tongue")


def _dental_arch(person: Person, is_upper: bool, front: float, drop: float) -> Patch:
    """A row of teeth and its gum: eight teeth of 0.82 cm above, ten of 0.58 cm below, cut edges slightly uneven."""
    n, half = 96, 2.7 if is_upper else 2.2
    x = np.linspace(-half, half, n)
    arch = front - (0 if is_upper else 0.25) - 0.24 * x**2 * (1 + 0.03 * x**2)
    place = np.abs(x) / (0.82 if is_upper else 0.58)
    gap = smoothstep(0.80, 1.0, np.abs(place % 1 - 0.5) * 2)  # 1 between two teeth
    uneven = 0.07 * (place.astype(int) == 1) * is_upper + 0.05 * gap  # the second tooth is the short one
    shade = (1 - 0.16 * gap) * (1 - 0.75 * smoothstep(1.1, 2.7, np.abs(x)))
    enamel = np.array([1.13, 1.10, 1.03]) - 0.10 * person.age * np.array([0.5, 1, 2])
    rows, colours = [], []
    for t, dz in ((-0.02, 0.0), (0.06, 0.05), (0.5, 0.08), (0.92, 0.02), (1.05, 0.06), (1.9, 0.1)):
        cut = uneven * (t < 0.1)
        y = t - 0.20 + 0.05 * np.abs(x) + cut if is_upper else -0.45 - 0.8 * t - 2 * cut
        rows.append(np.stack([x * (1 + 0.05 * person.mouth_width), MOUTH_Y + drop + y, arch + dz - 0.05 * gap], 1))
        colours.append(enamel * shade[:, None] if t < 1 else np.tile([0.72, 0.36, 0.36], (n, 1)))
    return Patch(np.concatenate(rows), grid_faces(6, n, False), np.concatenate(colours), 0.8, "teeth")


def open_jaw(patch: Patch, angle: float) -> Patch:
    """The patch turned with the jaw by ``angle`` radians; the tongue turns a little less and comes forward."""
    tongue = patch.part == "tongue"
    turned = rotate_x(patch.vertices, angle * (0.85 if tongue else 1), JAW_JOINT)
    if tongue:
        turned[:, 2] = np.maximum(turned[:, 2] + 1.5 * angle, 4.9)
    return patch._replace(vertices=turned)


# ---- ears, neck, clothes -------------------------------------------------------------------------------------------


def ears(person: Person, tone: Array) -> list[Patch]:
    """Both ears; none under long hair, which would not cover them cleanly."""
    if person.hair in ("long", "bob", "curls"):
        return []
    u, t = np.meshgrid(np.linspace(0, 1, 15), np.linspace(0, 2 * np.pi, 40, endpoint=False), indexing="ij")
    sin, cos = np.sin(t), np.cos(t)
    radius = u * (1 + 0.10 * cos + 0.06 * np.sin(2 * t) - 0.10 * sin**2)
    y = 3.15 * sin * radius
    z = 1.75 * cos * radius * np.where(sin < 0, 0.62 + 0.38 * (1 + sin) ** 0.8, 1)
    out = 0.25 + 0.30 * u**1.5 - 0.5 * smoothstep(0.93, 1.0, u)
    out += 0.55 * np.exp(-(((u - 0.90) / 0.085) ** 2)) * (0.35 + 0.65 * smoothstep(-1.1, 0.2, sin - 0.6 * cos))  # helix
    out += 0.40 * np.exp(-(((u - 0.60) / 0.10) ** 2)) * smoothstep(0.2, -0.5, cos)  # antihelix
    out += 0.42 * bump(z, y, 0.95, -0.35, 0.40, 0.55)  # tragus
    out -= 0.55 * np.exp(-(((z - 0.25) / 0.75) ** 2) - ((y + 0.15) / 0.95) ** 2)  # concha
    shade = 1 - 0.45 * np.exp(-(((z - 0.35) / 0.5) ** 2) - ((y + 0.2) / 0.6) ** 2)
    shade -= 0.15 * np.exp(-(((u - 0.78) / 0.06) ** 2))
    soft = max(0.0, -person.sex)
    size = 1 + 0.04 * person.width - 0.06 * soft + 0.06 * max(0.0, person.age - 0.4)
    root = 7.12 * (1 + 0.045 * person.width - 0.035 * soft) - 0.38
    height = -1.1 + y * size - 0.10 * z
    depth = -0.9 + z * size + 0.198 * y - 0.40 * (height + 1.1)
    patches = []
    for side in (RIGHT, LEFT):
        vertices = np.stack([side * (root + out + 0.42 * np.clip(-z, -0.6, 3)), height, depth], -1).reshape(-1, 3)
        colours = tone * [1.0, 0.90, 0.88] * shade.reshape(-1, 1)
        patches.append(Patch(vertices, grid_faces(15, 40, True), colours, 0.2, "ear"))
    return patches


def neck(person: Person, stretched: float, tone: Array) -> Patch:
    """A tilted tube that runs up inside the head; ``stretched`` (action unit 20) shows the platysma's cords."""
    y = np.linspace(-3, -19, 20)[:, None]
    t, q = np.linspace(0, 2 * np.pi, 48, endpoint=False)[None], (-3 - y) / 16
    sin, cos, front = np.sin(t), np.cos(t), np.cos(t) > 0
    radius = 5.15 + 0.65 * person.sex + 0.25 * person.fat
    radius = radius * (1 - 0.10 * np.sin(np.pi * np.clip(q * 1.3, 0, 1))) + 2.8 * smoothstep(0.68, 1.0, q)
    z = -1.5 - 2.1 * q + radius * 0.98 * cos
    muscle = smoothstep(0.15, 0.9, q) * np.exp(-(((np.abs(sin) - 0.42 + 0.25 * q) / 0.10) ** 2))
    apple = (0.5 + 0.35 * (person.sex > 0)) * np.exp(-(((q - 0.5) / 0.08) ** 2) - (sin / 0.15) ** 2)
    cords = 0.5 * stretched * np.exp(-(((np.abs(sin) - 0.35) / 0.08) ** 2)) * smoothstep(0.25, 0.5, q)
    z = z + front * (0.35 * muscle + apple + cords)
    vertices = np.stack([radius * sin, y + 0 * t, z], -1).reshape(-1, 3)
    return Patch(vertices, grid_faces(20, 48, True), tone * 0.97, 0.2, "neck")


def clothes(person: Person) -> list[Patch]:
    """Shoulders and a collar in one of six colours."""
    colours = [[0.15, 0.17, 0.22], [0.5, 0.12, 0.12], [0.2, 0.3, 0.45]]
    colours += [[0.75, 0.74, 0.7], [0.2, 0.3, 0.2], [0.45, 0.38, 0.3]]
    colour = np.array(colours[np.random.default_rng(person.seed + 9).integers(6)])
    ball, faces = sphere(36, 20)
    shoulders = np.sign(ball) * np.abs(ball) ** 0.85 * [19 + 2 * person.sex, 8.5, 8.5] + [0, -22.9, -4.2]
    y, t = np.linspace(-13.2, -18, 8)[:, None], np.linspace(0, 2 * np.pi, 48, endpoint=False)[None]
    down, sin, cos = -13.2 - y, np.sin(t), np.cos(t)
    radius = 6.7 + 0.35 * person.sex + 0.7 * down + 0.25 * np.sin(np.clip(down * 4, 0, 3.14))
    height = y - np.where(cos > 0, 1.6 * cos, 0) + 0.6 * (cos < 0)
    collar = np.stack([radius * sin, height, -3.6 + radius * 0.95 * cos], -1).reshape(-1, 3)
    return [
        Patch(shoulders, faces, colour, 0.05, "clothes"),
        Patch(collar, grid_faces(8, 48, True), colour, 0.05, "clothes"),
    ]
