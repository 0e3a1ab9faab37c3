"""Faces in photographs: found on rendered people, whose places are known; cut out, turned upright, their pose."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny import Command

from fercore.data import catalogue, faces
from fercore.data.faces import TEMPLATE, Cascades, Face, YuNet
from fercore.errors import FercoreError, ParameterError
from fercore.heads import Head, Person, Rendering, face_centre, render, sample_background, sample_person

SIDE, FIELD = 320, 34.0


@cache
def photograph(seed: int, yaw: float = 0.0, roll: float = 0.0) -> Rendering:
    """A rendered person with some of the room round them."""
    background = sample_background(SIDE, np.random.default_rng(seed), "studio")
    return render(Head(sample_person(seed), 0.5).mesh(), yaw, 0, roll, size=SIDE, field=FIELD, background=background)


def truth(yaw: float) -> tuple[float, float, float]:
    """The square that a twin's picture of the same head would show."""
    (x, y), (x0, y0), scale = face_centre(yaw, 19.5), face_centre(yaw, FIELD), SIDE / FIELD
    return SIDE / 2 + (x - x0 - 9.75) * scale, SIDE / 2 - (y - y0 + 9.75) * scale, 19.5 * scale


def five(rendering: Rendering) -> np.ndarray:
    """Eyes, tip of the nose, corners of the mouth, from the 68 points."""
    p = rendering.landmarks
    return np.stack([p[36:42].mean(0), p[42:48].mean(0), p[30], p[48], p[54]]).astype(float)


# --- detectors -----------------------------------------------------------------------------------------


@pytest.mark.apart
def test_the_cascades_find_rendered_faces_where_they_are() -> None:
    detector, overlaps = Cascades(), []
    for seed in range(710, 722):
        found = faces.largest(detector(photograph(seed).image))
        overlaps.append(faces.overlap(found.square, truth(0)) if found else 0.0)
    assert np.median(overlaps) > 0.75 and np.mean(np.array(overlaps) > 0.5) > 0.8


@pytest.mark.apart
def test_the_cascades_mostly_tell_which_way_a_profile_looks() -> None:
    right = wrong = 0
    for yaw, looks, other in ((-62, "left", "right"), (62, "right", "left")):
        found = [faces.largest(Cascades()(photograph(seed, yaw).image)) for seed in range(710, 722)]
        said = [face.looks for face in found if face]
        right, wrong = right + said.count(looks), wrong + said.count(other)
    assert right >= 8 and wrong <= 2


def test_a_mirrored_picture_has_mirrored_faces() -> None:
    image = np.concatenate([photograph(710, 45).image, photograph(712, -45).image], 1)
    one, two = Cascades()(image), Cascades()(image[:, ::-1])
    assert len(one) >= 2
    mirrored = [(image.shape[1] - f.square[0] - f.square[2], *f.square[1:]) for f in two]
    for face in one:
        assert max(faces.overlap(face.square, square) for square in mirrored) > 0.5


def test_a_large_picture_gives_squares_in_its_own_pixels() -> None:
    image = photograph(715).image
    large = cv2.resize(image, (1600, 1600), interpolation=cv2.INTER_CUBIC)
    small, big = (faces.largest(Cascades()(picture)) for picture in (image, large))
    assert faces.overlap(tuple(5 * v for v in small.square), big.square) > 0.7


def test_there_is_no_face_in_a_wall() -> None:
    assert Cascades()(np.full((200, 300, 3), 120, np.uint8)) == []


def test_overlapping_squares_are_one_face_with_their_mean() -> None:
    found = faces._merged(
        [Face((10, 10, 100), 1, "ahead"), Face((20, 10, 100), 3, "left"), Face((500, 10, 50), 2, "right")]
    )
    assert found == [Face((15, 10, 100), 3, "left"), Face((500, 10, 50), 2, "right")]


class Network:
    """Stands for OpenCV's object with YuNet's model in it: a row a face of box, five points, score."""

    def __init__(self, points: np.ndarray) -> None:
        self.points, self.size = points, (0, 0)

    def setInputSize(self, size: tuple[int, int]) -> None:  # OpenCV's name
        self.size = size

    def detect(self, image: np.ndarray) -> tuple[int, np.ndarray | None]:
        assert image.shape[1::-1] == self.size
        self.given = image
        row = [0, 0, 10, 10, *(self.points * self.size[0] / SIDE).ravel(), 0.9]
        return 1, np.array([row], np.float32) if image.max() else None


