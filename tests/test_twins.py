"""The KDEF twin: its design, seeds, processes, what is known about each picture, interruptions and bad input."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fercore.data import protocols, twins
from fercore.data.labels import SEVEN
from fercore.data.prepared import Prepared, content_hash, open_prepared
from fercore.errors import DataError, ParameterError
from fercore.heads import LEVELS

TINY = twins.parameters(
    "smoke", people=4, expressions=("neutral", "fear"), pans=(-90, 0, 90), series=2, size=32, density=0.5
)
FACE = ["subject", "expression", "series"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    path = tmp_path_factory.mktemp("twin") / "tiny"
    twins.prepare(path, TINY, workers=1)
    return open_prepared(path)


def column(data: Prepared, name: str) -> np.ndarray:
    return np.stack(data.manifest[name])


# ---- design --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("preset", "people", "series"), [("smoke", 20, 1), ("quick", 70, 2), ("paper", 70, 2)])
def test_design_is_kdefs(preset, people, series):
    table = twins.design(twins.parameters(preset))
    assert len(table) == people * 7 * 5 * series and table["sample"].is_unique
    assert (table.groupby("expression").size() == people * 5 * series).all() and set(table["expression"]) == set(SEVEN)
    assert (table.groupby("pan").size() == people * 7 * series).all() and len(table["pan"].unique()) == 5
    assert table.groupby("sex")["subject"].nunique().to_dict() == {"female": people // 2, "male": people // 2}
    assert set(table["split"]) == {"all"} and len(table.groupby("seed")) == people * 7 * series


def test_full_design_has_the_published_size():
    table = twins.design(twins.parameters("paper"))
    counts = twins._counts(table)
    assert counts["images"] == counts["published"]["images"] == 4900
    assert counts["people"] == counts["published"]["people"] and set(counts["series"].values()) == {2450}


def test_samples_are_named_as_kdef_names_its_files():
    table = twins.design(twins.parameters("quick"))
    form = re.compile(r"[AB][FM](0[1-9]|[12]\d|3[0-5])(AF|AN|DI|HA|NE|SA|SU)(FL|HL|S|HR|FR)")
    assert all(form.fullmatch(sample) for sample in table["sample"])
    row = table.set_index("sample").loc["BM07AFHL"]
    assert (row["subject"], row["expression"], row["pan"], row["series"]) == ("M07", "fear", -45, "B")


@pytest.mark.parametrize("preset", ["smoke", "quick"])
def test_folds_share_nobody_and_test_everybody_once(preset):
    table = twins.design(twins.parameters(preset))
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
    one = twins.person(TINY, "F01")
    assert one == twins.person(twins.parameters("paper"), "F01")  # the same in every preset
    assert one != twins.person(TINY.model_copy(update={"seed": 1}), "F01") != twins.person(TINY, "F02")
    assert all(twins.person(TINY, name).sex * sign > 0 for name, sign in (("F07", -1), ("M07", 1)))


def test_key_follows_parameters():
    keys = [twins.key(preset) for preset in twins.PRESETS]
    keys += [twins.key(twins.parameters("quick", **{name: 0.2})) for name in ("jitter", "drop", "stray", "noise")]
    assert len(set(keys)) == len(keys) and twins.key("quick") == twins.key(twins.KDEFTwin())


# ---- what is known about a picture ---------------------------------------------------------------------------------


def test_manifest_follows_the_design(tiny):
    table = twins.design(TINY)
    pd.testing.assert_frame_equal(tiny.manifest[list(table)], table, check_dtype=False)
    assert tiny.classes == ("neutral", "fear") and tiny.card["made"]["action_units"] == list(twins.AU_ORDER)
    assert len(twins.AU_ORDER) == 44 and tiny.card["notes"]
    assert tiny.card["made"]["parameters"]["levels"] == [1, 2, 3, 4]
    assert tiny.manifest["age"].between(20, 70).all()


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


def test_noise_and_scenery_can_be_left_out():
    def images(**changes) -> np.ndarray:
        return twins.render_person(TINY.model_copy(update=changes), "F01")[0].astype(float)

    clean = images(noise=0.0)
    middle = (clean > 40) & (clean < 215)  # where nothing is clipped
    assert (images(noise=0.02) - clean)[middle].std() == pytest.approx(0.02 * 255, rel=0.05)
    corner = images(noise=0.0, scenery=False)[:, 0, -1]  # some are hair, the others the same grey wall
    assert (corner == corner[1]).all(1).sum() >= 4


# ---- interruptions and bad input -----------------------------------------------------------------------------------


def _dies(twin: twins.KDEFTwin, subject: str) -> None:
    os._exit(9)


def _interrupted(before, twin: twins.KDEFTwin, subject: str):
    if subject == "M01":
        raise KeyboardInterrupt
    return before(twin, subject)


def assert_untouched(data: Prepared, before: str) -> None:
    assert open_prepared(data.path).hash == before
    assert [path.name for path in data.path.parent.iterdir()] == [data.path.name]


def test_an_interrupted_preparation_keeps_what_was_there(tiny, monkeypatch):
    monkeypatch.setattr(twins, "render_person", partial(_interrupted, twins.render_person))
    with pytest.raises(KeyboardInterrupt):
        twins.prepare(tiny.path, TINY.model_copy(update={"seed": 9}), workers=1)
    assert_untouched(tiny, tiny.hash)


def test_a_worker_that_is_killed_is_one_clear_error(tiny, monkeypatch):
    monkeypatch.setattr(twins, "render_person", _dies)
    with pytest.raises(DataError, match="fewer workers"):
        twins.prepare(tiny.path, TINY, workers=2)
    assert_untouched(tiny, tiny.hash)


def test_an_error_in_a_worker_arrives(tiny):
    broken = TINY.model_copy(update={"density": 7.0})  # past the model's check
    with pytest.raises(ParameterError, match=r"density 7\.0"):
        twins.prepare(tiny.path, broken, workers=2)
    assert_untouched(tiny, tiny.hash)


@pytest.mark.skipif(os.name == "nt", reason="signals of a terminal")
def test_ctrl_c_ends_all_processes_and_leaves_nothing(tmp_path):
    code = (
        # A job in the background of a shell is born deaf to Ctrl-C; this one shall hear it.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from pathlib import Path; from fercore.data import twins; print('started', flush=True);"
        f"twins.prepare(Path({str(tmp_path / 'new')!r}), 'quick', workers=2)"
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
    assert not list(tmp_path.iterdir())
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
        (lambda: twins.parameters("tiny"), "'tiny'.*\n.*smoke, quick, paper"),
        (lambda: twins.parameters("smoke", people=7), "people: .*multiple of 2"),
        (lambda: twins.parameters("smoke", people=200), "people"),
        (lambda: twins.parameters("smoke", colour="red"), "colour.*\n.*jitter"),
        (lambda: twins.parameters("smoke", expressions=("happy",)), "expressions"),
        (lambda: twins.parameters("smoke", expressions=()), "expressions"),
        (lambda: twins.parameters("smoke", pans=(30,)), "pans"),
        (lambda: twins.parameters("smoke", pans=(0, 0)), "pans .* twice"),
        (lambda: twins.parameters("smoke", levels=(5,)), "levels"),
        (lambda: twins.parameters("smoke", jitter=float("nan")), "jitter"),
        (lambda: twins.prepare(Path("nowhere"), "smoke", workers=0), "workers=0"),
        (lambda: twins.prepare(Path("nowhere"), "Quick"), "'Quick'"),
        (lambda: twins.key("none"), "'none'"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(ParameterError, match=says):
        call()
    assert not Path("nowhere").exists()
