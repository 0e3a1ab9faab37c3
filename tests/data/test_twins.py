"""Twins: their designs, seeds, processes, what is known about each picture, interruptions and bad input."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fercore.data import catalogue, photo, protocols, twin_rows, twins
from fercore.data.ferplus import VOTES, majority
from fercore.data.labels import EXPRESSIONS, SEVEN
from fercore.data.prepared import Prepared, content_hash, open_prepared
from fercore.data.twin_designs import DESIGNS, parameters, rows
from fercore.errors import DataError, ParameterError
from fercore.heads import LEVELS
from fercore.paths import ROOT

TINY = parameters(
    "kdef-twin", "smoke", people=4, expressions=("neutral", "fear"), pans=(-90, 0, 90), repeats=2, size=32
)
FACE = ["subject", "expression", "series"]
PICTURES = Path(__file__).with_name("pictures.csv")
PAGE = ROOT / "book" / "real_sets.md"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    path = tmp_path_factory.mktemp("twin") / "tiny"
    twins.prepare(path, TINY, workers=1)
    return open_prepared(path)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twins, "SHARD", 12)


def column(data: Prepared, name: str) -> np.ndarray:
    return np.stack(data.manifest[name])


# ---- designs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("preset", "people", "series"), [("smoke", 20, 1), ("quick", 70, 2), ("paper", 70, 2)])
def test_design_is_kdefs(preset, people, series):
    table = rows(parameters("kdef-twin", preset))
    assert len(table) == people * 7 * 5 * series and table["sample"].is_unique
    assert (table.groupby("expression").size() == people * 5 * series).all() and set(table["expression"]) == set(SEVEN)
    assert (table.groupby("pan").size() == people * 7 * series).all() and len(table["pan"].unique()) == 5
    assert table.groupby("sex")["subject"].nunique().to_dict() == {"female": people // 2, "male": people // 2}
    assert set(table["split"]) == {"all"} and len(table.groupby("seed")) == people * 7 * series


def test_samples_are_named_as_kdef_names_its_files():
    table = rows(parameters("kdef-twin"))
    form = re.compile(r"[AB][FM](0[1-9]|[12]\d|3[0-5])(AF|AN|DI|HA|NE|SA|SU)(FL|HL|S|HR|FR)")
    assert all(form.fullmatch(sample) for sample in table["sample"])
    row = table.set_index("sample").loc["BM07AFHL"]
    assert (row["subject"], row["expression"], row["pan"], row["series"]) == ("M07", "fear", -45, "B")


@pytest.mark.parametrize("preset", ["smoke", "quick"])
@pytest.mark.parametrize("name", DESIGNS)
def test_every_design(name, preset):
    twin = parameters(name, preset)
    table = rows(twin)
    assert table["sample"].is_unique and set(table["expression"]) <= set(twin.expressions)
    assert table["subject"].is_monotonic_increasing or table.groupby("split")["subject"].is_monotonic_increasing.all()
    assert table.groupby("subject")["sex"].nunique().max() == 1 and set(table["sex"]) == {"female", "male"}
    assert table.groupby("subject")["split"].nunique().max() == 1
    assert (table["shown"] == table["expression"]).all() or twin.label_noise > 0 or "also" in table
    assert name in catalogue.DATASETS and not catalogue.entry(name).real


PUBLISHED = [
    ("kdef-twin", "dmlnet-kdef-56-14", 4900, (56, 14)),
    ("bu3dfe-twin", "pata-bu3dfe-s1", 12000, (80, 20)),
    ("bu3dfe-twin", "pata-bu3dfe-s2", 16800, (80, 20)),  # printed as 16,000
    ("bu3dfe-twin", "pata-bu3dfe-s3", 21000, (80, 20)),
    ("bu3dfe-twin", "dmlnet-bu3dfe-70-30", 21600, (70, 30)),
    ("bu3dfe-twin", "phanet-bu3dfe-9pan", 22500, (75, 25)),
    ("multipie-twin", "pata-multipie-s1", 7095, (103, 26)),
    ("multipie-twin", "pata-multipie-s2", 6174, (118, 29)),
]


@pytest.mark.parametrize(("name", "protocol", "images", "people"), PUBLISHED)
def test_protocols_have_the_published_sizes(name, protocol, images, people):
    table = rows(parameters(name, "paper"))
    for fold in (0, 3):
        parts = protocols.split(table, protocol, fold)
        found = {part: set(table["subject"].iloc[chosen]) for part, chosen in parts.items()}
        assert sum(map(len, parts.values())) == images
        assert (len(found["train"] | found["validation"]), len(found["test"])) == people
        assert sum(map(len, found.values())) == len(set().union(*found.values()))  # nobody in two parts


def test_the_page_of_real_sets_has_every_split_of_a_controlled_set_with_its_sizes():
    told = re.findall(r"^\| `([\w-]+)` \| ([\d,]+), ([\d,]+) \| ([\d,]+), ([\d,]+) \|", PAGE.read_text(), re.MULTILINE)
    sets = {"kdef-twin", "bu3dfe-twin", "multipie-twin"}  # made as the sets are
    tables = {name.removesuffix("-twin"): rows(parameters(name, "paper")) for name in sets}
    assert sorted(name for name, *_ in told) == sorted(
        p for p in protocols.PROTOCOLS if any(f"-{s}" in p for s in tables)
    )
    for protocol, *sizes in told:
        table = next(table for name, table in tables.items() if f"-{name}" in protocol)
        parts = protocols.split(table, protocol)
        learnt, tested = np.concatenate([parts["train"], parts["validation"]]), parts["test"]
        people = [table["subject"].iloc[chosen].nunique() for chosen in (learnt, tested)]
        assert [int(size.replace(",", "")) for size in sizes] == [*people, len(learnt), len(tested)], protocol


@pytest.mark.parametrize(
    ("setting", "pans", "levels", "tilts"),
    [
        ("s1", {0, 30, 45, 60, 90}, {1, 2, 3, 4}, {0}),
        ("s2", {-45, -30, -15, 0, 15, 30, 45}, {1, 2, 3, 4}, {0}),
        ("s3", {-45, -30, -15, 0, 15, 30, 45}, {4}, {-30, -15, 0, 15, 30}),
    ],
)
def test_patas_settings_of_bu3dfe(setting, pans, levels, tilts):
    table = rows(parameters("bu3dfe-twin", "paper", people=10))
    tested = table.iloc[protocols.split(table, f"pata-bu3dfe-{setting}")["test"]]
    assert (set(tested["pan"]), set(tested["level"]), set(tested["tilt"])) == (pans, levels, tilts)
    assert (tested.groupby(["subject", "expression", "level", "tilt"])["pan"].nunique() == len(pans)).all()


@settings(max_examples=30, deadline=None)
@given(
    pans=st.sets(st.sampled_from((-90, -45, -15, 0, 15, 30, 60)), min_size=1),
    levels=st.sets(st.sampled_from((1, 2, 3, 4)), min_size=1),
    tilts=st.sets(st.sampled_from((-30, 0, 15)), min_size=1),
)
def test_every_pan_of_bu3dfe_is_there_at_every_level(pans, levels, tilts):
    twin = parameters("bu3dfe-twin", "smoke", people=2, pans=tuple(pans), levels=tuple(levels), tilts=tuple(tilts))
    table = rows(twin).groupby(["level", "tilt"])["pan"].agg(set).to_dict()
    wanted = {(level, 0): pans for level in {0, *levels}} if 0 in tilts else {}
    near = {pan for pan in pans if abs(pan) <= 45}
    wanted |= {(4, tilt): near for tilt in tilts - {0} if near and 4 in levels}
    assert table == wanted


REST_ON = {
    "kdef-twin": ((700, "c698c9d525"), (4900, "643223ec4c")),
    "bu3dfe-twin": ((650, "56f06121dd"), (22500, "3402480d07")),
    "multipie-twin": ((270, "397aa7af91"), (12276, "e5c8774091")),
    "rafdb-twin": ((645, "9cad92ce15"), (9202, "316a8fbe73")),
    "ferplus-twin": ((886, "8f00ef08a4"), (6603, "48db34c02a")),
    "affectnet-twin": ((601, "2d039943ee"), (11986, "37fa1568ff")),
    "sfew-twin": ((679, "9cfee50c47"), (1394, "7606cc7305")),
    "identity-twin": ((320, "096f3aa689"), (19200, "41a5e71599")),
    "landmark-twin": ((240, "e8eebceb89"), (12000, "3d621027fe")),
}
"""Images, and a hash of all rows, at smoke and at quick."""


def test_every_twin_s_rows_are_written_down():
    assert REST_ON.keys() == DESIGNS.keys()


@pytest.mark.parametrize("name", REST_ON)
def test_rows_that_records_rest_on(name):
    """Committed records were trained on exactly these rows; who changes them makes those records again."""
    for preset, (images, digest) in zip(("smoke", "quick"), REST_ON[name], strict=True):
        table = rows(parameters(name, preset))
        written = table.to_csv(index=False, float_format="%.6g").encode()
        assert (len(table), hashlib.sha256(written).hexdigest()[:10]) == (images, digest)
        assert name != "bu3dfe-twin" or set(table["pan"]).isdisjoint({-15, 15})


SPLITS = {
    ("kdef-twin", "lan-kdef-10fold"): "8de4b554c7", ("kdef-twin", "dmlnet-kdef-56-14"): "c6bbba75e6",
    ("kdef-twin", "phanet-kdef"): "c6bbba75e6", ("bu3dfe-twin", "phanet-bu3dfe-9pan"): "7632e64b2d",
    ("bu3dfe-twin", "pata-bu3dfe-s3"): "63cb4b73f9", ("multipie-twin", "pata-multipie-s1"): "c3d3d68d8f",
    ("multipie-twin", "pata-multipie-s2"): "3ef063b993", ("rafdb-twin", "official"): "ccb6f285b5",
    ("affectnet-twin", "official"): "1a5a05ed3e", ("identity-twin", "identity"): "4f4d6fa0ae",
}  # fmt: skip
"""A hash of who and what is trained, selected and tested on, over two folds where there are any."""


@pytest.mark.parametrize(("name", "protocol"), SPLITS)
def test_splits_that_records_rest_on(name, protocol):
    """Committed records were trained and tested on exactly these rows."""
    table = rows(parameters(name, "quick"))
    written = ""
    for fold in (0,) if protocol in ("official", "identity") else (0, 1):
        for part, chosen in protocols.split(table, protocol, fold).items():
            written += f"{part}: {' '.join(table['sample'].iloc[chosen])}\n"
    assert hashlib.sha256(written.encode()).hexdigest()[:10] == SPLITS[name, protocol]


def test_multipies_sessions_have_their_people():
    table = rows(parameters("multipie-twin", "paper"))
    came = table.groupby("subject")["session"].agg(lambda s: tuple(sorted(set(s))))
    assert table.groupby("session")["subject"].nunique().tolist() == list(twin_rows.ATTENDANCE)
    assert (came == (1, 2, 3, 4)).sum() == 129 and came.map(lambda s: {2, 3, 4} <= set(s)).sum() == 147
    assert set(table["flash"]) == set(range(20)) and len(came) == 337


@pytest.mark.parametrize("name", ["rafdb-twin", "ferplus-twin", "sfew-twin"])
def test_wild_twins_have_the_published_counts(name):
    table = rows(parameters(name, "paper", scale=1.0))
    published = DESIGNS[name].published
    for split in ("train", "validation", "test"):
        if split in published:
            assert table[table["split"] == split]["expression"].value_counts().to_dict() == published[split]
    if "pose_over_30" in published:
        tested = table[table["split"] == "test"]
        for column_name in ("pose_over_30", "pose_over_45"):
            assert tested[column_name].sum() == published[column_name]
        turned = table[["pan", "tilt"]].abs().max(axis=1)
        assert (table["pose_over_30"] == (turned > 30)).all() and (table["pose_over_45"] == (turned > 45)).all()


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from(["rafdb-twin", "ferplus-twin", "affectnet-twin", "sfew-twin"]), seed=st.integers(0, 2**31))
def test_official_splits_share_nobody(name, seed):
    table = rows(parameters(name, "smoke", seed=seed))
    parts = protocols.split(table, "official")
    people = {part: set(table["subject"].iloc[chosen]) for part, chosen in parts.items()}
    assert sum(map(len, people.values())) == len(set().union(*people.values()))
    assert sum(map(len, parts.values())) == len(table)


def test_simulated_raters_have_the_majority_of_the_label():
    table = rows(parameters("ferplus-twin", "smoke"))
    votes = table[[f"votes_{name}" for name in VOTES]].to_numpy()
    assert (votes.sum(1) == 10).all()
    assert [EXPRESSIONS[k] for k in majority(votes)] == table["expression"].tolist()
    assert (table["shown"] != table["also"]).all() and table["also_share"].between(0, 0.75).all()
    seen = votes[:, : len(EXPRESSIONS)] / votes.sum(1, keepdims=True)
    clear = table["also_share"] < 0.01
    assert seen.max(1)[clear].mean() > seen.max(1)[~clear].mean() + 0.1, "an ambiguous face divides the raters"
    with pytest.raises(ParameterError, match="label_noise of the FERPlus twin"):
        rows(parameters("ferplus-twin", "smoke", label_noise=0.1))


AGREEMENT = {
    "neutral": (0.751, 0.912), "happiness": (0.913, 0.327), "surprise": (0.770, 0.853), "sadness": (0.710, 1.012),
    "anger": (0.701, 1.138), "disgust": (0.575, 1.558), "fear": (0.619, 1.331), "contempt": (0.611, 1.402),
}  # fmt: skip
"""Label of the real set -> mean share of raters who agree with it, mean entropy of an image's votes in bits."""


