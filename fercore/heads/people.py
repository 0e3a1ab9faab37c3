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

MONK = "f6ede4 f3e7db f7ead0 eadaba d7bd96 a07e56 825c43 604134 3a312a 292420"
"""The ten colours of the Monk skin tone scale (E. Monk, 2022; public domain), sRGB."""
_SWATCHES = np.array([[int(tone[i : i + 2], 16) / 255 for i in (0, 2, 4)] for tone in MONK.split()]) ** 1.25
_DARKEST = np.array([0.098, 0.056, 0.036]) ** (1.25 / 2.2)  # chosen by eye: dark skin is brown, not coal
SKIN = (_SWATCHES**4 + _DARKEST**4) ** 0.25
"""Colours of skin (10, 3) from light to dark: the swatches, the last two lifted to a dark brown."""
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
        [0.52, 0.52, 0.52],
    ]
)
LONG_HAIR = ("long", "bob", "medium", "curls")  # falls past the ears
HAIRSTYLES = {  # with their shares
    "male": {
        "short": 0.30,
        "crop": 0.17,
        "medium": 0.10,
        "bald": 0.10,
        "quiff": 0.17,
        "curly": 0.07,
        "afro": 0.05,
        "braids": 0.02,
        "ponytail": 0.02,
    },
    "female": {
        "long": 0.27,
        "medium": 0.12,
        "bob": 0.19,
        "bun": 0.11,
        "short": 0.04,
        "curls": 0.09,
        "ponytail": 0.09,
        "afro": 0.05,
        "braids": 0.04,
    },
}
BEARDS = {"stubble": 0.35, "moustache": 0.10, "goatee": 0.20, "full": 0.35}  # with their shares among the bearded


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
    age: float = 0.3  # 0 twenty .. 1 seventy-five
    tone: float = 0.4  # 0 light .. 1 dark skin: tone k of the Monk scale is (k - 1) / 9
    iris: float = 0.2  # 0 brown .. 1 blue-grey
    brow_thickness: float = 0.5  # 0..1
    brow_arch: float = 0.0  # 0 flat .. 1 arched
    beard: float = 0.0  # 0 none, .35 stubble, 1 dense
    beard_style: str = "full"  # stubble moustache goatee full
    lipstick: float = 0.0  # 0..1
    eye_makeup: float = 0.0  # 0..1: lines along the lids and shadow above them
    redness: float = 0.3  # 0..1 of cheeks, nose and chin
    freckles: float = 0.0  # 0..1
    roughness: float = 0.3  # 0..1: pores, spots, blotches
    oil: float = 0.3  # 0 dry .. 1 oily skin
    recede: float = 0.0  # 0..1: hair withdrawn at the temples
    asymmetry: float = 0.0  # 1 is usual: one brow, eye, corner of the mouth higher; nose and chin off the midline
    hair: str = "short"  # one of HAIRSTYLES
    hair_colour: tuple[float, float, float] = (0.12, 0.07, 0.04)
    seed: int = 0  # of everything that is fine-grained: freckles, strands, clothes

    def __post_init__(self) -> None:
        styles = {style for styles in HAIRSTYLES.values() for style in styles}
        if self.hair not in styles:
            raise ParameterError(
                f"unknown hair {self.hair!r} of a person", do=f"choose from {', '.join(sorted(styles))}"
            )
        if self.beard_style not in BEARDS:
            what = f"unknown beard_style {self.beard_style!r} of a person"
            raise ParameterError(what, do=f"choose from {', '.join(BEARDS)}")

    @property
    def years(self) -> int:
        """Age in years, 20..75."""
        return round(20 + 55 * self.age)


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
    p["age"], p["tone"], p["seed"] = float(rng.random() ** 1.4), float(rng.beta(1.2, 1.6)), int(rng.integers(1 << 30))
    if p["tone"] > 0.6:
        p["nose_width"] += 0.8
        p["lips"] += 0.8
        p["nose_projection"] -= 0.5
    p["brow_thickness"] = float(np.clip(0.47 + 0.33 * g + 0.13 * rng.normal(), 0.05, 1))
    p["brow_arch"] = float(np.clip(0.4 - 0.4 * g + 0.2 * rng.normal(), 0, 1))
    p["iris"] = float(rng.random()) * (1.0 if p["tone"] < 0.42 else 0.12)
    p["asymmetry"] = float(np.abs(rng.normal(0.6, 0.4)))
    p["redness"], p["roughness"], p["oil"] = (float(x) for x in rng.beta(2, 3, 3))
    p["freckles"] = float(rng.random() * (rng.random() < 0.3)) * (p["tone"] < 0.4)
    return Person(**p, **_hair_and_beard(rng, g, p["tone"], p["age"]), **_make_up(rng, g))


SEX_SLOPES = {  # shift of a parameter from the average to a masculine head, and as much the other way
    "jaw": 0.9,
    "brow_ridge": 1.0,
    "lips": -0.7,
    "brow_height": -0.9,
    "chin_height": 0.6,
    "face_length": 0.6,
    "forehead": 0.4,
    "eye_size": -0.6,
    "nose_projection": 0.4,
    "nose_width": 0.5,
    "nose_hump": 0.5,
    "fat": -0.2,
}


