"""The renderer: perspective, detail, soft shadows, lights, backgrounds, processes, meshes from files."""

from __future__ import annotations

import hashlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fercore.errors import DataError, FercoreError, ParameterError
from fercore.heads import (
    Head,
    Person,
    level_of_detail,
    multipie_flashes,
    read_mesh,
    render,
    sample_accessories,
    sample_background,
    sample_film_light,
    sample_person,
)


def picture_of(seed: int) -> str:
    """Hash of one picture of everything that is random."""
    rng, person = np.random.default_rng(seed), sample_person(seed)
    wear = sample_accessories(person, rng, glasses=0.5, headwear=0.4, occluder=0.4)
    light, room = sample_film_light(rng), sample_background(48, rng)
    image = render(Head(person, 0.5, wear).mesh({12: 0.5}), 20, size=48, light=light, background=room).image
    return hashlib.sha256(image.tobytes()).hexdigest()


def test_two_processes_render_the_same_as_one():
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        assert list(pool.map(picture_of, range(4))) == [picture_of(seed) for seed in range(4)]


def test_camera_is_perspective():
    """Of two points at the same height over the axis, the nearer one appears higher."""
    mesh = Head(Person(), 0.5).mesh()
    mesh = mesh._replace(landmarks=np.tile(np.float32([[0, 4, 10], [0, 4, -8]]), (34, 1)))
    near, far = render(mesh, size=100, field=20.0, centre=(0.0, 0.0)).landmarks[:2, 1]
    assert near == pytest.approx(50 - 5 * 4 * 85 / 75.5, abs=1e-3) and far == pytest.approx(
        50 - 5 * 4 * 85 / 93.5, abs=1e-3
    )


@pytest.mark.parametrize("pose", [(-90, 0, 0), (90, 0, 0), (0, -45, 0), (0, 45, 0), (0, 0, -45), (60, -30, 20)])
def test_every_pose_shows_a_face(pose):
    picture = render(Head(Person(), 0.5).mesh(), *pose, size=48, field=24.0)
    assert (picture.parts > 0).mean() > 0.3 and picture.image.std() > 10


def test_detail_follows_size():
    densities = [level_of_detail(size) for size in (16, 48, 64, 112, 160, 224, 320, 448, 1024)]
    assert densities == sorted(densities) and densities[0] == 0.5 and densities[-1] == 1.25
    faces = [len(Head(Person(), d).mesh().faces) for d in (0.5, 0.85)]
    assert faces[0] < 40_000 < faces[1]


def test_coarse_and_fine_meshes_look_alike():
    """Their pictures differ by no more than fine hairs do."""
    coarse, fine = (render(Head(sample_person(5), d).mesh(), size=64).image.astype(int) for d in (0.5, 1.0))
    assert np.abs(coarse - fine).mean() < 9


@pytest.mark.parametrize("size", [96, 320])
def test_shadow_edges_are_soft(size):
    """A square that hovers over a wall: between light and shadow lie several grey levels, whatever the size."""
    from test_heads import two_squares

    from fercore.heads import Light

    dark = {"sky": (0, 0, 0), "ground": (0, 0, 0), "side": (0, 0, 0)}
    mesh = two_squares(near_half=1, near_z=3.5, far_half=8)
    image = render(mesh, size=size, field=20.0, centre=(0.0, 0.0), light=Light((1, 1, 1), **dark)).image[..., 1]
    step = size / 20  # pixels a cm
    line = image[round(size / 2 + 3 * step), round(size / 2 - 5.5 * step) : round(size / 2 - 3 * step)].astype(int)
    assert line[0] > 100 and line[-1] < 20
    assert (np.diff(line) <= 2).all() and (np.abs(np.diff(line)) > 3).sum() >= 2


