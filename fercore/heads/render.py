"""A picture of a head: z-buffer rasteriser with shadow map, ambient occlusion and shading, on one thread.

Pose, seen from the camera: yaw > 0 turns the face to the image's right, pitch > 0 raises it, roll > 0 tilts it
counter-clockwise. The camera is 85 cm from the head; ``field`` is the height in cm that the image shows there.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from fercore.errors import ParameterError
from fercore.heads.fields import Array
from fercore.heads.light import Light
from fercore.heads.scene import Mesh

DISTANCE = 85.0  # cm from the camera to the plane of the head
PIVOT = np.array([0, -4.0, -1.0])  # what the head turns about, near the top of the neck
SHADOW_SIZE, SHADOW_FIELD = 384, 40.0  # shadow map: pixels, cm
OCCLUSION = 1.5  # how much nearby surfaces darken
GREY = (0.36, 0.36, 0.36)
_FAR = np.float32(1e9)
_TAPS = ((0.2, 0.0), (-0.35, 0.3), (0.1, -0.55), (0.65, 0.35), (-0.75, -0.3), (0.25, 0.9), (0.55, -0.85), (-0.95, 0.45))

_jit = numba.njit(cache=True, fastmath=True)


class Rendering(NamedTuple):
    """A picture and what is known about each of its pixels."""

    image: Array  # (H, W, 3) uint8
    landmarks: Array  # (68, 2) float32: x, y in pixels from the image's upper left corner (pixel centres at .5)
    visible: Array  # (68,) bool: inside the image and not hidden
    depth: Array  # (H, W) float32: cm from the camera, inf on the background
    parts: Array  # (H, W) int8: index into PARTS, 0 on the background


def face_centre(yaw: float, field: float) -> tuple[float, float]:
    """(x, y) cm at which a crop of height ``field`` cm shows the face rather than the hair, for a head at ``yaw``."""
    wide = np.clip((field - 19.5) / 5.0, 0, 1)
    return float((5.2 - 2.8 * wide) * np.sin(np.deg2rad(yaw))), float(-2.6 + 1.4 * wide)


def render(
    mesh: Mesh,
    yaw: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
    size: int = 112,
    *,
    light: Light | None = None,
    background: Array | tuple[float, float, float] = GREY,
    supersampling: int = 2,
    field: float = 19.5,
    centre: tuple[float, float] | None = None,
) -> Rendering:
    """The mesh as a square picture of ``size`` pixels.

    yaw: degrees, -90..90; pitch, roll: degrees, -45..45; light: the studio's when None;
    background: an RGB colour or an image (size, size, 3), in 0..1; supersampling: 1..4 samples a pixel and axis;
    field: height of the view in cm, 10..60; centre: (x, y) cm in the middle of the view, `face_centre` when None.
    Raises ParameterError for values outside these.
    """
    _check(yaw, pitch, roll, size, supersampling, field)
    behind = _check_background(background, size)
    samples = size * supersampling
    rotation, middle = _rotation(yaw, pitch, roll), face_centre(yaw, field) if centre is None else centre
    camera = _to_camera(mesh.vertices, rotation, middle)
    points = _project(camera, samples, field)
    depth, face, u, v = _empty(samples)
    _rasterise(points, mesh.faces, depth, face, u, v)
    light = light or Light()
    shadow, lit_depth, frame = _shadow_map(camera, mesh.faces, light)
    out = np.repeat(np.repeat(behind, supersampling, 0), supersampling, 1)
    _shade(
        (depth, face, u, v),
        (mesh.faces, camera, _normals(camera, mesh.faces), mesh.colours, mesh.gloss),
        (shadow, lit_depth, frame),
        np.array([_unit(light.side_direction), light.key, light.sky, light.ground, light.side], np.float32),
        np.float32(samples / field),
        out,
    )
    image = out.reshape(size, supersampling, size, supersampling, 3).mean((1, 3))
    landmarks = _project(_to_camera(mesh.landmarks, rotation, middle), samples, field)
    pick = slice(supersampling // 2, None, supersampling)
    covered = face[pick, pick] >= 0
    return Rendering(
        image=(np.clip(image, 0, 1) ** (1 / 1.25) * 255 + 0.5).astype(np.uint8),
        landmarks=landmarks[:, :2] / supersampling,
        visible=_visible(landmarks, depth),
        depth=np.where(covered, depth[pick, pick], np.float32(np.inf)),
        parts=np.where(covered, mesh.part[mesh.faces[np.maximum(face[pick, pick], 0), 0]], 0).astype(np.int8),
    )


# ---- checks --------------------------------------------------------------------------------------------------------


def _check(yaw: float, pitch: float, roll: float, size: int, supersampling: int, field: float) -> None:
    for name, angle, most in (("yaw", yaw, 90), ("pitch", pitch, 45), ("roll", roll, 45)):
        if not -most <= angle <= most:
            raise ParameterError(f"{name} {angle!r} of a head", do=f"give degrees in -{most}..{most}")
    for name, value, low, high in (("size", size, 16, 1024), ("supersampling", supersampling, 1, 4)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
            raise ParameterError(f"{name} {value!r} of a rendering", do=f"give a whole number in {low}..{high}")
    if not 10 <= field <= 60:
        raise ParameterError(f"field {field!r} of a rendering", do="give cm in 10..60; 19.5 is a face, 25 a head")


def _check_background(background: Array | tuple[float, float, float], size: int) -> Array:
    given = np.asarray(background, np.float32)
    if given.shape not in ((3,), (size, size, 3)):
        what = f"background of shape {given.shape} for a rendering of {size} pixels"
        raise ParameterError(what, do=f"give a colour (3,) or an image ({size}, {size}, 3), in 0..1")
    return np.broadcast_to(given, (size, size, 3))


# ---- geometry ------------------------------------------------------------------------------------------------------


def _unit(vector: tuple[float, float, float]) -> Array:
    return np.asarray(vector) / np.linalg.norm(vector)


def _rotation(yaw: float, pitch: float, roll: float) -> Array:
    """Turns by yaw first, then by pitch, then by roll, about the axes of the camera."""
    y, p, r = np.deg2rad([yaw, -pitch, roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


def _to_camera(points: Array, rotation: Array, centre: tuple[float, float]) -> Array:
    """Points (N, 3) cm in the frame of the camera, which looks along -z from the origin."""
    shift = PIVOT - np.array([*centre, 0.5 + DISTANCE])
    return ((points - PIVOT) @ rotation.T + shift).astype(np.float32)


def _project(camera: Array, samples: int, field: float) -> Array:
    """Columns x, y in samples and depth in cm, (N, 3)."""
    scale = samples * DISTANCE / field / -camera[:, 2]
    return np.stack([samples / 2 + scale * camera[:, 0], samples / 2 - scale * camera[:, 1], -camera[:, 2]], 1)


def _visible(landmarks: Array, depth: Array) -> Array:
    """Landmarks (68, 3) that lie in the picture and at most .35 cm behind what it shows there."""
    pixel = np.floor(landmarks[:, :2]).astype(int)
    inside = ((pixel >= 0) & (pixel < len(depth))).all(1)
    x, y = np.clip(pixel, 0, len(depth) - 1).T
    return inside & (landmarks[:, 2] < depth[y, x] + 0.35)


def _shadow_map(camera: Array, faces: Array, light: Light) -> tuple[Array, Array, Array]:
    """The depth map (S, S) seen from the key light, the vertices in it (V, 3), and its axes as rows (3, 3)."""
    towards = _unit(light.key_direction)
    right = _unit(np.cross([0, 1.0, 0] if abs(towards[1]) < 0.99 else [1.0, 0, 0], towards))
    frame = np.array([right, np.cross(towards, right), towards], np.float32)
    seen = (camera + np.array([0, 0, DISTANCE], np.float32)) @ frame.T
    scale = np.float32(SHADOW_SIZE / SHADOW_FIELD)
    middle = np.float32(SHADOW_SIZE / 2)
    seen = np.stack([middle + scale * seen[:, 0], middle - scale * seen[:, 1], -seen[:, 2]], 1)
    depth, *unused = _empty(SHADOW_SIZE)
    _rasterise(seen, faces, depth, *unused)
    return depth, seen, frame


# ---- kernels -------------------------------------------------------------------------------------------------------


def _empty(n: int) -> tuple[Array, Array, Array, Array]:
    """Buffers (n, n): depth, face (-1 none) and the barycentric coordinates u, v in it."""
    return np.full((n, n), _FAR), np.full((n, n), -1, np.int32), np.zeros((n, n), "f4"), np.zeros((n, n), "f4")


@_jit
def _rasterise(points, faces, depth, face, u_at, v_at):
    """Nearest face at each sample; ``points`` (V, 3) are x, y in samples and depth."""
    height, width = depth.shape
    for i in range(faces.shape[0]):
        a, b, c = faces[i, 0], faces[i, 1], faces[i, 2]
        x0, y0, x1, y1, x2, y2 = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0:
            continue
        left, right = max(0, int(np.ceil(min(x0, x1, x2) - 0.5))), min(width - 1, int(np.floor(max(x0, x1, x2) - 0.5)))
        top, bottom = max(0, int(np.ceil(min(y0, y1, y2) - 0.5))), min(height - 1, int(np.floor(max(y0, y1, y2) - 0.5)))
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                px, py = x + 0.5 - x0, y + 0.5 - y0
                u = (px * (y2 - y0) - (x2 - x0) * py) / area
                v = ((x1 - x0) * py - px * (y1 - y0)) / area
                if u < -1e-4 or v < -1e-4 or u + v > 1.0001:  # the tolerance closes cracks between faces
                    continue
                z = points[a, 2] + u * (points[b, 2] - points[a, 2]) + v * (points[c, 2] - points[a, 2])
                if z < depth[y, x]:
                    depth[y, x], face[y, x], u_at[y, x], v_at[y, x] = z, i, u, v


@_jit
def _normals(points, faces):
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
        normals[i] /= np.sqrt(normals[i, 0] ** 2 + normals[i, 1] ** 2 + normals[i, 2] ** 2) + 1e-12
    return normals


@_jit
def _mix(values, a, b, c, u, v):
    """A vertex attribute (V, 3) at barycentric (u, v) of the face a, b, c."""
    w = 1 - u - v
    x = values[a, 0] * w + values[b, 0] * u + values[c, 0] * v
    y = values[a, 1] * w + values[b, 1] * u + values[c, 1] * v
    return x, y, values[a, 2] * w + values[b, 2] * u + values[c, 2] * v


@_jit
def _scaled(x, y, z):
    """The vector at unit length."""
    scale = 1.0 / (np.sqrt(x * x + y * y + z * z) + 1e-9)
    return x * scale, y * scale, z * scale


@_jit
def _lit(shadow, frame, place, normal, facing):
    """Share of 25 taps that the key light reaches; looked up .32 cm off the surface, or it shadows itself."""
    n = shadow.shape[0]
    offset = 0.32 * n / 40.0
    nx, ny, nz = normal
    x = place[0] + offset * (nx * frame[0, 0] + ny * frame[0, 1] + nz * frame[0, 2])
    y = place[1] - offset * (nx * frame[1, 0] + ny * frame[1, 1] + nz * frame[1, 2])
    z = place[2] - 0.32 * facing - (0.12 + 0.35 * (1 - max(facing, 0.0)) ** 2)
    reached = 0
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            qx, qy = int(x + dx * 1.3), int(y + dy * 1.3)
            if qx < 0 or qy < 0 or qx >= n or qy >= n or shadow[qy, qx] > z:
                reached += 1
    return reached / 25.0


@_jit
def _open(depth, face, x, y, normal, per_cm):
    """Ambient occlusion in screen space: 1 open .. 0.25 enclosed, from 8 taps within 1.7 cm, turned at each sample."""
    height, width = depth.shape
    scramble = (x * 73856093) ^ (y * 19349663)
    turn = (scramble & 255) * 0.02454
    cos, sin, closed = np.cos(turn), np.sin(turn), 0.0
    for k in range(8):
        ox, oy = _TAPS[k]
        reach = 1.7 * per_cm * (0.25 + 0.75 * ((k * 5 + (scramble >> 8)) % 8) / 8.0)
        qx, qy = int(x + 0.5 + reach * (ox * cos - oy * sin)), int(y + 0.5 + reach * (ox * sin + oy * cos))
        if 0 <= qx < width and 0 <= qy < height and face[qy, qx] >= 0:
            dx, dy, dz = (qx - x) / per_cm, (y - qy) / per_cm, depth[y, x] - depth[qy, qx]
            if dz < 4.0:
                above = normal[0] * dx + normal[1] * dy + normal[2] * dz
                closed += max(0.0, above / (np.sqrt(dx * dx + dy * dy + dz * dz) + 0.15) - 0.08)
    return max(0.25, 1 - OCCLUSION * closed / 8.0)


@_jit
def _shade(buffers, surface, shadowing, lights, per_cm, out):
    """Writes the colour of each covered sample to ``out`` (n, n, 3): wrapped diffuse, sky, side light, highlight."""
    depth, face, u_at, v_at = buffers
    faces, camera, normals, colours, gloss = surface
    shadow, lit_depth, frame = shadowing
    side, key, sky, ground, side_light = lights[0], lights[1], lights[2], lights[3], lights[4]
    lx, ly, lz = frame[2, 0], frame[2, 1], frame[2, 2]
    wrap, softness = (0.28, 0.14, 0.10), (0.75, 1.0, 1.0)  # red light travels furthest in skin
    for y in range(depth.shape[0]):
        for x in range(depth.shape[1]):
            i = face[y, x]
            if i < 0:
                continue
            a, b, c, u, v = faces[i, 0], faces[i, 1], faces[i, 2], u_at[y, x], v_at[y, x]
            nx, ny, nz = _mix(normals, a, b, c, u, v)
            px, py, pz = _mix(camera, a, b, c, u, v)
            nx, ny, nz = _scaled(nx, ny, nz)
            vx, vy, vz = _scaled(-px, -py, -pz)
            if nx * vx + ny * vy + nz * vz < 0:  # a back face: the inside of the mouth, hair from below
                nx, ny, nz = -nx, -ny, -nz
            facing = nx * lx + ny * ly + nz * lz
            lit = _lit(shadow, frame, _mix(lit_depth, a, b, c, u, v), (nx, ny, nz), facing)
            open_ = _open(depth, face, x, y, (nx, ny, nz), per_cm)
            hx, hy, hz = _scaled(lx + vx, ly + vy, lz + vz)
            mirror = max(0.0, nx * hx + ny * hy + nz * hz)
            edge = (1 - max(0.0, nx * vx + ny * vy + nz * vz)) ** 4
            wet = gloss[a] * (1 - u - v) + gloss[b] * u + gloss[c] * v
            shine = (
                0.9 * mirror**220 + 0.06 * mirror**12 if wet > 0.9 else wet * (0.16 * mirror**14 + 0.10 * mirror**45)
            )
            beside = max(0.0, nx * side[0] + ny * side[1] + nz * side[2])
            colour = _mix(colours, a, b, c, u, v)
            for k in range(3):
                reached = lit ** softness[k] if facing > 0 else 0.0
                diffuse = max(0.0, (facing + wrap[k]) / (1 + wrap[k])) * reached
                near = open_ ** (0.75 if k == 0 else 1.05)
                around = ground[k] + (sky[k] - ground[k]) * (0.5 + 0.5 * ny)
                light = key[k] * diffuse * (0.35 + 0.65 * near) + around * near + side_light[k] * beside * near
                out[y, x, k] = colour[k] * light + (shine * lit + 0.10 * edge * wet * open_) * key[k]
