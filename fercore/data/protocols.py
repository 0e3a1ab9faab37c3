"""Protocols: who is trained on, who is validated on, who is tested on.

Splits never share a subject, and the validation subjects are taken out of the
training part: model selection never looks at the test split.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from fercore.errors import DataError, ParameterError
from fercore.recipe import unknown

Split = dict[str, np.ndarray]
"""``train``, ``validation`` and ``test``: row numbers of a manifest, each sorted."""


def kdef_10fold(manifest: pd.DataFrame, fold: int) -> Split:
    """LAN's ten-fold cross-validation on KDEF, subject-independent.

    # Paper unclear: LAN does not say whether its folds share people. Here the
    # people, women and men by turns, are dealt into ten parts by a fixed seed;
    # part ``fold`` is tested, the next one validates, the other eight train.
    """
    if not 0 <= fold < 10:
        raise ParameterError(f"lan-kdef-10fold has folds 0 to 9, not {fold}.")
    generator = np.random.default_rng(20220816)
    people = manifest["subject"].drop_duplicates().sort_values().to_numpy()
    if len(people) < 10:
        raise DataError(f"lan-kdef-10fold needs at least ten people, the data set has {len(people)}.")
    part: dict[str, int] = {}
    dealt = 0
    for sex in sorted({name[0] for name in people}):
        same = np.array([name for name in people if name[0] == sex])
        for name in generator.permutation(same):
            part[name] = dealt % 10
            dealt += 1
    of_row = manifest["subject"].map(part).to_numpy()
    return {
        "train": np.flatnonzero((of_row != fold) & (of_row != (fold + 1) % 10)),
        "validation": np.flatnonzero(of_row == (fold + 1) % 10),
        "test": np.flatnonzero(of_row == fold),
    }


def official(manifest: pd.DataFrame, fold: int) -> Split:
    """The split that the data set came with, from the manifest's ``split`` column; it has one fold, 0."""
    if fold != 0:
        raise ParameterError(f"An official split has one fold, 0, not {fold}.")
    split = manifest["split"].to_numpy()
    return {name: np.flatnonzero(split == name) for name in ("train", "validation", "test")}


PROTOCOLS: dict[str, Callable[[pd.DataFrame, int], Split]] = {
    "lan-kdef-10fold": kdef_10fold,
    "ferplus-official": official,
}


def split(manifest: pd.DataFrame, protocol: str, fold: int = 0) -> Split:
    """The rows of each part under a protocol; an unknown protocol or an empty part is an error."""
    if protocol not in PROTOCOLS:
        raise ParameterError(unknown("protocol", protocol, PROTOCOLS))
    parts = PROTOCOLS[protocol](manifest, fold)
    for name, rows in parts.items():
        if not len(rows):
            raise DataError(f"{protocol}, fold {fold}: the part '{name}' is empty.", do="check the data set's card")
    return parts
