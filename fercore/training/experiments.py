"""From a recipe to a record: prepare the data, train, test once, write down.

An equal run (recipe, data, code) is found and not trained again; an
interrupted one goes on from its last complete epoch; a broken record is named
and made again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import json
import math
import resource
import shlex
import shutil
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from filelock import FileLock
from torch import nn

from fercore import evaluate, provenance, records
from fercore.backbones import weights
from fercore.data import catalogue, protocols
from fercore.data.parts import parts_of, subsets
from fercore.data.prepared import Prepared
from fercore.errors import ParameterError, RecordError
from fercore.paths import records_root
from fercore.recipe import Recipe, unknown
from fercore.training import shown
from fercore.training.train import accuracy, fit, load_weights, predict, save_weights, to_predict

NONE: Mapping[str, Any] = MappingProxyType({})
PRETRAINED = {"identity": "arcface", "landmarks": "landmarks"}
"""Names that a recipe can say in place of a file of weights: our own pre-training, a module of ``fercore.papers``."""
STARTS = {"start": "backbone", "landmark_weights": "landmark"}
"""Parameters that name such weights, and the part of the network that they fill."""


def papers() -> tuple[str, ...]:
    """Papers that can be trained: modules of ``fercore.papers`` with recipe, model, criterion, refresh, backbone_stage.

    They may have a ``view`` of the data, a ``judge`` that chooses the epoch, a ``test``, ``maps`` and ``features`` for
    figures.
    Found by what they define, so that a new paper changes no code that a record's hash covers.
    """
    files = sorted((provenance.PACKAGE / "papers").glob("*.py"))
    return tuple(file.stem for file in files if "\ndef backbone_stage(" in file.read_text())


def paper(name: str) -> ModuleType:
    """The module of a paper by its name; imported only when asked for, so that papers do not depend on each other."""
    if name not in papers():
        raise ParameterError(unknown("paper", name, papers()))
    return importlib.import_module(f"fercore.papers.{name}")


def run_key(recipe: Recipe, data: Prepared, *further: Prepared, starts: Mapping[str, Start] = NONE) -> str:
    """What makes a run the same run: recipe, data sets, first weights, code; 10 hexadecimal digits."""
    hashes = [other.hash for other in further] + [start.hash for start in starts.values()]
    text = " ".join([recipe.key(), data.hash, *hashes, provenance.code_of(recipe.paper)])
    return hashlib.sha256(text.encode()).hexdigest()[:10]


class Start(NamedTuple):
    """Weights that a part of a network starts from: a file, the hash of its content, whether we trained it."""

    file: Path
    hash: str
    ours: bool


def starts_of(recipe: Recipe, root: Path) -> dict[str, Start]:
    """What a recipe's :data:`STARTS` name, by the part that it fills; nothing for random weights.

    Our own pre-training is run when it has not been.
    """
    return {
        part: _start(field, getattr(recipe, field), recipe, root)
        for field, part in STARTS.items()
        if getattr(recipe, field, "")
    }


def _start(field: str, name: str, recipe: Recipe, root: Path) -> Start:
    if name in PRETRAINED:
        record = run(paper(PRETRAINED[name]).pretraining_of(recipe), root)
        return Start(record.folder / "model.safetensors", record.weights["final"].hash, True)
    file = Path(name).expanduser()
    if not file.is_file():
        what = f"parameter '{field}' = {name!r} is no file of weights."
        raise ParameterError(what, do=f"name one, or one of our own ({', '.join(PRETRAINED)}), or leave it empty")
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


def run(recipe: Recipe, root: Path | None = None) -> records.Record:
    """Train what the recipe describes and write its record under ``root``; find it there when it exists.

    The method's weights are kept beside the record as ``model.safetensors``.
    """
    root = root or records_root()
    data = catalogue.prepare(recipe.dataset, recipe.preset, **recipe.data)
    others = {name: catalogue.prepare(name, recipe.preset) for name in (recipe.pretraining, recipe.also_on) if name}
    first = starts_of(recipe, root)
    key = run_key(recipe, data, *others.values(), starts=first)
    with _only_one(root, key):
        found = _found(root / records.name_of(recipe.model_dump(), key))
        record = found or _train(recipe, data, others, first, key, root)
        shutil.rmtree(root / ".running" / key, ignore_errors=True)
    return record


def _found(folder: Path) -> records.Record | None:
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


def _train(
    recipe: Recipe, data: Prepared, others: Mapping[str, Prepared], first: Mapping[str, Start], key: str, root: Path
) -> records.Record:
    started = datetime.now(UTC)
    module = paper(recipe.paper)
    data = module.view(data) if hasattr(module, "view") else data
    data = data.leaving_out(recipe.leave_out) if recipe.leave_out else data
    # Now, not at the end: files may be edited meanwhile.
    code, commit = provenance.code_of(recipe.paper), provenance.commit()
    parts = parts_of(recipe, data)
    accelerator = Accelerator(mixed_precision="bf16" if torch.cuda.is_available() else "no")
    of_trunk = {part: given for part, given in first.items() if part == "backbone"}
    start = _backbone(recipe, module, others.get(recipe.pretraining, data), of_trunk, root, accelerator)
    clock = time.perf_counter()

    set_seed(recipe.seed)
    network = module.model(recipe, len(data.classes))
    _take_starts(network, {part: given for part, given in first.items() if start is None or part not in of_trunk})
    begun = {"method": _weights_note(network)}
    if start is not None:
        same_classes = others.get(recipe.pretraining, data).classes == data.classes
        _start_from(network, start.network, classifier=same_classes)
        begun = {"backbone": start.weights} | begun
    loss = module.criterion(recipe, network)
    folder = root / ".running" / key
    network, history = fit(
        recipe, network, loss, data, parts, folder,
        accelerator=accelerator, refresh=_hook(recipe, module), judge=getattr(module, "judge", accuracy),
    )  # fmt: skip
    # An interrupted run is counted by its epochs, which the history holds whole.
    seconds = max(time.perf_counter() - clock, _seconds(history))
    metrics, arrays = getattr(module, "test", test)(recipe, network, data, parts)
    real = catalogue.entry(data.name).real
    arrays |= shown.arrays(recipe, module, network, data, parts["test"], real=real)
    if recipe.also_on:
        name = f"on_{recipe.also_on}"
        metrics[name], arrays[f"confusion_{name}"] = _test_elsewhere(
            recipe, module, network, data, others[recipe.also_on]
        )
    record = records.Record(
        key=key,
        recipe=recipe.model_dump(),
        classes=list(data.classes),
        data=_data_note(data, parts),
        further={name: _data_note(other, {"all": np.arange(len(other))}) for name, other in others.items()},
        code=code,
        metrics=metrics,
        history=({"backbone": start.history} if start else {}) | {"method": history},
        weights=begun | {"final": _weights_note(network)},
        model=_model_note(recipe, network),
        seconds=seconds + (_seconds(start.history) if start else 0.0),
        peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        started=started.isoformat(timespec="seconds"),
        command=command(recipe),
        versions=provenance.versions(),
        machine=provenance.machine() | _device_note(accelerator),
        commit=commit,
    )
    kept = {"model": network} | ({"guidance": loss.guidance} if hasattr(loss, "guidance") else {})
    files = {
        f"{name}.safetensors": functools.partial(save_weights, part, classes=data.classes)
        for name, part in kept.items()
    }
    return records.write(record, arrays, root, files)


def _seconds(history: list[dict[str, float]]) -> float:
    return sum(row["seconds"] for row in history)


def _start_from(network: nn.Module, start: nn.Module, *, classifier: bool) -> None:
    """Take over every tensor that has the same name and shape: the trunk, and the classifier if its classes are ours.

    Both kinds of network call their last layer ``classifier``.
    """
    own = network.state_dict()
    found = {k: v for k, v in start.state_dict().items() if k in own and own[k].shape == v.shape}
    own.update({k: v for k, v in found.items() if classifier or not k.startswith("classifier.")})
    network.load_state_dict(own)


def _hook(recipe: Recipe, module: ModuleType) -> Any:
    return lambda *words: module.refresh(recipe, *words)


class _Stage(NamedTuple):
    """The network that several methods start from, its history, and what it started from itself."""

    network: nn.Module
    history: list[dict[str, float]]
    weights: records.WeightsNote


def _backbone(
    recipe: Recipe,
    module: ModuleType,
    data: Prepared,
    first: Mapping[str, Start],
    root: Path,
    accelerator: Accelerator,
) -> _Stage | None:
    """The stage that the recipe starts from, trained on ``data`` once and kept; None where it starts from nothing.

    Its seconds count in every run that starts from it, whoever trained it.
    """
    if not recipe.backbone_epochs:
        return None
    stage = module.backbone_stage(recipe)
    key = run_key(stage, data, starts=first)
    folder = root / ".backbones" / key
    with _only_one(root, key):
        set_seed(stage.seed)
        network = module.model(stage, len(data.classes))
        _take_starts(network, first)
        begun = _weights_note(network)
        parts = parts_of(stage, data)
        network, history = fit(
            stage, network, module.criterion(stage, network), data, parts, folder, accelerator=accelerator
        )
        if not (folder / "model.safetensors").exists():
            save_weights(network, folder / "model.safetensors", data.classes)
        load_weights(network, folder / "model.safetensors")
    return _Stage(network, history, begun)


def _only_one(root: Path, key: str) -> contextlib.AbstractContextManager[Any]:
    """Two processes that want the same run: the second waits and finds the result."""
    (root / ".running").mkdir(parents=True, exist_ok=True)
    return FileLock(root / ".running" / f"{key}.lock")


def test(
    recipe: Recipe, network: nn.Module, data: Prepared, parts: protocols.Split
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Test once: metrics per subset with a bootstrap interval, and the arrays behind them.

    Subsets are the whole test part and whatever the manifest marks in it
    (``pose_over_30``, ``pose_over_45``), or the cameras' pans of a controlled set.
    """
    device = next(network.parameters()).device
    rows = parts["test"]
    # Half precision is what the record keeps, so that every number follows from it.
    probabilities = predict(network, to_predict(recipe, data, rows, device), recipe.mirror).astype(np.float16)
    labels, answers = data.labels()[rows], probabilities.argmax(1)
    manifest = data.manifest.iloc[rows]
    known = (manifest["subject"] != "").all() and manifest["subject"].nunique() > 1
    subjects = manifest["subject"].to_numpy() if known else None
    metrics, arrays = {}, {"labels": labels, "probabilities": probabilities}
    arrays["samples"] = manifest["sample"].to_numpy().astype(str)
    for name, chosen in subsets(data, rows).items():
        arrays[f"in_{name}"] = chosen
        interval = evaluate.bootstrap(
            (answers == labels)[chosen].astype(float), None if subjects is None else subjects[chosen]
        )
        metrics[name] = evaluate.summary(labels[chosen], answers[chosen], data.classes) | {
            "accuracy_low": interval.low,
            "accuracy_high": interval.high,
            "interval_over": "images" if subjects is None else "subjects",
            "calibration_error": evaluate.calibration_error(labels[chosen], probabilities[chosen]),
        }
        arrays[f"confusion_{name}"] = evaluate.confusion(labels[chosen], answers[chosen], data.classes)
    if subjects is not None:
        arrays["subjects"] = subjects.astype(str)
    return metrics, arrays


