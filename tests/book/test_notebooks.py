"""The notebooks: sources in the house form, and every one executed (once, by the making of the book)."""

from __future__ import annotations

import ast
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import fercore

from fercore.book import site
from fercore.book.execute import failed_cell, parameters_of
from fercore.paths import ROOT

NAMES = site.notebooks()
CELL_LINES, MEDIAN_LINES = 20, 10


def read(name: str, folder: Path = ROOT) -> nbformat.NotebookNode:
    return nbformat.read(folder / f"{name}.ipynb", as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_book_lists_every_notebook() -> None:
    there = {path.relative_to(ROOT).with_suffix("").as_posix() for path in (ROOT / "notebooks").rglob("*.ipynb")}
    assert {name for name in there if ".ipynb_checkpoints" not in name} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_source_is_clean(name: str) -> None:
    notebook = read(name)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata["kernelspec"]["name"] == "python3", "papermill needs a kernel"
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    random = [word for word in ids if re.fullmatch(r"[0-9a-f]{8}(-.*)?", word) and re.search(r"\d", word)]
    assert not random, "cell ids are words, so that a diff can be read"
    for cell in code_cells(notebook):
        assert not cell.outputs and cell.execution_count is None, f"{cell.id}: strip outputs"


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_literals_with_type_and_comment(name: str) -> None:
    first, second = code_cells(read(name))[:2]
    assert first.metadata["tags"] == ["parameters"]
    for statement in ast.parse(first.source).body:
        assert isinstance(statement, ast.AnnAssign), "name: type = literal"
        ast.literal_eval(statement.value)
    for line in first.source.splitlines():
        assert not line or re.fullmatch(r"\w+: [\w\[\], ]+ = .+  # .+", line), line
    assert len(parameters_of(ROOT / f"{name}.ipynb")) == len(ast.parse(first.source).body), "papermill reads them all"
    assert "preset" in parameters_of(ROOT / f"{name}.ipynb")
    assert "check_parameters()" in second.source


ROLE = re.compile(r"(?<!`)\{[\w:+-]+\}`|^[`:~]{3,}\{|^\(\S+\)=$|\$\$ *\(|\[\]\(", re.MULTILINE)
"""What only the book's compiler understands: roles, directives, labels, links without words."""


@pytest.mark.parametrize("name", NAMES)
def test_source_reads_in_plain_jupyter(name: str) -> None:
    for cell in read(name).cells:
        assert not ROLE.search(cell.source), cell.id
        for formula in re.findall(r"\$\$(.*?)\$\$", cell.source, re.DOTALL):
            assert not ("\\tag" in formula and "\\\\" in formula), (
                f"{cell.id}: rows end in \\cr, as Sphinx splits others"
            )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a {glue:text}`gain_all` b", True), ("{cite}`x`", True), ("```{admonition} x", True), (":::{note}", True),
        ("(label)=", True), ("$$\nx\n$$ (eq1)", True), ("[](a.md)", True), ("`{a}` and f`x`", False),
        ("$x_{a}$ `b`", False), ("```python\n{a}\n```", False), ("$$\nx \\tag{1}\n$$\n(see)", False),
    ],
)  # fmt: skip
def test_what_only_the_book_understands(text: str, found: bool) -> None:
    assert bool(ROLE.search(text)) == found


@pytest.mark.parametrize("name", NAMES)
def test_code_is_short_and_without_plumbing(name: str) -> None:
    cells = code_cells(read(name))
    lengths = {cell.id: sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in cells}
    assert max(lengths.values()) <= CELL_LINES, lengths
    assert statistics.median(lengths.values()) <= MEDIAN_LINES, lengths
    for cell in cells:
        tree = ast.parse("\n".join(line for line in cell.source.splitlines() if not line.startswith("%")))
        assert not any(isinstance(node, ast.ClassDef) for node in ast.walk(tree)), f"{cell.id}: a class"
        assert not any(isinstance(node, ast.Name) and node.id == "plt" for node in ast.walk(tree)), f"{cell.id}: plt"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_executes(name: str, book: Path) -> None:
    notebook = read(name, ROOT / "_runs" / "smoke")
    assert failed_cell(notebook) is None
    assert notebook.metadata["fercore"]["parameters"]["preset"] == "smoke"
    cells = code_cells(notebook)
    assert all(cell.execution_count for cell in cells if cell.source.strip())
    for cell in cells:
        shown = "".join(
            str(output.get("text", output.get("data", {}).get("text/plain", ""))) for output in cell.outputs
        )
        assert str(ROOT) not in shown, f"{cell.id} prints a path of this machine"
        pictures = [output for output in cell.outputs if "image/png" in output.get("data", {})]
        assert len(pictures) == ("notebook.figure(" in cell.source), f"{cell.id} shows {len(pictures)} pictures"
        for told in (picture.metadata["figure"] for picture in pictures):
            assert len(told["alt"]) > 20 and told["caption"].endswith("."), f"{cell.id} is not described"
        words = "".join(output.get("data", {}).get("text/markdown", "") for output in cell.outputs)
        assert not ROLE.search(words), f"{cell.id} says what plain Jupyter does not understand"
        errors = [output.text for output in cell.outputs if output.get("name") == "stderr"]
        assert not errors, f"{cell.id} warns: {errors}"


@pytest.mark.slow
def test_marked_cells_give_the_same_again(book: Path, tmp_path: Path) -> None:
    """nbval runs LAN's method page once more; cells tagged ``nbval-check-output`` must repeat what the book shows."""
    tags = [cell.metadata.get("tags", []) for cell in code_cells(read("notebooks/lan/method"))]
    assert sum("nbval-check-output" in found for found in tags) >= 3
    copy = tmp_path / "method.ipynb"
    shutil.copyfile(ROOT / "_runs" / "smoke" / "notebooks" / "lan" / "method.ipynb", copy)
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env", str(copy)]
    environment = {**os.environ, "FERCORE_PROGRESS": "0"}
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters"), [("notebooks/data/ferplus", []), ("notebooks/lan/training", ["-p", "dataset", "ferplus"])]
)
def test_pages_of_a_real_set_execute_without_it(
    name: str, parameters: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FERCORE_DATA", raising=False)
    done = fercore("run", f"{name}.ipynb", tmp_path / "out.ipynb", *parameters)
    assert done.returncode == 0, done.stderr
    pages = [output.data["text/html"] for cell in code_cells(nbformat.read(tmp_path / "out.ipynb", as_version=4))
             for output in cell.outputs if "text/html" in output.get("data", {})]  # fmt: skip
    assert any("not available" in page and "FERCORE_DATA" in page for page in pages), "says how to get the data"
    assert any("<table" in page for page in pages), "shows the recorded result"
