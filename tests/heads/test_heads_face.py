"""Faces at work: strengths, combinations, lids, mouths, distributions of expressions, styles, and truth."""

from __future__ import annotations

from functools import cache
from itertools import combinations, pairwise

import numpy as np
import pytest

from fercore.errors import ParameterError
from fercore.heads import ACTION_UNITS, PARTS, Head, Mesh, Person, check_action_units, render, sample_person
from fercore.heads.expressions import (
    EXPRESSIONS,
    LEVELS,
    VARIANTS,
    blend,
    personal_style,
    sample_expression,
    sample_gaze,
)
from fercore.heads.motion import move_face
from fercore.heads.muscles import FACS_STRENGTHS
from fercore.heads.truth import CIRCUMPLEX, MASKS, affect, describe, face_box, region_map, unit_vector


@cache
def average() -> Head:
    return Head(Person(), 0.5)


def skin(units: dict, look_up: float = 0.0) -> np.ndarray:
    head = average()
    checked = check_action_units(units)
    return move_face(head.anatomy, head.person, head.shape, head.age_lines, checked, look_up).skin


def pixels_of(picture, *names: str) -> int:
    return int(np.isin(picture.parts, [PARTS.index(name) for name in names]).sum())


# ---- strengths and combinations ------------------------------------------------------------------------------------


def test_letters_are_strengths():
    assert list(FACS_STRENGTHS) == list("ABCDE")
    assert sorted(FACS_STRENGTHS.values()) == list(FACS_STRENGTHS.values())
    assert check_action_units({12: "C", 4: ("A", 0.5)}) == {12: (0.55, 0.55), 4: (0.12, 0.5)}


@pytest.mark.parametrize("strength", ["F", "c", True, -0.1, 1.5, None, ("A",), (0.1, "Z")])
def test_impossible_strengths_are_named(strength):
    with pytest.raises(ParameterError, match=r"12 \(lip corner puller\)"):
        check_action_units({12: strength})


def test_each_letter_moves_more_than_the_one_before():
    rest = skin({})
    for unit in ACTION_UNITS:
        far = [np.abs(skin({unit: letter}) - rest).max() for letter in "ABCDE"]
        assert all(b > a for a, b in pairwise(far)), unit
        assert far[0] > 0.015, unit


@cache
def edges() -> tuple[np.ndarray, np.ndarray]:
    """Edges (E, 2) of the face and its triangles (F, 3)."""
    c = average().anatomy
    f = c.faces[(c.face[c.faces] > 0.3).all(1)]
    return np.unique(np.sort(np.concatenate([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]]), 1), axis=0), f


def test_no_pair_of_units_tears_or_folds_the_skin():
    lines, triangles = edges()

    def normals(points):
        a, b, c = (points[triangles[:, k]] for k in range(3))
        return np.cross(b - a, c - a)

    rest = normals(skin({}))
    for one, two in combinations(ACTION_UNITS, 2):
        moved = skin({one: 1.0, two: 1.0})
        assert np.isfinite(moved).all()
        length = np.linalg.norm(moved[lines[:, 0]] - moved[lines[:, 1]], axis=1)
        assert length.max() < 2.2, (one, two)  # cm; the corner of a stretched mouth has the longest
        turned = ((normals(moved) * rest).sum(1) < 0).mean()
        assert turned < 0.006, (one, two)  # of the triangles; the bridge of a frowning, wrinkled nose


def test_wrinkles_come_and_go():
    head = average()

    def depth(units):
        return move_face(
            head.anatomy, head.person, head.shape, head.age_lines, check_action_units(units)
        ).wrinkles.max()

    assert depth({}) < 0.02
    for unit in (1, 2, 4, 6, 9, 10, 12, 14, 15, 20):
        half, full = depth({unit: 0.5}), depth({unit: 1.0})
        assert 0.03 < half < full, unit


# ---- eyes and mouth ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("others", [{}, {6: 1.0}, {5: 1.0}, {1: 1.0, 2: 1.0}, {4: 1.0, 9: 1.0}])
def test_closed_lids_hide_the_eye(others):
    for seed in range(6):
        mesh = Head(sample_person(seed), 0.65).mesh({**others, 43: 1.0}, gaze=(0.2, 0.1))
        assert pixels_of(render(mesh, size=96, supersampling=1), "eye") == 0, seed


