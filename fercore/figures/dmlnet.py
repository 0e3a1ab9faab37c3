"""Figures of the DML-Net paper: five-tuples, distances that a metric changes, losses and their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fercore import figures
from fercore.figures import told
from fercore.heads import EXPRESSIONS, Head, render, sample_person
from fercore.studies.metric import Plane

ROLES = ("anchor", "pose-positive", "pose-negative", "identity-positive", "identity-negative")
"""Of the five samples of a tuple, in their order."""


def overview() -> Figure:
    """From five-tuples to three tasks, the paper's Fig. 2."""
    boxes = {
        "data set": (0.0, 1.0, ""),
        "five-tuples": (1.3, 1.0, "Algorithm 1"),
        "MFE": (2.6, 1.0, "three trunks"),
        "JEFL": (4.2, 0.0, "embedding, Eq. (6)"),
        "FER": (4.2, 1.0, "expression"),
        "HPE": (4.2, 2.0, "pose"),
        "DWML": (5.9, 1.0, "three weights"),
    }
    arrows = [("data set", "five-tuples", ""), ("five-tuples", "MFE", "")]
    arrows += [("MFE", part, "") for part in ("JEFL", "FER", "HPE")]
    arrows += [(part, "DWML", "") for part in ("JEFL", "FER", "HPE")]
    return figures.architecture(boxes, arrows)


def architecture(output: Any, size: int, fused: int) -> Figure:
    """The network with the shapes of its output for images of so many pixels, the paper's Fig. 4."""
    third, channels = round(size / 3), output.feature_map.shape[1]
    boxes = {
        "face": (0.0, 0.0, f"{size} × {size}"),
        "eyes": (0.0, 1.0, f"{third} × {size}"),
        "mouth": (0.0, 2.0, f"{third} × {size}"),
        "$v_1$": (1.6, 0.0, str(channels)),
        "$v_2$": (1.6, 1.0, str(channels)),
        "$v_3$": (1.6, 2.0, str(channels)),
        "$f^1$": (2.9, 1.5, str(fused)),
        "$f^2$": (4.1, 0.75, str(fused)),
        "$e(x)$": (5.6, 0.0, str(output.embedding.shape[1])),
        "expression": (5.6, 0.9, str(output.logits.shape[1])),
        "pose": (5.6, 1.8, str(output.pose_logits.shape[1])),
    }
    arrows = [(part, f"$v_{k}$", "trunk") for k, part in enumerate(("face", "eyes", "mouth"), 1)]
    arrows += [("$v_2$", "$f^1$", ""), ("$v_3$", "$f^1$", ""), ("$v_1$", "$f^2$", ""), ("$f^1$", "$f^2$", "")]
    arrows += [("$f^2$", end, "") for end in ("$e(x)$", "expression", "pose")]
    return figures.architecture(boxes, arrows)


def five_tuple(size: int = 112) -> Figure:
    """A five-tuple of rendered people, the paper's Fig. 3: a smile from the side, and its four partners."""
    faces = {
        "anchor": (22, "happiness", 45), "pose-positive": (33, "happiness", -45), "pose-negative": (49, "anger", 45),
        "identity-positive": (25, "happiness", 0), "identity-negative": (22, "surprise", 0),
    }  # fmt: skip
    row = []
    for person, expression, yaw in (faces[role] for role in ROLES):
        mesh = Head(sample_person(person)).mesh(EXPRESSIONS[expression][0])
        row.append(render(mesh, float(yaw), size=size).image)
    labels = [role.replace("-", "\n") if "-" in role else f"{role}\n" for role in ROLES]
    return told(
        figures.image_grid([row], column_labels=labels, cell=1.35),
        pd.DataFrame([(role, *faces[role]) for role in ROLES], columns=["role", "person", "expression", "yaw"]),
    )


def clouds(panels: Mapping[str, np.ndarray], expression: np.ndarray, pose: np.ndarray, names: Sequence[str]) -> Figure:
    """Points (n, 2) in several states side by side: a colour is an expression, a shape a pose."""
    figure, row = plt.subplots(1, len(panels), figsize=(3.6 * len(panels) + 1.2, 3.4), squeeze=False)
    colours, shapes = sns.color_palette("colorblind", len(names)), "osD^v"
    lines = []
    for axes, (title, points) in zip(row[0], panels.items(), strict=True):
        for (e, p), chosen in _each(expression, pose):
            axes.scatter(*points[chosen].T, s=34, color=[colours[e]], marker=shapes[p], ec="white", lw=0.5)
        axes.set(title=title, xticks=[], yticks=[])
        lines += [(title, names[e], p, *point) for e, p, point in zip(expression, pose, points, strict=True)]
    handles = [Line2D([], [], ls="", marker="o", color=c, label=n) for c, n in zip(colours, names, strict=True)]
    poses = ("left", "front", "right")
    handles += [Line2D([], [], ls="", marker=shapes[k], color="#6b7280", label=poses[k]) for k in np.unique(pose)]
    row[0, -1].legend(handles=handles, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1))
    figure.tight_layout()
    return told(figure, pd.DataFrame(lines, columns=["panel", "expression", "pose", "x", "y"]))


