"""Figures of the PCDA paper's method: heat maps over a face, what a loss pulls where, sizes beside the printed ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fercore import published
from fercore.figures import COLOURS, OURS, by_place, image_grid, laid_over, told
from fercore.papers import pcda
from fercore.papers.pcda import PCDA
from fercore.studies import audit

PARTS = {"jaw": range(17), "brows": range(17, 27), "nose": range(27, 36), "eyes": range(36, 48), "mouth": range(48, 68)}
"""Landmarks of each part of a face, in iBUG's order."""


STEPS = {  # box -> place (column, row), what it gives
    "image": ((0.0, 0.5), "3 × 112 × 112"),
    "IR-50": ((1.0, 1.0), "256 × 14 × 14"),
    "MobileFaceNet\n(frozen)": ((1.0, 0.0), "128 × 14 × 14"),
    "heat map,\nEq. (1)": ((2.0, 0.42), "14 × 14"),
    "product,\nEq. (1)": ((2.0, 1.0), "256 × 14 × 14"),
    "fusion tokens,\nEq. (2)": ((3.0, 1.0), "197 × 768"),
    "landmark tokens,\nEq. (2)": ((3.0, 0.0), "197 × 768"),
    "2 blocks,\nEqs. (3) to (5)": ((4.0, 0.5), "197 × 768"),
    "classifier": ((5.0, 1.0), "classes"),
    "anchor loss,\nEqs. (6) to (10)": ((5.0, 0.0), "a number"),
}
ARROWS = (
    ("image", "IR-50"), ("image", "MobileFaceNet\n(frozen)"), ("IR-50", "product,\nEq. (1)"),
    ("MobileFaceNet\n(frozen)", "heat map,\nEq. (1)"), ("heat map,\nEq. (1)", "product,\nEq. (1)"),
    ("product,\nEq. (1)", "fusion tokens,\nEq. (2)"), ("MobileFaceNet\n(frozen)", "landmark tokens,\nEq. (2)"),
    ("fusion tokens,\nEq. (2)", "2 blocks,\nEqs. (3) to (5)"),
    ("landmark tokens,\nEq. (2)", "2 blocks,\nEqs. (3) to (5)"),
    ("2 blocks,\nEqs. (3) to (5)", "classifier"), ("2 blocks,\nEqs. (3) to (5)", "anchor loss,\nEqs. (6) to (10)"),
)  # fmt: skip


def overview() -> Axes:
    """The network as boxes, with the shape of what each gives, and arrows: what the paper's Fig. 1 shows."""
    _, axes = plt.subplots(figsize=(9.6, 3.0))
    for name, ((x, y), shape) in STEPS.items():
        colour = "#dbeafe" if "Eq" in name else "#f3f4f6"
        box = {"boxstyle": "round,pad=0.45", "fc": colour, "ec": "#374151", "lw": 1}
        axes.text(1.9 * x, 1.5 * y, name, ha="center", va="center", fontsize=9, bbox=box, zorder=3, color="#111827")
        side = 1 if y == 1 else -1  # above the upper row, where an arrow comes from below
        place = {"ha": "center", "va": "bottom" if y == 1 else "top"}
        axes.text(1.9 * x, 1.5 * y + 0.36 * side, shape, **place, fontsize=7.5, color="#6b7280", zorder=4)
    for start, end in ARROWS:
        tail, head = ((1.9 * x, 1.5 * y) for (x, y), _ in (STEPS[start], STEPS[end]))
        style = {"arrowstyle": "-|>", "color": "#6b7280", "shrinkA": 34 if tail[0] != head[0] else 16, "lw": 1.1}
        axes.annotate("", head, tail, arrowprops=style | {"shrinkB": 42 if tail[0] != head[0] else 18}, zorder=1)
    axes.set(xlim=(-0.7, 10.4), ylim=(-0.65, 2.15))
    axes.set_axis_off()
    rows = [(name.replace("\n", " "), shape) for name, (_, shape) in STEPS.items()]
    return told(axes, pd.DataFrame(rows, columns=["step", "gives"]))