def test_flashes_light_their_side():
    flashes, mesh, bright = multipie_flashes(), Head(Person(), 0.5).mesh(), {}
    assert list(flashes) == list(range(20))
    for number, light in flashes.items():
        image = render(mesh, size=48, light=light).image.mean(2)
        bright[number] = image[:, :24].mean() - image[:, 24:].mean(), image.mean()
    sides = [bright[number][0] for number in range(1, 14)]
    assert sides[0] > 15 and sides[12] < -15 and np.corrcoef(sides, np.arange(13))[0, 1] < -0.9
    assert bright[0][1] < min(bright[k][1] for k in (6, 7, 8)) and abs(bright[19][0]) < 4


@pytest.mark.parametrize("kind", ["studio", "room", "outdoors", None])
def test_backgrounds(kind):
    one, two = (sample_background(40, np.random.default_rng(3), kind) for _ in range(2))
    assert one.shape == (40, 40, 3) and (one == two).all() and 0 < one.min() <= one.max() <= 1


def test_film_light_is_darker_and_more_coloured():
    rng = np.random.default_rng(0)
    lights = [sample_film_light(rng) for _ in range(50)]
    assert np.mean([light.sky for light in lights]) < 0.2
    assert np.mean([np.ptp(light.key) for light in lights]) > 0.15


# ---- meshes from files ---------------------------------------------------------------------------------------------


def dome(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A bump of n x n points like a scanned face, in millimetres: points, texture coordinates, quads."""
    x, y = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n))
    points = np.stack([70 * x, 90 * y, 60 * np.exp(-(x**2) - y**2)], -1).reshape(-1, 3)
    index = np.arange(n * n).reshape(n, n)
    quads = np.stack([index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]], -1).reshape(-1, 4)
    return points, np.stack([x / 2 + 0.5, y / 2 + 0.5], -1).reshape(-1, 2), quads


def write_texture(path: Path) -> None:
    """Left half red, right half green, the lowest quarter blue."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, :32, 0] = pixels[:, 32:, 1] = 200
    pixels[48:] = (0, 0, 200)
    Image.fromarray(pixels).save(path)


def write_wrl(folder: Path, n: int = 30, url: str = "face_F3D.bmp") -> Path:
    points, uv, quads = dome(n)
    faces = ",\n".join(", ".join(map(str, quad)) + ", -1" for quad in quads)
    text = f"""#VRML V2.0 utf8
    Shape {{ appearance Appearance {{ texture ImageTexture {{ url "{url}" }} }}
    geometry IndexedFaceSet {{
    coord Coordinate {{ point [ {", ".join("{:.4f} {:.4f} {:.4f}".format(*p) for p in points)} ] }}
    texCoord TextureCoordinate {{ point [ {", ".join("{:.5f} {:.5f}".format(*p) for p in uv)} ] }}
    coordIndex [ {faces} ] texCoordIndex [ {faces} ] }} }}"""
    write_texture(folder / "face_F3D.bmp")
    path = folder / "face_F3D.wrl"
    path.write_text(text)
    return path


def write_obj(folder: Path, n: int = 30) -> Path:
    points, uv, quads = dome(n)
    lines = [
        "mtllib face.mtl",
        *("v {:f} {:f} {:f}".format(*p) for p in points),
        *("vt {:f} {:f}".format(*p) for p in uv),
    ]
    lines += ["f " + " ".join(f"{i + 1}/{i + 1}" for i in quad) for quad in quads]
    (folder / "face.mtl").write_text("newmtl a\nmap_Kd skin.png\n")
    write_texture(folder / "skin.png")
    path = folder / "face.obj"
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("write", [write_wrl, write_obj])
def test_a_textured_mesh_is_drawn(tmp_path, write):
    mesh = read_mesh(write(tmp_path))
    assert len(mesh.vertices) == 900 and len(mesh.faces) == 2 * 29 * 29
    picture = render(mesh, size=100, field=24.0, centre=(0.0, -2.6))
    left, right, low = picture.image[40, 35], picture.image[40, 65], picture.image[82, 50]
    assert left.argmax() == 0 and right.argmax() == 1 and low.argmax() == 2
    assert not picture.visible.any()  # a scan has no landmarks
    for pan, tilt in ((90, 0), (-45, 30)):
        assert (render(mesh, pan, tilt, size=64).parts > 0).mean() > 0.1


def test_a_mesh_of_scan_size(tmp_path):
    assert len(read_mesh(write_wrl(tmp_path, 142)).vertices) == 142**2


def test_texture_stays_in_the_folder(tmp_path):
    (tmp_path / "inner").mkdir()
    write_texture(tmp_path / "secret.png")
    path = write_wrl(tmp_path / "inner", url="../secret.png")
    (tmp_path / "inner" / "face_F3D.bmp").unlink()
    assert read_mesh(path).texture is None
    assert read_mesh(path, texture=tmp_path / "secret.png").texture is not None  # but one may ask for it


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "#VRML"),
        ("#VRML V2.0 utf8\nShape {}", "IndexedFaceSet"),
        ("#VRML V2.0 utf8\nIndexedFaceSet { coord Coordinate { point [0 0 0, 1 0 0] } }", "coordIndex"),
        ("#VRML V2.0 utf8\nIndexedFaceSet { coord Coordinate { point [0 0 0, 1 0] } coordIndex [0,1,-1] }", "points"),
        ("#VRML V2.0 utf8\nIndexedFaceSet { coord Coordinate { point [0 0 0, 1 0 0] } coordIndex [0,1,9,-1] }", "face"),
        ("#VRML V2.0 utf8\nIndexedFaceSet { coord Coordinate { point [0 0 nan] } coordIndex [0,0,0,-1] }", "points"),
        ("#VRML V2.0 utf8\nIndexedFaceSet { coord Coordinate { point [0 0 x] } coordIndex [0,0,0,-1] }", "no number"),
        ("#VRML V2.0 utf8\nIndexedFaceSet { coord Coordinate { point [0 0 0] } coordIndex [0,0,0,-1] }", "flat"),
        ("#VRML V2.0 utf8\nIndexedFaceSet { coord Coordinate { point [] } coordIndex [] }", "face"),
    ],
)
def test_broken_meshes_are_named(tmp_path, text, says):
    path = tmp_path / "broken.wrl"
    path.write_text(text)
    with pytest.raises(DataError, match=says):
        read_mesh(path)


