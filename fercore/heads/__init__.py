"""Rendered people: faces that belong to nobody, with known expression, pose, light and landmarks.

Every number is typed by hand in centimetres; no third-party mesh, texture, landmark model or photograph enters.

- `fercore.heads.anatomy`      the canonical head: profiles, slits at eyes and mouth, features, regions, landmarks
- `fercore.heads.muscles`      22 action units of the Facial Action Coding System as displacement and wrinkle fields
- `fercore.heads.expressions`  ten expressions as recipes of action units, and how one is drawn
- `fercore.heads.people`       what makes a person, how one is drawn, the shape of a resting face
- `fercore.heads.motion`       muscles, jaw and lids at work
- `fercore.heads.skin`, `parts`, `hair`  colours, brows and beards; eyes, mouth, ears, neck, clothes; hair
- `fercore.heads.accessories`  spectacles, headwear, collars, hands and things before the face
- `fercore.heads.scene`        a whole head as one mesh
- `fercore.heads.meshfile`     a textured mesh from a file, for scans
- `fercore.heads.light`, `render`  lights, backgrounds; the picture with landmarks, depth and parts
- `fercore.heads.raster`, `shade`  the compiled kernels of the renderer
- `fercore.heads.truth`        what is known of a picture: affect, units, landmarks, masks of regions
- `fercore.heads.sheets`       contact sheets as arrays

>>> head = Head(sample_person(7))
>>> picture = render(head.mesh({6: 0.8, 12: 1.0, 25: 0.8}), yaw=45, size=112)
>>> picture.image.shape, picture.landmarks.shape
((112, 112, 3), (68, 2))
"""

from fercore.heads.accessories import Accessories, sample_accessories
from fercore.heads.anatomy import REGIONS, Anatomy, canonical
from fercore.heads.expressions import (
    EXPRESSIONS,
    LEVELS,
    VARIANTS,
    Style,
    personal_style,
    sample_expression,
    sample_gaze,
)
from fercore.heads.light import Light, multipie_flashes, sample_background, sample_film_light, sample_light
from fercore.heads.meshfile import read_mesh
from fercore.heads.muscles import ACTION_UNITS, FACS_STRENGTHS, ActionUnits, check_action_units
from fercore.heads.parts import PARTS
from fercore.heads.people import Person, sample_person
from fercore.heads.render import Rendering, face_centre, level_of_detail, render
from fercore.heads.scene import Head, Mesh
from fercore.heads.truth import MASKS, Truth, affect, describe, face_box, region_map, unit_vector

__all__ = [
    "ACTION_UNITS",
    "EXPRESSIONS",
    "FACS_STRENGTHS",
    "LEVELS",
    "MASKS",
    "PARTS",
    "REGIONS",
    "VARIANTS",
    "Accessories",
    "ActionUnits",
    "Anatomy",
    "Head",
    "Light",
    "Mesh",
    "Person",
    "Rendering",
    "Style",
    "Truth",
    "affect",
    "canonical",
    "check_action_units",
    "describe",
    "face_box",
    "face_centre",
    "level_of_detail",
    "multipie_flashes",
    "personal_style",
    "read_mesh",
    "region_map",
    "render",
    "sample_accessories",
    "sample_background",
    "sample_expression",
    "sample_film_light",
    "sample_gaze",
    "sample_light",
    "sample_person",
    "unit_vector",
]
