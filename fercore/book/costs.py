"""What things cost: measured minutes and memory of notebooks and trainings, and what fits into a budget.

Of notebooks, ``book/records/costs.csv`` holds the last measured execution at each preset; ``fercore book costs`` writes
it from the executed notebooks' own metadata. Of trainings, the reference records say it themselves.
"""

from __future__ import annotations

import importlib.metadata
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fercore import paths, records
from fercore.book import made, markdown
from fercore.errors import FercoreError, ParameterError
from fercore.recipe import PRESETS

FILE = Path("book/records/costs.csv")
COLUMNS = ("notebook", "preset", "seconds", "peak_mib", "cores", "machine", "date", "commit")
BOOK_VERSIONS = ("jupyter-book", "papermill", "snakemake")
WORDS_A_MINUTE = 200
"""How fast such a text is read."""
UNITS = {"s": 1, "m": 60, "h": 3600}


def table() -> pd.DataFrame:
    """The measured costs of notebooks, one row per notebook and preset."""
    file = paths.ROOT / FILE
    return pd.read_csv(file, dtype={"commit": str}) if file.exists() else pd.DataFrame(columns=list(COLUMNS))


def write(runs: Path, pages: Sequence[str]) -> pd.DataFrame:
    """Measure: put what the executed notebooks under ``runs`` took into the file; other presets' rows stay."""
    import nbformat

    found = []
    for page in pages:
        if (path := runs / f"{page}.ipynb").is_file():
            told = nbformat.read(path, as_version=4).metadata
            run, own = told["papermill"], told["fercore"]
            machine, _, cores = own["machine"].rpartition(", ")
            row = (page, own["parameters"]["preset"], round(run["duration"], 1), own["peak_mib"], int(cores.split()[0]))
            found.append((*row, machine, run["end_time"][:10], own["commit"][:10]))
    if not found:
        raise FercoreError(
            f"No executed notebook of the book lies in {runs}.", do="make the book first, or name _runs/PRESET"
        )
    both = pd.concat([table(), pd.DataFrame(found, columns=list(COLUMNS))])
    kept = both.drop_duplicates(["notebook", "preset"], keep="last")
    place = {name: k for k, name in enumerate([*pages, *PRESETS])}
    kept = kept[kept["notebook"].isin(pages)].sort_values(["notebook", "preset"], key=lambda c: c.map(place))
    kept.to_csv(paths.ROOT / FILE, index=False, lineterminator="\n")
    return kept


def time_line(page: str, notebook: Any) -> str:
    """Markdown: how long a page takes to read, its execution at each preset where that was measured, and what a
    training behind its records took."""
    words = sum(len(text.split()) for cell in notebook.cells for text in _prose(cell))
    told = f"**Time**: {max(2, round(words / WORDS_A_MINUTE))} minutes to read"
    rows = {row.preset: row for row in table().itertuples() if row.notebook == page}
    listed = [f"`{preset}` {_minutes(rows[preset].seconds)}" for preset in PRESETS if preset in rows]
    if listed:
        told += f"; to execute on {rows[next(iter(rows))].cores} cores, by preset: {', '.join(listed)}"
    trained = _trainings(notebook)
    told += f". A training behind its records takes about {', '.join(trained)}" if trained else ""
    return f"{told}."


def _trainings(notebook: Any) -> list[str]:
    """By preset and kind of machine: how long a training took whose record a page shows, the median of them."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    names = {name for output in outputs for name in output.get("metadata", {}).get(made.KEY, {}).get("records") or ()}
    took: dict[tuple[str, str], list[float]] = {}
    for record in (record for record in records.find() if record.name in names):
        place = record.recipe["preset"], "a processor" if record.machine["gpu"] == "none" else "a GPU"
        took.setdefault(place, []).append(record.seconds)
    return [
        f"{_minutes(statistics.median(own))} at `{preset}` on {on}"
        for (preset, on), own in sorted(took.items(), key=lambda one: (PRESETS.index(one[0][0]), one[0][1] == "a GPU"))
    ]


def _prose(cell: Any) -> Iterator[str]:
    """What is read of a cell: its Markdown, or what its code says in words."""
    if cell.cell_type == "markdown":
        yield cell.source
    yield from (output.get("data", {}).get("text/markdown", "") for output in cell.get("outputs", ()))


def _minutes(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"


def seconds_of(budget: str) -> float:
    """``90s``, ``30m``, ``2h`` or ``1.5h`` in seconds; anything else is a :class:`ParameterError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", budget.strip())
    if not match:
        raise ParameterError(f"'{budget}' is no time.", do="write a number and a unit, such as 90s, 30m or 2h")
    return float(match[1]) * UNITS[match[2]]


def lines(pages: Sequence[str], preset: str = "", budget: float = float("inf")) -> Iterator[str]:
    """What executing the book's notebooks took, the cheapest first; which fit into ``budget`` seconds, and which were
    never measured."""
    presets = [preset] if preset else PRESETS
    rows = table().query("notebook in @pages and preset in @presets").sort_values("seconds")
    yield f"{'minutes':>8} {'MiB':>6}  notebooks"
    for row, total in zip(rows.itertuples(), rows["seconds"].cumsum(), strict=True):
        over = "" if total <= budget else "  (beyond the budget)"
        command = f"fercore run {row.notebook}.ipynb out.ipynb -p preset {row.preset}"
        yield f"{row.seconds / 60:8.1f} {row.peak_mib:6}  {command}{over}"
    there = set(zip(rows["notebook"], rows["preset"], strict=True))
    for name in presets:
        if missing := [page for page in pages if (page, name) not in there]:
            yield f"Never measured at {name}: {', '.join(missing)}"


def execution_page(executed: Mapping[str, Any]) -> str:
    """Markdown of the page of execution times, from the notebooks' own metadata."""
    rows, total = [], 0.0
    for page, notebook in executed.items():
        run, own = notebook.metadata["papermill"], notebook.metadata["fercore"]
        total += run["duration"]
        seconds, preset = f"{run['duration']:.0f}", own["parameters"].get("preset", "–")
        rows.append((f"{{doc}}`/{page}`", preset, seconds, own["peak_mib"], run["end_time"][:10]))
    columns = ("notebook", "preset", "seconds", "peak memory, MiB", "date")
    first = next(iter(executed.values())).metadata["fercore"]
    versions = first["versions"] | {name: importlib.metadata.version(name) for name in BOOK_VERSIONS}
    return markdown.page(
        "# Execution times and versions",
        f"Every page that computes was executed by papermill for this build, in {total / 60:.1f} minutes of kernel\n"
        "time altogether. The table is read from the executed notebooks' own metadata.",
        markdown.table(columns, rows, right=columns[2:4]),
        f"Machine: {first['machine']}.",
        markdown.table(("package", "version"), versions.items()),
        "To see what fits your time, run `fercore plan --budget 30m`.",
        made.of_page("the executed notebooks, book/records/costs.csv", table()),
    )
