"""Small smooth functions from which the whole head is typed: steps, bumps, profiles, grooves, noise, grids."""

from __future__ import annotations

from functools import cache

import numpy as np

Array = np.ndarray


def smoothstep(start: float, stop: float, x: Array) -> Array:
    """Hermite step: 0 at ``start``, 1 at ``stop`` (which may be smaller), with zero slope at both."""
    t = np.clip((x - start) / (stop - start), 0, 1)
    return t * t * (3 - 2 * t)


def bump(x: Array, y: Array, cx: float, cy: float, rx: float, ry: float) -> Array:
    """Gaussian ellipse of height 1 at (cx, cy): exp(-((x-cx)/rx)^2 - ((y-cy)/ry)^2)."""
    return np.exp(-(((x - cx) / rx) ** 2) - ((y - cy) / ry) ** 2)


def profile(knots: list[float], values: list[float], y: Array, blur: float = 0.35) -> Array:
    """Piecewise linear curve through (knots, values), smoothed with a Gaussian of ``blur`` cm, read at ``y``."""
    grid = np.linspace(-13, 13, 2601)
    half = int(3 * blur / 0.01)
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) * 0.01 / blur) ** 2)
    curve = np.pad(np.interp(grid, knots, values), half, mode="edge")
    return np.interp(y, grid, np.convolve(curve, kernel / kernel.sum(), "valid"))


def polyline_distance(x: Array, y: Array, points: list[tuple[float, float]]) -> tuple[Array, Array]:
    """Distance of each (x, y) to a polyline, and where along it the nearest point lies (0 start, 1 end)."""
    corners = np.asarray(points, float)
    lengths = np.r_[0, np.cumsum(np.hypot(*np.diff(corners, axis=0).T))]
    best, along = np.full(x.shape, 1e9), np.zeros(x.shape)
    for a, b, before, after in zip(corners[:-1], corners[1:], lengths[:-1], lengths[1:], strict=True):
        d = b - a
        t = np.clip(((x - a[0]) * d[0] + (y - a[1]) * d[1]) / (d @ d), 0, 1)
        distance = np.hypot(x - a[0] - t * d[0], y - a[1] - t * d[1])
        nearer = distance < best
        best = np.where(nearer, distance, best)
        along = np.where(nearer, (before + t * (after - before)) / lengths[-1], along)
    return best, along


def smooth_max(a: Array, b: Array, k: float) -> Array:
    """Maximum with a rounded corner of width ``k``."""
    return 0.5 * (a + b + np.sqrt((a - b) ** 2 + k * k))


def value_noise(seed: int, u: Array, v: Array) -> Array:
    """Smooth noise in 0..1 on any (u, v), one random value an integer lattice point, period 64."""
    lattice = np.random.default_rng(seed).random((64, 64))
    u, v = np.broadcast_arrays(u, v)
    iu, iv = np.floor(u).astype(int), np.floor(v).astype(int)
    fu, fv = smoothstep(0, 1, u - iu), smoothstep(0, 1, v - iv)
    i0, i1, j0, j1 = iu % 64, (iu + 1) % 64, iv % 64, (iv + 1) % 64
    below = lattice[i0, j0] * (1 - fu) + lattice[i1, j0] * fu
    above = lattice[i0, j1] * (1 - fu) + lattice[i1, j1] * fu
    return below * (1 - fv) + above * fv


def ramp(table: Array, t: float) -> Array:
    """Colour at ``t`` in 0..1 along the rows of ``table`` (K, 3), linear between them."""
    position = t * (len(table) - 1)
    k = min(int(position), len(table) - 2)
    return table[k] * (1 - position + k) + table[k + 1] * (position - k)


def rotate_x(points: Array, angle: float, centre: Array) -> Array:
    """Points (V, 3) turned by ``angle`` radians about the x axis through ``centre``; positive lowers the front."""
    s, c = np.sin(angle), np.cos(angle)
    y, z = points[:, 1] - centre[1], points[:, 2] - centre[2]
    return np.stack([points[:, 0], centre[1] + c * y - s * z, centre[2] + s * y + c * z], 1)


@cache
def grid_faces(rows: int, columns: int, wrap: bool) -> Array:
    """Triangles (F, 3) int32 of a rows x columns grid of vertices; ``wrap`` closes the columns to a tube.

    Read-only: every expression of every person asks for the same few grids.
    """
    index = np.arange(rows * columns).reshape(rows, columns)
    right = np.roll(index, -1, 1) if wrap else index[:, 1:]
    left = index if wrap else index[:, :-1]
    a, b, c, d = left[:-1], left[1:], right[:-1], right[1:]
    triangles = [np.stack([a, b, d], -1).reshape(-1, 3), np.stack([a, d, c], -1).reshape(-1, 3)]
    faces = np.concatenate(triangles).astype(np.int32)
    faces.flags.writeable = False
    return faces


def closed(ring: Array) -> Array:
    """Triangles (F, 3) int32 that close the top of a tube: a fan over its first row of vertex ids."""
    ring = np.asarray(ring)
    return np.stack([ring[1:-1], ring[2:], np.full(len(ring) - 2, ring[0])], 1).astype(np.int32)


@cache
def sphere(around: int, rings: int) -> tuple[Array, Array]:
    """Unit sphere with its poles on the z axis: vertices (rings * around, 3) and triangles, both read-only."""
    theta, phi = np.meshgrid(
        np.linspace(0, np.pi, rings), np.linspace(0, 2 * np.pi, around, endpoint=False), indexing="ij"
    )
    vertices = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1)
    vertices = vertices.reshape(-1, 3)
    vertices.flags.writeable = False
    return vertices, grid_faces(rings, around, True)
