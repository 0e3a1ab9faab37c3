"""Kernels of the renderer, compiled and on one thread: points, nearest faces, shadow share, ambient occlusion.

All arrays are float32 and int32. Samples are the supersampled grid; pixels are what a picture keeps.
"""

from __future__ import annotations

import numba
import numpy as np

FAR = np.float32(1e9)
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_CRACK = np.float32(1e-4)  # how far outside a face, as a share of it, a sample still counts
_FULL = np.float32(1 + 3e-4)  # sum of the three weights, each with its tolerance
jit = numba.njit(cache=True, fastmath=True, error_model="numpy")
inlined = numba.njit(inline="always", fastmath=True, error_model="numpy")  # else arrays are counted at every call


@jit
def project(vertices, to_camera, shift, scale, middle, points):
    """Columns x, y in samples and depth in cm of each vertex, written to ``points`` (V, 3): a pinhole camera."""
    for i in range(vertices.shape[0]):
        a, b, c = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        depth = -(to_camera[2, 0] * a + to_camera[2, 1] * b + to_camera[2, 2] * c + shift[2])
        per_cm = scale / depth
        points[i, 0] = middle + per_cm * (to_camera[0, 0] * a + to_camera[0, 1] * b + to_camera[0, 2] * c + shift[0])
        points[i, 1] = middle - per_cm * (to_camera[1, 0] * a + to_camera[1, 1] * b + to_camera[1, 2] * c + shift[1])
        points[i, 2] = depth


@jit
def project_flat(vertices, frame, shift, points):
    """The same for parallel light: ``frame`` (3, 3) holds its axes in texels as rows; depth falls towards the light."""
    for i in range(vertices.shape[0]):
        a, b, c = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        for k in range(3):
            points[i, k] = frame[k, 0] * a + frame[k, 1] * b + frame[k, 2] * c + shift[k]


@jit
def _between(low, high, n):
    """First and one past the last of 0..n-1 whose centres (at .5) lie in low..high."""
    return int(max(low, _ZERO) + _HALF), int(min(high, np.float32(n)) + _HALF)


@jit
def _narrow(left, stop, start, rise):
    """The part of the columns left..stop where start + rise * x is not negative, to a column or two."""
    if rise > 0:
        return max(left, int(-start / rise)), stop
    if rise < 0:
        return left, min(stop, int(-start / rise) + 2)
    return left, stop


@jit
def rasterise(points, faces, first, last, culled, depth, face):
    """Nearest of the faces first..last at each sample; the first ``culled`` ones only where they face the camera."""
    height, width = depth.shape
    for i in range(first, last):
        a, b, c = faces[i, 0], faces[i, 1], faces[i, 2]
        x0, y0, x1, y1, x2, y2 = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        left, right = _between(min(x0, x1, x2), max(x0, x1, x2), width)
        top, bottom = _between(min(y0, y1, y2), max(y0, y1, y2), height)
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        # one test instead of four: which of them fails can't be foretold, and a wrong guess costs more than a face
        if (left >= right) | (top >= bottom) | (area == 0) | ((i < culled) & (area > 0)):
            continue
        z0, dz1, dz2 = points[a, 2], points[b, 2] - points[a, 2], points[c, 2] - points[a, 2]
        inverse = _ONE / area
        ux, uy = (y2 - y0) * inverse, (x0 - x2) * inverse
        vx, vy = (y0 - y1) * inverse, (x1 - x0) * inverse
        # weights of b and c at the first sample; the tolerance closes cracks between faces
        u0 = ux * (_HALF - x0) + uy * (_HALF - y0) + _CRACK
        v0 = vx * (_HALF - x0) + vy * (_HALF - y0) + _CRACK
        zx, zy, z0 = ux * dz1 + vx * dz2, uy * dz1 + vy * dz2, z0 + (u0 - _CRACK) * dz1 + (v0 - _CRACK) * dz2
        for y in range(top, bottom):
            down = np.float32(y)
            u, v, z = u0 + uy * down, v0 + vy * down, z0 + zy * down
            start, stop = left, right
            if right - left > 4:  # a thin slanting face fills little of its box
                start, stop = _narrow(start, stop, u, ux)
                start, stop = _narrow(start, stop, v, vx)
                start, stop = _narrow(start, stop, _FULL - u - v, -ux - vx)
            for x in range(start, stop):
                across = np.float32(x)
                q, r, here, before = u + ux * across, v + vx * across, z + zx * across, depth[y, x]
                nearer = (min(q, r, _FULL - q - r) >= _ZERO) & (here < before)
                depth[y, x] = here if nearer else before  # always stored: again no guess
                face[y, x] = np.int32(i) if nearer else face[y, x]


