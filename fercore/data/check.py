"""Check a data set as it lies on disk: what it is, how many there are, what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from fercore.data import affectnet, bu3dfe, ferplus, kdef, multipie, rafdb, sfew, twin_designs
from fercore.data.labels import EXPRESSIONS
from fercore.data.picture_files import PictureSet, differences, listed, look_at, said
from fercore.data.pose_subsets import read_list
from fercore.data.prepared import content_hash, open_prepared
from fercore.errors import DataError

FILES = (rafdb.SET, affectnet.SET, sfew.SET, multipie.SET, kdef.SET, bu3dfe.SET)
"""Real sets of files, in the order in which a folder is held against them."""


class Report(NamedTuple):
    """What :func:`check` found: the kind of data set, tables of counts by name, and every problem as a sentence."""

    what: str
    tables: dict[str, pd.DataFrame]
    problems: list[str]


def check(path: Path) -> Report:
    """Recognise a prepared folder or a real data set and check all of it.

    A path that is neither is a :class:`~fercore.errors.DataError`; what is wrong inside a recognised one is listed in
    the report, and nothing stops at the first problem.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist.", do="name a folder or an archive")
    if (path / "card.json").is_file() or (path / "manifest.parquet").is_file():
        return check_prepared(path)
    if path.is_file() or (path / "data").is_dir() or (path / "fer2013new.csv").is_file():
        return check_ferplus(path)
    for inside in ("ferplus", "FERPlus", "ferplus.tar.gz"):
        if (path / inside).exists():
            return check_ferplus(path / inside)
    for known in FILES:
        if source := known.found_in(path):
            return check_files(known, source)
    found = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) if path.is_dir() else "a file"
    raise DataError(
        f"{path} is no data set that is known here (it holds: {found or 'nothing'}).",
        do="name a prepared folder, the FERPlus archive or its folder (data/FER2013Train ...), the folder of RAF-DB "
        "(EmoLabel, Image), AffectNet (validation.csv or val_set), SFEW (Train, Val), Multi-PIE (session01), KDEF "
        "(AF01ANFL.JPG) or BU-3DFE (F0001_AN01WH_F3D.wrl)",
    )


def check_prepared(path: Path) -> Report:
    """Counts of a prepared folder by split and class, by pose where it is known, against its card and its design."""
    data = open_prepared(path)
    manifest, problems = data.manifest, []
    tables = _by_class(manifest, "split", "pan")
    if content_hash(data.images, manifest) != data.hash:
        problems.append("pixels or manifest are not those that the card's hash was taken from: prepare it again")
    if data.name == "ferplus":
        published = ferplus.PUBLISHED.get((data.card["made"]["rule"], data.card["made"]["labels"]), {})
        tables["images against published counts"] = against(manifest["split"].value_counts().to_dict(), published)
        problems += list(data.card["notes"])
    if data.name in twin_designs.DESIGNS:
        tables["images against the published design"] = _against_design(manifest, data.name)
    twice = int(manifest["sample"].duplicated().sum())
    if twice:
        problems.append(f"{twice} sample names occur more than once")
    flat = [k for k in range(len(data)) if int(data.images[k].max()) - int(data.images[k].min()) < 8]
    if flat:
        problems.append(listed("images without any contrast", manifest["sample"].iloc[flat]))
    return Report(f"prepared data set {data.card['title']}, hash {data.hash}", tables, problems)


def _by_class(table: pd.DataFrame, *columns: str) -> dict[str, pd.DataFrame]:
    """Images by class and by each of the ``columns`` that there are."""
    return {
        f"images by {column} and class": pd.crosstab(table[column], table["expression"], margins=True)
        for column in columns
        if column in table
    }


def _against_design(manifest: pd.DataFrame, name: str) -> pd.DataFrame:
    """A twin's images and people, by class and split where these are published, beside the published numbers."""
    published = twin_designs.design_of(name).published
    counts = {"images": len(manifest), "people": manifest["subject"].nunique()}
    for column in ("pose_over_30", "pose_over_45"):
        if column in manifest:
            tested = manifest[manifest["split"] == ("test" if (manifest["split"] == "test").any() else "validation")]
            counts[column] = int(tested[column].sum())
    expected = {key: value for key, value in published.items() if key in counts}
    for split, classes in published.items():
        if isinstance(classes, dict):
            found = manifest[manifest["split"] == split]["expression"].value_counts()
            counts |= {f"{split} {key}": int(found.get(key, 0)) for key in classes}
            expected |= {f"{split} {key}": value for key, value in classes.items()}
    return against({key: counts[key] for key in expected}, expected)


