"""Expressions as recipes of action units, and how one person's version of one is drawn."""

from __future__ import annotations

import numpy as np

from fercore.errors import ParameterError
from fercore.heads.muscles import JAW_UNITS, STRONGEST, ActionUnits, check_action_units

EXPRESSIONS: dict[str, list[ActionUnits]] = {
    "neutral": [{}],
    "happiness": [{6: 0.8, 12: 1.0, 25: 0.8}, {6: 0.7, 12: 0.9}, {6: 1.0, 12: 1.0, 25: 1.0, 26: 0.7}],
    "surprise": [{1: 1.0, 2: 1.0, 5: 1.0, 25: 0.4, 27: 0.75}, {1: 1.0, 2: 1.0, 5: 0.8, 25: 0.6, 26: 1.3}],
    "sadness": [{1: 1.0, 4: 0.75, 15: 1.0, 17: 0.45, 43: 0.22}, {1: 0.9, 4: 0.6, 15: 0.8, 17: 0.2, 43: 0.28}],
    "anger": [
        {4: 1.0, 5: 0.6, 7: 0.7, 23: 0.7, 24: 0.8, 17: 0.3},
        {4: 1.0, 5: 0.5, 7: 0.7, 10: 0.6, 25: 1.0, 16: 0.6, 9: 0.2},
    ],
    "disgust": [{9: 1.0, 10: 0.8, 17: 0.5, 7: 0.5, 4: 0.3}, {9: 0.9, 10: 0.9, 25: 0.8, 16: 0.3, 7: 0.5, 4: 0.4}],
    "fear": [
        {1: 1.0, 2: 0.6, 4: 0.65, 5: 1.0, 20: 0.9, 25: 0.8, 26: 0.5},
        {1: 1.0, 2: 0.7, 4: 0.6, 5: 1.0, 20: 1.0, 25: 0.6},
    ],
    "contempt": [
        {14: (0.0, 1.2), 12: (0.0, 0.45), 2: (0.0, 0.25), 43: 0.15},
        {14: (1.2, 0.0), 12: (0.45, 0.0), 2: (0.25, 0.0), 43: 0.15},
    ],
    "squint": [{4: 0.35, 6: 0.8, 7: 1.0, 9: 0.15, 12: 0.15}, {4: 0.5, 6: 0.6, 7: 1.0, 43: 0.2}],
    "scream": [
        {4: 0.7, 6: 0.5, 7: 0.7, 9: 0.45, 10: 0.4, 20: 0.7, 25: 1.0, 27: 1.05, 16: 0.5},
        {1: 0.4, 4: 0.7, 6: 0.6, 7: 0.9, 10: 0.5, 20: 0.5, 25: 1.0, 27: 1.0},
    ],
}
"""Name -> variants at full strength. The first of each is the one that sheets show."""

LEVELS = (0.55, 0.70, 0.85, 1.0)
"""Strength of levels 1 to 4. A level below .55 cannot be told from a neutral face with stray units."""

STRAY_UNITS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 25, 43)  # what everyday faces do besides the expression

for _variants in EXPRESSIONS.values():  # a unit without a muscle would otherwise be ignored in silence
    for _recipe in _variants:
        check_action_units(_recipe)


def sample_expression(
    expression: str,
    level: int,
    rng: np.random.Generator,
    jitter: float = 0.12,
    drop: float = 0.05,
    stray: float = 0.15,
) -> ActionUnits:
    """One person's version of an expression: a variant of the recipe, scaled, varied, with stray units.

    expression: a name in EXPRESSIONS; level: 1..4, index into LEVELS from 1;
    jitter: standard deviation of the log of each unit's strength (and each is lopsided by 10 %);
    drop: probability that a unit is left out, in recipes of more than two;
    stray: greatest intensity of one or two further units, which belong to no class; 0 for none.
    """
    if expression not in EXPRESSIONS:
        raise ParameterError(f"unknown expression {expression!r}", do=f"choose from {', '.join(EXPRESSIONS)}")
    if level not in range(1, len(LEVELS) + 1):
        raise ParameterError(f"level {level!r} of an expression", do=f"choose 1..{len(LEVELS)}; 4 is full strength")
    variants = EXPRESSIONS[expression]
    recipe = check_action_units(variants[rng.integers(len(variants))])
    units: dict[int, tuple[float, float]] = {}
    for unit, (right, left) in recipe.items():
        if rng.random() < drop and len(recipe) > 2:
            continue
        gain, lopsided = LEVELS[level - 1] * np.exp(rng.normal(0, jitter)), rng.normal(0, 0.10)
        if unit in JAW_UNITS:
            lopsided = 0.0
        units[unit] = _clipped(right * gain * (1 + lopsided), left * gain * (1 - lopsided))
    if stray > 0:
        for unit in rng.choice(STRAY_UNITS, size=rng.integers(1, 3), replace=False):
            right, left = units.get(int(unit), (0.0, 0.0))
            extra = stray * rng.random()
            units[int(unit)] = _clipped(right + extra, left + extra)
    return units


def _clipped(right: float, left: float) -> tuple[float, float]:
    return float(np.clip(right, 0, STRONGEST)), float(np.clip(left, 0, STRONGEST))
