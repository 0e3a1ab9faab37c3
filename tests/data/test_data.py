"""Prepared data sets, pose lists, protocols and the catalogue: what they hold and every way they can be wrong."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import CLASSES, Command, manifest, stripes, write_prepared

from fercore.data import catalogue, prepared, protocols, twin_designs, twins
from fercore.data.check import _against_design, check
from fercore.data.pose_subsets import Entry, read_list
from fercore.errors import DataError, ParameterError
from fercore.paths import data_root

NEEDS_LISTS = pytest.mark.skipif(
    data_root() is None or not (data_root() / "pose_lists").is_dir(),
    reason="needs the public pose lists (FERCORE_DATA/pose_lists)",
)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


# --- prepared form ----------------------------------------------------------------------------------------


def test_round_trip(tmp_path: Path) -> None:
    table = manifest().assign(yaw=30.0)
    data = prepared.open_prepared(write_prepared(tmp_path / "set", table))
    assert np.array_equal(data.images, stripes(table, 16)) and isinstance(data.images, np.memmap)
    assert not data.images.flags.writeable
    assert data.manifest[list(table)].equals(table)
    assert data.manifest["pitch"].isna().all(), "optional columns exist everywhere"
    assert data.labels().tolist() == [CLASSES.index(name) for name in table["expression"]]
    assert (data.name, data.classes, len(data)) == ("kdef-twin", CLASSES, 72)
    assert data.card == {
        "format": prepared.FORMAT, "name": "kdef-twin", "title": "Stripes", "classes": list(CLASSES),
        "licence": data.card["licence"], "images": 72, "size": 16, "counts": {}, "notes": [],
        "splits": {"all": dict.fromkeys(sorted(CLASSES), 24)}, "made": data.card["made"], "hash": data.hash,
    }  # fmt: skip
    with prepared.Writer(tmp_path / "set", 72, 16) as out:
        out.images[:] = stripes(table, 16)
        words = {
            "title": "A set",
            "licence": "mine",
            "made": {"seed": 3},
            "notes": ["a", "b"],
            "counts": {"people": 12},
        }
        out.finish(table, name="some", classes=CLASSES, **words)
    card = prepared.open_prepared(tmp_path / "set").card
    assert {name: card[name] for name in words} == words and card["name"] == "some"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_hash_is_of_pixels_and_manifest(tmp_path: Path) -> None:
    table = manifest()
    first = prepared.open_prepared(write_prepared(tmp_path / "a", table))
    assert first.hash == prepared.open_prepared(write_prepared(tmp_path / "b", table)).hash
    images = np.array(first.images)
    images[3, 2, 1, 0] ^= 1
    assert prepared.content_hash(images, first.manifest) != first.hash
    assert prepared.content_hash(first.images, first.manifest.assign(yaw=1.0)) != first.hash


def test_the_hash_is_of_every_image_and_of_their_shape() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1100, 4, 4, 3), dtype=np.uint8)
    table = pd.DataFrame({"sample": np.arange(1100).astype(str)})
    before = prepared.content_hash(images, table)
    for row in (0, 511, 512, 1023, 1024, 1099):
        changed = images.copy()
        changed[row, 3, 3, 2] ^= 1
        assert prepared.content_hash(changed, table) != before, row
    assert prepared.content_hash(images.reshape(1100, 2, 8, 3), table) != before
    assert prepared.content_hash(images[::-1], table) != before
    assert prepared.content_hash(np.asfortranarray(images), table) == before, "how they lie in memory does not count"


def test_exception_inside_leaves_what_was_there(tmp_path: Path) -> None:
    path = write_prepared(tmp_path / "set")
    before = prepared.open_prepared(path).hash
    with pytest.raises(KeyboardInterrupt), prepared.Writer(path, 5, 8) as out:
        out.images[:] = 1
        raise KeyboardInterrupt
    with prepared.Writer(path, 5, 8):
        pass  # never finished
    assert prepared.open_prepared(path).hash == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


def test_a_complete_one_replaces_the_old(tmp_path: Path) -> None:
    path = write_prepared(tmp_path / "set")
    write_prepared(path, manifest(10, 1))
    assert len(prepared.open_prepared(path)) == 30
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


def test_full_disk_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_prepared(tmp_path / "set")
    before = prepared.open_prepared(path).hash

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(DataError, match=r"No space left .*\(295 MiB are needed\)(.|\n)*FERCORE_PREPARED"):
        write_prepared(path, manifest(100, 1), 586)
    monkeypatch.undo()
    assert prepared.open_prepared(path).hash == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


def test_full_disk_while_the_manifest_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(DataError, match="No space left"):
        write_prepared(tmp_path / "set")
    assert not list(tmp_path.iterdir())


def test_a_place_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"can't be written(.|\n)*FERCORE_PREPARED"):
        write_prepared(tmp_path / "file" / "set")
    with pytest.raises(DataError, match="no image to write"):
        prepared.Writer(tmp_path / "set", 0, 8)


def rewrite(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    return lambda path: change(pd.read_parquet(path / name)).to_parquet(path / name)


def card(**changes: object) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        values = json.loads((path / "card.json").read_text()) | changes
        (path / "card.json").write_text(json.dumps({k: v for k, v in values.items() if v is not None}))

    return edit


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated pixels": (lambda p: os.truncate(p / "images.npy", 1000), "can't be read"),
    "empty pixels": (lambda p: os.truncate(p / "images.npy", 0), "can't be read"),
    "no pixels": (lambda p: (p / "images.npy").unlink(), "has no images.npy"),
    "no card": (lambda p: (p / "card.json").unlink(), "has no card.json"),
    "float pixels": (lambda p: np.save(p / "images.npy", np.zeros((72, 16, 16, 3))), "float64 do not fit"),
    "grey pixels": (lambda p: np.save(p / "images.npy", np.zeros((72, 16, 16), np.uint8)), "do not fit 72"),
    "too few": (lambda p: np.save(p / "images.npy", np.zeros((9, 16, 16, 3), np.uint8)), "do not fit 72"),
    "objects": (lambda p: np.save(p / "images.npy", np.array([{}]), allow_pickle=True), "can't be read"),
    "no manifest": (lambda p: (p / "manifest.parquet").write_text("not a table"), "can't be read"),
    "lost columns": (
        rewrite("manifest.parquet", lambda t: t.drop(columns=["split", "subject"])),
        "no column subject, split",
    ),
    "strange class": (rewrite("manifest.parquet", lambda t: t.assign(expression="bored")), "bored"),
    "broken card": (lambda p: (p / "card.json").write_text("{"), "can't be read"),
    "other format": (card(format=99), "format 99, this version reads 1"),
    "card is a list": (lambda p: (p / "card.json").write_text("[]"), "card.json"),
    "card without classes": (card(classes=None), "card.json"),
}


@pytest.mark.parametrize(("damage", "message"), list(DAMAGE.values()), ids=list(DAMAGE))
def test_damage_is_named(damage: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    path = write_prepared(tmp_path / "set")
    damage(path)
    with pytest.raises(DataError) as caught:
        prepared.open_prepared(path)
    assert message in str(caught.value) and str(path) in str(caught.value) and "What to do:" in str(caught.value)


def test_something_else_is_no_prepared_data_set(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"has no images.npy, manifest.parquet, card.json"):
        prepared.open_prepared(tmp_path)
    for path in (tmp_path / "none", tmp_path / "notes.txt"):
        with pytest.raises(DataError, match="is not a folder"):
            prepared.open_prepared(path)


def test_check_names_every_problem(tmp_path: Path) -> None:
    path = write_prepared(tmp_path / "set", name="other")
    report = check(path)
    assert not report.problems and report.tables["images by split and class"].loc["All", "All"] == 72
    data = prepared.open_prepared(path)
    assert report.what == f"prepared data set {data.card['title']}, hash {data.hash}"
    assert list(report.tables) == ["images by split and class"]
    images = np.load(path / "images.npy", mmap_mode="r+")
    images[7] = 3
    images.flush()
    rewrite("manifest.parquet", lambda t: t.assign(sample=["same", *t["sample"][:1], *t["sample"][1:-1]]))(path)
    problems = "\n".join(check(path).problems)
    assert "not those that the card's hash" in problems and "without any contrast" in problems
    rewrite("manifest.parquet", lambda t: t.assign(sample="same"))(path)
    assert "71 sample names occur more than once" in "\n".join(check(path).problems)


def test_subsets_of_a_set_without_a_test_part_are_those_of_its_validation() -> None:
    table = twin_designs.rows(twin_designs.parameters("affectnet-twin", "smoke"))
    assert not (table["split"] == "test").any()
    validated = table[table["split"] == "validation"]
    found = _against_design(table, "affectnet-twin")
    for name in ("pose_over_30", "pose_over_45"):
        assert found.loc[name, "here"] == validated[name].sum() > 0
        assert found.loc[name, "difference"] == found.loc[name, "here"] - found.loc[name, "published"]


# --- pose lists -------------------------------------------------------------------------------------------


def listed(path: Path, text: str | bytes) -> list[Entry]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_list(path)


@pytest.mark.parametrize(
    ("line", "sample", "label"),
    [
        ("0/test_0004_aligned.jpg", "test_0004", "surprise"),
        ("6/train_12271.jpg", "train_12271", "neutral"),
        ("0/fer0032226.jpg", "fer0032226", "neutral"),
        ("7/fer0032226.png", "fer0032226", "contempt"),
        (f"0/{'0a' * 28}.jpg", "0a" * 28, "neutral"),
        (f"7/{'0a' * 28}/8.jpg", "0a" * 28, "contempt"),
    ],
)
def test_list_forms(line: str, sample: str, label: str, tmp_path: Path) -> None:
    text = f"{line}\r\n\n  {line}  "  # repeats stay, empty lines do not count, spaces do not matter
    assert listed(tmp_path / "list.txt", text) == [(sample, label)] * 2


@pytest.mark.parametrize(
    "line", ["fer0032226.jpg", "8/fer0032226.jpg", "7/test_0004.jpg", "0/fer32226.jpg", "0/../fer0032226.jpg", "0/x"]
)
def test_bad_line_is_named(line: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"list\.txt, line 3: '"):
        listed(tmp_path / "list.txt", f"0/fer0032226.jpg\n\n{line}\n")


def test_a_list_without_entries(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no entry"):
        listed(tmp_path / "list.txt", "\n\n")
    with pytest.raises(DataError, match="can't be read as text"):
        listed(tmp_path / "list.txt", b"\xff\xfe\x00")
    for path in (tmp_path, tmp_path / "none.txt"):
        with pytest.raises(DataError, match="can't be read as text"):
            read_list(path)


words = st.lists(st.sampled_from(["0", "9", "/", "fer0032226", "test_0004", "_aligned", ".jpg", "ab" * 28, "\n", "²"]))


@settings(deadline=None, max_examples=60)
@given(st.one_of(st.binary(max_size=80), words.map("".join).map(str.encode), st.text().map(str.encode)))
def test_no_list_ends_in_another_error(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            entries = listed(Path(folder) / "list.txt", data)
        except DataError as error:
            assert "list.txt" in str(error)
        else:
            assert entries


@NEEDS_LISTS
@pytest.mark.parametrize(
    ("name", "entries", "distinct"),
    [
        ("FERplus_dir_pose_30_ferplus_list.txt", 1170, 1170),
        ("FERplus_dir_pose_45_ferplus_list.txt", 633, 633),
        ("RAF_DB_dir_val_raf_db_list.txt", 1247, 1247),
        ("RAF_DB_dir_val_raf_db_list_45.txt", 558, 558),
        ("AffectNet_dir_pose_30_affectnet_list.txt", 1949, 1944),
        ("AffectNet_dir_pose_45_affectnet_list.txt", 985, 983),
    ],
)
def test_published_lists(name: str, entries: int, distinct: int) -> None:
    found = read_list(data_root() / "pose_lists" / name)
    assert len(found) == entries and len({entry.sample for entry in found}) == distinct


# --- protocols --------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=12)
@given(st.integers(5, 40), st.integers(5, 40), st.randoms(use_true_random=False))
def test_kdef_folds_share_nobody_and_test_everybody_once(women: int, men: int, random: object) -> None:
    people = [f"F{k:02d}" for k in range(women)] + [f"M{k:02d}" for k in range(men)]
    rows = [person for k, person in enumerate(people) for _ in range(1 + k % 3)]
    random.shuffle(rows)
    table = pd.DataFrame({"subject": rows})
    tested = np.zeros(len(table), int)
    for fold in range(10):
        parts = protocols.split(table, "lan-kdef-10fold", fold)
        subjects = {name: set(table["subject"].iloc[chosen]) for name, chosen in parts.items()}
        assert sum(map(len, subjects.values())) == len(people), "no person in two parts"
        assert sorted(np.concatenate(list(parts.values()))) == list(range(len(table))), "every image in one part"
        assert all((np.diff(chosen) > 0).all() for chosen in parts.values())
        assert abs(len(subjects["test"]) - len(people) / 10) < 1
        tested[parts["test"]] += 1
    assert (tested == 1).all()


def test_kdef_folds_do_not_depend_on_the_order_of_rows() -> None:
    table = manifest(70, 1)
    turned = table.iloc[::-1].reset_index(drop=True)
    for fold in (0, 7):
        first, second = (protocols.split(t, "lan-kdef-10fold", fold) for t in (table, turned))
        for name in first:
            assert set(table["subject"].iloc[first[name]]) == set(turned["subject"].iloc[second[name]])


def test_kdef_folds_hold_as_many_women_as_men() -> None:
    table = manifest(70, 1)
    for fold in range(10):
        subjects = table["subject"].iloc[protocols.split(table, "lan-kdef-10fold", fold)["test"]].unique()
        assert 3 <= sum(name[0] == "F" for name in subjects) <= 4


def test_a_kdef_fold_is_tested_and_the_next_one_validates() -> None:
    table = manifest(70, 1)
    folds = [protocols.split(table, "lan-kdef-10fold", fold) for fold in range(10)]
    for fold, parts in enumerate(folds):
        assert parts["validation"].tolist() == folds[(fold + 1) % 10]["test"].tolist()
        assert len(parts["train"]) == 8 * len(parts["test"]) == 8 * 21


@pytest.mark.parametrize("protocol", ["dmlnet-kdef-56-14", "phanet-multipie"])
def test_a_split_by_people_gives_each_part_its_share_and_each_fold_other_people(protocol: str) -> None:
    table = manifest(40, 2).assign(pan=np.resize([-30.0, 0.0, 30.0, 60.0], 240), tilt=0.0)
    drawn = []
    for fold in (0, 1):
        parts = protocols.split(table, protocol, fold)
        people = {name: set(table["subject"].iloc[rows]) for name, rows in parts.items()}
        assert {name: len(who) for name, who in people.items()} == {"train": 28, "validation": 4, "test": 8}
        used = table["pan"] <= 30 if protocol == "phanet-multipie" else table["pan"] < 99
        assert sorted(np.concatenate(list(parts.values()))) == np.flatnonzero(used).tolist()
        drawn.append(people["test"])
    assert drawn[0] != drawn[1]


def test_tilted_cameras_take_part_where_they_are_asked_for() -> None:
    table = manifest(10, 8).assign(pan=np.resize([0.0, 45.0], 240), tilt=np.resize([0.0, 0.0, 0.0, 30.0], 240), level=4)
    table["expression"] = np.resize(["happiness", "surprise", "neutral"], 240)
    counts = {}
    for name in ("pata-bu3dfe-s2", "pata-bu3dfe-s3"):
        rows = np.concatenate(list(protocols.split(table, name).values()))
        assert set(table["expression"].iloc[rows]) == {"happiness", "surprise"}
        counts[name] = set(table["tilt"].iloc[rows])
    assert counts == {"pata-bu3dfe-s2": {0.0}, "pata-bu3dfe-s3": {0.0, 30.0}}
    with pytest.raises(DataError, match="needs the column 'level'"):
        protocols.split(table.drop(columns="level"), "pata-bu3dfe-s3")


def test_only_people_of_every_session_and_every_expression() -> None:
    table = manifest(12, 4).assign(pan=0.0, session=np.resize([1, 2], 144))
    short = (table["subject"] == "F00") & (table["session"] == 2)
    rows = np.concatenate(list(protocols.split(table[~short].reset_index(drop=True), "pata-multipie-s1").values()))
    kept = table[~short].reset_index(drop=True).iloc[rows]
    assert set(kept["subject"]) == set(table["subject"]) - {"F00"} and len(kept) == 11 * 12
    lost = (table["subject"] == "M01") & (table["expression"] == "surprise")
    some = table[~lost].reset_index(drop=True)
    rows = np.concatenate(list(protocols.split(some, "pata-multipie-s2").values()))
    once = some.iloc[np.sort(rows)]
    assert set(once["subject"]) == set(table["subject"]) - {"M01"}
    assert once.groupby(["subject", "expression"]).size().tolist() == [1] * 33, "each expression of each once"
    assert all(name.endswith("-0") for name in once["sample"]), "the first recording"
    with pytest.raises(DataError, match="needs the column 'session'"):
        protocols.split(table.drop(columns="session"), "pata-multipie-s1")


def test_a_set_without_a_test_part_is_tested_on_its_validation_part() -> None:
    table = manifest(30, 1).assign(split=np.where(np.arange(90) < 75, "train", "validation"))
    parts = protocols.split(table, "official")
    assert parts["test"].tolist() == list(range(75, 90))
    people = {name: set(table["subject"].iloc[rows]) for name, rows in parts.items()}
    assert not people["train"] & people["validation"] and len(people["validation"]) == 2, "a tenth of 25 people"
    assert sorted([*parts["train"], *parts["validation"]]) == list(range(75))
    alone = protocols.split(table.assign(subject=""), "official")
    assert len(alone["validation"]) == 7 and sorted([*alone["train"], *alone["validation"]]) == list(range(75))


def test_official_split() -> None:
    table = pd.DataFrame({"split": ["test", "train", "validation", "train", "unused"]})
    parts = protocols.split(table, "ferplus-official")
    assert {k: v.tolist() for k, v in parts.items()} == {"train": [1, 3], "validation": [2], "test": [0]}


def test_protocol_errors() -> None:
    with pytest.raises(ParameterError, match=r"no protocol 'ferplus'.*did you mean 'ferplus-official'"):
        protocols.split(manifest(), "ferplus")
    for fold in (10, -1):
        with pytest.raises(ParameterError, match=f"folds 0 to 9, not {fold}"):
            protocols.split(manifest(), "lan-kdef-10fold", fold)
    with pytest.raises(ParameterError, match="one fold, 0, not 1"):
        protocols.split(manifest(), "ferplus-official", 1)
    with pytest.raises(DataError, match="at least ten people, the data set has 9"):
        protocols.split(manifest(9), "lan-kdef-10fold")
    with pytest.raises(DataError, match="the part 'train' is empty"):
        people = {"subject": ["a", "b"], "sample": ["1", "2"]}
        protocols.split(pd.DataFrame({"split": ["validation", "test"], **people}), "ferplus-official")
    with pytest.raises(DataError, match="needs the column 'pan'"):
        protocols.split(manifest(), "phanet-multipie")
    with pytest.raises(DataError, match="at least five, the data set has 4"):
        protocols.split(manifest(4), "dmlnet-kdef-56-14")


# --- catalogue and command line ---------------------------------------------------------------------------


@pytest.fixture
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Prepared data in a folder of the test's own, the KDEF twin a small one that says how often it was made."""
    monkeypatch.setenv("FERCORE_PREPARED", str(tmp_path / "prepared"))
    monkeypatch.delenv("FERCORE_DATA", raising=False)

    def make(target: Path, preset: str) -> None:
        with open(tmp_path / "made", "a") as file:
            file.write(preset + "\n")
        write_prepared(target)

    small = catalogue.Entry("Stripes", False, lambda preset: f"stripes {preset}", make)
    monkeypatch.setitem(catalogue.DATASETS, "kdef-twin", small)
    return tmp_path