def votes_by_label(table: pd.DataFrame) -> dict[str, tuple[float, float]]:
    found = {}
    for name, own in table.groupby("expression"):
        shares = own[[f"votes_{answer}" for answer in VOTES]].to_numpy(float) / 10
        entropy = -np.sum(shares * np.log2(np.where(shares > 0, shares, 1)), 1)
        found[name] = (own[f"votes_{name}"].mean() / 10, entropy.mean())
    return found


def test_simulated_raters_disagree_as_often_as_the_real_ones():
    found = votes_by_label(rows(parameters("ferplus-twin", "paper")))
    for name, (share, entropy) in AGREEMENT.items():
        assert found[name] == (pytest.approx(share, abs=0.03), pytest.approx(entropy, abs=0.08)), name


def test_the_real_raters_agree_as_written_down():
    if not catalogue.at_hand("ferplus"):
        pytest.skip("needs the real FERPlus")
    found = votes_by_label(catalogue.prepare("ferplus").manifest)
    for name, expected in AGREEMENT.items():
        assert found[name] == (pytest.approx(expected[0], abs=6e-4), pytest.approx(expected[1], abs=6e-4)), name


def test_a_face_blends_what_its_row_names():
    twin = parameters("ferplus-twin", "smoke", jitter=0.0, drop=0.0, stray=0.0, accessories=0.0, occluders=0.0)
    row = rows(twin).query("shown == 'happiness' and also == 'neutral' and 0.1 < also_share < 0.5").iloc[0]
    alone = twins.draw_face(twin, SimpleNamespace(**row.to_dict() | {"also": ""}))
    mixed = twins.draw_face(twin, SimpleNamespace(**row.to_dict()))
    for unit, sides in mixed.units.items():
        assert sides == pytest.approx([(1 - row["also_share"]) * side for side in alone.units[unit]])
    assert mixed.intensity == pytest.approx(1 - row["also_share"]) and alone.intensity == 1