def test_broken_textures_and_paths_are_named(tmp_path):
    path = write_wrl(tmp_path)
    (tmp_path / "face_F3D.bmp").write_bytes(b"BM no picture")
    for call in (path, tmp_path / "none.wrl", tmp_path / "face.stl"):
        with pytest.raises(DataError):
            read_mesh(call)


TEXT = """#VRML IndexedFaceSet { } [ ] Coordinate point coordIndex texCoordIndex TextureCoordinate ImageTexture url
0 1 2 "face_F3D.bmp" -1 -9 1e99 3 , v vt f 1/1 2/2 3/3 // mtllib 99999999999999999999 nan"""
WORDS = st.sampled_from([*TEXT.split(), "\n", ""])


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from([".wrl", ".obj"]))
def test_no_file_breaks_the_reader(tmp_path, data, suffix):
    if data.draw(st.booleans()):
        text = data.draw(st.sampled_from(["", "#VRML V2.0 "])) + " ".join(data.draw(st.lists(WORDS, max_size=60)))
    else:  # a good file with a hole in it
        good = (write_wrl if suffix == ".wrl" else write_obj)(tmp_path, 3).read_text()
        start = data.draw(st.integers(0, len(good)))
        text = (
            good[:start]
            + " ".join(data.draw(st.lists(WORDS, max_size=4)))
            + good[start + data.draw(st.integers(0, 99)) :]
        )
    path = tmp_path / f"fuzz{suffix}"
    path.write_text(text)
    try:
        mesh = read_mesh(path)
    except DataError:
        return
    assert np.isfinite(mesh.vertices).all() and mesh.faces.max() < len(mesh.vertices)


@pytest.mark.parametrize("call", [lambda: sample_background(8, np.random.default_rng(0), "moon")])
def test_bad_input_is_named(call):
    with pytest.raises(ParameterError):
        call()
    assert issubclass(DataError, FercoreError)