def channels_of(landmarks: np.ndarray, size: int, grid: int = 14, spread: float = 0.6) -> np.ndarray:
    """Landmark features such as a detector might have: (5, grid, grid), a channel of :data:`PARTS` each.

    ``landmarks`` (68, 2) in pixels of an image of ``size``. A place has, in each channel, the greatest of Gaussians
    round the part's points, ``spread`` places wide.
    """
    places = np.stack(np.meshgrid(np.arange(grid), np.arange(grid)), -1) + 0.5  # x, y
    points = landmarks * grid / size
    squared = ((places[None] - points[:, None, None]) ** 2).sum(-1)  # (68, grid, grid)
    rings = np.exp(-squared / (2 * spread**2))
    return np.stack([rings[list(own)].max(0) for own in PARTS.values()])


def over_face(image: np.ndarray, heats: Mapping[str, np.ndarray], cell: float = 2.0) -> Figure:
    """A picture, and heat maps (h, w) of it, each laid over the picture; bright is high, each by its own scale."""
    laid = [laid_over(image, (heat - heat.min()) / np.ptp(heat)) for heat in heats.values()]
    figure = image_grid([image, *laid], column_labels=["image", *heats], cell=cell)
    return told(figure, by_place(heats))


def pulled(
    before: np.ndarray, after: np.ndarray, labels: np.ndarray, anchors: np.ndarray, names: Sequence[str]
) -> Axes:
    """Where a loss has moved points (n, 2): hollow before, filled after, a line between; stars are the ``anchors``.

    labels (n,): index into ``names``; anchors: places in the batch.
    """
    _, axes = plt.subplots(figsize=(6.2, 4.2))
    colours = sns.color_palette("colorblind", len(names))
    for k, colour in enumerate(colours):
        own = labels == k
        axes.plot(*np.stack([before[own], after[own]]).transpose(2, 0, 1), color=colour, alpha=0.45, linewidth=1)
        axes.scatter(*before[own].T, s=26, facecolors="white", edgecolors=[colour], zorder=2)
        axes.scatter(*after[own].T, s=30, color=[colour], zorder=3)
    axes.scatter(*after[anchors].T, marker="*", s=230, color=[colours[k] for k in labels[anchors]], ec="k", zorder=4)
    handles = [Line2D([], [], ls="", marker="o", color=c, label=name) for c, name in zip(colours, names, strict=True)]
    handles += [
        Line2D([], [], ls="", marker="o", mfc="white", mec="#6b7280", label="before"),
        Line2D([], [], ls="", marker="*", ms=13, mfc="#9ca3af", mec="k", label="anchor, Eq. (6)"),
    ]
    axes.legend(handles=handles, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1))
    axes.set(xlabel="feature 1", ylabel="feature 2", aspect="equal")
    table = pd.DataFrame(np.hstack([before, after]), columns=["x before", "y before", "x after", "y after"])
    anchored = np.isin(np.arange(len(labels)), anchors)
    return told(axes, table.assign(label=np.array(names)[labels], anchor=anchored))


def sizes(network: PCDA) -> pd.DataFrame:
    """Parameters (M) and operations per image (G) of each module beside the paper's Table 8, in both conventions."""
    counted = pcda.costs(network)
    modules = {name: counted[part] for name, part in audit.MODULES.items()} | {"together": counted["whole"]}
    cells = {name: ("T8", name) for name in audit.MODULES} | {"together": ("T2", "2 blocks")}
    rows = [
        {
            "module": name,
            "parameters, M": own[0] / 1e6,
            "printed, M": published.value("pcda", *cells[name], "parameters"),
            "multiply-adds, G": own[1] / 1e9,
            "two a pair, G": own[2] / 1e9,
            "printed FLOPs, G": published.value("pcda", *cells[name], "FLOPs"),
        }
        for name, own in modules.items()
    ]
    return pd.DataFrame(rows)


def operations(network: PCDA) -> pd.DataFrame:
    """Operations per image, 10^9: printed, counted as multiply-adds, counted twice, and which of the two was printed.

    PCDA's whole and modules against its Tables 8 and 2, POSTER against the same paper's Table 7.
    """
    own = sizes(network)[["module", "printed FLOPs, G", "multiply-adds, G"]]
    rows = [("PCDA" if name == "together" else f"PCDA, {name}", *rest) for name, *rest in own.itertuples(index=False)]
    rows.append(("POSTER", published.value("pcda", "T7", "POSTER", "FLOPs"), audit.POSTER[1] / 1e9))
    table = pd.DataFrame(rows, columns=["network", "printed", "multiply-adds"])
    table["two a multiply-add"] = 2 * table["multiply-adds"]
    table["printed as"] = list(map(audit.convention_of, table["printed"], table["multiply-adds"]))
    return table


