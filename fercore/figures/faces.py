"""Figures of pre-training: the margin of ArcFace, how alike pairs of pictures are, how far off found landmarks are."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from fercore import intervals
from fercore.figures import OURS, told, with_intervals

SAME, OTHER = "#16a34a", "#b91c1c"


def margin(radians: float) -> Axes:
    """What a person's own logit is divided by its scale, with and without the margin, over the angle in degrees."""
    _, axes = plt.subplots(figsize=(6, 3))
    angle = np.linspace(0, np.pi, 361)
    plain = np.cos(angle)
    inside = angle + radians < np.pi
    with_margin = np.where(inside, np.cos(angle + radians), plain - radians * np.sin(radians))
    degrees = np.rad2deg(angle)
    axes.plot(degrees, plain, color="#6b7280", label="no margin: cos θ")
    axes.plot(degrees, with_margin, color=OURS, linewidth=2.2, label=f"margin {radians:g}: cos(θ + m)")
    axes.fill_between(degrees, with_margin, plain, color=OURS, alpha=0.12)
    axes.set(xlabel="angle between a face and its person's direction, degrees", ylabel="logit / scale", xlim=(0, 180))
    axes.set_xticks(range(0, 181, 30))
    axes.legend(frameon=False)
    return told(axes, pd.DataFrame({"angle": degrees, "plain": plain, "with margin": with_margin}))


def similarities(similarity: np.ndarray, same: np.ndarray) -> Axes:
    """Two histograms of the cosine (P,) between two faces: pairs of one person, and pairs of two."""
    _, axes = plt.subplots(figsize=(6.4, 3))
    edges = np.linspace(-1, 1, 61)
    counts = {}
    for chosen, colour, name in ((same, SAME, "one person"), (~same, OTHER, "two people")):
        share = np.histogram(similarity[chosen], edges)[0] / max(1, chosen.sum())
        axes.stairs(100 * share, edges, fill=True, color=colour, alpha=0.35)
        axes.stairs(100 * share, edges, color=colour, linewidth=1.4, label=name)
        counts[name] = 100 * share
    axes.set(xlabel="cosine of the two embeddings", ylabel="per cent of the pairs", xlim=(-1, 1), ylim=(0, None))
    axes.legend(frameon=False, title="the pair shows")
    return told(axes, pd.DataFrame({"from": edges[:-1], "to": edges[1:], **counts}))


def by_turn(arrays: Mapping[str, np.ndarray], edges: tuple[int, ...] = (0, 15, 30, 60, 180)) -> pd.DataFrame:
    """Of a record's arrays: pairs and accuracy in per cent with its 95 % interval, by how far the yaws differ."""
    names = [f"{low} to {high}°" if high < 180 else f"more than {low}°" for low, high in pairwise(edges)]
    bands = pd.cut(arrays["yaw"].astype(float), edges, right=False, labels=names)
    right = pd.Series(arrays["right"]).groupby(bands, observed=True)
    rows = [(name, len(own), *(100 * end for end in intervals.mean(own))) for name, own in right]
    return pd.DataFrame(rows, columns=["yaws apart", "pairs", "accuracy", "low", "high"])


def errors_by_yaw(arrays: Mapping[str, np.ndarray], width: int = 15) -> Axes:
    """Error of landmarks over how far the head is turned: the mean in steps of ``width`` degrees with 95 % intervals.

    ``arrays``: of a record, ``error`` and ``error_visible`` (N,) in shares of the face's size, ``yaw`` (N,) degrees.
    """
    _, axes = plt.subplots(figsize=(6.6, 3.2))
    least = np.abs(arrays["yaw"].astype(float)) // width * width
    tables = []
    for name, key, colour in (("all 68", "error", OURS), ("those in sight", "error_visible", "#6b7280")):
        bands = pd.Series(100 * arrays[key].astype(float)).groupby(least)
        rows = [(name, low + width / 2, len(own), *intervals.mean(own)) for low, own in bands if low < 90]
        table = pd.DataFrame(rows, columns=["landmarks", "turned by", "images", "error", "low", "high"])
        with_intervals(axes, table["turned by"], table, "error", color=colour, label=name)
        tables.append(table)
    axes.set(xlabel="degrees by which the head is turned", ylabel="error, per cent of\nthe face's size")
    axes.set(xticks=range(0, 91, width), ylim=(0, None))
    axes.legend(frameon=False, title="landmarks")
    return told(axes, pd.concat(tables, ignore_index=True))


def named(checks: pd.DataFrame, vote: float) -> Axes:
    """Blind checks by data set, at 48 pixels and at the size of the real images, with intervals.

    ``checks``: title, size, agreement, low, high in per cent; ``vote``: a line at the share of real votes that agree.
    """
    _, axes = plt.subplots(figsize=(8, 3.6))
    small, own = checks[checks["size"] == 48], checks[checks["size"] > 48]
    names = list(small.sort_values("agreement")["title"])
    sizes = ((own, "as large as the real images", -0.1, "#0f766e"), (small, "48 pixels", 0.1, "#c2410c"))
    for table, label, shift, colour in sizes:
        places = table["title"].map(names.index) + shift
        with_intervals(axes, places, table, "agreement", color=colour, linewidth=0, elinewidth=1.5, label=label)
    axes.axhline(vote, color="#7a8794", linestyle="--", label="a vote of FERPlus and the majority")
    axes.set_xticks(range(len(names)), [name.replace(", ", ",\n") for name in names])
    axes.set(ylabel="named as labelled, per cent", ylim=(30, 100), xlabel="data set copied")
    axes.legend(frameon=False, loc="lower left", ncol=3, bbox_to_anchor=(0, 1))
    return told(axes, checks)
