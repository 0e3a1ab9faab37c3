"""Published values: the papers' tables as tidy CSV, one file a paper.

Columns: paper, table, row, column, metric, value, unit, dataset, protocol, and
source, the work that a value is quoted from ("" for the paper's own).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fercore.errors import ParameterError

COLUMNS = ("paper", "table", "row", "column", "metric", "value", "unit", "dataset", "protocol", "source")


def load(paper: str | None = None) -> pd.DataFrame:
    """All published values, or those of one paper, a row a number."""
    files = sorted(Path(__file__).parent.glob("*.csv"))
    table = pd.concat([pd.read_csv(file, dtype={"source": str}, keep_default_na=False) for file in files])
    return table[table["paper"] == paper].reset_index(drop=True) if paper else table.reset_index(drop=True)


def value(paper: str, table: str, row: str, column: str = "accuracy", dataset: str | None = None) -> float:
    """One published number, in the unit it was printed in.

    >>> value("lan", "T3", "LAN")
    88.45
    """
    found = load(paper)
    found = found[(found["table"] == table) & (found["row"] == row) & (found["column"] == column)]
    if dataset is not None:
        found = found[found["dataset"] == dataset]
    if len(found) != 1:
        what = f"{paper} {table}, row '{row}', column '{column}'" + (f", {dataset}" if dataset else "")
        raise ParameterError(f"{len(found)} published values fit {what}; exactly one must.", do="see fercore/published")
    return float(found["value"].iloc[0])
