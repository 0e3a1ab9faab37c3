"""FERPlus in numbers: what its page shows, computed from the real files or read from the recorded tables.

The tables are aggregates (no picture, no file name of a person), so they are
committed and the page can be read where the data set is not at hand.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from fercore import intervals
from fercore.data.ferplus import LABEL_FILES, POSE_LISTS, RULES, VOTES, disagreements, read_votes
from fercore.data.labels import EXPRESSIONS
from fercore.data.prepared import Prepared
from fercore.errors import DataError

SPLITS = ("train", "validation", "test")


def rule_counts(votes: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Images kept and dropped, and why, a line each label file, rule and split."""
    lines = []
    for labels, table in votes.items():
        numbers = table[list(VOTES)].to_numpy()
        for rule, answer in RULES.items():
            classes = answer(numbers)
            top = np.where(numbers > 1, numbers, 0) if rule == "majority" else numbers
            wins = (2 * top.max(1) > top.sum(1)) | (rule == "plurality")
            odd = (classes < 0) & wins & (top.argmax(1) >= len(EXPRESSIONS))
            came = {"kept": classes >= 0, "unknown or no face": odd, "no agreement": (classes < 0) & ~odd}
            counts = pd.DataFrame({"images": True, **came}, table.index).groupby(table["split"]).sum()
            lines.append(counts.reindex(SPLITS, fill_value=0).reset_index().assign(labels=labels, rule=rule))
    return pd.concat(lines, ignore_index=True)[["labels", "rule", "split", "images", *came]]


