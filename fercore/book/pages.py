"""Pages of the book that nobody writes by hand: the ledger of claims, the list of equations, execution times."""

from __future__ import annotations

import ast
import importlib.metadata
import math
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from fercore import paths, provenance
from fercore.book import costs, made
from fercore.ledger import claims

BOOK_VERSIONS = ("jupyter-book", "papermill", "snakemake")

EQUATIONS = {
    "PATA": [f"Eq. ({k})" for k in range(1, 9)],
    "PhaNet": [f"Eq. ({k})" for k in range(1, 11)],
    "LAN": [f"Eq. ({k})" for k in range(1, 7)],
    "DML-Net": [*(f"Eq. ({k})" for k in range(1, 9)), "Algorithm 1", "Algorithm 2"],
    "PCDA": [f"Eq. ({k})" for k in range(1, 12)],
}
"""What has to be there: every numbered equation and algorithm of the five papers."""


def made_of(source: str, numbers: pd.DataFrame) -> str:
    """The drop-down of a generated page: what it was made from, the commit, the command, its tables as CSV."""
    lines = {
        "command": "<code>fercore book stage</code>, a step of <code>make book</code>",
        "made from": f"<code>{source}</code>",
        "commit": made.commit_text(provenance.commit()),
    }
    return made.details(lines, numbers)


# ---- equations -----------------------------------------------------------------------------------------------------


class Implementation(NamedTuple):
    """Where an equation lives: the formula of the docstring, the object, its file and line, tests that use it."""

    formula: str
    object: str
    file: str
    line: int
    tests: tuple[str, ...]


def implementations() -> dict[tuple[str, str], list[Implementation]]:
    """(paper, "Eq. (3)") -> objects whose docstring begins with it, from the sources of the package."""
    found: dict[tuple[str, str], list[Implementation]] = {}
    form = re.compile(rf"({'|'.join(EQUATIONS)}) (Eq\. \(\d+\)|Algorithm \d)(?:[^:]*):[^`]*(?:``(.+?)``)?", re.DOTALL)
    for path in sorted((paths.ROOT / "fercore").rglob("*.py")):
        for name, node in _objects(ast.parse(path.read_text())):
            text = ast.get_docstring(node) or ""
            for match in form.finditer(text):
                formula = re.search(r"``([^`]+)``", text[match.start() :])
                place = Implementation(
                    " ".join(formula[1].split()) if formula else "",
                    name,
                    path.relative_to(paths.ROOT).as_posix(),
                    node.lineno,
                    _tests_of(name.rpartition(".")[2] if name[0].islower() else name.partition(".")[0]),
                )
                found.setdefault((match[1], match[2]), []).append(place)
    return found