def test_yunet_gives_points_squares_and_pose(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen, model = photograph(716, 30.0, 15.0), tmp_path / "yunet.onnx"
    model.write_bytes(b"network")
    network = Network(five(seen))
    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *_: network)
    detector = faces.detector(model)
    (face,) = detector(np.repeat(np.repeat(seen.image, 4, 0), 4, 1))
    assert np.allclose(face.points / 4, five(seen), atol=1e-3)
    assert faces.overlap(tuple(v / 4 for v in face.square), truth(30)) > 0.6
    assert faces.pose_of(face.points) == pytest.approx((30, 0, 15), abs=8)
    assert detector(np.zeros((50, 50, 3), np.uint8)) == []
    detector(np.full((50, 50, 3), (200, 100, 50), np.uint8))
    assert (network.given == (50, 100, 200)).all(), "OpenCV's order: blue, green, red"


def test_a_model_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"no model file.*\n.*YuNet"):
        YuNet(tmp_path / "yunet.onnx")
    (tmp_path / "yunet.onnx").write_text("not a network")
    with pytest.raises(FercoreError, match=r"yunet\.onnx is no network.*\n.*YuNet"):
        YuNet(tmp_path / "yunet.onnx")


# --- geometry ------------------------------------------------------------------------------------------


def test_the_template_is_where_the_mean_head_has_its_points() -> None:
    mesh = Head(Person(), 0.75).mesh()
    assert np.abs(five(render(mesh, size=200, field=19.5)) / 200 - TEMPLATE).max() < 0.01
    p = mesh.landmarks
    own = np.stack([p[36:42].mean(0), p[42:48].mean(0), p[30], p[48], p[54]])
    assert np.abs(own - faces.POINTS).max() < 0.1


@given(
    angle=st.floats(-3, 3), scale=st.floats(5, 500), x=st.floats(-300, 300), y=st.floats(-300, 300)
)  # fmt: skip
def test_a_turned_and_scaled_template_is_brought_back(angle: float, scale: float, x: float, y: float) -> None:
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = TEMPLATE @ turn.T + [x, y]
    matrix = faces.similarity(points)
    assert np.allclose(points @ matrix[:, :2].T + matrix[:, 2], TEMPLATE, atol=1e-6)
    left, top, side = faces.square_of(points)
    assert side == pytest.approx(scale)
    assert np.allclose(np.array([left, top]) + side / 2, turn @ [0.5, 0.5] + [x, y], atol=1e-4 * scale)


def test_the_pose_of_rendered_heads_follows_from_five_points() -> None:
    rng, errors = np.random.default_rng(0), []
    for seed in range(30):
        pose = rng.uniform(-60, 60), rng.uniform(-20, 20), rng.uniform(-20, 20)
        seen = render(Head(sample_person(800 + seed), 0.5).mesh(), *pose, size=128, field=19.5)
        errors.append(np.abs(np.subtract(faces.pose_of(five(seen)), pose)))
    assert (np.median(errors, 0) < [4, 6, 3]).all()
    assert np.max(errors) < 30, "and no sign is wrong"


def test_a_cut_is_the_picture_there() -> None:
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    assert np.array_equal(faces.cut(image, Face((10, 20, 32), 1), 32), image[20:52, 10:42])
    blocks = image[20:52, 10:42].reshape(16, 2, 16, 2, 3).mean((1, 3))
    assert np.abs(faces.cut(image, Face((10, 20, 32), 1), 16) - blocks).max() <= 1


def test_a_cut_beyond_the_edge_draws_the_edge_out() -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    outside = faces.cut(image, Face((-8, -8, 40), 1), 40)
    assert np.array_equal(outside[8:, 8:], image[:32, :32]) and (outside[:8, 8:] == image[:1, :32]).all()


def test_a_cut_that_is_enlarged_lies_where_the_face_does() -> None:
    y, x = np.mgrid[:48, :48]
    smooth = np.repeat((4 * x + y)[..., None], 3, 2).astype(np.uint8)
    wanted = cv2.resize(smooth[20:36, 10:26], (32, 32), interpolation=cv2.INTER_LINEAR).astype(int)
    found = faces.cut(smooth, Face((10, 20, 16), 1), 32).astype(int)
    assert np.abs(found - wanted)[2:-2, 2:-2].max() <= 1