def test_label_noise_is_what_was_asked_for():
    table = rows(parameters("affectnet-twin", "quick", label_noise=0.3))
    assert (table["shown"] != table["expression"]).mean() == pytest.approx(0.3, abs=0.02)
    wrong = table[table["shown"] != table["expression"]]
    assert (wrong["shown"] == wrong["expression"].map(twin_rows.SIMILAR)).all()


@pytest.mark.parametrize("preset", ["smoke", "quick"])
def test_folds_share_nobody_and_test_everybody_once(preset):
    table = rows(parameters("kdef-twin", preset))
    tested: list[str] = []
    for fold in range(10):
        parts = protocols.split(table, "lan-kdef-10fold", fold)
        people = {name: set(table["subject"].iloc[rows]) for name, rows in parts.items()}
        assert sum(map(len, people.values())) == len(set().union(*people.values())) == table["subject"].nunique()
        assert sum(map(len, parts.values())) == len(table)
        assert {name[0] for name in people["test"]} == {"F", "M"} or preset == "smoke"
        tested += people["test"]
    assert sorted(tested) == sorted(table["subject"].unique())


# ---- seeds and processes -------------------------------------------------------------------------------------------


@pytest.mark.apart
def test_two_processes_give_the_pixels_of_one(tiny, tmp_path):
    twins.prepare(tmp_path / "two", TINY, workers=2)
    two = open_prepared(tmp_path / "two")
    assert np.array_equal(two.images, tiny.images)
    pd.testing.assert_frame_equal(two.manifest, tiny.manifest)
    assert two.hash == tiny.hash == content_hash(tiny.images, tiny.manifest)