def _hair_and_beard(rng: np.random.Generator, g: float, tone: float, age: float) -> dict[str, object]:
    """Style and colour of hair, whether it recedes, and a beard; tight curls go with dark skin, grey with age."""
    odds = dict(HAIRSTYLES["male" if g > 0 else "female"])
    for style in ("afro", "braids"):
        odds[style] *= 4.0 if tone > 0.55 else 0.15
    styles, shares = list(odds), np.array(list(odds.values()))
    hair = str(rng.choice(styles, p=shares / shares.sum()))
    recede = float(np.clip(rng.normal(-0.1 + 0.9 * age, 0.3), 0, 1)) if g > 0 else 0.0
    bearded = g > 0 and rng.random() < 0.55
    style = str(rng.choice(list(BEARDS), p=list(BEARDS.values())))
    dense = 0.25 + 0.2 * rng.random() if style == "stubble" else 0.75 + 0.25 * rng.random()
    colour = _hair_colour(rng, tone, age)
    return {
        "hair": hair,
        "hair_colour": colour,
        "recede": recede,
        "beard": float(dense) * bearded,
        "beard_style": style,
    }


def _make_up(rng: np.random.Generator, g: float) -> dict[str, float]:
    lips, eyes = (rng.random() < 0.5) * rng.random(), (rng.random() < 0.6) * rng.random()
    return {"lipstick": float(lips) * (g < 0), "eye_makeup": float(eyes) * (g < 0)}


def _hair_colour(rng: np.random.Generator, tone: float, age: float) -> tuple[float, float, float]:
    """Black to grey; fair hair goes with fair skin, grey with age."""
    odds = np.array([0.28, 0.27, 0.20, 0.17, 0.08, 0.0] if tone < 0.48 else [0.82, 0.15, 0.03, 0, 0, 0])
    colour = HAIR[rng.choice(6, p=odds / odds.sum())] * (0.8 + 0.4 * rng.random())
    grey = np.clip(rng.normal(2.2 * (age - 0.55), 0.25), 0, 1)
    colour = colour * (1 - grey) + grey * HAIR[5] * (0.75 + 0.4 * rng.random())
    return tuple(float(channel) for channel in colour)


# ---- shape ---------------------------------------------------------------------------------------------------------


def resting_shape(c: Anatomy, person: Person) -> tuple[Array, Array]:
    """The person's skin at rest (V, 3) in cm, and the depth of its age lines (V,) in cm.

    A sum of smooth displacement fields on the canonical head, so topology, landmarks and muscles stay the same.
    """
    across, up = _widths(c, person), _heights(c, person)
    shape = c.rest + np.stack([across, up, _depths(c, person)], 1)
    if person.asymmetry:
        shape += person.asymmetry * _asymmetry(c, person)
    _, grooves = muscle_fields(c)
    old = max(0.0, person.age - 0.25) / 0.75
    lines = 0.35 * grooves[1] + 0.30 * grooves[2] + 0.35 * grooves[4]
    lines = old**1.5 * (lines + 0.45 * grooves[6] + 0.75 * grooves[12] + 0.40 * grooves[15])
    return shape - lines[:, None] * c.normal, lines


def _asymmetry(c: Anatomy, p: Person) -> Array:
    """Displacement (V, 3) cm of a usually lopsided face."""
    a, y, draw = np.abs(c.x), c.y, np.random.default_rng(p.seed + 11).normal(0, 1, 7).clip(-2, 2)
    up = 0.13 * draw[0] * bump(a, y, 3, 2.0, 2.6, 1.0) + 0.09 * draw[1] * bump(a, y, EYE_X, 0, 2.2, 1.6)
    up = c.side * (up + 0.12 * draw[2] * bump(a, y, MOUTH_HALF, MOUTH_Y, 1.5, 1.6))
    across = 0.14 * draw[3] * bump(a, y, 0, -3.6, 1.5, 1.6) + 0.16 * draw[4] * bump(a, y, 0, -10, 4, 2.6)
    across += 0.10 * draw[5] * bump(a, y, 0, MOUTH_Y, 2.6, 1.4)
    forward = 0.16 * draw[6] * c.side * bump(a, y, 4.2, -4, 2.2, 3.0)
    return c.face[:, None] * np.stack([across, up, forward], 1)


