"""Every field of a recipe does something: with another value the data, the network or its training is another one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from accelerate.utils import set_seed
from tiny import CLASSES, face_at, manifest, write_prepared

from fercore import papers
from fercore.data import estimates
from fercore.data.parts import parts_of
from fercore.data.prepared import Prepared, open_prepared
from fercore.errors import ParameterError
from fercore.papers.baselines import StagedRecipe
from fercore.recipe import Recipe
from fercore.training import experiments, loop, testing
from fercore.training.batches import NOTHING, accuracy, to_predict

Change = Any
With = tuple[dict[str, Any], Change]
GUESSED = "kdef-twin-smoke-2c1fb669"
"""The name of a table of estimates."""

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
    "pretraining", "first_epochs", "in_turn",
    "backbone_epochs", "backbone_learning_rate", "backbone_small_epochs", "backbone_final_rate",
}  # fmt: skip
"""Fields of the stage that comes before."""
OF_GRID = ("stem", "last_stride", "small_epochs")
STEPS = {"schedule": "step", "decay_epochs": 1}
pytestmark = pytest.mark.usefixtures("one_thread")

COMMON: dict[str, Change | With] = {
    "protocol": "phanet-kdef", "fold": 1, "seed": 1, "images": 12, "share": 0.5, "leave_out": "happiness",
    "oversample": True, "pretraining": "rafdb-twin", "start": "identity",
    "image_size": 48, "width": 16, "stem": "imagenet", "last_stride": 2,
    "optimiser": "adamw", "epochs": 3, "batch_size": 8, "learning_rate": 0.03, "momentum": 0.5, "weight_decay": 0.1,
    "warmup": 0.6, "schedule": "constant", "final_rate": 0.5, "decay": (STEPS, 0.5), "decay_epochs": (STEPS, 2),
    "targets": "votes", "label_smoothing": 0.1, "average": 0.9, "small_epochs": 1, "standardise": True, "mirror": True,
    "flip": False, "rotation": 0.0, "shift": 0.0, "zoom": 0.0, "contrast": 0.0, "erase": 0.0,
}  # fmt: skip
"""Another value of each field, with what else it needs to have an effect."""
STAGED: dict[str, Change | With] = COMMON | {
    "trunk": "ir50",
    "backbone_epochs": 2, "backbone_learning_rate": 0.2, "backbone_small_epochs": 1, "backbone_final_rate": 0.5,
}  # fmt: skip
LONG = {"epochs": 12, "batch_size": 5, "warmup": 0.0}
SGD = {"optimiser": "sgd", "learning_rate": 0.05}
OF_PEOPLE: dict[str, Change | With] = COMMON | {"momentum": (SGD, 0.5)}
"""Pre-training has AdamW, which has a momentum of its own."""
OF_DATA = ("protocol", "fold", "images", "share", "leave_out", "image_size", "standardise", "mirror")
"""Fields of what needs no training by steps."""
CASES: dict[str, dict[str, Change | With]] = {
    "baselines": STAGED,
    "lan": STAGED | {
        "method": "resnet18", "small_epochs": ({"method": "resnet18"}, 1),
        "alpha": 0.0, "fusion": "mean", "guidance": "random", "attentive": "larger",
        "clusters": 3, "cluster_sample": 6, "cluster_passes": 0, "refresh": 1,
    },
    "pcda": STAGED | {
        # The landmark features have a grid of their own, which the trunk's has to be.
        "method": "plain", **{name: ({"method": "plain"}, COMMON[name]) for name in OF_GRID},
        "landmark_weights": "", "frozen": False, "dot": False, "cross": False, "heat": "sum", "blocks": 2,
        "dimensions": 48, "heads": 2, "drop": 0.5, "anchor_weight": 0.5, "anchor": "plain", "detach": True,
    },
    "dmlnet": {name: case for name, case in COMMON.items() if name not in ("pretraining", "oversample")} | {
        "optimiser": "sgd", "batch_size": 15, "momentum": (SGD, 0.5), "protocol": "lan-kdef-10fold",
        "method": "mfe", "trunk": "resnet50", "pretraining": "multipie-twin",
        "first_epochs": 2, "in_turn": False, "fused": 16, "embedding": 8, "unit": False, "deviation": 0.0,
        "margin_pose": 1.0,
        "margin_identity": 1.0, "triplets": "pose", "hinge": False, "reduction": "sum", "weight_sum": 5.0,
        "temperature": (LONG, 0.1), "shared": True, "crops": "landmarks", "enlarge": True, "estimates": GUESSED,
    },
    "phanet": COMMON | {
        "optimiser": "sgd", "momentum": (SGD, 0.5), "protocol": "lan-kdef-10fold", "method": "densenet",
        "growth": 5, "depth": 10, "bottleneck": ({"depth": 10}, True), "first_epochs": 2, "copied": False,
        "shared": True, "pose": False, "attention": False, "dynamic": False, "factor": False, "ordered": False,
        "rectified": ({"learning_rate": 0.1, "epochs": 6}, False), "margin": 0.5, "mask": "tanh", "sharpness": 2.0,
        "optimise": "together", "proposal_epochs": 0, "first_half": 0.25, "pace": 0.1, "hidden": 8, "squeeze": 4,
        "fused": 16, "estimates": GUESSED,
    },
    "classical": {name: COMMON[name] for name in OF_DATA} | {
        "protocol": "lan-kdef-10fold", "method": "lda", "seed": ({"method": "hog-fc"}, 1),
        "hidden": ({"method": "hog-fc"}, 8), "pose": False,
    },
    "vgg": {name: case for name, case in COMMON.items() if name not in ("stem", "last_stride", "pretraining")} | {
        "optimiser": "sgd", "momentum": (SGD, 0.5), "protocol": "lan-kdef-10fold", "hidden": 8, "drop": 0.0,
        "pose": False, "small_epochs": ({"image_size": 48}, 1),
    },
    "arcface": {name: case for name, case in OF_PEOPLE.items() if name != "fold"} | {
        "optimiser": "sgd", "average": 0.9, "standardise": False, "trunk": "ir50", "dimensions": 64, "scale": 8.0,
        "margin": 0.0,
    },
    "landmarks": OF_PEOPLE | {"optimiser": "sgd", "small_epochs": 0, "fold": ({"protocol": "phanet-kdef"}, 1)},
}  # fmt: skip
REFUSED = {"leave_out": "happiness", "protocol": "phanet-kdef"}
"""What pre-training on people can't have: they are its classes, and its split knows which of them it tests on."""
WITHOUT = {
    "baselines": {"method"},
    "dmlnet": {"oversample"},
    "phanet": {"width", "last_stride"},
    "classical": COMMON.keys() - {*OF_DATA, "seed"},
    "vgg": {"method", "stem", "last_stride", "pretraining"},
    "arcface": {"method", "fold", "pretraining", "targets", "label_smoothing", "mirror", *REFUSED},
    "landmarks": {
        "method", "pretraining", "targets", "label_smoothing", "mirror", "width", "stem", "last_stride", "small_epochs",
    },
}  # fmt: skip
"""Fields of all recipes for which a paper has no use: there is one method, one fold, no stage before, no trunk."""
UNUSED = [("arcface", "label_smoothing"), ("landmarks", "label_smoothing"), ("landmarks", "width")]
"""Some of them, which are looked at."""
SMALL = {"images": 0, "batch_size": 16, "epochs": 2, "cluster_sample": 8, "warmup": 0.2, "image_size": 32}
PEOPLE = ("arcface", "landmarks")
POSED = ("dmlnet", "phanet", "classical", "vgg")
KINDS: dict[str, type[Recipe]] = {paper: type(papers.module(paper).recipe()) for paper in CASES}


