"""Records by their recipes: all of one recipe whatever the seed and fold, and how near it is to the published one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from fercore import papers, records
from fercore.data import protocols, twin_designs
from fercore.errors import RecordError
from fercore.paths import reference_records
from fercore.recipe import Recipe
from fercore.records import Record
from fercore.training import experiments

module_of = cache(papers.module)
FREE = ("seed", "fold")
"""Fields in which runs of one kind differ: which draw, and which part of a protocol."""


@cache
def _kind(name: str, folder: Path) -> Recipe:
    recipe = experiments.recipe_of(records.read(folder))
    data = recipe.data
    if data and recipe.dataset in twin_designs.DESIGNS:  # what a twin is by itself now is no change of it
        own = twin_designs.parameters(recipe.dataset, recipe.preset).model_dump()
        data = {name: value for name, value in data.items() if own[name] != value}
    return recipe.but(seed=0, fold=0, data=data)


def stale(record: Record) -> bool:
    """Whether a record would come out otherwise now: by its code (:func:`fercore.records.is_stale`), or because a twin
    that it saw has been designed anew."""
    return records.is_stale(record.group, record.code) or _redesigned(record)


def _redesigned(record: Record) -> bool:
    twins = [(record.data, record.recipe["data"]), *((note, {}) for note in record.further.values())]
    drawn = ((note, changes) for note, changes in twins if note.name in twin_designs.DESIGNS)
    return not all(twin_designs.as_designed(note.name, note.made, **changes) for note, changes in drawn)


@cache
def _of_older_twins(root: Path, _changed: int) -> frozenset[str]:
    return frozenset(record.name for record in records.find(root) if _redesigned(record))


def of_older_twins() -> frozenset[str]:
    """The names of the committed records that saw a twin which has been designed anew."""
    root = reference_records()
    return _of_older_twins(root, root.stat().st_mtime_ns) if root.is_dir() else frozenset()


def kind_of(record: Record) -> Recipe:
    """A record's recipe with seed and fold 0: equal for all runs of one kind."""
    return _kind(record.name, record.folder)


def place(record: Record) -> tuple[int, int]:
    """Seed and fold, by which runs of one kind are told apart and those of two kinds are paired."""
    return record.recipe["seed"], record.recipe["fold"]


def matching(recipe: Recipe, root: Path | None = None) -> list[Record]:
    """The records of a recipe with any seed and fold, in their order; committed ones, or those under ``root``."""
    wanted = recipe.but(seed=0, fold=0)
    same = {name: getattr(recipe, name) for name in ("paper", "method", "dataset", "preset")}
    found = [record for record in records.find(root, **same) if kind_of(record) == wanted]
    return sorted(found, key=place)


def reference(root: Path | None = None, **recipe: Any) -> list[Record]:
    """The records of a paper's preset and data set, every method, seed and fold, all else as these values say.

    ``reference(paper="lan", dataset="ferplus", preset="quick")``. None is an error.
    """
    given = {name: value for name, value in recipe.items() if name not in ("paper", "preset", "dataset", *FREE)}
    chosen = {name: value for name, value in recipe.items() if name in (*FREE, "method")}
    module = module_of(recipe["paper"])
    same = {name: recipe[name] for name in ("paper", "preset", "dataset")}
    found = [
        record
        for record in records.find(root, **same | chosen)
        if kind_of(record)
        == module.recipe(recipe["preset"], recipe["dataset"], **{"method": record.recipe["method"]} | given)
    ]
    if not found:
        wanted = ", ".join(f"{name} {value}" for name, value in recipe.items())
        raise RecordError(f"book/records holds no reference record of {wanted}.", do="restore it from the repository")
    return found


def by_kind(runs: Sequence[Record]) -> list[list[Record]]:
    """Runs of equal recipes together, by seed and fold."""
    kinds: dict[str, list[Record]] = {}
    for run in sorted(runs, key=place):
        kinds.setdefault(kind_of(run).key(), []).append(run)
    return list(kinds.values())


def paired(runs: Sequence[Record], others: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """Those runs of two kinds that share seed and fold with one of the other, in their order."""
    first, second = ({place(run): run for run in own} for own in (runs, others))
    both = sorted(first.keys() & second.keys())
    return [first[one] for one in both], [second[one] for one in both]


def settings(text: str) -> dict[str, Any]:
    """``method=pcda;anchor_weight=0.0`` as names and values."""
    return {name: yaml.safe_load(value) for name, _, value in (pair.partition("=") for pair in text.split(";") if pair)}


def departures(recipe: Recipe, where: Mapping[str, Any]) -> set[str]:
    """Fields in which a recipe is otherwise than its preset has it with the values of ``where``, seed and fold apart.

    ``setting``, ``start`` and ``estimates`` are those of the recipe itself, which others follow: whether the setting is
    the published one is another question, a start is a departure of its own, and poses that are estimated are learned.
    """
    module = module_of(recipe.paper)
    same = {name: getattr(recipe, name) for name in ("setting", "start", "estimates") if hasattr(recipe, name)}
    usual = module.recipe(recipe.preset, recipe.dataset, **same | where)
    held = set(type(recipe).model_fields) - {*FREE, "also_on"}  # being tested elsewhere, too, changes nothing
    changed = {name for name in held if _split(name, getattr(recipe, name)) != _split(name, getattr(usual, name))}
    own = {name for name in ("start", "estimates") if getattr(recipe, name, "") and name not in where}
    return changed | own


def has(recipe: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    """Whether a recipe has these values."""
    return all(_split(name, recipe.get(name)) == _split(name, value) for name, value in where.items())


def _split(name: str, value: Any) -> Any:
    """A value of a field; of a protocol's name the split itself, which may have two names."""
    return protocols.PROTOCOLS.get(value, value) if name == "protocol" else value


def own_fields(recipe: Recipe) -> set[str]:
    """Fields that only this paper's recipes have, weights to start from apart."""
    kinds = type(recipe).__mro__[1:]
    shared = {name for kind in kinds for name in getattr(kind, "model_fields", ())}
    return set(type(recipe).model_fields) - shared - set(STARTS)


STARTS = ("start", "landmark_weights")
"""Fields that name weights to start from."""


def is_variant(recipe: Recipe, where: Mapping[str, Any]) -> bool:
    """Whether a recipe changes the method itself beyond ``where``: a row of an ablation, not a run of the method.

    A part that others start trained and this one does not is such a change, too; ``start`` is a question of its own.
    ``estimates`` changes no method: it says what a data set lacks.
    """
    changed = departures(recipe, where)
    untrained = {name for name in changed & set(STARTS[1:]) if not getattr(recipe, name)}
    return bool(untrained | changed & (own_fields(recipe) - {"method", "estimates"}))


def is_published(recipe: Recipe, where: Mapping[str, Any], start: str) -> bool:
    """Whether a recipe is what the paper prints: its size and values, and weights of the same kind to start from.

    ``start``: what published networks start from, ``faces`` or nothing. A file is taken for weights of faces; our own
    pre-training is none of a paper's.
    """
    usual = module_of(recipe.paper).recipe(recipe.preset, recipe.dataset, **{"setting": recipe.setting} | where)
    asked = {name: getattr(usual, name) for name in STARTS if hasattr(usual, name)} | {"start": start}
    given = {name: getattr(recipe, name) for name in asked if name not in where}
    theirs = all(
        bool(value) and value not in papers.pretraining() if asked[name] else not value for name, value in given.items()
    )
    return recipe.setting == "published" and theirs and not departures(recipe, dict(where) | given)
