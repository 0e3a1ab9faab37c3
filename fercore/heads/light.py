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
    strength, tint, around = rng.uniform(0.75, 1.15), rng.normal(0, 0.04, 3), rng.uniform(0.28, 0.55)
    flat = np.cos(elevation)
    return Light(
        key_direction=_triple([np.sin(azimuth) * flat, np.sin(elevation), np.cos(azimuth) * flat]),
        key=_triple((np.array([1.02, 0.97, 0.92]) + tint) * 0.86 * strength),
        sky=_triple(np.array([0.98, 1.0, 1.04]) * around * 1.1),
        ground=_triple(np.array([0.9, 0.82, 0.78]) * around * 0.62),
    )


def _triple(values: Array | list[float]) -> Triple:
    return tuple(float(v) for v in values)


def sample_background(size: int, rng: np.random.Generator) -> Array:
    """A blurred room (size, size, 3) in 0..1: a gradient between two muted colours with up to five soft spots."""
    y, x = np.mgrid[0:size, 0:size] / size
    first, second = rng.random((2, 3)) * 0.5 + 0.2
    first, second = (0.4 * colour + 0.6 * colour.mean() for colour in (first, second))
    slope = rng.normal(size=2)
    t = np.clip(0.5 + 0.5 * (x - 0.5) * slope[0] + 0.5 * (y - 0.5) * slope[1], 0, 1)[..., None]
    image = first * (1 - t) + second * t
    for _ in range(rng.integers(0, 6)):
        cx, cy, radius = rng.random(3)
        spot = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (0.02 + 0.1 * radius**2))
        image = image + spot[..., None] * rng.normal(0, 0.10, 3)
    return np.clip(image, 0.02, 1)
