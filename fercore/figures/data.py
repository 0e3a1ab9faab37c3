"""Figures of data sets: arrays in, matplotlib out; the look is that of `fercore.figures`."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from fercore.data import catalogue
from fercore.figures import OURS, told, with_intervals

PUBLISHED, OTHER = "#111827", "#d97706"


def _title(twin: str) -> str:
    """Of which data set it is the twin: ``BU-3DFE``."""
    return catalogue.entry(twin).title.partition(" twin")[0]


def calibration_points(runs: pd.DataFrame, bands: Mapping[str, tuple[float, float]]) -> Figure:
    """Accuracy of the plain baseline at each setting of a twin, one panel per twin, with the published band.

    ``runs``: columns twin, levels, hardness, taken, runs, accuracy, low, high (per cent), see
    :func:`fercore.studies.calibration.settings`; ``bands``: twin -> least and greatest published value. A filled dot is
    the setting that the twin has now.
    """
    own = {twin: runs[runs["twin"] == twin] for twin in bands}
    heights = [max(1, len(rows)) + 1.1 for rows in own.values()]
    figure, grid = plt.subplots(
        len(bands), 1, sharex=True, squeeze=False, figsize=(7.6, 0.26 * sum(heights) + 0.9), height_ratios=heights
    )
    for axes, (twin, rows) in zip(grid[:, 0], own.items(), strict=True):
        axes.axvspan(*bands[twin], color=PUBLISHED, alpha=0.25, zorder=0)
        for y, row in enumerate(rows.itertuples()):
            axes.plot([row.low, row.high], [y, y], color=OURS, linewidth=2.2, solid_capstyle="round")
            axes.plot(row.accuracy, y, "o", ms=7, mec=OURS, mew=1.6, color=OURS if row.taken else "white")
            place = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
            axes.annotate(f"{row.accuracy:.1f}", (row.high, y), fontsize=8, **place)
        levels = rows["levels"].str.replace("^(.).*(.)$", r"\1 to \2", regex=True)
        names = [
            f"level{'s' if len(own) > 1 else ''} {own}, hardness {hard:g} ({n} {'runs' if n > 1 else 'run'})"
            for own, hard, n in zip(levels, rows["hardness"], rows["runs"], strict=True)
        ]
        axes.set_yticks(range(len(rows)), names, fontsize=8.5)
        axes.set_ylim(max(1, len(rows)) - 0.4, -0.6)
        axes.set_title(_title(twin), loc="left", fontsize=10, pad=3)
        axes.grid(axis="y", visible=False)
        if rows.empty:
            axes.text(0.3, 0.5, "no run yet", transform=axes.transAxes, va="center", fontsize=8.5, color="#6b7280")
    least = min([low for low, _ in bands.values()] + runs["low"].tolist())
    grid[-1, 0].set(xlabel="accuracy, %", xlim=(10 * np.floor(least / 10), 102))
    handles = [
        Patch(color=PUBLISHED, alpha=0.25, label="published baselines"),
        Line2D([], [], color=OURS, marker="o", ms=7, label="ours, as the twin is now"),
        Line2D([], [], color=OURS, marker="o", ms=7, mfc="white", mew=1.6, label="ours, at another setting"),
    ]
    figure.legend(handles=handles, loc="upper center", ncol=3, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.35 / figure.get_figheight()), h_pad=0.4)
    return told(figure, runs)


def accuracy_by_yaw(table: pd.DataFrame) -> Axes:
    """Accuracy over yaw, one line a twin: columns twin, yaw (degrees), accuracy, low, high (per cent)."""
    _, axes = plt.subplots(figsize=(6.4, 3.4))
    for colour, (twin, own) in zip(sns.color_palette("deep"), table.groupby("twin"), strict=False):
        with_intervals(axes, own["yaw"], own, "accuracy", color=colour, label=_title(twin))
    axes.set(xlabel="yaw in degrees", ylabel="accuracy, %", ylim=(0, 100), xticks=sorted(set(table["yaw"])))
    if len(table):
        axes.legend(frameon=False)
    return told(axes, table)


def shares(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """A metric over the share of real labels, one panel a metric, a line for each thing that was learnt before.

    ``tables``: metric -> columns "learnt on", share (0 for the twin alone), the metric, low, high (per cent).
    """
    figure, row = plt.subplots(1, len(tables), figsize=(4.3 * len(tables), 3.3), squeeze=False)
    for axes, (metric, table) in zip(row[0], tables.items(), strict=True):
        lines = {"real": (PUBLISHED, 0.95), "people, then real": (OTHER, 1.0), "twin, then real": (OURS, 1.05)}
        for name, (colour, aside) in lines.items():  # a little aside, so that intervals do not hide each other
            own = table[table["learnt on"] == name].sort_values("share")
            if own.empty:
                continue
            label = "real alone" if name == "real" else name
            with_intervals(axes, 100 * aside * own["share"], own, metric, color=colour, label=label)
        alone = table.loc[table["learnt on"] == "twin", metric]
        if len(alone):
            axes.axhline(alone.iloc[0], color=OURS, linestyle=":", label="twin alone")
        axes.set(xscale="log", xlabel="real labels, %", ylabel=f"{metric}, %")
        axes.set_xticks([1, 10, 100], ["1", "10", "100"])
    row[0][0].legend(loc="lower right", fontsize=9)
    figure.tight_layout()
    long = pd.concat([t.rename(columns={metric: "value"}).assign(metric=metric) for metric, t in tables.items()])
    return told(figure, long.reset_index(drop=True))


def symmetries(tables: Mapping[str, pd.DataFrame]) -> Axes:
    """Mean symmetry with its 95 % interval by how far heads are said to be turned, a colour a data set.

    ``tables``: name of a data set -> :func:`fercore.data.ferplus_tables.pose_symmetry`.
    """
    _, axes = plt.subplots(figsize=(6.2, 2.6))
    for (name, table), colour in zip(tables.items(), ("#111827", OURS), strict=False):
        with_intervals(axes, table["turned"], table, "symmetry", color=colour, label=name)
    axes.axhline(0, color="#9ca3af", lw=0.8)
    axes.set(xlabel="the head is turned by", ylabel="correlation with\nthe mirror image")
    axes.set_xlim(-0.3, len(table) - 0.7)
    axes.legend(frameon=False, fontsize=8)
    return told(axes, pd.concat([table.assign(data=name) for name, table in tables.items()], ignore_index=True))
