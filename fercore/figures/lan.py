"""Figures of the LAN paper: what a record says of rendered faces, laid over the same faces, drawn again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from fercore import figures
from fercore.data import twin_designs, twins
from fercore.data.twin_rows import Twin
from fercore.errors import RecordError
from fercore.figures import told
from fercore.records import Record

RIGHT, WRONG = "#111827", "#dc2626"


def pictures(record: Record, rows: np.ndarray, size: int = 112) -> tuple[np.ndarray, pd.DataFrame]:
    """Images (N, S, S, 3) of some rows of the twin that a record was trained on, and what is known of each.

    They are rendered again from the record's parameters, at a size of their own: the same faces, drawn larger than
    the network saw them. A record of photographs is an error, because none is kept.
    """
    if record.data.real:
        raise RecordError(f"{record.name} is of photographs; none is kept.", do="choose a record of a twin")
    twin = Twin(**record.data.made["parameters"] | {"size": size})
    return twins.render_rows(twin, twin_designs.rows(twin).iloc[rows])


def rows_of(record: Record, samples: Sequence[str]) -> np.ndarray:
    """The rows of the twin's design that some samples of a record have, in the order of the samples."""
    names = twin_designs.rows(Twin(**record.data.made["parameters"]))["sample"]
    place = pd.Series(np.arange(len(names)), names)
    return place.loc[list(samples)].to_numpy()


def turned_examples(record: Record, number: int, at_least: float = 45.0) -> pd.DataFrame:
    """The surest answers on turned faces, ``number`` right ones, then ``number`` wrong ones.

    Columns sample, true, answer (names of classes), probability, right. Of each
    person and expression at most one is taken, so that examples differ.
    """
    arrays = record.arrays()
    names = twin_designs.rows(Twin(**record.data.made["parameters"])).set_index("sample")
    table = pd.DataFrame({"sample": arrays["samples"]})
    table["pan"] = names["pan"].loc[table["sample"]].to_numpy()
    table["person"] = arrays["subjects"]
    answers = arrays["probabilities"].argmax(1)
    classes = np.array(record.classes)
    table["true"], table["answer"] = classes[arrays["labels"]], classes[answers]
    table["probability"] = arrays["probabilities"].max(1).astype(float)
    table["right"] = answers == arrays["labels"]
    turned = table[table["pan"].abs() >= at_least].sort_values("probability", ascending=False, kind="stable")
    kept = turned.drop_duplicates(["person", "true", "right"])
    return pd.concat([kept[kept["right"]].head(number), kept[~kept["right"]].head(number)], ignore_index=True)


def activation(
    images: np.ndarray, maps: Mapping[str, np.ndarray], columns: Sequence[str], *, shared: bool, cell: float = 1.15
) -> Figure:
    """Pictures (N, H, W, 3) uint8 above the same pictures with class activation maps (N, h, w) laid over, a row a name.

    What adds to the logit of the class that is answered is bright, what lowers
    it is left dark. ``shared``: the maps of a picture have one scale, so that
    they add up to the eye; otherwise each map has its own.
    """
    positive = {name: np.clip(np.asarray(values, float), 0, None) for name, values in maps.items()}
    largest = np.max([values.max((1, 2)) for values in positive.values()], 0)
    rows: list[list[np.ndarray]] = [list(images)]
    for values in positive.values():
        scale = largest if shared else values.max((1, 2))
        rows.append(
            [_laid(*pair) for pair in zip(images, values / np.maximum(scale, 1e-9)[:, None, None], strict=True)]
        )
    figure = figures.image_grid(rows, ["picture", *maps], columns, cell)
    lines = [
        {"map": name, "picture": column, "row": r, "column": c, "value": float(value)}
        for name, values in maps.items()
        for column, one in zip(columns, values, strict=True)
        for (r, c), value in np.ndenumerate(np.asarray(one, float))
    ]
    return told(figure, pd.DataFrame(lines))


def _laid(picture: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A map (h, w) in 0..1 over a picture (H, W, 3) uint8, smoothly enlarged: the brighter, the less of the picture."""
    large = Image.fromarray(values.astype(np.float32)).resize(picture.shape[1::-1], Image.Resampling.BILINEAR)
    weight = np.asarray(large)[..., None].clip(0, 1)
    heat = plt.get_cmap("inferno")(weight[..., 0])[..., :3]
    share = 0.25 + 0.45 * weight
    return ((1 - share) * picture / 255 + share * heat).clip(0, 1)


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
    """Confusion matrices side by side: title -> a record and the subset of its test images."""
    figure, row = plt.subplots(1, len(panels), figsize=(6.2 * len(panels), 5.2), squeeze=False)
    lines = []
    for axes, (title, (record, subset)) in zip(row[0], panels.items(), strict=True):
        counts = record.arrays()[f"confusion_{subset}"]
        figures.confusion_matrix(counts, record.classes, title, axes)
        lines += [
            {"images of": title, "true": record.classes[t], "answer": record.classes[a], "images": int(n)}
            for (t, a), n in np.ndenumerate(counts)
        ]
    figure.tight_layout()
    return told(figure, pd.DataFrame(lines))