def test_an_aligned_cut_is_upright() -> None:
    upright, tilted = photograph(717), photograph(717, 0.0, 25.0)
    wanted = faces.cut(upright.image, Face((0, 0, 1), 1, "", five(upright)), 64, aligned=True).astype(int)
    away = [
        np.abs(faces.cut(tilted.image, Face(faces.square_of(p), 1, "", p), 64, aligned=a) - wanted).mean()
        for p in [five(tilted)]
        for a in (True, False)
    ]
    assert away[0] < 0.5 * away[1]
    with pytest.raises(ParameterError, match="five points"):
        faces.cut(upright.image, Face((0, 0, 9), 1), 64, aligned=True)


# --- in data sets --------------------------------------------------------------------------------------


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """KDEF's layout with one picture of a face, which lies on its side by a telephone's note, and one of a wall."""
    root = tmp_path / "kdef"
    root.mkdir()
    photo, sideways = Image.fromarray(photograph(715).image), Image.Exif()
    sideways[0x0112] = 6  # to be turned by a quarter
    photo.transpose(Image.Transpose.ROTATE_90).save(root / "AF01NES.JPG", quality=95, exif=sideways)
    Image.new("RGB", (120, 90), (90, 100, 110)).save(root / "AF01HAS.JPG")
    monkeypatch.setenv("FERCORE_DATA", str(tmp_path))
    monkeypatch.setenv("FERCORE_PREPARED", str(tmp_path / "prepared"))
    return root


def test_a_data_set_is_cut_to_its_faces_and_what_was_not_found_is_named(people: Path) -> None:
    plain = catalogue.prepare("kdef", size=64)
    data = catalogue.prepare("kdef", size=64, treatment="detected")
    assert data.path != plain.path and "face_found" not in plain.manifest
    found = data.manifest.set_index("sample")["face_found"]
    assert found.to_dict() == {"AF01NES": True, "AF01HAS": False}
    assert any("without a face that was found" in note and "AF01HAS.JPG" in note for note in data.card["notes"])
    assert data.card["made"]["crop"] == "face, detected" and "cascades" in data.card["made"]["detector"]
    row = int(np.flatnonzero(data.manifest["sample"] == "AF01NES")[0])
    wanted = faces.cut(photograph(715).image, Face(truth(0), 1), 64).astype(int)
    away = [np.abs(images.images[row] - wanted).mean() for images in (data, plain)]
    assert away[0] < 0.6 * away[1]


def test_a_data_set_is_turned_upright_by_a_network_that_knows_points(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, photo = tmp_path / "yunet.onnx", photograph(717, 0.0, 25.0)
    model.write_bytes(b"network")
    Image.fromarray(photo.image).save(people / "AF01NES.JPG", quality=95)
    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *_: Network(five(photo)))
    made = {
        treatment: catalogue.prepare("kdef", size=64, treatment=treatment, yunet=str(model))
        for treatment in ("detected", "aligned")
    }
    image = np.asarray(Image.open(people / "AF01NES.JPG"))
    face = Face(faces.square_of(five(photo)), 0.9, "", five(photo))
    for treatment, data in made.items():
        row = data.manifest["sample"].tolist().index("AF01NES")
        wanted = faces.cut(image, face, 64, aligned=treatment == "aligned").astype(int)
        assert np.abs(data.images[row] - wanted).mean() < 2, treatment
        assert data.card["made"]["crop"] == f"face, {treatment}" and data.card["made"]["detector"] == "yunet.onnx"
    assert made["detected"].path != made["aligned"].path


def test_an_impossible_treatment_is_named(
    people: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(monkeypatch, capsys)
    line = command.bad("data", "prepare", "kdef", "--set", "treatment=detectd")
    assert "no treatment of faces 'detectd'" in line and "did you mean 'detected'" in line
    assert "five points" in command.bad("data", "prepare", "kdef", "--set", "treatment=aligned")
    missing = command.bad("data", "prepare", "kdef", "--set", "treatment=aligned", "--set", "yunet=none.onnx")
    assert "no model file none.onnx" in missing and "YuNet" in missing
