"""A new paper is one module, one toml file, one folder of notebooks and rows of csv: nothing else changes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from conftest import fercore

from fercore import provenance, records
from fercore.paths import ROOT, prepared_root

pytestmark = pytest.mark.slow
TOY = Path(__file__).parent / "toy"
HEAD = "paper,table,row,column,metric,value,unit,dataset,protocol,cited,notes"
CELLS = ("toy,T1,plain,accuracy,accuracy,20.00,%,KDEF,,,", "toy,T1,Toy,accuracy,accuracy,90.00,%,KDEF,,,")
ROWS = {
    "claims": "toy,T1,,table,Table 1,A toy beside nothing,toy/training.ipynb,table,kdef",
    "criteria": "toy,T1,,Table 1,Toy,accuracy,KDEF,kdef,method=toy,test,accuracy,",
    "gains": "toy,gain on KDEF,T1,Toy,accuracy,plain,,KDEF,kdef,method=toy,method=plain,test,accuracy,toy/training.ipynb,",  # noqa: E501,
}
TRAINING = (
    'preset: str = "smoke"  # smoke | quick | paper',
    "from fercore import notebook\nfrom fercore.papers import toy\nfrom fercore.training import experiments\n\n"
    "notebook.check_parameters()",
    'runs = [experiments.run(toy.recipe(preset, method=name)) for name in ("plain", "toy")]',
    'notebook.show(notebook.accuracy_table(runs), "A toy.")',
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with an empty book, and the sixth paper put in."""
    tree = tmp_path_factory.mktemp("toy") / "checkout"
    shutil.copytree(ROOT / "fercore", tree / "fercore", ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "book" / "records").mkdir(parents=True)
    (tree / "book" / "index.md").write_text("# A book\n\n<!-- does it reproduce -->\n")
    (tree / "book" / "references.bib").write_text("")
    (tree / "book" / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nparts:\n  - caption: papers\n"
        "  - caption: Reference\n    chapters: [{file: book/ledger}, {file: book/equations}, {file: book/howto}]\n"
    )
    (tree / "book" / "howto.md").write_text("# How to\n")
    shutil.copytree(ROOT / "book" / "_static", tree / "book" / "_static")
    for name in ("_config.yml", "pyproject.toml", "Snakefile"):
        shutil.copy(ROOT / name, tree / name)
    return tree


@pytest.fixture(scope="module")
def added(checkout: Path, write_toy: Callable[[Path], None]) -> set[str]:
    """The sixth paper is put in; every file that is new or longer."""
    before = {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()}
    write_toy(checkout)
    after = {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()}
    changed = {path for path, content in after.items() if before.get(path) != content}
    assert all(after[path].startswith(before.get(path, b"")) for path in changed), "rows are added, none is edited"
    return {path.relative_to(checkout).as_posix() for path in changed}


@pytest.fixture(scope="module")
def write_toy() -> Iterator[Callable[[Path], None]]:
    def write(tree: Path) -> None:
        for name in ("toy.py", "toy.toml"):
            shutil.copy(TOY / name, tree / "fercore" / "papers" / name)
        published = tree / "fercore" / "published"
        (published / "toy.csv").write_text("\n".join([HEAD, *CELLS]) + "\n")
        (published / "toy-figures.csv").write_text(HEAD.replace("table", "table,figure") + "\n")
        for name, row in ROWS.items():
            with (published / f"{name}.csv").open("a") as file:
                file.write(row + "\n")
        write_notebook(tree / "notebooks" / "toy" / "training.ipynb", *TRAINING)

    yield write


def write_notebook(path: Path, *cells: str) -> None:
    names = ("parameters", "setup", "run", "table")
    code = [
        {
            "cell_type": "code", "id": name, "source": source, "outputs": [], "execution_count": None,
            "metadata": {"tags": ["parameters"]} if name == "parameters" else {},
        }
        for name, source in zip(names, cells, strict=True)
    ]  # fmt: skip
    title = {"cell_type": "markdown", "id": "title", "metadata": {}, "source": "# A toy"}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "data_sets": ["kdef-twin"]}
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"cells": [title, *code], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))


