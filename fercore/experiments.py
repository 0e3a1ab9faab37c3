"""From a recipe to a record: prepare the data, train, test once, write down.

An equal run (recipe, data, code) is found and not trained again; an
interrupted one goes on from its last complete epoch.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import resource
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from filelock import FileLock
from torch import nn

from fercore import evaluate, provenance, records
from fercore.data import catalogue, protocols
from fercore.data.prepared import Prepared
from fercore.errors import ParameterError
from fercore.paths import records_root
from fercore.recipe import Recipe, unknown
from fercore.train import Batches, fit, load_weights, predict, save_weights

PAPERS = ("lan",)
"""Papers that can be trained: modules of ``fercore.papers`` with recipe, model, criterion, refresh, backbone_stage."""


def paper(name: str) -> ModuleType:
    """The module of a paper by its name; imported only when asked for, so that papers do not depend on each other."""
    if name not in PAPERS:
        raise ParameterError(unknown("paper", name, PAPERS))
    return importlib.import_module(f"fercore.papers.{name}")


def code_of(recipe: Recipe) -> str:
    """Hash of the code that a run of this recipe goes through once its data are prepared.

    What made the data is in the data's own hash.
    """
    names = ("train", "evaluate", "data.protocols", f"papers.{recipe.paper}")
    return provenance.code_hash((f"fercore.{name}" for name in names), files=[Path(__file__).resolve()])


def run_key(recipe: Recipe, data: Prepared) -> str:
    """What makes a run the same run: recipe, data, code; 10 hexadecimal digits."""
    text = f"{recipe.key()} {data.hash} {code_of(recipe)}"
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def run(recipe: Recipe, root: Path | None = None) -> records.Record:
    """Train what the recipe describes and write its record under ``root``; find it there when it exists.

    The method's weights are kept beside the record as ``model.safetensors``.
    """
    root = root or records_root()
    data = catalogue.prepare(recipe.dataset, recipe.preset)
    key = run_key(recipe, data)
    with _only_one(root, key):
        found = [record for record in records.find(root) if record.key == key]
        return found[0] if found else _train(recipe, data, key, root)


def _train(recipe: Recipe, data: Prepared, key: str, root: Path) -> records.Record:
    started = datetime.now(UTC)
    module = paper(recipe.paper)
    code, commit = code_of(recipe), provenance.commit()  # now, not at the end: files may be edited meanwhile
    parts = {k: thinned(v, recipe) for k, v in protocols.split(data.manifest, recipe.protocol, recipe.fold).items()}
    accelerator = Accelerator(mixed_precision="bf16" if torch.cuda.is_available() else "no")
    history: dict[str, list[dict[str, float]]] = {}
    start, history["backbone"], spent = _backbone(recipe, module, data, parts, root, accelerator)
    clock = time.perf_counter()

    set_seed(recipe.seed)
    network = module.model(recipe, len(data.classes))
    if start is not None:
        _start_from(network, start)
    loss = module.criterion(recipe, network)
    folder = root / ".running" / key
    network, history["method"] = fit(
        recipe, network, loss, data, parts, folder, accelerator=accelerator, refresh=_hook(recipe, module)
    )
    metrics, arrays = test(recipe, network, data, parts)
    record = records.Record(
        key=key,
        recipe=recipe.model_dump(),
        classes=list(data.classes),
        data=_data_note(recipe, data, parts),
        code=code,
        metrics=metrics,
        history={name: rows for name, rows in history.items() if rows},
        model=_model_note(network),
        # An interrupted run is counted by its epochs, which the history holds whole.
        seconds=max(time.perf_counter() - clock, sum(row["seconds"] for row in history["method"])) + spent,
        peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        started=started.isoformat(timespec="seconds"),
        command=command(recipe),
        versions=provenance.versions(),
        machine=provenance.machine(),
        commit=commit,
    )
    weights = {"model": network} | ({"guidance": loss.guidance} if hasattr(loss, "guidance") else {})
    files = {
        f"{name}.safetensors": functools.partial(save_weights, part, classes=data.classes)
        for name, part in weights.items()
    }
    record = records.write(record, arrays, root, files)
    shutil.rmtree(folder, ignore_errors=True)
    return record


def thinned(rows: np.ndarray, recipe: Recipe) -> np.ndarray:
    """All rows, or ``recipe.images`` of them drawn by the seed."""
    if not recipe.images or recipe.images >= len(rows):
        return rows
    return np.sort(np.random.default_rng(recipe.seed).choice(rows, recipe.images, replace=False))


def _start_from(network: nn.Module, start: nn.Module) -> None:
    """Take over every tensor that has the same name and shape: the trunk, and the classifier where it fits."""
    own = network.state_dict()
    own.update({k: v for k, v in start.state_dict().items() if k in own and own[k].shape == v.shape})
    network.load_state_dict(own)


def _hook(recipe: Recipe, module: ModuleType) -> Any:
    return lambda epoch, network, loss, images: module.refresh(recipe, epoch, network, loss, images)


def _backbone(
    recipe: Recipe, module: ModuleType, data: Prepared, parts: protocols.Split, root: Path, accelerator: Accelerator
) -> tuple[nn.Module | None, list[dict[str, float]], float]:
    """The network that several methods start from, its history and its seconds; trained once and kept.

    Its seconds count in every run that starts from it, whoever trained it.
    """
    if not recipe.backbone_epochs:
        return None, [], 0.0
    stage = module.backbone_stage(recipe)
    key = run_key(stage, data)
    folder = root / ".backbones" / key
    with _only_one(root, key):
        set_seed(stage.seed)
        network = module.model(stage, len(data.classes))
        network, history = fit(
            stage, network, module.criterion(stage, network), data, parts, folder, accelerator=accelerator
        )
        if not (folder / "model.safetensors").exists():
            save_weights(network, folder / "model.safetensors", data.classes)
        load_weights(network, folder / "model.safetensors")
    return network, history, sum(row["seconds"] for row in history)


def _only_one(root: Path, key: str) -> contextlib.AbstractContextManager[Any]:
    """Two processes that want the same run: the second waits and finds the result."""
    (root / ".running").mkdir(parents=True, exist_ok=True)
    return FileLock(root / ".running" / f"{key}.lock")


def test(
    recipe: Recipe, network: nn.Module, data: Prepared, parts: protocols.Split
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Test once: metrics per subset with a bootstrap interval, and the arrays behind them.

    Subsets are the whole test part and whatever the manifest marks in it
    (``pose_over_30``, ``pose_over_45``), or the pans of a controlled set.
    """
    device = next(network.parameters()).device
    rows = parts["test"]
    probabilities = predict(network, Batches(data, rows, recipe.image_size, 256, device))
    labels, answers = data.labels()[rows], probabilities.argmax(1)
    manifest = data.manifest.iloc[rows]
    known = (manifest["subject"] != "").all() and manifest["subject"].nunique() > 1
    subjects = manifest["subject"].to_numpy() if known else None
    metrics, arrays = {}, {"labels": labels, "probabilities": probabilities.astype(np.float16)}
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
        }
        arrays[f"confusion_{name}"] = evaluate.confusion(labels[chosen], answers[chosen], data.classes)
    if subjects is not None:
        arrays["subjects"] = subjects.astype(str)
    return metrics, arrays


