"""What several test files share: the book, made once, and small notebooks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import pytest

from fercore import paths, provenance
from fercore.errors import FercoreError

HTML = paths.ROOT / "_build" / "html"


def fercore(*words: object, cwd: Path = paths.ROOT, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run the command line in a checkout, which may be a copy: its own package is the one imported."""
    return subprocess.run(
        [sys.executable, "-m", "fercore.cli", *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(cwd)},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


LONG = ("test_toy.py", "test_graph.py", "test_notebooks.py", "test_records.py", "test_unchanged.py", "test_fields.py")
"""Files that take minutes: they come first, so that no process waits for the other one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Whichever test asks for the book first waits for it: the limit of the others does not apply."""
    if "book" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.timeout(3600))


# mutmut's copies of files are a hundred times as long: they take minutes to parse.
if "MUTANT_UNDER_TEST" in os.environ:
    whole = provenance._bare
    provenance._bare = lambda path, time: f"{path.name} {time}" if path.stat().st_size > 10**5 else whole(path, time)

PLAIN = re.compile(
    r"; there are: |\bneeds? |, not |^There is no (metric|value|run) |^parameter|too (large|many) for|no vote for any|"
    r"has (not )?(been|changed)|^it failed|failed in |not tested on the same|is empty|can't be split|labels$|its own, "
)
"""Errors that say what is expected, and so what to do, in the sentence itself."""


@pytest.fixture(scope="session", autouse=True)
def an_error_says_what_to_do() -> Iterator[None]:
    """Whatever error a test meets is a sentence and says what to do: in words of its own, unless it is a plain one."""
    written = FercoreError.__init__

    def checked(self: FercoreError, what: str, *, do: str | None = None) -> None:
        assert isinstance(what, str) and what and not what.isupper(), what
        assert PLAIN.search(what) if do is None else re.fullmatch(r"[^A-Z].*([^.]|\.\.\.)", do, re.DOTALL), (what, do)
        written(self, what, do=do)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FercoreError, "__init__", checked)
        yield


@pytest.fixture(scope="session")
def book(pytestconfig: pytest.Config) -> Path:
    """The book at preset smoke, through the graph, as ``make book`` makes it; its lines appear as they come."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    words = [sys.executable, "-m", "fercore.cli", "book", "make", "--cores", os.environ.get("CORES", "2")]
    with capture.global_and_fixture_disabled(), filelock.FileLock(paths.ROOT / "_runs" / ".test.lock"):
        print("\n-- making the book", flush=True)
        status = subprocess.run(words, cwd=paths.ROOT).returncode
    if status:
        pytest.fail("make book failed; its message stands above", pytrace=False)
    return HTML


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Runs that are compared bit by bit, also with those of another process, use as many threads."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def write_notebook() -> Callable[..., Path]:
    """A function that writes a notebook: path, then its code cells; the first one holds the parameters."""

    def write(path: Path, *cells: str) -> Path:
        title = {"cell_type": "markdown", "id": "title", "metadata": {}, "source": "# A small notebook"}
        code = [
            {
                "cell_type": "code",
                "id": f"cell-{number}",
                "metadata": {"tags": ["parameters"]} if number == 0 else {},
                "source": source,
                "outputs": [],
                "execution_count": None,
            }
            for number, source in enumerate(cells)
        ]
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        notebook = {"cells": [title, *code], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(notebook))
        return path

    return write