def conventions(table: pd.DataFrame) -> Axes:
    """Of each network both counts as dots and what the paper prints as a diamond: it should sit on the same kind of dot
    everywhere. ``table``: :func:`operations`."""
    _, axes = plt.subplots(figsize=(7.6, 0.5 * len(table) + 1.3))
    places = np.arange(len(table))[::-1]
    axes.hlines(places, table["multiply-adds"], table["two a multiply-add"], color="#d1d5db", lw=2, zorder=1)
    axes.scatter(table["multiply-adds"], places, s=60, color=OURS, label="multiply-adds, counted", zorder=2)
    hollow = {"facecolors": "white", "edgecolors": OURS, "linewidths": 1.6}
    axes.scatter(table["two a multiply-add"], places, s=60, label="twice that", zorder=2, **hollow)
    axes.scatter(table["printed"], places, s=34, color=COLOURS["paper"], marker="D", label="printed", zorder=3)
    axes.set(
        yticks=places, yticklabels=table["network"], xlabel="operations per image, 10⁹", ylim=(-0.6, len(table) - 0.4)
    )
    axes.set_xlim(0, 1.06 * table["two a multiply-add"].max())
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3)
    return told(axes, table)


FORMS = {"eager": "as it is", "folded": "folded, channels last", "compiled": "compiled"}
NETWORKS = {"PCDA": OURS, "POSTER": "#7a8794"}


def speeds(table: pd.DataFrame, precision: str = "fp32") -> Figure:
    """Milliseconds per image of whole networks: one panel per batch size, with an axis of its own, one row per form.

    ``table``: :func:`fercore.studies.speed.kept` or :func:`fercore.studies.speed.measure`.
    """
    own = table[(table["part"] == "whole") & (table["precision"] == precision)]
    forms = [form for form in FORMS if form in set(own["form"])][::-1]
    size = (3.1 * own["batch"].nunique() + 1.2, 0.5 * len(forms) + 1.6)
    figure, grid = plt.subplots(1, own["batch"].nunique(), figsize=size, sharey=True, squeeze=False)
    for axes, (batch, rows) in zip(grid[0], own.groupby("batch"), strict=True):
        for network, colour in NETWORKS.items():
            values = rows[rows["network"] == network].set_index("form")["milliseconds"]
            places = list(map(forms.index, values.index))
            axes.scatter(values, places, s=60, color=colour, label=network, zorder=2)
            above = {"xytext": (0, 10 if network == "PCDA" else -15), "textcoords": "offset points", "ha": "center"}
            for value, place in zip(values, places, strict=True):
                text = f"{value:.0f}" if value >= 10 else f"{value:.1f}"
                axes.annotate(text, (value, place), **above, fontsize=8, color=colour)
        axes.set(title=f"batch of {batch}", xlabel="milliseconds per image", ylim=(-0.7, len(forms) - 0.3))
        axes.set_xlim(0, 1.15 * rows["milliseconds"].max())
    grid[0, 0].set(yticks=range(len(forms)), yticklabels=[FORMS[form] for form in forms])
    handles, labels = grid[0, 0].get_legend_handles_labels()
    if len(set(own["network"])) > 1:
        figure.legend(handles, labels, frameon=False, loc="lower center", bbox_to_anchor=(0.55, 0.98), ncols=2)
    figure.tight_layout()
    return told(figure, own)


def modules(table: pd.DataFrame) -> pd.DataFrame:
    """PCDA's milliseconds per image by module, in 32 bits: a row a form and batch; what is no backbone is the rest."""
    own = table[(table["network"] == "PCDA") & (table["precision"] == "fp32")]
    wide = own.pivot_table(index=["form", "batch"], columns="part", values="milliseconds", sort=False)
    wide["attention and classifier"] = wide["whole"] - wide["image backbone"] - wide["landmark backbone"]
    order = ["image backbone", "landmark backbone", "attention and classifier", "whole"]
    return wide[order].rename_axis(columns=None).reset_index()
