"""The training loop: one function on accelerate, resumable, the same bits for the same seed on a CPU.

Everything random in an epoch is drawn after seeding with (seed, stage, epoch),
so a run that was interrupted and resumed goes through the same numbers as one
that was not, and the checkpoint need not hold the state of a generator.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fercore.data.augment import augment_both, normalise
from fercore.data.prepared import Prepared
from fercore.errors import FercoreError
from fercore.progress import progress
from fercore.recipe import Recipe


def seed_for(recipe: Recipe, epoch: int) -> int:
    """The seed of everything random in one epoch; the same for all methods, which so see the same batches."""
    text = f"{recipe.seed} {recipe.fold} {recipe.epochs} {epoch}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


class Batches:
    """The rows of one split as batches on the device: ``{"images", "labels", "rows"}``.

    images (B, 3, S, S) float, normalised, channels last; labels, rows (B,)
    int64; with ``targets="votes"`` also targets (B, classes) float; yaw (B,) degrees where the data set knows it;
    points (B, 68, 2), shares of the side, where landmarks are asked for.
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
    ) -> None:
        self.data, self.rows, self.size, self.batch, self.device = data, rows, size, batch, torch.device(device)
        self.standardise = standardise
        self.truth = {"labels": torch.from_numpy(data.labels())}
        if targets == "votes":
            self.truth["targets"] = torch.from_numpy(data.votes())
        if data.by == "landmarks":
            self.truth["points"] = torch.from_numpy(data.landmarks())
        if "yaw" in data.manifest and data.manifest["yaw"].notna().all():
            self.truth["yaw"] = torch.from_numpy(data.manifest["yaw"].to_numpy(np.float32))

    @property
    def labels(self) -> Tensor:
        return self.truth["labels"]

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return self.walk(self.rows, self.size)

    def shuffled(self, recipe: Recipe, size: int, process: int = 0, processes: int = 1) -> Iterator[dict[str, Tensor]]:
        """One epoch in random order, augmented; of several processes each gets its share.

        A last batch of one image is left out: batch norm needs two.
        """
        yield from self.augmented(self.rows[torch.randperm(len(self.rows)).numpy()][process::processes], recipe, size)

    def augmented(self, rows: np.ndarray, recipe: Recipe, size: int) -> Iterator[dict[str, Tensor]]:
        """Rows in their order as training sees them; a last batch of one image is left out."""
        for batch in self.walk(rows, size):
            if len(batch["labels"]) > 1:
                images, points = augment_both(batch["images"], batch.get("points"), recipe)
                yield batch | {"images": images} | ({} if points is None else {"points": points})

    def walk(self, rows: np.ndarray, size: int) -> Iterator[dict[str, Tensor]]:
        for start in range(0, len(rows), self.batch):
            chosen = rows[start : start + self.batch]
            images = torch.from_numpy(self.data.images[chosen]).to(self.device)
            images = normalise(images, size, self.standardise).contiguous(memory_format=torch.channels_last)
            truth = {name: values[chosen].to(self.device) for name, values in self.truth.items()}
            yield {"images": images, "rows": torch.from_numpy(chosen)} | truth


