"""Lights and backgrounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fercore.errors import ParameterError
from fercore.heads.fields import Array

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """A key light that casts shadows, light from sky and ground all round, and a faint light from the side.

    Directions point from the head to the light, in the camera's frame (x right, y up, z to the viewer), of any length;
    colours are linear RGB. The default is a studio: key light from the upper left.
    """

    key_direction: Triple = (-0.45, 0.55, 0.75)
    key: Triple = (0.877, 0.834, 0.791)
    sky: Triple = (0.453, 0.462, 0.480)
    ground: Triple = (0.234, 0.214, 0.203)
    side_direction: Triple = (0.8, 0.15, 0.2)
    side: Triple = (0.10, 0.11, 0.13)

    def __post_init__(self) -> None:
        for name in ("key_direction", "side_direction"):
            if not np.linalg.norm(getattr(self, name)) > 0:
                raise ParameterError(f"{name} of a light has no length", do="give a vector such as (-0.45, 0.55, 0.75)")


def sample_light(rng: np.random.Generator) -> Light:
    """A key light from a random direction in front, of random strength and tint, with more or less light all round."""
    azimuth, elevation = rng.normal(0, 0.6), rng.uniform(0.1, 0.9)
    strength, tint, around = rng.uniform(0.75, 1.15), rng.normal(0, 0.05, 3), rng.uniform(0.25, 0.55)
    return Light(
        key_direction=_from_angles(azimuth, elevation),
        key=_triple((np.array([1.02, 0.97, 0.92]) + tint) * 0.92 * strength),
        sky=_triple(np.array([0.98, 1.0, 1.04]) * around * 1.1),
        ground=_triple(np.array([0.9, 0.82, 0.78]) * around * 0.6),
    )


def sample_film_light(rng: np.random.Generator) -> Light:
    """Light as in films: dark all round, a key from the side, from above or from behind, warm against cold colours."""
    side = rng.choice([-1, 1])
    azimuth, elevation = side * rng.uniform(0.5, 1.6), rng.uniform(-0.1, 1.0)
    warm, cold = np.array([1.15, 0.86, 0.60]), np.array([0.55, 0.78, 1.10])
    key, fill = (warm, cold) if rng.random() < 0.6 else (cold, warm)
    mood, around = rng.uniform(0.3, 1.0), rng.uniform(0.04, 0.22)
    neutral = 1 - mood
    return Light(
        key_direction=_from_angles(azimuth, elevation),
        key=_triple((neutral + mood * key) * rng.uniform(0.7, 1.3)),
        sky=_triple((neutral + mood * fill) * around),
        ground=_triple((neutral + mood * key) * around * 0.5),
        side_direction=_from_angles(-side * rng.uniform(1.2, 2.0), 0.2),
        side=_triple((neutral + mood * fill) * rng.uniform(0.1, 0.5)),
    )


_FLASHES = (  # azimuth and elevation in degrees of flashes 01..18: by the cameras from -90 to 90, and two ceilings
    *((-90 + 15 * k, 8) for k in range(13)),
    *((-50, 38), (-22, 40), (0, 42), (22, 40), (50, 38)),
)


def multipie_flashes() -> dict[int, Light]:
    """Light 0..19 in the manner of Multi-PIE: 0 the room alone, 1..18 one flash each with the room, 19 all of them.

    Flashes 1..13 stand beside the cameras from the image's left (-90 degrees) to its right, 14..18 above. Directions
    are ours, laid out like the rig's; the published set takes its picture 19 without a flash, as 0.
    """
    room = Light(
        key_direction=(0.1, 1.0, 0.35), key=(0.16, 0.16, 0.15), sky=(0.40, 0.40, 0.41), ground=(0.22, 0.20, 0.19)
    )
    lights = {0: room}
    for number, (azimuth, elevation) in enumerate(_FLASHES, 1):
        lights[number] = Light(
            key_direction=_from_angles(*np.deg2rad([azimuth, elevation])),
            key=(1.0, 0.99, 0.97),
            sky=(0.27, 0.27, 0.28),
            ground=(0.15, 0.14, 0.13),
            side=(0.0, 0.0, 0.0),
        )
    lights[19] = Light((0, 0.35, 1.0), (0.62, 0.61, 0.60), (0.62, 0.62, 0.62), (0.50, 0.50, 0.50), side=(0.0, 0.0, 0.0))
    return lights


def _from_angles(azimuth: float, elevation: float) -> Triple:
    """Direction of a light, from angles in radians: 0, 0 is before the face, positive is right and up."""
    flat = np.cos(elevation)
    return _triple([np.sin(azimuth) * flat, np.sin(elevation), np.cos(azimuth) * flat])


def _triple(values: Array | list[float]) -> Triple:
    return tuple(float(v) for v in values)


# ---- backgrounds ---------------------------------------------------------------------------------------------------


def sample_background(size: int, rng: np.random.Generator, kind: str | None = None) -> Array:
    """A picture (size, size, 3) in 0..1 of what is out of focus behind a person.

    kind: "studio" (a plain wall with a fall-off), "room" (walls, a window, furniture), "outdoors" (sky, trees, ground,
    discs of light), or any of them when None. Raises ParameterError for another.
    """
    kinds = {"studio": _studio, "room": _room, "outdoors": _outdoors}
    if kind is not None and kind not in kinds:
        raise ParameterError(f"unknown kind {kind!r} of background", do=f"choose from {', '.join(kinds)}, or None")
    x = ((np.arange(size) + 0.5) / size)[None]  # (1, size): what depends on x or y alone is computed a line at a time
    y = x.T
    drawn = list(kinds)[rng.integers(3)]
    return np.clip(kinds[kind or drawn](x, y, rng), 0.02, 1)


def _muted(rng: np.random.Generator, low: float, high: float) -> Array:
    """A colour near grey."""
    colour = rng.random(3) * (high - low) + low
    return 0.45 * colour + 0.55 * colour.mean()


def _step(distance: Array, blur: float) -> Array:
    """1 where ``distance`` is well below 0, 0 where well above, over some ``blur`` between them."""
    return 1 / (1 + np.exp((distance / blur).clip(-30, 30)))


def _studio(x: Array, y: Array, rng: np.random.Generator) -> Array:
    colour, cx, cy = _muted(rng, 0.15, 0.75), *rng.uniform(0.2, 0.8, 2)
    fall = 1.1 - rng.uniform(0.1, 0.5) * ((x - cx) ** 2 + (y - cy) ** 2)
    return colour * fall[..., None]


def _room(x: Array, y: Array, rng: np.random.Generator) -> Array:
    """Soft-edged rectangles: a corner, a window or lamp, shelves."""
    image = _muted(rng, 0.25, 0.65) * (1 - 0.3 * (y + 0 * x) * rng.random())[..., None]
    for k in range(rng.integers(3, 9)):
        cx, cy, w, h = *rng.random(2), *rng.uniform(0.05, 0.4, 2)
        blur = rng.uniform(0.01, 0.06)
        inside = _step(np.abs(x - cx) - w, blur) * _step(np.abs(y - cy) - h, blur)
        colour = np.array([0.95, 0.95, 0.92]) if k == 0 and rng.random() < 0.5 else _muted(rng, 0.05, 0.7)
        image += (0.85 * inside)[..., None] * (colour - image)
    return image


def _outdoors(x: Array, y: Array, rng: np.random.Generator) -> Array:
    horizon, blur = rng.uniform(0.35, 0.95), rng.uniform(0.02, 0.12)
    sky = np.array([0.62, 0.74, 0.90]) * rng.uniform(0.6, 1.05) + 0.15 * (y / horizon)[..., None]
    ground = np.array([[0.25, 0.36, 0.16], [0.45, 0.40, 0.32], [0.35, 0.36, 0.38]])[rng.integers(3)] * rng.uniform(
        0.6, 1.2
    )
    line = horizon + 0.06 * np.sin(x * rng.uniform(3, 14) + rng.random() * 6) + 0.03 * np.sin(x * 31)
    below = _step(line - y, blur)[..., None]
    image = sky * (1 - below) + ground * below
    for _ in range(rng.integers(0, 26)):  # leaves and lights out of focus
        cx, cy, radius = *rng.random(2), rng.uniform(0.02, 0.09)
        colour = _muted(rng, 0.1, 1.0) * [0.9, 1.0, 0.7]
        reach = radius + 0.08  # the edge of a disc, ten blurs of .008 wide, fades to nothing within it
        columns, rows = (
            slice(*np.searchsorted(axis.ravel(), (c - reach, c + reach))) for axis, c in ((x, cx), (y, cy))
        )
        disc = _step(np.hypot(x[:, columns] - cx, y[rows] - cy) - radius, 0.008)
        image[rows, columns] += (0.35 * disc)[..., None] * (colour - image[rows, columns])
    return image
