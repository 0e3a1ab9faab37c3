"""Figures of what features say: where images lie among each other, arousal and valence read off them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fercore.figures import COLOURS, OURS, told
from fercore.records import Record
from fercore.studies import features

SHOWN = 1500
"""Points of a panel at most, evenly taken: more would hide each other."""


def planes(runs: Mapping[str, Record]) -> Figure:
    """Test images of several runs in the plane of their features' first two components, one panel per run.

    A colour is a class, a large dot its mean; panels share no axes, since each run has its own components.
    """
    figure, row = plt.subplots(1, len(runs), figsize=(4.6 * len(runs) + 1.2, 4.2), squeeze=False)
    lines = []
    for axes, (name, run) in zip(row[0], runs.items(), strict=True):
        points, labels = features.of(run)[:, :2], run.arrays()["labels"]
        colours = _dots(axes, points, labels, run.classes, s=5, alpha=0.35)
        for k, expression in enumerate(run.classes):
            if (own := points[labels == k]).size:
                mean = own.mean(0)
                axes.scatter(*mean, s=90, color=[colours[k]], edgecolors="white", linewidths=1.5, zorder=3)
                axes.annotate(expression, mean, (0, 8), textcoords="offset points", ha="center", fontsize=8, zorder=4)
                lines.append((name, expression, len(own), *mean))
        share = run.arrays()["features_share"][:2]
        axes.set(title=name, xlabel=f"component 1 ({share[0]:.0%})", ylabel=f"component 2 ({share[1]:.0%})")
        axes.set(xticks=[], yticks=[])
    figure.tight_layout()
    return told(figure, pd.DataFrame(lines, columns=["run", "class", "images", "x", "y"]))


def affect_planes(record: Record) -> Figure:
    """Arousal over valence of a twin's test faces, as rendered and as read off the record's features.

    Left the truth, right the prediction for people whom the linear model has not seen; a colour is a class.
    """
    read, arrays = features.affect(record), record.arrays()
    truth = pd.DataFrame({name: arrays[f"known_{name}"].astype(float) for name in ("valence", "arousal")})
    found = pd.DataFrame({name: read[name].predicted for name in truth})
    figure, row = plt.subplots(1, 2, figsize=(9.6, 4.0), sharex=True, sharey=True)
    titles = ("rendered", f"read off: R² {read['valence'].r2:.2f} (valence), {read['arousal'].r2:.2f} (arousal)")
    for axes, values, title in zip(row, (truth, found), titles, strict=True):
        colours = _dots(axes, values.to_numpy(), arrays["labels"], record.classes, s=7, alpha=0.5)
        axes.axhline(0, color="#9ca3af", lw=0.8)
        axes.axvline(0, color="#9ca3af", lw=0.8)
        axes.set(xlabel="valence", xlim=(-1.05, 1.05), ylim=(-1.05, 1.05))
        axes.set_title(title, fontsize=10)
    row[0].set_ylabel("arousal")
    style = {"xdata": [], "ydata": [], "ls": "", "marker": "o"}
    handles = [plt.Line2D(**style, color=c, label=name) for c, name in zip(colours, record.classes, strict=True)]
    row[1].legend(handles=handles, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8)
    figure.tight_layout()
    table = truth.add_suffix(", rendered").join(found.add_suffix(", read off"))
    table.insert(0, "class", np.array(record.classes)[arrays["labels"]])
    return told(figure, table)


def _dots(axes: Axes, points: np.ndarray, labels: np.ndarray, classes: Sequence[str], **style: float) -> np.ndarray:
    """Draw points (N, 2), :data:`SHOWN` of them at most, and return the colours of the classes."""
    colours = np.array(sns.color_palette("colorblind", len(classes)))
    step = -(-len(points) // SHOWN)
    axes.scatter(*points[::step].T, c=colours[labels[::step]], linewidths=0, **style)
    return colours


def arousal_curves(table: pd.DataFrame) -> Axes:
    """Accuracy by the arousal that faces show, one line per name, with its intervals over people.

    ``table``: :func:`fercore.studies.features.by_arousal`.
    """
    _, axes = plt.subplots(figsize=(7, 3.4))
    palette, names = [OURS, *COLOURS.values()], table["name"].nunique()
    bands = table.drop_duplicates("from").sort_values("from")[["from", "to", "images"]]
    place = {low: k for k, low in enumerate(bands["from"])}
    for k, (name, own) in enumerate(table.groupby("name", sort=False)):
        x = own["from"].map(place) + 0.12 * (k - (names - 1) / 2)
        axes.vlines(x, own["low"], own["high"], color=palette[k], lw=2)
        axes.plot(x, own["accuracy"], "o-", color=palette[k], label=name, lw=1)
    labels = [f"{a:+.1f} … {b:+.1f}\n{images:,} images" for a, b, images in bands.itertuples(index=False)]
    axes.set_xticks(range(len(bands)), labels)
    axes.set(xlabel="arousal", ylabel="accuracy in per cent")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1))
    return told(axes, table)