def test_lids_follow_the_gaze():
    middle = average().anatomy.eyes[1].upper
    middle = middle[len(middle) // 2]
    down, level, up = (skin({}, look_up=angle)[middle, 1] for angle in (-0.25, 0.0, 0.25))
    assert down < level - 0.08 and up > level + 0.05


def test_an_open_mouth_shows_teeth_and_tongue_and_a_closed_one_neither():
    shown = 0
    for seed in range(8):
        head = Head(sample_person(seed), 0.65)
        wide, shut = (render(head.mesh(units), size=112, supersampling=1) for units in ({25: 1.0, 27: 1.0}, {24: 1.0}))
        assert pixels_of(shut, "teeth", "tongue") == 0, seed
        shown += pixels_of(wide, "teeth") > 0 and pixels_of(wide, "tongue") > 0
    assert shown >= 7


def test_gaze_is_mostly_into_the_camera():
    rng = np.random.default_rng(0)
    drawn = np.array([sample_gaze(rng) for _ in range(2000)])
    assert 0.6 < (np.abs(drawn[:, 0]) < 0.15).mean() < 0.9
    assert np.abs(drawn.mean(0)).max() < 0.02 and np.abs(drawn[:, 0]).max() <= 0.52 and np.abs(drawn[:, 1]).max() <= 0.3


# ---- expressions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_weights_sum_to_one_and_ranges_are_possible(name):
    assert sum(variant.weight for variant in VARIANTS[name]) == pytest.approx(1)
    for variant in VARIANTS[name]:
        for unit, (probability, low, high) in variant.units.items():
            assert unit in ACTION_UNITS and 0 < probability <= 1 and 0 < low < high <= 1.3
    assert len(EXPRESSIONS[name]) == len(VARIANTS[name])


def test_draws_follow_the_distribution():
    rng = np.random.default_rng(1)
    drawn = [sample_expression("happiness", 4, rng, jitter=0, drop=0, stray=0) for _ in range(3000)]
    variants = VARIANTS["happiness"]
    expected = sum(variant.weight * variant.units.get(26, (0,))[0] for variant in variants)
    assert np.mean([26 in units for units in drawn]) == pytest.approx(expected, abs=0.03)
    assert all(0.6 < np.mean(units[12]) < 1.2 for units in drawn)


def test_same_seed_same_units():
    for name in VARIANTS:
        style = personal_style(5)
        one, two = (sample_expression(name, 2, np.random.default_rng(9), style=style) for _ in range(2))
        assert one == two == check_action_units(one)


def test_contempt_is_one_sided():
    rng = np.random.default_rng(2)
    sides = set()
    for _ in range(100):
        right, left = sample_expression("contempt", 4, rng, drop=0, stray=0)[14]
        assert min(right, left) == 0 and max(right, left) > 0.5
        sides.add(left > right)
    assert sides == {True, False}
    rest, moved = (average().mesh(units).landmarks for units in ({}, EXPRESSIONS["contempt"][0]))
    by = np.linalg.norm(moved - rest, axis=1)
    assert by[54] > 0.5 > 0.1 > by[48]  # the left corner of the mouth alone


def test_levels_grow():
    for name in set(VARIANTS) - {"neutral"}:
        strength = [
            np.mean([unit_vector(sample_expression(name, level, np.random.default_rng(s), stray=0)) for s in range(40)])
            for level in range(1, len(LEVELS) + 1)
        ]
        assert strength == sorted(strength) and strength[3] > 1.5 * strength[0], name


def test_a_blend_lies_between_two_expressions():
    smile, frown = {12: 1.0, 25: 0.5}, {4: (0.8, 0.4)}
    assert blend(smile, frown, 0) == {4: (0, 0), 12: (1, 1), 25: (0.5, 0.5)}
    assert blend(smile, frown, 0.25) == {4: pytest.approx((0.2, 0.1)), 12: (0.75, 0.75), 25: (0.375, 0.375)}
    there, back = blend(smile, frown, 0.3), blend(frown, smile, 0.7)
    assert there.keys() == back.keys() and all(there[unit] == pytest.approx(back[unit]) for unit in there)
    with pytest.raises(ParameterError, match=r"a share of 1\.5"):
        blend(smile, frown, 1.5)


def test_styles_differ_and_last():
    assert personal_style(3) == personal_style(3) != personal_style(4)
    for seed in range(20):
        style = personal_style(seed)
        assert all(sum(p) == pytest.approx(1) for p in style.preference.values()) and 0 <= style.left <= 1
        assert style.lean[26] == style.lean[27] == 0
        assert all(0.7 < gain < 1.4 for gain in style.gain.values())
    favourites = {np.argmax(personal_style(seed).preference["happiness"]) for seed in range(40)}
    assert len(favourites) >= 3


def test_average_style_is_the_mixture():
    mean = np.mean([personal_style(seed).preference["anger"] for seed in range(400)], 0)
    assert mean == pytest.approx([variant.weight for variant in VARIANTS["anger"]], abs=0.05)


# ---- truth ---------------------------------------------------------------------------------------------------------


def test_affect_is_where_the_circumplex_has_it():
    assert set(CIRCUMPLEX) == set(EXPRESSIONS)
    assert affect("neutral", 0, {}) == (0, 0)
    happy, sad, fear = (affect(name, 1, EXPRESSIONS[name][0]) for name in ("happiness", "sadness", "fear"))
    assert happy.valence > 0.6 and sad.valence < -0.4 and fear.valence < -0.4
    assert fear.arousal > 0.6 and sad.arousal < 0 < happy.arousal
    assert affect("happiness", 0.5, {12: 0.5}).valence < happy.valence
    by_hand = 0.8 * 0.5 * 0.85 + 0.2 * np.tanh(0.80 * 0.25)
    assert affect("happiness", 0.5, {12: (0.0, 0.5)}).valence == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: affect("joy", 1, {}), "'joy'"),
        (lambda: affect("fear", 1.2, {}), "intensity 1.2"),
        (lambda: face_box(np.zeros((5, 2))), r"\(5, 2\)"),
    ],
)
def test_bad_input_of_truth_is_named(call, says):
    with pytest.raises(ParameterError, match=says):
        call()