def test_every_paper_is_looked_at() -> None:
    assert set(CASES) == set(papers.names())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Prepared]:
    """For each paper stripes of a few people: uneven classes with votes, the same from two sides, or all that is known
    of a rendered face."""
    rng = np.random.default_rng(0)
    plain = manifest(10, 2)
    plain = plain[(plain["expression"] == "neutral") | (plain.index % 2 == 0)].reset_index(drop=True)
    plain[[f"votes_{name}" for name in CLASSES]] = rng.integers(1, 5, (len(plain), 3))
    known = manifest(6, 3)
    known = known[(known["expression"] == "neutral") | (known["subject"] != "F00")].reset_index(drop=True)
    person = known["subject"].str[1:].astype(int)
    known["split"] = np.select([person > 3, person == 1], ["test", "validation"], "train")
    known["yaw"] = rng.uniform(-60, 60, len(known))
    known["landmarks"] = [face_at(*place).ravel() for place in rng.uniform(16, 32, (len(known), 2))]
    known["visible"] = [np.arange(68) % 2 == 0] * len(known)
    folder = tmp_path_factory.mktemp("data")
    turned = plain.assign(yaw=np.where(plain.groupby(["subject", "expression"]).cumcount() == 0, 0.0, 45.0))
    turned.loc[turned.index % 11 == 5, "yaw"] = np.nan  # which estimates fill
    tables = {"plain": plain, "known": known, "turned": turned}
    sets = {name: open_prepared(write_prepared(folder / name, table, 48)) for name, table in tables.items()}
    return {paper: sets["known" if paper in PEOPLE else "turned" if paper in POSED else "plain"] for paper in CASES}


@pytest.fixture(scope="module", autouse=True)
def guessed(data: dict[str, Prepared], tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Estimates of the poses of the set that is seen from two sides."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FERCORE_PREPARED", str(tmp_path_factory.mktemp("made")))
        table = pd.DataFrame({"sample": data["dmlnet"].manifest["sample"], "yaw": 45.0, "group": 0})
        assert estimates.write(table, "kdef-twin", "smoke", {}) == GUESSED
        yield


