"""From executed notebooks to book: the graph, the staged tree, the build.

The book is built from a *staged* tree, ``_build/src``, which repeats the
relative paths of the checkout: prose pages from ``book/``, executed notebooks
in place of their sources. Nothing that failed, is missing, or ran with other
code than the checkout's is staged.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import filelock
import yaml

from fercore import paths, provenance
from fercore.book.execute import ANSI, Say, failed_cell, notebook_code_hash, relative
from fercore.errors import FercoreError, ParameterError

PRESETS = ("smoke", "quick", "paper")


# ------------------------------------------------------------------ the graph


def make(preset: str, cores: int, *, say: Say = print) -> Path:
    """Bring the book up to date: run the Snakefile, show what matters, keep the whole log.

    One ``make`` at a time in a checkout; the lock is the operating system's,
    so an interrupted run leaves nothing to unlock. Finished notebooks stay, and the
    next call goes on from there. Raises :class:`FercoreError` when a step failed,
    after every other step that could run has run.
    """
    if preset not in PRESETS:
        raise ParameterError(f"There is no preset '{preset}'.", do=f"take one of: {', '.join(PRESETS)}")
    logs = paths.ROOT / "_runs" / preset / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(paths.ROOT / "_runs" / ".make.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise FercoreError("Another make book is at work in this checkout.", do="wait for it to end") from None
    with lock:
        told = _snakemake(preset, cores, logs / "snakemake.log", say)
    index = paths.ROOT / "_build" / "html" / "index.html"
    if told is None:
        return index
    what = "\n".join(["The book was not made.", *told])
    raise FercoreError(what, do=f"then make book goes on from here; whole log: {relative(logs)}/snakemake.log")


def _snakemake(preset: str, cores: int, log: Path, say: Say) -> list[str] | None:
    """None on success, else the error messages that the steps printed (lines that begin with ``!``)."""
    words = ["--cores", str(cores), "--config", f"preset={preset}", "--nolock", "--keep-going", "--rerun-incomplete"]
    words += ["--scheduler", "greedy"]
    told: list[str] = []
    with open(log, "w", encoding="utf-8", buffering=1) as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *words],
            cwd=paths.ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                file.write(line)
                if line.startswith("! "):
                    told.append(line[2:].rstrip("\n"))
                if line.startswith(("· ", "! ")) and line[2:3] != " ":
                    say(line.rstrip("\n"))
                elif match := re.match(r"(\d+) of (\d+) steps", line):
                    say(f"  step {match[1]} of {match[2]} done")
        except KeyboardInterrupt:
            process.wait()
            raise
        status = process.wait()
    return None if status == 0 else told or log.read_text().splitlines()[-15:]


# --------------------------------------------------------------- stage, build


def contents() -> list[str]:
    """Pages of the book in the order of ``book/_toc.yml``, as paths without suffix."""
    toc = yaml.safe_load((paths.ROOT / "book" / "_toc.yml").read_text())
    pages = [toc["root"]]

    def walk(entries: Sequence[Mapping[str, Any]]) -> None:
        for entry in entries:
            pages.extend([entry["file"]] if "file" in entry else [])
            walk(entry.get("sections", []))

    for part in toc.get("parts", [toc]):
        walk(part.get("chapters", []))
    return pages


def notebooks() -> list[str]:
    """Notebooks of the book, as paths from the checkout without suffix (``notebooks/lan/method``)."""
    return [page for page in contents() if page.startswith("notebooks/")]


def stage(runs: Path, target: Path) -> Path:
    """Lay out what the book is built from: prose, executed notebooks, the pages that are generated.

    ``runs`` is a preset's folder (``_runs/smoke``). ``target`` is replaced as a
    whole when everything is sound; otherwise it stays and :class:`FercoreError`
    lists every notebook that stands in the way, and why.
    """
    import nbformat

    executed, wrong = {}, []
    for page in notebooks():
        try:
            executed[page] = _sound(Path(runs) / f"{page}.ipynb", paths.ROOT / f"{page}.ipynb")
        except FercoreError as error:
            wrong.append(f"{page}: {error}")
    if wrong:
        listing = "\n  ".join(wrong)
        raise FercoreError(f"The book can't be staged:\n  {listing}", do="make book runs what is missing or outdated")
    target = Path(target)
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        shutil.copytree(paths.ROOT / "book", aside / "book", ignore=shutil.ignore_patterns("records", ".*"))
        for page, notebook in executed.items():
            (aside / page).parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(_for_readers(notebook, page), aside / f"{page}.ipynb")
        generated = _generated(executed)
        for page in generated.keys() & set(contents()):
            (aside / page).parent.mkdir(exist_ok=True)
            (aside / f"{page}.md").write_text(generated[page]())
        shutil.rmtree(target, ignore_errors=True)
        os.replace(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _generated(executed: Mapping[str, Any]) -> dict[str, Callable[[], str]]:
    """Pages that nobody writes by hand: name -> what gives its Markdown.

    Imported here, not above: they take torch with them, and a make that has nothing to do need not wait for it.
    """
    from fercore.book import cards, pages
    from fercore.data.twin_designs import DESIGNS

    return {
        "book/execution": partial(pages.execution_page, executed),
        "book/ledger": pages.ledger_page,
        "book/equations": pages.equations_page,
        **{f"book/cards/{name}": partial(cards.card_page, name) for name in DESIGNS},
    }


def _sound(run: Path, source: Path) -> Any:
    """The executed notebook, if it may be shown."""
    import nbformat

    if not run.is_file():
        raise FercoreError("it has not been executed")
    notebook = nbformat.read(run, as_version=4)
    error = failed_cell(notebook)
    if error or notebook.metadata.get("papermill", {}).get("exception"):
        raise FercoreError(f"it failed{f' in cell {error[0]!r}: {error[1]}' if error else ''}")
    made = notebook.metadata.get("fercore", {})
    if made.get("source_hash") != provenance.file_hash(source):
        raise FercoreError("its source has changed since it was executed")
    if made.get("code_hash") != notebook_code_hash(source):
        raise FercoreError("code that it uses has changed since it was executed")
    return notebook


def _for_readers(notebook: Any, page: str) -> Any:
    """Its cost below the title, drop-downs settled; defaults and what is glued folded away, other code in sight."""
    import nbformat

    from fercore.book import costs, made

    cost = nbformat.v4.new_markdown_cell(costs.page_line(page), id="cost")
    notebook.cells = list(made.settle([notebook.cells[0], cost, *notebook.cells[1:]]))
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        glues = any("scrapbook" in output.get("metadata", {}) for output in cell.get("outputs", []))
        if glues or "parameters" in tags:
            what = "where the numbers in the text come from" if glues else "parameters and what they mean"
            cell.metadata |= {"tags": [*tags, "hide-input"], "mystnb": {"code_prompt_show": f"Show {what}"}}
    return notebook


def build(staged: Path, target: Path) -> Path:
    """Compile the staged tree with Jupyter Book, warnings as errors; returns the page to open.

    ``target`` (``_build/html``) is exchanged when the new book is complete, so
    a failed build leaves the old one readable.
    """
    staged, target = Path(staged).resolve(), Path(target).resolve()
    work = target.with_name(".work")
    shutil.rmtree(work, ignore_errors=True)
    log = work / "build.log"
    work.mkdir(parents=True)
    words = ["build", str(staged), "--path-output", str(work), "--config", str(paths.ROOT / "_config.yml")]
    words += ["--toc", str(staged / "book" / "_toc.yml"), "-W", "-n", "--keep-going"]
    with open(log, "w") as file:
        done = subprocess.run(
            [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", *words],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "NO_COLOR": "1"},
        )
    text = ANSI.sub("", log.read_text())
    made = work / "_build" / "html"
    if done.returncode or not (made / "index.html").is_file():
        told = [line for line in text.splitlines() if re.search(r"WARNING|ERROR|Exception|Error:", line)]
        lines = "\n  ".join(line.replace(f"{staged}{os.sep}", "") for line in told[:12])
        raise FercoreError(f"The book does not compile:\n  {lines or text[-800:]}", do=f"whole log: {relative(log)}")
    for page in notebooks():  # the download button gives the source, which runs, not the executed copy
        shutil.copyfile(paths.ROOT / f"{page}.ipynb", made / "_sources" / f"{page}.ipynb")
    old = work / "old"
    if target.exists():
        os.replace(target, old)
    os.replace(made, target)
    shutil.rmtree(work, ignore_errors=True)
    return target / "index.html"
