"""Expressions in one's own pictures: files, folders, videos, pixels; what comes out, and what is wrong in words."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from test_faces import Network, five, photograph
from tiny import CLASSES, Command, manifest, write_prepared

from fercore import predict, records
from fercore.data import catalogue, faces
from fercore.data.prepared import open_prepared
from fercore.errors import DataError, FercoreError, ParameterError
from fercore.papers import lan
from fercore.predict import Frame, Predictor
from fercore.training import experiments
from fercore.training.batches import predict as answered
from fercore.training.batches import to_predict

SMALL = {"image_size": 16, "width": 8, "batch_size": 16, "epochs": 1, "backbone_epochs": 2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small LAN with its weights, trained on striped pictures under the KDEF twin's name."""
    root = tmp_path_factory.mktemp("own")

    def make(target: Path, preset: str) -> None:
        table = manifest(12)
        fold = table["subject"].str[1:].astype(int) % 4
        table["split"] = np.where(fold == 0, "test", np.where(fold == 1, "validation", "train"))
        write_prepared(target, table)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FERCORE_PREPARED", str(root / "prepared"))
        patch.setitem(catalogue.DATASETS, "kdef-twin", catalogue.Entry("stripes", False, lambda _: "stripes", make))
        return experiments.run(lan.recipe("smoke", **SMALL), root / "records").folder


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(monkeypatch, capsys)


def test_a_paper_without_maps_has_none_to_draw(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(lan, "maps")
    with pytest.raises(ParameterError, match=r"^lan has no map to draw"):
        Predictor(trained, maps=True)


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def film(path: Path, images: list[np.ndarray]) -> Path:
    out = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, images[0].shape[1::-1])
    for image in images:
        out.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    out.release()
    return path


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as lines:
        return list(csv.DictReader(lines))


WALL = np.full((120, 160, 3), 110, np.uint8)

# --- faces of a picture --------------------------------------------------------------------------------


def test_two_people_are_two_answers_with_class_names(trained: Path) -> None:
    image = np.concatenate([photograph(715).image, photograph(716).image], 1)
    found = Predictor(trained).faces(image)
    assert len(found) >= 2
    for seen in found:
        assert seen.probabilities.shape == (3,) and seen.probabilities.sum() == pytest.approx(1, abs=1e-5)
        assert seen.expression == CLASSES[int(seen.probabilities.argmax())]
        assert seen.pose is None and seen.map is None


def test_a_whole_picture_gives_what_the_training_code_gives(trained: Path, tmp_path: Path) -> None:
    prepared = open_prepared(write_prepared(tmp_path / "data"))
    record, network = predict.load(trained)
    recipe, some = lan.recipe("smoke", **SMALL), np.arange(9)
    expected = answered(network, to_predict(recipe, prepared, some, "cpu"), recipe.mirror)["expression"]
    predictor = Predictor(trained, whole=True)
    own = [predictor.faces(np.asarray(prepared.images[row]))[0].probabilities for row in some]
    assert np.allclose(own, expected, atol=1e-5) and record.classes == list(CLASSES)


def test_a_face_is_answered_as_the_recipe_says(trained: Path, tmp_path: Path) -> None:
    """From both sides, standardised, and cut in the size of the pictures that it learnt from."""
    prepared = open_prepared(write_prepared(tmp_path / "data"))
    network, some = predict.load(trained)[1], np.arange(9)
    answers = []
    for changes in ({}, {"mirror": True}, {"standardise": True}):
        recipe = lan.recipe("smoke", **(SMALL | changes))
        expected = answered(network, to_predict(recipe, prepared, some, "cpu"), recipe.mirror)["expression"]
        predictor = Predictor(trained, whole=True)
        predictor.record.recipe.update(changes)
        own = [predictor.faces(np.asarray(prepared.images[row]))[0].probabilities for row in some]
        assert np.allclose(own, expected, atol=1e-5), changes
        answers.append(np.array(own))
    assert min(np.abs(answers[0] - other).max() for other in answers[1:]) > 1e-3, "they are not the same by chance"


