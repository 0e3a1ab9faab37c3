"""Images and what is known of them as batches on the device, and the answers of a network to them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fercore.data.augment import augment, normalise
from fercore.data.labels import Truth
from fercore.data.prepared import Prepared
from fercore.recipe import Recipe

Batch = dict[str, Tensor]
NOTHING: Mapping[str, Truth] = MappingProxyType({})
EXPRESSION = "expression"
"""The head whose field of a network's output is called ``logits`` alone."""


def seed_for(recipe: Recipe, epoch: int) -> int:
    """The seed of everything random in one epoch; the same for all methods, which so see the same batches."""
    text = f"{recipe.seed} {recipe.fold} {recipe.epochs} {epoch}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


class Batches:
    """The rows of one split as batches: ``{"images", "labels", "rows"}`` and what else is known.

    images (B, 3, S, S) float, normalised, channels last; labels, rows (B,) int64; with ``targets="votes"`` also targets
    (B, classes) float; yaw (B,) degrees where the data set knows it; every entry of ``truth`` by its name. An augmented
    batch says which of its images were ``mirrored`` (B,), and what has a side has been exchanged for it.
    """

    def __init__(
        self,
        data: Prepared,
        rows: np.ndarray,
        size: int,
        batch: int,
        device: torch.device | str,
        targets: str = "labels",
        standardise: bool = False,
        truth: Mapping[str, Truth] = NOTHING,
    ) -> None:
        self.data, self.rows, self.size, self.batch, self.device = data, rows, size, batch, torch.device(device)
        self.standardise = standardise
        known = {"labels": Truth(data.labels())}
        if targets == "votes":
            known["targets"] = Truth(data.votes())
        if "yaw" in data.manifest and data.manifest["yaw"].notna().all():
            yaw = data.manifest["yaw"].to_numpy(np.float32)
            known["yaw"] = Truth(yaw, -yaw)
        self.known = known | truth
        self.truth = {name: torch.from_numpy(one.values) for name, one in self.known.items()}
        sided = {name: one.mirrored for name, one in self.known.items() if one.mirrored is not None}
        self.mirrored = {name: torch.from_numpy(values) for name, values in sided.items()}

    @property
    def labels(self) -> Tensor:
        return self.truth["labels"]

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch)

    def __iter__(self) -> Iterator[Batch]:
        return self.walk(self.parts(self.rows), self.size)

    def parts(self, rows: np.ndarray) -> list[np.ndarray]:
        """Rows in their order, ``batch`` of them at a time."""
        return [rows[start : start + self.batch] for start in range(0, len(rows), self.batch)]

    def walk(self, parts: Iterable[np.ndarray], size: int) -> Iterator[Batch]:
        """A batch for each part of the rows, as the images are."""
        for chosen in parts:
            images = torch.from_numpy(self.data.images[chosen]).to(self.device)
            images = normalise(images, size, self.standardise).contiguous(memory_format=torch.channels_last)
            truth = {name: values[chosen].to(self.device) for name, values in self.truth.items()}
            yield {"images": images, "rows": torch.from_numpy(chosen)} | truth

    def augmented(self, parts: Iterable[np.ndarray], recipe: Recipe, size: int) -> Iterator[Batch]:
        """A batch for each part of the rows, as training sees them; one of a single image is left out, because batch
        norm needs two."""
        for batch in self.walk((part for part in parts if len(part) > 1), size):
            found = augment(batch["images"], recipe, batch.get("points"))
            batch |= {"images": found.images, "mirrored": found.mirrored}
            for name, values in self.mirrored.items():
                turned = found.mirrored.view(-1, *[1] * (values.ndim - 1))
                other = values[batch["rows"]].to(self.device)
                batch[name] = torch.where(turned, other, batch[name])
            yield batch | ({} if found.points is None else {"points": found.points})


class TrainingSet(NamedTuple):
    """The whole training set before an epoch, for methods that compute something from it; nothing that is drawn here
    moves the numbers that training draws."""

    recipe: Recipe
    batches: Batches
    order: np.ndarray  # the rows, in an order that is not sorted by class or person

    def clean(self, rows: np.ndarray | None = None) -> Iterator[Batch]:
        """Batches of all images, or of some rows, as they are."""
        return self.batches.walk(self.batches.parts(self.order if rows is None else rows), self.recipe.image_size)

    def augmented(self, rows: np.ndarray | None = None) -> Iterator[Batch]:
        """Batches of all images, or of some rows, as training sees them; the same ones at each call."""
        torch.manual_seed(seed_for(self.recipe, 0))
        parts = self.batches.parts(self.order if rows is None else rows)
        yield from self.batches.augmented(parts, self.recipe, self.recipe.image_size)

    def sample(self, number: int) -> np.ndarray:
        """So many rows, evenly taken and the same in each epoch; all where there are fewer."""
        rows = self.batches.rows
        return rows[:: -(-len(rows) // number)]


def to_predict(
    recipe: Recipe, data: Prepared, rows: np.ndarray, device: torch.device | str, truth: Mapping[str, Truth] = NOTHING
) -> Batches:
    """The batches of some rows as the recipe's network is used to see them."""
    return Batches(data, rows, recipe.image_size, 256, device, standardise=recipe.standardise, truth=truth)


def heads(output: Any) -> dict[str, Tensor]:
    """The heads of a network's output: every field whose name ends in ``logits``, by what stands before; ``logits``
    alone is the :data:`EXPRESSION`. Each (B, classes)."""
    fields = [name for name in output._fields if name.endswith("logits")]
    return {name.removesuffix("logits").rstrip("_") or EXPRESSION: getattr(output, name) for name in fields}


@torch.no_grad()
def predict(network: nn.Module, batches: Batches, mirror: bool = False) -> dict[str, np.ndarray]:
    """Class probabilities of a split by head, in its order: (N, classes) float32. The network is put in eval mode.

    With ``mirror`` they are the mean of those of the image and of its mirror image, in which a class that has a side is
    its opposite.
    """
    network.eval()
    found: list[dict[str, Tensor]] = []
    for batch in batches:
        shares = _shares(network, batch["images"])
        if mirror:
            other = _shares(network, batch["images"].flip(3))
            shares = {name: (own + _exchanged(other[name], batches, name)) / 2 for name, own in shares.items()}
        found.append({name: own.cpu() for name, own in shares.items()})
    return {name: torch.cat([shares[name] for shares in found]).numpy() for name in found[0]}


def _shares(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    return {name: logits.float().softmax(1) for name, logits in heads(network(images)).items()}


def _exchanged(shares: Tensor, batches: Batches, head: str) -> Tensor:
    opposite: Sequence[int] = batches.known[head].opposite if head in batches.known else ()
    return shares[:, list(opposite)] if len(opposite) else shares


def accuracy(recipe: Recipe, network: nn.Module, batches: Batches) -> float:
    """Share of the images of a split whose class is answered by the first head."""
    head, shares = next(iter(predict(network, batches, recipe.mirror).items()))
    true = batches.truth["labels" if head == EXPRESSION else head]
    return float((shares.argmax(1) == true[batches.rows].numpy()).mean())
