"""Real sets of picture files as users have them, on small trees with the known defects; hostile files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_render import write_wrl
from tiny import Command

from fercore.data import (
    affectnet,
    bu3dfe,
    catalogue,
    kdef,
    multipie,
    picture_files,
    protocols,
    rafdb,
    sfew,
    twin_designs,
)  # fmt: skip
from fercore.data.check import check
from fercore.data.pose_subsets import RAFDB_ORDER
from fercore.errors import DataError, FercoreError, ParameterError
from fercore.heads import read_mesh, render
from fercore.paths import data_root

REAL_LABELS = (data_root() or Path("/nowhere")) / "rafdb" / "list_patition_label.txt"


def picture(path: Path, size: tuple[int, int] = (20, 20), value: int | None = None, seed: int = 0) -> None:
    """A noisy picture, or one of a single value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(40, 220, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels if value is None else np.full_like(pixels, value)).save(path, format="JPEG", quality=95)


# --- what names and numbers stand for --------------------------------------------------------------------

ORDERS = {
    "RAF-DB, from 1": ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"),
    "AffectNet, from 0": ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt"),
}
"""As the authors of the sets number their classes."""


def test_numbers_stand_for_the_classes_that_their_authors_say() -> None:
    assert tuple(ORDERS.values()) == (RAFDB_ORDER, affectnet.AFFECTNET_ORDER)
    assert (*ORDERS["AffectNet, from 0"], "none", "uncertain", "no face") == affectnet.CODES
    counts = twin_designs.DESIGNS["rafdb-twin"].published
    assert {split: dict(classes) for split, classes in rafdb.OF_CLASS.items()} == {
        split: counts[split] for split in ("train", "test")
    }
    assert counts["train"]["disgust"] == 717 and counts["train"]["anger"] == 705


def test_names_stand_for_the_expressions_and_cameras_that_their_authors_say() -> None:
    short = {name[:2].upper(): name for name in ("disgust", "happiness", "neutral", "sadness", "surprise")}
    assert short | {"AF": "fear", "AN": "anger"} == kdef.CODES
    assert short | {"FE": "fear", "AN": "anger"} == bu3dfe.CODES
    assert kdef.PANS == {"FL": -90, "HL": -45, "S": 0, "HR": 45, "FR": 90}
    alike = {"angry": "anger", "happy": "happiness", "sad": "sadness"}
    assert alike | {name: name for name in ("disgust", "fear", "neutral", "surprise")} == sfew.FOLDERS
    assert {
        (session, recording): shown for session, own in multipie.RECORDINGS.items() for recording, shown in own.items()
    } == {
        ("01", "01"): "neutral", ("01", "02"): "happiness", ("02", "01"): "neutral", ("02", "02"): "surprise",
        ("02", "03"): "squint", ("03", "01"): "neutral", ("03", "02"): "happiness", ("03", "03"): "disgust",
        ("04", "01"): "neutral", ("04", "02"): "neutral", ("04", "03"): "scream",
    }  # fmt: skip
    cameras = ("110", "120", "090", "080", "130", "140", "051", "050", "041", "190", "200", "010", "240")
    assert dict(zip(cameras, range(-90, 91, 15), strict=True)) == multipie.PANS


def test_each_set_has_its_usual_split() -> None:
    assert {
        "ferplus": "ferplus-official", "kdef": "lan-kdef-10fold", "kdef-twin": "lan-kdef-10fold",
        "bu3dfe": "phanet-bu3dfe-9pan", "bu3dfe-twin": "phanet-bu3dfe-9pan", "multipie": "pata-multipie-s1",
        "multipie-twin": "pata-multipie-s1", **dict.fromkeys(("rafdb", "affectnet", "sfew"), "official"),
        **{f"{name}-twin": "official" for name in ("rafdb", "ferplus", "affectnet", "sfew")},
    } == protocols.USUAL  # fmt: skip


# --- RAF-DB --------------------------------------------------------------------------------------------