@pytest.mark.parametrize(
    ("made", "size"),
    [({"size": 40}, 40), ({"parameters": {"size": 24}}, 24), ({}, 16)],
    ids=["real", "twin", "neither"],
)
def test_a_face_is_cut_in_the_size_of_what_was_learnt_from(
    made: dict[str, Any], size: int, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor, cut, sizes = Predictor(trained, whole=True), faces.cut, []
    predictor.record.data.made = made
    monkeypatch.setattr(faces, "cut", lambda i, f, s, **more: sizes.append((s, *f.square)) or cut(i, f, s, **more))
    predictor.faces(WALL)
    predictor.faces(WALL.transpose(1, 0, 2))
    assert sizes == [(size, 20, 0, 120), (size, 0, 20, 120)], "the middle square of a wide picture and of a tall one"


def test_a_network_of_grey_pictures_is_shown_grey(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(trained, whole=True)
    image = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    grey = np.repeat(np.asarray(Image.fromarray(image).convert("L"))[..., None], 3, 2)
    coloured = [predictor.faces(one)[0].probabilities for one in (image, grey)]
    assert not np.allclose(*coloured, atol=1e-3)
    predictor.record.data.made["parameters"] = {"grey": True}
    seen = [predictor.faces(one)[0].probabilities for one in (image, grey)]
    assert np.allclose(*seen, atol=2e-2)
    shown: list[np.ndarray] = []
    monkeypatch.setattr(
        predict, "normalise", lambda batch, *_: shown.append(batch.numpy()) or torch.zeros(1, 3, 16, 16)
    )
    for name, made in (("kdef-twin", {"parameters": {"grey": True}}), ("ferplus", {}), ("rafdb", {})):
        predictor.record.data.name, predictor.record.data.made = name, made
        predictor.faces(np.full((20, 20, 3), (200, 100, 50), np.uint8))
    luma = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert [set(batch.ravel()) for batch in shown] == [{luma}, {luma}, {200, 100, 50}], "FERPlus is grey, too"


def test_maps_lie_over_the_faces(trained: Path) -> None:
    (seen,) = Predictor(trained, whole=True, maps=True).faces(photograph(715).image)
    assert seen.map.ndim == 2 and np.isfinite(seen.map).all()
    plain, tinted = (
        np.asarray(predict.draw(photograph(715).image, [one])).astype(int) for one in (seen._replace(map=None), seen)
    )
    changed = np.abs(tinted - plain).sum(2) > 20
    assert changed.any() and not changed.all()


def test_a_method_s_own_map_comes_before_one_that_every_network_has(trained: Path) -> None:
    predictor = Predictor(trained, whole=True, maps=True)
    every = {"cam": torch.zeros(1, 2, 2), "attention": torch.ones(1, 2, 2)}
    for names, value in ((("cam", "attention"), 1), (("cam",), 0)):
        predictor._module = SimpleNamespace(
            maps=lambda network, batch, names=names: {name: every[name] for name in names}
        )
        (seen,) = predictor.faces(WALL)
        assert (seen.map == value).all()


def test_a_crowd_is_answered_in_order(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, crowd = Predictor(trained), [faces.Face((k, 0, 20), 1 - k / 100) for k in range(70)]
    monkeypatch.setattr(predictor, "detector", lambda image: crowd)
    assert [one.face for one in predictor.faces(WALL)] == crowd


def test_a_network_that_knows_points_is_asked_and_turns_faces(
    trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    photo, model, created, turned, cut = photograph(716, 30.0, 15.0), tmp_path / "yunet.onnx", [], [], faces.cut
    model.write_bytes(b"network")
    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *given: created.append(given) or Network(five(photo)))
    monkeypatch.setattr(faces, "cut", lambda *given, aligned: turned.append(aligned) or cut(*given, aligned=aligned))
    for aligned in (False, True):
        (one,) = Predictor(trained, yunet=model, aligned=aligned).faces(photo.image)
        assert one.pose == pytest.approx((30, 0, 15), abs=8)
    assert created == [(str(model), "", (320, 320), 0.7)] * 2 and turned == [False, True]


def test_five_points_bring_the_pose(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, face = Predictor(trained), faces.Face((10, 10, 50), 0.9, "", 60 * faces.TEMPLATE + 5)
    monkeypatch.setattr(predictor, "detector", lambda image: [face])
    (seen,) = predictor.faces(WALL)
    assert seen.pose == pytest.approx((0, 0, 0), abs=12)
    row = predict.row(Frame("a.jpg", 0, 0, WALL), 0, seen, CLASSES)
    assert set(row) <= set(predict.columns(CLASSES)) and row["yaw"] == round(seen.pose[0], 1)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 4), "u1")]
)
def test_pixels_of_another_form_are_named(trained: Path, image: np.ndarray) -> None:
    with pytest.raises(DataError, match="red, green, blue"):
        Predictor(trained).faces(image)


