"""The graph: it does what has become necessary and nothing else, and survives failure and interruption."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import HTML, fercore

from fercore.book.site import notebooks
from fercore.paths import ROOT

pytestmark = pytest.mark.slow
LEFT_OUT = {
    ".git", ".venv", ".venv-uv", "_build", "_data", "_runs", "mutants", ".snakemake", "__pycache__", "fercore.egg-info",
}  # fmt: skip


def copy_checkout(target: Path) -> Path:
    """The checkout as it lies there, with its times, without what was made."""
    skip = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "*.egg-info")
    for entry in ROOT.iterdir():
        if entry.name in LEFT_OUT:
            continue
        if entry.is_dir():
            shutil.copytree(entry, target / entry.name, ignore=skip)
        else:
            target.mkdir(exist_ok=True)
            shutil.copy2(entry, target / entry.name)
    return target


def planned(checkout: Path) -> set[str]:
    """What the graph would write, found by a dry run."""
    words = ["--cores", "2", "--dry-run", "--nolock", "--scheduler", "greedy", "--config", "preset=smoke"]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *words],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return set(re.findall(r"^ +output: (\S+)$", done.stdout, re.MULTILINE))


@pytest.fixture(scope="module")
def made(book: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout after ``make book``, with the graph's own memory of what it made."""
    target = copy_checkout(tmp_path_factory.mktemp("made") / "checkout")
    shutil.copytree(ROOT / ".snakemake", target / ".snakemake")
    shutil.copytree(ROOT / "_runs" / "smoke", target / "_runs" / "smoke")
    for stamp in ("_build/src/staged.txt", "_build/html/built.txt"):
        (target / stamp).parent.mkdir(parents=True)
        shutil.copy2(ROOT / stamp, target / stamp)
    return target


def edited(path: Path) -> str:
    """Append a comment; gives the text of before."""
    text = path.read_text()
    path.write_text(f"{text}\n# An edit.\n")
    return text


def executions(plan: set[str]) -> set[str]:
    return {path.removeprefix("_runs/smoke/").removesuffix(".ipynb") for path in plan if path.endswith(".ipynb")}


def test_second_make_does_nothing(book: Path) -> None:
    stamp = HTML / "built.txt"
    before = stamp.stat().st_mtime_ns
    done = fercore("book", "make")
    assert done.returncode == 0 and "up to date" in done.stdout
    assert "·" not in done.stdout and stamp.stat().st_mtime_ns == before


def test_nothing_is_planned_after_a_make(made: Path) -> None:
    assert planned(made) == set()


def test_edit_of_lan_runs_only_lan(made: Path) -> None:
    path = made / "fercore" / "papers" / "lan.py"
    before = edited(path)
    plan = planned(made)
    path.write_text(before)
    of_lan = {name for name in notebooks() if name.startswith("notebooks/lan/")}
    assert executions(plan) == of_lan - {"notebooks/lan/figures"}, "figures are drawn from records alone"
    assert {"_build/src/staged.txt", "_build/html/built.txt"} <= plan
    assert not [path for path in plan if "/data/" in path], "no data set is prepared again"


def test_edit_of_a_page_runs_no_notebook(made: Path) -> None:
    path = made / "book" / "notation.md"
    before = edited(path)
    plan = planned(made)
    path.write_text(before)
    assert plan == {"_build/src/staged.txt", "_build/html/built.txt"}


def test_edit_of_a_notebook_runs_that_one(made: Path) -> None:
    path = made / "notebooks" / "data" / "heads.ipynb"
    text = path.read_text()
    path.write_text(text.replace('"cells": [', '"cells": [ ', 1))
    plan = planned(made)
    path.write_text(text)
    assert executions(plan) == {"notebooks/data/heads"}


TOC = """format: jb-book
root: book/index
chapters:
  - file: notebooks/good
  - file: notebooks/other
  - file: book/execution
"""
PARAMETERS = 'preset: str = "smoke"  # smoke | quick | paper'
WAITING = "import pathlib, time\nwhile not pathlib.Path('go').exists():\n    time.sleep(0.2)"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout whose book has two small notebooks; the tests below go on from each other."""
    target = copy_checkout(tmp_path_factory.mktemp("small") / "checkout")
    shutil.rmtree(target / "notebooks")
    (target / "book" / "_toc.yml").write_text(TOC)
    (target / "book" / "index.md").write_text("# A small book\n\nText.\n")
    return target


def test_interrupted_make_leaves_nothing_half_written(small: Path, write_notebook: Callable[..., Path]) -> None:
    write_notebook(small / "notebooks" / "good.ipynb", PARAMETERS, "print('good')")
    write_notebook(small / "notebooks" / "other.ipynb", PARAMETERS, WAITING)
    process = subprocess.Popen(
        [sys.executable, "-m", "fercore.cli", "book", "make"],
        cwd=small,
        env={**os.environ, "PYTHONPATH": str(small)},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    good = small / "_runs" / "smoke" / "notebooks" / "good.ipynb"
    log = small / "_runs" / "smoke" / "logs" / "snakemake.log"
    limit = time.monotonic() + 180
    while not (log.exists() and "1 of 5 steps" in log.read_text()) and time.monotonic() < limit:
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (small / "go").touch()  # a kernel that outlived its parent ends
    assert good.is_file() and not (good.parent / "other.ipynb").exists()


def test_failed_notebook_never_reaches_the_book(small: Path, write_notebook: Callable[..., Path]) -> None:
    good = small / "_runs" / "smoke" / "notebooks" / "good.ipynb"
    before = good.stat().st_mtime_ns
    write_notebook(small / "notebooks" / "other.ipynb", PARAMETERS, "raise ValueError('spoilt')")
    done = fercore("book", "make", cwd=small)
    assert done.returncode == 2
    assert "notebooks/other.ipynb failed in cell 'cell-1': ValueError: spoilt" in done.stderr
    assert "_runs/smoke/logs/other.log" in done.stderr and "Traceback" not in done.stderr
    assert good.stat().st_mtime_ns == before, "what was finished before the interruption is kept"
    assert (small / "_runs" / "smoke" / "logs" / "other.failed.ipynb").is_file()
    assert not (good.parent / "other.ipynb").exists() and not (small / "_build" / "html").exists()


def test_make_goes_on_after_the_cause_is_mended(small: Path, write_notebook: Callable[..., Path]) -> None:
    write_notebook(small / "notebooks" / "other.ipynb", PARAMETERS, "print('mended')")
    done = fercore("book", "make", cwd=small)
    assert done.returncode == 0, done.stderr
    assert "notebooks/other.ipynb: done" in done.stdout and "notebooks/good.ipynb: running" not in done.stdout
    assert "mended" in (small / "_build" / "html" / "notebooks" / "other.html").read_text()


def test_warning_stops_the_book_and_the_old_one_stays(small: Path) -> None:
    (small / "book" / "index.md").write_text("# A small book\n\nSee {doc}`nowhere`.\n")
    done = fercore("book", "make", cwd=small)
    assert done.returncode == 2 and "book/index.md" in done.stderr and "nowhere" in done.stderr
    assert "mended" in (small / "_build" / "html" / "notebooks" / "other.html").read_text()


def test_two_makes_at_once(small: Path) -> None:
    import filelock

    with filelock.FileLock(small / "_runs" / ".make.lock"):
        done = fercore("book", "make", cwd=small)
    assert done.returncode == 2 and "Another make book is at work" in done.stderr