class TrainingSet(NamedTuple):
    """The whole training set before an epoch, for methods that compute something from it; nothing that is drawn here
    moves the numbers that training draws."""

    recipe: Recipe
    batches: Batches
    order: np.ndarray  # the rows, in an order that is not sorted by class or person

    def clean(self, rows: np.ndarray | None = None) -> Iterator[dict[str, Tensor]]:
        """Batches of all images, or of some rows, as they are."""
        return self.batches.walk(self.order if rows is None else rows, self.recipe.image_size)

    def augmented(self, rows: np.ndarray | None = None) -> Iterator[dict[str, Tensor]]:
        """Batches of all images, or of some rows, as training sees them; the same ones at each call."""
        torch.manual_seed(seed_for(self.recipe, 0))
        rows = self.order if rows is None else rows
        yield from self.batches.augmented(rows, self.recipe, self.recipe.image_size)

    def sample(self, number: int) -> np.ndarray:
        """So many rows, evenly taken and the same in each epoch; all where there are fewer."""
        rows = self.batches.rows
        return rows[:: -(-len(rows) // number)]


def to_predict(recipe: Recipe, data: Prepared, rows: np.ndarray, device: torch.device | str) -> Batches:
    """The batches of some rows as the recipe's network is used to see them."""
    return Batches(data, rows, recipe.image_size, 256, device, standardise=recipe.standardise)


@torch.no_grad()
def predict(network: nn.Module, batches: Batches, mirror: bool = False) -> np.ndarray:
    """Class probabilities of a split, in its order: (N, classes) float32. The network is put in eval mode.

    With ``mirror`` they are the mean of those of the image and of its mirror image.
    """
    network.eval()
    found = []
    for batch in batches:
        probabilities = network(batch["images"]).logits.float().softmax(1)
        if mirror:
            probabilities = (probabilities + network(batch["images"].flip(3)).logits.float().softmax(1)) / 2
        found.append(probabilities.cpu())
    return torch.cat(found).numpy()


def accuracy(recipe: Recipe, network: nn.Module, batches: Batches) -> float:
    """Share of the images of a split whose class is answered."""
    right = predict(network, batches, recipe.mirror).argmax(1) == batches.labels[batches.rows].numpy()
    return float(right.mean())


def rate(step: int, total: int, warmup: float, final: float = 0.0) -> float:
    """Linear rise over the first ``warmup`` share of the steps, then half a cosine from 1 to ``final``."""
    share = (step + 1) / total
    if share < warmup:
        return share / warmup
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, (share - warmup) / max(1 - warmup, 1e-9))))
    return final + (1 - final) * fall