def test_a_person_does_not_depend_on_who_else_is_rendered(tiny):
    images, rows = twins.render_person(TINY.model_copy(update={"people": 70}), "M01")
    where = np.flatnonzero(tiny.manifest["subject"] == "M01")
    assert np.array_equal(images, tiny.images[where])
    assert list(rows["sample"]) == list(tiny.manifest["sample"].iloc[where])


def test_another_seed_is_other_people():
    one = twins.person(TINY, "F01", "female")
    assert one == twins.person(parameters("kdef-twin", "paper"), "F01", "female")  # the same in every preset
    other = twins.person(TINY.model_copy(update={"seed": 1}), "F01", "female")
    assert one != other != twins.person(TINY, "F02", "female")
    assert all(twins.person(TINY, "X1", sex).sex * sign > 0 for sex, sign in (("female", -1), ("male", 1)))


def test_key_follows_parameters():
    keys = [twins.key(parameters("kdef-twin", preset)) for preset in ("smoke", "quick", "paper")]
    changes = ("jitter", "drop", "stray", "noise", "accessories", "occluders", "compression", "label_noise")
    keys += [twins.key(parameters("kdef-twin", **{name: 0.2})) for name in changes]
    assert len(set(keys)) == len(keys)


# ---- what is known about a picture ---------------------------------------------------------------------------------


def test_manifest_follows_the_design(tiny):
    table = rows(TINY).drop(columns="level")
    pd.testing.assert_frame_equal(tiny.manifest[list(table)], table, check_dtype=False)
    assert tiny.classes == ("neutral", "fear") and tiny.card["made"]["action_units"] == list(twins.AU_ORDER)
    assert len(twins.AU_ORDER) == 44 and tiny.card["notes"]
    assert tiny.card["made"]["parameters"]["levels"] == [4]
    assert tiny.manifest["age"].between(20, 75).all()
    counts = tiny.card["counts"]
    assert (counts["images"], counts["people"]) == (48, 4)
    assert counts["expression"] == {"neutral": 24, "fear": 24} and counts["sex"] == {"female": 24, "male": 24}
    assert sorted(counts["pan"].values()) == [16, 16, 16]


def test_views_of_a_face_share_its_expression(tiny):
    units = column(tiny, "action_units")
    assert units.shape == (len(tiny), 44)
    for _, group in tiny.manifest.groupby(FACE):
        assert len(group) == 3 and group["intensity"].nunique() == group["seed"].nunique() == 1
        assert (units[group.index] == units[group.index[0]]).all()
        assert group["pitch"].nunique() == 3  # ... but each view has its own pose
    takes = tiny.manifest.assign(units=[tuple(row) for row in units]).groupby(FACE[:2])["units"].nunique()
    assert (takes == 2).all()  # series A and B


def test_intensity_is_a_level_and_neutral_has_none(tiny):
    by = tiny.manifest.groupby("expression")["intensity"]
    assert set(by.get_group("neutral")) == {0.0} and set(by.get_group("fear")) <= set(LEVELS)
    strong = twins.render_person(TINY.model_copy(update={"levels": (4,)}), "F01")[1]
    assert set(strong["intensity"]) == {0.0, 1.0}


def test_pose_is_the_pan_and_a_little(tiny):
    table = tiny.manifest
    assert (np.abs(table["yaw"] - table["pan"]) < 15).all() and (table["yaw"].abs() <= 90).all()
    assert (table["yaw"] != table["pan"]).all()
    still = twins.render_person(TINY.model_copy(update={"pose_jitter": 0.0}), "F01")[1]
    assert (still["yaw"] == still["pan"]).all() and (still[["pitch", "roll"]] == 0).all(axis=None)