def _test_elsewhere(
    recipe: Recipe, module: ModuleType, network: nn.Module, data: Prepared, other: Prepared
) -> tuple[dict[str, Any], np.ndarray]:
    """The metrics of :func:`test`, and the confusion matrix, on another data set's test part, by its own protocol.

    Its classes must be among those that the network answers with; images of other classes do not count.
    """
    there = module.recipe(recipe.preset, recipe.also_on)
    rows = protocols.split(other.manifest, there.protocol, there.fold)["test"]
    place = {name: k for k, name in enumerate(data.classes)}
    labels = np.array([place.get(name, -1) for name in other.classes])[other.labels()[rows]]
    rows, labels = rows[labels >= 0], labels[labels >= 0]
    if not len(rows):
        raise ParameterError(f"{recipe.also_on} shares no class with {recipe.dataset}.", do="choose another also_on")
    device = next(network.parameters()).device
    probabilities = predict(network, to_predict(recipe, other, rows, device), recipe.mirror)
    answers = probabilities.argmax(1)
    interval = evaluate.bootstrap((answers == labels).astype(float))
    metrics = evaluate.summary(labels, answers, data.classes) | {
        "accuracy_low": interval.low,
        "accuracy_high": interval.high,
        "interval_over": "images",
        "calibration_error": evaluate.calibration_error(labels, probabilities),
    }
    return metrics, evaluate.confusion(labels, answers, data.classes)


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
    cost = evaluate.cost(network, recipe.image_size)._asdict()
    speed = evaluate.frames_per_second(network, recipe.image_size)
    return {"class": type(network).__name__, **cost, "frames_per_second": speed}


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


def command(recipe: Recipe) -> str:
    """The command that makes this record again: the preset's own values are left out."""
    usual = paper(recipe.paper).recipe(recipe.preset, recipe.dataset).model_dump()
    own = {name: value for name, value in recipe.model_dump().items() if value != usual[name] and name != "seed"}
    words = [f"fercore train {recipe.paper} --preset {recipe.preset} --dataset {recipe.dataset} --seed {recipe.seed}"]
    return " ".join(words + [f"--set {name}={_word(value)}" for name, value in own.items()])


def _word(value: Any) -> str:
    """A value as the command line reads it back; what holds others, and nothing, as quoted JSON, which is YAML, too."""
    return shlex.quote(json.dumps(value)) if isinstance(value, dict) or value == "" else str(value)
