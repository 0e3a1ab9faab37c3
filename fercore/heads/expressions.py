"""Ten expressions as distributions over action units, and how one person's version of one is drawn.

An expression is a mixture of variants. Each variant says of every unit how likely it takes part and in which range its
strength lies. The combinations follow the prototypes and major variants of the FACS Investigator's Guide (Ekman,
Friesen & Hager 2002) and the unilateral 12 + 14 of contempt (Ekman & Friesen 1986); squint and scream follow what the
actors of Multi-PIE do. Weights and ranges are typed by hand.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fercore.errors import ParameterError
from fercore.heads.muscles import JAW_UNITS, STRONGEST, ActionUnits, check_action_units

Range = tuple[float, float, float]


class Variant(NamedTuple):
    """One way to show an expression."""

    weight: float  # probability among the variants of its expression
    units: dict[int, Range]  # unit -> (probability, least strength, greatest strength) at full intensity
    one_sided: tuple[int, ...] = ()  # units that act on one side of the face only


def _variant(weight: float, units: str, one_sided: tuple[int, ...] = ()) -> Variant:
    """From "unit=least-greatest" for a unit that always takes part, "unit?probability=least-greatest" for others."""
    parsed = {}
    for word in units.split():
        unit, strengths = word.split("=")
        unit, _, probability = unit.partition("?")
        low, high = strengths.split("-")
        parsed[int(unit)] = (float(probability or 1), float(low), float(high))
    return Variant(weight, parsed, one_sided)


VARIANTS: dict[str, tuple[Variant, ...]] = {
    "neutral": (_variant(1.00, ""),),
    "happiness": (
        _variant(0.50, "6=.6-1 12=.85-1.1 25=.7-1 26?.25=.2-.6"),
        _variant(0.20, "6=.4-.8 12=.75-1 14?.15=.1-.3"),
        _variant(0.20, "6=.8-1 7?.3=.2-.4 12=.95-1.15 25=.9-1 26=.5-.9"),
        _variant(0.10, "6?.3=.1-.4 12=.8-1 25?.6=.5-.9"),  # of politeness: the eyes stay cool
    ),
    "surprise": (
        _variant(0.45, "1=.85-1.1 2=.85-1.1 5=.6-1 25=.3-.6 27=.5-.8"),
        _variant(0.40, "1=.8-1 2=.8-1 5=.6-.9 25=.4-.7 26=.8-1.3"),
        _variant(0.15, "1=.9-1.1 2=.9-1.1 5=.6-.9 25?.6=.2-.5 26?.6=.2-.5"),
    ),
    "sadness": (
        _variant(0.45, "1=.85-1.1 4=.4-.8 15=.75-1.1 17?.6=.3-.6 43?.7=.1-.3"),
        _variant(0.25, "1=.8-1.1 4=.3-.6 15=.5-.8 43=.15-.4 25?.2=.2-.4"),
        _variant(0.20, "1=.7-1 4=.5-.9 6=.3-.6 15=.8-1.1 17=.5-.8"),
        _variant(0.10, "1?.6=.3-.6 15=.8-1.1 17=.5-.9 43?.6=.1-.3"),
    ),
    "anger": (
        _variant(0.40, "4=.9-1.15 5=.4-.7 7=.5-.9 17?.6=.2-.5 23=.5-.8 24=.7-1"),
        _variant(0.25, "4=.9-1.1 5=.3-.6 7=.5-.9 23=.8-1.1 25?.4=.2-.4"),
        _variant(0.20, "4=.95-1.15 5=.5-.8 7=.5-.8 10?.5=.2-.5 16=.5-.8 20?.4=.2-.4 25=.9-1.1 26?.4=.2-.5"),
        _variant(0.15, "4=1-1.2 5=.4-.7 7=.6-1 22=.4-.7 23=.4-.7 25=.5-.8 26?.4=.2-.5"),
    ),
    "disgust": (
        _variant(0.35, "9=.85-1.1 10=.4-.8 17?.6=.3-.6 7?.6=.3-.6 6?.4=.2-.5 4?.3=.1-.3"),
        _variant(0.30, "9=.7-1 10=.7-1 25=.6-.9 16?.4=.2-.5 7?.6=.3-.6 26?.3=.2-.4"),
        _variant(0.20, "10=.95-1.2 17=.4-.7 15?.4=.3-.5 7=.3-.6 9?.5=.2-.5"),
        _variant(0.15, "9=.9-1.15 15?.6=.3-.6 17=.5-.8 7=.4-.7"),
    ),
    "fear": (
        _variant(0.45, "1=.9-1.1 2=.4-.7 4=.5-.8 5=.9-1.15 20=.8-1.05 25=.7-1 26?.6=.2-.6"),
        _variant(0.30, "1=.9-1.1 2=.4-.8 4=.5-.75 5=.9-1.1 20=.9-1.1 25=.4-.7"),
        _variant(0.15, "1=.9-1.1 2=.6-.9 4=.4-.6 5=.9-1.15 20?.6=.3-.6 25=.5-.8 26=.5-.9"),
        _variant(0.10, "1=.9-1.1 2=.4-.7 4=.6-.9 5=.95-1.2 20?.5=.2-.5 24?.3=.2-.4"),
    ),
    "contempt": (
        _variant(0.55, "12=.45-.7 14=.85-1.15 2?.3=.2-.4 43?.6=.1-.2", (2, 12, 14)),
        _variant(0.25, "12=.2-.4 14=1-1.3 24?.3=.2-.4 43?.5=.1-.25", (12, 14)),
        _variant(0.20, "10=.3-.55 12=.35-.6 14=.8-1.1 43?.4=.1-.2", (10, 12, 14)),
    ),
    "squint": (
        _variant(0.60, "4=.25-.45 6=.7-.95 7=.9-1.1 9?.6=.1-.3 12?.5=.1-.3"),
        _variant(0.40, "4=.4-.6 6=.5-.7 7=.95-1.1 43=.1-.3 10?.3=.1-.3"),
    ),
    "scream": (
        _variant(0.65, "4=.5-.9 6=.4-.6 7=.5-.9 9?.7=.3-.6 10=.3-.5 16=.4-.6 20=.5-.8 25=.9-1 27=.95-1.15"),
        _variant(0.25, "1=.3-.6 4=.5-.8 6=.4-.7 7=.8-1 10?.6=.3-.6 20=.4-.6 25=.9-1 27=.9-1.1 43?.5=.4-.9"),
        _variant(0.10, "1=.6-.9 2=.3-.6 5=.5-.9 20=.3-.6 25=.9-1 27=1-1.2"),
    ),
}
"""Name -> its variants, whose weights sum to 1."""


def _typical(variant: Variant, side: int) -> ActionUnits:
    """The likely units of a variant in the middle of their ranges; one-sided ones on the left (1) or right (0)."""
    middle = {unit: (low + high) / 2 for unit, (p, low, high) in variant.units.items() if p >= 0.5}
    return {u: _on_one_side(a, side) if u in variant.one_sided else round(a, 3) for u, a in middle.items()}


def _on_one_side(strength: float, side: int) -> tuple[float, float]:
    return (0.0, round(strength, 3)) if side else (round(strength, 3), 0.0)


EXPRESSIONS: dict[str, list[ActionUnits]] = {
    name: [_typical(variant, 1 - place % 2) for place, variant in enumerate(variants)]
    for name, variants in VARIANTS.items()
}
"""Name -> the typical units of each variant at full strength. The first of each is the one that sheets show."""

LEVELS = (0.55, 0.70, 0.85, 1.0, 1.25)
"""Strength of levels 1 to 5. A level below .55 cannot be told from a neutral face with stray units; 4 is full strength,
5 is put on for the camera."""

STRAY_UNITS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 25, 43)  # what everyday faces do besides the expression

for _variants in EXPRESSIONS.values():  # a unit without a muscle would otherwise be ignored in silence
    for _recipe in _variants:
        check_action_units(_recipe)


# ---- what belongs to a person --------------------------------------------------------------------------------------


class Style(NamedTuple):
    """How one person shows expressions, the same in every picture of that person."""

    preference: dict[str, tuple[float, ...]]  # probability of each variant
    gain: dict[int, float]  # factor of a unit's strength: expressive people, strong and weak muscles
    habit: dict[int, float]  # added to the log-odds of a unit that a variant leaves open
    lean: dict[int, float]  # share by which a unit is stronger on the left (< 0: on the right)
    left: float  # probability that a one-sided expression shows on the left


def personal_style(person_seed: int) -> Style:
    """The style of the person with this seed; the same seed gives the same one.

    A person's preference among variants is Dirichlet with four times the weights as its parameters; gains are
    log-normal, 10 % for the person and 10 % for each unit; leans are normal with 7 %, none for the jaw.
    """
    rng = np.random.default_rng([int(person_seed), 20_23])
    units = sorted({unit for variants in VARIANTS.values() for variant in variants for unit in variant.units})
    preference = {}
    for name, variants in VARIANTS.items():
        drawn = rng.dirichlet([4 * variant.weight for variant in variants])
        preference[name] = tuple(float(p) for p in drawn)
    expressive = rng.normal(0, 0.10)
    gain = {unit: float(np.exp(np.clip(expressive + rng.normal(0, 0.10), -0.3, 0.3))) for unit in units}
    habit = {unit: float(rng.normal(0, 1.2)) for unit in units}
    lean = {unit: 0.0 if unit in JAW_UNITS else float(np.clip(rng.normal(0, 0.07), -0.2, 0.2)) for unit in units}
    return Style(preference, gain, habit, lean, float(rng.beta(0.8, 0.8)))


# ---- draws ---------------------------------------------------------------------------------------------------------


def sample_expression(
    expression: str,
    level: int,
    rng: np.random.Generator,
    jitter: float = 0.12,
    drop: float = 0.05,
    stray: float = 0.15,
    *,
    style: Style | None = None,
) -> ActionUnits:
    """One showing of an expression: a variant, the units that take part, their strengths, and stray units.

    expression: a name in EXPRESSIONS; level: 1..5, index into LEVELS from 1;
    jitter: standard deviation of the log of each unit's strength, besides its range (and each is lopsided by 10 %);
    drop: probability that a unit is left out, but never the strongest one of the variant;
    stray: greatest intensity of one or two further units, which belong to no class; 0 for none;
    style: of the person (`personal_style`); the average person when None.
    Returns unit -> (right, left) intensities, each in 0..1.4.
    """
    if expression not in VARIANTS:
        raise ParameterError(f"unknown expression {expression!r}", do=f"choose from {', '.join(VARIANTS)}")
    if level not in range(1, len(LEVELS) + 1):
        raise ParameterError(f"level {level!r} of an expression", do=f"choose 1..{len(LEVELS)}; 4 is full strength")
    variants = VARIANTS[expression]
    weights = style.preference[expression] if style else [variant.weight for variant in variants]
    variant = variants[rng.choice(len(variants), p=weights)]
    on_left = rng.random() < (style.left if style else 0.5)
    units: dict[int, tuple[float, float]] = {}
    strongest = max((high * probability for probability, _, high in variant.units.values()), default=0)
    for unit, (probability, low, high) in variant.units.items():
        takes_part, dropped = rng.random(), rng.random() < drop and high * probability < strongest
        strength = rng.uniform(low, high) * LEVELS[level - 1] * np.exp(rng.normal(0, jitter))
        lopsided = rng.normal(0, 0.10)
        if takes_part >= _odds(probability, style.habit[unit] if style else 0.0) or dropped:
            continue
        if style:
            strength, lopsided = strength * style.gain[unit], lopsided + style.lean[unit]
        if unit in JAW_UNITS:
            lopsided = 0.0
        if unit in variant.one_sided:
            units[unit] = _clipped(0.0, strength) if on_left else _clipped(strength, 0.0)
        else:
            units[unit] = _clipped(strength * (1 - lopsided), strength * (1 + lopsided))
    return _with_stray_units(units, stray, rng)


def blend(first: ActionUnits, second: ActionUnits, share: float) -> dict[int, tuple[float, float]]:
    """A face between two expressions: each unit's strength is ``(1 - share) first + share second``; share 0..1."""
    if not 0 <= share <= 1:
        raise ParameterError(f"a share of {share!r} of a second expression", do="give 0..1")
    one, other = check_action_units(first), check_action_units(second)
    mixed = {}
    for unit in sorted({*one, *other}):
        pair = zip(one.get(unit, (0.0, 0.0)), other.get(unit, (0.0, 0.0)), strict=True)
        mixed[unit] = _clipped(*((1 - share) * a + share * b for a, b in pair))
    return mixed