def _objects(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    """Functions, classes and methods with their names."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    for node in (n for n in tree.body if isinstance(n, kinds)):
        yield node.name, node
        if isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{n.name}", n) for n in node.body if isinstance(n, ast.FunctionDef))


def _tests_of(name: str) -> tuple[str, ...]:
    return tuple(test for test, words in _tests() if name in words)


@cache
def _tests() -> tuple[tuple[str, frozenset[str]], ...]:
    """Every test function with the names it uses; none where the tests are not at hand."""
    found = []
    for path in sorted((paths.ROOT / "tests").rglob("test_*.py")):
        for name, node in _objects(ast.parse(path.read_text())):
            if name.startswith("test_"):
                words = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
                words |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
                found.append((f"{path.name}::{name}", frozenset(words)))
    return tuple(found)


def equations_page() -> str:
    """Markdown of the list of equations; what no paper's module holds yet is called missing."""
    found = implementations()
    done = sum(key in found for key in ((paper, name) for paper, names in EQUATIONS.items() for name in names))
    lines = [
        "# Equations, code and tests",
        "",
        f"Every numbered equation and algorithm of the five papers: {done} of {sum(map(len, EQUATIONS.values()))} are "
        "implemented. The list is made from the docstrings of the package; the formula is as the code's own "
        "documentation writes it.",
    ]
    for paper, names in EQUATIONS.items():
        lines += ["", f"## {paper}", "", "| | formula | object, file and line | tests |", "| --- | --- | --- | --- |"]
        for name in names:
            places = found.get((paper, name), [])
            lines += [_equation_row(name, place) for place in places] or [f"| {name} | | *missing* | |"]
    rows = [
        {"paper": paper, "equation": name, **place._asdict()} for (paper, name), all_ in found.items() for place in all_
    ]
    return "\n".join([*lines, "", made_of("docstrings under fercore/", pd.DataFrame(rows)), ""])


def _equation_row(name: str, place: Implementation) -> str:
    tests = "<br>".join(f"`{test}`" for test in place.tests[:3]) or "*none*"
    more = f"<br>and {len(place.tests) - 3} more" if len(place.tests) > 3 else ""
    formula = f"`{place.formula.replace('|', chr(92) + '|')}`" if place.formula else ""
    return f"| {name} | {formula} | `{place.object}`<br>{place.file}, line {place.line} | {tests}{more} |"


# ---- ledger --------------------------------------------------------------------------------------------------------

LEDGER_INTRO = """\
---
html_theme.sidebar_secondary.remove: true
---

# The reproduction ledger

Every table, every figure and every headline number of the five papers is a claim. Here each stands beside what this
book measured: on the **real** data set, or on its rendered **twin**, never mixed. A verdict is computed, not written:

- **reproduced**: each published value that is compared lies inside our 95 % interval, on the same real data;
- **differs**: at least one lies outside;
- **not run**: the data are at hand (real or rendered), but no record holds the comparison yet;
- **data not at hand**: the claim is about licensed images that nobody ran here. A twin's number is shown beside it and
  decides nothing.

The published numbers are files of the package (`fercore/published/`), ours are [records](howto.md). `a of b` counts
the published values of a claim that real records could be held against. A number marked **stale** is from a record
that other code has made than what stands in this edition: it counts until the run is made again, as its command does.
"""


def ledger_page(root: Path | None = None) -> str:
    """Markdown of the ledger: a summary, then a table for each paper."""
    rows = claims.ledger_rows(root)
    counts = pd.crosstab(rows["paper"], rows["verdict"]).reindex(columns=list(claims.VERDICTS), fill_value=0)
    counts = counts.reindex(rows["paper"].unique())
    lines = [LEDGER_INTRO, "| paper | " + " | ".join(counts.columns) + " |", "| --- |" + " ---: |" * counts.shape[1]]
    lines += [
        f'| <a href="#{paper.lower()}">{paper}</a> | ' + " | ".join(map(str, row)) + " |"
        for paper, row in zip(counts.index, counts.to_numpy(), strict=True)
    ]
    for paper, group in rows.groupby("paper", sort=False):
        lines += ["", f"## {paper}", "", "| claim | published | real | twin | compared | verdict | how |"]
        lines += [
            "| --- | --- | --- | --- | ---: | --- | --- |",
            *(_ledger_row(row) for row in group.to_dict("records")),
        ]
    return "\n".join([*lines, "", made_of("fercore/published, book/records", rows), ""])


def _ledger_row(row: Mapping[str, Any]) -> str:
    how = [_shown_at(row["notebook"], row["cell"])]
    old = row["stale"].split(", ")
    how += [_record_link(name) + " **stale**" * (name in old) for name in row["record"].split(", ") if name]
    how += [f"`{row['command']}`"] if row["command"] else []
    published = f"{row['published']}<br>{row['headline']}" if row["published"] else ""
    cells = (
        f"**{row['claim']}**<br>{row['title']}", published, _ours(row, "real"), _ours(row, "twin"),
        row["judged"], row["verdict"], "<br>".join(how),
    )  # fmt: skip
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _shown_at(notebook: str, cell: str) -> str:
    """A link to the cell that shows a claim; to its page where no cell does; words where the page is not written."""
    page = notebook.removesuffix(".ipynb")
    if not (paths.ROOT / "notebooks" / notebook).is_file():
        return f"{page}: not written yet"
    if not cell:
        return f"{{doc}}`{page} </notebooks/{page}>`, not shown there yet"
    return f'<a href="../notebooks/{page}.html#{cell}">{page}, {cell}</a>'


def _record_link(name: str) -> str:
    """A link to a record in the repository."""
    repository = yaml.safe_load((paths.ROOT / "_config.yml").read_text())["repository"]
    return f'<a href="{repository["url"]}/tree/{repository["branch"]}/book/records/{name}">record {name}</a>'


def _ours(row: Mapping[str, Any], kind: str) -> str:
    """A number of ours with its interval, preset and seeds, marked where a record behind it is stale."""
    value, low, high = (row[f"{kind} {part}"] for part in ("value", "low", "high"))
    if math.isnan(value):
        return ""
    interval = "" if math.isnan(low) else f" [{low:.1f}, {high:.1f}]"
    seeds, folds = row[f"{kind} seeds"], row[f"{kind} folds"]
    if not seeds:  # a size, which is counted and not trained
        return f"{value:.2f}<br>{row[f'{kind} preset']}"
    runs = f"{seeds} seed{'s' * (seeds != 1)}" + (f", {folds} fold{'s' * (folds != 1)}" if kind == "twin" else "")
    mark = "<br>**stale**" if row[f"{kind} stale"] else ""
    return f"{value:.2f}{interval}<br>{row[f'{kind} preset']}, {runs}{mark}"


# ---- execution times -----------------------------------------------------------------------------------------------


def execution_page(executed: Mapping[str, Any]) -> str:
    """Markdown of the page of execution times, from the notebooks' own metadata."""
    rows, total = [], 0.0
    for page, notebook in executed.items():
        run, made = notebook.metadata["papermill"], notebook.metadata["fercore"]
        total += run["duration"]
        preset = made["parameters"].get("preset", "–")
        rows.append(
            f"| {{doc}}`/{page}` | {preset} | {run['duration']:.0f} | {made['peak_mib']} | {run['end_time'][:10]} |"
        )
    first = next(iter(executed.values())).metadata["fercore"]
    versions = first["versions"] | {name: importlib.metadata.version(name) for name in BOOK_VERSIONS}
    return "\n".join(
        [
            "# Execution times and versions",
            "",
            f"Every page that computes was executed by papermill for this build, in {total / 60:.1f} minutes of kernel",
            "time altogether. The table is read from the executed notebooks' own metadata.",
            "",
            "| notebook | preset | seconds | peak memory, MiB | date |",
            "| --- | --- | ---: | ---: | --- |",
            *rows,
            "",
            f"Machine: {first['machine']}.",
            "",
            "| package | version |",
            "| --- | --- |",
            *[f"| {name} | {version} |" for name, version in versions.items()],
            "",
            "What fits into a given time, by these and earlier measurements: `fercore plan --budget 30m`.",
            "",
            made_of("the executed notebooks, book/records/costs.csv", costs.table()),
            "",
        ]
    )
