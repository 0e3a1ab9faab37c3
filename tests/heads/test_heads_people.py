"""People: sexes, ages, tones, hair, beards, lopsided faces, accessories."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_fill_holes

from fercore.errors import ParameterError
from fercore.heads import PARTS, Accessories, Head, Person, hair, render, sample_accessories, sample_person
from fercore.heads.accessories import COLLARS, FRAMES, HEADWEAR, OCCLUDERS
from fercore.heads.anatomy import canonical
from fercore.heads.people import BEARDS, HAIRSTYLES, MONK, SKIN, resting_shape

STYLES = sorted({style for styles in HAIRSTYLES.values() for style in styles})
SHAPES = ("jaw", "brow_ridge", "lips", "brow_height", "chin_height", "eye_size", "brow_thickness", "brow_arch")


def people(sex: str, n: int = 150) -> list[Person]:
    return [sample_person(seed, sex) for seed in range(n)]


def shown(head: Head, *names: str, size: int = 48, yaw: float = 0.0) -> int:
    """Pixels of these parts; the mesh is finite."""
    mesh = head.mesh()
    assert all(np.isfinite(values).all() for values in (mesh.vertices, mesh.colours, mesh.normals, mesh.strands))
    picture = render(mesh, yaw, size=size, field=30.0)
    return int(np.isin(picture.parts, [PARTS.index(name) for name in names]).sum())


@pytest.mark.parametrize("name", SHAPES)
def test_sexes_differ_in_shape(name):
    """By more than a standard deviation of either."""
    women, men = ([getattr(p, name) for p in people(sex)] for sex in ("female", "male"))
    assert abs(np.mean(women) - np.mean(men)) > 0.75 * max(np.std(women), np.std(men))


def test_a_womans_jaw_is_narrower_and_her_chin_higher():
    c = canonical(0.5)
    woman, man = (resting_shape(c, Person(sex=g))[0] for g in (-1.0, 1.0))
    jaw = (np.abs(c.y + 9) < 0.5) & c.front
    assert np.ptp(man[jaw, 0]) - np.ptp(woman[jaw, 0]) > 1.0  # cm
    assert woman[c.landmarks[8], 1] - man[c.landmarks[8], 1] > 0.4


def test_women_have_no_beards_and_men_no_lipstick():
    assert all(p.beard == 0 for p in people("female")) and all(p.lipstick == 0 for p in people("male"))
    assert 0.3 < np.mean([p.beard > 0 for p in people("male")]) < 0.8
    assert 0.3 < np.mean([p.lipstick > 0 for p in people("female")]) < 0.8


def test_ages_span_adulthood():
    years = [p.years for p in people("male", 400)]
    assert min(years) < 24 and max(years) > 70
    old, young = (
        np.mean([min(p.hair_colour) for p in people("male", 400) if test(p)])
        for test in (
            lambda p: p.age > 0.8,
            lambda p: p.age < 0.3,
        )
    )
    assert old > young + 0.1  # grey


def test_old_skin_is_lined():
    c = canonical(0.5)
    lines = [resting_shape(c, Person(age=age))[1].max() for age in (0.2, 0.6, 1.0)]
    assert lines[0] < 0.02 and lines[0] < lines[1] < lines[2]


def luminance(colours: np.ndarray) -> np.ndarray:
    return colours @ [0.2126, 0.7152, 0.0722]


def test_tones_of_the_monk_scale_are_ordered():
    """As published, tones 2 and 3 are nearly as light as each other; all others darken step by step."""
    assert len(MONK.split()) == 10 and SKIN[0] == pytest.approx((np.array([0xF6, 0xED, 0xE4]) / 255) ** 1.25, abs=0.002)
    light = luminance(SKIN ** (2.2 / 1.25))
    assert abs(light[1] - light[2]) < 0.04
    assert (np.diff(np.delete(light, 2)) < 0).all() and (np.diff(light[2:]) < 0).all()


def test_rendered_faces_follow_their_tones():
    shown_light = []
    for k in range(10):
        picture = render(Head(Person(tone=k / 9), 0.5).mesh(), size=48)
        shown_light.append(luminance(picture.image[picture.parts == PARTS.index("skin")].astype(float)).mean())
    assert (np.diff(shown_light[3:]) < -1).all() and min(shown_light[:3]) > shown_light[4]


def test_all_tones_are_drawn():
    assert set(np.round([9 * p.tone for p in people("female", 400)])) == set(range(10))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("sex", [-1.0, 1.0])
def test_every_hairstyle_shows(style, sex):
    head = Head(Person(hair=style, sex=sex, seed=4), 0.5)
    assert shown(head, "hair", yaw=60) > (8 if style == "bald" else 60)


@pytest.mark.parametrize("style", BEARDS)
def test_every_beard_shows(style):
    bare, bearded = (render(Head(Person(beard=b, beard_style=style, sex=1), 0.5).mesh(), size=64) for b in (0.0, 0.9))
    below = slice(36, 60)
    darker = bare.image[below].astype(float).mean() - bearded.image[below].astype(float).mean()
    assert darker > 1
    assert (shown(Head(Person(beard=0.9, beard_style=style), 0.5), "beard") > 5) == (style != "stubble")


def test_faces_are_lopsided_at_rest_as_much_as_asked():
    c = canonical(0.5)
    straight, usual, strong = (resting_shape(c, Person(asymmetry=a, seed=3))[0] for a in (0.0, 1.0, 2.0))
    assert 0.03 < np.abs(usual - straight).max() < 0.5
    assert strong - straight == pytest.approx(2 * (usual - straight))
    assert np.mean([p.asymmetry > 0 for p in people("female")]) > 0.9


# ---- accessories ---------------------------------------------------------------------------------------------------

WORN = [
    *({"glasses": name} for name in FRAMES),
    *({"headwear": name} for name in HEADWEAR),
    *({"occluder": name} for name in OCCLUDERS),
    {"earrings": True},
]


@pytest.mark.parametrize("worn", WORN, ids=str)
def test_every_accessory_shows_and_moves_no_landmark(worn):
    person = replace(sample_person(3, "female"), hair="bun")
    bare, dressed = Head(person, 0.5), Head(person, 0.5, Accessories(**worn, seed=1))
    assert (bare.mesh({12: 1.0}).landmarks == dressed.mesh({12: 1.0}).landmarks).all()
    assert shown(dressed, "glasses", "headwear", "hand", "object", size=96) > 3
    assert shown(bare, "glasses", "headwear", "hand", "object", size=96) == 0


@pytest.mark.parametrize("collar", COLLARS)
def test_every_collar_shows(collar):
    assert shown(Head(Person(), 0.5, Accessories(collar=collar)), "clothes") > 20


@pytest.mark.parametrize("hair", STYLES)
@pytest.mark.parametrize("headwear", HEADWEAR)
def test_headwear_goes_over_hair(hair, headwear):
    head = Head(Person(hair=hair, sex=-1.0), 0.5, Accessories(headwear=headwear))
    picture = render(head.mesh(), size=64, field=34.0, centre=(0.0, 0.0))
    crown = picture.parts[: 64 // 4][picture.parts[: 64 // 4] > 0]
    assert (crown == PARTS.index("headwear")).mean() > 0.9


def test_eyes_show_through_clear_glasses_only():
    person = sample_person(3)
    plain, square, dark = (
        shown(Head(person, 0.5, Accessories(glasses=frame)), "eye", size=96) for frame in (None, "round", "sunglasses")
    )
    assert plain > 20 and square > 0.85 * plain and dark < 0.1 * plain


def test_accessories_are_drawn_as_often_as_asked():
    rng = np.random.default_rng(0)
    none = {"glasses": 0, "sunglasses": 0, "headwear": 0, "occluder": 0, "earrings": 0}
    bare = [replace(sample_accessories(p, rng, **none), seed=0) for p in people("female", 20)]
    assert bare == [Accessories()] * 20
    some = [sample_accessories(p, rng, occluder=0.5, headwear=0.3) for p in people("male", 300)]
    assert 0.4 < np.mean([a.occluder is not None for a in some]) < 0.6
    assert 0.2 < np.mean([a.headwear is not None for a in some]) < 0.4
    assert not any(a.earrings for a in some)


@pytest.mark.parametrize(
    "call",
    [
        lambda: Accessories(glasses="monocle"),
        lambda: Accessories(headwear="crown"),
        lambda: Accessories(occluder="cat"),
        lambda: Accessories(collar="ruff"),
        lambda: Person(beard_style="fork"),
        lambda: sample_accessories(Person(), np.random.default_rng(0), glasses=2.0),
    ],
)
def test_bad_input_is_named(call):
    with pytest.raises(ParameterError, match=r"choose|give"):
        call()


# --- hairline ------------------------------------------------------------------------------------------


def test_fine_hairs_darken_the_skin_before_the_hairline_and_nothing_below() -> None:
    c = canonical(0.6)
    person = replace(sample_person(11), hair_colour=(0.0, 0.0, 0.0), recede=0.0)
    plain = np.ones((len(c.x), 3))
    shaded = hair.shade_roots(c, person, plain)
    changed = (shaded < 1).any(1)
    assert changed.any() and shaded.min() >= 0.4 - 1e-6, "the skin always shows"
    x, y, z = c.rest.T
    face = np.abs(np.arctan2(x, z)) < 0.9  # sideburns grow beside it
    assert y[changed & face].min() > 3.0, "no hair on cheeks, eyes and nose"
    higher = shaded[c.front & (np.abs(x) < 1) & (y > 8)]
    assert higher.mean() < 0.7, "and above the hairline it is dark"


def test_nobody_has_bare_temples_under_a_fringe() -> None:
    angle = np.linspace(-1, 1, 41)
    person = replace(sample_person(16), recede=1.0)
    bare, fringed = (
        hair._hairline(person, angle, hair._Strands(np.random.default_rng(0), 0.1, fringe, np.zeros(3)))
        for fringe in (False, True)
    )
    still = hair._hairline(replace(person, recede=0.0), angle, hair._Strands(None, 0.1, False, np.zeros(3)))
    assert np.array_equal(fringed, still) and (bare >= fringed).all() and bare.max() > fringed.max()


def test_a_bald_head_keeps_a_wreath_from_ear_to_ear() -> None:
    person = replace(sample_person(11), hair="bald", recede=0.0)
    strands = hair._Strands(np.random.default_rng(0), 0.1, False, np.zeros(3))
    angle, y = np.meshgrid(np.linspace(-np.pi, np.pi, 73), np.linspace(-9, 11, 81))
    cover = hair._cover(person, angle, y, strands)
    behind = np.abs(angle) > 2
    assert not cover[np.abs(angle) < 1].any() and not cover[y > 8].any(), "brow and crown are bare"
    assert (cover[behind & (y > 0) & (y < 2.5)] > 0.9).all(), "hair behind"
    assert not cover[behind & (y < -6)].any(), "a bare neck"


@pytest.mark.parametrize("style", ["bald", "crop"])
def test_no_hole_shows_in_the_crown(style: str) -> None:
    head = Head(replace(sample_person(11), hair=style), 0.5)
    shown = render(head.mesh(), pitch=-45, size=160, field=30).parts > 0
    assert shown.any() and np.array_equal(binary_fill_holes(shown), shown)


def test_locks_stand_off_the_head_at_the_fringe_only() -> None:
    c = canonical(0.5)
    person = next(p for p in map(sample_person, range(99)) if p.hair == "short" and hair._strands(p, None).fringe)
    _, locks = hair.grow_hair(c, person)[0][:2]
    root, lift = c.rest[locks.roots], np.linalg.norm(locks.offsets, axis=1)
    aside = (np.abs(np.arctan2(root[:, 0], root[:, 2])) > 1.3) & (root[:, 1] > 2) & (root[:, 1] < 6)
    assert aside.sum() > 100 and np.median(lift[aside]) < 1.2  # cm
    place = root + locks.offsets
    assert ((np.abs(place[:, 0]) < 2) & (place[:, 2] > 7) & (place[:, 1] < 6)).any(), "some fall over the forehead"