def test_landmarks_lie_in_the_picture(tiny):
    points, visible = column(tiny, "landmarks").reshape(-1, 68, 2), column(tiny, "visible")
    inside = ((points >= 0) & (points < TINY.size)).all(2)
    assert visible.shape == (len(tiny), 68) and inside[visible].all()
    assert inside[:, 17:].all()  # brows, nose, eyes and mouth are never cut off; an open jaw may be
    frontal, left = (np.flatnonzero(tiny.manifest["pan"] == pan) for pan in (0, -90))
    assert visible[frontal, 17:].mean() > 0.9 and not visible[np.ix_(left, range(36, 40))].any()


def test_a_tighter_crop_shows_a_larger_face_in_the_same_place():
    sizes, eyes = {}, {}
    for field in (16.3, 19.5):
        twin = parameters("ferplus-twin", "smoke", people=12, scale=0.004, field=field)
        _, table = twins.render_rows(twin, rows(twin).iloc[:40])
        frontal = table[table["yaw"].abs() < 20]
        points = np.stack(frontal["landmarks"].to_numpy()).reshape(-1, 68, 2) / twin.size
        sizes[field], eyes[field] = np.ptp(points, 1).mean(), points[:, 36:48, 1].mean()
    assert sizes[16.3] / sizes[19.5] == pytest.approx(19.5 / 16.3, rel=0.02)
    assert abs(eyes[16.3] - eyes[19.5]) < 0.03, "the eyes keep their share of the height"


def test_affect_follows_the_expression(tiny):
    afraid = tiny.manifest["expression"] == "fear"
    assert (tiny.manifest["valence"][afraid] < 0).all() and (tiny.manifest["arousal"][afraid] > 0.2).all()
    assert tiny.manifest[["valence", "arousal"]][~afraid].abs().max(axis=None) < 0.25


def test_noise_and_scenery_can_be_left_out():
    def images(**changes) -> np.ndarray:
        return twins.render_person(TINY.model_copy(update=changes), "F01")[0].astype(float)

    clean = images(noise=0.0)
    middle = (clean > 40) & (clean < 215)  # where nothing is clipped
    assert (images(noise=0.02) - clean)[middle].std() == pytest.approx(0.02 * 255, rel=0.05)
    corner = images(noise=0.0, scenery="studio")[:, 0, -1]  # some are hair, the others the same grey wall
    assert (corner == corner[1]).all(1).sum() >= 4


def some_pictures(name: str) -> tuple[np.ndarray, pd.DataFrame]:
    """Four pictures of a twin, small, and what is known of them."""
    twin = parameters(name, "smoke", size=32)
    table = rows(twin)
    return twins.render_rows(twin, table.iloc[np.linspace(0, len(table) - 1, 4).astype(int)])


def in_numbers(images: np.ndarray, known: pd.DataFrame) -> pd.DataFrame:
    """A row a picture: what is drawn of it by chance, where the face lies, the means of quarters and of colours."""
    table = known[["sample", "level", "intensity", "valence", "arousal", "yaw", "pitch", "roll", "age", "tone", "hair"]]
    table = table.assign(occluder=known["occluder"]).reset_index(drop=True)
    for column_name in ("box", "landmarks", "landmarks_3d", "visible", "action_units"):
        values = np.stack(known[column_name]).astype(float)
        table[column_name] = values @ np.cos(np.arange(values.shape[1]))  # no two places count alike
    quarters = images.reshape(len(images), 2, 16, 2, 16, 3).astype(float)
    for axes, title in (((2, 4, 5), "quarter"), ((1, 2, 3, 4), "colour")):
        means = quarters.mean(axes).reshape(len(images), -1)
        table = table.assign(**{f"{title}_{k}": means[:, k] for k in range(means.shape[1])})
    return table.assign(contrast=images.reshape(len(images), -1).std(1))


