"""A sixth paper, as small as one can be: two heads on one convolution, and every hook of the contract once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fercore.data.labels import Truth, pose_classes
from fercore.data.prepared import Prepared
from fercore.data.protocols import by_people
from fercore.recipe import Recipe, build, check_preset

PANS = (-90, -45, 0, 45, 90)
PROTOCOLS = {"toy-kdef": by_people(0.3)}


class Output(NamedTuple):
    logits: Tensor  # (B, classes)
    pose_logits: Tensor  # (B, 5)


class Toy(nn.Module):
    """Toy Eq. (1): ``f = GAP(ReLU(W * x))``; images (B, 3, S, S) -> :class:`Output`."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, width, 5, stride=4)
        self.classifier, self.pose = nn.Linear(width, classes), nn.Linear(width, len(PANS))

    def forward(self, images: Tensor) -> Output:
        features = self.convolution(images).relu().mean((2, 3))
        return Output(self.classifier(features), self.pose(features))


class ToyLoss(nn.Module):
    """Toy Eq. (2): ``L = CE_e + w CE_p``, w learned."""

    def __init__(self) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.zeros(()))

    def forward(self, output: Output, batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        weight = self.raw.sigmoid()
        terms = {"expression": F.cross_entropy(output.logits, batch["labels"])}
        return terms | {"pose": weight * F.cross_entropy(output.pose_logits, batch["pose"])}, {"pose_weight": weight}


class ToyRecipe(Recipe):
    method: Literal["plain", "toy"] = "toy"


def recipe(preset: str = "smoke", dataset: str = "kdef-twin", **changes: object) -> ToyRecipe:
    """The parameters of one run."""
    check_preset(preset)
    values: dict[str, Any] = {"paper": "toy", "preset": preset, "dataset": dataset, "protocol": "toy-kdef"}
    values |= {"method": "toy", "image_size": 32, "width": 8, "batch_size": 32, "epochs": 2, "schedule": "step"}
    return build(ToyRecipe, values | changes)


def model(recipe: ToyRecipe, classes: int) -> Toy:
    """The network that a recipe describes."""
    return Toy(classes, recipe.width)


def criterion(recipe: ToyRecipe, network: nn.Module) -> ToyLoss:
    """The loss that a recipe describes."""
    return ToyLoss()


def stages(recipe: ToyRecipe) -> dict[str, ToyRecipe]:
    """A plain network first."""
    return {"plain": recipe.but(method="plain", epochs=1)} if recipe.method == "toy" else {}


def truth(recipe: ToyRecipe, data: Prepared) -> dict[str, Truth]:
    """The class of each head's pose."""
    return {"pose": pose_classes(data.manifest["yaw"].to_numpy(), PANS)}


def order(recipe: ToyRecipe, data: Prepared, rows: np.ndarray, epoch: int) -> list[np.ndarray]:
    """Batches of 30 in a random order."""
    return np.array_split(rows[torch.randperm(len(rows)).numpy()], max(1, len(rows) // 30))


def refresh(recipe: ToyRecipe, epoch: int, network: nn.Module, loss: nn.Module, training: Any) -> dict[str, float]:
    """How many images there are."""
    return {"seen": float(sum(len(batch["labels"]) for batch in training.clean()))}
