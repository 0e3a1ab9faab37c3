"""A whole head: skin, eyes, mouth, ears, neck and hair of one person as a single mesh."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from fercore.errors import ParameterError
from fercore.heads import parts
from fercore.heads.anatomy import Array, canonical
from fercore.heads.fields import value_noise
from fercore.heads.hair import grow_hair
from fercore.heads.motion import eye_centres, move_face
from fercore.heads.muscles import check_action_units
from fercore.heads.parts import PARTS, Patch
from fercore.heads.people import Person, resting_shape
from fercore.heads.skin import paint_skin, shade_wrinkles


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

    ``density`` is the resolution of the mesh: .75 shows no difference up to 112 px, take 1 for 224 px and for figures.
    """

    def __init__(self, person: Person, density: float = 0.75) -> None:
        self.person, self.anatomy = person, canonical(density)
        c = self.anatomy
        self.shape, self.age_lines = resting_shape(c, person)
        self.skin = paint_skin(c, person)
        self.eye_centres = eye_centres(c, self.shape)
        self._eyeball = parts.eyeball_template(person)
        self._teeth, self._lower_teeth, self._tongue = parts.teeth_and_tongue(c, person, self.shape)
        self._hair, hanging = grow_hair(c, person)
        self._still = [*parts.ears(person, self.skin.tone), *parts.clothes(person), *hanging]
        self._gloss = 0.30 + 0.35 * c.lip - 0.25 * np.clip(self.skin.beard, 0, 1)
        self._beard = np.zeros_like(c.rest)
        if person.beard > 0.6:
            tufts = 0.28 + 0.15 * value_noise(3, c.x * 4 + 30, c.y * 4 + 60)
            self._beard = (c.normal + np.array([0, -0.5, 0.3])) * (self.skin.beard * tufts)[:, None]

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
        skin = face.skin + self._beard
        patches = [Patch(skin, c.faces, shade_wrinkles(self.skin.colours, face.wrinkles), self._gloss, "skin")]
        for side, centre in self.eye_centres.items():
            patches += parts.lids(c, self.person, skin, side, centre, tone)
            patches.append(parts.eyeball(self._eyeball, side, centre, gaze))
        patches += [parts.mouth_cavity(c.mouth, skin, tone), self._teeth]
        patches += [parts.open_jaw(patch, face.jaw) for patch in (self._lower_teeth, self._tongue)]
        patches.append(parts.neck(self.person, float(np.mean(units.get(20, 0))), tone))
        patches += [*self._still, self._hair.patch(skin)]
        return _pack(patches, skin[c.landmarks])


def _pack(patches: list[Patch], landmarks: Array) -> Mesh:
    """All patches as one mesh."""
    sizes = [len(patch.vertices) for patch in patches]
    starts = np.r_[0, np.cumsum(sizes)[:-1]]
    colours = [np.broadcast_to(p.colours, p.vertices.shape) for p in patches]
    return Mesh(
        vertices=np.concatenate([p.vertices for p in patches]).astype(np.float32),
        faces=np.concatenate([p.faces + start for p, start in zip(patches, starts, strict=True)]).astype(np.int32),
        colours=np.clip(np.concatenate(colours), 0, 1.2).astype(np.float32),
        gloss=np.concatenate([np.broadcast_to(p.gloss, n) for p, n in zip(patches, sizes, strict=True)], dtype="f4"),
        part=np.repeat([PARTS.index(p.part) for p in patches], sizes).astype(np.int8),
        landmarks=landmarks.astype(np.float32),
    )
