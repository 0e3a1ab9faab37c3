"""The package's order: imports go one way, low layers stay light, every module says what it is."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from fercore.paths import ROOT
from fercore.provenance import imported_modules

ORDER = (
    *("errors", "paths", "provenance", "progress", "recipe", "evaluate", "records", "intervals"),
    *("heads", "data", "backbones", "papers", "training", "published", "ledger", "studies"),
    *("predict", "figures", "book", "notebook", "cli"),
)
"""First comes what others stand on. A module may import what comes before it, and its own package."""
HEAVY = {"matplotlib", "seaborn", "IPython", "papermill", "nbformat", "jupyter_client", "typer", "snakemake"}
"""What only figures, notebooks, the book and the command line may load when they are imported."""
MODULES = sorted(path for path in (ROOT / "fercore").rglob("*.py") if path.stat().st_size)


def layer(path: Path) -> str:
    return path.relative_to(ROOT / "fercore").with_suffix("").parts[0]


def name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_module(path: Path) -> None:
    source = path.read_text()
    tree = ast.parse(source)
    assert ast.get_docstring(tree), "a module begins with what it is"
    own = layer(path)
    targets = {target.split(".")[1] for target in imported_modules(source) if "." in target}
    if own == "__init__":
        assert not targets, "import fercore costs nothing"
        return
    assert targets | {own} <= set(ORDER), "give the new module its place in ORDER"
    later = {target for target in targets - {own} if ORDER.index(target) > ORDER.index(own)}
    assert not later, f"{own} stands below {later}"
    if ORDER.index(own) < ORDER.index("figures"):
        assert not HEAVY & loaded_at_import(tree)


def loaded_at_import(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_files_stay_readable() -> None:
    long = {name(path): lines for path in MODULES if (lines := len(path.read_text().splitlines())) > 450}
    assert not long


def test_a_make_with_nothing_to_do_waits_for_no_heavy_library() -> None:
    """The Snakefile and ``make book`` import these; torch alone takes as long as all the rest of such a make."""
    words = "import sys, fercore.book.site, fercore.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"torch", "pandas", "scipy", "matplotlib"} & set(loaded.stdout.split())
