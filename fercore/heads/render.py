"""A picture of a head: z-buffer rasteriser with shadow map, ambient occlusion and shading, on one thread.

Pose, seen from the camera: yaw > 0 turns the face to the image's right, pitch > 0 raises it, roll > 0 tilts it
counter-clockwise. The camera is 85 cm from the head; ``field`` is the height in cm that the image shows there.

A picture is a pure function of its arguments: one thread, no random numbers, so any number of processes agree.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fercore.errors import ParameterError
from fercore.heads import raster
from fercore.heads.fields import Array
from fercore.heads.light import Light
from fercore.heads.parts import PARTS
from fercore.heads.scene import Mesh
from fercore.heads.shade import CLOTH, HAIR, HELD, SKIN, WET, hold, shade

DISTANCE = 85.0  # cm from the camera to the plane of the head
PIVOT = np.array([0, -4.0, -1.0])  # what the head turns about, near the top of the neck
REACH = 9.9  # cm from there to the middle of the face
SHADOW_FIELD = 36.0  # cm that the shadow map shows
SHADOW_BLUR = 0.20  # cm, half the width of a shadow's edge
SHADOW_OFFSET = 0.24  # cm off the surface, or it shadows itself
SHADOW_NEARER = 0.12  # cm nearer to the light, for the same reason
GREY = (0.36, 0.36, 0.36)
_DETAIL = ((72, 0.5), (128, 0.6), (192, 0.75), (256, 0.85), (384, 1.0))  # sizes up to, density
_OF_PART = dict.fromkeys(("skin", "lid", "ear", "neck", "hand"), SKIN) | dict.fromkeys(("hair", "brow", "beard"), HAIR)
_OF_PART |= dict.fromkeys(("eye", "caruncle", "mouth", "teeth", "tongue", "glasses"), WET)
NO_TEXTURE = np.zeros((1, 1, 3), np.float32)
MATERIAL = np.array([_OF_PART.get(part, CLOTH) for part in PARTS], np.int8)


class Rendering(NamedTuple):
    """A picture and what is known about each of its pixels."""

    image: Array  # (H, W, 3) uint8
    landmarks: Array  # (68, 2) float32: x, y in pixels from the image's upper left corner (pixel centres at .5)
    visible: Array  # (68,) bool: inside the image and not hidden
    depth: Array  # (H, W) float32: cm from the camera, inf on the background
    parts: Array  # (H, W) int8: index into PARTS, 0 on the background
    vertex: Array  # (H, W) int32: a vertex of the face that is seen, -1 on the background


def face_centre(yaw: float, field: float, pitch: float = 0.0) -> tuple[float, float]:
    """(x, y) cm at which a crop of height ``field`` cm shows the face rather than the hair, for a head at ``yaw``.

    With ``pitch`` the crop follows a bent head, too: the face moves by ``REACH sin(pitch) cos(yaw)``.
    """
    wide = np.clip((field - 19.5) / 5.0, 0, 1)
    near = min(field / 19.5, 1.0)  # a tighter crop has the eyes at the same share of its height
    turned, bent = np.deg2rad((yaw, pitch))
    follows = REACH * np.sin(bent) * np.cos(turned)
    return float((5.2 - 2.8 * wide) * np.sin(turned)), float((-2.6 + 1.4 * wide) * near + follows)


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
    samples, per_cm = size * supersampling, np.float32(size * supersampling / field)
    turn, shift = _pose(yaw, pitch, roll, face_centre(yaw, field) if centre is None else centre)
    points, scale = np.empty_like(mesh.vertices), np.float32(samples * DISTANCE / field)
    raster.project(mesh.vertices, turn, shift, scale, np.float32(samples / 2), points)
    opaque = len(mesh.faces) - mesh.clear
    depth, face = _empty(samples)
    raster.rasterise(points, mesh.faces, 0, opaque, mesh.culled, depth, face)
    glass = _empty(samples if mesh.clear else 0)
    if mesh.clear:
        raster.rasterise(points, mesh.faces, opaque, len(mesh.faces), 0, *glass)
    open_ = np.ones((2, size, size), np.float32)
    raster.openness(depth, supersampling, per_cm, open_[0])
    raster.soften(*open_)
    light, out = light or Light(), np.empty((size, size, 3), np.uint8)
    shade(
        *(depth, face, *glass),
        *(points, mesh.faces, _held(mesh), MATERIAL[mesh.part], NO_TEXTURE if mesh.texture is None else mesh.texture),
        *(np.vstack([turn, [per_cm, 1 / scale, samples / 2]]).astype(np.float32), _colours(light)),
        *_shadow_map(mesh, opaque, turn, shift, light, size),
        *(open_[1], behind, out),
    )
    landmarks = np.empty_like(mesh.landmarks)
    raster.project(mesh.landmarks, turn, shift, scale, np.float32(samples / 2), landmarks)
    depth_at, face_at = _empty(size)
    raster.middles(depth, face, depth_at, face_at)
    vertex = np.where(face_at >= 0, mesh.faces[np.maximum(face_at, 0), 0], -1)
    return Rendering(
        image=out,
        landmarks=landmarks[:, :2] / np.float32(supersampling),
        visible=_visible(landmarks, depth),
        depth=np.where(face_at >= 0, depth_at, np.float32(np.inf)),
        parts=np.where(vertex >= 0, mesh.part[vertex], 0).astype(np.int8),
        vertex=vertex.astype(np.int32),
    )


def level_of_detail(size: int) -> float:
    """Resolution of the mesh (`density`) that suits a picture of ``size`` pixels: finer shows no difference.

    0.5 up to 72 px, .6 up to 128, .75 up to 192, .85 up to 256, 1 up to 384, then 1.25.
    """
    return next((density for most, density in _DETAIL if size <= most), 1.25)


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
    encoded = np.clip(given, 0, 1, dtype=np.float32) ** np.float32(1 / 1.25)
    return np.ascontiguousarray(np.broadcast_to(encoded, (size, size, 3)))


# ---- geometry ------------------------------------------------------------------------------------------------------


def _unit(vector: tuple[float, float, float]) -> Array:
    return np.asarray(vector) / np.linalg.norm(vector)


def _cross(a: Array, b: Array) -> Array:
    """Product of two vectors; numpy's own, made for stacks of them, takes as long as projecting a head."""
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def _pose(yaw: float, pitch: float, roll: float, centre: tuple[float, float]) -> tuple[Array, Array]:
    """Rotation (3, 3) and shift (3,) from the head's frame to that of the camera, which looks along -z from the origin.

    Turns by yaw first, then by pitch, then by roll, about the axes of the camera.
    """
    y, p, r = np.deg2rad([yaw, -pitch, roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    turn = about_z @ about_x @ about_y
    shift = PIVOT - turn @ PIVOT - np.array([*centre, 0.5 + DISTANCE])
    return turn.astype(np.float32), shift.astype(np.float32)


def _visible(landmarks: Array, depth: Array) -> Array:
    """Landmarks (68, 3) that lie in the picture and at most .35 cm behind what it shows there."""
    pixel = np.floor(np.nan_to_num(landmarks[:, :2], nan=-1.0)).astype(int)  # a scan knows no landmarks
    inside = ((pixel >= 0) & (pixel < len(depth))).all(1)
    x, y = np.clip(pixel, 0, len(depth) - 1).T
    return inside & (landmarks[:, 2] < depth[y, x] + 0.35)


def _empty(n: int) -> tuple[Array, Array]:
    """Buffers (n, n): depth, and face (-1 none)."""
    return np.full((n, n), raster.FAR), np.full((n, n), -1, np.int32)


def _shadow_map(mesh: Mesh, opaque: int, turn: Array, shift: Array, light: Light, size: int) -> tuple[Array, Array]:
    """Depth (S, S) seen from the key light, and how points before the camera are looked up in it, (5, 3): see `shade`.

    S follows the size of the picture; the blur is the same in centimetres.
    """
    texels = int(np.clip(size + 96, 128, 768))
    towards = _unit(light.key_direction)
    right = _unit(_cross((0, 1, 0) if abs(towards[1]) < 0.99 else (1, 0, 0), towards))
    scale = texels / SHADOW_FIELD
    frame = np.array([right * scale, _cross(right, towards) * scale, -towards])
    middle = frame @ [0, 0, DISTANCE] + [texels / 2, texels / 2, 0]
    points = np.empty_like(mesh.vertices)
    raster.project_flat(mesh.vertices, (frame @ turn).astype("f4"), (frame @ shift + middle).astype("f4"), points)
    depth, face = _empty(texels)
    raster.rasterise(points, mesh.faces, 0, opaque, mesh.culled, depth, face)
    looked_up = [SHADOW_BLUR * scale, SHADOW_OFFSET, SHADOW_NEARER]
    return depth, np.vstack([frame, middle, looked_up]).astype(np.float32)


def _colours(light: Light) -> Array:
    """The light as rows (6, 3), see `shade`."""
    towards = _unit(light.side_direction), _unit(light.key_direction)
    return np.array([towards[0], light.key, light.sky, light.ground, light.side, towards[1]], np.float32)


def _held(mesh: Mesh) -> Array:
    """What each vertex holds, (V, HELD) float32: see `hold`."""
    held = np.empty((len(mesh.vertices), HELD), np.float32)
    hold(
        raster.vertex_normals(mesh.vertices, mesh.faces) if mesh.normals is None else mesh.normals,
        mesh.colours if mesh.texture is None else np.zeros_like(mesh.colours),
        np.zeros_like(mesh.vertices) if mesh.strands is None else mesh.strands,
        np.zeros((len(held), 2), np.float32) if mesh.coords is None else mesh.coords,
        mesh.gloss,
        held,
    )
    return held