def run(checkout: Path, *words: Any, **environment: str) -> str:
    """``fercore WORDS`` in the copy, with the data that are prepared here; its output."""
    os.environ.update({"FERCORE_PREPARED": str(prepared_root())} | environment)
    done = fercore(*words, cwd=checkout)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def make_records(checkout: Path) -> None:
    """``make records PRESET=smoke ONLY=toy`` in the copy."""
    words = ["-m", "snakemake", "records", "--cores", "2", "--nolock", "--quiet", "rules", "--scheduler", "greedy"]
    words += ["--config", "records=1", "preset=smoke", "only=toy"]
    environment = os.environ | {"PYTHONPATH": str(checkout), "FERCORE_PREPARED": str(prepared_root())}
    done = subprocess.run([sys.executable, *words], cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def made(checkout: Path, added: set[str]) -> list[records.Record]:
    """The records that the toy wants, trained at smoke by the graph and put among the committed ones."""
    make_records(checkout)
    return records.find(checkout / "book" / "records")


@pytest.fixture(scope="module")
def record(made: list[records.Record]) -> records.Record:
    """That of the toy itself."""
    return next(record for record in made if record.recipe["method"] == "toy")


def test_no_other_file_changes(added: set[str]) -> None:
    assert added == {
        "fercore/papers/toy.py", "fercore/papers/toy.toml", "notebooks/toy/training.ipynb",
        *(f"fercore/published/{name}.csv" for name in ("toy", "toy-figures", "claims", "criteria", "gains")),
    }  # fmt: skip


def test_it_is_trained_with_all_that_it_defines(checkout: Path, record: records.Record) -> None:
    assert record.heads == {"pose": ["-90°", "-45°", "0°", "+45°", "+90°"]}
    assert record.recipe["protocol"] == "toy-kdef" and record.recipe["schedule"] == "step"
    assert {"accuracy", "pose_accuracy"} <= record.metrics["test"].keys() and "pose_probabilities" in record.arrays()
    assert {stage: len(rows) for stage, rows in record.history.items()} == {"plain": 1, "method": 2}
    assert "pose_accuracy" in record.stages["plain"]["test"]
    last = record.history["method"][-1]
    assert 0 < last["pose_weight"] < 1 and last["pose_weight"] != 0.5, "the loss has learned its own weight"
    assert last["train_loss"] == pytest.approx(last["train_expression"] + last["train_pose"])
    assert last["seen"] == record.data.images["train"]
    assert (checkout / "_runs" / "records" / record.name / "criterion.safetensors").is_file()


def test_its_records_are_made_once(checkout: Path, made: list[records.Record]) -> None:
    assert sorted(record.recipe["method"] for record in made) == ["plain", "toy"]
    stages = list((checkout / "_runs" / "records" / ".stages").glob("*/record.json"))
    assert len(stages) == 1, "what both start from"
    assert json.loads(run(checkout, "records", "jobs", "--preset", "smoke", "--only", "toy")) == {}, "none is left"


def test_its_pages_are_built(checkout: Path, record: records.Record) -> None:
    source, target = checkout / "notebooks/toy/training.ipynb", checkout / "_runs/smoke/notebooks/toy/training.ipynb"
    run(checkout, "run", source, target, "-p", "preset=smoke")
    run(checkout, "book", "stage", "_runs/smoke", "_build/src")
    run(checkout, "book", "build", "_build/src", "_build/html")
    page = (checkout / "_build/html/notebooks/toy/training.html").read_text()
    assert "plain toy" in page and record.name in page, "the run of the command line is found, not made again"
    index = (checkout / "_build/html/book/index.html").read_text()
    assert ">A toy<" in index, "a part of the contents"
    ledger = (checkout / "_build/html/book/ledger.html").read_text()
    assert "gain on KDEF" in ledger and "+70.00 points" in ledger
    assert "<strong>Toy</strong>: no gain measured yet." in ledger, "a line of the answer"
    equations = BeautifulSoup((checkout / "_build/html/book/equations.html").read_text(), "html.parser")
    assert "f = GAP(ReLU(W * x))" in " ".join(equations.get_text().split())


def test_the_code_of_other_papers_stays_as_it_was(checkout: Path, record: records.Record) -> None:
    words = [sys.executable, "-c", "from fercore import provenance; print(provenance.code_of('lan'))"]
    there = subprocess.run(words, env=os.environ | {"PYTHONPATH": str(checkout)}, capture_output=True, text=True)
    assert there.stdout.strip() == provenance.code_of("lan")
