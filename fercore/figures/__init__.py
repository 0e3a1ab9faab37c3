"""Figures: arrays in, matplotlib figures out; nothing here knows a model or a file.

One look for the whole book: white ground, one colour a method, percentages
with one decimal. Each figure carries the numbers behind it (:func:`told`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

OURS = "#2563eb"
COLOURS = {"ResNet-18": "#7a8794", "plain trunk": "#7a8794", "LAN": "#c2410c", "paper": "#111827"}
"""Colour of a method, the same in every figure; ``paper`` marks published values."""


def style() -> None:
    """Set the book's look; called when this module is imported."""
    sns.set_theme(style="whitegrid", context="notebook", font_scale=0.9)
    plt.rcParams.update(
        {"figure.facecolor": "white", "savefig.facecolor": "white", "figure.dpi": 110, "axes.titleweight": "bold"}
    )


style()
Drawn = TypeVar("Drawn", bound=Artist)


def told(drawn: Drawn, numbers: pd.DataFrame) -> Drawn:
    """A figure or axes, with the numbers behind it as ``figure.numbers``: what its drop-down offers as CSV."""
    drawn.figure.numbers = numbers
    return drawn


def image_grid(
    images: Any,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    cell: float = 1.2,
) -> Figure:
    """Pictures in rows and columns: (R, C, H, W, 3) or nested lists, uint8 or 0..1; None leaves a cell empty.

    A flat sequence of pictures becomes one row. ``cell`` is a picture's side in
    inches.
    """
    rows = [list(row) for row in images] if _nested(images) else [list(images)]
    columns = max(len(row) for row in rows)
    left = 0.85 if row_labels is not None else 0.0
    top = 0.28 if column_labels is not None else 0.0
    size = (columns * cell + left, len(rows) * cell + top)
    figure = plt.figure(figsize=size)
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            if picture is None:
                continue
            box = [(left + c * cell) / size[0], 1 - (top + (r + 1) * cell) / size[1], cell / size[0], cell / size[1]]
            axes = figure.add_axes(tuple(box))
            axes.imshow(picture, cmap="gray", vmin=0, vmax=255 if np.asarray(picture).dtype == np.uint8 else 1)
            axes.set_axis_off()
    for r, label in enumerate(row_labels or ()):
        figure.text(0.78 / size[0], 1 - (top + (r + 0.5) * cell) / size[1], label, ha="right", va="center", fontsize=9)
    for c, label in enumerate(column_labels or ()):
        x = (left + (c + 0.5) * cell) / size[0]
        figure.text(x, 1 - top * 0.5 / size[1], label, ha="center", va="center", fontsize=9)
    return told(figure, _cells(rows, row_labels or range(1, len(rows) + 1), column_labels or range(1, columns + 1)))


def _cells(rows: Sequence[Sequence[Any]], row_labels: Sequence[Any], column_labels: Sequence[Any]) -> pd.DataFrame:
    """What each cell of a grid shows: labels or numbers of row and column, size in pixels, mean value."""
    return pd.DataFrame(
        [
            {"row": name, "column": column, "height": len(picture), "width": len(picture[0]), "mean": np.mean(picture)}
            for name, row in zip(row_labels, rows, strict=True)
            for column, picture in zip(column_labels, row, strict=False)
            if picture is not None
        ]
    )


def _nested(images: Any) -> bool:
    first = next((picture for picture in images if picture is not None), None)
    if isinstance(first, np.ndarray):
        return first.ndim == 4 or (first.ndim == 3 and first.shape[-1] != 3)
    return isinstance(first, list | tuple)


