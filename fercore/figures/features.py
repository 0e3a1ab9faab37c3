"""Figures of what features say: where images lie among each other, arousal and valence read off them."""

from __future__ import annotations

from collections.abc import Mapping

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
"""Points of a panel at most, evenly taken: more hide each other."""


def planes(runs: Mapping[str, Record]) -> Figure:
    """Test images of several runs in the plane of their features' first two components, a panel a run.

    A colour is a class, a large dot its mean; panels share no axes, since each run has its own components.
    """
    figure, row = plt.subplots(1, len(runs), figsize=(4.6 * len(runs) + 1.2, 4.2), squeeze=False)
    lines = []
    for axes, (name, run) in zip(row[0], runs.items(), strict=True):
        points, labels = features.of(run)[:, :2], run.arrays()["labels"]
        colours = np.array(sns.color_palette("colorblind", len(run.classes)))
        shown = np.arange(0, len(points), -(-len(points) // SHOWN))
        axes.scatter(*points[shown].T, s=5, c=colours[labels[shown]], alpha=0.35, linewidths=0)
        for k, expression in enumerate(run.classes):
            if (own := points[labels == k]).size:
                mean = own.mean(0)
                axes.scatter(*mean, s=90, color=[colours[k]], edgecolors="white", linewidths=1.5, zorder=3)
                axes.annotate(expression, mean, (0, 8), textcoords="offset points", ha="center", fontsize=8, zorder=4)
                lines.append({"run": name, "class": expression, "images": len(own), "x": mean[0], "y": mean[1]})
        share = run.arrays()["features_share"][:2]
        axes.set(title=name, xlabel=f"component 1 ({share[0]:.0%})", ylabel=f"component 2 ({share[1]:.0%})")
        axes.set(xticks=[], yticks=[])
    figure.tight_layout()
    return told(figure, pd.DataFrame(lines))


def affect_planes(record: Record) -> Figure:
    """Arousal over valence of a twin's test faces, as rendered and as read off the record's features.

    Left the truth, right the prediction for people whom the linear model has not seen; a colour is a class.
    """
    read, arrays = features.affect(record), record.arrays()
    truth = {name: arrays[f"known_{name}"].astype(float) for name in read}
    labels = arrays["labels"]
    colours = np.array(sns.color_palette("colorblind", len(record.classes)))
    shown = np.arange(0, len(labels), -(-len(labels) // SHOWN))
    figure, row = plt.subplots(1, 2, figsize=(9.6, 4.0), sharex=True, sharey=True)
    found = {name: own.predicted for name, own in read.items()}
    titles = ("rendered", f"read off: R² {read['valence'].r2:.2f} (valence), {read['arousal'].r2:.2f} (arousal)")
    for axes, values, title in zip(row, (truth, found), titles, strict=True):
        axes.scatter(
            values["valence"][shown], values["arousal"][shown], s=7, c=colours[labels[shown]], alpha=0.5, linewidths=0
        )
        axes.axhline(0, color="#9ca3af", lw=0.8)
        axes.axvline(0, color="#9ca3af", lw=0.8)
        axes.set(xlabel="valence", xlim=(-1.05, 1.05), ylim=(-1.05, 1.05))
        axes.set_title(title, fontsize=10)
    row[0].set_ylabel("arousal")
    handles = [
        plt.Line2D([], [], ls="", marker="o", color=c, label=name)
        for c, name in zip(colours, record.classes, strict=True)
    ]
    row[1].legend(handles=handles, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8)
    figure.tight_layout()
    columns = {f"{name}, {kind}": v[name] for kind, v in (("rendered", truth), ("read off", found)) for name in v}
    return told(figure, pd.DataFrame({"class": np.array(record.classes)[labels], **columns}))


def arousal_curves(table: pd.DataFrame) -> Axes:
    """Accuracy by the arousal that faces show, a line a name, with its intervals over people.

    ``table``: :func:`fercore.studies.features.by_arousal`.
    """
    _, axes = plt.subplots(figsize=(7, 3.4))
    names = list(dict.fromkeys(table["name"]))
    palette = dict(zip(names, [OURS, *COLOURS.values()], strict=False))
    bands = table.drop_duplicates(["from", "to"])[["from", "to"]].sort_values("from")
    place = {low: k for k, low in enumerate(bands["from"])}
    for k, name in enumerate(names):
        own = table[table["name"] == name]
        x = own["from"].map(place) + 0.12 * (k - (len(names) - 1) / 2)
        axes.vlines(x, own["low"], own["high"], color=palette[name], lw=2)
        axes.plot(x, own["accuracy"], "o-", color=palette[name], label=name, lw=1)
    counts = table.drop_duplicates("from").set_index("from")["images"]
    labels = [f"{a:+.1f} … {b:+.1f}\n{counts[a]:,} images" for a, b in bands.itertuples(index=False)]
    axes.set_xticks(range(len(bands)), labels)
    axes.set(xlabel="arousal", ylabel="accuracy in per cent")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1))
    return told(axes, table)
