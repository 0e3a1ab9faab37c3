"""Markdown of the pages that nobody writes by hand."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any


def page(*blocks: str) -> str:
    """Headings, paragraphs and tables with an empty line between them; empty ones are left out."""
    return "\n\n".join(block for block in blocks if block) + "\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Collection[str] = ()) -> str:
    """Columns by their names, those in ``right`` flush right; a bar within a cell is no border."""
    rule = ["---:" if name in right else "---" for name in columns]
    body = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, rule, *body))


def bullets(items: Iterable[str]) -> str:
    """A list of points."""
    return "\n".join(f"- {item}" for item in items)