# --- checkpoints ---------------------------------------------------------------------------------------


def test_it_says_what_it_was_trained_on(trained: Path) -> None:
    assert "never seen a photograph" in Predictor(trained).trained_on
    predictor = Predictor(trained / "model.safetensors")
    predictor.record.data.real = True
    assert "other photographs" in predictor.trained_on and "lan trained on Stripes" in predictor.trained_on
    predictor.record.metrics["test"] |= {"accuracy": 0.9123, "images": 3137}
    assert "preset smoke: 91.2 % of 3,137 test images." in predictor.trained_on


def test_a_record_without_weights_says_how_to_train_them(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("record.json", "arrays.npz"):
        (tmp_path / trained.name).mkdir(exist_ok=True)
        (tmp_path / trained.name / name).write_bytes((trained / name).read_bytes())
    with pytest.raises(ParameterError, match=r"without its weights.*\n.*fercore train lan --preset smoke"):
        Predictor(tmp_path / trained.name)
    with monkeypatch.context() as patch:
        record = records.read(trained)
        record.seconds = 600
        patch.setattr(records, "read", lambda folder: record)
        with pytest.raises(ParameterError, match="about 10 minutes"):
            predict.load(tmp_path / trained.name)
        record.recipe["paper"] = "arcface"
        with pytest.raises(ParameterError, match="holds pre-training, which names no expression"):
            predict.load(trained)
    (tmp_path / trained.name / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(FercoreError, match="does not fit its record"):
        Predictor(tmp_path / trained.name)


def test_the_newest_network_is_taken(trained: Path, tmp_path: Path) -> None:
    assert predict.newest(trained.parent) == trained
    with pytest.raises(ParameterError, match=r"No trained network.*\n.*fercore train"):
        predict.newest(tmp_path)


def test_a_larger_preset_comes_before_a_later_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(preset: str, real: bool, started: str, paper: str = "lan") -> SimpleNamespace:
        folder = tmp_path / f"{preset}-{real}-{started}"
        folder.mkdir()
        (folder / "model.safetensors").touch()
        recipe = {"preset": preset, "paper": paper}
        return SimpleNamespace(folder=folder, recipe=recipe, data=SimpleNamespace(real=real), started=started)

    found = [run("smoke", True, "9"), run("quick", False, "8"), run("quick", True, "1"), run("quick", True, "2")]
    monkeypatch.setattr(records, "find", lambda root: found[:2])
    assert predict.newest() == found[1].folder, "a larger preset before real data"
    found += [run("quick", True, "3", "arcface"), run("quick", True, "4", "landmarks")]  # these name no expression
    monkeypatch.setattr(records, "find", lambda root: found)
    assert predict.newest() == found[3].folder


def test_a_run_without_an_answer_leaves_the_older_table(trained: Path, tmp_path: Path) -> None:
    table = tmp_path / "found.csv"
    table.write_text("older")
    with pytest.raises(DataError):
        list(predict.write(Predictor(trained), predict.frames([tmp_path / "nothing"]), table))
    assert table.read_text() == "older" and len(list(tmp_path.iterdir())) == 1


def test_upright_faces_need_a_detector_of_points(trained: Path) -> None:
    with pytest.raises(ParameterError, match=r"five points.*\n.*YuNet"):
        Predictor(trained, aligned=True)


# --- sources -------------------------------------------------------------------------------------------


def test_a_folder_is_walked_and_what_is_broken_is_told(tmp_path: Path) -> None:
    save(tmp_path / "b" / "one.png", WALL)
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("no picture")
    film(tmp_path / "c.avi", [WALL, WALL, WALL])
    os.symlink("/etc/passwd", tmp_path / "link.png")
    seen = list(predict.frames([tmp_path]))
    assert [(Path(f.source).name, f.number, f.image is None) for f in seen] == [
        ("a.jpg", 0, True), ("one.png", 0, False), ("c.avi", 0, False), ("c.avi", 1, False), ("c.avi", 2, False),
    ]  # fmt: skip
    assert "a.jpg is no readable picture" in seen[0].problem and seen[3].seconds == pytest.approx(0.1)


def test_a_film_has_the_colours_that_it_was_made_of(tmp_path: Path) -> None:
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0], red[..., 1] = 220, 60
    seen = list(predict.frames([film(tmp_path / "c.avi", [red, red]).rename(tmp_path / "C.AVI")]))
    assert len(seen) == 2, "an ending may be in capitals"
    for frame in seen:
        assert frame.image.mean((0, 1)) == pytest.approx([220, 60, 0], abs=12)


def test_every_nth_frame(tmp_path: Path) -> None:
    path = film(tmp_path / "c.avi", [WALL + 20 * k for k in range(7)])
    seen = list(predict.frames([path], every=3))
    assert [frame.number for frame in seen] == [0, 3, 6]
    assert [frame.seconds for frame in seen] == pytest.approx([0, 0.3, 0.6]) and {f.source for f in seen} == {str(path)}
    assert [frame.image.mean() - 110 for frame in seen] == pytest.approx([0, 60, 120], abs=4)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "There is no"),
        (lambda path: path.mkdir(), "no picture and no video"),
    ],
)
def test_a_path_with_nothing_is_an_error(tmp_path: Path, make: Any, words: str) -> None:
    make(tmp_path / "here")
    with pytest.raises(DataError, match=words):
        list(predict.frames([tmp_path / "here"]))
    with pytest.raises(ParameterError, match="whole number"):
        list(predict.frames([tmp_path], every=0))