def _with_stray_units(
    units: dict[int, tuple[float, float]], stray: float, rng: np.random.Generator
) -> dict[int, tuple[float, float]]:
    if stray > 0:
        for unit in rng.choice(STRAY_UNITS, size=rng.integers(1, 3), replace=False):
            right, left = units.get(int(unit), (0.0, 0.0))
            extra = stray * rng.random()
            units[int(unit)] = _clipped(right + extra, left + extra)
    return units


def sample_gaze(rng: np.random.Generator) -> tuple[float, float]:
    """Where the eyes look, (to the image's right, up) in radians.

    Seven of ten pictures look into the camera, give or take 3 degrees; the others past it, 15 degrees to the sides and
    7 up or down (standard deviations), at most 30 and 17 degrees.
    """
    spread = (0.05, 0.04) if rng.random() < 0.7 else (0.26, 0.12)
    right, up = (float(np.clip(rng.normal(0, sd), -most, most)) for sd, most in zip(spread, (0.52, 0.30), strict=True))
    return right, up


def _odds(probability: float, habit: float) -> float:
    """The probability with ``habit`` added to its log-odds; 1 stays 1."""
    if probability >= 1:
        return 1.0
    return 1 / (1 + (1 / probability - 1) * np.exp(-habit))


def _clipped(right: float, left: float) -> tuple[float, float]:
    return float(np.clip(right, 0, STRONGEST)), float(np.clip(left, 0, STRONGEST))
