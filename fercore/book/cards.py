"""A card for each twin as a page of the book: purpose, design, counts, flaws, what it must not be used for.

Written from the designs that the twins are made by, so that a card can't say anything else than the code does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from fercore.book import pages
from fercore.data import twin_designs
from fercore.data.protocols import PROTOCOLS, split
from fercore.data.twin_rows import Twin
from fercore.errors import DataError, ParameterError
from fercore.recipe import PRESETS

GROUPS = {
    "design": ("people", "expressions", "pans", "tilts", "repeats", "scale"),
    "pictures": ("size", "supersampling", "scenery", "grey", "field"),
    "difficulty": (
        "levels", "jitter", "drop", "stray", "pose_jitter", "noise", "accessories", "occluders", "blur", "compression",
        "label_noise",
    ),
}  # fmt: skip
"""Parameters of a twin as the card groups them; their meaning is that of `fercore.data.twin_rows.Twin`."""


def card_page(name: str) -> str:
    """Markdown of a twin's card."""
    design = twin_designs.design_of(name)
    tables = {preset: twin_designs.rows(design.presets[preset]) for preset in PRESETS}
    title, _, what = design.title.partition(": ")
    lines = [f"# Data card: {title}", "", f"{what[0].upper()}{what[1:]}. {design.purpose}", ""]
    lines += ["Made by this project from parameters alone (MIT); nobody is shown in it. Make it with", ""]
    lines += ["```shell", f"fercore data prepare {name} --preset quick", "```", ""]
    lines += ["## Counts", "", *_table(_sizes(tables), "")]
    if design.published:
        published = ", ".join(f"{key} {value:,}" for key, value in _flat(design.published))
        lines += ["", f"Published: {published}."]
    lines += ["", "Images of each class at preset `paper`, by split:", "", *_table(_classes(tables["paper"]), "class")]
    if splits := list(_protocols(name, tables["paper"])):
        lines += ["", "Splits by people, with their sizes at preset `paper`:", "", *_table(pd.DataFrame(splits), "")]
    for group, names in GROUPS.items():
        lines += ["", f"## Parameters: {group}", "", *_table(_parameters(design.presets, names), "parameter")]
    lines += ["", "## What it was calibrated by", "", f"{design.calibration} See {{doc}}`/notebooks/data/calibration`."]
    lines += ["", "## Known artefacts", "", *(f"- {note}" for note in design.notes)]
    lines += ["", "## What it must not be used for", "", *(f"- {note}" for note in twin_designs.GENERAL), ""]
    numbers = _parameters(design.presets, [field for names in GROUPS.values() for field in names])
    lines += [pages.made_of("fercore/data/twin_designs.py", numbers.rename_axis("parameter")), ""]
    return "\n".join(lines)


def _table(table: pd.DataFrame, first: str) -> list[str]:
    """Markdown rows; ``first`` names the index, "" leaves it out."""
    table = table.rename_axis(first).reset_index() if first else table
    lines = ["| " + " | ".join(map(str, table.columns)) + " |", "| --- |" + " ---: |" * (table.shape[1] - 1)]
    return lines + ["| " + " | ".join(map(_shown, row)) + " |" for row in table.itertuples(index=False)]


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_shown, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _flat(values: Any) -> Iterator[tuple[str, int]]:
    """Published counts; a split's classes as their sum."""
    for name, value in values.items():
        yield name.replace("_", " "), value if isinstance(value, int) else sum(value.values())


def _sizes(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    lines = []
    for preset, table in tables.items():
        splits = {f"images, {name}": len(rows) for name, rows in table.groupby("split", sort=False)}
        lines.append({"preset": preset, "people": table["subject"].nunique(), "images": len(table)} | splits)
    sizes = pd.DataFrame(lines)
    return sizes.drop(columns="images, all") if "images, all" in sizes else sizes


def _classes(table: pd.DataFrame) -> pd.DataFrame:
    return pd.crosstab(table["expression"], table["split"]).reindex(
        index=table["expression"].drop_duplicates(), columns=table["split"].drop_duplicates()
    )


def _protocols(name: str, table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Sizes of every named split that is this data set's."""
    for protocol in (p for p in PROTOCOLS if f"-{name.removesuffix('-twin')}" in p):
        try:
            parts = split(table, protocol)
        except (DataError, ParameterError):  # a split of the real set that needs what the twin has not
            continue
        yield {"protocol": f"`{protocol}`"} | {part: len(rows) for part, rows in parts.items()}


def _parameters(presets: Any, names: Sequence[str]) -> pd.DataFrame:
    """One line a parameter: its value at each preset, once where all agree, and its meaning."""
    lines = {}
    for name in names:
        values = [_shown(getattr(presets[preset], name)) for preset in PRESETS]
        shown = dict.fromkeys(PRESETS, "") | {PRESETS[0]: values[0]} if len(set(values)) == 1 else None
        lines[name] = shown or dict(zip(PRESETS, values, strict=True))
        lines[name]["what it is"] = Twin.model_fields[name].description or ""
    return pd.DataFrame(lines).T
