"""From a recipe to a record: prepare the data, train, test once, write down.

An equal run (recipe, data, code) is found and not trained again; an interrupted one goes on from its last complete
epoch; a broken record is named and made again. A stage that runs start from is a run, too, whose record is kept aside
and found by every run that shares it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import resource
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import set_seed
from filelock import FileLock
from torch import nn

from fercore import papers, provenance, records
from fercore.backbones import weights
from fercore.backbones.cost import cost, frames_per_second
from fercore.data import catalogue
from fercore.data.parts import parts_of
from fercore.data.prepared import Prepared
from fercore.errors import ParameterError, RecordError
from fercore.paths import records_root
from fercore.recipe import Recipe, value_of
from fercore.records import Record
from fercore.training import testing
from fercore.training.batches import NOTHING, accuracy, to_predict
from fercore.training.loop import fit, save_weights

STAGES = ".stages"
"""Below a folder of records: those of the stages that runs start from."""
METHOD = "method"
"""The run's own stage in its history, after those that came before."""


class Start(NamedTuple):
    """Weights that a part of a network starts from: a file, the hash of its content, whether we trained it."""

    file: Path
    hash: str
    ours: bool


class Before(NamedTuple):
    """What a run stands on: its data and those of other sets, weights from elsewhere by part, stages by name."""

    data: Prepared
    others: Mapping[str, Prepared]
    starts: Mapping[str, Start]
    stages: Mapping[str, Recipe]

    def key(self, recipe: Recipe, code: str) -> str:
        """What makes a run the same run: recipe, data sets, initial weights, code; 10 hexadecimal digits."""
        hashes = [data.hash for data in self.others.values()] + [start.hash for start in self.starts.values()]
        text = " ".join([recipe.key(), self.data.hash, *hashes, code])
        return hashlib.sha256(text.encode()).hexdigest()[:10]


def run(recipe: Recipe, root: Path | None = None) -> Record:
    """Train what the recipe describes and write its record under ``root``; find it there when it exists.

    The network's weights are kept beside the record as ``model.safetensors``, those of a criterion that has any as
    ``criterion.safetensors``.
    """
    return _run(recipe, root or records_root(), stage=False)


def run_stage(recipe: Recipe, root: Path | None = None) -> Record:
    """Train a stage that runs start from, or find it where they look for it."""
    return _run(recipe, root or records_root(), stage=True)


def _run(recipe: Recipe, root: Path, *, stage: bool) -> Record:
    before = _before(recipe, root)
    code, store = provenance.code_of(recipe.paper), root / STAGES if stage else root
    key = before.key(recipe, code)
    # A run of older code is as good where it is proven that nothing changed.
    same = records.same_code(records.group_of(command(recipe)), code, records.steps(), earlier=True)
    keys = [key, *(before.key(recipe, older) for older in sorted(same - {code}))]
    with _only_one(root, key):
        there = (_found(store / records.name_of(recipe.model_dump(), each)) for each in keys)
        record = next(filter(None, there), None) or _train(recipe, before, key, root, store, stage=stage)
        if PartialState().is_main_process:
            shutil.rmtree(root / ".running" / key, ignore_errors=True)
    return record


def _before(recipe: Recipe, root: Path) -> Before:
    module = papers.module(recipe.paper)
    data = catalogue.prepare(recipe.dataset, recipe.preset, changes=recipe.data)
    others = [name for name in (getattr(recipe, "pretraining", ""), recipe.also_on) if name]
    stages = module.stages(recipe) if hasattr(module, "stages") else {}
    first = {part: _start(name, recipe, root) for part, name in starts_of(recipe).items()}
    return Before(data, {name: catalogue.prepare(name, recipe.preset) for name in others}, first, stages)


def starts_of(recipe: Recipe) -> dict[str, str]:
    """Names or files of the weights that a recipe's network starts from, by the part that they fill."""
    module = papers.module(recipe.paper)
    named = module.starts(recipe) if hasattr(module, "starts") else {"backbone": recipe.start}
    return {part: name for part, name in named.items() if name}


def _start(name: str, recipe: Recipe, root: Path) -> Start:
    """Weights by name, which are trained when they have not been, or from a file."""
    if name in papers.pretraining():
        record = run(papers.module(papers.pretraining()[name]).pretraining_of(recipe), root)
        return Start(record.folder / "model.safetensors", record.weights["final"].hash, True)
    file = Path(name).expanduser()
    if not file.is_file():
        what = f"{recipe.paper} is to start from {name!r}, which is no file of weights."
        raise ParameterError(what, do=f"name one, or one of our own ({', '.join(papers.pretraining())}), or none")
    return Start(file, provenance.file_hash(file)[:16], weights.convention_of(file) == weights.OURS)