@pytest.fixture
def raf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fourteen images to train on, seven to test on, one pose list; the label file without a last newline."""
    root = tmp_path / "sets" / "rafdb"
    lines = []
    for split, count in (("train", 14), ("test", 7)):
        for k in range(count):
            name = f"{split}_{k + 1:05d}" if split == "train" else f"{split}_{k + 1:04d}"
            lines.append(f"{name}.jpg {k % 7 + 1}")
            picture(root / "Image" / "aligned" / f"{name}_aligned.jpg", seed=len(lines))
    (root / "EmoLabel").mkdir()
    (root / rafdb.LABELS).write_text("\n".join(lines))
    lists = root.parent / "pose_lists"
    lists.mkdir()
    (lists / "RAF_DB_dir_val_raf_db_list.txt").write_text("0/test_0001_aligned.jpg\n4/test_0005_aligned.jpg\n")
    monkeypatch.setenv("FERCORE_DATA", str(root.parent))
    monkeypatch.setenv("FERCORE_PREPARED", str(tmp_path / "prepared"))
    return root


def test_rafdb_is_prepared_with_its_classes_and_pose_subset(raf: Path) -> None:
    data = catalogue.prepare("rafdb", size=16)
    assert data.images.shape == (21, 16, 16, 3) and data.name == "rafdb"
    rows = data.manifest.set_index("sample")
    assert rows.loc["train_00001", "expression"] == "surprise" and rows.loc["test_0007", "expression"] == "neutral"
    assert rows.index[rows["pose_over_30"]].tolist() == ["test_0001", "test_0005"] and "pose_over_45" not in rows
    notes = " ".join(data.card["notes"])
    assert (
        "train: 14 images, published 12,271" in notes and "2 entries (1247 published), 0 without a test image" in notes
    )
    assert "pose_over_45: no list file pose_lists/RAF_DB_dir_val_raf_db_list_45.txt" in notes
    parts = protocols.split(data.manifest, "official")
    assert len(parts["test"]) == 7 and len(parts["train"]) + len(parts["validation"]) == 14
    assert np.array_equal(
        data.images[data.manifest["sample"].tolist().index("test_0003")],
        picture_files.square(picture_files.read_picture(raf / "Image/aligned/test_0003_aligned.jpg"), 16),
    )


def test_original_pictures_of_rafdb_are_read_where_there_are_no_aligned_ones(raf: Path) -> None:
    expected = rafdb.read(raf).table.drop(columns="file")
    (raf / "Image" / "aligned").rename(raf / "Image" / "original")
    for path in (raf / "Image" / "original").iterdir():
        path.rename(path.with_name(path.name.replace("_aligned", "")))
    table = rafdb.read(raf).table
    pd.testing.assert_frame_equal(table.drop(columns="file"), expected)
    assert (table["file"] == "Image/original/" + table["sample"] + ".jpg").all()


def test_check_of_rafdb_names_every_problem(raf: Path) -> None:
    aligned = raf / "Image" / "aligned"
    (aligned / "train_00003_aligned.jpg").unlink()
    (aligned / "train_00004_aligned.jpg").write_bytes(b"no picture")
    picture(aligned / "train_00005_aligned.jpg", value=2)
    picture(aligned / "train_00006_aligned.jpg", (31, 20))
    (aligned / "train_00007_aligned.jpg").write_bytes((aligned / "train_00008_aligned.jpg").read_bytes())
    picture(aligned / "train_09999_aligned.jpg")
    report = check(raf.parent)
    said = "\n".join(report.problems)
    for words in (
        "1 labels without a picture: train_00003_aligned.jpg", "1 pictures without a label: train_09999_aligned.jpg",
        "1 broken pictures:", "train_00004_aligned.jpg is no readable picture: none of PNG, JPEG, BMP",
        "1 nearly black pictures: Image/aligned/train_00005_aligned.jpg",
        "1 pictures with the same pixels as another: Image/aligned/train_00008_aligned.jpg = Image/aligned/train_00007",
        "1 pictures of another size than 20 x 20: Image/aligned/train_00006_aligned.jpg (31 x 20)",
        "train fear: 2 images, published 281",
    ):  # fmt: skip
        assert words in said, words
    assert report.tables["images against published counts"].loc["test", "here"] == 7
    with pytest.raises(DataError, match=r"train_00004_aligned.jpg is no readable picture"):
        catalogue.prepare("rafdb")
    assert not list((raf.parents[1] / "prepared").glob("rafdb*")), "nothing half-written"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train_00001.jpg 8", "line 1: 'train_00001.jpg 8' is no label"),
        ("train_00001.jpg 1\nfoo", "line 2: 'foo' is no label"),
        ("train_00001.jpg 1\ntrain_00001.jpg 2", "names train_00001 twice"),
        ("\n\n", "holds no label"),
        ("../../etc/passwd 1", "is no label"),
    ],
)
def test_a_broken_label_file_is_named(raf: Path, text: str, said: str) -> None:
    (raf / rafdb.LABELS).write_text(text)
    with pytest.raises(DataError, match=said):
        rafdb.read(raf)


@given(st.binary(max_size=200))
def test_no_label_file_ends_in_another_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.mktemp("labels") / "list.txt"
    file.write_bytes(data)
    try:
        table = rafdb.read_labels(file)
    except FercoreError:
        return
    assert len(table) and set(table["expression"]) <= set(RAFDB_ORDER)


@pytest.mark.skipif(not REAL_LABELS.is_file(), reason="needs RAF-DB's label file in FERCORE_DATA")
def test_the_published_label_file() -> None:
    table = rafdb.read_labels(REAL_LABELS)
    assert table["split"].value_counts().to_dict() == rafdb.SET.published
    for split, classes in rafdb.OF_CLASS.items():
        assert table[table["split"] == split]["expression"].value_counts().to_dict() == classes


def test_what_is_not_there_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FERCORE_DATA", raising=False)
    for name, title in (("rafdb", "RAF-DB"), ("kdef", "KDEF")):
        assert not catalogue.at_hand(name)
        with pytest.raises(DataError, match=rf"{title} is not at hand: FERCORE_DATA is not set[^$]*ask for it"):
            catalogue.prepare(name)
    monkeypatch.setenv("FERCORE_DATA", str(tmp_path))
    with pytest.raises(DataError, match="RAF-DB is not in"):
        catalogue.prepare("rafdb")
    with pytest.raises(ParameterError, match="no option of rafdb"):
        catalogue.prepare("rafdb", rule="majority")


def test_a_check_follows_no_link_and_takes_no_other_format(raf: Path) -> None:
    aligned = raf / "Image" / "aligned"
    picture(raf.parents[1] / "secret.jpg")
    (aligned / "train_00001_aligned.jpg").unlink()
    (aligned / "train_00001_aligned.jpg").symlink_to(raf.parents[1] / "secret.jpg")
    said = "\n".join(check(raf.parent).problems)
    assert "1 labels without a picture: train_00001_aligned.jpg" in said
    outside = picture_files.look(aligned, pd.DataFrame({"file": ["../../../../secret.jpg"]}))
    assert len(outside) == 1 and "leads out of its folder" in outside[0]
    for ending in ("GIF", "TIFF", "WEBP"):
        Image.new("RGB", (9, 9)).save(raf / "other.jpg", format=ending)
        with pytest.raises(DataError, match="none of PNG, JPEG, BMP"):
            picture_files.read_picture(raf / "other.jpg")


def test_a_picture_that_a_telephone_turned_is_upright(tmp_path: Path) -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:5] = 200
    note = Image.Exif()
    note[0x0112] = 6  # to be turned by 90 degrees to the right
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=note)
    seen = picture_files.read_picture(tmp_path / "turned.png")
    assert seen.shape == (30, 20, 3) and seen[:, -5:].min() == 200 and seen[:, :-5].max() == 0


def test_a_set_s_key_follows_pictures_labels_lists_and_choices(raf: Path) -> None:
    def key(**choices: object) -> str:
        return rafdb.SET.key(raf, **choices)

    aligned, keys = raf / "Image" / "aligned", [key(), key(size=50), key(treatment="detected")]
    assert key(size=100) == keys[0], "its usual size"
    for change in (
        lambda: (raf / rafdb.LABELS).write_text(
            (raf / rafdb.LABELS).read_text().replace("train_00001.jpg 1", "train_00001.jpg 2")
        ),
        lambda: (raf.parent / "pose_lists" / "RAF_DB_dir_val_raf_db_list_45.txt").write_text(
            "0/test_0001_aligned.jpg\n"
        ),
        lambda: (aligned / "train_00002_aligned.jpg").unlink(),
        lambda: picture(aligned / "train_00003_aligned.jpg", (40, 40)),
        lambda: (aligned / "train_00004_aligned.jpg").rename(aligned / "train_00002_aligned.jpg"),
    ):
        change()
        keys.append(key())
    assert len(set(keys)) == len(keys)
    (raf / "notes.md").write_text("anything")
    assert key() == keys[-1]
    model, found = raf.parent / "yunet.onnx", set()
    for content in (b"one network", b"another"):
        model.write_bytes(content)
        found |= {key(treatment=treatment, yunet=str(model)) for treatment in ("detected", "aligned")}
    assert len(found | {key(), key(treatment="detected")}) == 6, "what is done about faces, and by which network"


def test_a_choice_is_part_of_the_key(pie: Path) -> None:
    keys = {multipie.SET.key(pie, **choices) for choices in ({}, {"lights": "all"}, {"lights": "08"}, {"scream": "02"})}
    assert len(keys) == 4 and multipie.SET.key(pie, lights="07", scream="03") in keys


def test_a_list_marks_images_of_the_tested_part_alone(raf: Path) -> None:
    file = raf.parent / "pose_lists" / "RAF_DB_dir_val_raf_db_list.txt"
    file.write_text("0/test_0001_aligned.jpg\n0/train_00001_aligned.jpg\n")
    listing = rafdb.read(raf)
    assert listing.table["sample"][listing.table["pose_over_30"]].tolist() == ["test_0001"]
    assert any("2 entries (1247 published), 1 without a test image" in problem for problem in listing.problems)


# --- KDEF ----------------------------------------------------------------------------------------------


@pytest.fixture
def karolinska(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve people, whole, in folders of their own, with the defects of the files in circulation."""
    root = tmp_path / "sets" / "kdef"
    seed = 0
    for sex in "FM":
        for number in range(1, 7):
            for series in "AB":
                for code in kdef.CODES:
                    for side in kdef.PANS:
                        name = f"{series}{sex}{number:02d}{code}{side}.JPG"
                        picture(root / name[:4] / name, (14, 19), seed=(seed := seed + 1))
    (root / "AF01" / "AF01ANFL.JPG").rename(root / "AF01" / "AF01V.JPG")
    picture(root / "AM02" / "AM02HAS.JPG", (14, 19), value=1)
    picture(root / "BF03" / "BF03SUHR.JPG", (30, 30))
    monkeypatch.setenv("FERCORE_DATA", str(root.parent))
    monkeypatch.setenv("FERCORE_PREPARED", str(tmp_path / "prepared"))
    return root