def against(counts: dict[str, int], published: dict[str, int]) -> pd.DataFrame:
    """Counts beside published ones, and the difference."""
    table = pd.DataFrame({"here": counts, "published": published}).fillna(0).astype(int)
    return table.assign(difference=table["here"] - table["published"])


def check_files(known: PictureSet, source: Path) -> Report:
    """Every picture and label of a set of files: counts against the published ones, what is wrong with which."""
    listing = known.read(source)
    table, expected = listing.table, known.expected()
    tables = _by_class(table, "split", "pan", "level")
    counts = known.counts(table)
    if expected:
        found = {name: counts.get(name, 0) for name in expected}
        tables["images against published counts"] = against(found, expected)
    problems = [*listing.problems, *differences(counts, expected), *known.look(source, table)]
    return Report(f"{known.title} at {source}", tables, problems)


def check_ferplus(source: Path) -> Report:
    """Every picture and label of a FERPlus archive or folder."""
    problems: list[str] = []
    tables: dict[str, pd.DataFrame] = {}
    votes: dict[str, pd.DataFrame] = {}
    for labels in ferplus.LABEL_FILES:
        try:
            votes[labels] = ferplus.read_votes(source, labels)
        except DataError as error:
            problems.append(str(error).splitlines()[0])
    for labels, table in votes.items():
        for rule, answer in ferplus.RULES.items():
            classes = answer(table[list(ferplus.VOTES)].to_numpy())
            kept = table["split"][classes >= 0]
            name = f"{rule} rule on {labels}: images by split and class"
            names = pd.Series(np.array(EXPRESSIONS)[classes[classes >= 0]], index=kept.index, name="expression")
            tables[name] = pd.crosstab(kept, names, margins=True)
            published = ferplus.PUBLISHED.get((rule, labels))
            if published:
                counted = against(kept.value_counts().to_dict(), published)
                tables[f"{rule} rule on {labels}: against published counts"] = counted
                problems += [
                    f"{rule} rule on {labels}: {row.here} {split} images, published {row.published}"
                    for split, row in counted.iterrows()
                    if row.difference
                ]
    if len(votes) == 2:
        differing = ferplus.disagreements(*votes.values())
        problems.append(f"label.csv and fer2013new.csv give different votes to {len(differing)} images (known: 1602)")
    if not votes:
        raise DataError(" ".join(dict.fromkeys(problems)), do=ferplus.HOW_TO_GET)
    labelled = next(iter(votes.values()))
    problems += _pictures(source, set(labelled["sample"]))
    test = set(labelled["sample"][labelled["split"] == "test"])
    tables["pose subsets"], missing = _pose_lists(source, test)
    return Report(f"FERPlus at {source}", tables, problems + missing)


def _pictures(source: Path, labelled: set[str]) -> list[str]:
    """Broken, near-black, repeated, unlabelled and missing pictures."""
    names: dict[str, str] = {}

    def each() -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
        for name, data in ferplus.pictures(source):
            names[name] = Path(name).stem
            yield names[name], partial(ferplus.decode, data, name)

    return [
        *look_at(each()),
        *said(
            listed("pictures without a label", [name for name, sample in names.items() if sample not in labelled]),
            listed("labels without a picture", sorted(labelled - set(names.values()))),
        ),
    ]


def _pose_lists(source: Path, test: set[str]) -> tuple[pd.DataFrame, list[str]]:
    rows, problems = {}, []
    for column, (name, published) in ferplus.POSE_LISTS.items():
        path = source.parent / "pose_lists" / name
        if not path.is_file():
            problems.append(f"the list of {column} is not at pose_lists/{name} beside the images")
            continue
        entries = {entry.sample for entry in read_list(path)}
        rows[column] = {"entries": len(entries), "published": published, "joined to a test image": len(entries & test)}
        if entries - test:
            problems.append(listed(f"entries of {column} without a test image", sorted(entries - test)))
    return pd.DataFrame(rows).T, problems
