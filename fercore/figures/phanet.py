"""Figures of the PhaNet paper: squares that look for a face's parts, weights of scales and tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from fercore import figures
from fercore.figures import told

Square = tuple[float, float, float]
SCALES = {"scale_1": ("S1", "#94a3b8"), "scale_2": ("S2", "#0891b2"), "scale_3": ("S3", "#e11d48")}
"""The numbers of a history that are weights of scales, their names and colours."""


def overview() -> Figure:
    """From three scales to two tasks, the paper's Fig. 1."""
    boxes = {
        "face": (0.0, 0.0, "S1"),
        "region": (1.9, 0.0, "S2"),
        "region of it": (3.8, 0.0, "S3"),
        "SAL": (1.9, 1.6, "weights of scales"),
        "expression": (3.8, 1.6, ""),
        "pose": (3.8, 2.5, ""),
    }
    arrows = [("face", "region", "Eqs. (2), (5)"), ("region", "region of it", "Eqs. (2), (5)")]
    arrows += [(part, "SAL", "") for part in ("face", "region", "region of it")]
    arrows += [("SAL", "expression", ""), ("SAL", "pose", "")]
    return figures.architecture(boxes, arrows)


def architecture(output: Any, size: int, fused: int) -> Figure:
    """The network with the shapes of its output for images of so many pixels, the paper's Fig. 2."""
    shape = " × ".join(map(str, output.feature_maps[0].shape[1:]))
    channels = output.feature_maps[0].shape[1]
    boxes = {f"S{k + 1}": (0.0, float(k), f"{size} × {size}") for k in range(3)}
    boxes |= {f"$M_{k + 1}$": (1.7, float(k), shape) for k in range(3)}
    boxes |= {f"$c_{k + 1} g(M_{k + 1})$": (3.5, float(k), str(channels)) for k in range(3)}
    boxes |= {
        "$f$": (5.1, 1.0, str(output.features.shape[1])),
        "FC": (6.3, 1.0, str(fused)),
        "expression": (7.8, 0.0, str(output.logits.shape[1])),
        "pose": (7.8, 1.0, str(output.pose_logits.shape[1])),
        r"$\lambda_e, \lambda_p$": (7.8, 2.0, "2"),
    }
    arrows = [(f"S{k}", f"$M_{k}$", "DenseNet") for k in (1, 2, 3)]
    arrows += [(f"$M_{k}$", f"$c_{k} g(M_{k})$", "SAL") for k in (1, 2, 3)]
    arrows += [(f"$M_{k}$", f"S{k + 1}", "PAN") for k in (1, 2)]
    arrows += [(f"$c_{k} g(M_{k})$", "$f$", "") for k in (1, 2, 3)]
    arrows += [("$f$", "FC", ""), ("FC", "expression", ""), ("FC", "pose", ""), ("$f$", r"$\lambda_e, \lambda_p$", "")]
    return figures.architecture(boxes, arrows)