def test_kdef_is_prepared_by_person_and_pan(karolinska: Path) -> None:
    data = catalogue.prepare("kdef", size=12)
    manifest = data.manifest
    assert len(data) == 12 * 70 - 1 and data.images.shape[1:] == (12, 12, 3)
    assert manifest["subject"].nunique() == 12 and set(manifest["pan"]) == {-90, -45, 0, 45, 90}
    row = manifest[manifest["sample"] == "BM04SAHR"].squeeze()
    assert (row["subject"], row["series"], row["expression"], row["pan"]) == ("M04", "B", "sadness", 45)
    assert (row["sex"], row["split"]) == ("male", "all") and (manifest["yaw"] == manifest["pan"]).all()
    notes = " ".join(data.card["notes"])
    assert "1 files with a name of another form, which were left out: AF01/AF01V.JPG" in notes
    assert "1 pictures that are not there: AF01ANFL" in notes
    for fold in (0, 9):
        parts = protocols.split(manifest, "lan-kdef-10fold", fold)
        who = [set(manifest["subject"].iloc[rows]) for rows in parts.values()]
        assert not who[0] & who[1] and not who[0] & who[2] and not who[1] & who[2]
    assert protocols.split(manifest, "dmlnet-kdef-56-14")["test"].size


def test_check_of_kdef_names_dark_and_odd_pictures(karolinska: Path) -> None:
    report = check(karolinska)
    said = "\n".join(report.problems)
    assert "1 nearly black pictures: AM02/AM02HAS.JPG" in said
    assert "1 pictures of another size than 14 x 19: BF03/BF03SUHR.JPG (30 x 30)" in said
    assert "all: 839 images, published 4,900" in said
    assert report.tables["images by pan and class"].loc[-90.0, "anger"] == 23
    assert list(report.tables) == [
        "images by split and class", "images by pan and class", "images against published counts"
    ] and report.what.endswith(f" at {karolinska}")  # fmt: skip