def _take_starts(network: nn.Module, starts: Mapping[str, Start]) -> None:
    """Fill the parts that this network has; a trunk whose pictures look otherwise has its first layer adapted."""
    for name, start in starts.items():
        if (part := getattr(network, name, None)) is None:
            continue
        weights.load(part, start.file)
        if name == "backbone" and not start.ours:
            theirs = getattr(part, "convention", weights.IMAGENET)
            weights.adapt_input(*part.entry, weights.Convention(*theirs))


def _found(folder: Path) -> Record | None:
    """The record there, read and checked whole; a broken one is named on standard error and counts as none."""
    if not (folder / "record.json").exists():
        return None
    try:
        record = records.read(folder)
        record.arrays()
    except RecordError as error:
        print(f"{error}\n  It is made again now.", file=sys.stderr)
        return None
    return record


def _train(recipe: Recipe, before: Before, key: str, root: Path, store: Path, *, stage: bool) -> Record:
    started = datetime.now(UTC)
    module = papers.module(recipe.paper)
    code, commit = provenance.code_of(recipe.paper), provenance.commit()  # now: files may be edited meanwhile
    data = module.view(before.data) if hasattr(module, "view") else before.data
    data = data.leaving_out(recipe.leave_out) if recipe.leave_out else data
    parts = parts_of(recipe, data, getattr(module, "PROTOCOLS", {}))
    truth = module.truth(recipe, data) if hasattr(module, "truth") else NOTHING
    stages = {name: run_stage(own, root) for name, own in before.stages.items()}
    accelerator = Accelerator(mixed_precision="bf16" if torch.cuda.is_available() else "no")
    clock = time.perf_counter()

    set_seed(recipe.seed)
    network, begun = _begin(recipe, module, data, before, stages)
    loss = module.criterion(recipe, network)
    # Records are from when every run but a stage had a hook: its draw stays in the open there.
    refresh = functools.partial(module.refresh, recipe) if hasattr(module, "refresh") else lambda *_: None
    order = functools.partial(module.order, recipe, data) if hasattr(module, "order") else None
    network, history = getattr(module, "fit", fit)(
        recipe, network, loss, data, parts, root / ".running" / key, truth=truth, order=order, refresh=refresh,
        judge=getattr(module, "judge", accuracy), accelerator=accelerator, quiet=stage,
    )  # fmt: skip
    # An interrupted run is counted by its epochs, which the history holds whole.
    seconds = max(time.perf_counter() - clock, sum(row["seconds"] for row in history))
    rows = parts["test"]
    batches = to_predict(recipe, data, rows, accelerator.device, truth)
    metrics, arrays = getattr(module, "test", testing.test)(recipe, network, data, rows, batches)
    real = catalogue.entry(data.name).real
    arrays |= testing.shown(recipe, module, network, data, rows, real=real)
    if recipe.also_on:
        name = f"on_{recipe.also_on}"
        metrics[name], arrays[f"confusion_{name}"] = testing.test_elsewhere(
            recipe, module, network, data, before.others[recipe.also_on]
        )
    record = Record(
        key=key,
        recipe=recipe.model_dump(),
        classes=list(data.classes),
        heads={name: list(one.classes) for name, one in truth.items() if one.classes},
        data=_data_note(data, parts),
        further={name: _data_note(other, {"all": np.arange(len(other))}) for name, other in before.others.items()},
        code=code,
        metrics=metrics,
        stages={name: own.metrics for name, own in stages.items()},
        history={name: own.history[METHOD] for name, own in stages.items()} | {METHOD: history},
        weights=begun | {"final": _weights_note(network)},
        starts={part: start.hash for part, start in before.starts.items()},
        model=_model_note(recipe, network),
        # What a stage stands on stands among the stages, too: each counts its own epochs.
        seconds=seconds + sum(row["seconds"] for own in stages.values() for row in own.history[METHOD]),
        peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        started=started.isoformat(timespec="seconds"),
        command=command(recipe),
        versions=provenance.versions(),
        machine=provenance.machine() | _device_note(accelerator),
        commit=commit,
    )
    kept = {"model": network} | ({"criterion": loss} if loss.state_dict() else {})
    files = {
        f"{name}.safetensors": functools.partial(save_weights, part, classes=data.classes)
        for name, part in kept.items()
    }
    state = PartialState()
    if state.is_main_process:
        record = records.write(record, arrays, store, files)
    state.wait_for_everyone()
    return record if state.is_main_process else records.read(store / record.name)


