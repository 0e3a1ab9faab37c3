"""What the papers print: every table, and the numbers in figures and prose, as tidy CSV; and what is claimed of them.

``<paper>.csv`` holds the tables, a row a cell: paper, table (``T1``, ``T2``, ...),
row, column, metric, value exactly as printed, unit, data set, protocol, the work
that a value is cited from ("" for the paper's own) and notes. ``<paper>-figures.csv``
holds what can be read of figures, prose and abstracts in the same form, with the
place in the column ``figure``. A cell that cannot be read with certainty has no
value, and its note says why. A plain backbone cites the work that its network is
from, whoever ran it; what a split leaves to test on is counted where no paper says
so (70 people, 56 to train on, hence 56/14). Names of rows, data sets and expressions are unified
over the papers; numbers are not touched. A protocol begins with the images that
are tested on, up to the first comma.

``claims.csv`` and ``criteria.csv`` belong to :mod:`fercore.ledger.claims`, the other
files to :mod:`fercore.studies.audit`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd

from fercore.errors import ParameterError

PAPERS = {"pata": "PATA", "phanet": "PhaNet", "lan": "LAN", "dmlnet": "DML-Net", "pcda": "PCDA"}
"""The five papers and the names of their methods."""
TABLES = {"pata": 5, "phanet": 9, "lan": 6, "dmlnet": 9, "pcda": 8}
FIGURES = {"pata": 4, "phanet": 15, "lan": 7, "dmlnet": 15, "pcda": 8}
"""How many tables and figures each paper has."""
COLUMNS = (
    *("paper", "table", "row", "column", "metric", "value", "printed"),
    *("unit", "dataset", "protocol", "cited", "notes"),
)


@cache
def read(name: str) -> pd.DataFrame:
    """One CSV of this folder, all columns text, nothing missing; copy it before you change it."""
    return pd.read_csv(Path(__file__).parent / f"{name}.csv", dtype=str, keep_default_na=False)


def load(paper: str | None = None, table: str | None = None) -> pd.DataFrame:
    """The cells of all tables, of one paper's, or of one table; a row a cell.

    ``value`` is a float (NaN where a cell is text or can't be read), ``printed``
    the text it was read from, so ``86.50`` keeps its zero. An unknown paper or
    table is a :class:`~fercore.errors.ParameterError`.
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
    if paper not in PAPERS:
        raise ParameterError(f"There is no paper '{paper}'.", do=f"take one of: {', '.join(PAPERS)}")
    found = _by_place(paper).get((place, row, column), [])
    found = [one for one in found if dataset in (None, one["dataset"])]
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