@pytest.mark.parametrize("name", DESIGNS)
def test_some_pictures_of_every_twin(name):
    """Committed records were trained on such pictures: whoever changes one makes those records again.

    `python tests/data/test_twins.py` writes the numbers down anew. Processors differ in last bits, hence the bounds.
    """
    images, known = some_pictures(name)
    assert images.dtype == np.uint8 and all(np.ptp(image) > 40 for image in images)
    assert (known["pitch"].abs() <= 45).all() and (known["yaw"].abs() <= 90).all()
    if parameters(name, "smoke").grey:
        assert (images == images[..., :1]).all()
    for column_name, digits in (("landmarks", 2), ("landmarks_3d", 3), ("action_units", 4)):
        values = np.stack(known[column_name]).astype(float)
        assert np.abs(values - values.round(digits)).max() < 1e-5
    expected = pd.read_csv(PICTURES, keep_default_na=False).query("twin == @name").reset_index(drop=True)
    found = in_numbers(images, known).assign(twin=name)
    bounds = dict.fromkeys(("landmarks_3d", "box", "landmarks", "contrast"), 0.1) | {"visible": 1.0}  # one of 68
    bounds |= {column_name: 0.2 for column_name in found if column_name.startswith(("quarter", "colour"))}
    for column_name in found:
        if pd.api.types.is_numeric_dtype(found[column_name]):
            assert np.allclose(found[column_name], expected[column_name], rtol=0, atol=bounds.get(column_name, 2e-3))
        else:
            assert list(found[column_name]) == list(expected[column_name]), column_name


# ---- what a camera does --------------------------------------------------------------------------------------------


def test_a_perfect_camera_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    assert np.array_equal(photo.photograph(image, np.random.default_rng(1)), image)


@pytest.mark.parametrize("exposure", [0.0, 0.5, 1.0])
def test_exposure_stretches_tones_to_a_photographs(exposure):
    image = np.random.default_rng(0).normal(110, 15, (64, 64, 3)).round().astype(np.uint8)
    taken = photo.photograph(image, np.random.default_rng(1), exposure=exposure)
    found, before = np.percentile(taken, (2, 50, 98)), np.percentile(image, (2, 50, 98))
    usual = np.array([photo.DARK, photo.MIDDLE, photo.BRIGHT])
    assert found == pytest.approx((1 - exposure) * before + exposure * usual, abs=1)


def test_blur_noise_compression_and_grey():
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    draws = [np.random.default_rng(k) for k in range(20)]
    blurred = [photo.photograph(image, rng, blur=4).astype(float) for rng in draws]
    assert (
        np.mean([np.abs(np.diff(b, axis=0)).mean() for b in blurred])
        < 0.6 * np.abs(np.diff(image.astype(float), axis=0)).mean()
    )
    assert not np.array_equal(photo.photograph(image, np.random.default_rng(1), compression=1.0), image)
    for changes in ({}, {"noise": 0.1}, {"compression": 1.0}, {"blur": 3.0}):
        grey = photo.photograph(image, np.random.default_rng(2), grey=True, **changes)
        assert (grey == grey[..., :1]).all() and grey.shape == image.shape


# ---- interruptions and bad input -----------------------------------------------------------------------------------


def _dies(twin, parts, numbered) -> None:
    os._exit(9)


def _interrupted(before, twin, rows):
    if rows["subject"].iloc[0] == "M01":
        raise KeyboardInterrupt
    return before(twin, rows)


def assert_untouched(data: Prepared) -> list[Path]:
    """The prepared data set is as it was; returns the shards that wait beside it."""
    assert open_prepared(data.path).hash == data.hash
    left = [path for path in data.path.parent.iterdir() if path != data.path]
    assert all(path.name.endswith(".parts") for path in left)
    return left


def test_an_interrupted_preparation_goes_on_from_its_shards(tiny, monkeypatch, tmp_path):
    twin = TINY.model_copy(update={"seed": 9})
    twins.prepare(tmp_path / "whole", twin, workers=1)
    whole, made = open_prepared(tmp_path / "whole"), twins.render_rows
    with monkeypatch.context() as patched:
        patched.setattr(twins, "render_rows", partial(_interrupted, made))
        with pytest.raises(KeyboardInterrupt):
            twins.prepare(tiny.path, twin, workers=1)
    (parts,) = assert_untouched(tiny)
    assert parts.name == f".{tiny.path.name}.{twins.key(twin)}.parts", "shards of another twin are not taken for these"
    assert sorted(path.name for path in parts.glob("*.npy")) == ["00000.npy", "00001.npy"]
    (parts / "00001.npy").write_bytes((parts / "00001.npy").read_bytes()[:-100])  # a shard cut short is made again
    again: list[str] = []
    monkeypatch.setattr(twins, "render_rows", lambda t, r: (again.append(r["subject"].iloc[0]), made(t, r))[1])
    target = tmp_path / "target"
    parts.rename(tmp_path / parts.name.replace(tiny.path.name, target.name))
    twins.prepare(target, twin, workers=1)
    assert again == ["F02", "M01", "M02"] and open_prepared(target).hash == whole.hash
    assert sorted(path.name for path in tmp_path.iterdir()) == ["target", "whole"]