@pytest.fixture(scope="module")
def behaviour(data: dict[str, Prepared], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """:func:`run` of a recipe, remembered."""
    folder, known = tmp_path_factory.mktemp("runs"), dict[str, Any]()

    def remembered(recipe: Recipe) -> dict[str, Any]:
        if recipe.key() not in known:
            known[recipe.key()] = run(data[recipe.paper], folder, recipe)
        return known[recipe.key()]

    return remembered


def run(data: Prepared, folder: Path, recipe: Recipe) -> dict[str, Any]:
    """What a recipe does: the rows that it takes, all that comes out of its training, and what it starts from."""
    module = papers.module(recipe.paper)
    data = module.view(data) if hasattr(module, "view") else data
    data = data.leaving_out(recipe.leave_out) if recipe.leave_out else data
    parts = parts_of(recipe, data, getattr(module, "PROTOCOLS", {}))
    order = partial(module.order, recipe, data) if hasattr(module, "order") else None
    truth = module.truth(recipe, data) if hasattr(module, "truth") else NOTHING
    set_seed(recipe.seed)
    network = module.model(recipe, len(data.classes))
    loss = module.criterion(recipe, network)
    refresh = partial(module.refresh, recipe) if hasattr(module, "refresh") else None
    judge = getattr(module, "judge", accuracy)
    network, history = getattr(module, "fit", loop.fit)(
        recipe, network, loss, data, parts, folder / recipe.key(),
        truth=truth, order=order, refresh=refresh, judge=judge,
    )  # fmt: skip
    batches = to_predict(recipe, data, parts["test"], "cpu", truth)
    metrics, arrays = getattr(module, "test", testing.test)(recipe, network, data, parts["test"], batches)
    return {
        "parts": {name: rows.tolist() for name, rows in parts.items()},
        "starts": experiments.starts_of(recipe),
        "history": [{name: value for name, value in row.items() if name != "seconds"} for row in history],
        "weights": {name: value.numpy().tobytes() for name, value in network.state_dict().items()},
        "metrics": metrics,
        "arrays": {name: value.tobytes() for name, value in arrays.items()},
    }


def base(paper: str, **changes: Any) -> Recipe:
    own = {"dmlnet": {"batch_size": 10}, "phanet": {"optimise": "apart"}}.get(paper, {})  # five-tuples; all parts soon
    known = {name: value for name, value in (SMALL | own | changes).items() if name in KINDS[paper].model_fields}
    return papers.module(paper).recipe("smoke", "kdef-twin", **known)


def changed_in(paper: str, field: str) -> tuple[Recipe, Recipe]:
    """A recipe in which a field has an effect, and the same with another value of it."""
    case = CASES[paper][field]
    needed, value = case if isinstance(case, tuple) else ({}, case)
    recipe = base(paper, **needed)
    changed = recipe.but(**{field: value})
    assert getattr(changed, field) != getattr(recipe, field)
    return recipe, changed


@pytest.mark.parametrize("paper", CASES)
def test_every_field_is_looked_at(paper: str, behaviour: Any, data: dict[str, Prepared], tmp_path: Path) -> None:
    known = set(CASES[paper]) | set(BY_DESIGN) | WITHOUT.get(paper, set())
    fields = set(KINDS[paper].model_fields)
    assert not fields - known, f"give CASES[{paper!r}] another value of each"
    assert not known - fields, "there are no such fields"
    assert not set(CASES[paper]) & set(BY_DESIGN)
    assert WITHOUT.get(paper, set()) <= set(StagedRecipe.model_fields), "a paper has a use for each field of its own"
    again = run(data[paper], tmp_path, base(paper))
    assert again == behaviour(base(paper)), "what differs below does not differ by itself"


EFFECTS = [(paper, field) for paper, cases in CASES.items() for field in cases if field not in WITHOUT.get(paper, ())]


@pytest.mark.parametrize(("paper", "field"), EFFECTS)
def test_a_field_has_an_effect(paper: str, field: str, behaviour: Any) -> None:
    recipe, changed = changed_in(paper, field)
    stages = getattr(papers.module(paper), "stages", lambda recipe: {})
    same = behaviour(changed) == behaviour(recipe)
    if field in OF_STAGE:
        assert stages(changed) != stages(recipe) and same, f"{field} changes its stage and nothing else"
    else:
        assert not same, f"{field} changes nothing: is it passed on?"


@pytest.mark.parametrize("paper", CASES)
def test_names_and_what_a_paper_has_no_use_for_have_none(paper: str, behaviour: Any) -> None:
    changes = {"setting": "published", "preset": "quick", "dataset": "kdef", "data": {"people": 3}, "also_on": "kdef"}
    assert changes.keys() | {"paper"} == BY_DESIGN.keys()
    for field, value in changes.items():
        changed = {field: value} | ({"preset": "paper"} if field == "setting" else {})
        if (paper, field) != ("arcface", "setting"):
            assert behaviour(base(paper).but(**changed)) == behaviour(base(paper)), field
    for field in (field for own, field in UNUSED if own == paper):
        recipe, changed = changed_in(paper, field)
        assert behaviour(changed) == behaviour(recipe), field


@pytest.mark.parametrize("field", REFUSED)
def test_what_pre_training_on_people_can_not_have_is_refused(field: str) -> None:
    with pytest.raises(ParameterError, match="people"):
        base("arcface").but(**{field: REFUSED[field]})