def test_the_same_name_twice_counts_once(karolinska: Path) -> None:
    picture(karolinska / "copy" / "AF02ANFL.JPG")
    listing = kdef.read(karolinska)
    assert not listing.table["sample"].duplicated().any()
    assert any(
        "files whose name another one has, which were left out: copy/AF02ANFL.JPG" in p for p in listing.problems
    )


@given(st.text(max_size=16))
def test_names_are_of_the_form_or_none(name: str) -> None:
    known = kdef.parse_name(name)
    assert known is None or known["sample"] == name.upper().rpartition(".")[0]


@given(
    st.sampled_from("AB"), st.sampled_from("FM"), st.integers(1, 35),
    st.sampled_from(sorted(kdef.CODES)), st.sampled_from(sorted(kdef.PANS)),
)  # fmt: skip
def test_every_published_name_is_read(series: str, sex: str, number: int, code: str, side: str) -> None:
    known = kdef.parse_name(f"{series}{sex}{number:02d}{code}{side}.JPG")
    assert (known["series"], known["subject"]) == (series, f"{sex}{number:02d}")
    assert (known["expression"], known["pan"]) == (kdef.CODES[code], kdef.PANS[side])


# --- AffectNet -----------------------------------------------------------------------------------------

HASHES = [f"{k:056x}" for k in range(1, 60)]