@jit
def middles(depth, face, depth_at, face_at):
    """Depth and face in the middle of each pixel (n, n); the nearest in the pixel where the middle is empty.

    So a hair or a rim that misses the middle of its pixel is found, too.
    """
    n = depth_at.shape[0]
    s = depth.shape[0] // n
    for row in range(n):
        for column in range(n):
            y, x = row * s + s // 2, column * s + s // 2
            if face[y, x] < 0:
                for j in range(row * s, row * s + s):
                    for i in range(column * s, column * s + s):
                        if depth[j, i] < depth[y, x]:
                            y, x = j, i
            depth_at[row, column], face_at[row, column] = depth[y, x], face[y, x]


@jit
def vertex_normals(points, faces):
    """Unit normal of each vertex (V, 3), weighted by the area of its faces."""
    normals = np.zeros_like(points)
    for i in range(faces.shape[0]):
        a, b, c = faces[i, 0], faces[i, 1], faces[i, 2]
        ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in (a, b, c):
            normals[k, 0] += nx
            normals[k, 1] += ny
            normals[k, 2] += nz
    for i in range(normals.shape[0]):
        length = np.sqrt(normals[i, 0] ** 2 + normals[i, 1] ** 2 + normals[i, 2] ** 2) + np.float32(1e-12)
        for k in range(3):
            normals[i, k] /= length
    return normals


@inlined
def lit_share(shadow, x, y, z, reach):
    """Share of a square of 2 ``reach`` texels round (x, y) of the shadow map that is not nearer to the light than z.

    Percentage-closer filtering with a box whose edges fall between texels: it moves smoothly, so no edge is jagged.
    """
    n = shadow.shape[0]
    taps = int(2 * reach) + 1
    left, top = x - _HALF * np.float32(taps), y - _HALF * np.float32(taps)
    i0, j0 = int(np.floor(left)), int(np.floor(top))
    if i0 < 0 or j0 < 0 or i0 + taps >= n or j0 + taps >= n:
        return _ONE
    fx, fy, reached = left - np.float32(i0), top - np.float32(j0), _ZERO
    for j in range(j0, j0 + taps + 1):
        line = _ONE - fx if shadow[j, i0] > z else _ZERO
        for i in range(i0 + 1, i0 + taps):
            line += _ONE if shadow[j, i] > z else _ZERO
        line += fx if shadow[j, i0 + taps] > z else _ZERO
        reached += line * (_ONE - fy if j == j0 else (fy if j == j0 + taps else _ONE))
    share = reached / np.float32(taps * taps)
    return min(_ONE, max(_ZERO, np.float32(1.02) * share - np.float32(0.01)))  # no faint rest


_PAIRS = np.array([[1.0, 0.0], [0.0, 1.0], [0.7, 0.7], [0.7, -0.7], [0.92, 0.38], [-0.38, 0.92]], np.float32)
_REACH = np.array([0.45, 0.45, 0.45, 0.45, 1.6, 1.6, 1.6, 1.6, 3.2, 3.2], np.float32)  # cm
_WEIGHT = np.array([0.5, 0.5, 0.5, 0.5, 0.55, 0.55, 0.55, 0.55, 0.5, 0.5], np.float32)


@jit
def openness(depth, samples, per_cm, out):
    """Ambient occlusion in screen space, a value a pixel in ``out`` (n, n): 1 open .. 0.2 enclosed.

    Where the depths of two points on opposite sides of a pixel lie in front of it, the surface is hollow there and sees
    less light. Ten such pairs at three distances; no normals, no noise.
    """
    n, side = out.shape[0], depth.shape[0]
    across, down = np.empty(10, np.int64), np.empty(10, np.int64)
    for k in range(10):
        reach, pair = _REACH[k] * per_cm, k % 4 if k < 8 else k - 4
        across[k], down[k] = int(np.rint(_PAIRS[pair, 0] * reach)), int(np.rint(_PAIRS[pair, 1] * reach))
    for row in range(n):
        for column in range(n):
            x, y = column * samples + samples // 2, row * samples + samples // 2
            here, closed = depth[y, x], _ZERO
            if here >= FAR:
                out[row, column] = _ONE
                continue
            for k in range(10):
                dx, dy = across[k], down[k]
                if x - abs(dx) < 0 or x + abs(dx) >= side or y - abs(dy) < 0 or y + abs(dy) >= side:
                    continue
                one, two, limit = here - depth[y + dy, x + dx], here - depth[y - dy, x - dx], _REACH[k] + _REACH[k]
                if max(one, two) > limit:  # a thing that hovers far before this point, not a hollow
                    continue
                hollow = (max(one, -limit) + max(two, -limit)) / limit
                closed += _WEIGHT[k] * max(_ZERO, hollow - np.float32(0.03))
            out[row, column] = max(np.float32(0.2), _ONE - np.float32(0.42) * closed)


@jit
def soften(values, out):
    """3 x 3 box blur, edges as they are."""
    n = values.shape[0]
    for y in range(n):
        for x in range(n):
            total, count = np.float32(0), np.float32(0)
            for j in range(max(0, y - 1), min(n, y + 2)):
                for i in range(max(0, x - 1), min(n, x + 2)):
                    total += values[j, i]
                    count += _ONE
            out[y, x] = total / count
