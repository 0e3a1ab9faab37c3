"""The hash of code: what it is free of, and what it sees."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from fercore import provenance
from fercore.data import bu3dfe, kdef, twins
from fercore.data.twin_designs import parameters
from fercore.paths import ROOT

SOURCE = (
    '"""What it is."""\nimport math\n\n\ndef area(r):\n    """Of a circle."""\n    return math.pi * r**2  # round\n'
)


def hash_of(folder: Path, **files: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return provenance.code_hash((), files=[folder / f"{name}.py" for name in files])


def test_where_a_file_lies_does_not_count(tmp_path: Path) -> None:
    one = hash_of(tmp_path / "a", first=SOURCE, second="x = 1\n")
    assert hash_of(tmp_path / "b", other="x = 1\n", first=SOURCE) == one
    assert hash_of(tmp_path / "c", first=SOURCE, second="x = 1\n", empty='"""Only words."""\n') == one
    assert hash_of(tmp_path / "d", first=SOURCE) != one


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        ("# round", "# a comment", False),
        ("Of a circle.", "Of a disc.", False),
        ("import math", "import math\nfrom pathlib import Path", False),
        ("import math", "import cmath as math", True),
        ("\n\n\ndef", "\n\ndef", False),
        ("r**2", "r**3", True),
        ("area", "volume", True),
    ],
)
def test_what_counts(tmp_path: Path, before: str, after: str, counts: bool) -> None:
    same = hash_of(tmp_path / "a", it=SOURCE) == hash_of(tmp_path / "b", it=SOURCE.replace(before, after))
    assert same is not counts


def test_a_paper_goes_through_the_loop_the_run_and_itself_alone() -> None:
    assert len({provenance.code_of(name) for name in ("lan", "pcda", "baselines", "arcface", "landmarks")}) == 5


# --- what the code of a run is -------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package, in which files may be edited, looked at in place of the one that is imported."""
    shutil.copytree(ROOT / "fercore", tmp_path / "fercore", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    return tmp_path / "fercore"


def edited(file: Path, more: str = "\nEDITED = 1\n") -> None:
    """With a line more, and a later time: what was read of the file before does not hold."""
    file.write_text(file.read_text() + more)
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 10**9))


SEEN = (
    "training/loop.py", "training/batches.py", "training/testing.py", "training/experiments.py",
    "data/parts.py", "data/augment.py", "data/protocols.py", "data/prepared.py", "data/labels.py",
    "backbones/weights.py", "backbones/resnet.py", "recipe.py", "evaluate.py",
    "papers/lan.py", "papers/baselines.py", "papers/clustering.py",
    "__init__.py", "papers/__init__.py", "training/__init__.py", "data/__init__.py",
)  # fmt: skip
UNSEEN = (
    "papers/pcda.py", "papers/arcface.py", "cli.py", "records.py", "ledger/claims.py", "data/twins.py", "paths.py",
)  # fmt: skip


@pytest.mark.parametrize("name", SEEN)
def test_an_edit_of_what_a_run_goes_through_is_seen(name: str, tree: Path) -> None:
    before = provenance.code_of("lan")
    edited(tree / name)
    assert provenance.code_of("lan") != before


def test_an_edit_of_anything_else_is_not(tree: Path) -> None:
    before, theirs = provenance.code_of("lan"), provenance.code_of("pcda")
    for name in UNSEEN:
        edited(tree / name)
    assert provenance.code_of("lan") == before and provenance.code_of("pcda") != theirs


def test_an_import_within_a_function_is_followed(tree: Path) -> None:
    (tree / "hidden.py").write_text("VALUE = 1\n")
    edited(tree / "papers/clustering.py", "def late():\n    from fercore import hidden\n    return hidden.VALUE\n")
    before = provenance.code_of("lan")
    edited(tree / "hidden.py")
    assert provenance.code_of("lan") != before
    assert tree / "hidden.py" in provenance.sources(["fercore.papers.lan"])


def test_a_key_follows_the_code_that_renders_or_cuts(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twins, "__file__", str(tree / "data" / "twins.py"))

    def keys() -> list[str]:
        model = tmp_path / "model.onnx"
        model.write_bytes(b"")
        return [
            twins.key(parameters("kdef-twin")), kdef.SET.key(tmp_path, treatment="detected", yunet=str(model)),
            bu3dfe.SET.key(tmp_path),
        ]  # fmt: skip

    def changed(name: str) -> list[bool]:
        before = keys()
        edited(tree / name)
        return [one != other for one, other in zip(before, keys(), strict=True)]

    assert changed("heads/render.py") == [True, False, True]
    assert changed("data/faces.py") == [False, True, False]
    for name in ("twins.py", "twin_rows.py", "photo.py"):
        assert changed(f"data/{name}") == [True, False, False]
    assert changed("papers/lan.py") == [False, False, False]