@pytest.fixture
def affect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first release: two csv files with landmarks, pictures with a face box, rows of no expression."""
    root = tmp_path / "sets" / "affectnet"
    names = iter(HASHES)
    for split, each in (("training", 4), ("validation", 1)):
        lines = [
            "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
        ]
        for code in range(11):
            for k in range(each):
                name = f"{k}/{next(names)}.jpg"
                lines.append(f"{name},4,6,10,10,{'1.0;2.0;' * 68},{code},{0.1 * code - 0.5:.3f},-0.25")
                picture(root / affectnet.IMAGES / name, (30, 24), seed=len(lines))
        (root / f"{split}.csv").write_text("\n".join(lines) + "\n")
    lists = root.parent / "pose_lists"
    lists.mkdir()
    tested = HASHES[44:]
    (lists / affectnet.POSE_LISTS["pose_over_30"][0]).write_text(f"0/{tested[0]}.jpg\n3/{tested[3]}.jpg\n")
    (lists / affectnet.POSE_LISTS["pose_over_45"][0]).write_text(f"7/{tested[7]}/8.jpg\n0/{'f' * 56}/0.jpg\n")
    monkeypatch.setenv("FERCORE_DATA", str(root.parent))
    monkeypatch.setenv("FERCORE_PREPARED", str(tmp_path / "prepared"))
    return root


def test_first_release_of_affectnet(affect: Path) -> None:
    data = catalogue.prepare("affectnet", size=10)
    manifest = data.manifest
    assert manifest["split"].value_counts().to_dict() == {"train": 32, "validation": 8}
    assert manifest.groupby("split")["expression"].value_counts().unstack().loc["train"].tolist() == [4] * 8
    row = manifest[manifest["sample"] == HASHES[44 + 3]].squeeze()
    assert (row["expression"], row["valence"], row["arousal"]) == ("surprise", -0.2, -0.25) and row["pose_over_30"]
    assert manifest["pose_over_30"].sum() == 2 and manifest["pose_over_45"].sum() == 1
    assert not set(picture_files.BOX) & set(manifest) and data.card["made"]["crop"] == "box of the face"
    original = picture_files.read_picture(affect / affectnet.IMAGES / "0" / f"{HASHES[44]}.jpg")
    place = manifest["sample"].tolist().index(HASHES[44])
    assert np.array_equal(data.images[place], original[6:16, 4:14]), "the face's box, pixel by pixel"
    notes = " ".join(data.card["notes"])
    for words in ("train: 12 images of no expression", "2 entries (1944 published)", "1 without a validation image"):
        assert words in notes, words
    assert len(protocols.split(manifest, "official")["test"]) == 8, "tested on the validation part, as papers do"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("valence", "mood"), r"has no column valence"),
        (lambda text: text.replace(",10,10,", ",,10,", 1), r"validation.csv, line 2: a field is empty"),
        (lambda text: text.replace(",4,6,", ",x,6,", 1), r"validation.csv is no readable csv"),
        (lambda text: "", r"validation.csv is no readable csv"),
    ],
)
def test_a_broken_csv_of_affectnet_is_named(affect: Path, change: Callable[[str], str], said: str) -> None:
    file = affect / "validation.csv"
    file.write_text(change(file.read_text()))
    with pytest.raises(DataError, match=said):
        affectnet.read(affect)


def test_a_row_that_is_repeated_counts_once(affect: Path) -> None:
    file = affect / "validation.csv"
    before = affectnet.read(affect).table
    file.write_text(file.read_text() + file.read_text().splitlines()[1] + "\n")
    assert affectnet.read(affect).table.equals(before)


def test_rows_that_lead_out_or_say_nothing_are_left_out(affect: Path) -> None:
    picture(affect.parent / "secret.jpg")
    file = affect / "validation.csv"
    lines = file.read_text().splitlines()
    lines += ["../../secret.jpg,1,1,9,9,x,1,0,0", "0/none.jpg,1,1,9,9,x,1,0,0"]
    lines[1] = lines[1].replace(",0,-0.500", ",77,-0.500")
    file.write_text("\n".join(lines))
    listing = affectnet.read(affect)
    said = " ".join(listing.problems)
    assert "2 rows of validation.csv without a picture: ../../secret.jpg, 0/none.jpg" in said
    assert f"1 images with a number that is no expression, which were left out: {HASHES[44]}" in said
    assert (listing.table["split"] == "validation").sum() == 7


def test_second_release_of_affectnet(tmp_path: Path, affect: Path) -> None:
    root = affect.parent / "second" / "affectnet"
    for name, count in (("train_set", 18), ("val_set", 9)):
        for k in range(count):
            picture(root / name / "images" / f"{k}.jpg", seed=k)
            (root / name / "annotations").mkdir(exist_ok=True)
            values = {"exp": np.array(str(k % 9)), "val": np.array(0.5), "aro": np.array("-0.25")}
            for kind, value in values.items():
                np.save(root / name / "annotations" / f"{k}_{kind}.npy", value)
    (root / "val_set" / "annotations" / "8_aro.npy").unlink()
    lists = root.parent / "pose_lists"
    lists.mkdir()
    (lists / affectnet.POSE_LISTS["pose_over_30"][0]).write_text(f"0/{HASHES[0]}.jpg\n")
    listing = affectnet.read(affectnet.SET.find_source(root.parent))
    table = listing.table.set_index("sample")
    assert len(table) == 16 + 8 and table.loc["val_set_3", "expression"] == "surprise"
    assert (table.loc["train_set_9", "expression"], table.loc["train_set_9", "arousal"]) == ("neutral", -0.25)
    said = " ".join(listing.problems)
    assert "name images of the first release" in said and "pose_over_30" not in table
    assert "1 images of val_set without annotations: 8.jpg" in said and "train: 2 images of no expression" in said
    np.save(root / "val_set" / "annotations" / "1_exp.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"1_exp.npy holds no number"):
        affectnet.read(root)


# --- SFEW ----------------------------------------------------------------------------------------------


@pytest.fixture
def films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "sets" / "SFEW_2"
    for folder, count in (("Train/Train_Aligned_Faces", 3), ("Val/Val_Aligned_Faces_new/Val_Aligned_Faces", 2)):
        for name in ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"):
            for k in range(count):
                picture(root / folder / name / f"Airheads_0005192{k}0_0000000{k}.png", seed=k)
    monkeypatch.setenv("FERCORE_DATA", str(root.parent))
    monkeypatch.setenv("FERCORE_PREPARED", str(tmp_path / "prepared"))
    return root


def test_sfew_is_read_by_its_folders(films: Path) -> None:
    picture(films / "Train/Train_Aligned_Faces" / "Bored" / "x_1_1.png")
    data = catalogue.prepare("sfew", size=8)
    assert data.manifest["split"].value_counts().to_dict() == {"train": 21, "validation": 14}
    assert set(data.manifest["film"]) == {"Airheads"} and not data.manifest["sample"].duplicated().any()
    notes = " ".join(data.card["notes"])
    assert (
        "1 pictures in a folder of no expression, which were left out: Train/Train_Aligned_Faces/Bored/x_1_1" in notes
    )
    assert "train: 21 images, published 958" in notes
    assert len(protocols.split(data.manifest, "official")["test"]) == 14
    report = check(films.parent)
    assert report.tables["images against published counts"].loc["validation anger", "published"] == 77
    assert any("with the same pixels as another" in problem for problem in report.problems)


# --- Multi-PIE -----------------------------------------------------------------------------------------


@pytest.fixture
def pie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six people who come to all sessions, three cameras and one from above, two lights."""
    root = tmp_path / "sets" / "multipie"
    for number in range(1, 7):
        for session, recordings in multipie.RECORDINGS.items():
            for recording in recordings:
                for camera in ("051", "130", "010", "081"):
                    for light in ("07", "18"):
                        name = f"{number:03d}_{session}_{recording}_{camera}_{light}.png"
                        place = f"session{session}/multiview/{number:03d}/{recording}/{camera[:2]}_{camera[2]}"
                        picture(root / place / name, (24, 18), seed=number)
    monkeypatch.setenv("FERCORE_DATA", str(root.parent))
    monkeypatch.setenv("FERCORE_PREPARED", str(tmp_path / "prepared"))
    return root