def _each(expression: np.ndarray, pose: np.ndarray) -> list[tuple[tuple[int, int], np.ndarray]]:
    kinds = sorted(set(zip(expression.tolist(), pose.tolist(), strict=True)))
    return [((e, p), (expression == e) & (pose == p)) for e, p in kinds]


def distance_bars(table: pd.DataFrame) -> Axes:
    """The distances of the paper's Fig. 1 for each network, means over runs with their range.

    ``table``: columns network, distance, value, a line a run.
    """
    _, axes = plt.subplots(figsize=(7.2, 3.4))
    palette = [figures.COLOURS.get(name, figures.OURS) for name in table["network"].unique()]
    sns.barplot(
        table, x="distance", y="value", hue="network", ax=axes, palette=palette, errorbar=("pi", 100), capsize=0.1
    )
    axes.set(xlabel="what alone differs", ylabel="mean squared distance,\nshare of that of any two")
    axes.legend(frameon=False, title="", loc="upper left", bbox_to_anchor=(1.01, 1))
    return told(axes, table)


def planes(panels: Mapping[str, Plane], classes: Sequence[str]) -> Figure:
    """The same test images in the t-SNE planes of several networks: above coloured by expression, below by pose."""
    figure, rows = plt.subplots(2, len(panels), figsize=(3.1 * len(panels) + 1.6, 6.2), squeeze=False)
    names = {"labels": lambda k: classes[k], "poses": figures.degrees}
    for row, field in zip(rows, names, strict=True):
        values = np.unique([getattr(plane, field) for plane in panels.values()])
        sides = sns.diverging_palette(250, 20, s=85, l=60, center="dark", n=len(values))
        colours = np.array(sides if field == "poses" else sns.color_palette("bright", len(values)))
        for axes, (title, plane) in zip(row, panels.items(), strict=True):
            axes.scatter(*plane.points.T, s=9, c=colours[np.searchsorted(values, getattr(plane, field))], linewidths=0)
            axes.set(xticks=[], yticks=[])
            axes.set_title(title if field == "labels" else "", fontsize=11)
        named = [(names[field](value), colour) for value, colour in zip(values, colours, strict=True)]
        handles = [Line2D([], [], ls="", marker="o", color=colour, label=name) for name, colour in named]
        row[-1].legend(handles=handles, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1))
    figure.tight_layout()
    tables = {
        title: pd.DataFrame({"expression": np.array(classes)[p.labels], "pose": p.poses, **_xy(p.points)})
        for title, p in panels.items()
    }
    return told(figure, pd.concat(tables, names=["network"]).reset_index(level=0))


def _xy(points: np.ndarray) -> dict[str, np.ndarray]:
    return {"x": points[:, 0], "y": points[:, 1]}


TASKS = {"expression": "#2563eb", "pose": "#d97706", "triplet": "#16a34a"}
"""The three tasks of Eq. (7) and their colours."""


def losses(panels: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]) -> Figure:
    """Losses by epoch as the paper's Fig. 15 has them: data set -> kind of weights -> epochs of a record's history.

    Each loss is a share of what it was in the first epoch, on a logarithmic axis; the first kind of weights is dashed.
    """
    figure, row = plt.subplots(1, len(panels), figsize=(4.2 * len(panels) + 1.6, 3.2), squeeze=False)
    lines, styles = [], ("--", "-")
    for axes, (dataset, histories) in zip(row[0], panels.items(), strict=True):
        for style, (weights, history) in zip(styles, histories.items(), strict=False):
            epochs = [epoch["epoch"] for epoch in history]
            for task, colour in TASKS.items():
                values = np.array([epoch[f"loss_{task}"] for epoch in history])
                axes.semilogy(epochs, values / values[0], style, color=colour, lw=2, alpha=0.8)
                lines += [(dataset, weights, task, *pair) for pair in zip(epochs, values, strict=True)]
        axes.set(title=dataset, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    row[0, 0].set_ylabel("loss, share of that of epoch 1")
    handles = [Line2D([], [], color=colour, label=task) for task, colour in TASKS.items()]
    kinds = list(dict.fromkeys(weights for histories in panels.values() for weights in histories))
    handles += [
        Line2D([], [], color="#6b7280", ls=style, label=name) for style, name in zip(styles, kinds, strict=False)
    ]
    row[0, -1].legend(handles=handles, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1))
    figure.tight_layout()
    return told(figure, pd.DataFrame(lines, columns=["data set", "weights", "task", "epoch", "loss"]))