def test_made_once_a_preset(own_place: Path) -> None:
    first, second, third = (catalogue.prepare("kdef-twin", p) for p in ("smoke", "smoke", "quick"))
    assert first.path == second.path != third.path
    assert (own_place / "made").read_text() == "smoke\nquick\n"
    assert first.path.parent == own_place / "prepared"


def test_made_once_for_each_choice(own_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, object]] = []

    def make(target: Path, preset: str, **options: object) -> None:
        made.append(options)
        write_prepared(target)

    entry = catalogue.Entry("Stripes", False, lambda preset, **options: f"{preset} {sorted(options.items())}", make)
    monkeypatch.setitem(catalogue.DATASETS, "kdef-twin", entry)
    found = [catalogue.prepare("kdef-twin", changes=changes) for changes in ({}, {"size": 20}, {"size": 24}, None)]
    found.append(catalogue.prepare("kdef-twin", size=20))
    assert made == [{}, {"size": 20}, {"size": 24}]
    assert found[0].path == found[3].path and found[1].path == found[4].path != found[2].path


@pytest.mark.parametrize("preset", ["smoke", "quick"])
def test_a_twin_is_rendered_at_the_preset_that_is_asked_for(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(twins, "prepare", lambda target, twin, preset: asked.append((target, twin, preset)))
    catalogue.entry("kdef-twin").make(tmp_path, preset, stray=0.0)
    assert asked == [(tmp_path, twin_designs.parameters("kdef-twin", preset, stray=0.0), preset)]


def test_sets_of_pictures_take_a_treatment_and_sets_of_scans_do_not() -> None:
    options = {name: set(catalogue.entry(name).options) for name in ("rafdb", "kdef", "bu3dfe")}
    assert {name: {"treatment", "yunet"} <= own for name, own in options.items()} == {
        "rafdb": True, "kdef": True, "bu3dfe": False,
    }  # fmt: skip


def test_catalogue_errors(own_place: Path) -> None:
    with pytest.raises(ParameterError, match=r"no data set 'kdef-twn'.*did you mean 'kdef-twin'.*ferplus"):
        catalogue.prepare("kdef-twn")
    with pytest.raises(ParameterError, match=r"no preset 'papers'.*did you mean 'paper'"):
        catalogue.prepare("kdef-twin", "papers")
    with pytest.raises(DataError, match=r"FERCORE_DATA is not set(.|\n)*What to do: get FER2013"):
        catalogue.prepare("ferplus")
    with pytest.raises(ParameterError, match=r"no option of ferplus 'label'.*did you mean 'labels'"):
        catalogue.prepare("ferplus", label="label.csv")
    assert catalogue.at_hand("kdef-twin") and not catalogue.at_hand("ferplus")


def test_a_changed_twin_is_another_data_set() -> None:
    key = catalogue.entry("kdef-twin").key
    assert key("smoke") == key("smoke", repeats=1) != key("smoke", stray=0.5)
    with pytest.raises(ParameterError, match=r"impossible kdef-twin: stray: .*less than or equal to 1"):
        key("smoke", stray=2)


def test_data_commands(own_place: Path, command: Command) -> None:
    assert [line.split()[0] for line in command.good("data", "list")] == list(catalogue.DATASETS)
    stamp = own_place / "stamps" / "kdef.json"
    line = command.good("data", "prepare", "kdef-twin", "--stamp", stamp)[0]
    assert line.startswith("Stripes: 72 images in ")
    noted = json.loads(stamp.read_text())
    assert noted["name"] == "kdef-twin" and noted["hash"] == prepared.open_prepared(noted["folder"]).hash
    text = "\n".join(command.good("data", "check", noted["folder"]))
    assert "images by split and class" in text and "72" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("prepare", "kdeftwin"), "did you mean 'kdef-twin'?"),
        (("prepare", "kdef-twin", "--preset", "smoek"), "did you mean 'smoke'?"),
        (("prepare", "kdef-twin", "--rule", "majority"), "--rule is for ferplus"),
        (("prepare", "ferplus"), "FERCORE_DATA is not set"),
        (("check", "nowhere"), "nowhere does not exist"),
        (("check", "."), "no data set that is known here"),
    ],
)
def test_data_mistakes(
    words: tuple[str, ...], message: str, own_place: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own_place)
    assert message in command.bad("data", *words)


def test_full_disk_on_the_command_line(own_place: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    assert "No space left on the disk" in command.bad("data", "prepare", "kdef-twin")
    assert not [path for path in (own_place / "prepared").iterdir() if path.suffix != ".lock"]
