"""Every field of a recipe does something: with another value the data, the network or its training is another one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate.utils import set_seed
from tiny import CLASSES, manifest, write_prepared

from fercore import papers
from fercore.data.parts import parts_of
from fercore.data.prepared import Prepared, open_prepared
from fercore.papers.lan import LANRecipe
from fercore.papers.pcda import PCDARecipe
from fercore.recipe import Recipe
from fercore.training import experiments, loop
from fercore.training.batches import predict, to_predict

Change = Any
With = tuple[dict[str, Any], Change]

BY_DESIGN = {
    "paper": "names the module",
    "setting": "says whose values the other fields have",
    "preset": "names the size of the data set, and other fields' values",
    "dataset": "names the data set, and other fields' values",
    "data": "changes the data set that is prepared",
    "also_on": "adds a test after the training",
}
"""Fields that change nothing once the data are prepared."""
OF_STAGE = {
    "pretraining", "backbone_epochs", "backbone_learning_rate", "backbone_small_epochs", "backbone_final_rate",
}  # fmt: skip
"""Fields of the stage that comes before."""
OF_GRID = ("stem", "last_stride", "small_epochs")
STEPS = {"schedule": "step", "decay_epochs": 1}
pytestmark = pytest.mark.usefixtures("one_thread")

COMMON: dict[str, Change | With] = {
    "protocol": "phanet-kdef", "fold": 1, "seed": 1, "images": 12, "share": 0.5, "leave_out": "happiness",
    "oversample": True, "pretraining": "rafdb-twin", "start": "identity",
    "image_size": 48, "width": 16, "stem": "imagenet", "last_stride": 2, "trunk": "ir50",
    "optimiser": "adamw", "epochs": 3, "batch_size": 8, "learning_rate": 0.03, "momentum": 0.5, "weight_decay": 0.1,
    "warmup": 0.6, "schedule": "constant", "final_rate": 0.5, "decay": (STEPS, 0.5), "decay_epochs": (STEPS, 2),
    "targets": "votes", "label_smoothing": 0.1, "average": 0.9, "small_epochs": 1, "standardise": True, "mirror": True,
    "flip": False, "rotation": 0.0, "shift": 0.0, "zoom": 0.0, "contrast": 0.0, "erase": 0.0,
    "backbone_epochs": 2, "backbone_learning_rate": 0.2, "backbone_small_epochs": 1, "backbone_final_rate": 0.5,
}  # fmt: skip
"""Another value of each field, with what else it needs to have an effect."""
CASES: dict[str, dict[str, Change | With]] = {
    "lan": COMMON | {
        "method": "resnet18", "small_epochs": ({"method": "resnet18"}, 1),
        "alpha": 0.0, "fusion": "mean", "guidance": "random", "attentive": "larger",
        "clusters": 3, "cluster_sample": 6, "cluster_passes": 0, "refresh": 1,
    },
    "pcda": COMMON | {
        # The landmark features have a grid of their own, which the trunk's has to be.
        "method": "plain", **{name: ({"method": "plain"}, COMMON[name]) for name in OF_GRID},
        "landmark_weights": "", "frozen": False, "dot": False, "cross": False, "heat": "sum", "blocks": 2,
        "dimensions": 48, "heads": 2, "drop": 0.5, "anchor_weight": 0.5, "anchor": "plain", "detach": True,
    },
}  # fmt: skip
SMALL = {"images": 0, "batch_size": 16, "epochs": 2, "cluster_sample": 8, "warmup": 0.2, "image_size": 32}
KINDS: dict[str, type[Recipe]] = {"lan": LANRecipe, "pcda": PCDARecipe}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Stripes of ten people, uneven classes, with votes."""
    table = manifest(10, 2)
    table = table[(table["expression"] == "neutral") | (table.index % 2 == 0)].reset_index(drop=True)
    table[[f"votes_{name}" for name in CLASSES]] = np.random.default_rng(0).integers(1, 5, (len(table), 3))
    return open_prepared(write_prepared(tmp_path_factory.mktemp("data") / "stripes", table, size=48))


@pytest.fixture(scope="module")
def behaviour(data: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """:func:`run` of a recipe, remembered."""
    folder, known = tmp_path_factory.mktemp("runs"), dict[str, Any]()

    def remembered(recipe: Recipe) -> dict[str, Any]:
        if recipe.key() not in known:
            known[recipe.key()] = run(data, folder, recipe)
        return known[recipe.key()]

    return remembered


def run(data: Prepared, folder: Path, recipe: Recipe) -> dict[str, Any]:
    """What a recipe does: the rows that it takes, all that comes out of its training, and what it starts from."""
    module = papers.module(recipe.paper)
    data = data.leaving_out(recipe.leave_out) if recipe.leave_out else data
    parts = parts_of(recipe, data)
    set_seed(recipe.seed)
    network = module.model(recipe, len(data.classes))
    loss = module.criterion(recipe, network)
    refresh = partial(module.refresh, recipe) if hasattr(module, "refresh") else None
    network, history = loop.fit(recipe, network, loss, data, parts, folder / recipe.key(), refresh=refresh)
    answers = predict(network, to_predict(recipe, data, parts["test"], "cpu"), recipe.mirror)
    return {
        "parts": {name: rows.tolist() for name, rows in parts.items()},
        "starts": experiments.starts_of(recipe),
        "history": [{name: value for name, value in row.items() if name != "seconds"} for row in history],
        "weights": {name: value.numpy().tobytes() for name, value in network.state_dict().items()},
        "answers": answers["expression"].tolist(),
    }


def base(paper: str, **changes: Any) -> Recipe:
    known = {name: value for name, value in (SMALL | changes).items() if name in KINDS[paper].model_fields}
    return papers.module(paper).recipe("smoke", "kdef-twin", **known)


@pytest.mark.parametrize("paper", CASES)
def test_every_field_is_looked_at(paper: str, behaviour: Any, data: Prepared, tmp_path: Path) -> None:
    assert set(CASES[paper]) | set(BY_DESIGN) == set(KINDS[paper].model_fields)
    assert not set(CASES[paper]) & set(BY_DESIGN)
    again = run(data, tmp_path, base(paper))
    assert again == behaviour(base(paper)), "what differs below does not differ by itself"


@pytest.mark.parametrize(("paper", "field"), [(paper, field) for paper, cases in CASES.items() for field in cases])
def test_a_field_has_an_effect(paper: str, field: str, behaviour: Any) -> None:
    case = CASES[paper][field]
    needed, value = case if isinstance(case, tuple) else ({}, case)
    recipe = base(paper, **needed)
    changed = recipe.but(**{field: value})
    assert getattr(changed, field) != getattr(recipe, field)
    stages = papers.module(paper).stages
    if field in OF_STAGE:
        assert stages(changed) != stages(recipe) and behaviour(changed) == behaviour(recipe)
    else:
        assert behaviour(changed) != behaviour(recipe)


@pytest.mark.parametrize("paper", CASES)
def test_names_have_none(paper: str, behaviour: Any) -> None:
    changes = {"setting": "published", "preset": "quick", "dataset": "kdef", "data": {"people": 3}, "also_on": "kdef"}
    assert changes.keys() | {"paper"} == BY_DESIGN.keys()
    for field, value in changes.items():
        changed = {field: value} | ({"preset": "paper"} if field == "setting" else {})
        assert behaviour(base(paper).but(**changed)) == behaviour(base(paper)), field
