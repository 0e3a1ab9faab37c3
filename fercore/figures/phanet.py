"""Figures of the PhaNet paper: squares that look for a face's parts, weights of scales and tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fercore import figures
from fercore.figures import told

Square = tuple[float, float, float]


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
    colours = dict(zip(names, ("#9ca3af", figures.OURS, "#e11d48"), strict=False))
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