def _begin(
    recipe: Recipe, module: ModuleType, data: Prepared, before: Before, stages: Mapping[str, Record]
) -> tuple[nn.Module, dict[str, records.WeightsNote]]:
    """The network as the run starts, and what each stage started from.

    A part that an earlier stage has trained is taken from there, not from where that stage began.
    """
    network = module.model(recipe, len(data.classes))
    trained = {part for own in before.stages.values() for part in starts_of(own)}
    _take_starts(network, {part: start for part, start in before.starts.items() if part not in trained})
    begun = {METHOD: _weights_note(network)}
    for record in stages.values():
        _take_over(network, record, classifier=record.classes == list(data.classes))
    return network, {name: record.weights[METHOD] for name, record in stages.items()} | begun


def _take_over(network: nn.Module, stage: Record, *, classifier: bool) -> None:
    """Take over every tensor that has the same name and shape: the trunk, and the classifier if its classes are ours.

    All kinds of network call their last layer ``classifier``.
    """
    own = network.state_dict()
    kept = weights.read(stage.folder / "model.safetensors").items()
    found = {name: value for name, value in kept if name in own and own[name].shape == value.shape}
    own.update({name: value for name, value in found.items() if classifier or not name.startswith("classifier.")})
    network.load_state_dict(own)


@contextlib.contextmanager
def _only_one(root: Path, key: str) -> Iterator[None]:
    """Two that want the same run: the second waits and finds the result. Processes that train together are one: the
    first of them holds the lock until all are through."""
    (root / ".running").mkdir(parents=True, exist_ok=True)
    state, lock = PartialState(), FileLock(root / ".running" / f"{key}.lock")
    with lock if state.is_main_process else contextlib.nullcontext():
        state.wait_for_everyone()
        yield
        state.wait_for_everyone()


def _data_note(data: Prepared, parts: Mapping[str, np.ndarray]) -> records.DataNote:
    counts = {name: len(rows) for name, rows in parts.items()}
    return records.DataNote(
        name=data.name,
        title=data.card["title"],
        real=catalogue.entry(data.name).real,
        hash=data.hash,
        made=data.card["made"],
        images=counts,
    )


def _model_note(recipe: Recipe, network: nn.Module) -> dict[str, Any]:
    """Class, parameters, operations an image in both conventions, and the speed on this machine."""
    counted = cost(network, recipe.image_size)._asdict()
    speed = frames_per_second(network, recipe.image_size)
    return {"class": type(network).__name__, **counted, "frames_per_second": speed}


def _weights_note(network: nn.Module) -> records.WeightsNote:
    """SHA-256 over names, types, shapes and values of a network's state, and the norm of its floating-point part."""
    digest, squares = hashlib.sha256(), 0.0
    for name, value in network.state_dict().items():
        array = value.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes())
        if value.is_floating_point():
            squares += float(np.square(array, dtype=np.float64).sum())
    return records.WeightsNote(hash=digest.hexdigest()[:16], norm=math.sqrt(squares))


def _device_note(accelerator: Accelerator) -> dict[str, Any]:
    note = {"device": str(accelerator.device), "precision": accelerator.mixed_precision}
    on_gpu = accelerator.device.type == "cuda"
    return note | ({"gpu_peak_memory": torch.cuda.max_memory_allocated()} if on_gpu else {})


def recipe_of(record: Record) -> Recipe:
    """A record's recipe as its paper's module has it today; fields that it had no use for are left out."""
    r = record.recipe
    kind = type(papers.module(r["paper"]).recipe(r["preset"], r["dataset"]))
    return kind.model_validate({name: value for name, value in r.items() if name in kind.model_fields})


def command(recipe: Recipe) -> str:
    """The command that makes this record again: the preset's own values are left out."""
    module = papers.module(recipe.paper)
    usual, chosen = module.recipe(recipe.preset, recipe.dataset), dict[str, Any]()
    for name in ("method", "setting", "start", "backbone_epochs"):  # on which a recipe lets others depend
        if (value := getattr(recipe, name, None)) != getattr(usual, name, None):
            chosen[name] = value
            usual = module.recipe(recipe.preset, recipe.dataset, **chosen)
    changed = {name for name, value in recipe if name in chosen or value != getattr(usual, name)} - {"seed"}
    own = {name: value for name, value in recipe.model_dump().items() if name in changed}
    words = [f"fercore train {recipe.paper} --preset {recipe.preset} --dataset {recipe.dataset} --seed {recipe.seed}"]
    return " ".join(words + [f"--set {name}={_word(value)}" for name, value in own.items()])


def _word(value: Any) -> str:
    """A value as the command line reads it back: as JSON what holds others, and text that would be read as no text."""
    as_json = value_of(value) != value if isinstance(value, str) else isinstance(value, dict)
    return shlex.quote(json.dumps(value) if as_json else str(value))
