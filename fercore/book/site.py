"""From executed notebooks to book: the graph, the staged tree, the build.

The book is built from a *staged* tree, ``_build/src``, which repeats the relative paths of the checkout: prose pages
from ``book/``, executed notebooks in place of their sources. Nothing that failed, is missing, or ran with other code
than the checkout's is staged.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import filelock
import nbformat
import yaml

from fercore import provenance, records
from fercore.book.execute import ANSI, Say, failed_cell
from fercore.errors import FercoreError
from fercore.paths import ROOT, relative
from fercore.recipe import check_preset

FINDINGS, GAINS, PAGES_TABLE = "<!-- findings -->", "<!-- gains -->", "<!-- pages -->"
"""Where the first page says what was found, and which page answers what."""
FOLDS = (
    ("parameters", "hide-input", "Parameters and what they mean"),
    ("injected-parameters", "remove-cell", ""),
    ("hide-input", "hide-input", "Show the code"),
    ("solution", "hide-cell", "Solution"),
)
"""Tags of cells that are folded away, how, and what their fold is called."""
PAGES = ("method", "training", "ablations", "figures")
"""Pages of a paper, in their order; others follow."""


def make(preset: str, cores: int, *, say: Say = print) -> Path:
    """Bring the book up to date: run the Snakefile, show what matters, keep the whole log.

    One ``make`` at a time in a checkout; the lock is the operating system's, so an interrupted run leaves nothing to
    unlock. Finished notebooks stay, and the next call goes on from there. Raises :class:`FercoreError` when a step
    failed, after every other step that could run has run.
    """
    check_preset(preset)
    log = ROOT / "_runs" / preset / "logs" / "snakemake.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(ROOT / "_runs" / ".make.lock", timeout=0):
            told = _snakemake(preset, cores, log, say)
    except filelock.Timeout:
        raise FercoreError("Another make book is at work in this checkout.", do="wait for it to end") from None
    if told:
        what = "\n".join(["The book was not made.", *told])
        raise FercoreError(what, do=f"then make book goes on from here; whole log: {relative(log)}")
    return ROOT / "_build" / "html" / "index.html"


def _snakemake(preset: str, cores: int, log: Path, say: Say) -> list[str]:
    """The error messages that the steps printed (lines that begin with ``!``); none on success."""
    words = ["--cores", str(cores), "--config", f"preset={preset}", "--nolock", "--keep-going", "--rerun-incomplete"]
    told: list[str] = []
    with open(log, "w", encoding="utf-8", buffering=1) as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *words, "--scheduler", "greedy"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            for line in process.stdout:
                file.write(line)
                if line.startswith("! "):
                    told.append(line[2:].rstrip("\n"))
                if re.match("[·!] [^ ]", line):
                    say(line.rstrip("\n"))
                elif match := re.match(r"(\d+) of (\d+) steps", line):
                    say(f"  step {match[1]} of {match[2]} done")
        finally:
            status = process.wait()  # an interrupted one, too, ends its steps first
    return [] if status == 0 else told or log.read_text().splitlines()[-15:]


def toc() -> dict[str, Any]:
    """``book/_toc.yml`` with a part for each paper that has notebooks, where it says ``papers``."""
    table = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    parts: list[dict[str, Any]] = []
    for part in table.get("parts", []):
        parts += _of_papers() if part["caption"] == "papers" else [part]
    return table | ({"parts": parts} if parts else {})


def _of_papers() -> list[dict[str, Any]]:
    """A part of the table of contents for each paper, from its folder and its toml file."""
    about = {file.stem: tomllib.loads(file.read_text()) for file in (ROOT / "fercore" / "papers").glob("*.toml")}
    parts = []
    for paper in sorted((name for name in about if "place" in about[name]), key=lambda name: about[name]["place"]):
        there = sorted(file.stem for file in (ROOT / "notebooks" / paper).glob("*.ipynb"))
        pages = [page for page in PAGES if page in there] + [page for page in there if page not in PAGES]
        chapters = [{"file": f"notebooks/{paper}/{page}"} for page in pages]
        parts += [{"caption": about[paper]["name"], "chapters": chapters}] if chapters else []
    return parts


def contents() -> list[str]:
    """Pages of the book in the order of :func:`toc`, as paths without suffix."""
    table = toc()
    chapters = [chapter for part in table.get("parts", [table]) for chapter in part.get("chapters", [])]
    return [table["root"], *(page["file"] for chapter in chapters for page in [chapter, *chapter.get("sections", [])])]


def notebooks() -> list[str]:
    """Notebooks of the book, as paths from the checkout without suffix (``notebooks/lan/method``)."""
    return [page for page in contents() if page.startswith("notebooks/")]


def stage(runs: Path, target: Path) -> None:
    """Lay out what the book is built from: prose, executed notebooks, the pages that are generated.

    ``runs`` is a preset's folder (``_runs/smoke``). ``target`` is replaced as a whole when everything is sound;
    otherwise it stays and :class:`FercoreError` lists every notebook that stands in the way, and why.
    """
    executed, wrong = {}, []
    for page in notebooks():
        try:
            executed[page] = _sound(runs / f"{page}.ipynb", ROOT / f"{page}.ipynb")
        except FercoreError as error:
            wrong.append(f"{page}: {error}")
    if wrong:
        listing = "\n  ".join(wrong)
        raise FercoreError(f"The book can't be staged:\n  {listing}", do="make book runs what is missing or outdated")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as aside:
        _write(Path(aside) / "src", executed)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(Path(aside) / "src", target)


def _sound(run: Path, source: Path) -> Any:
    """The executed notebook, if it may be shown."""
    if not run.is_file():
        raise FercoreError("it has not been executed")
    notebook = nbformat.read(run, as_version=4)
    error = failed_cell(notebook)
    if error or notebook.metadata.get("papermill", {}).get("exception"):
        raise FercoreError(f"it failed{f' in cell {error[0]!r}: {error[1]}' if error else ''}")
    made = notebook.metadata.get("fercore", {})
    if made.get("source_hash") != provenance.file_hash(source):
        raise FercoreError("its source has changed since it was executed")
    if made.get("code_hash") != provenance.files_hash(provenance.notebook_sources(source)):
        raise FercoreError("code that it uses has changed since it was executed")
    return notebook


def _write(tree: Path, executed: Mapping[str, Any]) -> None:
    # Imported here, not above: they take torch with them, and a make that has nothing to do need not wait for it.
    from fercore.book import cards, costs, equations, front, ledger
    from fercore.ledger import claims

    every = claims.load()
    shutil.copytree(ROOT / "book", tree / "book", ignore=shutil.ignore_patterns("records", ".*"))
    (tree / "book" / "_toc.yml").write_text(yaml.safe_dump(toc(), sort_keys=False))
    index = tree / "book" / "index.md"
    text = index.read_text()
    made = {FINDINGS: front.findings(every), GAINS: front.gains(every), PAGES_TABLE: front.pages()}
    for mark, written in made.items():
        text = text.replace(mark, written)
    index.write_text(text)
    front.draw(tree / "book" / "gains.png", every)
    pages = contents()
    generated = {"book/ledger": ledger.page(every), "book/equations": equations.page()}
    generated["book/execution"] = costs.execution_page(executed)
    generated |= {page: cards.card_page(Path(page).name) for page in pages if page.startswith("book/cards/")}
    for page in pages:
        path = tree / page
        path.parent.mkdir(parents=True, exist_ok=True)
        if page in executed:
            nbformat.write(_for_readers(executed[page], page), path.with_suffix(".ipynb"))
        elif page in generated:
            path.with_suffix(".md").write_text(generated[page])


def _for_readers(notebook: Any, page: str) -> Any:
    """Its time in the box below the title, drop-downs settled, what :data:`FOLDS` lists folded away."""
    from fercore.book import costs, made

    notebook.cells[0].source += f"\n>\n> {costs.time_line(page, notebook)}"
    notebook.cells = list(made.settle(notebook.cells))
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        for tag, fold, what in FOLDS:
            if tag in tags:
                cell.metadata |= {
                    "tags": [*dict.fromkeys([*tags, fold])],
                    "mystnb": cell.metadata.get("mystnb", {}) | {"code_prompt_show": what},
                }
    return notebook


def build(staged: Path, target: Path) -> Path:
    """Compile the staged tree with Jupyter Book, warnings as errors; returns the page to open.

    ``target`` (``_build/html``) is exchanged when the new book is complete, so a failed build leaves the old one
    readable.
    """
    staged, target = staged.resolve(), target.resolve()
    work = target.with_name(".work")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    log, made = work / "build.log", work / "_build" / "html"
    words = ["build", str(staged), "--path-output", str(work), "--config", str(ROOT / "_config.yml")]
    words += ["--toc", str(staged / "book" / "_toc.yml"), "-W", "-n", "--keep-going"]
    with open(log, "w") as file:
        done = subprocess.run(
            [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", *words],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "NO_COLOR": "1"},
        )
    if done.returncode or not (made / "index.html").is_file():
        text = ANSI.sub("", log.read_text()).replace(f"{staged}{os.sep}", "")
        told = [line for line in text.splitlines() if re.search(r"WARNING|ERROR|Exception|Error:", line)]
        lines = "\n  ".join(told[:12]) or text[-800:]
        raise FercoreError(f"The book does not compile:\n  {lines}", do=f"whole log: {relative(log)}")
    for page in notebooks():  # the download button gives the source, which runs, not the executed copy
        shutil.copyfile(ROOT / f"{page}.ipynb", made / "_sources" / f"{page}.ipynb")
    from fercore.book import finish  # needs what only the compiling of the book needs

    for page in made.rglob("*.html"):
        page.write_text(finish.finished(page.read_text()))
    (made / "records").mkdir()
    for record in records.find():  # the ledger leads to them, without a network, too
        shutil.copyfile(record.folder / "record.json", made / "records" / f"{record.name}.json")
    if target.exists():
        os.replace(target, work / "old")
    os.replace(made, target)
    shutil.rmtree(work, ignore_errors=True)
    return target / "index.html"
