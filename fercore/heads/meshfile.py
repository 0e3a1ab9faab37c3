"""A textured mesh from a file: VRML 2 (.wrl) as in 3-D face databases, or Wavefront OBJ; drawn by `render`.

The file is read as data only, within bounds: at most 64 MiB of text, a million vertices, two million triangles, a
texture of 64 million pixels that lies in the mesh's own folder. Whatever is wrong with it raises DataError.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from fercore.errors import DataError
from fercore.heads.fields import Array
from fercore.heads.parts import PARTS
from fercore.heads.raster import vertex_normals
from fercore.heads.scene import Mesh

MOST_BYTES, MOST_VERTICES, MOST_FACES, MOST_PIXELS = 1 << 26, 1_000_000, 2_000_000, 1 << 26
MOST_SIDE = 2048  # a larger texture is shrunk to this
FACE_WIDTH = 15.0  # cm: scans come in any unit, a face is made this wide
CENTRE = np.array([0.0, -2.6, 6.0])  # where the middle of a scan's box comes to lie


class _Parsed(NamedTuple):
    """What a file says: points (N, 3), polygons as index lists with -1 after each, and the same of the texture."""

    points: Array
    polygons: Array
    uv: Array | None
    uv_polygons: Array | None
    texture: str | None


def read_mesh(path: Path | str, texture: Path | str | None = None) -> Mesh:
    """The mesh of a .wrl or .obj file, centred and scaled to a face 15 cm wide, ready for `render`.

    It must face +z with y up, as scans do. ``texture`` names the picture when the file's own name for it is wrong; else
    the one that the file names is taken if it lies in the same folder, or one of the same name as the mesh. Without a
    texture the surface is grey clay. All 68 landmarks are NaN: a scan knows none. Raises DataError.
    """
    path = Path(path)
    readers = {".wrl": _read_vrml, ".obj": _read_obj}
    if path.suffix.lower() not in readers:
        raise DataError(f"{path.name}: not a mesh that can be read", do="give a .wrl (VRML 2) or .obj file")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path.name} is larger than {MOST_BYTES >> 20} MiB", do="give a smaller mesh")
        text = path.read_bytes().decode("latin-1")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}", do="check the path and its permissions") from None
    parsed = readers[path.suffix.lower()](text, path)
    corners, uv_corners = _triangles(parsed, path.name)
    points, coords, faces = _weld(parsed, corners, uv_corners)
    named = _texture_path(path, texture, parsed.texture)
    picture = _read_texture(named) if named is not None and coords is not None else None
    return _mesh(points, faces, coords, picture, path.name)


# ---- text ----------------------------------------------------------------------------------------------------------


def _numbers(text: str, columns: int, name: str, what: str, most: int) -> Array:
    """A list of numbers, separated by white space and commas, as rows of ``columns``."""
    words = text.replace(",", " ").split()
    if len(words) > most * columns:
        raise DataError(f"{name}: more than {most:,} {what}", do="give a smaller mesh")
    try:
        values = np.array(words, dtype=np.float64)
    except (ValueError, OverflowError):
        raise DataError(f"{name}: {what} hold something that is no number", do="check the file") from None
    if len(values) % columns or not np.isfinite(values).all() or (np.abs(values) > 1e9).any():
        raise DataError(f"{name}: {len(values)} numbers make no {what}", do="check that the file is whole")
    return values.reshape(-1, columns)


def _block(text: str, pattern: str, start: int = 0) -> str | None:
    """What stands between the brackets after ``pattern``; None if there is none."""
    found = re.compile(pattern + r"\s*\[").search(text, start)
    if found is None:
        return None
    end = text.find("]", found.end())
    return text[found.end() :] if end < 0 else text[found.end() : end]


def _read_vrml(text: str, path: Path) -> _Parsed:
    """The first IndexedFaceSet: Coordinate, coordIndex, TextureCoordinate, texCoordIndex; and its ImageTexture."""
    name = path.name
    if not text.lstrip().startswith("#VRML"):
        raise DataError(f"{name} doesn't begin with #VRML", do="give a VRML 2 file")
    body = re.sub(r"#[^\n]*", " ", text)
    link = re.search(r"ImageTexture\s*\{[^}]*?url\s*\[?\s*\"([^\"\n]{1,500})\"", text)
    start = body.find("IndexedFaceSet")
    if start < 0:
        raise DataError(f"{name} holds no IndexedFaceSet", do="export the scan as a polygon mesh")
    points = _block(body, r"\bCoordinate\s*\{\s*point", start)
    polygons = _block(body, r"\bcoordIndex", start)
    uv = _block(body, r"\bTextureCoordinate\s*\{\s*point", start)
    uv_polygons = _block(body, r"\btexCoordIndex", start)
    if points is None or polygons is None:
        raise DataError(f"{name} lacks points or coordIndex", do="check that the file is whole")

    def indices(block: str | None) -> Array | None:
        if block is None or not block.strip():
            return None
        return _numbers(block, 1, name, "indices", 8 * MOST_FACES)[:, 0].astype(np.int64)

    return _Parsed(
        points=_numbers(points, 3, name, "points", MOST_VERTICES),
        polygons=np.empty(0, np.int64) if (some := indices(polygons)) is None else some,
        uv=_numbers(uv, 2, name, "texture coordinates", 3 * MOST_VERTICES) if uv is not None else None,
        uv_polygons=indices(uv_polygons),
        texture=link.group(1) if link else None,
    )


def _read_obj(text: str, path: Path) -> _Parsed:
    """Lines v, vt and f; the texture is map_Kd of the material file in the same folder."""
    name, texture = path.name, None
    rows: dict[str, list[str]] = {"v": [], "vt": [], "f": [], "mtllib": []}
    for line in text.splitlines():
        key, _, rest = line.strip().partition(" ")
        if key in rows and rest:
            rows[key].append(rest)
    points = _numbers(" ".join(" ".join(row.split()[:3]) for row in rows["v"]), 3, name, "points", MOST_VERTICES)
    uv = _numbers(" ".join(" ".join(row.split()[:2]) for row in rows["vt"]), 2, name, "texture coordinates", 3 << 20)
    if len(rows["f"]) > MOST_FACES:
        raise DataError(f"{name}: more than {MOST_FACES:,} faces", do="give a smaller mesh")
    corner, uv_corner = [], []
    for row in rows["f"]:
        for word in row.split():
            at, _, rest = word.partition("/")
            corner.append(at)
            uv_corner.append(rest.partition("/")[0] or "0")
        corner.append("0")
        uv_corner.append("0")
    ids, uv_ids = (
        _numbers(" ".join(words), 1, name, "faces", 8 * MOST_FACES)[:, 0].astype(np.int64)
        for words in (corner, uv_corner)
    )
    ids, uv_ids = (np.where(i < 0, i + n, i - 1) for i, n in ((ids, len(points)), (uv_ids, len(uv))))
    if rows["mtllib"]:
        library = _inside(path, rows["mtllib"][0])
        if library is not None and library.stat().st_size < 1 << 20:
            found = re.search(r"^\s*map_Kd\s+(?:-\S+\s+\S+\s+)*(.+?)\s*$", library.read_text("latin-1"), re.MULTILINE)
            texture = found.group(1) if found else None
    return _Parsed(points, ids, uv if len(uv) else None, uv_ids if len(uv) else None, texture)


# ---- geometry ------------------------------------------------------------------------------------------------------


def _triangles(parsed: _Parsed, name: str) -> tuple[Array, Array | None]:
    """Corners (F, 3) as indices of points and of texture coordinates; polygons become fans."""
    index = parsed.polygons if len(parsed.polygons) and parsed.polygons[-1] < 0 else np.r_[parsed.polygons, -1]
    if index.max(initial=-1) >= len(parsed.points) or index.min() < -1:
        raise DataError(f"{name}: a face uses a point that is not there", do="check that the file is whole")
    ends = np.flatnonzero(index == -1)
    starts, sizes = np.r_[0, ends[:-1] + 1], np.diff(np.r_[-1, ends]) - 1
    sizes = np.where(sizes > 32, 0, sizes)  # not a face of a scan
    fans = [
        np.stack([starts[keep], starts[keep] + k, starts[keep] + k + 1], 1)
        for k in range(1, int(sizes.max(initial=0)) - 1)
        if (keep := sizes > k + 1).any()
    ]
    if not fans or sum(map(len, fans)) > MOST_FACES:
        raise DataError(f"{name} holds no faces, or too many", do=f"give 1..{MOST_FACES:,} triangles")
    places = np.concatenate(fans)
    if parsed.uv is None:
        return index[places], None
    uv_index = parsed.uv_polygons
    if uv_index is None:  # one coordinate a point
        return index[places], index[places] if len(parsed.uv) == len(parsed.points) else None
    uv_index = uv_index if len(uv_index) == len(index) else np.r_[uv_index, -1]
    if len(uv_index) != len(index) or uv_index.max(initial=-1) >= len(parsed.uv) or uv_index[places].min() < 0:
        raise DataError(f"{name}: texture coordinates don't match the faces", do="check that the file is whole")
    return index[places], uv_index[places]


def _weld(parsed: _Parsed, corners: Array, uv_corners: Array | None) -> tuple[Array, Array | None, Array]:
    """Points, texture coordinates and faces over the distinct pairs of both; what no face uses goes."""
    if uv_corners is None:
        used, faces = np.unique(corners, return_inverse=True)
        return parsed.points[used], None, faces.reshape(-1, 3)
    pairs, faces = np.unique(corners.astype(np.int64) * len(parsed.uv) + uv_corners, return_inverse=True)
    at, uv_at = np.divmod(pairs, len(parsed.uv))
    return parsed.points[at], parsed.uv[uv_at], faces.reshape(-1, 3)


def _mesh(points: Array, faces: Array, coords: Array | None, picture: Array | None, name: str) -> Mesh:
    low, high = points.min(0), points.max(0)
    if not high[0] - low[0] > 1e-6:
        raise DataError(
            f"{name}: the mesh is flat", do="check the file's points and its axes: x right, y up, z forward"
        )
    vertices = ((points - (low + high) / 2) * (FACE_WIDTH / (high[0] - low[0])) + CENTRE).astype(np.float32)
    if np.abs(vertices).max() > 60:
        raise DataError(
            f"{name}: the mesh is far longer than it is wide", do="check its axes: x right, y up, z forward"
        )
    faces = np.ascontiguousarray(faces, np.int32)
    return Mesh(
        vertices=vertices,
        faces=faces,
        colours=np.full((len(vertices), 3), 0.35, np.float32),
        gloss=np.full(len(vertices), 0.15, np.float32),
        part=np.full(len(vertices), PARTS.index("skin"), np.int8),
        landmarks=np.full((68, 3), np.nan, np.float32),
        normals=vertex_normals(vertices, faces),
        coords=None if coords is None else np.clip(coords, 0, 1).astype(np.float32),
        texture=picture,
    )


# ---- texture -------------------------------------------------------------------------------------------------------


def _inside(path: Path, name: str) -> Path | None:
    """The file ``name`` in the folder of ``path``: never one that lies elsewhere; None if it is not there."""
    try:
        found = (path.parent / Path(name.strip().replace("\\", "/")).name).resolve()
        return found if found.parent == path.parent.resolve() and found.is_file() else None
    except (OSError, ValueError):
        return None


def _texture_path(path: Path, given: Path | str | None, named: str | None) -> Path | None:
    if given is not None:
        if not Path(given).is_file():
            raise DataError(f"no texture {given}", do="check its path")
        return Path(given)
    names = [named] if named else []
    names += [path.stem + ending for ending in (".bmp", ".png", ".jpg", ".jpeg")]
    return next((found for name in names if (found := _inside(path, name)) is not None), None)


def _read_texture(path: Path) -> Array:
    """The picture (H, W, 3) in linear light, shrunk to at most 2,048 pixels a side."""
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise DataError(f"{path.name}: {picture.width} x {picture.height} pixels are too many for a texture")
            picture.thumbnail((MOST_SIDE, MOST_SIDE))
            pixels = np.asarray(picture.convert("RGB"), np.float32)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path.name} can't be read as a picture: {error}", do="give a bmp, png or jpg") from None
    return (pixels / 255) ** np.float32(2.2)
