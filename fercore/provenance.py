"""What a result was made from: source files, versions, machine.

Two things are keyed on the *closure* of a piece of code, that is on every ``fercore`` source file it can import: the
record of a training run, and the decision whether a notebook must run again. Both use :func:`sources`.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import io
import os
import platform
import subprocess
import tokenize
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from fercore.paths import ROOT, relative


def _module_file(name: str) -> Path | None:
    base = os.path.join(ROOT, *name.split("."))  # asked often: a Path for each would be most of the time
    return next((Path(path) for path in (f"{base}.py", f"{base}/__init__.py") if os.path.isfile(path)), None)


def imported_modules(source: str) -> set[str]:
    """Names of the ``fercore`` modules that ``source`` imports anywhere, functions included.

    ``from fercore.data import prepared`` gives both ``fercore.data`` and ``fercore.data.prepared`` when the latter is a
    module. Imports relative to a package are not followed; the linter refuses them.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
    return {name for name in found if name.split(".")[0] == "fercore" and _module_file(name)}


@cache
def _direct(path: Path, _mtime: int) -> set[str]:
    return imported_modules(path.read_text())


def sources(modules: Iterable[str]) -> list[Path]:
    """Every ``fercore`` source file that ``modules`` (dotted names) reach by import, sorted.

    A package's ``__init__`` counts with each of its modules, because Python runs it first.
    """
    todo, seen = list(modules), set()
    while todo:
        name = todo.pop()
        path = _module_file(name)
        if path is None or path in seen:
            continue
        seen.add(path)
        todo.extend(_direct(path, path.stat().st_mtime_ns))
        todo.append(name.rpartition(".")[0])
    return sorted(seen)


def notebook_sources(path: Path) -> list[Path]:
    """Every ``fercore`` source file that a notebook's code cells reach by import."""
    import nbformat

    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    lines = [line for cell in cells for line in cell.splitlines() if not line.lstrip().startswith(("%", "!"))]
    return sources(imported_modules("\n".join(lines)))


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_hash(files: Iterable[Path]) -> str:
    """One hash over the names and contents of files; 16 hexadecimal digits."""
    lines = [f"{relative(path)} {file_hash(path)}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def without_docstrings(source: str) -> str:
    """Source without docstrings and the empty lines that they leave."""
    lines = source.splitlines()
    texts = [node for node in ast.walk(ast.parse(source)) if _is_text(node)]
    for node in sorted(texts, key=lambda node: node.lineno, reverse=True):
        rest = lines[node.end_lineno :]
        lines[node.lineno - 1 :] = rest[1:] if rest and not rest[0].strip() else rest
    return "\n".join(lines)


def bare_code(source: str) -> str:
    """Source without comments, docstrings, imports and empty lines: what it does, not what it says.

    Imports are left out because what they bring is counted on its own: our modules by the closure, libraries by their
    versions. Which name stands for what stays, without its place.
    """
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if _is_text(node) or isinstance(node, ast.Import | ast.ImportFrom):
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
        for alias in getattr(node, "names", []) if isinstance(node, ast.Import | ast.ImportFrom) else []:
            if (name := alias.name.rpartition(".")[2]) != (alias.asname or name):
                lines.append(f"{name} as {alias.asname}")
    return "\n".join(line.rstrip() for line in lines if line.strip())


@cache
def _bare(path: Path, _mtime: int) -> str:
    return bare_code(path.read_text())


def code_hash(modules: Iterable[str], *, files: Iterable[Path] = ()) -> str:
    """One SHA-256 over what the code does: 16 hexadecimal digits.

    Over :func:`bare_code` of ``files`` and of all :func:`sources` of ``modules``, in an order that does not depend on
    where they lie: an edited comment or docstring changes nothing, nor does a file that moves.
    """
    bare = {_bare(path, path.stat().st_mtime_ns) for path in {*sources(modules), *files}}
    each = sorted(hashlib.sha256(code.encode()).hexdigest() for code in bare if code)
    return hashlib.sha256("".join(each).encode()).hexdigest()[:16]


def code_of(paper: str) -> str:
    """Hash of the code that a run of a paper goes through once its data are prepared; what made the data is in theirs.

    This module belongs to nothing that is hashed, so that a place may change here.
    """
    names = ("training.loop", "training.testing", "data.parts", "backbones.weights", f"papers.{paper}")
    return code_hash((f"fercore.{part}" for part in names), files=[ROOT / "fercore" / "training" / "experiments.py"])


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that a number can depend on."""
    names = ("fercore", "torch", "torchvision", "accelerate", "numpy", "scipy", "scikit-learn", "pandas", "numba")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}


def commit() -> dict[str, str | bool | None]:
    """The checkout's commit and whether tracked files differ from it; None where git is absent."""

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    status = git("status", "--porcelain", "--untracked-files=no")
    return {"id": git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


def machine() -> dict[str, str | int]:
    """The machine in words: processor, its instructions, cores that this process may use, system, GPU if there is one.

    Threads and instructions (AVX2, AVX512 ...) decide in which order sums are taken, and so the last bits of a result.
    """
    import torch

    return {
        "processor": platform.processor() or platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }
