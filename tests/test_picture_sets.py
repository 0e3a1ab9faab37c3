"""Real sets of picture files: RAF-DB and KDEF as users have them, with the known defects; hostile files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fercore.data import catalogue, kdef, picture_files, protocols, rafdb
from fercore.data.check import check
from fercore.data.pose_subsets import RAFDB_ORDER
from fercore.errors import DataError, FercoreError, ParameterError
from fercore.paths import data_root

REAL_LABELS = (data_root() or Path("/nowhere")) / "rafdb" / "list_patition_label.txt"


def picture(path: Path, size: tuple[int, int] = (20, 20), value: int | None = None, seed: int = 0) -> None:
    """A noisy picture, or one of a single value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(40, 220, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels if value is None else np.full_like(pixels, value)).save(path, format="JPEG", quality=95)


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
    assert "train: 14 images, published 12,271" in notes and "2 entries, published 1247" in notes
    assert "no list file pose_lists/RAF_DB_dir_val_raf_db_list_45.txt" in notes
    parts = protocols.split(data.manifest, "official")
    assert len(parts["test"]) == 7 and len(parts["train"]) + len(parts["validation"]) == 14
    assert np.array_equal(
        data.images[data.manifest["sample"].tolist().index("test_0003")],
        picture_files.square(picture_files.read_picture(raf / "Image/aligned/test_0003_aligned.jpg"), 16),
    )


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
    assert table["split"].value_counts().to_dict() == rafdb.PUBLISHED
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


@pytest.mark.parametrize(("size", "box"), [((20, 30), (0, 5, 20, 25)), ((30, 20), (5, 0, 25, 20)), ((20, 20), None)])
def test_the_middle_square_is_taken(size: tuple[int, int], box: tuple[int, ...] | None) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    expected = pixels if box is None else pixels[box[1] : box[3], box[0] : box[2]]
    assert np.array_equal(picture_files.square(pixels, 20), expected)
