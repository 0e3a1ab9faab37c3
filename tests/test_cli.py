"""The command line: good runs, and every mistake ending in one message."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from conftest import fercore
from typer.testing import CliRunner

from fercore import papers
from fercore.book.execute import parameters_of, parse_parameters, run_notebook
from fercore.book.parameters import check
from fercore.cli import app, join_pairs
from fercore.errors import FercoreError, ParameterError
from fercore.recipe import Recipe
from fercore.training import experiments

PARAMETERS = """preset: str = "smoke"  # smoke | quick | paper
epochs: int = 2  # how often
rate: float = 0.1  # step
flip: bool = True  # mirrored
seeds: list[int] = [0, 1]  # one run each
code: str = "007"  # digits that are text"""


@pytest.fixture
def source(tmp_path: Path, write_notebook: Callable[..., Path]) -> Path:
    return write_notebook(tmp_path / "small.ipynb", PARAMETERS, "print(preset, epochs, code)", "assert epochs != 13")


def one_message(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stderr.startswith("fercore: ") and "What to do:" in done.stderr
    return done.stderr


def test_papermill_form_of_parameters() -> None:
    assert join_pairs(["run", "a", "b", "-p", "x", "1", "-p", "y=2"]) == ["run", "a", "b", "-p", "x=1", "-p", "y=2"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("epochs", "3", 3),
        ("rate", "1", 1),
        ("rate", "1.5", 1.5),
        ("flip", "False", False),
        ("seeds", "[3]", [3]),
        ("code", "0012", "0012"),
        ("preset", "True", "True"),
    ],
)
def test_text_becomes_the_declared_type(source: Path, name: str, text: str, value: object) -> None:
    parsed = parse_parameters(source, [(name, text)])[name]
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "text"), [("epochs", "three"), ("epochs", "1.5"), ("epochs", "True"), ("flip", "1"), ("seeds", "4")]
)
def test_wrong_type_is_refused(source: Path, name: str, text: str) -> None:
    with pytest.raises(ParameterError, match=rf"'{name}' must be"):
        check("small.ipynb", parse_parameters(source, [(name, text)]), parameters_of(source))


def test_misspelt_name_is_refused_with_the_closest_and_all() -> None:
    source = Path(__file__).parents[1] / "notebooks" / "lan" / "training.ipynb"
    with pytest.raises(ParameterError, match="Did you mean 'preset'") as caught:
        check("training.ipynb", {"presets": "smoke"}, parameters_of(source))
    assert "dataset: str" in str(caught.value)


def test_run_writes_the_notebook_and_what_it_was_made_from(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "out.ipynb"
    done = fercore("run", source, target, "-p", "epochs", 3, "-p", "code", "0012")
    assert done.returncode == 0, done.stderr
    notebook = nbformat.read(target, as_version=4)
    assert "smoke 3 0012" in str(notebook.cells)
    assert notebook.metadata["fercore"]["parameters"] == {"epochs": 3, "code": "0012"}
    assert [path.name for path in target.parent.iterdir()] == ["out.ipynb"]


def test_run_refuses_before_it_starts(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.ipynb"
    message = one_message(fercore("run", source, target, "-p", "epoch", 3))
    assert "no parameter 'epoch'" in message and "'epochs'" in message and "rate: float" in message
    assert not target.exists()
    assert "no notebook" in one_message(fercore("run", tmp_path / "none.ipynb", target))


def test_failure_keeps_the_old_result_and_names_the_cell(source: Path, tmp_path: Path) -> None:
    target, log = tmp_path / "out.ipynb", tmp_path / "logs" / "out.log"
    target.write_text("the result of before")
    with pytest.raises(FercoreError, match="failed in cell 'cell-2': AssertionError") as caught:
        run_notebook(source, target, {"epochs": 13}, log=log)
    assert target.read_text() == "the result of before"
    assert log.is_file() and (tmp_path / "logs" / "out.failed.ipynb").is_file()
    assert "out.failed.ipynb" in str(caught.value) and "out.log" in str(caught.value)
    assert not list(tmp_path.glob(".*"))


def test_source_is_never_overwritten_and_a_broken_file_is_named(source: Path, tmp_path: Path) -> None:
    before = source.read_bytes()
    with pytest.raises(FercoreError, match="source itself"):
        run_notebook(source, source, {})
    assert source.read_bytes() == before
    broken = tmp_path / "broken.ipynb"
    broken.write_text("{")
    with pytest.raises(FercoreError, match="can't be read as a notebook"):
        run_notebook(broken, tmp_path / "out.ipynb", {})


@pytest.mark.parametrize("words", [("epoch", "3"), ("epochs", "three")], ids=["misspelt", "wrong type"])
def test_stock_papermill_is_stopped_inside_the_notebook(
    words: tuple[str, str], tmp_path: Path, write_notebook: Callable[..., Path]
) -> None:
    check = "from fercore import notebook\nnotebook.check_parameters()"
    source = write_notebook(tmp_path / "small.ipynb", PARAMETERS, check, "print('went', 'on')")
    done = subprocess.run(
        [sys.executable, "-m", "papermill", source, tmp_path / "out.ipynb", "-p", *words],
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert f"'{words[0]}'" in done.stderr and "ParameterError" in done.stderr
    assert "went on" not in (tmp_path / "out.ipynb").read_text()


def test_unknown_preset() -> None:
    done = fercore("book", "make", "--preset", "smok")
    assert done.returncode == 2 and done.stderr.startswith("fercore: there is no preset 'smok' (did you mean 'smoke'?)")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "lan", "--set", "paper=pcda"], "the paper is named first"),
        (["records", "list", "nowhere"], "There is no folder nowhere"),
        (["records", "list", "notebooks"], "No record lies in notebooks"),
        (["run", "notebooks/lan/training.ipynb", "out.ipynb", "-p", "preset", "nope"], "there is no preset 'nope'"),
    ],
)
def test_what_does_not_fit_is_refused_at_once(words: list[str], told: str) -> None:
    done = fercore(*words)
    assert done.returncode == 2 and told in done.stderr


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """The recipes that would have been trained."""
    seen: list[Recipe] = []

    def run(recipe: Recipe, root: Path | None) -> SimpleNamespace:
        seen.append(recipe)
        return SimpleNamespace(metrics={}, folder="a folder")

    monkeypatch.setattr(experiments, "run", run)
    return seen


@pytest.mark.parametrize("paper", papers.names())
def test_train_takes_the_paper_s_own_data_where_none_are_named(paper: str, trained: list[Recipe]) -> None:
    assert CliRunner().invoke(app, ["train", paper]).exit_code == 0
    assert trained == [papers.module(paper).recipe("smoke")]
    assert paper in CliRunner().invoke(app, ["train", "--help"]).output


def test_train_takes_the_data_that_are_named(trained: list[Recipe]) -> None:
    CliRunner().invoke(app, ["train", "lan", "--dataset", "rafdb-twin", "--seed", "3", "--set", "alpha=0"])
    assert trained == [papers.module("lan").recipe("smoke", "rafdb-twin", seed=3, alpha=0)]
