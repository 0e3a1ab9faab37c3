"""Papers, baselines and pre-training: a module each, found by what it defines.

A module that defines ``recipe``, ``model`` and ``criterion`` can be trained. What else it may define, and what happens
where it does not:

- ``stages(recipe)``: recipes of the stages that come before, by name and in order; none.
- ``starts(recipe)``: names or files of weights by the part of the network that they fill; ``start`` for the trunk.
- ``view(data)``: the data as it sees them, such as each person a class; as they are.
- ``truth(recipe, data)``: further entries of every batch, :class:`fercore.data.labels.Truth` by name; none. The labels
  of a head ``pose_logits`` are called ``pose``.
- ``order(recipe, data, rows, epoch)``: the rows of an epoch in order, or a list of batches; a random order.
- ``refresh(recipe, epoch, network, criterion, training)``: what is computed from the whole training set before an
  epoch; what it returns is written into the history. Nothing.
- ``fit(recipe, network, criterion, data, rows, folder, *, truth, ...)``: how it is trained, as
  :func:`fercore.training.loop.fit`, which is what happens where there is none.
- ``judge(recipe, network, batches)``: the number by which the best epoch is chosen; accuracy.
- ``test(recipe, network, data, rows, batches)``: metrics by subset, and arrays; those of every head.
- ``maps(network, images)``, ``features(network, images)``, ``each(network, images)``: what a record keeps for figures,
  of some test images, of all as principal components, and of all as it is; nothing.
- ``sizes()``: what one image costs in the published network, part by part, for claims that are counted; nothing.
- ``PROTOCOLS``: splits that it brings along, by name; none.
- ``START``: the name by which other recipes start from its weights, with ``pretraining_of(recipe)``, the run that gives
  them; none.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from types import ModuleType

from fercore.errors import ParameterError
from fercore.recipe import unknown

NEEDED = ("\ndef recipe(", "\ndef model(", "\ndef criterion(")


def names() -> tuple[str, ...]:
    """Every module that can be trained, by name; none of them is imported."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return tuple(file.stem for file in files if all(text in file.read_text() for text in NEEDED))


def module(name: str) -> ModuleType:
    """A paper's module by its name; imported only when asked for, so that papers do not depend on each other."""
    if name not in names():
        raise ParameterError(unknown("paper", name, names()))
    return importlib.import_module(f"fercore.papers.{name}")


@cache
def pretraining() -> dict[str, str]:
    """Names of our own weights that recipes can say in place of a file -> the module that makes them."""
    files = ((name, Path(__file__).parent / f"{name}.py") for name in names())
    return {module(name).START: name for name, file in files if "\nSTART = " in file.read_text()}
