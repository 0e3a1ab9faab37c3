"""A whole head: skin, eyes, mouth, ears, neck and hair of one person as a single mesh."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from fercore.errors import ParameterError
from fercore.heads import accessories, parts
from fercore.heads.accessories import Accessories
from fercore.heads.anatomy import Array, canonical
from fercore.heads.hair import grow_hair, shade_roots
from fercore.heads.motion import eye_centres, move_face
from fercore.heads.muscles import check_action_units
from fercore.heads.parts import PARTS, Patch
from fercore.heads.people import Person, resting_shape
from fercore.heads.raster import vertex_normals
from fercore.heads.skin import beard_hairs, brow_hairs, paint_skin, shade_wrinkles

PAINT = 2.2 / 1.25
"""Colours are typed as a screen shows them to the power 1.25; to this power they are linear."""


class Mesh(NamedTuple):
    """A head as triangles, facing +z; V vertices, F faces. The first vertices are the skin, in canonical order."""

    vertices: Array  # (V, 3) float32, cm
    faces: Array  # (F, 3) int32
    colours: Array  # (V, 3) float32, about 0..1, linear
    gloss: Array  # (V,) float32: 0 matt .. 1 wet (above .9: the mirror highlight of an eye)
    part: Array  # (V,) int8, index into PARTS
    landmarks: Array  # (68, 3) float32, cm, iBUG order
    normals: Array | None = None  # (V, 3) float32, unit length; from the faces if None
    strands: Array | None = None  # (V, 3) float32: where hair is combed to
    coords: Array | None = None  # (V, 2) float32: of the grain of skin (cm) and hair (across, along), or of the texture
    texture: Array | None = None  # (H, W, 3) float32, linear: replaces the colours
    culled: int = 0  # so many of the first faces show only where they face the camera
    clear: int = 0  # so many of the last faces are glass


class Head:
    """One person's head; what does not depend on the expression is computed once.

    >>> head = Head(sample_person(7))
    >>> mesh = head.mesh({6: 0.8, 12: 1.0, 25: 0.8})

    ``density`` is the resolution of the mesh, see `fercore.heads.level_of_detail`; ``wear`` is what the person wears
    and holds (nothing when None).
    """

    def __init__(self, person: Person, density: float = 0.75, wear: Accessories | None = None) -> None:
        self.person, self.anatomy = person, canonical(density)
        c = self.anatomy
        self.shape, self.age_lines = resting_shape(c, person)
        self.skin = paint_skin(c, person)
        self.eye_centres = eye_centres(c, self.shape)
        ball, faces, colours = parts.eyeball_template(person, density)
        seen = faces[ball[faces][..., 2].max(1) > -0.3]  # the back of an eye never shows
        self._eyeball = ball, seen, colours**1.5  # lids and lashes shade it
        self._teeth, self._lower_teeth, self._tongue = parts.teeth_and_tongue(c, person, self.shape)
        wear = wear or Accessories()
        self._moving, hanging = grow_hair(c, person, wear.headwear, density)
        roots = shade_roots(c, person, self.skin.colours, wear.headwear)
        self.skin = self.skin._replace(colours=roots)
        beard = beard_hairs(c, person, self.skin, density)
        self._moving += [brow_hairs(c, person, self.shape, density), *([beard] if beard else [])]
        worn, self._glass = accessories.build(wear, c, person, self.shape, self.eye_centres)
        ears = [] if wear.headwear == "headscarf" else parts.ears(person, self.skin.tone)
        self._still = [*ears, *parts.clothes(person), *hanging, *worn]
        self._grain = np.stack([8 * np.arctan2(c.rest[:, 0], c.rest[:, 2]), c.y], 1) + 64

    def mesh(
        self,
        action_units: Mapping[int, float | tuple[float, float]] | None = None,
        gaze: tuple[float, float] = (0.0, 0.0),
    ) -> Mesh:
        """The head with these action units (`check_action_units`) and gaze (to the image's right, up) in radians."""
        if len(gaze) != 2 or not all(abs(angle) <= 1 for angle in gaze):
            raise ParameterError(f"gaze {gaze!r}", do="give (right, up) in radians, each in -1..1")
        units, c, tone = check_action_units(action_units or {}), self.anatomy, self.skin.tone
        face = move_face(c, self.person, self.shape, self.age_lines, units, gaze[1])
        skin = face.skin
        colours = shade_wrinkles(self.skin.colours, face.wrinkles)
        patches = [Patch(skin, c.faces, colours, self.skin.gloss, "skin", None, self._grain)]
        patches += [hairs.patch(skin) for hairs in self._moving]
        outward = len(patches)  # skin, and hair that lies on it, is never seen from within
        for side, centre in self.eye_centres.items():
            patches += parts.lids(c, self.person, skin, side, centre, tone)
            patches.append(parts.eyeball(self._eyeball, side, centre, gaze))
        patches += [parts.mouth_cavity(c.mouth, skin, tone), self._teeth]
        patches += [parts.open_jaw(patch, face.jaw) for patch in (self._lower_teeth, self._tongue)]
        patches.append(parts.neck(self.person, float(np.mean(units.get(20, 0))), tone))
        patches += [*self._still, *self._glass]
        culled, clear = (sum(len(p.faces) for p in some) for some in (patches[:outward], self._glass))
        return _pack(patches, skin[c.landmarks], culled, clear)


def _pack(patches: list[Patch], landmarks: Array, culled: int, clear: int) -> Mesh:
    """All patches as one mesh, colours made linear; see `Mesh` for ``culled`` and ``clear`` faces."""
    sizes = [len(patch.vertices) for patch in patches]
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    vertices = np.concatenate([p.vertices for p in patches], dtype="f4")
    shifted = [patch.faces + np.int32(start) for patch, start in zip(patches, starts, strict=True)]
    faces = np.concatenate(shifted, dtype=np.int32)
    colours = np.concatenate([np.broadcast_to(p.colours, p.vertices.shape) for p in patches], dtype="f4")
    strands, coords = np.zeros_like(vertices), np.zeros((len(vertices), 2), np.float32)
    for patch, start, size in zip(patches, starts, sizes, strict=True):
        if patch.strands is not None:
            strands[start : start + size] = patch.strands
        if patch.coords is not None:
            coords[start : start + size] = patch.coords
    return Mesh(
        vertices=vertices,
        faces=faces,
        colours=np.clip(colours, 0, 1.2) ** np.float32(PAINT),
        gloss=np.concatenate([np.broadcast_to(p.gloss, n) for p, n in zip(patches, sizes, strict=True)], dtype="f4"),
        part=np.repeat([PARTS.index(p.part) for p in patches], sizes).astype(np.int8),
        landmarks=landmarks.astype(np.float32),
        normals=vertex_normals(vertices, faces),
        strands=strands,
        coords=coords,
        culled=culled,
        clear=clear,
    )
