"""Small runs on small images, and a small paper: a network that reads the mean of each row and of each column."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import CLASSES, manifest, stripes
from torch import Tensor, nn
from torch.nn import functional as F

from fercore import papers
from fercore.data import catalogue, prepared, protocols
from fercore.data.labels import Truth, pose_classes
from fercore.data.prepared import Prepared
from fercore.papers import lan
from fercore.recipe import Count, Recipe, build
from fercore.training import loop

OFF: dict[str, Any] = {"flip": False, "rotation": 0, "shift": 0, "zoom": 0, "contrast": 0, "erase": 0}
"""No augmentation."""
ANGLES = (-45.0, 0.0, 45.0)
Run = tuple[nn.Module, list[dict[str, float]]]


# --- runs -------------------------------------------------------------------------------------------------

SMALL = {"image_size": 16, "width": 8, "batch_size": 16, "cluster_sample": 32, "epochs": 3}


def small(**changes: Any) -> lan.LANRecipe:
    return lan.recipe("smoke", backbone_epochs=0, **(SMALL | changes))


def fit(recipe: lan.LANRecipe, data: Prepared, folder: Path, **options: Any) -> Run:
    """A LAN run as :mod:`fercore.training.experiments` starts it."""
    torch.manual_seed(recipe.seed)
    network = lan.model(recipe, len(data.classes))
    loss = options.pop("criterion", None) or lan.criterion(recipe, network)
    rows = protocols.split(data.manifest, recipe.protocol, recipe.fold)
    options.setdefault("refresh", lambda *words: lan.refresh(recipe, *words))
    return loop.fit(recipe, network, loss, data, rows, folder, **options)


def bits(run: Run) -> tuple[list[dict[str, float]], list[bytes]]:
    """History without its seconds, and weights, to be compared for equality."""
    network, history = run
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in history]
    return rows, [value.numpy().tobytes() for value in network.state_dict().values()]


# --- data -------------------------------------------------------------------------------------------------


def turned(people: int = 12, each: int = 3, classes: Sequence[str] = CLASSES) -> pd.DataFrame:
    """A manifest with a third of the images at each of :data:`ANGLES`, and a split by people."""
    table = manifest(people, each, classes)
    table["yaw"] = np.resize(ANGLES, len(table))
    fold = table["subject"].str[1:].astype(int) % 4
    table["split"] = np.where(fold == 0, "test", np.where(fold == 1, "validation", "train"))
    return table


def write_turned(path: Path, table: pd.DataFrame | None = None, name: str = "kdef-twin", size: int = 16) -> Path:
    """Stripes with a brighter bar at the left, in the middle or at the right for a negative, no or positive yaw."""
    table = turned() if table is None else table
    with prepared.Writer(path, len(table), size) as out:
        out.images[:] = stripes(table, size) // 2
        for image, yaw in zip(out.images, table["yaw"], strict=True):
            left = (size - size // 4) * (1 + int(np.sign(yaw))) // 2
            image[:, left : left + size // 4] += 120
        out.finish(table, name=name, title="Turned", classes=CLASSES, licence="none", made={"seed": 0})
    return path


# --- a paper ----------------------------------------------------------------------------------------------


class Output(NamedTuple):
    logits: Tensor  # (B, classes)
    pose_logits: Tensor  # (B, 3)


class Network(nn.Module):
    """Row and column means of a convolution's map; ``helpers`` are further parts that it carries along."""

    def __init__(self, classes: int, side: int = 16, helpers: Sequence[str] = ()) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 1)
        self.classifier, self.pose = nn.Linear(4 * side, classes), nn.Linear(4 * side, len(ANGLES))
        self.helpers = helpers
        for name in helpers:
            setattr(self, name, nn.Linear(1, 2))

    def forward(self, images: Tensor) -> Output:
        feature_map = self.backbone(images)
        carried = sum((getattr(self, name).weight.square().sum() for name in self.helpers), images.new_zeros(()))
        logits = self.classifier(feature_map.mean(3).flatten(1)) * (1 + carried)
        return Output(logits, self.pose(feature_map.mean(2).flatten(1)))


