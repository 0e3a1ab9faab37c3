"""Where things lie: the checkout, the real data sets, and what this project makes."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The checkout (the package is installed in editable mode, so that notebooks, book and code are one)."""


def data_root() -> Path | None:
    """The folder of the real data sets, from ``FERCORE_DATA``; None where it is not set."""
    return _named("FERCORE_DATA")


def _named(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value).expanduser().resolve() if value else None


def prepared_root() -> Path:
    """Where prepared data sets are kept: ``FERCORE_PREPARED``, else ``_data`` in the checkout."""
    return _named("FERCORE_PREPARED") or ROOT / "_data"


def records_root() -> Path:
    """Where training runs write their records: ``FERCORE_RECORDS``, else ``_runs/records`` in the checkout."""
    return _named("FERCORE_RECORDS") or ROOT / "_runs" / "records"


def reference_records() -> Path:
    """The committed reference records, which the book's pages show as results."""
    return ROOT / "book" / "records"


def relative(path: Path) -> str:
    """A path as it is called from the checkout; one that lies elsewhere as it is given."""
    whole = path.resolve()
    return whole.relative_to(ROOT).as_posix() if whole.is_relative_to(ROOT) else str(path)