def _widths(c: Anatomy, p: Person) -> Array:
    a, y = np.abs(c.x), c.y
    head = c.rest[:, 0] * (0.045 * p.width + 0.050 * p.jaw * smoothstep(-3, -8.5, y))
    features = 0.11 * p.nose_width * bump(a, y, 1.25, -4, 0.8, 0.9)
    features += 0.16 * p.eye_spacing * bump(a, y, EYE_X, 0.4, 2.0, 2.2)
    features += 0.16 * p.mouth_width * bump(a, y, MOUTH_HALF, MOUTH_Y, 1.6, 1.5)
    features += 0.18 * p.fat * smoothstep(-1, -5, y) * smoothstep(3, 5.5, a)
    soft, hard = max(0.0, -p.sex), max(0.0, p.sex)
    # a feminine face tapers to the chin, has a slimmer nose and a smaller mouth; a masculine one has a wide jaw
    head -= c.rest[:, 0] * soft * (0.035 + 0.095 * smoothstep(-2.5, -10, y))
    head += c.rest[:, 0] * hard * 0.05 * smoothstep(-4, -9, y)
    features -= soft * (0.22 * bump(a, y, 1.1, -3.4, 0.8, 2.0) + 0.10 * bump(a, y, MOUTH_HALF, MOUTH_Y, 1.4, 1.3))
    features += 0.22 * max(0.0, p.age - 0.4) * bump(a, y, 5.2, -8.6, 1.8, 1.5)  # jowls
    return head + c.side * c.face * features


def _heights(c: Anatomy, p: Person) -> Array:
    a, y = np.abs(c.x), c.y
    soft, old = max(0.0, -p.sex), max(0.0, p.age - 0.35)
    skull = -0.416 * p.face_length * smoothstep(-2, -9, y) - 0.22 * p.chin_height * smoothstep(-8, -10, y)
    skull += 0.35 * p.forehead * smoothstep(3, 10, y)
    skull += soft * (0.75 * smoothstep(-6.5, -11, y) + 0.25 * smoothstep(-2, -6, y))
    features = -0.17 * p.nose_length * bump(a, y, 0, -4.2, 1.8, 2.0)
    features += 0.20 * p.brow_height * bump(a, y, 2.8, 2.2, 3, 1.3) * smoothstep(0.3, 1.6, y)
    features += 0.14 * p.mouth_height * bump(a, y, 0, MOUTH_Y, 3.5, 1.5)
    features += (0.25 * p.nose_tip + 0.22 * soft) * c.nose / 2.3 * smoothstep(-3, -4.2, y)
    features -= old * (0.45 * bump(a, y, 4.3, -8.2, 2.0, 1.8) + 0.3 * bump(a, y, 4.6, 1.4, 1.4, 0.9))  # skin sags
    features -= old * 0.25 * bump(a, y, MOUTH_HALF, MOUTH_Y, 1.0, 1.0)
    outward = np.where(c.below_mouth, -1, 1) * smoothstep(0, 0.6, np.abs(y - MOUTH_Y))
    return skull + c.face * (features + (0.22 * p.lips + 0.16 * soft - 0.35 * old) * c.lip_bulge * outward)


def _depths(c: Anatomy, p: Person) -> Array:
    a, y = np.abs(c.x), c.y
    z = 0.32 * p.chin_projection * bump(a, y, 0, -9.8, 2.2, 1.6) + 0.16 * p.nose_projection * c.nose
    z += 0.14 * p.nose_hump * bump(a, y, 0, -1.6, 0.7, 0.9)
    z += 0.14 * p.brow_ridge * (bump(a, y, 2.2, 1.9, 2.4, 0.8) + 0.6 * bump(a, y, 0, 2, 1.2, 0.9))
    z += 0.22 * p.cheekbones * bump(a, y, 4.6, -2.4, 1.8, 1.3) + 0.24 * p.fat * bump(a, y, 3.8, -5.2, 2.2, 2.0)
    z += 0.30 * p.lips * c.lip_bulge + 0.12 * p.forehead * bump(a, y, 0, 5.5, 5, 2.5)
    old, soft = max(0.0, p.age - 0.35), max(0.0, -p.sex)
    # a feminine face: flatter brow ridge, shallower sockets, rounder forehead, fuller cheeks, smaller nose and chin
    z -= 0.30 * soft * (bump(a, y, 2.4, 1.95, 2.2, 0.7) + 0.8 * bump(a, y, 0, 2, 1.1, 0.9))
    z += soft * (0.30 * bump(a, y, 2.9, 0.9, 1.8, 0.7) + 0.20 * bump(a, y, 0, 4.6, 3.5, 1.6))
    z += soft * (0.25 * bump(a, y, 4.1, -3.2, 1.9, 1.6) - 0.26 * c.nose + 0.18 * c.lip_bulge)
    z -= soft * 0.22 * bump(a, y, 0, -9.8, 2.6, 1.4)
    z += max(0.0, p.sex) * (0.25 * bump(a, y, 0, -10, 2.8, 1.3) + 0.15 * bump(a, y, 0, 1.9, 2.6, 0.7))
    z -= old * (0.5 * bump(a, y, 4.2, -5.2, 1.5, 1.8) + 0.35 * bump(a, y, 2.9, -1.4, 1.0, 0.35))  # hollow with age
    z += old * (0.35 * bump(a, y, 3.0, -1.0, 1.0, 0.35) + 0.3 * bump(a, y, 4.6, -8.4, 1.5, 1.2))
    return c.face * z