def test_multipie_is_read_by_its_names(pie: Path) -> None:
    picture(pie / "session01" / "multiview" / "001_01_05_051_07.png")
    data = catalogue.prepare("multipie", size=8)
    manifest = data.manifest
    assert len(data) == 6 * 11 * 3 and set(manifest["pan"]) == {0, -30, 75} and set(manifest["flash"]) == {7}
    assert data.classes == multipie.CLASSES and manifest["expression"].value_counts()["neutral"] == 6 * 5 * 3
    row = manifest[manifest["sample"] == "004_03_03_010_07"].squeeze()
    assert (row["subject"], row["expression"], row["pan"], row["session"]) == ("004", "disgust", 75, 3)
    notes = " ".join(data.card["notes"])
    assert "132 pictures from above" in notes and "6 people, published 337" in notes
    assert "1 files of another name, recording or camera, which were left out: session01/multiview/001_01_05" in notes
    kept = manifest[(manifest["subject"] != "002") | (manifest["session"] != 4)].reset_index(drop=True)
    parts = protocols.split(kept, "pata-multipie-s1")
    taken = kept.iloc[np.concatenate(list(parts.values()))]
    assert set(taken["subject"]) == {"001", "003", "004", "005", "006"}, "002 missed a session"
    parts = protocols.split(manifest, "dmlnet-multipie")
    who = [set(manifest["subject"].iloc[rows]) for rows in parts.values()]
    assert not who[0] & who[1] and not who[0] & who[2] and not who[1] & who[2]