def test_a_video_that_is_none_and_a_camera_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "c.mp4").write_bytes(b"no film at all")
    (one,) = predict.frames([tmp_path / "c.mp4"])
    (two,) = predict.frames(["77"])
    assert one.image is None and two.image is None and "camera 77" in two.problem


# --- what is drawn ---------------------------------------------------------------------------------------


def seen(**changes: Any) -> predict.Seen:
    face = faces.Face((20.04, 30.06, 40.0), 0.87654, "left")
    return predict.Seen(face, "happiness", np.array([0.2, 0.7, 0.1], np.float32))._replace(**changes)


def test_a_face_has_a_square_round_it_and_its_answer_above_or_within() -> None:
    yellow, wall = (255, 196, 0), np.full((200, 300, 3), 50, np.uint8)

    def marked(top: float) -> np.ndarray:
        face = faces.Face((20, top, 60), 1.0)
        return (np.asarray(predict.draw(wall, [seen(face=face)])) == yellow).all(2)

    low, high = marked(100), marked(4)
    for square, top in ((low, 100), (high, 4)):
        assert square[top, 20:81].all() and square[top + 60, 20:81].all() and square[top : top + 61, [20, 80]].all()
        assert not square[:, :20].any() and not square[top + 62 :].any()
    assert low[84:100, 20:60].any() and not low[104:140, 30:70].any(), "above the square where there is room"
    assert high[8:20, 24:60].any() and not high[:4].any(), "within it where there is none"


def test_a_map_is_red_where_it_is_greatest_and_clear_where_it_is_least() -> None:
    black = np.zeros((100, 100, 3), np.uint8)
    ramp = np.repeat(np.linspace(0, 1, 8)[:, None], 8, 1)
    for values in (ramp, 5 * ramp - 3):  # only where it is more and where it is less counts
        face = faces.Face((20, 20, 60), 1.0)
        tinted = np.asarray(predict.draw(black, [seen(face=face, map=values)]))[:, 50]
        assert tinted[76].tolist() == pytest.approx([220 * 160 / 255, 30 * 160 / 255, 30 * 160 / 255], abs=2)
        assert tinted[45:76:6, 0].tolist() == sorted(tinted[45:76:6, 0]) and tinted[90].tolist() == [0, 0, 0]
    flat = np.asarray(predict.draw(black, [seen(face=face, map=np.ones((8, 8)))]))
    assert np.array_equal(flat, np.asarray(predict.draw(black, [seen(face=face)]))), "a map without a difference"


def test_the_answer_that_is_drawn_is_the_surest(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda self, place, text, **_: texts.append(text))
    predict.draw(WALL, [seen(), seen(probabilities=np.array([0.916, 0.084]), expression="fear")])
    assert texts == ["happiness 70 %", "fear 92 %"]


def test_every_picture_that_is_drawn_has_a_name_of_its_own() -> None:
    taken: set[str] = set()
    frames = [
        Frame("a/my photo.JPG", 0, 0, None), Frame("b/my photo.png", 0, 0, None), Frame("c/my photo.bmp", 0, 0, None),
        Frame("film.avi", 0, 0, None), Frame("film.avi", 12, 0, None), Frame("camera 0", 3, 0, None),
    ]  # fmt: skip
    names = [predict._free_name(frame, taken) for frame in frames]
    assert names == [
        "my-photo.png", "my-photo-2.png", "my-photo-3.png", "film-000000.png", "film-000012.png", "camera-0-000003.png",
    ]  # fmt: skip
    assert taken == set(names)


