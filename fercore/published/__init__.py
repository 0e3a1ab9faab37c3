"""What the papers print: every table, and the numbers in figures and prose, as tidy CSV; and what is claimed of them.

``<paper>.csv`` holds the tables, one row per cell: paper, table (``T1``, ``T2``, ...), row, column, metric, value
exactly as printed, unit, data set, protocol, the work that a value is cited from ("" for the paper's own) and notes.
``<paper>-figures.csv`` holds what can be read of figures, prose and abstracts in the same form, with the place in the
column ``figure``. A cell that cannot be read with certainty has no value, and its note says why. Names of rows, data
sets and expressions are unified over the papers; numbers are not touched.

A protocol begins with the images that are tested on, up to the first comma; then comes how they were split off. What a
split leaves to test on is counted where no paper says so (70 people, 56 to train on, hence 56/14). A number that is
quoted has no more than the table's heads and caption say of its images: on what split the cited work measured it is not
known, and not that of the paper that quotes it. A plain backbone cites the work that its network is from, whoever ran
it.

``claims.csv`` and ``criteria.csv`` belong to :mod:`fercore.ledger.claims`, the other files to
:mod:`fercore.studies.audit`.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

import pandas as pd

from fercore.errors import ParameterError

FOLDER = Path(__file__).parent
ABOUT = {file.stem: tomllib.loads(file.read_text()) for file in sorted(FOLDER.with_name("papers").glob("*.toml"))}
"""What the book says of each module of ``fercore.papers``, written or not: names, colours, ablations, runs."""
PLACES = {paper: about["place"] for paper, about in ABOUT.items() if "place" in about}
PAPERS = {paper: ABOUT[paper]["name"] for paper in sorted(PLACES, key=PLACES.get)}
"""The papers in the book's order and the names of their methods; baselines and pre-training are none."""
METHODS = {name: own for about in ABOUT.values() for name, own in about.get("methods", {}).items()}
"""Every method by the name that recipes have for it: its name in tables and figures, its colour."""
COLUMNS = (
    *("paper", "table", "row", "column", "metric", "value", "printed"),
    *("unit", "dataset", "protocol", "cited", "notes"),
)


@cache
def read(name: str) -> pd.DataFrame:
    """One CSV of this folder, all columns text, nothing missing; copy it before you change it."""
    return pd.read_csv(FOLDER / f"{name}.csv", dtype=str, keep_default_na=False)


def load(paper: str | None = None, table: str | None = None) -> pd.DataFrame:
    """The cells of all tables, of one paper's, or of one table; one row per cell.

    ``value`` is a float (NaN where a cell is text or can't be read), ``printed`` the text it was read from, so that
    ``86.50`` keeps its zero. An unknown paper or table is a :class:`~fercore.errors.ParameterError`.
    """
    return _chosen("{}", paper, "table", table)[list(COLUMNS)]


def in_figures(paper: str | None = None, figure: str | None = None) -> pd.DataFrame:
    """The numbers of figures (``F5``, ``F7a``), prose (``text``), ``abstract`` and ``conclusion``, as :func:`load`."""
    found = _chosen("{}-figures", paper, "figure", figure)
    return found[["figure" if name == "table" else name for name in COLUMNS]]


def _chosen(files: str, paper: str | None, kind: str, place: str | None) -> pd.DataFrame:
    if paper is not None and paper not in PAPERS:
        raise ParameterError(f"There is no paper '{paper}'.", do=f"take one of: {', '.join(PAPERS)}")
    cells = pd.concat([_parsed(files.format(name)) for name in ([paper] if paper else PAPERS)], ignore_index=True)
    if place is not None and not (chosen := cells[kind] == place).any():
        known = ", ".join(dict.fromkeys(cells[kind]))
        raise ParameterError(f"No {kind} '{place}'{f' of {paper}' if paper else ''}.", do=f"take one of: {known}")
    return cells if place is None else cells[chosen].reset_index(drop=True)


@cache
def _parsed(name: str) -> pd.DataFrame:
    cells = read(name)
    return cells.assign(printed=cells["value"], value=pd.to_numeric(cells["value"].replace("", None)).astype(float))


def value(paper: str, place: str, row: str, column: str = "accuracy", dataset: str | None = None) -> float:
    """One published number of a table (``T3``) or another place (``F9a``, ``abstract``), in the unit it was printed in.

    >>> value("lan", "T3", "LAN")
    88.45
    """
    return float(cell(paper, place, row, column, dataset)["value"])


def cell(
    paper: str, place: str, row: str, column: str = "accuracy", dataset: str | None = None
) -> dict[str, str | float]:
    """The one cell behind :func:`value`, with its unit, protocol and source; no or several cells are an error."""
    found = [one for one in _by_place(paper).get((place, row, column), []) if dataset in (None, one["dataset"])]
    if len(found) != 1:
        what = f"{paper} {place}, row '{row}', column '{column}'" + (f", {dataset}" if dataset else "")
        raise ParameterError(f"{len(found)} published values fit {what}; exactly one must.", do="see fercore/published")
    return found[0]


@cache
def _by_place(paper: str) -> dict[tuple[str, str, str], list[dict[str, str | float]]]:
    index: dict[tuple[str, str, str], list[dict[str, str | float]]] = {}
    for kind, cells in (("table", load(paper)), ("figure", in_figures(paper))):
        for one in cells.to_dict("records"):
            index.setdefault((one[kind], one["row"], one["column"]), []).append(one)
    return index


def method(name: str) -> str:
    """What tables and figures call a method of a recipe."""
    return METHODS.get(name, {}).get("name", name)


def ablations(paper: str) -> dict[str, dict[str, dict[str, object]]]:
    """Ablation -> row -> what it changes; the row that changes nothing is the method as it is published."""
    return ABOUT[paper].get("ablations", {})


def of_ablation(paper: str, ablation: str) -> dict[str, float]:
    """Row -> the value that the paper prints for it; an ablation that no table has is an error."""
    place = ABOUT[paper].get("quoted", {}).get(ablation)
    if place is None:
        known = ", ".join(ABOUT[paper].get("quoted", {})) or "none"
        raise ParameterError(f"{paper} prints no table of '{ablation}'.", do=f"take one of: {known}")
    return {row: value(paper, place["table"], row, place["column"]) for row in ablations(paper)[ablation]}


def accuracies(paper: str, dataset: str) -> dict[tuple[str, str], float]:
    """(subset, method) -> what a paper prints for a data set, in per cent."""
    about = ABOUT.get(paper, {})
    rows = {name: own["row"] for name, own in about.get("methods", {}).items() if "row" in own}
    return {
        (subset, name): value(paper, place["table"], row, place["column"], place["dataset"])
        for subset, place in about.get("printed", {}).get(dataset, {}).items()
        for name, row in rows.items()
        if (place["table"], row, place["column"]) in _by_place(paper)
    }


def decimals(printed: str) -> int:
    """Digits behind the point of a printed number: ``86.50`` has 2."""
    return len(printed.partition(".")[2])


def half_unit(printed: str) -> float:
    """Half of the last printed digit, with a little for arithmetic: 0.005 for ``86.50``."""
    return 0.5 * 10.0 ** -decimals(printed) + 1e-9
