"""Tubes and ribbons: what hair, spectacles, fingers and mugs are made of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fercore.heads.fields import Array, grid_faces
from fercore.heads.parts import Patch


def unit(vectors: Array) -> Array:
    """Vectors (..., 3) at unit length."""
    return vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-9)


def tube(path: Array, radius: Array | float, around: int = 12, flat: float = 1.0) -> tuple[Array, Array, Array]:
    """A tube along ``path`` (N, 3): vertices (N * around, 3), triangles, and the direction along it at each vertex.

    radius: (N,) or one, cm; flat: width of the section across its first axis, relative to the radius.
    """
    along = unit(np.gradient(path, axis=0))
    helper = np.where(np.abs(along[:, 1:2]) < 0.9, [[0.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]])
    side = unit(np.cross(along, helper))
    t = np.linspace(0, 2 * np.pi, around, endpoint=False)[None, :, None]
    ring = flat * np.cos(t) * side[:, None] + np.sin(t) * np.cross(side, along)[:, None]
    vertices = path[:, None] + np.broadcast_to(radius, len(path))[:, None, None] * ring
    return vertices.reshape(-1, 3), grid_faces(len(path), around, True), np.repeat(along, around, 0)


def curve(points: list[tuple[float, float, float]], n: int) -> Array:
    """A smooth curve (n, 3) through ``points``: cubic, free at its ends."""
    from scipy.interpolate import CubicSpline

    knots = np.linspace(0, 1, len(points))
    return CubicSpline(knots, np.array(points, float), bc_type="natural")(np.linspace(0, 1, n))


def capsule(path: Array, radius: Array | float, colour: Array | list[float], gloss: float, part: str) -> Patch:
    """A tube with round ends."""
    radius = np.broadcast_to(radius, len(path)).astype(float)
    start, end = unit(path[0] - path[1]), unit(path[-1] - path[-2])
    q = np.sin(np.linspace(np.pi / 2, 0.05, 5))[:, None]
    fore = path[0] + start * radius[0] * q
    aft = path[-1] + end * radius[-1] * q[::-1]
    shrink = np.sqrt(np.maximum(1 - q[:, 0] ** 2, 1e-4))
    whole = np.concatenate([fore, path[1:-1], aft])
    vertices, faces, _ = tube(whole, np.r_[radius[0] * shrink, radius[1:-1], radius[-1] * shrink[::-1]])
    return Patch(vertices, faces, np.array(colour, float), gloss, part)


class Strokes(NamedTuple):
    """Hairs that move with the skin: ids (N,) of the vertices they root in, offsets (N, 3), and what a Patch needs."""

    roots: Array
    offsets: Array
    faces: Array
    colours: Array
    strands: Array
    coords: Array
    gloss: float
    part: str

    def patch(self, skin: Array) -> Patch:
        where = skin[self.roots] + self.offsets
        return Patch(where, self.faces, self.colours, self.gloss, self.part, self.strands, self.coords)


def ribbons(paths: Array, width: Array, across: Array) -> tuple[Array, Array, Array]:
    """Flat hairs or locks along ``paths`` (N, K, 3), of half ``width`` (N, K) towards ``across`` (N, 1 or K, 3).

    Returns vertices (N * K * 2, 3), triangles, and the direction along the lock at each vertex.
    """
    n, k = paths.shape[:2]
    edge = width[..., None] * across
    vertices = np.stack([paths - edge, paths + edge], 2).reshape(-1, 3)
    first = np.arange(n)[:, None] * 2 * k + 2 * np.arange(k - 1)
    a, b, c, d = first, first + 1, first + 2, first + 3
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])
    along = unit(np.gradient(paths, axis=1))
    return vertices, faces.astype(np.int32), np.repeat(along.reshape(-1, 3), 2, 0)