@cache
def bare() -> tuple[Head, Mesh]:
    head = Head(Person(hair="crop"), 0.75)
    return head, head.mesh()


@pytest.mark.parametrize("yaw", [0.0, 45.0, 90.0])
def test_masks_agree_with_landmarks(yaw):
    head, mesh = bare()
    picture = render(mesh, yaw, size=160, field=26.0)
    regions = region_map(head, mesh, picture)
    assert regions.dtype == np.uint8 and regions.shape == (160, 160)
    assert ((regions == 0) == (picture.parts == 0)).all()
    for name, some in (
        ("brows", range(17, 27)),
        ("eyes", range(36, 48)),
        ("nose", range(27, 31)),
        ("mouth", range(48, 60)),
    ):
        rows, columns = np.nonzero(regions == MASKS.index(name))
        assert len(rows) > 20, name
        points = picture.landmarks[[k for k in some if picture.visible[k]]]
        assert len(points) >= 2, name
        near = np.hypot(columns[:, None] - points[:, 0], rows[:, None] - points[:, 1]).min(0)
        assert near.max() < 7, (name, near.max())


@pytest.mark.parametrize(("yaw", "seen"), [(0.0, 51), (45.0, 35), (90.0, 20)])
def test_landmarks_that_are_seen(yaw, seen):
    _, mesh = bare()
    picture = render(mesh, yaw, size=160, field=26.0)
    assert picture.visible[17:].sum() >= seen
    box = face_box(picture.landmarks)
    assert box[0] < box[2] and box[1] < box[3]
    x, y = picture.landmarks.T
    assert box[0] <= x.min() and x.max() <= box[2] and box[1] < y.min() and y.max() <= box[3]
    wider = face_box(picture.landmarks, 0.1)
    assert wider[0] < box[0] and wider[3] > box[3]


def test_description_holds_everything():
    head, mesh = bare()
    units = {12: (0.0, 0.5)}
    truth = describe(head, mesh, render(mesh, 30, size=64), "happiness", 0.7, units, (30, 0, 0))
    assert truth.action_units.shape == (44,) and truth.action_units.sum() == 0.5
    assert truth.landmarks_3d.shape == (68, 3) and truth.visible.dtype == bool and truth.regions.shape == (64, 64)
    assert truth.pose == (30.0, 0.0, 0.0) and truth.affect.valence > 0
