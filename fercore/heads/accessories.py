"""What people wear or hold before the face: spectacles, headwear, collars, earrings, hands, mugs, phones, microphones.

They belong to a picture, not to a person: the same person can be drawn with and without. Nothing here moves the face.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fercore.errors import ParameterError
from fercore.heads.anatomy import EYE_RADIUS, LEFT, RIGHT, Anatomy, skull_z
from fercore.heads.fields import Array, grid_faces, ramp, smoothstep, sphere, value_noise
from fercore.heads.parts import Patch
from fercore.heads.people import SKIN, Person
from fercore.heads.shapes import capsule, curve, tube, unit

FRAMES = {  # half width, half height, power of the outline, drop of the outer corner (cm), thickness (cm)
    "round": (2.15, 2.05, 2.0, 0.0, 0.11),
    "square": (2.55, 1.75, 4.5, 0.0, 0.20),
    "oval": (2.45, 1.55, 2.4, 0.0, 0.10),
    "cat": (2.55, 1.65, 2.8, 0.45, 0.18),
    "rimless": (2.45, 1.55, 2.8, 0.0, 0.045),
    "sunglasses": (2.95, 2.15, 3.0, 0.1, 0.20),
}
HEADWEAR = ("cap", "beanie", "headscarf")
OCCLUDERS = ("hand on mouth", "hand on cheek", "mug", "phone", "microphone", "bar")
COLLARS = ("crew", "shirt", "turtleneck")
CLOTH = np.array(
    [
        *([0.12, 0.13, 0.16], [0.45, 0.10, 0.12], [0.16, 0.25, 0.42], [0.78, 0.76, 0.72]),
        *([0.16, 0.28, 0.20], [0.55, 0.44, 0.30], [0.30, 0.22, 0.36], [0.62, 0.36, 0.40]),
    ]
)


@dataclass(frozen=True)
class Accessories:
    """What one picture adds to a person; None is none."""

    glasses: str | None = None  # one of FRAMES
    headwear: str | None = None  # one of HEADWEAR
    occluder: str | None = None  # one of OCCLUDERS
    collar: str = "crew"  # one of COLLARS
    earrings: bool = False
    seed: int = 0  # of colours and places

    def __post_init__(self) -> None:
        for name, known in (("glasses", FRAMES), ("headwear", HEADWEAR), ("occluder", OCCLUDERS), ("collar", COLLARS)):
            value = getattr(self, name)
            if value not in known and not (value is None and name != "collar"):
                raise ParameterError(
                    f"unknown {name} {value!r} among accessories", do=f"choose from {', '.join(known)}"
                )


def sample_accessories(
    person: Person,
    rng: np.random.Generator,
    *,
    glasses: float = 0.25,
    sunglasses: float = 0.04,
    headwear: float = 0.12,
    occluder: float = 0.12,
    earrings: float = 0.35,
) -> Accessories:
    """Random accessories with these probabilities; all at 0 give a plain collar and nothing else.

    Old people wear spectacles more often, women earrings; ``sunglasses`` and ``occluder`` hide parts of the face.
    """
    for name, share in (("glasses", glasses), ("sunglasses", sunglasses), ("headwear", headwear)):
        if not 0 <= share <= 1:
            raise ParameterError(f"probability {share!r} of {name}", do="give 0..1")
    draw = rng.random(5)
    plain = [name for name in FRAMES if name != "sunglasses"]
    frame = str(rng.choice(plain)) if draw[0] < glasses * (0.7 + 0.8 * person.age) else None
    hats = HEADWEAR if person.sex < 0 else HEADWEAR[:2]
    hat, thing, collar = str(rng.choice(hats)), str(rng.choice(OCCLUDERS)), str(rng.choice(COLLARS, p=(0.5, 0.3, 0.2)))
    anything = max(glasses, sunglasses, headwear, occluder, earrings) > 0
    return Accessories(
        glasses="sunglasses" if draw[1] < sunglasses else frame,
        headwear=hat if draw[2] < headwear else None,
        occluder=thing if draw[3] < occluder else None,
        collar=collar if anything else "crew",
        earrings=bool(draw[4] < earrings) and person.sex < 0,
        seed=int(rng.integers(1 << 30)),
    )


def build(wear: Accessories, c: Anatomy, person: Person, shape: Array, eyes: dict[int, Array]) -> tuple[list, list]:
    """Patches of the accessories on a resting ``shape`` (V, 3) with ``eyes`` at these centres: opaque, and glass."""
    rng, solid, clear = np.random.default_rng(wear.seed), [], []
    if wear.glasses:
        frame, lenses = _glasses(wear.glasses, rng, eyes)
        solid += frame
        (solid if wear.glasses == "sunglasses" else clear).extend(lenses)
    if wear.headwear:
        solid += _headwear(wear.headwear, rng, c, shape)
    if wear.earrings:
        solid += _earrings(rng, person)
    if wear.collar != "crew":
        solid.append(_collar(wear.collar, rng, person))
    if wear.occluder:
        solid += _occluder(wear.occluder, rng, person)
    return solid, clear


# ---- spectacles ----------------------------------------------------------------------------------------------------


def _outline(frame: str, side: int, n: int) -> Array:
    """Outline (n, 2) of one lens round its middle."""
    half_width, half_height, power, lift, _ = FRAMES[frame]
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    x = half_width * np.sign(np.cos(t)) * np.abs(np.cos(t)) ** (2 / power)
    y = half_height * np.sign(np.sin(t)) * np.abs(np.sin(t)) ** (2 / power)
    y = np.where(y < 0, y * (1 - 0.12 * np.abs(x) / half_width), y) + lift * smoothstep(0, half_width, side * x)
    return np.stack([x, y], 1)


def _glasses(frame: str, rng: np.random.Generator, eyes: dict[int, Array]) -> tuple[list[Patch], list[Patch]]:
    """Rims, bridge and temples; and the lenses."""
    colours = np.array(
        [[0.03, 0.03, 0.035], [0.22, 0.10, 0.04], [0.45, 0.42, 0.36], [0.35, 0.06, 0.08], [0.1, 0.14, 0.3]]
    )
    colour, thick = colours[rng.integers(5)], FRAMES[frame][4]
    front = max(eye[2] for eye in eyes.values()) + EYE_RADIUS + 1.35
    height = float(np.mean([eye[1] for eye in eyes.values()])) - 0.1
    solid, lenses = [], []

    def bent(x: Array, y: Array) -> Array:  # the front follows the face
        return np.stack([x, y + height, front - 0.022 * x**2 - 0.06 * y], -1)

    for side in (RIGHT, LEFT):
        middle = side * (abs(eyes[side][0]) + 0.15)
        outline = _outline(frame, side, 40)
        loop = bent(outline[:, 0] + middle, outline[:, 1])
        vertices, faces, _ = tube(np.concatenate([loop, loop[:2]]), thick, 6)
        solid.append(Patch(vertices, faces, colour, 0.7, "glasses"))
        spokes = np.linspace(0, 1, 5)[:, None, None] * outline[None]
        pane = bent(spokes[..., 0] + middle, spokes[..., 1]).reshape(-1, 3)
        places = (spokes / np.array(FRAMES[frame][:2])).reshape(-1, 2)
        dark = np.array([0.025, 0.025, 0.03]) + 0.10 * smoothstep(0.2, -1, places[:, 1:]) * [0.7, 0.45, 0.3]
        lenses.append(Patch(pane, grid_faces(5, 40, True), dark, 0.85, "glasses", None, places))
        outer = bent(np.array([middle + side * FRAMES[frame][0]]), np.array([0.35]))[0]
        ear = [(side * 7.75, height + 0.5, 4.0), (side * 7.8, 0.2, -0.6), (side * 7.4, -1.4, -2.2)]
        path = curve([tuple(outer), (side * 7.1, height + 0.45, front - 2.4), *ear], 20)
        solid.append(Patch(*tube(path, thick * 1.1 + 0.03, 6)[:2], colour, 0.7, "glasses"))
    inner = abs(eyes[LEFT][0]) + 0.15 - FRAMES[frame][0]
    t = np.linspace(-1, 1, 9)
    bridge = bent(t * inner, 0.55 + 0.28 * (1 - t**2)) + np.stack([0 * t, 0 * t, 0.25 * (1 - t**2)], 1)
    solid.append(Patch(*tube(bridge, max(thick, 0.09), 6)[:2], colour, 0.7, "glasses"))
    return solid, lenses


# ---- headwear, earrings, collars -----------------------------------------------------------------------------------


def _headwear(kind: str, rng: np.random.Generator, c: Anatomy, shape: Array) -> list[Patch]:
    """A shell over the head down to its edge, and a cap's peak or a scarf's folds."""
    rows = c.index[::2]
    flat = rows.reshape(-1)
    x, y, z = c.rest[flat].T
    angle = np.arctan2(x, z)
    a, colour = np.abs(angle), CLOTH[rng.integers(len(CLOTH))]
    edges = {
        "cap": np.interp(a, [0, 0.8, 1.5, 2.2, np.pi], [5.2, 4.4, 2.6, 1.2, 0.6]),
        "beanie": np.interp(a, [0, 0.8, 1.5, 2.2, np.pi], [4.6, 3.9, 1.0, -1.5, -2.5]),
        "headscarf": np.interp(a, [0, 0.5, 0.78, 0.90, 1.0, 1.12, np.pi], [6.3, 5.6, 3.6, -2, -7, -11.2, -13]),
    }
    edge = edges[kind]
    covered = smoothstep(0.0, 0.5, y - edge)
    thick = {"cap": 1.05, "beanie": 1.2, "headscarf": 0.85}[kind] + 0.35 * smoothstep(4, 10, y)
    texture = 1 + 0.0 * a
    if kind == "beanie":
        texture = 0.86 + 0.18 * np.abs(np.sin(angle * 22))
        thick = thick + 0.30 * smoothstep(2.2, 1.8, y - edge) + 0.7 * smoothstep(7, 11, y)
    if kind == "cap":
        texture = 1 - 0.25 * np.exp(-((((angle / (np.pi / 3)) % 1 - 0.5) / 0.03) ** 2)) * (y > edge + 0.7)
    if kind == "headscarf":
        folds = value_noise(int(rng.integers(1 << 20)), angle * 3 + 20, y * 0.5 + angle * 2 + 20)
        thick, texture = thick + 0.9 * (folds - 0.4), 0.8 + 0.35 * folds
    outward = unit(np.stack([x / 58, (y - 1) / 115, (z + 0.5) / 90], 1))
    vertices = c.rest[flat] + outward * (thick * covered - 1.2 * (1 - covered))[:, None]
    faces = grid_faces(*rows.shape, True)
    faces = faces[(covered > 0.01)[faces].any(1)]
    patches = [Patch(vertices, faces, colour * texture[:, None], 0.08, "headwear")]
    if kind == "cap":
        patches.append(_peak(colour))
    if kind == "headscarf":
        patches.append(_drape(colour))
    return patches


def _peak(colour: Array) -> Patch:
    """The peak of a cap: a bent half ellipse, upper and under side."""
    t, r = np.meshgrid(np.linspace(-1.25, 1.25, 33), np.linspace(0, 1, 8))
    x, out = 7.2 * np.sin(t) * (1 - 0.12 * r), 5.6 * r * np.cos(t * 0.9)
    surface = np.stack([x, 5.9 - 0.045 * x**2 - 0.12 * out - 0.02 * out**2, 8.6 * np.cos(t * 0.8) + out], -1)
    vertices = np.concatenate([surface, surface[::-1] - [0, 0.25, 0]]).reshape(-1, 3)
    return Patch(vertices, grid_faces(16, 33, False), colour * 0.85, 0.08, "headwear")


def _drape(colour: Array) -> Patch:
    """The part of a headscarf that falls round neck and shoulders."""
    y, t = np.linspace(-9.2, -19, 16)[:, None], np.linspace(0, 2 * np.pi, 60, endpoint=False)[None]
    q = (-9.2 - y) / 9.8
    folds = 0.35 * np.sin(9 * t + 5 * q) + 0.25 * np.sin(14 * t - 4 * q)
    radius = 6.7 + 4.5 * q**1.5 + folds * (0.3 + q)
    drop = 2.2 * np.maximum(np.cos(t), 0) * (1 - q)
    surface = np.stack([radius * np.sin(t), y - drop, -1.2 - 1.5 * q + radius * 1.02 * np.cos(t)], -1)
    shade = (0.85 + 0.3 * folds + 0 * y).reshape(-1, 1)
    return Patch(surface.reshape(-1, 3), grid_faces(16, 60, True), colour * shade, 0.08, "headwear")


def _earrings(rng: np.random.Generator, person: Person) -> list[Patch]:
    """A ring or a pearl under each ear."""
    metal, ring = np.array([[0.85, 0.65, 0.25], [0.75, 0.76, 0.78]])[rng.integers(2)], rng.random() < 0.5
    patches, x = [], 7.35 * (1 + 0.045 * person.width) * (1 - 0.035 * max(0.0, -person.sex))
    for side in (RIGHT, LEFT):
        hook = np.array([side * x, -4.5, -0.2])
        if ring:
            t = np.linspace(0, 2 * np.pi, 25)
            path = hook + np.stack([0.2 * side * np.sin(t), -1.0 + np.cos(t), 0.9 * np.sin(t)], 1)
            patches.append(Patch(*tube(path, 0.10, 6)[:2], metal, 0.85, "object"))
        else:
            ball, faces = sphere(12, 9)
            patches.append(Patch(ball * 0.38 + hook - [0, 0.3, 0], faces, np.array([0.9, 0.88, 0.84]), 0.85, "object"))
    return patches


def _collar(kind: str, rng: np.random.Generator, person: Person) -> Patch:
    """A shirt's collar, open in front, or the tube of a turtleneck."""
    colour, radius = CLOTH[rng.integers(len(CLOTH))], 6.35 + 0.45 * person.sex
    t = np.linspace(0, 2 * np.pi, 72, endpoint=False)[None]
    q = np.linspace(0, 1, 9)[:, None]
    front = np.maximum(np.cos(t), 0)
    if kind == "turtleneck":
        y = -11.9 - 5.5 * q - 1.3 * front
        r = radius + 0.25 * np.sin(9 * q) + 1.4 * q**3 + 0.05 * np.sin(60 * t)
    else:  # up and over: a fold with two points in front
        tip = np.exp(-(((np.minimum(t, 2 * np.pi - t) - 0.42) / 0.22) ** 2))
        fold = np.minimum(q / 0.35, 1) - 1.2 * np.maximum(q - 0.35, 0) / 0.65 * (1 + 0.7 * tip)
        y = -15.2 + 2.2 * fold - 2.2 * front**2
        r = radius + 0.45 + 1.1 * np.maximum(q - 0.25, 0) + 0.6 * tip * q
    surface = np.stack([r * np.sin(t), y, -3.2 + r * 0.97 * np.cos(t)], -1)
    return Patch(surface.reshape(-1, 3), grid_faces(9, 72, True), colour, 0.06, "clothes")


# ---- before the face -----------------------------------------------------------------------------------------------


def _occluder(kind: str, rng: np.random.Generator, person: Person) -> list[Patch]:
    side = int(rng.choice((RIGHT, LEFT)))
    if kind.startswith("hand"):
        return _hand(kind, side, rng, person)
    if kind == "phone":
        ball, faces = sphere(40, 24)
        phone = np.sign(ball) * np.abs(ball) ** 0.25 * [0.45, 7.2, 3.5] + [side * 8.9, -4.2, 2.2]
        return [Patch(phone, faces, np.array([0.04, 0.04, 0.05]), 0.8, "object"), *_hand("phone", side, rng, person)]
    if kind == "mug":
        return _mug(side, rng)
    if kind == "microphone":
        ball, faces = sphere(24, 16)
        head = np.array([side * rng.uniform(0, 1.5), -8.6, 13.6])
        grille = 0.10 + 0.25 * (np.sin(ball[:, :1] * 40) * np.sin(ball[:, 1:2] * 40) > 0)
        shaft = np.linspace(head, head + np.array([side * 3.5, -13, 3.5]), 8)
        return [
            Patch(ball * 2.1 + head, faces, grille * np.ones(3), 0.6, "object"),
            capsule(shaft, np.linspace(1.1, 0.9, 8), [0.05, 0.05, 0.055], 0.5, "object"),
        ]
    middle, slope = np.array([0, rng.uniform(-9, 3), 14.5]), rng.normal(0, 0.2)
    ends = np.array([[-26, -26 * slope, 0], [26, 26 * slope, 0]]) + middle
    return [
        Patch(*tube(np.linspace(*ends, 12), rng.uniform(0.7, 1.6), 16)[:2], np.array([0.5, 0.5, 0.52]), 0.7, "object")
    ]


