"""Tables of estimated poses and persons: kept under their own hash, and no truth is overwritten."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny

from fercore.data import estimates
from fercore.data.prepared import Prepared, open_prepared
from fercore.errors import DataError
from fercore.papers import dmlnet


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FERCORE_PREPARED", str(tmp_path / "made"))
    estimates.read.cache_clear()


def nobody(tmp_path: Path) -> Prepared:
    """A set that knows the first image's person and the second's yaw, and nothing else."""
    table = tiny.manifest(people=6, each=2)
    table["subject"] = [*table["subject"][:1], *[""] * (len(table) - 1)]
    yaw = np.full(len(table), np.nan)
    yaw[1] = 12.0
    return open_prepared(tiny.write_prepared(tmp_path / "set", table.assign(yaw=yaw), name="ferplus"))


def guessed(data: Prepared) -> pd.DataFrame:
    n = np.arange(len(data))
    return pd.DataFrame({"sample": data.manifest["sample"], "yaw": 15.04 * (n % 3 - 1), "group": n // 6})


def test_what_is_not_known_is_filled_and_what_is_known_stays(tmp_path: Path) -> None:
    data = nobody(tmp_path)
    name = estimates.write(guessed(data)[:-1], "ferplus", "quick", {"yaw_error": 3.0})
    assert estimates.about(name) == {"yaw_error": 3.0}
    whole = estimates.completed(data, name)
    subjects, yaws = whole.manifest["subject"], whole.manifest["yaw"]
    assert subjects[0] == data.manifest["subject"][0] and subjects[1] == "group 0" and subjects[7] == "group 1"
    assert yaws[0] == -15.0 and yaws[1] == 12.0 and yaws[2] == 15.0, "to a tenth of a degree"
    assert subjects.iloc[-1] == "" and np.isnan(yaws.iloc[-1]), "an image without an estimate stays unknown"
    assert data.manifest["subject"][1] == "" and whole.images is data.images


def test_a_run_trains_on_estimates_that_its_recipe_names(tmp_path: Path) -> None:
    data = nobody(tmp_path)
    name = estimates.write(guessed(data)[:-1], "ferplus", "quick", {})
    recipe = dmlnet.recipe("smoke", "ferplus", estimates=name)
    truth = dmlnet.truth(recipe, data)
    assert truth["pose"].values[:3].tolist() == [2, 4, 4] and truth["pose"].values[-1] == -1
    assert truth["identity"].values[-1] == -1 and len(np.unique(truth["identity"].values)) == 8
    blank = replace(data, manifest=data.manifest.assign(yaw=np.nan))
    with pytest.raises(DataError, match="fercore data estimate NAME"):
        dmlnet.truth(dmlnet.recipe("smoke", "ferplus"), blank)


def test_the_name_is_that_of_the_content(tmp_path: Path) -> None:
    data = nobody(tmp_path)
    first = estimates.write(guessed(data), "ferplus", "quick", {})
    assert first == estimates.write(guessed(data), "ferplus", "quick", {}), "the same table, the same name"
    other = estimates.write(guessed(data).assign(yaw=1.0), "ferplus", "quick", {})
    assert other != first and first.startswith("ferplus-quick-")
    folder = tmp_path / "made" / "estimates"
    (folder / f"{other}.csv.gz").replace(folder / f"{first}.csv.gz")
    with pytest.raises(DataError, match="does not hold what its name says"):
        estimates.read(first)


def test_what_is_missing_broken_or_of_another_set_is_told(tmp_path: Path) -> None:
    data = nobody(tmp_path)
    with pytest.raises(DataError, match="There are no estimates 'ferplus-quick-1'"):
        estimates.read("ferplus-quick-1")
    with pytest.raises(DataError, match="of the estimates ferplus-quick-1 can't be read"):
        estimates.about("ferplus-quick-1")
    name = estimates.write(guessed(data).assign(sample="x" + data.manifest["sample"]), "ferplus", "quick", {})
    with pytest.raises(DataError, match="know no image of ferplus"):
        estimates.completed(data, name)
    folder = tmp_path / "made" / "estimates"
    whole = (folder / f"{name}.csv.gz").read_bytes()
    for number, content in enumerate((b"\x1f\x8bno", whole[:-20], whole[:40] + b"\xff" * 9 + whole[49:])):
        (folder / f"ferplus-quick-{number}.csv.gz").write_bytes(content)
        with pytest.raises(DataError, match="can't be read as estimates"):
            estimates.read(f"ferplus-quick-{number}")


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    data = nobody(tmp_path)
    for changes, said in (
        ({"yaw": np.inf}, "beyond 180"),
        ({"sample": "same"}, "twice"),
        ({"group": np.nan}, "no table"),
        ({"yaw": "left"}, "no table"),
    ):
        with pytest.raises(DataError, match=said):
            estimates.write(guessed(data).assign(**changes), "ferplus", "quick", {})
    odd = guessed(data)
    odd["sample"] = ["NA", "null", *odd["sample"][2:]]
    odd["yaw"] = [np.nan, -0.04, *odd["yaw"][2:]]
    kept = estimates.read(estimates.write(odd.assign(group=odd["group"].astype(float)), "ferplus", "quick", {}))
    assert kept.index[:2].tolist() == ["NA", "null"] and np.isnan(kept["yaw"].iloc[0]) and kept["yaw"].iloc[1] == 0


def test_a_group_below_0_is_nobody_and_yaws_may_be_missing(tmp_path: Path) -> None:
    data = nobody(tmp_path)
    table = guessed(data).assign(yaw=np.nan)
    table.loc[5, "group"] = -1
    whole = estimates.completed(data, estimates.write(table, "ferplus", "quick", {})).manifest
    assert whole["subject"][5] == "" and whole["subject"][4] == "group 0" and whole["yaw"].notna().sum() == 1


def test_a_set_that_knows_all_needs_no_estimates(tmp_path: Path) -> None:
    data = nobody(tmp_path)
    name = estimates.write(guessed(data), "ferplus", "quick", {})
    whole = estimates.completed(data, name)
    cameras = replace(whole, manifest=whole.manifest.assign(pan=45.0, yaw=np.nan))
    for one in (whole, cameras, replace(cameras, manifest=cameras.manifest.drop(columns="yaw"))):
        with pytest.raises(DataError, match="knows all poses and persons"):
            estimates.completed(one, name)