def test_a_picture_that_lies_in_two_places_counts_once(pie: Path, scans: Path, films: Path) -> None:
    for source, read, name in (
        (pie, multipie.read, "001_01_01_051_07.png"),
        (scans, bu3dfe.read, "F0001_HA01WH_F3D.wrl"),
        (films, sfew.read, "Airheads_0005192_00_0000000_0.png".replace("_00_0000000_0", "00_00000000")),
    ):
        before = read(source).table
        (file,) = (
            path
            for path in source.rglob(name)
            if path.parent.name in ("05_1", "F0001", "Angry") and "Val" not in str(path)
        )
        copy = file.parent.parent / "zz" / file.parent.name / name if read is sfew.read else source / "zz" / name
        copy.parent.mkdir(parents=True)
        copy.write_bytes(file.read_bytes())
        after = read(source).table
        assert len(after) == len(before) and not after["sample"].duplicated().any(), name


def test_choices_of_multipie(pie: Path) -> None:
    both, other = multipie.read(pie, lights="all").table, multipie.read(pie, scream="02").table
    assert len(both) == 6 * 11 * 3 * 2
    screams = other[other["expression"] == "scream"]
    assert set(screams["session"]) == {4} and set(screams["recording"]) == {2}
    assert multipie.read(pie, lights=7).table.equals(multipie.read(pie).table), "as a command line reads 07"
    for wrong in ({"lights": "x"}, {"lights": "20"}, {"scream": "01"}):
        with pytest.raises(ParameterError, match=r"Multi-PIE has no lights|The scream is recording 02 or 03"):
            multipie.read(pie, **wrong)


# --- BU-3DFE -------------------------------------------------------------------------------------------


