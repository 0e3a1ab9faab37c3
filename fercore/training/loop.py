"""The training loop: one function on accelerate, resumable, the same bits for the same seed on a CPU.

Everything random in an epoch is drawn after seeding with (seed, stage, epoch), so a run that was interrupted and
resumed goes through the same numbers as one that was not, and the checkpoint need not hold the state of a generator.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fercore.data.labels import Truth
from fercore.data.prepared import Prepared
from fercore.errors import FercoreError
from fercore.progress import progress
from fercore.recipe import Recipe
from fercore.training.batches import NOTHING, Batches, TrainingSet, accuracy, seed_for, to_predict

Row = dict[str, float]
Best = tuple[float, dict[str, Tensor], dict[str, Tensor]]
"""The judge's number of the best epoch, and what network and criterion were then."""
Refresh = Callable[[int, nn.Module, nn.Module, TrainingSet], Mapping[str, float] | None]
Order = Callable[[np.ndarray, int], "np.ndarray | Sequence[np.ndarray]"]
Judge = Callable[[Recipe, nn.Module, Batches], float]


@dataclass
class Training:
    """What an epoch works on."""

    recipe: Recipe
    network: nn.Module
    criterion: nn.Module
    batches: Batches
    order: Order | None
    accelerator: Accelerator
    optimiser: Any = field(init=False)
    wrapped: nn.Module = field(init=False)
    mean: AveragedModel = field(init=False)

    def __post_init__(self) -> None:
        self.optimiser = make_optimiser(self.recipe, self.network, self.criterion)
        self.wrapped, self.optimiser = self.accelerator.prepare(self.network, self.optimiser)
        if any(p.requires_grad for p in self.criterion.parameters()):
            self.criterion = self.accelerator.prepare(self.criterion)
        average = get_ema_multi_avg_fn(self.recipe.average)
        self.mean = AveragedModel(self.network, multi_avg_fn=average, use_buffers=True)

    @property
    def judged(self) -> nn.Module:
        """The network whose weights count: the running mean where the recipe has one."""
        return self.mean.module if self.recipe.average else self.network


def fit(
    recipe: Recipe,
    network: nn.Module,
    criterion: nn.Module,
    data: Prepared,
    rows: Mapping[str, np.ndarray],
    folder: Path,
    *,
    truth: Mapping[str, Truth] = NOTHING,
    order: Order | None = None,
    refresh: Refresh | None = None,
    judge: Judge = accuracy,
    accelerator: Accelerator | None = None,
    quiet: bool = False,
) -> tuple[nn.Module, list[Row]]:
    """Train on ``rows["train"]``, keep the weights of the best epoch on ``rows["validation"]``.

    ``criterion(output, batch)`` gives named terms, already weighted, whose sum is the loss; or a pair of dictionaries,
    the second of what is only written down. ``truth`` holds further entries of every batch; ``order(rows, epoch)``
    gives the order of an epoch, or its batches; ``refresh(epoch, network, criterion, training)`` runs before each
    epoch, and what it returns is written down, too; with ``quiet`` training goes through the numbers that it would draw
    without that hook. ``judge`` gives the number by which the best epoch is chosen.
    ``folder`` holds the checkpoint of the last complete epoch; a run that finds one goes on from there.

    Returns the network with its best weights and the history, one row an epoch; the criterion has those of that epoch.
    """
    accelerator = accelerator or Accelerator()
    device = accelerator.device
    network = network.to(device, memory_format=torch.channels_last)
    given = recipe.image_size, recipe.batch_size, device, recipe.targets, recipe.standardise, truth
    batches = Batches(data, rows["train"], *given)
    training = Training(recipe, network, criterion.to(device), batches, order, accelerator)
    check = to_predict(recipe, data, rows["validation"], device, truth)
    state = _State(folder, recipe, network, training.mean, training.criterion, training.optimiser)
    history, best = state.load(device)
    for epoch in range(len(history), recipe.epochs):
        started = time.perf_counter()
        set_seed(seed_for(recipe, epoch))
        noted = _refreshed(training, epoch, refresh, quiet)
        row = train_epoch(training, epoch) | noted | {"epoch": epoch + 1}
        row["validation_accuracy"] = judge(recipe, training.judged, check)
        row["seconds"] = time.perf_counter() - started
        history.append(row)
        if best is None or row["validation_accuracy"] > best[0]:
            best = (row["validation_accuracy"], _copy(training.judged), _copy(criterion))
        if accelerator.is_main_process:
            state.save(history, best)
    network.load_state_dict(best[1])
    criterion.load_state_dict(best[2])
    return network.eval(), history


