"""A card for each twin as a page of the book: purpose, design, counts, flaws, what it must not be used for.

Written from the designs that the twins are made by, so that a card can't say anything else than the code does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from fercore.book import made, markdown
from fercore.data import twin_designs
from fercore.data.protocols import PROTOCOLS, split
from fercore.data.twin_rows import Twin
from fercore.errors import DataError, ParameterError
from fercore.recipe import PRESETS

GROUPS = {
    "design": ("people", "expressions", "pans", "tilts", "repeats", "scale"),
    "images": ("size", "supersampling", "scenery", "grey", "field", "follows_pitch"),
    "difficulty": (
        "levels", "jitter", "drop", "stray", "pose_jitter", "noise", "accessories", "occluders", "blur", "compression",
        "exposure", "ambiguity", "label_noise",
    ),
}  # fmt: skip
"""Parameters of a twin as the card groups them; their meaning is that of `fercore.data.twin_rows.Twin`."""


def card_page(name: str) -> str:
    """Markdown of a twin's card."""
    design = twin_designs.design_of(name)
    tables = {preset: twin_designs.rows(design.presets[preset]) for preset in PRESETS}
    title, _, what = design.title.partition(": ")
    published = ", ".join(f"{key}: {value:,}" for key, value in _flat(design.published))
    splits = pd.DataFrame(_protocols(name, tables["paper"]))
    parameters = {group: _parameters(design.presets, names) for group, names in GROUPS.items()}
    return markdown.page(
        f"# Data card: {title}",
        f"{what[0].upper()}{what[1:]}. {design.purpose}",
        "Made by this project from parameters alone (MIT); nobody is shown in it. Make it with",
        f"```shell\nfercore data prepare {name} --preset quick\n```",
        "## Counts",
        _table(_sizes(tables)),
        f"Published: {published}." if published else "",
        "Images of each class at preset `paper`, by split:",
        _table(_classes(tables["paper"])),
        f"Splits by people, with their sizes at preset `paper`:\n\n{_table(splits)}" if len(splits) else "",
        *(f"## Parameters: {group}\n\n{_table(table)}" for group, table in parameters.items()),
        "## What it was calibrated by",
        f"{design.calibration} See {{doc}}`/notebooks/data/calibration`.",
        "## Known artefacts",
        markdown.bullets(design.notes),
        "## What it must not be used for",
        markdown.bullets(twin_designs.GENERAL),
        made.of_page("fercore/data/twin_designs.py", pd.concat(parameters.values())),
    )


def _table(table: pd.DataFrame) -> str:
    rows = (map(_shown, row) for row in table.itertuples(index=False))
    words = {"what it is", "preset", "class", "parameter", "protocol"}
    return markdown.table(table.columns, rows, right=[name for name in table.columns if name not in words])


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_shown, value))
    number = isinstance(value, int) and not isinstance(value, bool)
    return re.sub(r"^-(?=\d)", "−", f"{value:,}" if number else str(value))


def _flat(values: Any) -> Iterator[tuple[str, int]]:
    """Published counts; a split's classes as their sum."""
    for name, value in values.items():
        yield name.replace("_", " "), value if isinstance(value, int) else sum(value.values())


def _sizes(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    rows = []
    for preset, table in tables.items():
        splits = {f"images, {name}": count for name, count in table["split"].value_counts(sort=False).items()}
        splits.pop("images, all", None)
        rows.append({"preset": preset, "people": table["subject"].nunique(), "images": len(table)} | splits)
    return pd.DataFrame(rows)


def _classes(table: pd.DataFrame) -> pd.DataFrame:
    counts = pd.crosstab(table["expression"], table["split"])
    ordered = counts.loc[table["expression"].unique(), table["split"].unique()]
    return ordered.rename_axis("class").reset_index()


def _protocols(name: str, table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Sizes of every named split that is this data set's."""
    for protocol in (p for p in PROTOCOLS if f"-{name.removesuffix('-twin')}" in p):
        try:
            parts = split(table, protocol)
        except (DataError, ParameterError):  # a split of the real set that needs what the twin has not
            continue
        yield {"protocol": f"`{protocol}`"} | {part: len(rows) for part, rows in parts.items()}


def _parameters(presets: Mapping[str, Twin], names: Sequence[str]) -> pd.DataFrame:
    """One row per parameter: its value at each preset, once where all agree, and its meaning."""
    rows = []
    for name in names:
        values = [_shown(getattr(presets[preset], name)) for preset in PRESETS]
        values = [values[0], "", ""] if len(set(values)) == 1 else values
        told = dict(zip(PRESETS, values, strict=True))
        rows.append({"parameter": name, **told, "what it is": Twin.model_fields[name].description or ""})
    return pd.DataFrame(rows)
