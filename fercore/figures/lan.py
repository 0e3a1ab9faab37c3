"""Figures of the LAN paper: what a record says of rendered faces, laid over the same faces, drawn again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fercore import figures
from fercore.data import twin_designs, twins
from fercore.data.twin_rows import Twin
from fercore.errors import RecordError
from fercore.figures import told
from fercore.records import Record

RIGHT, WRONG = "#111827", "#dc2626"


def architecture(output: Any, size: int) -> Figure:
    """The network with the shapes of its output (LAN's) for images of so many pixels."""
    grid = " × ".join(map(str, output.feature_map.shape[1:]))
    places = " × ".join(map(str, output.attention.shape[1:]))
    boxes = {
        "image": (-0.15, 0.5, f"3 × {size} × {size}"),
        "$F_o$": (1.3, 0.5, grid),
        "$F_m$": (2.6, 1.2, places),
        "guidance": (1.3, 1.9, places),
        "$F_a$": (3.9, 1.2, grid),
        "$f$": (5.2, 0.5, str(output.features.shape[1])),
        "logits": (6.5, 0.5, str(output.logits.shape[1])),
    }
    arrows = [
        ("image", "$F_o$", "ResNet-18"),
        ("$F_o$", "$F_m$", "attention"),
        ("$F_o$", "$f$", "mean over places"),
        ("$F_m$", "$F_a$", "$F_o \\odot F_m$"),
        ("$F_a$", "$f$", "mean"),
        ("$f$", "logits", "classifier"),
        ("$F_o$", "guidance", "training: clusters"),
        ("guidance", "$F_m$", "training: $L_{map}$"),
    ]
    return figures.architecture(boxes, arrows)


def _rows(record: Record) -> pd.DataFrame:
    """The design of the twin that a record was trained on."""
    return twin_designs.rows(Twin(**record.data.made["parameters"]))


def pictures(record: Record, rows: np.ndarray, size: int = 112) -> tuple[np.ndarray, pd.DataFrame]:
    """Images (N, S, S, 3) of some rows of the twin that a record was trained on, and what is known of each.

    They are rendered again from the record's parameters, at a size of their own: the same faces, drawn larger than
    the network saw them. A record of photographs is an error, because none is kept.
    """
    if record.data.real:
        raise RecordError(f"{record.name} is of photographs; none is kept.", do="choose a record of a twin")
    twin = Twin(**record.data.made["parameters"] | {"size": size})
    return twins.render_rows(twin, _rows(record).iloc[rows])


def rows_of(record: Record, samples: Sequence[str]) -> np.ndarray:
    """The rows of the twin's design that some samples of a record have, in the order of the samples."""
    names = _rows(record)["sample"]
    return pd.Series(names.index, names)[list(samples)].to_numpy()


def turned_examples(record: Record, number: int, at_least: float = 45.0) -> pd.DataFrame:
    """The surest answers on turned faces, ``number`` right ones, then ``number`` wrong ones.

    Columns sample, true, answer (names of classes), probability, right. Of each person and expression at most one is
    taken, so that examples differ.
    """
    arrays, classes = record.arrays(), np.array(record.classes)
    answers = arrays["probabilities"].argmax(1)
    table = pd.DataFrame(
        {
            "sample": arrays["samples"],
            "pan": _rows(record).set_index("sample")["pan"].loc[arrays["samples"]].to_numpy(),
            "person": arrays["subjects"],
            "true": classes[arrays["labels"]],
            "answer": classes[answers],
            "probability": arrays["probabilities"].max(1).astype(float),
            "right": answers == arrays["labels"],
        }
    )
    turned = table[table["pan"].abs() >= at_least].sort_values("probability", ascending=False, kind="stable")
    kept = turned.drop_duplicates(["person", "true", "right"])
    return pd.concat([kept[kept["right"]].head(number), kept[~kept["right"]].head(number)], ignore_index=True)


def examples(images: np.ndarray, table: pd.DataFrame, columns: int = 6) -> Figure:
    """Pictures with what was answered (A) and what is true (T) below each; wrong answers in red.

    ``table``: columns true, answer, right, probability, a line a picture.
    """
    rows = -(-len(images) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(1.35 * columns, 1.75 * rows), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, picture, line in zip(grid.flat, images, table.itertuples(), strict=False):
        axes.imshow(picture)
        colour = RIGHT if line.right else WRONG
        axes.set_title(f"A: {line.answer}\nT: {line.true}", fontsize=8, color=colour, y=-0.34, va="bottom")
    figure.subplots_adjust(0, 0.08, 1, 1, wspace=0.05, hspace=0.32)
    return told(figure, table.reset_index(drop=True))


def confusions(panels: Mapping[str, tuple[Record, str]]) -> Figure:
    """Confusion matrices side by side: title -> a record and the subset of its test images, or that of another head:
    ``pose_test``."""
    figure, row = plt.subplots(1, len(panels), figsize=(6.2 * len(panels), 5.2), squeeze=False)
    tables = {}
    for axes, (title, (record, subset)) in zip(row[0], panels.items(), strict=True):
        counts = record.arrays()[f"confusion_{subset}"]
        classes = next((own for name, own in record.heads.items() if subset == f"{name}_test"), record.classes)
        met = (counts.sum(0) + counts.sum(1)) > 0  # a protocol may leave classes out
        figures.confusion_matrix(counts[met][:, met], [c for c, m in zip(classes, met, strict=True) if m], title, axes)
        tables[title] = figure.numbers.rename_axis(columns="answer").stack()
    figure.tight_layout()
    return told(figure, pd.concat(tables, names=["images of"]).rename("images").reset_index())


AGREEMENT = {
    "modes": "statistics of the batch / running ones",
    "augmented": "augmented image / the image itself",
    "kept": "now / when clustered",
    "turned": "turned by more than 30°",
}
"""What the guidance labels of a run are compared with, by epoch (`fercore.papers.lan.agreement`)."""


def agreement(runs: Sequence[Record]) -> Axes:
    """Cohen's kappa of guidance labels by epoch, a line a comparison: means over runs, with their range as a band."""
    _, axes = plt.subplots(figsize=(6.4, 3.2))
    lines = []
    for name, label in AGREEMENT.items():
        kept = [[row[f"guidance_{name}"] for row in run.history["method"] if f"guidance_{name}" in row] for run in runs]
        values = np.array([own for own in kept if own])
        if not len(values):
            continue
        epochs = np.arange(1, values.shape[1] + 1)
        (line,) = axes.plot(epochs, values.mean(0), "o-", ms=4, label=label)
        axes.fill_between(epochs, values.min(0), values.max(0), color=line.get_color(), alpha=0.2, linewidth=0)
        lines += [{"comparison": label, "epoch": e, "kappa": v} for e, v in zip(epochs, values.mean(0), strict=True)]
    axes.set(xlabel="epoch", ylabel="Cohen's kappa", ylim=(-0.1, 1.05))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1))
    return told(axes, pd.DataFrame(lines))