@pytest.mark.apart
def test_a_worker_that_is_killed_is_one_clear_error(tiny, monkeypatch):
    monkeypatch.setattr(twins, "_make_shard", _dies)
    with pytest.raises(DataError, match="fewer workers"):
        twins.prepare(tiny.path, TINY, workers=2)
    assert_untouched(tiny)


def test_a_full_disk_is_one_clear_error(tiny, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(DataError, match="No space left"):
        twins.prepare(tiny.path, TINY.model_copy(update={"seed": 5}), workers=1)
    assert_untouched(tiny)


@pytest.mark.skipif(os.name == "nt", reason="signals of a terminal")
@pytest.mark.apart
def test_ctrl_c_ends_all_processes_and_leaves_nothing(tmp_path):
    code = (
        # A job in the background of a shell is born deaf to Ctrl-C; this one shall hear it.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from pathlib import Path; from fercore.data import twins, twin_designs; print('started', flush=True);"
        f"twins.prepare(Path({str(tmp_path / 'new')!r}), twin_designs.parameters('kdef-twin'), workers=2)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert child.stdout.readline() == "started\n"
    _wait(lambda: any(tmp_path.iterdir()))
    time.sleep(1.0)
    os.killpg(child.pid, signal.SIGINT)
    _, errors = child.communicate(timeout=300)
    assert child.returncode != 0 and "KeyboardInterrupt" in errors
    assert all(path.name.endswith(".parts") for path in tmp_path.iterdir())  # finished shards wait for the next call
    _wait(lambda: not _anybody(child.pid))


def _anybody(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _wait(until, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: parameters("cat-twin"), "no twin 'cat-twin'"),
        (lambda: parameters("kdef-twin", "tiny"), "'tiny'.*\n.*smoke, quick, paper"),
        (lambda: rows(parameters("kdef-twin", "smoke", people=7)), "7 people.*\n.*even number"),
        (lambda: parameters("kdef-twin", "smoke", people=1), "people"),
        (lambda: parameters("kdef-twin", "smoke", colour="red"), "colour.*\n.*jitter"),
        (lambda: parameters("kdef-twin", "smoke", expressions=("happy",)), "expressions"),
        (lambda: parameters("kdef-twin", "smoke", expressions=()), "expressions"),
        (lambda: parameters("kdef-twin", "smoke", pans=(300,)), "pans"),
        (lambda: rows(parameters("kdef-twin", "smoke", pans=(30,))), "no pans .*30"),
        (lambda: rows(parameters("multipie-twin", "smoke", pans=(20,))), "no pans .*20"),
        (lambda: rows(parameters("rafdb-twin", "smoke", expressions=("scream",))), "no expressions .*scream"),
        (lambda: parameters("kdef-twin", "smoke", pans=(0, 0)), "pans: .* twice"),
        (lambda: parameters("kdef-twin", "smoke", levels=(6,)), "levels"),
        (lambda: parameters("kdef-twin", "smoke", jitter=float("nan")), "jitter"),
        (lambda: twins.prepare(Path("nowhere"), TINY, workers=0), "workers=0"),
        (lambda: twins.render_person(TINY, "F99"), "nobody called 'F99'"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(ParameterError, match=says):
        call()
    assert not Path("nowhere").exists()


@pytest.mark.skipif(os.cpu_count() == 1, reason="one core renders in the script itself")
@pytest.mark.apart
def test_a_script_without_a_main_guard_is_told_so(tmp_path):
    script = tmp_path / "render.py"
    script.write_text("from fercore.data import catalogue\ncatalogue.prepare('kdef-twin', people=4)\n")
    environment = {**os.environ, "FERCORE_PREPARED": str(tmp_path / "data")}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0 and 'if __name__ == "__main__":' in done.stderr


if __name__ == "__main__":
    written = [in_numbers(*some_pictures(name)).assign(twin=name) for name in DESIGNS]
    pd.concat(written).to_csv(PICTURES, index=False, float_format="%.4f", lineterminator="\n")