@pytest.fixture
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six people, neutral and two strengths of two expressions, as small scans; a raw scan and a misnamed one, too."""
    root = tmp_path / "sets" / "bu3dfe"
    for subject in ("F0001", "F0002", "F0003", "M0001", "M0002", "M0003"):
        folder = root / subject
        folder.mkdir(parents=True)
        for code in ("NE00", "HA01", "HA04", "AN01", "AN04"):
            written = write_wrl(folder, 6, url=f"{subject}_{code}WH_F3D.bmp")
            name = f"{subject}_{code}WH_F3D"
            written.with_suffix(".bmp").rename(folder / f"{name}.bmp")
            written.rename(folder / f"{name}.wrl")
    (root / "F0001" / "F0001_AN01WH_RAW.wrl").write_text("#VRML V2.0 utf8")
    (root / "M0003" / "M0003_XX01WH_F3D.wrl").write_text("#VRML V2.0 utf8")
    (root / "F0002" / "F0002_HA04WH_F3D.bmp").rename(root / "F0002" / "F0002_HA04WH_F2D.bmp")
    (root / "F0003" / "F0003_HA04WH_F3D.bmp").unlink()
    monkeypatch.setenv("FERCORE_DATA", str(root.parent))
    monkeypatch.setenv("FERCORE_PREPARED", str(tmp_path / "prepared"))
    return root


def test_views_of_scans_are_rendered(scans: Path) -> None:
    data = catalogue.prepare("bu3dfe", size=24)
    manifest = data.manifest
    assert len(data) == 6 * 5 * 9 and set(manifest["pan"]) == set(bu3dfe.NINE) and manifest["subject"].nunique() == 6
    assert set(manifest[manifest["expression"] == "neutral"]["level"]) == {0}
    view = manifest.index[manifest["sample"] == "M0002_HA04WH_+45+00"][0]
    mesh = read_mesh(scans / "M0002" / "M0002_HA04WH_F3D.wrl")
    assert np.array_equal(data.images[view], render(mesh, 45.0, size=24).image)
    notes = " ".join(data.card["notes"])
    assert "1 scans with a name of another form, which were left out: M0003/M0003_XX01WH_F3D.wrl" in notes
    assert "1 scans without a picture, which are drawn as grey clay: F0003/F0003_HA04WH_F3D.wrl" in notes
    assert "30 scans of 6 people, published 2,500 of 100" in notes
    parts = protocols.split(manifest, "phanet-bu3dfe-9pan")
    assert not set(manifest["subject"].iloc[parts["test"]]) & set(manifest["subject"].iloc[parts["train"]])


def test_all_views_are_those_of_the_twin(scans: Path) -> None:
    table = bu3dfe.read(scans, views="all").table
    twin = twin_designs.parameters(
        "bu3dfe-twin", "paper", people=6, levels=(1, 4), expressions=("neutral", "happiness", "anger")
    )
    design = twin_designs.rows(twin)
    columns = ["subject", "expression", "level", "pan", "tilt"]
    ours, theirs = (
        t[columns].sort_values(columns, ignore_index=True).astype({"pan": float, "tilt": float})
        for t in (table, design)
    )
    assert set(map(tuple, ours[columns[1:]].to_numpy())) == set(map(tuple, theirs[columns[1:]].to_numpy()))
    assert set(ours[ours["tilt"] == 0].groupby("level")["pan"].nunique()) == {11}, "PATA's second setting needs ±15"
    assert (table["yaw"] == table["pan"]).all() and (table["pitch"] == table["tilt"]).all()
    tilted = table[table["tilt"] == 15].iloc[:2]
    mesh = read_mesh(scans / tilted["file"].iloc[0], scans / tilted["texture"].iloc[0])
    for picture_, row in zip(bu3dfe.draw(scans, tilted, 24), tilted.itertuples(), strict=True):
        assert np.array_equal(picture_, render(mesh, row.pan, 15.0, size=24).image)
        assert not np.array_equal(picture_, render(mesh, row.pan, size=24).image)
    with pytest.raises(ParameterError, match="BU-3DFE has no views 'ten'"):
        bu3dfe.read(scans, views="ten")


def test_check_of_scans_names_what_is_broken(scans: Path) -> None:
    (scans / "M0001" / "M0001_NE00WH_F3D.wrl").write_text("#VRML V2.0 utf8 nothing")
    report = check(scans.parent)
    said = "\n".join(report.problems)
    assert "1 broken scans: M0001_NE00WH_F3D.wrl holds no IndexedFaceSet" in said
    assert report.tables["images by level and class"].loc[4, "happiness"] == 6 * len(bu3dfe.NINE)
    with pytest.raises(DataError, match="holds no IndexedFaceSet"):
        catalogue.prepare("bu3dfe", size=24)


@pytest.mark.parametrize(("name", "level"), [("F0001_AN01WH_F3D.wrl", 1), ("m0044_ne00bl_f3d.wrl", 0)])
def test_names_of_scans(name: str, level: int) -> None:
    assert bu3dfe.parse_name(name)["level"] == level
    for wrong in ("F0001_NE01WH_F3D.wrl", "F0001_AN00WH_F3D.wrl", "F0001_AN05WH_F3D.wrl", "F0001_AN01WH_F2D.bmp"):
        assert bu3dfe.parse_name(wrong) is None


# --- hostile files -------------------------------------------------------------------------------------


def test_links_and_paths_that_lead_out_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "outside.jpg")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    with pytest.raises(DataError, match="is a link, or leads out"):
        picture_files.read_picture(inside / "link.jpg", inside)
    with pytest.raises(DataError, match="is a link, or leads out"):
        picture_files.read_picture(inside / ".." / "outside.jpg", inside)
    assert picture_files.files_under(inside, (".jpg",)) == []
    (inside / "loop").symlink_to(inside)
    assert picture_files.files_under(inside, (".jpg",)) == []


def test_bombs_are_refused_before_they_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (8000, 8000)).save(tmp_path / "bomb.png")
    assert os.path.getsize(tmp_path / "bomb.png") < 100_000
    with pytest.raises(DataError, match="8000 x 8000 pixels: too many"):
        picture_files.read_picture(tmp_path / "bomb.png")
    monkeypatch.setattr(picture_files, "MOST_BYTES", 10)
    with pytest.raises(DataError, match="too large for a picture"):
        picture_files.read_picture(tmp_path / "bomb.png")


@given(st.binary(max_size=300))
def test_no_bytes_end_in_another_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.mktemp("bytes") / "x.png"
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"x.png is no readable picture"):
        picture_files.read_picture(file)


@given(st.integers(1, 40), st.integers(1, 40), st.lists(st.floats(-60, 60), min_size=4, max_size=4))
def test_any_box_gives_a_square_of_the_picture(width: int, height: int, box: list[float]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    assert picture_files.square(pixels, 6, box).shape == (6, 6, 3)


@pytest.mark.parametrize(("size", "box"), [((20, 30), (0, 5, 20, 25)), ((30, 20), (5, 0, 25, 20)), ((20, 20), None)])
def test_the_middle_square_is_taken(size: tuple[int, int], box: tuple[int, ...] | None) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    expected = pixels if box is None else pixels[box[1] : box[3], box[0] : box[2]]
    assert np.array_equal(picture_files.square(pixels, 20), expected)


def test_the_square_is_round_the_middle_of_a_box_and_as_large_as_its_longer_side() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    for box, (left, top) in (((10, 12, 8, 4), (10, 10)), ((10, 12, 4, 8), (8, 12)), ((57, 1, 8, 2), (52, 0))):
        assert np.array_equal(picture_files.square(pixels, 8, box), pixels[top : top + 8, left : left + 8]), box


def test_the_command_line_prepares_a_real_set_with_its_choices(
    raf: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(monkeypatch, capsys)
    out = "\n".join(command.good("data", "prepare", "rafdb", "--set", "size=12"))
    assert "RAF-DB (real): 21 images" in out and "note: train: 14 images, published 12,271" in out
    assert "did you mean 'size'" in command.bad("data", "prepare", "rafdb", "--set", "sise=12")
