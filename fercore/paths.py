"""Where things lie: the checkout, the real data sets, and what this project makes."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The checkout (the package is installed in editable mode, so that notebooks, book and code are one)."""


def data_root() -> Path | None:
    """The folder of the real data sets, from ``FERCORE_DATA``; None where it is not set."""
    value = os.environ.get("FERCORE_DATA")
    return Path(value).expanduser().resolve() if value else None


def prepared_root() -> Path:
    """Where prepared data sets are kept: ``FERCORE_PREPARED``, else ``_data`` in the checkout."""
    value = os.environ.get("FERCORE_PREPARED")
    return Path(value).expanduser().resolve() if value else ROOT / "_data"


def records_root() -> Path:
    """Where training runs write their records: ``FERCORE_RECORDS``, else ``_runs/records`` in the checkout."""
    value = os.environ.get("FERCORE_RECORDS")
    return Path(value).expanduser().resolve() if value else ROOT / "_runs" / "records"


def reference_records() -> Path:
    """The committed reference records, which the book's pages show as results."""
    return ROOT / "book" / "records"