def _mug(side: int, rng: np.random.Generator) -> list[Patch]:
    """A mug at the lips: a wall with an inside, and a handle."""
    colour, place = CLOTH[rng.integers(len(CLOTH))], np.array([0.0, -10.0, 13.2])
    heights = np.r_[np.linspace(-4.5, 4.0, 8), 4.15, 4.0, np.linspace(3.8, -4.3, 5)]
    radii = np.r_[np.full(8, 3.7), 3.6, 3.45, np.full(5, 3.4)]
    wall, faces, _ = tube(np.stack([0 * heights, heights + np.arange(15) * 1e-4, 0 * heights], 1), 1.0, 40)
    ring = wall.reshape(15, 40, 3)
    ring[..., [0, 2]] = (
        ring[..., [0, 2]] / np.linalg.norm(ring[..., [0, 2]], axis=-1, keepdims=True) * radii[:, None, None]
    )
    ring[..., 1] = heights[:, None]
    t = np.linspace(-1.5, 1.5, 14)
    handle = np.stack([side * (3.5 + 2.2 * np.cos(t)), 2.6 * np.sin(t), 0 * t], 1) + place
    return [
        Patch(ring.reshape(-1, 3) + place, faces, colour, 0.6, "object"),
        Patch(*tube(handle, 0.5, 10)[:2], colour, 0.6, "object"),
    ]


