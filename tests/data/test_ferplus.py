"""FERPlus: a small tree with the real one's quirks, every way it can be broken, and the real files where they are."""

from __future__ import annotations

import io
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny import Command, ferplus_archive, ferplus_files, ferplus_folder, manifest, png, write_prepared

from fercore.data import catalogue, ferplus, ferplus_tables, photo, prepared
from fercore.data.check import check
from fercore.data.labels import EXPRESSIONS
from fercore.data.pose_subsets import read_list
from fercore.data.prepared import open_prepared
from fercore.errors import DataError, ParameterError
from fercore.paths import data_root, reference_records

MAJORITY = ["neutral", "happiness", "surprise", "contempt"]
"""The answers of the small tree's images 0, 1, 28710 and 32222, in this order."""
Files = dict[str, bytes]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    monkeypatch.setenv("FERCORE_PREPARED", str(tmp_path / "prepared"))
    monkeypatch.setenv("FERCORE_DATA", str(tmp_path / "data"))
    return Command(monkeypatch, capsys)


def made(root: Path, source: Path, **options: str) -> prepared.Prepared:
    ferplus.prepare(root / "prepared", source, progress=False, **options)
    return prepared.open_prepared(root / "prepared")


# --- label rules ------------------------------------------------------------------------------------------


def majority_by_hand(votes: list[int]) -> int:
    kept = [v if v > 1 else 0 for v in votes]
    for k, v in enumerate(kept):
        if v > sum(kept) / 2:
            return k if k < 8 else -1
    return -1


def plurality_by_hand(votes: list[int]) -> int:
    best = votes.index(max(votes))
    return best if max(votes) and best < 8 else -1


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.integers(0, 10), min_size=10, max_size=10), min_size=1, max_size=20))
def test_rules_by_loop(votes: list[list[int]]) -> None:
    assert ferplus.majority(np.array(votes)).tolist() == [majority_by_hand(row) for row in votes]
    assert ferplus.plurality(np.array(votes)).tolist() == [plurality_by_hand(row) for row in votes]


@pytest.mark.parametrize(
    ("votes", "majority", "plurality"),
    [
        ([10, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, 0),
        ([5, 0, 0, 5, 0, 0, 0, 0, 0, 0], -1, 0),  # exactly half is not more than half
        ([3, 1, 1, 1, 1, 1, 1, 1, 0, 0], 0, 0),  # single votes do not count
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], -1, 0),  # nothing is left
        ([0, 0, 0, 0, 0, 0, 0, 0, 6, 4], -1, -1),  # unknown
        ([0, 4, 0, 0, 0, 0, 0, 0, 0, 5], -1, -1),  # no face
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0], -1, -1),
    ],
)
def test_rules_at_their_edges(votes: list[int], majority: int, plurality: int) -> None:
    assert ferplus.majority(np.array([votes])) == [majority] and ferplus.plurality(np.array([votes])) == [plurality]


# --- a small tree -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lay_out", [ferplus_folder, ferplus_archive], ids=["folder", "archive"])
@pytest.mark.parametrize("labels", ferplus.LABEL_FILES)
def test_prepares(lay_out: Callable[[Path], Path], labels: str, tmp_path: Path) -> None:
    data = made(tmp_path, lay_out(tmp_path / "data"), labels=labels)
    assert data.manifest["sample"].tolist() == ["fer0000000", "fer0000001", "fer0028710", "fer0032222"]
    assert data.manifest["expression"].tolist() == MAJORITY
    assert data.manifest["split"].tolist() == ["train", "train", "validation", "test"]
    assert data.manifest["votes_happiness"].tolist() == [1, 9, 0, 0] and data.classes == EXPRESSIONS
    for image, name in zip(data.images, ("Train/fer0000000", "Train/fer0000001", "Valid/fer0028710"), strict=False):
        pixels = np.asarray(Image.open(io.BytesIO(ferplus_files()[f"data/FER2013{name}.png"])))
        assert (image == pixels[..., None]).all()
    assert data.card["made"] == {
        "rule": "majority",
        "labels": labels,
        "source": data.card["made"]["source"],
        "dropped": 4,
    }
    assert "train: 2 images, published 25,045." in data.card["notes"] or labels == "fer2013new.csv"


def test_plurality_keeps_more(tmp_path: Path) -> None:
    data = made(tmp_path, ferplus_folder(tmp_path), rule="plurality")
    assert dict(zip(data.manifest["sample"], data.manifest["expression"], strict=True))["fer0000002"] == "neutral"
    assert len(data) == 5 and data.card["made"]["rule"] == "plurality"


def test_pose_lists_beside_the_images_mark_the_subsets(tmp_path: Path) -> None:
    source = ferplus_folder(tmp_path)
    before = ferplus.key(source, "majority", "label.csv")
    (tmp_path / "pose_lists").mkdir()
    (tmp_path / "pose_lists" / ferplus.POSE_LISTS["pose_over_30"][0]).write_text("7/fer0032222.jpg\n0/fer0099999.jpg")
    data = made(tmp_path, source)
    assert data.manifest["pose_over_30"].tolist() == [False, False, False, True]
    assert "pose_over_45" not in data.manifest
    notes = "\n".join(data.card["notes"])
    assert "pose_over_30: 2 entries (1170 published), 1 without a test image" in notes
    assert "pose_over_45: no list file" in notes
    assert ferplus.key(source, "majority", "label.csv") != before


@pytest.mark.parametrize("lay_out", [ferplus_folder, ferplus_archive], ids=["folder", "archive"])
def test_the_key_follows_labels_pictures_rule_and_label_file(lay_out: Callable[..., Path], tmp_path: Path) -> None:
    def key(change: Callable[[Files], None] | None = None, *choice: str) -> str:
        files = ferplus_files()
        if change:
            change(files)
        root = Path(tempfile.mkdtemp(dir=tmp_path))
        return ferplus.key(lay_out(root, files), *choice)

    changes = [
        changed(LABELS, lambda data: data.replace(b"0,9,0", b"0,8,0")),
        changed("data/FER2013Test/label.csv", lambda data: data.replace(b"9,0,0", b"8,0,0")),
        changed(NEW, lambda data: data.replace(b",9,", b",8,", 1)),
        changed(PICTURE, png(33, 48) + b"more"),
        changed(PICTURE, None),
    ]
    keys = [key(change) for change in changes]
    keys += [key(), key(None, "plurality"), key(None, "majority", "fer2013new.csv")]
    assert len(set(keys)) == len(keys)
    if lay_out is ferplus_folder:
        assert key() == key(), "where it lies does not count"


def test_quirks_of_the_label_files(tmp_path: Path) -> None:
    files = ferplus_files()
    name = "data/FER2013Train/label.csv"
    files[name] = files[name].replace(b"\n", b"\r\n\r\n") + b"\n\n"
    lines = files["fer2013new.csv"].decode().splitlines()
    first = next(line for line in lines if "fer0000000" in line)
    files["fer2013new.csv"] = "\n".join([*lines, first.replace(",8,1,", ",1,8,")]).encode()  # named twice: the last
    source = ferplus_folder(tmp_path, files)
    old, new = (ferplus.read_votes(source, labels) for labels in ferplus.LABEL_FILES)
    assert len(old) == 8 and len(new) == 8
    both = ferplus.disagreements(old, new)
    assert both["sample"].tolist() == ["fer0000000"]
    assert (both["neutral_1"].item(), both["neutral_2"].item()) == (8, 1)


# --- broken trees -----------------------------------------------------------------------------------------


def changed(name: str, data: bytes | Callable[[bytes], bytes] | None) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        if data is None:
            del files[name]
        else:
            files[name] = data(files[name]) if callable(data) else data

    return change


TRAIN = "data/FER2013Train"
PICTURE, LABELS, NEW = f"{TRAIN}/fer0000001.png", f"{TRAIN}/label.csv", "fer2013new.csv"
BROKEN: dict[str, tuple[Callable[[Files], None], str]] = {
    "cut picture": (changed(PICTURE, lambda d: d[:60]), "fer0000001.png is no readable"),
    "text as picture": (changed(PICTURE, b"hello"), "fer0000001.png is no readable"),
    "empty picture": (changed(PICTURE, b""), "fer0000001.png is no readable"),
    "wrong size": (changed(PICTURE, png(size=50)), "50 x 50 pixels, not 48 x 48"),
    "missing picture": (changed(PICTURE, None), "1 labelled images are missing, first fer0000001"),
    "nine counts": (changed(LABELS, lambda d: d.replace(b"0,9,0,0,0,0,0,0,1,0", b"0,9")), "label.csv, line 2"),
    "no number": (changed(LABELS, lambda d: d.replace(b",10", b",ten")), "label.csv, line 4"),
    "a header": (changed(LABELS, lambda d: b"name,box,neutral\n" + d), "label.csv, line 1"),
    "old line ends": (changed(LABELS, lambda d: d.replace(b"\n", b"\r")), "label.csv is no readable csv"),
    "named twice": (changed(LABELS, lambda d: d + b"\n" + d), "names fer0000000 twice"),
}
BROKEN_NEW: dict[str, tuple[Callable[[Files], None], str]] = {
    "lost columns": (changed(NEW, lambda d: d.replace(b"contempt,unknown", b"a,b")), "no column contempt, unknown"),
    "strange usage": (changed(NEW, lambda d: d.replace(b"PublicTest", b"Public")), "fer2013new.csv, line 7"),
    "short row": (changed(NEW, lambda d: d[:-4]), "fer2013new.csv, line 10"),
    "empty file": (changed(NEW, b""), "no column Usage, Image name"),
    "no label file": (changed(NEW, None), "holds no fer2013new.csv"),
}


@pytest.mark.parametrize("name", [*BROKEN, *BROKEN_NEW])
def test_broken_trees(name: str, tmp_path: Path, command: Command) -> None:
    change, message = (BROKEN | BROKEN_NEW)[name]
    labels = "fer2013new.csv" if name in BROKEN_NEW else "label.csv"
    files = ferplus_files()
    change(files)
    ferplus_folder(tmp_path / "data", files)
    assert message in command.bad("data", "prepare", "ferplus", "--labels", labels)
    assert not [path for path in (tmp_path / "prepared").iterdir() if path.suffix != ".lock"], "nothing half-written"


def test_nobody_has_a_label(tmp_path: Path) -> None:
    files = {name: data for name, data in ferplus_files().items() if "Train" in name}
    files[f"{TRAIN}/label.csv"] = b'fer0000003.png,"(0, 0, 48, 48)",0,0,0,0,0,0,0,0,0,10'
    with pytest.raises(DataError, match="no image to write"):
        made(tmp_path, ferplus_folder(tmp_path, files))


def test_an_empty_split_stops_a_training_in_words(tmp_path: Path, command: Command) -> None:
    ferplus_folder(tmp_path / "data", {k: v for k, v in ferplus_files().items() if "FER2013Test" not in k})
    assert "test: 0 images, published 3,137" in "\n".join(command.good("data", "prepare", "ferplus"))
    message = command.bad("train", "lan", "--dataset", "ferplus", "--records", tmp_path / "records")
    assert "the part 'test' is empty" in message


def test_unknown_rule_and_label_file(tmp_path: Path) -> None:
    source = ferplus_folder(tmp_path)
    with pytest.raises(ParameterError, match=r"no label rule 'mode'(.|\n)*majority, plurality"):
        made(tmp_path, source, rule="mode")
    with pytest.raises(ParameterError, match=r"no label file 'votes.csv'(.|\n)*label.csv, fer2013new.csv"):
        made(tmp_path, source, labels="votes.csv")


def test_where_it_lies(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither ferplus.tar.gz nor a folder"):
        ferplus.find_source(tmp_path)
    folder = ferplus_folder(tmp_path)
    assert ferplus.find_source(tmp_path) == ferplus.find_source(folder) == folder
    archive = ferplus_archive(tmp_path / "other")
    assert ferplus.find_source(tmp_path / "other") == ferplus.find_source(archive) == archive


def test_links_and_paths_outside_are_ignored(tmp_path: Path) -> None:
    secret = tmp_path / "fer0000001.png"
    secret.write_bytes(png(200))
    link = tarfile.TarInfo(f"{TRAIN}/fer0000001.png")
    link.type, link.linkname = tarfile.SYMTYPE, str(secret)
    hard = tarfile.TarInfo(f"{TRAIN}/fer0000000.png")
    hard.type, hard.linkname = tarfile.LNKTYPE, "../fer0000001.png"
    pipe = tarfile.TarInfo(f"{TRAIN}/fer0000002.png")
    pipe.type = tarfile.FIFOTYPE
    files = ferplus_files() | {"../../outside.png": png(1), "/outside.png": png(1)}
    expected = made(tmp_path / "plain", ferplus_archive(tmp_path / "plain"))
    before = set(tmp_path.parent.iterdir())
    data = made(tmp_path / "made", ferplus_archive(tmp_path / "data", files, [link, hard, pipe]))
    assert np.array_equal(data.images, expected.images), "what links point to is not read"
    assert set(tmp_path.parent.iterdir()) == before and not Path("/outside.png").exists()
    assert not list((tmp_path / "data").glob("*.png"))

    folder = ferplus_folder(tmp_path / "linked")
    (folder / TRAIN / "fer0000001.png").unlink()
    (folder / TRAIN / "fer0000001.png").symlink_to(secret)
    with pytest.raises(DataError, match="1 labelled images are missing"):
        made(tmp_path / "made", folder)


def test_broken_archives(tmp_path: Path) -> None:
    whole = ferplus_archive(tmp_path).read_bytes()
    half, scratched, other = tmp_path / "half.tar.gz", tmp_path / "scratched.tar.gz", tmp_path / "notes.txt"
    half.write_bytes(whole[: len(whole) // 2])
    middle = len(whole) // 2
    scratched.write_bytes(whole[:middle] + bytes(b ^ 0x5A for b in whole[middle : middle + 60]) + whole[middle + 60 :])
    other.write_text("no archive")
    for path in (half, scratched, other):
        with pytest.raises(DataError, match=path.name):
            made(tmp_path / "made", path)
        assert not (tmp_path / "made" / "prepared").exists()


def test_a_scratch_anywhere_in_an_archive(tmp_path: Path) -> None:
    """The archive is as long as the reader's buffer several times over, so that each layer meets the damage."""
    noise = np.random.default_rng(0).integers(0, 64, (8, 20000), dtype=np.uint8)
    files = {f"{TRAIN}/fer{k:07d}.png": row.tobytes() for k, row in enumerate(noise)}
    whole = ferplus_archive(tmp_path, files).read_bytes()
    refused = 0
    for place in range(2000, len(whole), 1500):
        path = tmp_path / "scratched.tar.gz"
        path.write_bytes(whole[:place] + bytes(range(60, 120)) + whole[place + 60 :])
        try:
            assert len(list(ferplus.pictures(path))) <= 8
        except DataError as error:
            refused += 1
            assert "scratched.tar.gz is broken" in str(error)
    assert refused


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_damaged_bytes_never_end_in_another_error(data: st.DataObject) -> None:
    good = png()
    place = data.draw(st.integers(0, len(good) - 1))
    other = data.draw(st.binary(max_size=8))
    bad = data.draw(st.sampled_from([good[:place] + other + good[place + len(other) :], good[:place], other]))
    try:
        assert ferplus.decode(bad, "x.png").shape == (48, 48)
    except DataError as error:
        assert "x.png" in str(error) and " at 0x" not in str(error)


def test_a_picture_that_claims_to_be_huge() -> None:
    header = (60000).to_bytes(4) * 2 + bytes([8, 0, 0, 0, 0])
    chunk = b"\0\0\0\r" + b"IHDR" + header + zlib.crc32(b"IHDR" + header).to_bytes(4)
    with pytest.raises(DataError, match=r"x\.png"):
        ferplus.decode(png()[:8] + chunk + png()[33:], "x.png")


fields = st.sampled_from(
    ["fer0000000.png", '"(0, 0, 48, 48)"', '"', "0", "10", "-1", "²", "\r", "\n", "\0", ",", "x" * 200]
)


@settings(deadline=None, max_examples=80)
@given(st.one_of(st.lists(fields, max_size=30).map(",".join).map(str.encode), st.binary(max_size=60)))
def test_damaged_labels_never_end_in_another_error(text: bytes) -> None:
    head = ("Usage,Image name," + ",".join(ferplus.VOTES) + "\n").encode()
    for labels, files in (
        ("label.csv", {f"{TRAIN}/label.csv": text}),
        ("fer2013new.csv", {"fer2013new.csv": head + text}),
    ):
        with tempfile.TemporaryDirectory() as folder:
            source = ferplus_folder(Path(folder), files | {f"{TRAIN}/fer0000000.png": b""})
            try:
                ferplus.read_votes(source, labels)
            except DataError as error:
                assert labels in str(error)


# --- check ------------------------------------------------------------------------------------------------


def test_check_names_every_problem(tmp_path: Path, command: Command) -> None:
    files = ferplus_files()
    files[f"{TRAIN}/fer0000002.png"] = files[f"{TRAIN}/fer0000001.png"]
    files[f"{TRAIN}/fer0000003.png"] = png(0)[:40]
    files["data/FER2013Test/fer0099999.png"] = png(3)
    del files["data/FER2013Test/fer0032223.png"]
    dark = io.BytesIO()
    Image.new("L", (48, 48), 2).save(dark, "PNG")
    files["data/FER2013Valid/fer0028710.png"] = dark.getvalue()
    source = ferplus_folder(tmp_path / "data", files)
    report = check(source)
    problems = "\n".join(report.problems)
    for text in (
        "majority rule on label.csv: 2 train images, published 25045",
        "give different votes to 0 images",
        "1 broken pictures: data/FER2013Train/fer0000003.png",
        "1 nearly black pictures: fer0028710",
        "1 pictures with the same pixels as another: fer0000002 = fer0000001",
        "1 pictures without a label: data/FER2013Test/fer0099999.png",
        "1 labels without a picture: fer0032223",
        "the list of pose_over_30 is not at pose_lists/",
    ):
        assert text in problems
    assert report.tables["majority rule on label.csv: images by split and class"].loc["train", "neutral"] == 1
    of = [
        f"{rule} rule on {labels}" for labels in ("label.csv", "fer2013new.csv") for rule in ("majority", "plurality")
    ]
    published = [name for name in of if tuple(name.split(" rule on ")) in ferplus.PUBLISHED]
    assert report.what == f"FERPlus at {source}" and set(report.tables) == {
        *(f"{name}: images by split and class" for name in of),
        *(f"{name}: against published counts" for name in published), "pose subsets",
    }  # fmt: skip
    text = "\n".join(command.good("data", "check", tmp_path / "data"))
    assert not [problem for problem in report.problems if problem not in text]


def test_check_refuses_what_has_no_labels(tmp_path: Path, command: Command) -> None:
    ferplus_folder(tmp_path, {f"{TRAIN}/fer0000000.png": png()})
    assert "holds no label.csv" in command.bad("data", "check", tmp_path)
    assert "no tar archive" in command.bad("data", "check", __file__)


# --- the real files ---------------------------------------------------------------------------------------

REAL = data_root()
HAS_IMAGES = REAL is not None and ((REAL / "ferplus.tar.gz").is_file() or (REAL / "ferplus").is_dir())
needs_ferplus = pytest.mark.skipif(not HAS_IMAGES, reason="needs the real FERPlus (FERCORE_DATA)")
TEST_LIST = "FERplus_dir_dlib_ferplus_val_center_crop_range"


@pytest.fixture(scope="module")
def votes() -> dict[str, pd.DataFrame]:
    source = ferplus.find_source(REAL)
    return {labels: ferplus.read_votes(source, labels) for labels in ferplus.LABEL_FILES}


@pytest.mark.ferplus
@needs_ferplus
@pytest.mark.parametrize("pair", list(ferplus.PUBLISHED), ids=" on ".join)
def test_published_counts(pair: tuple[str, str], votes: dict[str, pd.DataFrame]) -> None:
    rule, labels = pair
    table = votes[labels]
    kept = table["split"][ferplus.RULES[rule](table[list(ferplus.VOTES)].to_numpy()) >= 0]
    assert kept.value_counts().to_dict() == ferplus.PUBLISHED[pair]
    assert {"train": 25045, "validation": 3191, "test": 3137} in ferplus.PUBLISHED.values()


@pytest.mark.ferplus
@needs_ferplus
def test_the_two_label_files_disagree(votes: dict[str, pd.DataFrame]) -> None:
    assert len(ferplus.disagreements(*votes.values())) == 1602


@pytest.mark.ferplus
@needs_ferplus
def test_published_pose_subsets_and_test_labels(votes: dict[str, pd.DataFrame]) -> None:
    lists = REAL / "pose_lists"
    table = votes["label.csv"]
    answer = ferplus.majority(table[list(ferplus.VOTES)].to_numpy())
    label_of = {s: k for s, k, split in zip(table["sample"], answer, table["split"], strict=True) if split == "test"}
    for name, entries in ferplus.POSE_LISTS.values():
        found = {entry.sample: entry.label for entry in read_list(lists / name)}
        assert len(found) == entries and found.keys() <= {s for s, k in label_of.items() if k >= 0}
        assert all(EXPRESSIONS[label_of[sample]] == label for sample, label in found.items())
    lines = (lists / f"{TEST_LIST}_list.txt").read_text().splitlines()  # 7/fer0032220 6
    names = [line.split()[0].partition("/")[2] for line in lines]
    labels = [int(word) for word in (lists / f"{TEST_LIST}_label.txt").read_text().split()]
    assert len(names) == len(labels) == 3137
    assert [label_of[name] for name in names] == labels


def test_symmetry_is_the_correlation_with_the_mirror_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = np.repeat(rng.integers(0, 256, (6, 12, 12, 1), dtype=np.uint8), 3, axis=3)
    images[0] = np.maximum(images[0], images[0][:, ::-1])
    images[1] = 7  # of one colour: nothing to correlate
    found = ferplus_tables.symmetry(images)
    for image, value in zip(images[2:, :, :, 0], found[2:], strict=True):
        assert value == pytest.approx(np.corrcoef(image.ravel(), image[:, ::-1].ravel())[0, 1], abs=1e-5)
    assert found[0] == pytest.approx(1) and found[1] == 0

    table = manifest(12, 2)
    table["split"] = "test"
    place = np.arange(len(table)) % 3
    table["pose_over_30"], table["pose_over_45"] = place > 0, place > 1
    data = open_prepared(write_prepared(tmp_path / "set", table))
    by_list = ferplus_tables.pose_symmetry(data)
    assert list(by_list["turned"]) == list(ferplus_tables.TURNS) and by_list["images"].sum() == len(table)
    every = ferplus_tables.symmetry(data.images)
    for k, row in enumerate(by_list.itertuples()):
        assert row.symmetry == pytest.approx(every[place == k].mean(), abs=1e-6) and row.low <= row.symmetry <= row.high
    bare = open_prepared(write_prepared(tmp_path / "bare", manifest(12, 2).assign(split="test")))
    assert ferplus_tables.pose_symmetry(bare).empty, "a set without lists has no such groups"


def test_the_twins_symmetry_is_recorded_and_falls_with_the_true_angle(tmp_path: Path) -> None:
    table = ferplus_tables.twin(reference_records() / "ferplus-tables")
    assert list(table["turned"]) == list(ferplus_tables.TURNS) and list(table["images"]) == [884, 242, 285]
    assert (
        table["symmetry"].is_monotonic_decreasing and (table["high"].iloc[1:] < table["low"].iloc[:-1].to_numpy()).all()
    )
    with pytest.raises(DataError, match=r"has no twin_symmetry.csv"):
        ferplus_tables.twin(tmp_path)


def test_the_tones_of_photographs_are_as_written_down() -> None:
    if not catalogue.at_hand("ferplus"):
        pytest.skip("needs the real FERPlus")
    images = catalogue.prepare("ferplus").images[::21, :, :, 0].reshape(-1, ferplus.SIZE**2)
    found = np.percentile(images, (2, 50, 98), axis=1).mean(1)
    assert found == pytest.approx((photo.DARK, photo.MIDDLE, photo.BRIGHT), abs=2)


def test_the_share_of_votes_for_the_majority_by_hand(tmp_path: Path) -> None:
    (tmp_path / "mean_votes.csv").write_text("expression,fear,anger,unknown\nfear,0.6,0.2,0.2\nanger,0.1,0.9,0.0\n")
    (tmp_path / "agreement.csv").write_text("expression,votes,images\nfear,6,20\nfear,7,10\nanger,9,10\n")
    expected = (30 * 0.6 + 10 * 0.9) / (30 * 0.8 + 10 * 1.0)
    assert ferplus_tables.vote_share(tmp_path) == pytest.approx(expected)


# --- tables -----------------------------------------------------------------------------------------------


def votes_of(rows: dict[str, tuple[str, list[int]]]) -> pd.DataFrame:
    return pd.DataFrame(
        [(name, split, *votes, *[0] * (10 - len(votes))) for name, (split, votes) in rows.items()],
        columns=["sample", "split", *ferplus.VOTES],
    )


FIRST = {
    "a": ("train", [10]), "b": ("train", [5, 0, 0, 5]), "c": ("test", [0] * 8 + [6, 4]), "d": ("test", [0, 6, 4]),
    "e": ("validation", [0, 3, *[0] * 7, 7]), "f": ("validation", [0, 8, 2]), "g": ("test", [0, 7, 3]),
}  # fmt: skip
"""Neutral, nothing, unknown, happiness, no face, happiness twice."""
SECOND = FIRST | {
    "b": ("train", [9, 0, 0, 1]), "c": ("test", [0] * 8 + [7, 3]), "d": ("test", [0, 0, 9]),
    "f": ("validation", [0, 5, 5]), "g": ("test", [0, 9, 1]),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value encountered")
def test_tables_of_votes_by_hand() -> None:
    first, second = votes_of(FIRST), votes_of(SECOND)
    counts = ferplus_tables.rule_counts({"label.csv": first})
    found = {(row.rule, row.split): (row.images, row.kept, *row[-2:]) for row in counts.itertuples(index=False)}
    assert found == {
        ("majority", "train"): (2, 1, 0, 1), ("plurality", "train"): (2, 2, 0, 0),
        **{(rule, "validation"): (2, 1, 1, 0) for rule in ("majority", "plurality")},
        **{(rule, "test"): (3, 2, 1, 0) for rule in ("majority", "plurality")},
    }  # fmt: skip
    counts = ferplus_tables.class_counts({"label.csv": first})
    assert len(counts) == 2 * 3 * 8 and set(counts["labels"]) == {"label.csv"}
    there = counts[counts["images"] > 0].set_index(["rule", "split", "expression"])["images"]
    assert there.to_dict() == {
        ("majority", "train", "neutral"): 1, ("majority", "validation", "happiness"): 1,
        ("majority", "test", "happiness"): 2, ("plurality", "train", "neutral"): 2,
        ("plurality", "validation", "happiness"): 1, ("plurality", "test", "happiness"): 2,
    }  # fmt: skip
    means = ferplus_tables.mean_votes(first).set_index("expression")
    assert list(means.loc["neutral"]) == [1.0, *[0.0] * 9]
    assert list(means.loc["happiness"]) == pytest.approx([0, 0.7, 0.3, *[0] * 7])
    raters = ferplus_tables.agreement(first)
    assert list(raters["votes"]) == 8 * list(range(2, 11))
    there = raters[raters["images"] > 0].set_index(["expression", "votes"])["images"]
    assert there.to_dict() == {("neutral", 10): 1, **{("happiness", n): 1 for n in (6, 7, 8)}}
    files = ferplus_tables.two_files({"label.csv": first, "fer2013new.csv": second}).set_index("rule")
    assert list(files.loc["majority"]) == [5, 1, 1, 1, 1, 1]
    assert list(files.loc["plurality"]) == [5, 3, 1, 0, 0, 1]


def test_tables_of_pictures_by_hand() -> None:
    rows = [
        ("train", "anger", 1, 0, 0), ("train", "fear", 2, 0, 0), ("train", "anger", 2, 0, 0),  # the first one counts
        ("validation", "anger", 1, 0, 0), ("validation", "anger", 3, 0, 0),
        ("test", "fear", 1, 1, 1), ("test", "fear", 2, 1, 0), ("test", "anger", 2, 1, 0), ("test", "fear", 4, 0, 0),
    ]  # fmt: skip
    manifest = pd.DataFrame(rows, columns=["split", "expression", "pixel", *ferplus_tables.POSE_LISTS])
    images = np.tile(manifest["pixel"].to_numpy(np.uint8)[:, None, None, None], (1, 4, 4, 3))
    data = SimpleNamespace(manifest=manifest, images=images)
    assert ferplus_tables.repeats(data).to_numpy().tolist() == [["validation", 2, 1, 0], ["test", 4, 3, 2]]
    counts = ferplus_tables.pose_counts(data).set_index("expression")
    assert list(counts.index) == list(EXPRESSIONS) and list(counts) == ["test", *ferplus_tables.POSE_LISTS]
    assert counts.loc["fear"].tolist() == [3, 2, 1] and counts.loc["anger"].tolist() == [1, 1, 0]
    assert counts.to_numpy().sum() == 8
    bare = SimpleNamespace(manifest=manifest.drop(columns=list(ferplus_tables.POSE_LISTS)), images=images)
    assert list(ferplus_tables.pose_counts(bare)) == ["expression", "test"]


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value encountered")
def test_tables_are_of_the_files_and_are_read_as_they_were_written(tmp_path: Path) -> None:
    source = ferplus_folder(tmp_path)
    data = made(tmp_path, source)
    tables = ferplus_tables.compute(source, data)
    assert tuple(tables) == ferplus_tables.NAMES
    votes = {name: ferplus.read_votes(source, name) for name in ferplus.LABEL_FILES}
    of = {
        "rule_counts": votes, "class_counts": votes, "two_files": votes, "mean_votes": votes["label.csv"],
        "agreement": votes["label.csv"], "pose_counts": data, "repeats": data, "pose_symmetry": data,
    }  # fmt: skip
    for name, table in tables.items():
        pd.testing.assert_frame_equal(table, getattr(ferplus_tables, name)(of[name]))
    ferplus_tables.save(tables, tmp_path / "new" / "tables")
    read = ferplus_tables.load(tmp_path / "new" / "tables")
    assert ferplus_tables.same(tables, read) == []
    assert (tmp_path / "new" / "tables" / "mean_votes.csv").read_bytes().startswith(b"expression,neutral,")
    assert b"neutral,0.800000,0.100000," in (tmp_path / "new" / "tables" / "mean_votes.csv").read_bytes()
    for change, names in ((1e-3, ["mean_votes"]), (1e-7, [])):
        other = read | {"mean_votes": read["mean_votes"].assign(neutral=read["mean_votes"]["neutral"] + change)}
        assert ferplus_tables.same(tables, other) == names
    (tmp_path / "new" / "tables" / "repeats.csv").unlink()
    with pytest.raises(DataError, match=r"has no table repeats"):
        ferplus_tables.load(tmp_path / "new" / "tables")