def fit(
    recipe: Recipe,
    network: nn.Module,
    criterion: nn.Module,
    data: Prepared,
    rows: dict[str, np.ndarray],
    folder: Path,
    *,
    accelerator: Accelerator | None = None,
    refresh: Callable[[int, nn.Module, nn.Module, TrainingSet], Mapping[str, float]] | None = None,
    judge: Callable[[Recipe, nn.Module, Batches], float] = accuracy,
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Train on ``rows["train"]``, keep the weights of the best epoch on ``rows["validation"]``.

    ``criterion(output, batch)`` gives named terms, already weighted; their sum is the loss. ``refresh(epoch, network,
    criterion, training)`` runs before each epoch: the one hook, for methods that compute something from the whole
    training set; what it returns is written into the history. ``judge`` gives the share of right answers, by which the
    best epoch is chosen. ``folder`` holds the checkpoint of the last complete epoch; a run that finds one goes on from
    there.

    Returns the network with its best weights and the history, one row an epoch.
    """
    accelerator = accelerator or Accelerator()
    device = accelerator.device
    network = network.to(device, memory_format=torch.channels_last)
    criterion = criterion.to(device)
    optimiser = make_optimiser(network, recipe)
    wrapped, optimiser = accelerator.prepare(network, optimiser)
    mean = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe.average), use_buffers=True)
    batches = Batches(
        data, rows["train"], recipe.image_size, recipe.batch_size, device, recipe.targets, recipe.standardise
    )
    check = to_predict(recipe, data, rows["validation"], device)
    total = recipe.epochs * len(batches)
    state = _State(folder, recipe, network, mean, criterion, optimiser)
    history, best = state.load(device)

    for epoch in range(len(history), recipe.epochs):
        started = time.perf_counter()
        set_seed(seed_for(recipe, epoch))
        noted: Mapping[str, float] = {}
        if refresh is not None:
            order = rows["train"][torch.randperm(len(rows["train"])).numpy()]
            with torch.random.fork_rng():
                noted = refresh(epoch, network, criterion, TrainingSet(recipe, batches, order))
        wrapped.train()
        sums: dict[str, float] = {}
        size = recipe.image_size * 2 // 3 if epoch < recipe.small_epochs else recipe.image_size
        title = f"{recipe.method} epoch {epoch + 1}/{recipe.epochs}"
        epoch_batches = batches.shuffled(recipe, size, accelerator.process_index, accelerator.num_processes)
        for step, batch in enumerate(progress(epoch_batches, title, len(batches))):
            for group in optimiser.param_groups:
                group["lr"] = recipe.learning_rate * rate(
                    epoch * len(batches) + step, total, recipe.warmup, recipe.final_rate
                )
            terms = criterion(wrapped(batch["images"]), batch)
            loss = torch.stack(list(terms.values())).sum()
            if not step:
                first_loss = loss.item()
            optimiser.zero_grad()
            accelerator.backward(loss)
            optimiser.step()
            if recipe.average:
                mean.update_parameters(network)
            for name, value in (terms | {"loss": loss}).items():
                sums[name] = sums.get(name, 0.0) + value.item() * len(batch["labels"])
        if not math.isfinite(sums["loss"]):
            raise FercoreError(
                f"The loss of {recipe.method} became {sums['loss']} in epoch {epoch + 1}.",
                do="lower learning_rate; the checkpoint of the epoch before is kept",
            )
        judged = mean.module if recipe.average else network
        row = {f"train_{name}": value / len(rows["train"]) for name, value in sums.items()}
        row |= noted
        row |= {
            "epoch": epoch + 1,
            "first_loss": first_loss,  # of the first batch: where two runs that should be equal begin to part
            "validation_accuracy": judge(recipe, judged, check),
            "seconds": time.perf_counter() - started,
        }
        history.append(row)
        if best is None or row["validation_accuracy"] > best[0]:
            best = (row["validation_accuracy"], {k: v.detach().clone() for k, v in judged.state_dict().items()})
        if accelerator.is_main_process:
            state.save(history, best)
    network.load_state_dict(best[1])
    return network.eval(), history


def make_optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser; weight decay on weights of more than one axis, none on biases and batch norm."""
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
    return torch.optim.SGD(
        groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=True
    )


class _State:
    """The checkpoint of a run: written aside and renamed, so that a kill leaves the old one or the new one."""

    def __init__(self, folder: Path, recipe: Recipe, *parts: Any) -> None:
        self.file, self.recipe, self.parts = folder / "checkpoint.pt", recipe, parts

    def save(self, history: list[dict[str, float]], best: tuple[float, dict[str, Tensor]]) -> None:
        aside = self.file.with_suffix(f".{os.getpid()}.partial")
        parts = [part.state_dict() for part in self.parts]
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"recipe": self.recipe.key(), "parts": parts, "history": history, "best": best}, aside)
            os.replace(aside, self.file)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            aside.unlink(missing_ok=True)
            what = f"The checkpoint {self.file} can't be written ({error}); the one of the epoch before is kept."
            raise FercoreError(
                what, do="free some space and start the same run again: it goes on from there"
            ) from error

    def load(self, device: torch.device) -> tuple[list[dict[str, float]], tuple[float, dict[str, Tensor]] | None]:
        if not self.file.exists():
            return [], None
        try:
            found = torch.load(self.file, map_location=device, weights_only=True)
            if found["recipe"] != self.recipe.key():
                return [], None
        except Exception as error:
            raise FercoreError(
                f"The checkpoint {self.file} can't be read: {error}", do="delete it and start again"
            ) from error
        for part, state in zip(self.parts, found["parts"], strict=True):
            part.load_state_dict(state)
        return found["history"], found["best"]


def save_weights(network: nn.Module, path: Path, classes: tuple[str, ...]) -> None:
    """Write a network's weights as safetensors, class names in the header; aside, then renamed."""
    aside = path.with_suffix(f".{os.getpid()}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(tensors, aside, metadata={"classes": ",".join(classes)})
    os.replace(aside, path)


def load_weights(network: nn.Module, path: Path) -> None:
    """Read what :func:`save_weights` wrote; every name and shape must fit."""
    network.load_state_dict(load_file(path))