def test_a_row_says_where_the_face_is_how_sure_it_is_and_every_share() -> None:
    frame = Frame("a.avi", 12, 1.23456, WALL)
    row = predict.row(frame, 3, seen(pose=(10.04, -5.06, 1.0)), CLASSES)
    assert row == {
        "source": "a.avi", "frame": 12, "seconds": 1.235, "face": 3, "left": 20.0, "top": 30.1, "side": 40.0,
        "score": 0.877, "looks": "left", "yaw": 10.0, "pitch": -5.1, "roll": 1.0, "expression": "happiness",
        "p_neutral": 0.2, "p_happiness": 0.7, "p_surprise": 0.1,
    }  # fmt: skip
    assert predict.columns(CLASSES) == [*list(row)[:12], *list(row)[12:], "trained_on", "problem"]
    assert "yaw" not in predict.row(frame, 0, seen(), CLASSES)
    empty = {"source": "a.avi", "frame": 12, "seconds": 1.235}
    assert predict.row(frame, None, None, CLASSES) == empty | {"problem": "no face found"}
    assert predict.row(frame._replace(problem="torn"), None, None, CLASSES) == empty | {"problem": "torn"}


# --- the table and the command -------------------------------------------------------------------------


def test_the_command_writes_a_row_a_face_and_frame(trained: Path, tmp_path: Path, command: Command) -> None:
    pictures = tmp_path / "pictures"
    save(pictures / "people.png", np.concatenate([photograph(715).image, photograph(716).image], 1))
    save(pictures / "wall.png", WALL)
    save(pictures / "deeper" / "wall.png", WALL)
    words = ("predict", pictures, "--model", trained, "--overlay", tmp_path / "drawn", "--attention")
    lines = command.good(*words, "--table", tmp_path / "much" / "deeper" / "found.csv")
    table = rows(tmp_path / "much" / "deeper" / "found.csv")
    people = [row for row in table if row["source"].endswith("people.png")]
    assert len(people) >= 2 and {row["face"] for row in people} == {str(k) for k in range(len(people))}
    for row in people:
        shares = [float(row[f"p_{name}"]) for name in CLASSES]
        assert sum(shares) == pytest.approx(1, abs=1e-3) and row["expression"] == CLASSES[int(np.argmax(shares))]
        assert row["trained_on"] == "kdef-twin" and not row["problem"]
    assert [row["problem"] for row in table if "wall" in row["source"]] == ["no face found"] * 2
    drawn = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert drawn == ["people.png", "wall-2.png", "wall.png"]
    assert any("never seen a photograph" in line for line in lines) and "2 without a face" in "".join(lines)


def test_unreadable_pictures_are_rows_and_the_status_says_so(trained: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 broken")
    save(tmp_path / "wall.png", WALL)
    assert command.status("predict", tmp_path / "broken.jpg", tmp_path / "wall.png", "--model", trained) == 1
    first, second = rows(tmp_path / "predictions.csv")
    assert "broken.jpg" in first["problem"] and second["problem"] == "no face found"
    assert "--overlay" in command.bad("predict", tmp_path / "wall.png", "--model", trained, "--attention")


def test_an_interrupted_run_leaves_its_rows(trained: Path, tmp_path: Path) -> None:
    def camera() -> Any:
        yield Frame("camera 0", 0, 0.0, WALL)
        raise KeyboardInterrupt

    table = tmp_path / "found.csv"
    with pytest.raises(KeyboardInterrupt):
        list(predict.write(Predictor(trained), camera(), table))
    assert [row["source"] for row in rows(table)] == ["camera 0"] and len(list(tmp_path.iterdir())) == 1


def test_a_long_video_is_read_frame_by_frame(trained: Path, tmp_path: Path) -> None:
    taken = []

    def endless() -> Any:
        for number in range(50):
            taken.append(number)
            yield Frame("film", number, 0.0, WALL)

    out = predict.write(Predictor(trained), endless(), tmp_path / "found.csv")
    for number, (frame, found) in enumerate(out):
        assert taken[-1] == frame.number == number and found == [], "no frame is read ahead"