def scatter_on_image(image: np.ndarray, points: np.ndarray, visible: np.ndarray | None = None) -> Figure:
    """Points (N, 2) in pixels on a picture (H, W, 3): visible ones green, hidden ones red."""
    figure, axes = plt.subplots(figsize=(3.4, 3.4))
    axes.imshow(image)
    seen = np.ones(len(points), bool) if visible is None else np.asarray(visible, bool)
    for chosen, colour, label in ((seen, "#16a34a", "visible"), (~seen, "#dc2626", "hidden")):
        if chosen.any():
            axes.scatter(*points[chosen].T, s=9, color=colour, label=label, edgecolors="white", linewidths=0.3)
    axes.legend(loc="lower right", fontsize=7, framealpha=0.9)
    axes.set_axis_off()
    figure.subplots_adjust(0, 0, 1, 1)
    return told(
        figure, pd.DataFrame({"point": range(len(points)), "x": points[:, 0], "y": points[:, 1], "visible": seen})
    )


def confusion_matrix(counts: np.ndarray, classes: Sequence[str], title: str = "", axes: Axes | None = None) -> Axes:
    """Counts (K, K), rows the true class: shown as percentages of each row; a class without images stays white."""
    if axes is None:
        _, axes = plt.subplots(figsize=(0.62 * len(classes) + 1.2, 0.56 * len(classes) + 0.8))
    total = counts.sum(1, keepdims=True)
    share = np.divide(100 * counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    names = [f"{name} ({n})" for name, n in zip(classes, total[:, 0], strict=True)]
    sns.heatmap(
        share, annot=True, fmt=".0f", cmap="Blues", vmin=0, vmax=100, cbar=False, square=True,
        xticklabels=list(classes), yticklabels=names, annot_kws={"size": 8}, ax=axes,
    )  # fmt: skip
    axes.set(xlabel="predicted", ylabel="true (images)", title=title)
    axes.tick_params(axis="x", rotation=40)
    plt.setp(axes.get_xticklabels(), ha="right")
    return told(axes, pd.DataFrame(counts, pd.Index(classes, name="true"), classes))


def intervals(
    rows: Sequence[tuple[str, str, float, float, float]],
    published: Mapping[tuple[str, str], float] | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Measured values with their intervals, one line a group and method; published values as diamonds.

    ``rows``: (group, method, value, low, high) in per cent. ``published``:
    (group, method) -> value. Groups go down the page in their order.
    """
    groups = list(dict.fromkeys(row[0] for row in rows))
    methods = list(dict.fromkeys(row[1] for row in rows))
    if axes is None:
        _, axes = plt.subplots(figsize=(7, 0.42 * len(groups) * len(methods) + 1.3))
    step = 0.62 / max(len(methods), 1)
    for group, method, value, low, high in rows:
        y = groups.index(group) + (methods.index(method) - (len(methods) - 1) / 2) * step
        colour = COLOURS.get(method, OURS)
        axes.plot([low, high], [y, y], color=colour, linewidth=2.5, solid_capstyle="round")
        axes.plot(value, y, "o", color=colour, markersize=7)
        axes.annotate(f"{value:.1f}", (value, y), (0, 6), textcoords="offset points", ha="center", fontsize=8)
        quoted = (published or {}).get((group, method))
        if quoted is not None:
            axes.plot(
                quoted, y, "D", markerfacecolor="white", markeredgecolor=colour, markersize=7, markeredgewidth=1.6
            )
    axes.set_yticks(range(len(groups)), groups)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.set_xlabel("accuracy in per cent")
    handles = [Line2D([], [], color=COLOURS.get(m, OURS), marker="o", label=f"{m}, ours") for m in methods]
    if published:
        handles.append(Line2D([], [], color="k", marker="D", mfc="white", ls="", label="published"))
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    axes.grid(axis="y", visible=False)
    numbers = pd.DataFrame(rows, columns=["group", "method", "value", "low", "high"])
    quoted = [(published or {}).get(pair) for pair in zip(numbers["group"], numbers["method"], strict=True)]
    return told(axes, numbers.assign(published=quoted))


def training_curves(histories: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]) -> Figure:
    """Loss and validation accuracy by epoch. ``histories``: method -> a record's history (stage -> rows)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.1))
    shared = 0
    for method, stages in histories.items():
        rows = [row for stage in stages.values() for row in stage]
        shared = max(shared, len(stages.get("backbone", [])))
        epochs = np.arange(1, len(rows) + 1)
        colour = COLOURS.get(method, OURS)
        left.plot(epochs, [r["train_cross_entropy"] for r in rows], "o-", ms=3, color=colour, label=method)
        right.plot(epochs, [100 * r["validation_accuracy"] for r in rows], "o-", ms=3, color=colour, label=method)
    for axes, name in ((left, "training cross-entropy"), (right, "validation accuracy in per cent")):
        axes.set(xlabel="epoch", title=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if shared:
            axes.axvline(shared + 0.5, color="k", linewidth=0.8, linestyle=":")
            axes.text(shared + 0.5, axes.get_ylim()[1], " methods part", fontsize=7, va="top")
    right.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    rows = [
        {"method": method, "stage": stage, **row}
        for method, stages in histories.items()
        for stage, rows in stages.items()
        for row in rows
    ]
    return told(figure, pd.DataFrame(rows))


def attention_over(images: np.ndarray, maps: np.ndarray, column_labels: Sequence[str], cell: float = 1.25) -> Figure:
    """Pictures above the same pictures with a map laid over: images (N, H, W, 3) uint8, maps (N, h, w) in 0..1."""
    side = images.shape[1]
    colour = plt.get_cmap("inferno")
    laid = []
    for picture, values in zip(images, maps, strict=True):
        steps = (np.arange(side) * values.shape[0] / side).astype(int)
        heat = colour(values[np.ix_(steps, steps)])[..., :3]
        laid.append((0.55 * picture / 255 + 0.45 * heat).clip(0, 1))
    figure = image_grid([list(images), laid], ["picture", "map"], column_labels, cell)
    return told(figure, _positions(maps, column_labels))


def _positions(maps: Sequence[np.ndarray], names: Sequence[str]) -> pd.DataFrame:
    """Maps (h, w) as a line a position: the map's name, row, column, value."""
    lines = [
        {"map": name, "row": place[0], "column": place[1], "value": float(value)}
        for name, values in zip(names, maps, strict=True)
        for place, value in np.ndenumerate(np.asarray(values))
    ]
    return pd.DataFrame(lines)


def counts(table: Mapping[str, Mapping[str, int]], title: str = "", axes: Axes | None = None) -> Axes:
    """Grouped bars: series name -> class name -> number, the numbers written on the bars."""
    if axes is None:
        _, axes = plt.subplots(figsize=(8, 3.2))
    classes = list(dict.fromkeys(name for series in table.values() for name in series))
    width = 0.8 / len(table)
    palette = sns.color_palette("deep", len(table))
    for k, (name, series) in enumerate(table.items()):
        x = np.arange(len(classes)) + (k - (len(table) - 1) / 2) * width
        bars = axes.bar(x, [series.get(c, 0) for c in classes], width, label=name, color=palette[k])
        axes.bar_label(bars, fontsize=7, rotation=90 if len(table) > 1 else 0, padding=2)
    axes.set_xticks(range(len(classes)), classes)
    axes.set(title=title, ylabel="images")
    axes.margins(y=0.18)
    axes.grid(axis="x", visible=False)
    if len(table) > 1:
        axes.legend(frameon=False)
    return told(axes, pd.DataFrame(table).rename_axis("class"))


def heat(table: pd.DataFrame, x: str, y: str, title: str) -> Axes:
    """A table of percentages as a heat map with its numbers."""
    _, axes = plt.subplots(figsize=(0.62 * table.shape[1] + 2.2, 0.36 * table.shape[0] + 1.3))
    sns.heatmap(
        table, annot=True, fmt=".0f", cmap="Blues", vmin=0, vmax=100, cbar=False, annot_kws={"size": 8}, ax=axes
    )
    axes.set(xlabel=x, ylabel=y, title=title)
    axes.tick_params(axis="y", rotation=0)
    axes.tick_params(axis="x", rotation=30 if any(len(str(c)) > 2 for c in table.columns) else 0)
    return told(axes, table.rename_axis(y))


def maps(arrays: Sequence[np.ndarray], titles: Sequence[str], cell: float = 1.9) -> Figure:
    """Small maps (h, w) in 0..1 side by side, their numbers written in."""
    figure, row = plt.subplots(1, len(arrays), figsize=(cell * len(arrays), cell + 0.3), squeeze=False)
    for axes, values, title in zip(row[0], arrays, titles, strict=True):
        sns.heatmap(values, annot=True, fmt=".2g", cmap="magma", vmin=0, vmax=1, cbar=False, square=True, ax=axes)
        axes.set(title=title, xticks=[], yticks=[])
    figure.tight_layout()
    return told(figure, _positions(arrays, titles))


def clusters(points: np.ndarray, of_point: np.ndarray, centres: np.ndarray, names: Sequence[str]) -> Figure:
    """Points (n, 2) coloured by cluster (n,), centres (K, 2) as crosses, ``names`` in the legend."""
    figure, axes = plt.subplots(figsize=(4.6, 3.4))
    for k, name in enumerate(names):
        axes.scatter(*points[of_point == k].T, s=14, alpha=0.7, label=f"{name}: {(of_point == k).sum()} samples")
    axes.scatter(*centres.T, marker="X", s=110, color="k", label="centres, Eq. (3)")
    axes.set(xlabel="feature 1", ylabel="feature 2")
    axes.legend(frameon=True, fontsize=8)
    figure.tight_layout()
    groups = [names[int(k)] for k in of_point] + [f"centre of {name}" for name in names]
    return told(figure, pd.DataFrame(np.vstack([points, centres]), columns=["x", "y"]).assign(of=groups))


def lines(x: np.ndarray, series: Mapping[str, np.ndarray], xlabel: str, ylabel: str) -> Axes:
    """Curves over one x, one a series."""
    _, axes = plt.subplots(figsize=(5.2, 3))
    for name, y in series.items():
        axes.plot(x, y, "o-" if len(x) < 12 else "-", label=name)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if len(series) > 1:
        axes.legend(frameon=False)
    return told(axes, pd.DataFrame({xlabel: x, **series}))


def differences(table: pd.DataFrame, against: str, xlabel: str = "difference in points") -> Axes:
    """What each row of an ablation changes, with its interval, group by group; the row without a difference is hollow.

    ``table``: columns ablation, row, difference, low, high; a NaN marks the row
    that the others are held ``against``.
    """
    groups = list(dict.fromkeys(table["ablation"]))
    y = np.arange(len(table)) + 0.8 * table["ablation"].map(groups.index).to_numpy()
    own = table["difference"].isna().to_numpy()
    _, axes = plt.subplots(figsize=(7, 0.3 * float(y[-1]) + 1.4))
    axes.axvline(0, color="#6b7280", linewidth=1)
    axes.hlines(y[~own], table["low"][~own], table["high"][~own], color=OURS, linewidth=2.5)
    axes.plot(table["difference"][~own], y[~own], "o", color=OURS, markersize=7, label="changed")
    axes.plot(np.zeros(own.sum()), y[own], "o", mfc="white", mec="#6b7280", markersize=7, label=against)
    axes.set_yticks(y, table["row"])
    axes.set_ylim(y[-1] + 0.9, -1.4)
    for group in groups:
        first = y[(table["ablation"] == group).to_numpy()].min()
        axes.annotate(
            group, (0, first - 0.75), xycoords=("axes fraction", "data"), fontsize=9, fontweight="bold", va="center"
        )
    axes.set_xlabel(xlabel)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    axes.grid(axis="y", visible=False)
    return told(axes, table)