def subsets(data: Prepared, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Named masks over ``rows``: ``test`` (all), each pose subset that is marked, each pan."""
    manifest = data.manifest.iloc[rows]
    masks = {"test": np.ones(len(rows), bool)}
    for name in ("pose_over_30", "pose_over_45"):
        if name in manifest and manifest[name].any():
            masks[name] = manifest[name].to_numpy(bool)
    if "pan" in manifest:
        masks |= {f"pan_{pan:+.0f}": (manifest["pan"] == pan).to_numpy() for pan in sorted(manifest["pan"].unique())}
    return masks


def _data_note(recipe: Recipe, data: Prepared, parts: protocols.Split) -> records.DataNote:
    counts = {name: len(rows) for name, rows in parts.items()}
    return records.DataNote(
        name=data.name,
        title=data.card["title"],
        real=catalogue.entry(recipe.dataset).real,
        hash=data.hash,
        made=data.card["made"],
        images=counts,
    )


def _model_note(network: nn.Module) -> dict[str, Any]:
    return {"class": type(network).__name__, "parameters": sum(p.numel() for p in network.parameters())}


def command(recipe: Recipe) -> str:
    """The command that makes this record again: the preset's own values are left out."""
    usual = paper(recipe.paper).recipe(recipe.preset, recipe.dataset).model_dump()
    own = {name: value for name, value in recipe.model_dump().items() if value != usual[name] and name != "seed"}
    words = [f"fercore train {recipe.paper} --preset {recipe.preset} --dataset {recipe.dataset} --seed {recipe.seed}"]
    return " ".join(words + [f"--set {name}={value}" for name, value in own.items()])