def train_epoch(training: Training, epoch: int) -> Row:
    """One epoch: every batch once; means of the loss, its terms and what else the criterion tells."""
    t, sums, images, first_loss = training, dict[str, float](), 0, math.nan
    t.wrapped.train()
    every = epoch_parts(t, epoch)
    parts = _shared(every, t.accelerator)
    size = t.recipe.image_size * 2 // 3 if epoch < t.recipe.small_epochs else t.recipe.image_size
    title = f"{t.recipe.method} epoch {epoch + 1}/{t.recipe.epochs}"
    for step, batch in enumerate(progress(t.batches.augmented(parts, t.recipe, size), title, len(every))):
        for group in t.optimiser.param_groups:
            group["lr"] = t.recipe.learning_rate * rate(t.recipe, epoch, step, len(every))
        terms, told = _parted(t.criterion(t.wrapped(batch["images"]), batch))
        loss = torch.stack(list(terms.values())).sum()
        if not step:
            first_loss = loss.item()  # where two runs that should be equal begin to part
        t.optimiser.zero_grad()
        t.accelerator.backward(loss)
        t.optimiser.step()
        if t.recipe.average:
            t.mean.update_parameters(t.network)
        images += len(batch["labels"])
        for name, value in ({f"train_{name}": v for name, v in terms.items()} | {"train_loss": loss} | told).items():
            sums[name] = sums.get(name, 0.0) + torch.as_tensor(value).item() * len(batch["labels"])
    if not images:
        what = f"Of {len(t.batches.rows)} training images no batch has the two that batch norm needs."
        raise FercoreError(what, do="take more images, or an order with larger batches")
    sums, images = _over_processes(sums, images, t.accelerator)
    if not math.isfinite(sums["train_loss"]):
        what = f"The loss of {t.recipe.method} became {sums['train_loss']} in epoch {epoch + 1}."
        raise FercoreError(what, do="lower learning_rate; the checkpoint of the epoch before is kept")
    return {name: value / images for name, value in sums.items()} | {"first_loss": first_loss}


def epoch_parts(training: Training, epoch: int) -> list[np.ndarray]:
    """The rows of each batch of an epoch: the paper's order, else a random one."""
    rows = training.batches.rows
    if training.order is None:
        return training.batches.parts(rows[torch.randperm(len(rows)).numpy()])
    ordered = training.order(rows, epoch)
    return training.batches.parts(ordered) if isinstance(ordered, np.ndarray) else list(ordered)


def _shared(parts: Sequence[np.ndarray], accelerator: Accelerator) -> list[np.ndarray]:
    """This process's part of each batch: as many steps as one process takes, each with its share of the images; a
    batch that has no two images for each process is left out by all."""
    one, of = accelerator.process_index, accelerator.num_processes
    return [part[len(part) * one // of : len(part) * (one + 1) // of] for part in parts if len(part) >= 2 * of]


def _over_processes(sums: Row, images: int, accelerator: Accelerator) -> tuple[Row, int]:
    """Sums of all processes together."""
    if accelerator.num_processes == 1:
        return sums, images
    values = torch.tensor([*sums.values(), images], dtype=torch.float64, device=accelerator.device)
    *whole, count = accelerator.reduce(values, "sum").tolist()
    return dict(zip(sums, whole, strict=True)), int(count)


def _parted(loss: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The terms of a loss, and what is only written down."""
    return loss if isinstance(loss, tuple) else (loss, {})


def _refreshed(training: Training, epoch: int, refresh: Refresh | None, quiet: bool) -> Row:
    """What is computed from the whole training set before an epoch."""
    if refresh is None:
        return {}
    rows = training.batches.rows
    with torch.random.fork_rng(enabled=quiet):
        order = rows[torch.randperm(len(rows)).numpy()]
    with torch.random.fork_rng():
        whole = TrainingSet(training.recipe, training.batches, order)
        return dict(refresh(epoch, training.network, training.criterion, whole) or {})


def rate(recipe: Recipe, epoch: int, step: int, steps: int) -> float:
    """Share of the learning rate at a step of an epoch of so many steps.

    It rises linearly over the first ``warmup`` share of all steps; then ``cosine`` falls along half a cosine to
    ``final_rate``, ``step`` is multiplied by ``decay`` every ``decay_epochs``, ``constant`` stays.
    """
    share = (epoch * steps + step + 1) / (recipe.epochs * steps)
    if share < recipe.warmup:
        return share / recipe.warmup
    if recipe.schedule == "constant":
        return 1.0
    if recipe.schedule == "step":
        return recipe.decay ** (epoch // recipe.decay_epochs)
    fall = min(1.0, (share - recipe.warmup) / max(1 - recipe.warmup, 1e-9))
    return recipe.final_rate + (1 - recipe.final_rate) * (0.5 * (1 + math.cos(math.pi * fall)))


def make_optimiser(recipe: Recipe, *modules: nn.Module) -> torch.optim.Optimizer:
    """The recipe's optimiser of all parameters that are trained, a criterion's too; weight decay on weights of more
    than one axis, none on biases and batch norm."""
    trained = [p for module in modules for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
    return torch.optim.SGD(
        groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=True
    )


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


class _State:
    """The checkpoint of a run: written aside and renamed, so that a kill leaves the old one or the new one."""

    def __init__(self, folder: Path, recipe: Recipe, *parts: Any) -> None:
        self.file, self.recipe, self.parts = folder / "checkpoint.pt", recipe, parts

    def save(self, history: list[Row], best: Best) -> None:
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

    def load(self, device: torch.device) -> tuple[list[Row], Best | None]:
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


def save_weights(network: nn.Module, path: Path, classes: Sequence[str]) -> None:
    """Write a network's weights as safetensors, class names in the header; aside, then renamed."""
    aside = path.with_suffix(f".{os.getpid()}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(tensors, aside, metadata={"classes": ",".join(classes)})
    os.replace(aside, path)


def load_weights(network: nn.Module, path: Path) -> None:
    """Read what :func:`save_weights` wrote; every name and shape must fit."""
    network.load_state_dict(load_file(path))
