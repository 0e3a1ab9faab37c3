"""Protocols: who is trained on, who is validated on, who is tested on.

Splits never share a subject, and the validation subjects are taken out of the training part: model selection never
looks at the test split. (One exception: who learns to tell people apart is validated on the people it trains on.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pandas as pd

from fercore.errors import DataError, ParameterError
from fercore.recipe import unknown

Split = dict[str, np.ndarray]
"""``train``, ``validation`` and ``test``: row numbers of a manifest, each sorted."""
Protocol = Callable[[pd.DataFrame, int], Split]
NONE: Mapping[str, Protocol] = MappingProxyType({})


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
    sexes = sorted({name[0] for name in people})
    dealt = [name for sex in sexes for name in generator.permutation([name for name in people if name[0] == sex])]
    of_row = manifest["subject"].map({name: k % 10 for k, name in enumerate(dealt)}).to_numpy()
    return {
        "train": np.flatnonzero((of_row != fold) & (of_row != (fold + 1) % 10)),
        "validation": np.flatnonzero(of_row == (fold + 1) % 10),
        "test": np.flatnonzero(of_row == fold),
    }


def official(manifest: pd.DataFrame, fold: int) -> Split:
    """The split that the data set came with, from the manifest's ``split`` column; it has one fold, 0.

    A set without a test part (AffectNet, SFEW) is tested on its validation part, as the papers do. Where this leaves
    none to select on, or there never was one (RAF-DB), a tenth of the training people, or images where nobody knows the
    people, is held out by a fixed seed.
    """
    if fold != 0:
        raise ParameterError(f"An official split has one fold, 0, not {fold}.")
    given = manifest["split"].to_numpy()
    parts = {name: np.flatnonzero(given == name) for name in ("train", "validation", "test")}
    if not len(parts["test"]):
        parts["test"], parts["validation"] = parts["validation"], parts["test"]
    if not len(parts["validation"]):
        rows = parts["train"]
        people = manifest["subject"].where(manifest["subject"] != "", manifest["sample"]).to_numpy()[rows]
        names = np.unique(people)
        held = np.isin(people, np.random.default_rng(20220816).permutation(names)[: max(1, len(names) // 10)])
        parts |= {"train": rows[~held], "validation": rows[held]}
    return parts


def identity(manifest: pd.DataFrame, fold: int) -> Split:
    """Pre-training on persons: the people of the split ``test`` are seen by nobody before the test.

    All others train; every eighth image of each of them validates, since who is to be recognised must have been met.
    """
    if fold != 0:
        raise ParameterError(f"The split of identity pre-training has one fold, 0, not {fold}.")
    tested = (manifest["split"] == "test").to_numpy()
    number = manifest.groupby("subject").cumcount().to_numpy()
    held = ~tested & (number % 8 == 7)
    return {
        "train": np.flatnonzero(~tested & ~held),
        "validation": np.flatnonzero(held),
        "test": np.flatnonzero(tested),
    }


def by_people(
    test: float,
    *,
    pans: Sequence[float] | None = None,
    tilted: bool = False,
    levels: Sequence[int] | None = None,
    expressions: Sequence[str] | None = None,
    every_session: bool = False,
    once: bool = False,
) -> Protocol:
    """Subject-independent split of a controlled set: a share ``test`` of the people is tested on, a tenth validates.

    Only images of these pans, levels and expressions take part; tilted cameras only with ``tilted``. With
    ``every_session`` only people who came to every session take part; with ``once`` only those who show every
    expression, with the first recording of each. A further fold is another draw of the people.
    """

    def deal(manifest: pd.DataFrame, fold: int) -> Split:
        used = pd.Series(True, manifest.index)
        for column, wanted in (("pan", pans), ("level", levels), ("expression", expressions)):
            if wanted is not None:
                if column not in manifest:
                    raise DataError(f"This protocol needs the column '{column}', which the data set has not.")
                used &= manifest[column].isin(wanted)
        if not tilted and "tilt" in manifest:
            used &= manifest["tilt"] == 0
        if every_session:
            if "session" not in manifest:
                raise DataError("This protocol needs the column 'session', which the data set has not.")
            visits = manifest.groupby("subject")["session"].nunique()
            used &= manifest["subject"].map(visits).eq(manifest["session"].nunique())
        if once:
            used &= ~manifest[used].duplicated(["subject", "expression", "pan"]).reindex(
                manifest.index, fill_value=True
            )
            kinds = manifest[used].groupby("subject")["expression"].nunique()
            used &= manifest["subject"].map(kinds).eq(kinds.max())
        names = manifest["subject"][used].drop_duplicates().sort_values().to_numpy()
        if len(names) < 5:
            raise DataError(f"A split by people needs at least five, the data set has {len(names)}.")
        order = np.random.default_rng([20220816, fold]).permutation(names)
        tested = max(1, round(test * len(order)))
        test_people, held, rest = np.split(order, [tested, tested + max(1, len(order) // 10)])
        parts = {"train": rest, "validation": held, "test": test_people}
        return {name: np.flatnonzero(used & manifest["subject"].isin(own)) for name, own in parts.items()}

    return deal


_NINE = (-90, -60, -45, -30, 0, 30, 45, 60, 90)
_WITHIN_45 = (-45, -30, 0, 30, 45)
_SEVEN_WITHIN_45 = (-45, -30, -15, 0, 15, 30, 45)
_WITHIN_30 = (-30, -15, 0, 15, 30)
_SIX = ("happiness", "surprise", "sadness", "anger", "disgust", "fear")

PROTOCOLS: dict[str, Protocol] = {
    "lan-kdef-10fold": kdef_10fold,
    "ferplus-official": official,
    "official": official,
    "identity": identity,
    "dmlnet-kdef-56-14": by_people(14 / 70),
    "phanet-kdef": by_people(14 / 70),
    "dmlnet-bu3dfe-70-30": by_people(0.3, pans=_NINE, expressions=_SIX),
    "dmlnet-bu3dfe-5pan": by_people(0.3, pans=_WITHIN_45, expressions=_SIX),
    "dmlnet-bu3dfe-to-sfew": by_people(0.3, pans=_NINE),  # SFEW has neutral faces, and Table 9 a column for them
    "phanet-bu3dfe-9pan": by_people(0.25, pans=_NINE),
    "phanet-bu3dfe-5pan": by_people(0.25, pans=_WITHIN_45),
    "pata-bu3dfe-s1": by_people(0.2, pans=(0, 30, 45, 60, 90), expressions=_SIX),
    "pata-bu3dfe-s2": by_people(0.2, pans=_SEVEN_WITHIN_45, expressions=_SIX),
    "pata-bu3dfe-s3": by_people(0.2, pans=_SEVEN_WITHIN_45, levels=(4,), expressions=_SIX, tilted=True),
    "pata-multipie-s1": by_people(26 / 129, pans=_WITHIN_30, every_session=True),
    "pata-multipie-s2": by_people(29 / 147, pans=(0, 15, 30, 45, 60, 75, 90), once=True),
    "phanet-multipie": by_people(0.2, pans=_WITHIN_30),
    "dmlnet-multipie": by_people(44 / 337, pans=_WITHIN_30),
}
"""Every split by name. Those by people come with any number of folds: each is a new draw."""
FOLDS: Mapping[str, int] = MappingProxyType({"lan-kdef-10fold": 10})
"""Folds that a protocol has, where its result is the mean over all of them; one elsewhere."""
USUAL: Mapping[str, str] = MappingProxyType(
    {
        "ferplus": "ferplus-official",
        **dict.fromkeys(("kdef", "kdef-twin"), "lan-kdef-10fold"),
        **dict.fromkeys(("bu3dfe", "bu3dfe-twin"), "phanet-bu3dfe-9pan"),
        **dict.fromkeys(("multipie", "multipie-twin"), "pata-multipie-s1"),
        **dict.fromkeys(("rafdb", "affectnet", "sfew"), "official"),
        **dict.fromkeys(("rafdb-twin", "ferplus-twin", "affectnet-twin", "sfew-twin"), "official"),
    }
)
"""The split of each data set that a run takes when it names none."""


def split(manifest: pd.DataFrame, protocol: str, fold: int = 0, further: Mapping[str, Protocol] = NONE) -> Split:
    """The rows of each part under a protocol, one of :data:`PROTOCOLS` or ``further``; an unknown one or an empty part
    is an error."""
    known = {**PROTOCOLS, **further}
    if protocol not in known:
        raise ParameterError(unknown("protocol", protocol, known))
    parts = known[protocol](manifest, fold)
    for name, rows in parts.items():
        if not len(rows):
            raise DataError(f"{protocol}, fold {fold}: the part '{name}' is empty.", do="check the data set's card")
    return parts
