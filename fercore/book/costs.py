"""What things cost: measured minutes and memory of notebooks and trainings, and what fits into a budget.

Of notebooks, ``book/records/costs.csv`` holds the last measured execution at each
preset; ``fercore book costs`` writes it from the executed notebooks' own metadata.
Of trainings, the reference records say it themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from fercore import paths, records
from fercore.errors import ParameterError
from fercore.ledger import claims
from fercore.recipe import PRESETS

FILE = Path("book/records/costs.csv")
COLUMNS = ("notebook", "preset", "seconds", "peak_mib", "cores", "machine", "date", "commit")
UNITS = {"s": 1, "m": 60, "h": 3600}


class Cost(NamedTuple):
    """One thing that was measured: the command that does it again, what it took, and a remark."""

    what: str
    preset: str
    seconds: float
    peak_mib: int
    remark: str = ""


def table() -> pd.DataFrame:
    """The measured costs of notebooks, a row a notebook and preset."""
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
            values = (page, own["parameters"]["preset"], round(run["duration"], 1), own["peak_mib"])
            found.append((*values, int(cores.split()[0]), machine, run["end_time"][:10], own["commit"][:10]))
    both = pd.concat([table(), pd.DataFrame(found, columns=list(COLUMNS))]) if found else table()
    kept = both.drop_duplicates(["notebook", "preset"], keep="last")
    place = {name: k for k, name in enumerate([*pages, *PRESETS])}
    kept = kept[kept["notebook"].isin(pages)].sort_values(["notebook", "preset"], key=lambda c: c.map(place))
    kept.to_csv(paths.ROOT / FILE, index=False, lineterminator="\n")
    return kept


def page_line(page: str) -> str:
    """Markdown: what the execution of a page took at each preset, where it was measured."""
    found = {row.preset: row for row in table().itertuples() if row.notebook == page}
    told = [
        f"{preset} {_minutes(found[preset].seconds)}, {found[preset].peak_mib:,} MiB"
        if preset in found
        else f"{preset} not measured"
        for preset in PRESETS
    ]
    last = f" ({row.cores} cores, {row.date})" if (row := next(iter(found.values()), None)) else ""
    return f"*Executing this page took, by preset: {'; '.join(told)}{last}.*"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.1f} minutes"


# ---- a budget ------------------------------------------------------------------------------------------------------


def seconds_of(budget: str) -> float:
    """``90s``, ``30m``, ``2h`` or ``1.5h`` in seconds; anything else is a :class:`ParameterError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", budget.strip())
    if not match:
        raise ParameterError(f"'{budget}' is no time.", do="write a number and a unit, such as 90s, 30m or 2h")
    return float(match[1]) * UNITS[match[2]]


def measured(pages: Sequence[str]) -> list[Cost]:
    """Everything whose cost is known: the book's notebooks, then the trainings behind the reference records."""
    rows = [row for row in table().itertuples() if row.notebook in pages]
    found = [
        Cost(f"fercore run {r.notebook}.ipynb out.ipynb -p preset {r.preset}", r.preset, r.seconds, r.peak_mib)
        for r in rows
    ]
    runs = records.find()
    stale = claims.stale_names(runs)
    for run in runs:
        gpu = run.machine.get("gpu", "none")
        remarks = ["stale: measured with other code"] * (run.name in stale) + [f"on {gpu}"] * (gpu != "none")
        cost = Cost(run.command, run.recipe["preset"], run.seconds, run.peak_memory // 2**20, "; ".join(remarks))
        found.append(cost)
    return found


def plan(budget: float, pages: Sequence[str], preset: str | None = None) -> Iterator[str]:
    """Lines: what fits into ``budget`` seconds, the cheapest first, what does not, and what was never measured."""
    known = sorted((c for c in measured(pages) if preset in (None, c.preset)), key=lambda cost: cost.seconds)
    fits, total = [], 0.0
    for cost in known:
        if total + cost.seconds > budget:
            break
        fits, total = [*fits, cost], total + cost.seconds
    yield f"{'minutes':>8} {'MiB':>6}  fits, one after the other, the cheapest first"
    yield from map(_line, fits)
    peak = max((cost.peak_mib for cost in fits), default=0)
    yield f"{total / 60:8.1f} {peak:6}  together, of {budget / 60:.1f} minutes; the largest peak of memory"
    if rest := known[len(fits) :]:
        yield from ("", "Does not fit any more:", *map(_line, rest))
    there = {(row.notebook, row.preset) for row in table().itertuples()}
    for name in PRESETS if preset is None else [preset]:
        if missing := [page for page in pages if (page, name) not in there]:
            yield f"\nNever measured at {name}: {', '.join(missing)}"
    yield f"\nMeasured on the machines that {FILE} and the records name. Trainings that share a first stage take less."


def _line(cost: Cost) -> str:
    return f"{cost.seconds / 60:8.1f} {cost.peak_mib:6}  {cost.what}" + (f"  ({cost.remark})" if cost.remark else "")