def class_counts(votes: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Images by class, a line each label file, rule, split and class."""
    lines = []
    for labels, table in votes.items():
        for rule, answer in RULES.items():
            classes = answer(table[list(VOTES)].to_numpy())
            for split in SPLITS:
                counted = np.bincount(classes[(table["split"] == split) & (classes >= 0)], minlength=len(EXPRESSIONS))
                lines += [(labels, rule, split, name, int(n)) for name, n in zip(EXPRESSIONS, counted, strict=True)]
    return pd.DataFrame(lines, columns=["labels", "rule", "split", "expression", "images"])


def mean_votes(votes: pd.DataFrame) -> pd.DataFrame:
    """Mean share of the ten answers among the images of each majority class: 8 lines, 10 columns, lines sum to 1."""
    numbers = votes[list(VOTES)].to_numpy(float)
    classes = RULES["majority"](votes[list(VOTES)].to_numpy())
    shares = numbers / numbers.sum(1, keepdims=True).clip(min=1)
    means = [shares[classes == k].mean(0) for k in range(len(EXPRESSIONS))]
    table = pd.DataFrame(means, columns=list(VOTES))
    table.insert(0, "expression", EXPRESSIONS)
    return table


def agreement(votes: pd.DataFrame) -> pd.DataFrame:
    """How many raters share the majority answer: a line each class and number of votes."""
    numbers = votes[list(VOTES)].to_numpy()
    classes = RULES["majority"](numbers)
    top = numbers.max(1)
    lines = [
        (name, n, int(((classes == k) & (top == n)).sum())) for k, name in enumerate(EXPRESSIONS) for n in range(2, 11)
    ]
    return pd.DataFrame(lines, columns=["expression", "votes", "images"])


def two_files(votes: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """What the rows on which the label files differ do to the labels, a line a rule."""
    both = disagreements(votes["label.csv"], votes["fer2013new.csv"])
    lines = []
    for rule, answer in RULES.items():
        first, second = (answer(both[[f"{name}_{k}" for name in VOTES]].to_numpy()) for k in (1, 2))
        lines.append(
            {
                "rule": rule,
                "rows that differ": len(both),
                "same class": int(((first == second) & (first >= 0)).sum()),
                "other class": int(((first != second) & (first >= 0) & (second >= 0)).sum()),
                "label only in label.csv": int(((first >= 0) & (second < 0)).sum()),
                "label only in fer2013new.csv": int(((first < 0) & (second >= 0)).sum()),
                "label in neither": int(((first < 0) & (second < 0)).sum()),
            }
        )
    return pd.DataFrame(lines)


def pose_counts(data: Prepared) -> pd.DataFrame:
    """Test images by class: all, and those of each pose subset."""
    test = data.manifest[data.manifest["split"] == "test"]
    columns = {"test": test["expression"].value_counts()}
    columns |= {name: test["expression"][test[name].astype(bool)].value_counts() for name in POSE_LISTS if name in test}
    table = pd.DataFrame(columns).reindex(EXPRESSIONS).fillna(0).astype(int)
    return table.rename_axis("expression").reset_index()


def repeats(data: Prepared) -> pd.DataFrame:
    """Images of each split whose pixels occur, exactly, among the training images; and how many under another label."""
    table = data.manifest.assign(pixels=[image.tobytes() for image in data.images[..., 0]])
    trained = table[table["split"] == "train"].drop_duplicates("pixels").set_index("pixels")["expression"]
    lines = []
    for split in ("validation", "test"):
        own = table[table["split"] == split]
        first = own["pixels"].map(trained)
        other = int((first.notna() & (first != own["expression"])).sum())
        lines.append((split, len(own), first.count(), other))
    return pd.DataFrame(lines, columns=["split", "images", "also in training", "under another label"])


def symmetry(images: np.ndarray) -> np.ndarray:
    """Correlation of each picture with its own mirror image: (N, S, S, 3) uint8 -> (N,), 1 for a symmetric one.

    A face that looks into the camera is nearly symmetric, but for light and hair; one that is turned is not.
    """
    grey = images[..., 0].astype(np.float32)
    grey -= grey.mean((1, 2), keepdims=True)
    return (grey * grey[:, :, ::-1]).sum((1, 2)) / np.maximum(np.square(grey).sum((1, 2)), 1e-9)


TURNS = ("up to 30°", "30° to 45°", "beyond 45°")
"""How far test images are turned, by the two pose lists."""


TWIN = "twin_symmetry.csv"
"""Beside the tables: :func:`pose_symmetry` of the twin at preset quick, which is too large to render for a page."""


def pose_symmetry(data: Prepared) -> pd.DataFrame:
    """:func:`symmetry` of the test images by the pose lists, or a twin's true poses: mean with its 95 % interval."""
    rows = np.flatnonzero(data.manifest["split"] == "test")
    test, found = data.manifest.iloc[rows], symmetry(data.images[rows])
    if not set(POSE_LISTS) <= set(test):
        return pd.DataFrame(columns=["turned", "images", "symmetry", "low", "high"])
    beyond30, beyond45 = (test[name].to_numpy(bool) for name in POSE_LISTS)
    lines = []
    for name, chosen in zip(TURNS, (~beyond30, beyond30 & ~beyond45, beyond45), strict=True):
        interval = intervals.mean(found[chosen])
        lines.append((name, int(chosen.sum()), interval.value, interval.low, interval.high))
    return pd.DataFrame(lines, columns=["turned", "images", "symmetry", "low", "high"])


def compute(source: Path, data: Prepared) -> dict[str, pd.DataFrame]:
    """All tables from the real files: the label files below ``source`` and the prepared form."""
    votes = {name: read_votes(source, name) for name in LABEL_FILES}
    return {
        "rule_counts": rule_counts(votes),
        "class_counts": class_counts(votes),
        "mean_votes": mean_votes(votes["label.csv"]),
        "agreement": agreement(votes["label.csv"]),
        "two_files": two_files(votes),
        "pose_counts": pose_counts(data),
        "repeats": repeats(data),
        "pose_symmetry": pose_symmetry(data),
    }


NAMES = (
    *("rule_counts", "class_counts", "mean_votes", "agreement"),
    *("two_files", "pose_counts", "repeats", "pose_symmetry"),
)


def save(tables: dict[str, pd.DataFrame], folder: Path) -> None:
    """Write the tables as CSV files, a file a table."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6f", lineterminator="\n")


def load(folder: Path) -> dict[str, pd.DataFrame]:
    """Read what :func:`save` wrote; a missing table is an error that names it."""
    missing = [name for name in NAMES if not (folder / f"{name}.csv").is_file()]
    if missing:
        raise DataError(f"{folder} has no table {', '.join(missing)}.", do="restore the recorded tables from git")
    return {name: pd.read_csv(folder / f"{name}.csv") for name in NAMES}


def vote_share(folder: Path) -> float:
    """Of the votes that raters gave to an expression, the share that went to the one the majority chose."""
    votes = pd.read_csv(folder / "mean_votes.csv", index_col="expression")
    images = pd.read_csv(folder / "agreement.csv").groupby("expression")["images"].sum()
    names = list(votes.index)
    for_majority = sum(images[name] * votes.loc[name, name] for name in names)
    return float(for_majority / (images * votes[names].sum(axis=1)).sum())


def twin(folder: Path) -> pd.DataFrame:
    """The recorded symmetry of the twin; a missing file is an error that says how to make it."""
    if not (folder / TWIN).is_file():
        raise DataError(
            f"{folder} has no {TWIN}.", do="restore it from git, or run python -m fercore.data.ferplus_tables"
        )
    return pd.read_csv(folder / TWIN)


def same(first: dict[str, pd.DataFrame], second: dict[str, pd.DataFrame]) -> list[str]:
    """Names of the tables that differ by more than rounding."""
    return [name for name in first if not _close(first[name], second[name])]


def _close(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    try:
        pd.testing.assert_frame_equal(first, second, check_dtype=False, atol=1e-5)
    except AssertionError:
        return False
    return True


if __name__ == "__main__":
    from fercore.data import catalogue
    from fercore.paths import reference_records

    save({TWIN.removesuffix(".csv"): pose_symmetry(catalogue.prepare("ferplus-twin", "quick"))},
         reference_records() / "ferplus-tables")  # fmt: skip
