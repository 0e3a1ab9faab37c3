"""Execute notebooks with papermill, safely.

Papermill alone only logs a misspelt parameter and leaves a broken output
behind. Here parameters are held against the notebook before anything runs,
and a notebook is executed under a hidden name that becomes its own only when
every cell succeeded.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import hashlib
import json
import logging
import os
import platform
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from fercore import paths, provenance
from fercore.errors import FercoreError, ParameterError

ANSI = re.compile(r"\x1b\[[0-9;]*m")
HEARTBEAT = 60.0
"""Seconds between two lines that say a long notebook is still running."""
Say = Callable[[str], None]


# ---------------------------------------------------------------- parameters


def parameters_of(source: Path) -> dict[str, dict[str, str]]:
    """Parameters of a notebook by name: type, default and comment, as papermill reads them.

    Raises :class:`FercoreError` for a file that is no notebook.
    """
    import papermill

    if not source.is_file():
        raise FercoreError(f"There is no notebook {source}.", do="name one of the files under notebooks/")
    try:
        with _quiet():
            found = papermill.inspect_notebook(str(source))
    except Exception as error:
        raise FercoreError(f"{source} can't be read as a notebook: {error}", do="restore the file") from error
    return {
        name: {"type": _type_name(entry), "default": entry["default"], "help": entry["help"]}
        for name, entry in found.items()
    }


def _type_name(entry: Mapping[str, str]) -> str:
    if entry["inferred_type_name"] != "None":
        return entry["inferred_type_name"].strip()
    try:
        return type(ast.literal_eval(entry["default"])).__name__
    except (ValueError, SyntaxError):
        return "any"


def check_parameters(source: Path, parameters: Mapping[str, Any]) -> None:
    """Hold parameters against those that the notebook declares, before anything runs.

    Raises :class:`~fercore.errors.ParameterError` for a name that does not
    exist (with the closest one and the list of all) or a value of another type.
    """
    known = parameters_of(source)
    for name, value in parameters.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            listing = ", ".join(f"{key}: {entry['type']}" for key, entry in known.items()) or "none"
            raise ParameterError(f"{source.name} has no parameter '{name}'.{hint}", do=f"take one of: {listing}")
        if not fits(value, known[name]["type"]):
            raise ParameterError(
                f"{source.name}: parameter '{name}' must be {known[name]['type']}, "
                f"but {value!r} is {type(value).__name__}.",
                do=f"give a value such as {known[name]['default']}",
            )


def fits(value: Any, declared: str) -> bool:
    """Whether a value has a declared type such as ``int``, ``float``, ``str`` or ``Optional[str]``."""
    if declared.startswith("Optional["):
        return value is None or fits(value, declared[len("Optional[") : -1])
    base = declared.partition("[")[0].strip()
    if base in ("int", "float"):
        kinds = (int,) if base == "int" else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool)
    kind = {"str": str, "bool": bool, "list": list, "tuple": (list, tuple), "dict": dict}.get(base)
    return kind is None or isinstance(value, kind)


def parse_parameters(source: Path, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Turn the command line's ``-p NAME VALUE`` into typed values; a ``str`` parameter keeps its text as it is."""
    known = parameters_of(source)
    parsed: dict[str, Any] = {}
    for name, text in pairs:
        if known.get(name, {}).get("type") == "str":
            parsed[name] = text
            continue
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        parsed[name] = text if value is None and text != "None" else None if text == "None" else value
    check_parameters(source, parsed)
    return parsed


# ------------------------------------------------------------------- execute


