"""Rendered people: symmetry, muscles, lids, landmarks, pose, light, seeds and bad input."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fercore.data import labels
from fercore.errors import ParameterError
from fercore.heads import (
    ACTION_UNITS,
    EXPRESSIONS,
    LEVELS,
    PARTS,
    REGIONS,
    Head,
    Light,
    Mesh,
    Person,
    canonical,
    check_action_units,
    face_centre,
    render,
    sample_background,
    sample_expression,
    sample_light,
    sample_person,
    sheets,
)
from fercore.heads.anatomy import LEFT, RIGHT
from fercore.heads.expressions import VARIANTS

JAW = (26, 27)
seeds = st.integers(0, 2**31 - 1)
few = settings(max_examples=12, deadline=None)


@cache
def average() -> Head:
    """The average head, which is symmetric."""
    return Head(Person())


def skin(units: dict | None = None) -> np.ndarray:
    """Skin vertices of the average head, (V, 3)."""
    return average().mesh(units).vertices[: len(average().anatomy.x)].astype(float)


@cache
def skin_at_rest() -> np.ndarray:
    return skin()


@cache
def mirror() -> np.ndarray:
    """Vertex of the canonical head on the other side of the midline, from the order of its grid and slits."""
    c = average().anatomy
    other = np.arange(len(c.x))
    columns = (c.index.shape[1] - 2 - np.arange(c.index.shape[1])) % c.index.shape[1]
    other[: c.index.size] = c.index[:, columns].ravel()
    for one, two in ((c.mouth, c.mouth), (c.eyes[RIGHT], c.eyes[LEFT]), (c.eyes[LEFT], c.eyes[RIGHT])):
        other[one.lower] = two.lower[::-1]
    return other


def mirrored(points: np.ndarray) -> np.ndarray:
    return points[mirror()] * [-1, 1, 1]


def motion(units: dict) -> np.ndarray:
    """How far each skin vertex of the average head moves, (V, 3) cm."""
    return skin(units) - skin_at_rest()


def pixels_of(picture, *names: str) -> np.ndarray:
    return np.isin(picture.parts, [PARTS.index(name) for name in names])


def at(picture, points: np.ndarray) -> str:
    """Name of the part that the picture shows at the mean of these points."""
    x, y = np.floor(points.mean(0)).astype(int)
    return PARTS[picture.parts[y, x]]


# ---- symmetry ------------------------------------------------------------------------------------------------------


def test_average_head_is_symmetric():
    assert np.abs(mirrored(skin_at_rest()) - skin_at_rest()).max() < 1e-4
    assert np.ptp(skin_at_rest()[:, 0]) > 14  # cm: it is a head and not a point


@pytest.mark.parametrize("unit", ACTION_UNITS)
def test_equal_sides_move_alike(unit):
    moved = motion({unit: 1.0})
    assert np.abs(mirrored(moved) - moved).max() < 2e-4


@pytest.mark.parametrize("unit", [unit for unit in ACTION_UNITS if unit not in JAW])
def test_one_side_moves_alone(unit):
    left, right = motion({unit: (0.0, 1.0)}), motion({unit: (1.0, 0.0)})
    far = np.abs(average().anatomy.x) > 2
    on_left = average().anatomy.x > 0
    assert np.abs(left[far & ~on_left]).max() < 0.01  # cm: a step of the table under the skin
    assert np.abs(left[on_left]).max() > 0.1
    assert np.abs(mirrored(left) - right).max() < 2e-4


# ---- muscles -------------------------------------------------------------------------------------------------------

UPPER_FACE, LOWER_FACE = ("mouth", "chin"), ("forehead", "brows")  # what the other half must leave still
MOST = {  # unit: regions that may move furthest, regions that stay
    1: ("brows", UPPER_FACE),
    2: ("brows", UPPER_FACE),
    4: ("brows", UPPER_FACE),
    5: ("eyes", (*UPPER_FACE, "nose", "forehead")),
    6: ("eyes cheeks", (*UPPER_FACE, "forehead", "brows")),
    7: ("eyes", (*UPPER_FACE, "nose", "forehead")),
    9: ("nose", ("chin",)),
    10: ("mouth", (*LOWER_FACE, "eyes", "chin")),
    12: ("mouth", LOWER_FACE),
    14: ("mouth", (*LOWER_FACE, "eyes", "nose")),
    15: ("mouth", (*LOWER_FACE, "eyes")),
    16: ("mouth", (*LOWER_FACE, "eyes", "nose")),
    17: ("chin", (*LOWER_FACE, "eyes", "nose")),
    18: ("mouth", (*LOWER_FACE, "eyes")),
    20: ("mouth", (*LOWER_FACE, "eyes")),
    22: ("mouth", (*LOWER_FACE, "eyes")),
    23: ("mouth", (*LOWER_FACE, "eyes", "nose")),
    24: ("mouth", (*LOWER_FACE, "eyes")),
    25: ("mouth", (*LOWER_FACE, "eyes", "nose", "cheeks")),
    26: ("chin", (*LOWER_FACE, "eyes")),
    27: ("chin", (*LOWER_FACE, "eyes")),
    43: ("eyes", (*UPPER_FACE, "nose", "forehead")),
}


def test_every_unit_is_in_the_table():
    assert set(MOST) == set(ACTION_UNITS)


@pytest.mark.parametrize("unit", ACTION_UNITS)
def test_unit_moves_its_region_and_nothing_else(unit):
    furthest, still = MOST[unit]
    far = np.linalg.norm(motion({unit: 1.0}), axis=1)
    region = average().anatomy.region
    assert far.max() > 0.25
    assert REGIONS[region[far.argmax()]] in furthest.split()
    for name in still:
        assert far[region == REGIONS.index(name)].max() < 0.03, name


@pytest.mark.parametrize(
    ("unit", "landmark", "axis", "sign"),
    [
        (1, 21, 1, 1),  # inner brow up
        (2, 18, 1, 1),  # outer brow up
        (4, 21, 1, -1),  # inner brow down
        (5, 37, 1, 1),  # upper lid up
        (7, 41, 1, 1),  # lower lid up
        (12, 48, 1, 1),  # right lip corner up
        (12, 48, 0, -1),  # ... and outward
        (15, 48, 1, -1),  # lip corner down
        (18, 48, 0, 1),  # lip corner inward
        (20, 48, 0, -1),  # lip corner outward
        (17, 57, 1, 1),  # chin up, and the lower lip with it
        (22, 51, 2, 1),  # lips forward
        (16, 57, 1, -1),  # lower lip down
        (25, 66, 1, -1),  # lips part
        (10, 50, 1, 1),  # upper lip up
        (26, 8, 1, -1),  # chin down
        (43, 37, 1, -1),  # upper lid down
    ],
)
def test_unit_pulls_its_landmark_the_right_way(unit, landmark, axis, sign):
    by = average().mesh({unit: 1.0}).landmarks - average().mesh().landmarks
    assert sign * by[landmark, axis] > 0.1


def test_motion_grows_with_intensity():
    for unit in ACTION_UNITS:
        half, full = (np.abs(motion({unit: a})).max() for a in (0.5, 1.0))
        assert 0.3 * full < half < 0.75 * full, unit


def test_closed_eyes_hide_the_eyeballs():
    shown = 0
    for seed in range(40):
        head = Head(sample_person(seed))
        for yaw in (-40, 0, 40):
            assert pixels_of(render(head.mesh({43: 1.0}), yaw, size=80), "eye").sum() == 0, (seed, yaw)
        shown += pixels_of(render(head.mesh(), size=80), "eye").sum() > 20
    assert shown == 40  # ... which are there


# ---- expressions ---------------------------------------------------------------------------------------------------


def test_expressions_carry_the_names_of_the_labels():
    assert set(labels.EXPRESSIONS) < set(EXPRESSIONS)
    assert all(check_action_units(recipe) is not None for variants in EXPRESSIONS.values() for recipe in variants)


@few
@given(st.sampled_from(list(EXPRESSIONS)), st.integers(1, 4), seeds, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_sampled_expressions_are_valid_and_repeatable(name, level, seed, jitter, drop, stray):
    one, two = (
        sample_expression(name, level, np.random.default_rng(seed), jitter=jitter, drop=drop, stray=stray)
        for _ in range(2)
    )
    assert one == two == check_action_units(one)


@given(st.sampled_from(list(EXPRESSIONS)), st.integers(1, 4), seeds)
def test_without_jitter_an_expression_is_one_of_its_variants(name, level, seed):
    drawn = sample_expression(name, level, np.random.default_rng(seed), jitter=0, drop=0, stray=0)
    strengths = {unit: max(sides) / LEVELS[level - 1] for unit, sides in drawn.items()}

    def could_be(variant):
        required = {unit for unit, (probability, *_) in variant.units.items() if probability == 1}
        return required <= set(strengths) <= set(variant.units) and all(
            0.99 * variant.units[unit][1] <= a <= 1.6 * variant.units[unit][2]  # lopsided by 10 %
            for unit, a in strengths.items()
        )

    assert any(could_be(variant) for variant in VARIANTS[name])


def test_stray_units_are_few_and_weak():
    rng = np.random.default_rng(0)
    drawn = [sample_expression("neutral", 4, rng) for _ in range(200)]
    assert all(1 <= len(units) <= 2 and max(max(sides) for sides in units.values()) <= 0.15 for units in drawn)
    assert len({unit for units in drawn for unit in units}) > 10


# ---- people --------------------------------------------------------------------------------------------------------


@few
@given(seeds, seeds)
def test_seeds_make_people(one, two):
    assert sample_person(one) == sample_person(one)
    if one != two:
        a, b = (Head(sample_person(seed)).shape for seed in (one, two))
        assert np.abs(a - b).max() > 0.1


@few
@given(seeds, st.sampled_from(list(EXPRESSIONS)))
def test_every_mesh_is_whole(seed, name):
    head = Head(sample_person(seed))
    mesh = head.mesh(sample_expression(name, 4, np.random.default_rng(seed)), gaze=(0.1, -0.1))
    n = len(mesh.vertices)
    assert mesh.faces.min() >= 0 and mesh.faces.max() < n
    assert mesh.colours.shape == (n, 3) and mesh.gloss.shape == mesh.part.shape == (n,)
    assert all(np.isfinite(values).all() for values in (mesh.vertices, mesh.colours, mesh.gloss, mesh.landmarks))
    assert np.abs(mesh.landmarks - mesh.vertices[head.anatomy.landmarks]).max() == 0
    assert {"skin", "eye", "teeth", "neck", "hair"} <= {PARTS[part] for part in np.unique(mesh.part)}


def test_sex_can_be_chosen():
    people = [(sample_person(seed, "female"), sample_person(seed, "male")) for seed in range(20)]
    assert all(woman.sex < 0 < man.sex and woman.beard == 0 for woman, man in people)
    assert 5 < sum(sample_person(seed).sex < 0 for seed in range(20)) < 15


def test_resolution_does_not_move_landmarks():
    coarse, fine = (Head(Person(), density).mesh().landmarks for density in (0.75, 1.0))
    assert np.abs(coarse - fine).max() < 0.3  # cm


# ---- pictures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("yaw", [-30, 0, 30])
def test_landmarks_lie_where_the_picture_shows_them(yaw):
    picture = render(average().mesh({25: 1.0, 27: 1.0}), yaw, size=160)
    points = picture.landmarks
    assert at(picture, points[36:42]) == at(picture, points[42:48]) == "eye"
    assert at(picture, points[60:68]) in ("mouth", "teeth", "tongue")
    for part, some in (("eye", points[36:48]), ("mouth", points[48:68])):
        y, x = np.nonzero(pixels_of(picture, part))
        assert some[:, 0].min() - 3 < x.min() and x.max() < some[:, 0].max() + 3
        assert some[:, 1].min() - 3 < y.min() and y.max() < some[:, 1].max() + 3


def test_nose_tip_is_nearest():
    picture = render(average().mesh(), size=160, centre=(0.0, -2.6), field=22.0)
    y, x = np.unravel_index(picture.depth.argmin(), picture.depth.shape)
    assert np.hypot(*(picture.landmarks[30] - [x, y])) < 6
    assert picture.visible[17:].all()


def test_profile_shows_one_side():
    for yaw, near, far in ((90, range(36, 42), range(42, 48)), (-90, range(42, 48), range(36, 42))):
        visible = render(average().mesh(), yaw, size=112).visible
        assert visible[list(near)].sum() >= 3 and not visible[list(far)].any()


def test_turns_go_the_way_they_say():
    view = {"size": 112, "centre": (0.0, -2.6), "field": 25.0}
    rest, right, up, tilted = (
        render(average().mesh(), **turn, **view).landmarks for turn in ({}, {"yaw": 20}, {"pitch": 20}, {"roll": 20})
    )
    assert right[30, 0] > rest[30, 0] + 5  # nose tip to the image's right
    assert up[30, 1] < rest[30, 1] - 3  # nose tip up
    assert tilted[45, 1] < tilted[36, 1] - 5  # the eye on the image's right is higher: counter-clockwise


def test_gaze_moves_the_iris():
    def iris(gaze):
        picture = render(average().mesh({5: 0.5}, gaze=gaze), size=224, field=14.0, centre=(0.0, 0.0))
        eye = pixels_of(picture, "eye") & (picture.image.sum(2) < 180)
        return np.array(np.nonzero(eye)).mean(1)  # row, column

    (row, column), (up_row, _), (_, right_column) = iris((0.0, 0.0)), iris((0.0, 0.25)), iris((0.25, 0.0))
    assert right_column > column + 2 and up_row < row - 1


def two_squares(near_half: float, near_z: float, far_half: float) -> Mesh:
    """Two squares that face the camera, at heights near_z and 0.5 cm (which is 85 cm away), of parts 1 and 4."""
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], float)
    near, far = corners * near_half + [0, 0, near_z], corners * far_half + [0, 0, 0.5]
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    return Mesh(
        vertices=np.concatenate([near, far]).astype(np.float32),
        faces=np.concatenate([faces, faces + 4]).astype(np.int32),
        colours=np.full((8, 3), 0.5, np.float32),
        gloss=np.zeros(8, np.float32),
        part=np.repeat([1, 4], 4).astype(np.int8),
        landmarks=np.repeat(far[:1], 68, 0).astype(np.float32),
    )


def test_a_flat_mesh_renders_as_geometry_says():
    """Depth, parts and sizes follow from the projection."""
    mesh = two_squares(near_half=2, near_z=10.5, far_half=4)
    picture = render(mesh, size=400, field=20.0, centre=(0.0, 0.0), supersampling=1)
    assert picture.depth[200, 200] == pytest.approx(75) and picture.depth[200, 140] == pytest.approx(85)
    assert np.isinf(picture.depth[200, 40]) and picture.parts[200, 40] == 0
    assert (picture.parts == 1).sum() == pytest.approx((400 / 20 * 85 / 75 * 4) ** 2, rel=0.02)
    assert ((picture.parts == 1) | (picture.parts == 4)).sum() == pytest.approx((400 / 20 * 8) ** 2, rel=0.02)
    assert picture.landmarks[0] == pytest.approx([200 - 80, 200 + 80], abs=1e-3)


@pytest.mark.parametrize(("x", "y"), [(-1, 1), (1, 1), (-1, -1), (1, -1)])
def test_shadow_falls_away_from_the_light(x, y):
    mesh, only_key = two_squares(near_half=1, near_z=3.5, far_half=8), {"sky": (0, 0, 0), "ground": (0, 0, 0)}
    light = Light(key_direction=(x, y, 1), side=(0, 0, 0), **only_key)
    image = render(mesh, size=200, field=20.0, centre=(0.0, 0.0), light=light).image
    seen = {(i, j): int(image[100 - 30 * j, 100 + 30 * i].max()) for i in (-1, 1) for j in (-1, 1)}
    assert seen.pop((-x, -y)) == 0  # 3 cm to the side, for a square that hovers 3 cm above the other
    assert min(seen.values()) > 50


def test_background_is_left_as_it_is():
    room = sample_background(64, np.random.default_rng(3))
    picture = render(average().mesh(), size=64, background=room)
    empty = ~pixels_of(picture, *PARTS[1:])
    inside = empty.copy()
    for axis in (0, 1):
        for step in (-1, 1):
            inside &= np.roll(empty, step, axis)
    expected = 255 * room ** (1 / 1.25)
    assert inside.sum() > 100
    assert np.abs(picture.image[inside] - expected[inside]).max() <= 1


def test_light_comes_from_where_it_is():
    bright = {}
    for name, x in (("left", -1.0), ("right", 1.0)):
        picture = render(average().mesh(), size=96, light=Light(key_direction=(x, 0.2, 0.6), side=(0, 0, 0)))
        face = np.where(pixels_of(picture, "skin"), picture.image.mean(2), np.nan)
        bright[name] = np.nanmean(face[:, :48]) - np.nanmean(face[:, 48:])
    assert bright["left"] > 20 and bright["right"] < -20


def _digest() -> str:
    rng, digest = np.random.default_rng(5), hashlib.sha256()
    for seed, hair in ((11, "long"), (12, "quiff"), (13, "bun")):
        mesh = Head(replace(sample_person(seed), hair=hair)).mesh(sample_expression("fear", 3, rng))
        picture = render(mesh, 30, -5, 3, 64, light=sample_light(rng), background=sample_background(64, rng))
        digest.update(picture.image.tobytes() + picture.landmarks.tobytes())
    return digest.hexdigest()


def test_same_seed_same_pixels_in_every_process():
    np.random.seed(1)  # noqa: NPY002  global state must not matter
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    here = _digest()
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    assert here == _digest()
    code = "import runpy, sys; print(runpy.run_path(sys.argv[1])['_digest']())"
    there = subprocess.run([sys.executable, "-c", code, __file__], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


# ---- sheets --------------------------------------------------------------------------------------------------------


def test_sheets_are_grids_of_pictures():
    person, grids = Person(), {}
    grids[1, 3], names = sheets.action_unit_sheet(person, 32, (1, 12, 43))
    assert names == ["AU 1", "AU 12", "AU 43"]
    grids[2, 3] = sheets.contact_sheet(person, ["neutral", {27: 1.0}], (-45, 0, 45), 32)
    grids[3, 1] = sheets.pose_sheet(person, (0,), (-10, 0, 10), 32)
    grids[2, 2] = sheets.crowd((1, 2, 3), 32, columns=2)
    grids[2, 4], _ = sheets.slit_sheet(person, 32)
    grids[1, 4], _ = sheets.anatomy_views(person, 32)
    grids[1, 2] = sheets.muscle_sheet(person, 32, (4, 12))
    for shape, grid in grids.items():
        assert grid.shape == (*shape, 32, 32, 3) and grid.dtype == np.uint8
        assert len({cell.tobytes() for row in grid for cell in row}) == np.prod(shape)
    assert (grids[2, 2][1, 1] == 255).all()  # three people leave the fourth place white
    views, _ = sheets.knowledge_views(render(average().mesh(), size=32))
    assert views.shape == (1, 3, 32, 32, 3)


# ---- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: check_action_units({11: 0.5}), "11"),
        (lambda: check_action_units({True: 0.5}), "True"),
        (lambda: average().mesh({12: 1.5}), r"12 \(lip corner puller\).*1.5"),
        (lambda: average().mesh({12: -0.1}), "12"),
        (lambda: average().mesh({12: (0.1, 0.2, 0.3)}), "12"),
        (lambda: average().mesh({12: float("nan")}), "nan"),
        (lambda: average().mesh({12: "strong"}), "strong"),
        (lambda: average().mesh(gaze=(2.0, 0.0)), "gaze"),
        (lambda: render(average().mesh(), yaw=91), "yaw 91"),
        (lambda: render(average().mesh(), yaw=float("nan")), "yaw nan"),
        (lambda: render(average().mesh(), pitch=-60), "pitch -60"),
        (lambda: render(average().mesh(), roll=46), "roll 46"),
        (lambda: render(average().mesh(), size=4), "size 4"),
        (lambda: render(average().mesh(), size=64.0), "size 64.0"),
        (lambda: render(average().mesh(), supersampling=9), "supersampling 9"),
        (lambda: render(average().mesh(), field=1), "field 1"),
        (lambda: render(average().mesh(), size=64, background=np.zeros((32, 32, 3))), r"\(32, 32, 3\)"),
        (lambda: Light(key_direction=(0, 0, 0)), "key_direction"),
        (lambda: sample_person(-1), "seed -1"),
        (lambda: sample_person(1, "man"), "'man'"),
        (lambda: sample_expression("happy", 4, np.random.default_rng(0)), "'happy'.*\n.*happiness"),
        (lambda: sample_expression("fear", 6, np.random.default_rng(0)), "level 6"),
        (lambda: canonical(3.0), "density 3.0"),
        (lambda: Head(Person(hair="mohawk")), "'mohawk'"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(ParameterError, match=says):
        call()


def test_crop_follows_the_face():
    assert face_centre(0, 19.5) == pytest.approx((0, -2.6))
    head = Head(sample_person(3), 0.5).mesh({})
    for yaw, pitch in ((0, -30), (0, 30), (40, -30), (40, 20), (80, 20)):
        level, bent = (
            render(head, yaw, angle, field=16.3, centre=face_centre(yaw, 16.3, angle)).landmarks[36:, 1]
            for angle in (0, pitch)
        )
        middles = [(points[:12].mean() + points[12:].mean()) / 2 * 16.3 / 112 for points in (level, bent)]
        assert middles[1] == pytest.approx(middles[0], abs=0.6), "a crop that follows keeps the face's place"
    assert face_centre(90, 19.5)[0] > 4 and face_centre(-90, 19.5)[0] < -4
