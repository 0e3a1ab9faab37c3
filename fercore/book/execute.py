"""Execute notebooks with papermill, safely.

Parameters are checked before anything runs (:mod:`fercore.book.parameters`), and a notebook is executed under a hidden
name that becomes its own only when every cell succeeded: papermill alone leaves a broken output behind.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import re
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat

from fercore import provenance
from fercore.book.parameters import Parameter, check, declared
from fercore.errors import FercoreError
from fercore.paths import relative
from fercore.recipe import value_of

ANSI = re.compile(r"\x1b\[[0-9;]*m")
HEARTBEAT = 60.0
"""Seconds between two lines that say a long notebook is still running."""
Say = Callable[[str], None]


def parameters_of(source: Path) -> dict[str, Parameter]:
    """Parameters of a notebook by name; a file that is no notebook is a :class:`FercoreError`."""
    if not source.is_file():
        raise FercoreError(f"There is no notebook {source}.", do="name one of the files under notebooks/")
    try:
        cells = nbformat.read(source, as_version=4).cells
        return declared(next((cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])), ""))
    except Exception as error:
        raise FercoreError(f"{source} can't be read as a notebook: {error}", do="restore the file") from error


def parse_parameters(source: Path, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Turn the command line's ``-p NAME VALUE`` into typed values; a ``str`` parameter keeps its text as it is."""
    texts = {name for name, parameter in parameters_of(source).items() if parameter.type == "str"}
    return {name: text if name in texts else value_of(text) for name, text in pairs}


def run_notebook(
    source: Path, target: Path, parameters: Mapping[str, Any], *, log: Path | None = None, say: Say = print
) -> None:
    """Execute ``source`` with papermill; ``target`` appears only when every cell succeeded.

    On failure the broken notebook is kept as ``<name>.failed.ipynb`` beside the log (or beside the target) and
    :class:`FercoreError` names the cell, the last line of its error, and where to look.
    """
    check(source.name, parameters, parameters_of(source))
    if source.resolve() == target.resolve():
        raise FercoreError(f"{target} is the source itself.", do="name another output file")
    name, start = relative(source), time.monotonic()
    say(f"{name}: running with {', '.join(f'{k}={v!r}' for k, v in parameters.items()) or 'its defaults'}")
    failed = (log or target).with_name(f"{target.stem}.failed.ipynb")
    aside = target.with_name(f".{target.stem}.{os.getpid()}.ipynb")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        failed.unlink(missing_ok=True)
        with _logging_to(log), _heartbeat(name, aside, say):
            _papermill(source, aside, parameters)
        _stamp(aside, source, parameters)
        os.replace(aside, target)
    except OSError as error:
        do = "free some space or name another folder"
        raise FercoreError(f"{target} can't be written: {error}", do=do) from error
    except Exception as error:
        if aside.exists():
            os.replace(aside, failed)
        raise _failure(name, failed, error, log) from error
    finally:
        aside.unlink(missing_ok=True)
    say(f"{name}: done in {time.monotonic() - start:.0f} s -> {relative(target)}")


def _papermill(source: Path, target: Path, parameters: Mapping[str, Any]) -> None:
    import papermill
    from traitlets.config import Config

    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # the kernel of this environment, never one of the user's home
    os.environ["FERCORE_PROGRESS"] = "0"  # a page keeps no bars; the heartbeat tells where a long notebook is
    os.environ["FERCORE_NOTEBOOK"] = relative(source)  # for the command in its drop-downs
    with tempfile.TemporaryDirectory(prefix="fercore-") as folder:
        # Parallel kernels race for TCP ports, not for sockets of their own.
        sockets = Config(AsyncKernelManager={"transport": "ipc", "ip": f"{folder}/kernel"})
        papermill.execute_notebook(
            source, target, dict(parameters), progress_bar=False, log_output=True, start_timeout=180, config=sockets
        )


def _stamp(path: Path, source: Path, parameters: Mapping[str, Any]) -> None:
    """Write into the executed notebook what it was made from; :func:`fercore.book.site.stage` reads it back."""
    notebook = nbformat.read(path, as_version=4)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    notebook.metadata["fercore"] = {
        "source": relative(source),
        "source_hash": provenance.file_hash(source),
        "code_hash": provenance.files_hash(provenance.notebook_sources(source)),
        "parameters": dict(parameters),
        "commit": str(provenance.commit()["id"]),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit),
        "versions": provenance.versions(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
    notebook.metadata["papermill"].update(input_path=relative(source), output_path="")
    nbformat.write(notebook, path)


def failed_cell(notebook: Any) -> tuple[str, str] | None:
    """Id of the first cell with an error among its outputs, and the error's last line; None where all is well."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                return cell.get("id", "?"), ANSI.sub("", f"{output['ename']}: {output['evalue']}".strip())
    return None


def _failure(name: str, failed: Path, error: Exception, log: Path | None) -> FercoreError:
    where, line = "", f"{type(error).__name__}: {error}".strip().splitlines()[-1]
    if "DeadKernel" in type(error).__name__:
        line = "the kernel died; most often the machine had no memory left"
    do = "mend the cause and run it again"
    if failed.exists():
        do += f"; the notebook as far as it came: {relative(failed)}"
        if found := failed_cell(nbformat.read(failed, as_version=4)):
            where, line = f" in cell '{found[0]}'", found[1]
    return FercoreError(f"{name} failed{where}: {line}", do=do + (f"; log: {relative(log)}" if log else ""))


@contextlib.contextmanager
def _logging_to(log: Path | None) -> Iterator[None]:
    """Send papermill's own lines to the log, or nowhere, instead of the terminal."""
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(log or os.devnull, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("papermill")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


@contextlib.contextmanager
def _heartbeat(name: str, running: Path, say: Say) -> Iterator[None]:
    """Say every minute which cell a long notebook has reached (papermill saves after each)."""
    done, start = threading.Event(), time.monotonic()

    def beat() -> None:
        while not done.wait(HEARTBEAT):
            with contextlib.suppress(OSError, ValueError):
                cells = [cell for cell in json.loads(running.read_text())["cells"] if cell["cell_type"] == "code"]
                ready = sum(cell["metadata"].get("papermill", {}).get("status") == "completed" for cell in cells)
                say(f"{name}: {(time.monotonic() - start) / 60:.0f} min, {ready} of {len(cells)} code cells done")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