def _hand(kind: str, side: int, rng: np.random.Generator, person: Person) -> list[Patch]:
    """Palm, four fingers and thumb that lie along the face, and a forearm, in the colour of the skin."""
    tone = ramp(SKIN, person.tone) * [1.0, 0.90, 0.86]
    shift, size = rng.normal(0, 0.5), 0.92 + 0.08 * person.sex
    patches = []

    def on_face(x: Array, y: Array, off: float) -> Array:
        return np.stack([side * x, y, np.maximum(skull_z(x, np.maximum(y, -10.5)), 2.0) + off], 1)

    s = np.linspace(0, 1, 9)
    for k in range(4):
        reach, thick = (0.88, 1.0, 0.95, 0.76)[k], (0.80, 0.84, 0.80, 0.70)[k] * size
        if kind == "hand on mouth":
            x, y = 4.6 - 7.6 * reach * s, -5.2 - 1.55 * k + (0.9 - 0.25 * k) * s + shift
        elif kind == "hand on cheek":
            x, y = 6.9 - 1.35 * (3 - k) + 0.3 * s, -5.8 + 7.4 * reach * s + shift
        else:  # round a phone
            x, y = 9.7 - 1.6 * s, -1.6 - 1.7 * k + 0.3 * s
        path = on_face(np.abs(x) if kind != "hand on mouth" else x, y, 1.35 + 0.25 * np.sin(np.pi * s).mean())
        if kind == "phone":
            path = np.stack([side * (9.6 - 0.2 * s), y, 0.2 + 5.6 * reach * s], 1)
        bones = thick * (1 - 0.16 * s) * (1 + 0.08 * np.cos(s * 3 * np.pi) ** 2)
        patches.append(capsule(path, bones, tone * (0.97 + 0.03 * (k % 2)), 0.25, "hand"))
    ball, faces = sphere(24, 16)
    centre = {"hand on mouth": (6.2, -8.2, 7.6), "hand on cheek": (6.0, -8.6, 7.4), "phone": (10.2, -5.5, 0.2)}[kind]
    centre = np.array(centre) * [side, 1, 1] + [0, shift, 0]
    palm = (
        np.sign(ball) * np.abs(ball) ** 0.8 * np.array([2.3, 3.6, 1.5] if kind != "phone" else [1.2, 3.8, 2.8]) * size
    )
    patches.append(Patch(palm + centre, faces, tone, 0.25, "hand"))
    thumb_to = {"hand on mouth": (5.2, -2.6), "hand on cheek": (2.4, -9.0), "phone": (8.0, -1.0)}[kind]
    thumb = on_face(np.linspace(abs(centre[0]), thumb_to[0], 7), np.linspace(centre[1] + 0.8, thumb_to[1], 7), 1.3)
    patches.append(capsule(thumb, np.linspace(1.15, 0.78, 7) * size, tone, 0.25, "hand"))
    arm = np.linspace(centre - [0, 1.5, 0.3], centre + np.array([side * 3.5, -15, -1.5]), 8)
    patches.append(capsule(arm, np.linspace(2.0, 3.2, 8) * size, tone * 0.98, 0.2, "hand"))
    return patches