def run_notebook(
    source: Path, target: Path, parameters: Mapping[str, Any], *, log: Path | None = None, say: Say = print
) -> Path:
    """Execute ``source`` with papermill; ``target`` appears only when every cell succeeded.

    On failure the broken notebook is kept as ``<name>.failed.ipynb`` beside the
    log (or beside the target) and :class:`FercoreError` names the cell, the
    last line of its error, and where to look.
    """
    source, target = Path(source), Path(target)
    check_parameters(source, parameters)
    if source.resolve() == target.resolve():
        raise FercoreError(f"{target} is the source itself.", do="name another output file")
    name = relative(source)
    failed = (log or target).with_name(f"{target.stem}.failed.ipynb")
    aside = target.with_name(f".{target.stem}.{os.getpid()}.ipynb")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        failed.unlink(missing_ok=True)
        with _logging_to(log), _heartbeat(name, aside, say):
            _papermill(source, aside, parameters)
        _stamp(aside, source, parameters)
        os.replace(aside, target)
    except FercoreError:
        raise
    except OSError as error:
        raise FercoreError(
            f"{target} can't be written: {error}", do="free some space or name another folder"
        ) from error
    except Exception as error:
        if aside.exists():
            failed.parent.mkdir(parents=True, exist_ok=True)
            os.replace(aside, failed)
        raise _failure(name, failed, error, log) from error
    finally:
        aside.unlink(missing_ok=True)
    return target


def _papermill(source: Path, target: Path, parameters: Mapping[str, Any]) -> None:
    import papermill
    from jupyter_client.manager import AsyncKernelManager

    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # the kernel of this environment, never one of the user's home
    os.environ["FERCORE_PROGRESS"] = "0"  # a page keeps no bars; the heartbeat tells where a long notebook is
    os.environ["FERCORE_NOTEBOOK"] = relative(source)  # for the command in its drop-downs
    with _quiet(), tempfile.TemporaryDirectory(prefix="fercore-") as sockets:

        class LocalKernel(AsyncKernelManager):  # parallel kernels race for TCP ports, not for sockets of their own
            transport = "ipc"
            ip = f"{sockets}/kernel"

        papermill.execute_notebook(
            str(source),
            str(target),
            dict(parameters),
            progress_bar=False,
            log_output=True,
            start_timeout=180,
            kernel_manager_class=LocalKernel,
        )


def _stamp(path: Path, source: Path, parameters: Mapping[str, Any]) -> None:
    """Write into the executed notebook what it was made from; :func:`stage` reads it back."""
    import resource

    import nbformat

    notebook = nbformat.read(path, as_version=4)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    notebook.metadata["fercore"] = {
        "source": relative(source),
        "source_hash": provenance.file_hash(source),
        "code_hash": notebook_code_hash(source),
        "parameters": dict(parameters),
        "commit": str(provenance.commit()["id"]),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit),
        "versions": provenance.versions(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
    notebook.metadata["papermill"].update(input_path=relative(source), output_path="")
    nbformat.write(notebook, path)


def notebook_code_hash(source: Path) -> str:
    """One hash over every ``fercore`` file that the notebook reaches by import; 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in provenance.notebook_sources(source):
        digest.update(f"{path.relative_to(paths.ROOT).as_posix()} {provenance.file_hash(path)}\n".encode())
    return digest.hexdigest()[:16]


def failed_cell(notebook: Any) -> tuple[str, str] | None:
    """Id of the first cell with an error among its outputs, and the error's last line; None where all is well."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                text = f"{output['ename']}: {output['evalue']}".strip()
                return cell.get("id", "?"), ANSI.sub("", text)
    return None


def _failure(name: str, failed: Path, error: Exception, log: Path | None) -> FercoreError:
    import nbformat

    where, line = "", f"{type(error).__name__}: {error}".strip().splitlines()[-1]
    if "DeadKernel" in type(error).__name__:
        line = "the kernel died; most often the machine had no memory left"
    with contextlib.suppress(Exception):
        found = failed_cell(nbformat.read(failed, as_version=4))
        if found:
            where, line = f" in cell '{found[0]}'", found[1]
    places = [f"the notebook as far as it came: {relative(failed)}"] if failed.exists() else []
    places += [f"log: {relative(log)}"] if log else []
    return FercoreError(f"{name} failed{where}: {line}", do="mend the cause and run it again; " + "; ".join(places))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep papermill's own lines out of the terminal; they still reach the log."""
    logger = logging.getLogger("papermill")
    before, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = before


@contextlib.contextmanager
def _logging_to(log: Path | None) -> Iterator[None]:
    if log is None:
        yield
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(log, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("papermill")
    logger.setLevel(logging.INFO)
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


def relative(path: Path) -> str:
    with contextlib.suppress(ValueError):
        return Path(path).resolve().relative_to(paths.ROOT).as_posix()
    return str(path)