def squares(panels: Mapping[str, tuple[np.ndarray, Mapping[str, Square]]], columns: int = 4) -> Figure:
    """Pictures (H, W, 3) or maps (H, W) with squares (x, y, half), pixels, by name; one panel each."""
    across = min(columns, len(panels))
    down = -(-len(panels) // across)
    figure, cells = plt.subplots(down, across, figsize=(2.5 * across, 2.7 * down + 0.3), squeeze=False)
    rows = []
    names = list(dict.fromkeys(name for _, drawn in panels.values() for name in drawn))
    colours = dict(zip(names, ("#9ca3af", figures.OURS, "#e11d48"), strict=False)) | dict(SCALES.values())
    for axes in cells.flat:
        axes.set_axis_off()
    for axes, (title, (picture, drawn)) in zip(cells.flat, panels.items(), strict=False):
        axes.imshow(picture, cmap="gray")
        axes.set_title(title, fontsize=9)
        high, wide = picture.shape[:2]
        for k, (name, (x, y, half)) in enumerate(drawn.items()):
            corner, width = (x - half - 0.5, y - half - 0.5), 5 - 3 * min(k, 1)  # the first shows below a second one
            axes.add_patch(Rectangle(corner, 2 * half, 2 * half, fill=False, lw=width, ec=colours[name], label=name))
            rows.append((title, name, x, y, half))
        around = max(
            [0.0, *(edge for x, y, half in drawn.values() for edge in (half - min(x, y), max(x, y) + half - high))]
        )
        around *= 1.06  # squares that leave the picture are seen whole
        axes.set(xlim=(-0.5 - around, wide - 0.5 + around), ylim=(high - 0.5 + around, -0.5 - around))
    handles = dict(zip(*cells[0, 0].get_legend_handles_labels()[::-1], strict=True))
    figure.legend(handles.values(), handles.keys(), frameon=False, loc="lower center", ncols=len(handles), fontsize=9)
    figure.tight_layout(rect=(0, 0.09 / down, 1, 1))
    return told(figure, pd.DataFrame(rows, columns=["panel", "square", "x", "y", "half"]))


def through_scales(
    pictures: np.ndarray, maps: Mapping[str, np.ndarray], regions: np.ndarray, columns: Sequence[str]
) -> Figure:
    """What each scale sees with its map laid over, below the whole picture with its regions, the paper's Fig. 8.

    pictures (N, H, W, 3) uint8; maps ``s1``, ``s2``, ...: (N, h, w), scaled from a picture's least to its greatest
    value; regions (N, scales - 1, 3), shares of the side.
    """
    names = list(maps)
    figure, cells = plt.subplots(
        len(names) + 1, len(pictures), figsize=(1.3 * len(pictures) + 0.6, 1.35 * (len(names) + 1)), squeeze=False
    )
    for axes in cells.flat:
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
    for k, (picture, title) in enumerate(zip(pictures, columns, strict=True)):
        cells[0, k].imshow(picture)
        cells[0, k].set_title(title, fontsize=9)
        for region, (_, colour) in zip(regions[k], list(SCALES.values())[1:], strict=False):
            x, y, half = region * len(picture)
            cells[0, k].add_patch(Rectangle((x - half, y - half), 2 * half, 2 * half, fill=False, lw=2, ec=colour))
        for row, name in enumerate(names):
            seen = picture if not row else enlarged(picture, regions[k, row - 1])
            values = maps[name][k].astype(float)
            spread = (values - values.min()) / max(float(np.ptp(values)), 1e-9)
            cells[row + 1, k].imshow(figures.laid_over(seen, spread))
    for row, name in enumerate(["image", *(name.upper() for name in names)]):
        cells[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    figure.tight_layout(pad=0.3)
    lines = [
        (title, f"S{scale + 2}", *region)
        for title, own in zip(columns, regions, strict=True)
        for scale, region in enumerate(own)
    ]
    return told(figure, pd.DataFrame(lines, columns=["picture", "region", "x", "y", "half"]))


def enlarged(picture: np.ndarray, region: np.ndarray) -> np.ndarray:
    """The square (x, y, half), shares of the side, of a picture (H, W, 3), enlarged to the picture's size."""
    x, y, half = region * len(picture)
    box = (x - half, y - half, x + half, y + half)
    return np.asarray(Image.fromarray(picture).resize(picture.shape[1::-1], Image.Resampling.BILINEAR, box=box))


def coverage(table: pd.DataFrame) -> Axes:
    """How much of each kind of square lies on the face's parts, by scale, with intervals.

    ``table``: columns scale, square, share, low, high, in per cent.
    """
    _, axes = plt.subplots(figsize=(7.2, 3.2))
    kinds, scales = list(table["square"].unique()), list(table["scale"].unique())
    colours = dict(zip(kinds, (figures.OURS, "#475569", "#94a3b8", "#d97706"), strict=False))
    for k, kind in enumerate(kinds):
        own = table[table["square"] == kind]
        x = np.arange(len(own)) + 0.16 * (k - (len(kinds) - 1) / 2)
        figures.with_intervals(axes, x, own, "share", color=colours[kind], label=kind, fmt="o", ms=7)
    axes.set(xticks=range(len(scales)), xticklabels=[f"squares of {name}" for name in scales], ylim=(0, None))
    axes.set(ylabel="on mouth, eyes, brows,\nper cent of the square", xlim=(-0.6, len(scales) - 0.4))
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1))
    return told(axes, table)


def by_epoch(history: Sequence[Mapping[str, float]]) -> Figure:
    """Weights of scales, training loss and validation accuracy by epoch of a record's history, as the paper's Figs. 12
    and 13 have them."""
    table = pd.DataFrame(history)
    figure, (weights, loss, accuracy) = plt.subplots(1, 3, figsize=(10, 2.9))
    for column, (scale, colour) in SCALES.items():
        weights.plot(table["epoch"], table[column], "o-", ms=4, lw=2, color=colour, label=scale)
    weights.axhline(0.5, color="k", lw=0.8, ls=":")
    weights.legend(frameon=False, loc="lower right")
    loss.plot(table["epoch"], table["train_loss"], "o-", ms=4, lw=2, color="#475569")
    accuracy.plot(table["epoch"], 100 * table["validation_accuracy"], "o-", ms=4, lw=2, color="#475569")
    titles = ("weight of a scale", "training loss", "validation accuracy, per cent")
    for axes, title in zip((weights, loss, accuracy), titles, strict=True):
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.tight_layout()
    return told(figure, table[["epoch", *SCALES, "train_loss", "validation_accuracy"]])


def weighed(panels: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """The weights of both tasks by epoch, the paper's Fig. 15; ``panels``: title -> epochs of a record's history."""
    figure, row = plt.subplots(1, len(panels), figsize=(3.0 * len(panels) + 1.4, 2.9), squeeze=False, sharey=True)
    tasks = {"lambda_e": ("expression", "#2563eb"), "lambda_p": ("pose", "#d97706")}
    tables = {}
    for axes, (title, history) in zip(row[0], panels.items(), strict=True):
        table = pd.DataFrame(history)
        for column, (task, colour) in tasks.items():
            axes.plot(table["epoch"], table[column], "o-", ms=4, lw=2, color=colour, label=task)
        axes.set(xlabel="epoch", ylim=(-0.03, 1.03))
        axes.set_title(title, fontsize=10)
        axes.xaxis.get_major_locator().set_params(integer=True)
        tables[title] = table[["epoch", *tasks]]
    row[0, 0].set_ylabel("weight of a task")
    row[0, -1].legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1))
    figure.tight_layout()
    return told(figure, pd.concat(tables, names=["panel"]).reset_index(level=0))