class Loss(nn.Module):
    """Both heads' cross-entropies; the pose's is weighted by a parameter, which is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(()))

    def forward(self, output: Output, batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        weight = self.logit.sigmoid()
        pose = weight * F.cross_entropy(output.pose_logits, batch["pose"]) - 0.1 * weight.log()
        return {"cross_entropy": F.cross_entropy(output.logits, batch["labels"]), "pose": pose}, {"pose_weight": weight}


class TinyRecipe(Recipe):
    method: Literal["tiny", "first", "second"] = "tiny"
    chained: Count = 0  # stages before the run; the second one has the first before it, too


def recipe(preset: str = "smoke", dataset: str = "kdef-twin", **changes: Any) -> TinyRecipe:
    """Without augmentation: the order in which images come is all that is random."""
    values = {"paper": "tiny", "method": "tiny", "preset": preset, "dataset": dataset, "protocol": "official"}
    values |= {"image_size": 16, "batch_size": 8, "epochs": 2, "learning_rate": 0.05, "warmup": 0.0, **OFF}
    return build(TinyRecipe, values | changes)


def stages(recipe: TinyRecipe) -> dict[str, TinyRecipe]:
    names = {"tiny": ["first", "second"][: recipe.chained], "second": ["first"], "first": []}[recipe.method]
    return {name: recipe.but(method=name, chained=0) for name in names}


def model(recipe: TinyRecipe, classes: int) -> Network:
    """Each stage has a helper of its own, the run itself those of both."""
    helpers = ("first", "second") if recipe.method == "tiny" else (recipe.method,)
    return Network(classes, recipe.image_size, helpers)


def truth(recipe: TinyRecipe, data: Prepared) -> dict[str, Truth]:
    return {"pose": pose_classes(data.manifest["yaw"].to_numpy(), ANGLES)}


def paper(**more: Any) -> SimpleNamespace:
    """The small paper as a module; ``more`` replaces what it defines, None takes it away."""
    own = {"recipe": recipe, "stages": stages, "model": model, "truth": truth, "criterion": lambda recipe, net: Loss()}
    return SimpleNamespace(**{name: value for name, value in (own | more).items() if value is not None})


def register(folder: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
    """Make :func:`paper` known as ``tiny``, with its data under two names; all that is written lies in ``folder``."""
    monkeypatch.setenv("FERCORE_PREPARED", str(folder / "prepared"))
    monkeypatch.setenv("FERCORE_RECORDS", str(folder / "records"))
    for name in ("kdef-twin", "rafdb-twin"):

        def make(target: Path, preset: str, name: str = name) -> None:
            write_turned(target, name=name)

        monkeypatch.setitem(catalogue.DATASETS, name, catalogue.Entry(name, False, lambda _, n=name: n, make))
    own, others = paper(**more), papers.module
    monkeypatch.setattr(papers, "module", lambda name: own if name == "tiny" else others(name))


# --- what training sees -----------------------------------------------------------------------------------


class Drift(nn.Module):
    """A network whose loss has the gradient 1 in every weight, whatever the images are, so that its way is known.

    With :class:`DriftLoss` its three weights, ``matrix`` (1, 1) and ``vector`` (2,), are those of SGD by hand.
    """

    def __init__(self) -> None:
        super().__init__()
        self.matrix, self.vector = nn.Parameter(torch.ones(1, 1)), nn.Parameter(torch.ones(2))

    def forward(self, images: Tensor) -> Output:
        total = self.matrix.sum() + self.vector.sum()
        return Output(total.expand(len(images), 3), total.expand(len(images), 3))


class DriftLoss(nn.Module):
    """The mean of the logits; ``rows`` keeps those of every batch that it saw, ``batches`` the batches themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[dict[str, Tensor]] = []

    @property
    def rows(self) -> list[list[int]]:
        return [batch["rows"].tolist() for batch in self.batches]

    def forward(self, output: Output, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self.batches.append(batch)
        return {"drift": output.logits.mean()}


def scores(*values: float) -> Callable[..., float]:
    """A judge that gives these numbers one after the other."""
    left: Iterator[float] = iter(values)
    return lambda *_: next(left)
