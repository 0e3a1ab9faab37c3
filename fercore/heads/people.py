"""People: the parameters that make one, how they are drawn, and the shape of a resting face.

Nothing here depends on an expression: age lines, stubble, freckles and lipstick belong to a person, so that no class
can be read off them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fercore.errors import ParameterError
from fercore.heads.anatomy import EYE_X, MOUTH_HALF, MOUTH_Y, Anatomy
from fercore.heads.fields import Array, bump, smoothstep
from fercore.heads.muscles import muscle_fields

SKIN = np.array(
    [
        [0.93, 0.74, 0.64],
        [0.87, 0.66, 0.53],
        [0.76, 0.55, 0.42],
        [0.60, 0.41, 0.29],
        [0.44, 0.29, 0.20],
        [0.30, 0.195, 0.14],
    ]
)
IRIS = np.array(
    [
        [0.20, 0.12, 0.06],
        [0.30, 0.19, 0.09],
        [0.33, 0.36, 0.20],
        [0.32, 0.42, 0.50],
        [0.22, 0.36, 0.55],
        [0.25, 0.36, 0.40],
    ]
)
HAIR = np.array(  # black, dark brown, brown, blond, red, grey
    [
        [0.045, 0.035, 0.03],
        [0.12, 0.07, 0.04],
        [0.25, 0.14, 0.07],
        [0.55, 0.38, 0.18],
        [0.42, 0.16, 0.06],
        [0.6, 0.6, 0.6],
    ]
)
LONG_HAIR = ("long", "bob", "medium")  # falls past the ears
HAIRSTYLES = {  # with their shares
    "male": {"short": 0.34, "crop": 0.20, "medium": 0.15, "bald": 0.13, "quiff": 0.18},
    "female": {"long": 0.36, "medium": 0.16, "bob": 0.26, "bun": 0.14, "short": 0.08},
}


@dataclass(frozen=True)
class Person:
    """Everything that tells one person from another.

    Parameters of shape are in standard deviations about 0, the average head; the others say their range.
    """

    width: float = 0.0
    face_length: float = 0.0
    jaw: float = 0.0
    chin_projection: float = 0.0
    chin_height: float = 0.0
    nose_length: float = 0.0
    nose_width: float = 0.0
    nose_projection: float = 0.0
    nose_hump: float = 0.0
    eye_spacing: float = 0.0
    eye_size: float = 0.0
    eye_tilt: float = 0.0
    brow_height: float = 0.0
    brow_ridge: float = 0.0
    cheekbones: float = 0.0
    fat: float = 0.0
    lips: float = 0.0
    mouth_width: float = 0.0
    forehead: float = 0.0
    mouth_height: float = 0.0
    nose_tip: float = 0.0
    lid: float = 0.0
    sex: float = 0.0  # -1 feminine .. 1 masculine
    age: float = 0.3  # 0 twenty .. 1 seventy
    tone: float = 0.2  # 0 light .. 1 dark skin
    iris: float = 0.2  # 0 brown .. 1 blue-grey
    brow_thickness: float = 0.5  # 0..1
    beard: float = 0.0  # 0 none, .35 stubble, 1 full
    lipstick: float = 0.0  # 0..1
    hair: str = "short"  # short crop medium bald quiff long bob bun
    hair_colour: tuple[float, float, float] = (0.12, 0.07, 0.04)
    seed: int = 0  # of everything that is fine-grained: freckles, strands, clothes

    def __post_init__(self) -> None:
        styles = {style for styles in HAIRSTYLES.values() for style in styles}
        if self.hair not in styles:
            raise ParameterError(
                f"unknown hair {self.hair!r} of a person", do=f"choose from {', '.join(sorted(styles))}"
            )


SHAPE_PARAMETERS = tuple(Person.__dataclass_fields__)[:22]


def sample_person(seed: int, sex: Literal["female", "male"] | None = None) -> Person:
    """A random person; the same ``seed`` and ``sex`` give the same one. Half are women when ``sex`` is None."""
    if sex not in (None, "female", "male"):
        raise ParameterError(f"unknown sex {sex!r} of a person", do="choose 'female', 'male', or None for either")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ParameterError(f"seed {seed!r} of a person", do="give a whole number from 0")
    rng = np.random.default_rng(seed)
    p = {name: float(np.clip(rng.normal(), -2, 2)) for name in SHAPE_PARAMETERS}
    sign, strength = rng.choice([-1, 1]), 0.45 + 0.55 * rng.random()
    p["sex"] = g = float(np.clip({None: sign, "female": -1, "male": 1}[sex] * strength, -1, 1))
    for name, slope in SEX_SLOPES.items():
        p[name] += slope * g
    p["eye_size"] += 0.3
    p["age"], p["tone"], p["seed"] = float(rng.random() ** 1.8), float(rng.random()), int(rng.integers(1 << 30))
    if p["tone"] > 0.6:
        p["nose_width"] += 0.8
        p["lips"] += 0.8
        p["nose_projection"] -= 0.5
    p["brow_thickness"] = float(np.clip(0.5 + 0.25 * g + 0.2 * rng.normal(), 0.15, 1))
    p["iris"] = float(rng.random()) * (1.0 if p["tone"] < 0.3 else 0.12)
    styles = HAIRSTYLES["male" if g > 0 else "female"]
    p["hair"] = str(rng.choice(list(styles), p=list(styles.values())))
    p["hair_colour"] = _hair_colour(rng, p["tone"], p["age"])
    p["beard"] = float(rng.choice([0, 0.35, 1], p=[0.45, 0.3, 0.25])) if g > 0 else 0.0
    p["lipstick"] = float(rng.random() < 0.4) * float(rng.random()) if g < 0 else 0.0
    return Person(**p)


SEX_SLOPES = {  # shift of a parameter from the average to a masculine head, and as much the other way
    "jaw": 0.8,
    "brow_ridge": 0.9,
    "lips": -0.6,
    "brow_height": -0.9,
    "chin_height": 0.5,
    "eye_size": -0.5,
    "nose_projection": 0.4,
    "nose_width": 0.5,
    "nose_hump": 0.4,
    "fat": -0.2,
}


def _hair_colour(rng: np.random.Generator, tone: float, age: float) -> tuple[float, float, float]:
    """Black to grey; fair hair goes with fair skin, grey with age."""
    odds = np.array([0.35, 0.27, 0.16, 0.12, 0.06, 0.04] if tone < 0.45 else [0.82, 0.14, 0.02, 0, 0, 0.02])
    if age > 0.75:
        odds = odds * 0.4
        odds[5] += 0.6
    colour = HAIR[rng.choice(6, p=odds / odds.sum())] * (0.8 + 0.4 * rng.random())
    return tuple(float(channel) for channel in colour)


# ---- shape ---------------------------------------------------------------------------------------------------------


def resting_shape(c: Anatomy, person: Person) -> tuple[Array, Array]:
    """The person's skin at rest (V, 3) in cm, and the depth of its age lines (V,) in cm.

    A sum of smooth displacement fields on the canonical head, so topology, landmarks and muscles stay the same.
    """
    across, up = _widths(c, person), _heights(c, person)
    shape = c.rest + np.stack([across, up, _depths(c, person)], 1)
    _, grooves = muscle_fields(c)
    lines = 0.25 * grooves[1] + 0.25 * grooves[2] + 0.4 * max(0, person.age - 0.6) * grooves[4]
    lines = person.age**2 * (lines + 0.35 * grooves[6] + 0.6 * grooves[12] + 0.25 * grooves[15])
    return shape - lines[:, None] * c.normal, lines


def _widths(c: Anatomy, p: Person) -> Array:
    a, y = np.abs(c.x), c.y
    head = c.rest[:, 0] * (0.045 * p.width + 0.055 * p.jaw * smoothstep(-3, -8.5, y))
    features = 0.11 * p.nose_width * bump(a, y, 1.25, -4, 0.8, 0.9)
    features += 0.16 * p.eye_spacing * bump(a, y, EYE_X, 0.4, 2.0, 2.2)
    features += 0.16 * p.mouth_width * bump(a, y, MOUTH_HALF, MOUTH_Y, 1.6, 1.5)
    features += 0.18 * p.fat * smoothstep(-1, -5, y) * smoothstep(3, 5.5, a)
    soft = max(0.0, -p.sex)  # a feminine face tapers to the chin and has a slimmer nose
    head -= c.rest[:, 0] * soft * 0.07 * smoothstep(-3.5, -9.5, y)
    features -= 0.12 * soft * bump(a, y, 0.9, -2.8, 0.7, 2.0)
    return head + c.side * c.face * features


def _heights(c: Anatomy, p: Person) -> Array:
    a, y = np.abs(c.x), c.y
    skull = -0.416 * p.face_length * smoothstep(-2, -9, y) - 0.22 * p.chin_height * smoothstep(-8, -10, y)
    skull += 0.35 * p.forehead * smoothstep(3, 10, y)
    features = -0.17 * p.nose_length * bump(a, y, 0, -4.2, 1.8, 2.0)
    features += 0.20 * p.brow_height * bump(a, y, 2.8, 2.2, 3, 1.3) * smoothstep(0.3, 1.6, y)
    features += 0.14 * p.mouth_height * bump(a, y, 0, MOUTH_Y, 3.5, 1.5)
    features += (0.25 * p.nose_tip + 0.10 * max(0.0, -p.sex)) * c.nose / 2.3 * smoothstep(-3, -4.2, y)
    outward = np.where(c.below_mouth, -1, 1) * smoothstep(0, 0.6, np.abs(y - MOUTH_Y))
    return skull + c.face * (features + 0.22 * p.lips * c.lip_bulge * outward)


def _depths(c: Anatomy, p: Person) -> Array:
    a, y = np.abs(c.x), c.y
    z = 0.32 * p.chin_projection * bump(a, y, 0, -9.8, 2.2, 1.6) + 0.16 * p.nose_projection * c.nose
    z += 0.14 * p.nose_hump * bump(a, y, 0, -1.6, 0.7, 0.9)
    z += 0.14 * p.brow_ridge * (bump(a, y, 2.2, 1.9, 2.4, 0.8) + 0.6 * bump(a, y, 0, 2, 1.2, 0.9))
    z += 0.22 * p.cheekbones * bump(a, y, 4.6, -2.4, 1.8, 1.3) + 0.24 * p.fat * bump(a, y, 3.8, -5.2, 2.2, 2.0)
    z += 0.30 * p.lips * c.lip_bulge + 0.12 * p.forehead * bump(a, y, 0, 5.5, 5, 2.5)
    soft = max(0.0, -p.sex)  # ... and a flatter brow ridge, shallower sockets, a rounder forehead, fuller cheeks
    z -= 0.22 * soft * (bump(a, y, 2.4, 1.95, 2.2, 0.7) + 0.8 * bump(a, y, 0, 2, 1.1, 0.9))
    z += soft * (0.22 * bump(a, y, 2.9, 0.9, 1.8, 0.7) + 0.15 * bump(a, y, 0, 4.6, 3.5, 1.6))
    z += soft * (0.15 * bump(a, y, 3.9, -3.6, 1.8, 1.6) - 0.15 * c.nose + 0.08 * c.lip_bulge)
    return c.face * z
