"""Figures: arrays in, matplotlib figures out; nothing here knows a model or a file.

One look for the whole book: white ground, one colour per method, percentages with one decimal. Each figure carries the
numbers behind it (:func:`told`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from torch import Tensor

from fercore import published
from fercore.errors import ParameterError
from fercore.intervals import signed

OURS = "#2563eb"
COLOURS = {own["name"]: own["colour"] for own in published.METHODS.values()} | {"paper": "#111827"}
"""Colour of a method, the same in every figure; ``paper`` marks published values."""
POINTS: dict[str, dict[str, Any]] = {
    "visible": {"color": "#16a34a", "s": 14, "edgecolors": "white", "linewidths": 0.3},
    "hidden": {"color": "#dc2626", "s": 14, "linewidths": 0.9, "marker": "x"},
    "true": {"facecolors": "none", "s": 16, "edgecolors": "#facc15", "linewidths": 0.8},
    "found": {"color": "#22d3ee", "s": 9, "marker": "."},
}
"""How :func:`landmarks` marks points of each kind."""

sns.set_theme(style="whitegrid", font_scale=0.9, rc={"figure.dpi": 110, "axes.titleweight": "bold"})
Drawn = TypeVar("Drawn", bound=Artist)


def told(drawn: Drawn, numbers: pd.DataFrame) -> Drawn:
    """A figure or axes, with the numbers behind it as ``figure.numbers``: what its drop-down offers as CSV."""
    drawn.figure.numbers = numbers
    return drawn


def degrees(angle: float) -> str:
    """An angle as it is written below a picture: ``−45°``, ``0°``, ``+90°``."""
    return f"{signed(angle, 0)}°" if round(angle) else "0°"


def image_grid(
    images: Any, row_labels: Sequence[str] | None = None, column_labels: Sequence[str] | None = None, cell: float = 1.2
) -> Figure:
    """Pictures in rows and columns: (R, C, H, W, 3) or nested lists, uint8 or 0..1; None leaves a cell empty.

    A flat sequence of pictures becomes one row. ``cell`` is a picture's side in inches.
    """
    rows = images if _nested(images) else [images]
    columns = max(len(row) for row in rows)
    row_names, column_names = row_labels or range(1, len(rows) + 1), column_labels or range(1, columns + 1)
    if len(row_names) != len(rows) or len(column_names) != columns:
        raise ParameterError(f"{len(rows)} x {columns} images, {len(row_names)} x {len(column_names)} labels")
    left, top = 0.85 if row_labels else 0.0, 0.28 if column_labels else 0.0
    width, height = columns * cell + left, len(rows) * cell + top
    figure, cells = plt.figure(figsize=(width, height)), []
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            if picture is None:
                continue
            x, y = left + c * cell, top + (r + 1) * cell
            axes = figure.add_axes((x / width, 1 - y / height, cell / width, cell / height))
            axes.imshow(picture, cmap="gray", vmin=0, vmax=255 if np.asarray(picture).dtype == np.uint8 else 1)
            axes.set_axis_off()
            cells.append((row_names[r], column_names[c], len(picture), len(picture[0]), np.mean(picture)))
    for r, label in enumerate(row_labels or ()):
        y = 1 - (top + (r + 0.5) * cell) / height
        figure.text(0.78 / width, y, label, ha="right", va="center", fontsize=9)
    for c, label in enumerate(column_labels or ()):
        x = (left + (c + 0.5) * cell) / width
        figure.text(x, 1 - top * 0.5 / height, label, ha="center", va="center", fontsize=9)
    return told(figure, pd.DataFrame(cells, columns=["row", "column", "height", "width", "mean"]))


def _nested(images: Any) -> bool:
    first = next(item for item in images if item is not None)
    if isinstance(first, np.ndarray):
        return first.ndim == 4 or (first.ndim == 3 and first.shape[-1] != 3)
    return True


def laid_over(picture: np.ndarray, values: np.ndarray, *, smooth: bool = True) -> np.ndarray:
    """A map (h, w) in 0..1, enlarged, over a picture (H, W, 3) uint8: the brighter, the less of the picture."""
    how = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    large = Image.fromarray(values.astype(np.float32)).resize(picture.shape[1::-1], how)
    weight = np.asarray(large)[..., None].clip(0, 1)
    heat = plt.get_cmap("inferno")(weight[..., 0])[..., :3]
    share = 0.25 + 0.45 * weight
    return ((1 - share) * picture / 255 + share * heat).clip(0, 1)


def maps_over(
    images: np.ndarray,
    maps: Mapping[str, np.ndarray],
    columns: Sequence[str],
    *,
    shared: bool = False,
    smooth: bool = True,
) -> Figure:
    """Pictures (N, H, W, 3) uint8 above the same pictures with maps (N, h, w) laid over, one row per name.

    What is greatest is bright, what is not above 0 is left dark. ``shared``: the maps of a picture have one scale, so
    that they add up to the eye; otherwise each map has its own.
    """
    largest = {name: values.max((1, 2)).astype(float).clip(1e-9) for name, values in maps.items()}
    together = np.max(list(largest.values()), axis=0)
    rows = [list(images)]
    for name, values in maps.items():
        scale = together if shared else largest[name]
        pairs = zip(images, values.clip(0) / scale[:, None, None], strict=True)
        rows.append([laid_over(picture, one, smooth=smooth) for picture, one in pairs])
    figure = image_grid(rows, ["image", *maps], columns, 1.15)
    tables = [
        by_place({name: values[k] for name, values in maps.items()}).assign(picture=column)
        for k, column in enumerate(columns)
    ]
    return told(figure, pd.concat(tables, ignore_index=True))


def by_place(maps: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Maps (h, w) as a table with one line per place: map, row, column, value."""
    stacked = {name: pd.DataFrame(np.asarray(values, float)).stack() for name, values in maps.items()}
    return pd.concat(stacked, names=["map", "row", "column"]).rename("value").reset_index()


def landmarks(
    images: Sequence[np.ndarray], points: Mapping[str, np.ndarray], labels: Sequence[str], cell: float = 2.1
) -> Figure:
    """Pictures side by side with landmarks: kind of :data:`POINTS` -> (N, n, 2) in pixels, NaN where there is none."""
    figure, row = plt.subplots(1, len(images), figsize=(cell * len(images), cell + 0.55), squeeze=False)
    tables = []
    for k, (axes, image, label) in enumerate(zip(row[0], images, labels, strict=True)):
        height, width = image.shape[:2]
        axes.imshow(image, extent=(0, width, height, 0))
        for kind, places in points.items():
            axes.scatter(*places[k].T, **POINTS[kind], label=kind)
            tables.append(pd.DataFrame(places[k], columns=["x", "y"]).assign(picture=label, kind=kind))
        axes.set(title=label, xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
    figure.legend(*row[0, 0].get_legend_handles_labels(), loc="lower center", ncol=2, frameon=False, fontsize=9)
    figure.subplots_adjust(0, 0.12, 1, 0.88, 0.03, 0)
    numbers = pd.concat(tables).dropna().rename_axis("point").reset_index()
    return told(figure, numbers[["picture", "kind", "point", "x", "y"]])


def by_sight(points: np.ndarray, visible: np.ndarray) -> dict[str, np.ndarray]:
    """Points (N, n, 2) for :func:`landmarks`, those that are ``visible`` (N, n) apart from hidden ones."""
    seen = visible[..., None].astype(bool)
    return {"visible": np.where(seen, points, np.nan), "hidden": np.where(seen, np.nan, points)}


def architecture(boxes: Mapping[str, tuple[float, float, str]], arrows: Sequence[tuple[str, str, str]]) -> Figure:
    """A network as boxes with arrows between them.

    ``boxes``: name -> x, y in box widths and heights from the upper left, what is written below the name (a shape).
    ``arrows``: from, to, what is written beside it; a dashed one where that begins with "training".
    """
    right, low = (max(box[axis] for box in boxes.values()) for axis in (0, 1))
    figure, axes = plt.subplots(figsize=(1.55 * right + 1.2, 1.05 * low + 0.9))
    axes.set(xlim=(-0.6, right + 0.6), ylim=(-low - 0.5, 0.5))
    axes.set_axis_off()
    frames = {}
    for name, (x, y, shape) in boxes.items():
        text = f"{name}\n{shape}" if shape else name
        style = {"boxstyle": "round,pad=0.45", "facecolor": "#eff6ff" if shape else "white", "edgecolor": OURS}
        frames[name] = axes.text(x, -y, text, ha="center", va="center", fontsize=9, bbox=style, zorder=1)
    for start, end, label in arrows:
        (x0, y0, _), (x1, y1, _) = boxes[start], boxes[end]
        line = {"arrowstyle": "-|>", "color": "#374151", "shrinkA": 1, "shrinkB": 1}
        line |= {f"patch{side}": frames[name].get_bbox_patch() for side, name in (("A", start), ("B", end))}
        line["linestyle"] = "--" if label.startswith("training") else "-"
        axes.annotate("", (x1, -y1), (x0, -y0), arrowprops=line, zorder=2)  # after the frames, at which it ends
        place = {"ha": "center", "va": "bottom" if y0 == y1 else "center", "zorder": 3}
        ground = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none"} if y0 != y1 else None
        lift = 0.06 if y0 == y1 else 0.0
        axes.text((x0 + x1) / 2, -(y0 + y1) / 2 + lift, label, fontsize=7.5, color="#374151", bbox=ground, **place)
    return told(figure, pd.DataFrame([(name, box[2]) for name, box in boxes.items()], columns=["part", "shape"]))


def confusion_matrix(counts: np.ndarray, classes: Sequence[str], title: str = "", axes: Axes | None = None) -> Axes:
    """Counts (K, K), rows the true class: shown as percentages of each row; a class without images stays white."""
    if axes is None:
        _, axes = plt.subplots(figsize=(0.62 * len(classes) + 1.2, 0.56 * len(classes) + 0.8))
    classes = [name.replace("-", "−") for name in classes]
    table = pd.DataFrame(counts, pd.Index(classes, name="true"), classes)
    total = table.sum(axis=1)
    sns.heatmap(
        100 * table.div(total.where(total > 0), axis=0), annot=True, fmt=".0f", cmap="Blues", vmin=0, vmax=100,
        cbar=False, square=True, yticklabels=[f"{name} ({n})" for name, n in total.items()], annot_kws={"size": 8},
        ax=axes,
    )  # fmt: skip
    axes.set(xlabel="predicted", ylabel="true (images)", title=title)
    axes.tick_params(axis="x", rotation=40)
    axes.tick_params(axis="y", rotation=0)
    plt.setp(axes.get_xticklabels(), ha="right")
    return told(axes, table)


def intervals(
    rows: Sequence[tuple[str, str, float, float, float]], published: Mapping[tuple[str, str], float] | None = None
) -> Axes:
    """Measured values with their intervals, one line per group and method; published values as diamonds.

    ``rows``: (group, method, value, low, high) in per cent. ``published``: (group, method) -> value. Groups go down the
    page in their order.
    """
    table = pd.DataFrame(rows, columns=["group", "method", "value", "low", "high"])
    quoted = [(published or {}).get(row[:2], np.nan) for row in rows]
    (group, groups), (method, methods) = table["group"].factorize(), table["method"].factorize()
    places = group + (method - (len(methods) - 1) / 2) * 0.62 / len(methods)
    _, axes = plt.subplots(figsize=(7, 0.42 * len(groups) * len(methods) + 1.3))
    for y, (_, name, value, low, high), printed in zip(places, rows, quoted, strict=True):
        colour = COLOURS.get(name, OURS)
        axes.plot([low, high], [y, y], color=colour, linewidth=2.5, solid_capstyle="round")
        axes.plot(value, y, "o", color=colour, markersize=7)
        axes.annotate(f"{value:.1f}", (value, y), (0, 6), textcoords="offset points", ha="center", fontsize=8)
        if not np.isnan(printed):
            axes.plot(printed, y, "D", mfc="white", mec=colour, markersize=7, markeredgewidth=1.6)
    axes.set_yticks(range(len(groups)), groups)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.set_xlabel("accuracy in per cent")
    handles = [Line2D([], [], color=COLOURS.get(m, OURS), marker="o", label=f"{m}, ours") for m in methods]
    if published:
        handles.append(Line2D([], [], color="k", marker="D", mfc="white", ls="", label="published"))
    axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.45, 1.0), ncol=3, frameon=False)
    axes.grid(axis="y", visible=False)
    return told(axes, table.assign(published=quoted))


def gains(compared: Mapping[str, Any]) -> Axes:
    """Gains in points: published as diamonds, ours with their intervals, on photographs and on rendered people.

    ``compared``: name -> printed, and real and twin: value, low and high first, and stale, or None. What is stale is
    hollow.
    """
    _, axes = plt.subplots(figsize=(7, 0.55 * len(compared) + 1.2))
    table = []
    for y, (name, one) in enumerate(compared.items()):
        axes.plot(float(one.printed), y, "D", mfc="white", mec="k", markersize=7, markeredgewidth=1.6)
        for measured, kind, colour, shift in (
            (one.real, "photographs", OURS, -0.16),
            (one.twin, "rendered", "#9ca3af", 0.16),
        ):
            if measured is not None:
                value, low, high = measured[:3]
                inside = "white" if measured.stale else colour
                axes.plot([low, high], [y + shift] * 2, color=colour, linewidth=3, solid_capstyle="round")
                axes.plot(value, y + shift, "o", color=colour, mfc=inside, mew=2, markersize=7)
                table.append((name, kind, float(one.printed), value, low, high, bool(measured.stale)))
    axes.axvline(0, color="#6b7280", linewidth=1)
    axes.set_yticks(range(len(compared)), list(compared))
    axes.set(ylim=(len(compared) - 0.4, -0.6), xlabel="gain over the paper's own baseline, points of accuracy")
    there = {"photographs": (OURS, "ours, on photographs"), "rendered": ("#9ca3af", "ours, on rendered people")}
    kinds = {line[1] for line in table}
    handles = [Line2D([], [], color=c, marker="o", label=said) for kind, (c, said) in there.items() if kind in kinds]
    handles.append(Line2D([], [], color="k", marker="D", mfc="white", ls="", label="published"))
    if any(line[-1] for line in table):
        handles.append(Line2D([], [], color="#6b7280", marker="o", mfc="white", mew=2, label="hollow: stale"))
    axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncol=4, frameon=False, fontsize=9)
    axes.grid(axis="y", visible=False)
    return told(axes, pd.DataFrame(table, columns=["gain", "on", "published", "value", "low", "high", "stale"]))


def with_intervals(axes: Axes, x: Any, table: pd.DataFrame, value: str, **style: Any) -> None:
    """A line through a table's column ``value`` over x, with whiskers to its columns low and high."""
    errors = np.abs(table[["low", "high"]].to_numpy().T - table[value].to_numpy())
    axes.errorbar(x, table[value], errors, **{"fmt": "o-", "capsize": 3} | style)


def training_curves(histories: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]) -> Figure:
    """Loss and validation accuracy by epoch. ``histories``: method -> a record's history (stage -> rows)."""
    table = pd.DataFrame(
        {"method": method, "stage": stage, **row}
        for method, stages in histories.items()
        for stage, rows in stages.items()
        for row in rows
    )
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.1))
    for method, own in table.groupby("method", sort=False):
        style = {"ms": 3, "color": COLOURS.get(method, OURS), "label": method}
        epochs = np.arange(1, len(own) + 1)
        left.plot(epochs, own["train_cross_entropy"], "o-", **style)
        right.plot(epochs, 100 * own["validation_accuracy"], "o-", **style)
    shared = table.query("stage == 'backbone'")["method"].value_counts().max()
    for axes, name in ((left, "training cross-entropy"), (right, "validation accuracy in per cent")):
        axes.set(xlabel="epoch", title=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if shared > 0:
            axes.axvline(shared + 0.5, color="k", linewidth=0.8, linestyle=":")
            axes.text(shared + 0.5, axes.get_ylim()[1], " methods part", fontsize=7, va="top")
    right.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    return told(figure, table)


def counts(table: Mapping[str, Mapping[str, int]]) -> Axes:
    """Grouped bars: series name -> class name -> number, the numbers written on the bars."""
    numbers = pd.DataFrame(table).rename_axis("class")
    axes = numbers.plot.bar(figsize=(8, 3.2), width=0.8, rot=0, xlabel="", ylabel="images", legend=False)
    for bars in axes.containers:
        axes.bar_label(bars, fontsize=7, rotation=90 if len(table) > 1 else 0, padding=2)
    axes.margins(y=0.18)
    axes.grid(axis="x", visible=False)
    if len(table) > 1:
        axes.legend(frameon=False)
    return told(axes, numbers)


def heat(table: pd.DataFrame, x: str, y: str, title: str = "") -> Axes:
    """A table of percentages as a heat map with its numbers."""
    _, axes = plt.subplots(figsize=(0.62 * table.shape[1] + 2.2, 0.36 * table.shape[0] + 1.3))
    sns.heatmap(table, annot=True, fmt=".0f", cmap="Blues", vmin=0, vmax=100, cbar=False, annot_kws={"size": 8})
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
    return told(figure, by_place(dict(zip(titles, arrays, strict=True))))


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
    """Curves over one x, one per series."""
    _, axes = plt.subplots(figsize=(5.2, 3))
    for name, y in series.items():
        axes.plot(x, y, "o-" if len(x) < 12 else "-", label=name)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if len(series) > 1:
        axes.legend(frameon=False)
    return told(axes, pd.DataFrame({xlabel: x, **series}))


def descend(start: Tensor, loss: Callable[[Tensor], Tensor], *, steps: int, rate: float) -> tuple[Tensor, list[float]]:
    """Where ``steps`` down the gradient of a loss lead from a start, and the loss before each of them."""
    at, losses = start.clone().requires_grad_(), []
    for _ in range(steps):
        value = loss(at)
        losses.append(value.item())
        (gradient,) = torch.autograd.grad(value, at)
        at = (at - rate * gradient).detach().requires_grad_()
    return at.detach(), losses


def differences(table: pd.DataFrame, against: str, xlabel: str = "difference in points") -> Axes:
    """What each row of an ablation changes, with its interval, group by group; the row without a difference is hollow.

    ``table``: columns ablation, row, difference, low, high; a NaN marks the row that the others are held ``against``.
    Rows say over how many folds they were run, where a column ``folds`` has more than one.
    """
    if table.empty:
        raise ParameterError("There is no row of an ablation to draw.", do="make its records: fercore plan")
    number, groups = table["ablation"].factorize()
    table = table.assign(y=np.arange(len(table)) + 0.8 * number)
    changed, own = table[table["difference"].notna()], table[table["difference"].isna()]
    last = table["y"].max()
    _, axes = plt.subplots(figsize=(7, 0.3 * last + 1.4))
    axes.axvline(0, color="#6b7280", linewidth=1)
    axes.hlines(changed["y"], changed["low"], changed["high"], color=OURS, linewidth=2.5)
    axes.plot(changed["difference"], changed["y"], "o", color=OURS, markersize=7, label="changed")
    axes.plot(np.zeros(len(own)), own["y"], "o", mfc="white", mec="#6b7280", markersize=7, label=against)
    folds = table.get("folds", pd.Series(1, table.index))
    names = [f"{row} ({n} folds)" if n > 1 else row for row, n in zip(table["row"], folds, strict=True)]
    axes.set_yticks(table["y"], names)
    axes.set_ylim(last + 0.9, -1.4)
    for group, first in zip(groups, table.groupby("ablation", sort=False)["y"].min(), strict=True):
        place = (0, first - 0.75)
        axes.annotate(group, place, xycoords=("axes fraction", "data"), fontsize=9, fontweight="bold", va="center")
    axes.set_xlabel(xlabel)
    axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncol=2, frameon=False)
    axes.grid(axis="y", visible=False)
    return told(axes, table.drop(columns="y"))
