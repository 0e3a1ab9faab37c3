"""The published settings, every field of every stage, written out; and our own, as the committed records have them."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from fercore import papers, records
from fercore.data.protocols import USUAL
from fercore.errors import ParameterError
from fercore.recipe import PRESETS, Recipe
from fercore.training import experiments

START = "weights/faces.pth"
BASELINE: dict[str, Any] = {
    "paper": "baselines", "method": "resnet18", "preset": "paper", "fold": 0, "seed": 0, "setting": "published",
    "images": 0, "share": 1.0, "leave_out": "", "pretraining": "", "start": START, "also_on": "", "data": {},
    "trunk": "resnet18", "image_size": 224, "width": 64, "stem": "imagenet", "last_stride": 2,
    "optimiser": "sgd", "epochs": 20, "batch_size": 64, "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 5e-4,
    "warmup": 0.1, "schedule": "cosine", "final_rate": 0.0, "decay": 0.1, "decay_epochs": 30,
    "targets": "labels", "label_smoothing": 0.0, "average": 0.0, "small_epochs": 0,
    "standardise": False, "mirror": False,
    "flip": True, "rotation": 10.0, "shift": 0.06, "zoom": 0.15, "contrast": 0.3, "erase": 0.25,
    "backbone_epochs": 0, "backbone_learning_rate": 0.1, "backbone_small_epochs": 0, "backbone_final_rate": 0.0,
}  # fmt: skip
"""ResNet-18 at 224 x 224 by SGD, rate 0.1 and batches of 64, as LAN prints it (Section IV); what it does not print is
this package's usual value."""
LAN: dict[str, Any] = BASELINE | {
    "paper": "lan", "method": "lan", "alpha": 0.5, "fusion": "add", "guidance": "clusters", "attentive": "smaller",
    "clusters": 2, "cluster_sample": 1024, "cluster_passes": 2, "refresh": 0,
}  # fmt: skip
PCDA: dict[str, Any] = BASELINE | {
    "paper": "pcda", "method": "pcda", "trunk": "ir50", "image_size": 112, "optimiser": "adamw", "epochs": 200,
    "batch_size": 144, "learning_rate": 3.5e-5, "weight_decay": 0.0, "warmup": 0.0, "schedule": "constant",
    "rotation": 0.0, "shift": 0.0, "zoom": 0.0, "contrast": 0.0, "erase": 0.5,
    "landmark_weights": "landmarks", "frozen": True, "dot": True, "cross": True, "heat": "max", "blocks": 2,
    "dimensions": 768, "heads": 12, "drop": 0.5, "anchor_weight": 0.01, "anchor": "neutral-aware", "detach": False,
}  # fmt: skip
"""PCDA Section 4.1: 112 x 112, Adam (AdamW without decay), rate 3.5e-5, batches of 144, flips and erased rectangles."""
UNSTAGED = {name: value for name, value in BASELINE.items() if not name.startswith(("backbone", "trunk"))}
DMLNET: dict[str, Any] = UNSTAGED | {
    "paper": "dmlnet", "method": "dmlnet", "trunk": "resnet50", "optimiser": "adamw",
    "epochs": 450, "batch_size": 15, "learning_rate": 0.01,
    "weight_decay": 0.0, "warmup": 0.0, "schedule": "step", "decay": 0.8, "decay_epochs": 20, "average": 0.9999,
    "flip": False, "rotation": 0.0, "shift": 0.0, "zoom": 0.0, "contrast": 0.0, "erase": 0.0,
    "first_epochs": 50, "fused": 512, "embedding": 128, "unit": True, "deviation": 0.04,
    "margin_pose": 0.2, "margin_identity": 0.2,
    "triplets": "both", "hinge": True, "reduction": "mean", "weight_sum": 2.0, "temperature": 2.0, "in_turn": True,
    "shared": False, "crops": "thirds", "enlarge": False, "estimates": "",
}  # fmt: skip
"""DML-Net Table 1: Adam, rate 0.01, decay 0.8, running mean 0.9999, K = T = 2, mini-batches of 15, 500 epochs."""
PHANET: dict[str, Any] = UNSTAGED | {
    "paper": "phanet", "method": "phanet", "growth": 12, "depth": 40, "bottleneck": False,
    "epochs": 150, "batch_size": 32, "learning_rate": 0.01, "weight_decay": 1e-4, "warmup": 0.0,
    "schedule": "step", "decay": 0.1, "decay_epochs": 75,
    "flip": False, "rotation": 0.0, "shift": 0.0, "zoom": 0.0, "contrast": 0.0, "erase": 0.0,
    "first_epochs": 0, "copied": False, "shared": False, "pose": True, "attention": True, "dynamic": True,
    "factor": True, "ordered": True, "rectified": True, "margin": 0.05, "mask": "logistic", "sharpness": 10.0,
    "optimise": "alternating", "proposal_epochs": 10, "first_half": 1 / 3, "pace": 1.0, "hidden": 128, "squeeze": 64,
    "fused": 512, "estimates": "",
}  # fmt: skip
"""PhaNet Section IV-B: 224 x 224, rate 0.01, "delay" 0.1, mini-batches of 32, k = 12, depth 40, layers of 128, 64, 512;
Fig. 12: 150 epochs; Eq. (4): a margin of 0.05."""
CLASSICAL: dict[str, Any] = UNSTAGED | {
    "paper": "classical", "method": "svm", "hidden": 128, "pose": True, "epochs": 1,
}  # fmt: skip
"""What papers print of classical baselines comes without settings."""
VGG: dict[str, Any] = UNSTAGED | {
    "paper": "vgg", "method": "vgg19", "hidden": 4096, "drop": 0.5, "pose": True, "epochs": 60, "learning_rate": 0.01,
}  # fmt: skip
"""So does what PhaNet prints of VGG-19; its layers are as published."""
OF_SET: dict[str, dict[str, Any]] = {
    "rafdb": {"dataset": "rafdb", "protocol": "official", "oversample": False},
    "ferplus": {"dataset": "ferplus", "protocol": "ferplus-official", "oversample": False},
    "affectnet": {"dataset": "affectnet", "protocol": "official", "oversample": True},
    "kdef": {"dataset": "kdef", "protocol": "lan-kdef-10fold", "oversample": False},
}
OF_BOTH = {
    ("pcda", "affectnet"): {"learning_rate": 1e-6},
    ("dmlnet", "kdef"): {"protocol": "dmlnet-kdef-56-14"},
    ("dmlnet", "affectnet"): {"oversample": False},
    ("phanet", "kdef"): {"protocol": "phanet-kdef"},
    ("phanet", "affectnet"): {"oversample": False},
    **{(paper, name): {"pose": False} for paper in ("phanet", "classical", "vgg") for name in ("ferplus", "rafdb")},
    **{(paper, "affectnet"): {"oversample": False} for paper in ("classical", "vgg")},
    **{(paper, "kdef"): {"protocol": "phanet-kdef"} for paper in ("classical", "vgg")},
}
PUBLISHED = {
    "baselines": BASELINE,
    "lan": LAN,
    "pcda": PCDA,
    "dmlnet": DMLNET,
    "phanet": PHANET,
    "classical": CLASSICAL,
    "vgg": VGG,
}
STAGED = ("baselines", "lan", "pcda")
"""Those that a trunk of their own comes before, where no weights are given. DML-Net's stages are the paper's; PhaNet's
published setting has none."""
BASES = {
    "baselines": "resnet18",
    "lan": "resnet18",
    "pcda": "plain",
    "dmlnet": "single",
    "phanet": "densenet",
    "classical": "knn",
    "vgg": "vgg19",
}
"""What each is compared with."""


def expected(paper: str, dataset: str) -> dict[str, Any]:
    return PUBLISHED[paper] | OF_SET[dataset] | OF_BOTH.get((paper, dataset), {})


def test_the_published_setting_of_every_paper_is_written_down() -> None:
    assert set(PUBLISHED) == set(BASES) == set(papers.names()) - set(papers.pretraining().values())


@pytest.mark.parametrize("dataset", OF_SET)
@pytest.mark.parametrize("paper", PUBLISHED)
def test_every_field_of_the_published_setting(paper: str, dataset: str) -> None:
    module = papers.module(paper)
    recipe = module.recipe("paper", dataset, start=START)
    assert recipe.model_dump() == expected(paper, dataset)
    assert module.recipe("paper", dataset, setting="published", start=START) == recipe
    base = module.recipe("paper", dataset, start=START, method=BASES[paper])
    without = {"landmark_weights": ""} if paper == "pcda" else {}
    assert base.model_dump() == expected(paper, dataset) | {"method": BASES[paper]} | without


@pytest.mark.parametrize("start", ["identity", START])
@pytest.mark.parametrize("setting", ["published", "ours"])
@pytest.mark.parametrize("dataset", OF_SET)
@pytest.mark.parametrize("paper", STAGED)
def test_no_stage_changes_weights_that_are_given(paper: str, dataset: str, setting: str, start: str) -> None:
    module = papers.module(paper)
    recipe = module.recipe("paper", dataset, setting=setting, start=start)
    assert module.stages(recipe) == {} and recipe.start == start
    assert experiments.starts_of(recipe)["backbone"] == start


@pytest.mark.parametrize("preset", ["quick", "smoke"])
@pytest.mark.parametrize("paper", STAGED)
def test_nor_does_one_at_a_smaller_preset_unless_it_is_named(paper: str, preset: str) -> None:
    module, usual = papers.module(paper), papers.module(paper).recipe(preset, "ferplus")
    recipe = module.recipe(preset, "ferplus", start=START)
    assert module.stages(recipe) == {} and recipe.epochs == usual.epochs + usual.backbone_epochs
    assert list(module.stages(module.recipe(preset, "ferplus", start=START, backbone_epochs=2))) == ["backbone"]


@pytest.mark.parametrize("paper", STAGED)
def test_what_makes_no_sense_together_is_refused(paper: str) -> None:
    module = papers.module(paper)
    for given in (
        lambda: module.recipe("paper", "rafdb", start=START, backbone_epochs=20),
        lambda: module.recipe("paper", "rafdb", backbone_epochs=20).but(start=START),
    ):
        with pytest.raises(ParameterError, match=r"published setting trains no first stage over .*faces\.pth"):
            given()
    if paper != "baselines":
        with pytest.raises(ParameterError, match=r"small_epochs = 1: the .* has the grid of whole images"):
            module.recipe("quick", "rafdb", small_epochs=1)
    with pytest.raises(ParameterError, match="pretraining = 'ferplus' is for a first stage"):
        module.recipe("quick", "rafdb", start=START, pretraining="ferplus")
    with pytest.raises(ParameterError, match="also_on = 'rafdb' is the data set itself"):
        module.recipe("quick", "rafdb", also_on="rafdb")


@pytest.mark.parametrize(("name", "value"), [("seed", 2**32), ("seed", -1), ("image_size", 100_000)])
def test_what_no_machine_can_do_is_refused(name: str, value: int) -> None:
    with pytest.raises(ParameterError, match=f"'{name}' = {value}"):
        papers.module("lan").recipe("quick", "rafdb", **{name: value})


@pytest.mark.parametrize("dataset", OF_SET)
@pytest.mark.parametrize("paper", ["baselines", "lan"])
def test_every_field_of_the_stage_where_nothing_is_given(paper: str, dataset: str) -> None:
    """No published trunk is at hand: the same network is trained for 20 epochs first, as the run goes on."""
    module = papers.module(paper)
    recipe = module.recipe("paper", dataset)
    assert recipe.model_dump() == expected(paper, dataset) | {"start": "", "backbone_epochs": 20}
    stage = expected(paper, dataset) | {"method": "resnet18", "start": ""}
    assert {name: own.model_dump() for name, own in module.stages(recipe).items()} == {"backbone": stage}
    assert module.stages(recipe.but(method="resnet18")) == module.stages(recipe), "the baseline shares it"


@pytest.mark.parametrize("dataset", OF_SET)
@pytest.mark.parametrize("start", ["", "identity", START])
def test_published_pcda_has_one_stage_alone(start: str, dataset: str) -> None:
    module = papers.module("pcda")
    for method in ("pcda", "plain"):
        recipe = module.recipe("paper", dataset, start=start, method=method)
        assert module.stages(recipe) == {} and recipe.setting == "published" and recipe.epochs == 200


@pytest.mark.parametrize("paper", STAGED)
def test_a_first_stage_elsewhere_has_the_other_set_s_own_split_whole(paper: str) -> None:
    module = papers.module(paper)
    run = module.recipe("quick", "kdef-twin", fold=3, share=0.5, data={"stray": 0.1}, pretraining="rafdb-twin")
    (stage,) = module.stages(run).values()
    elsewhere = (stage.dataset, stage.protocol, stage.fold, stage.share, stage.data)
    assert elsewhere == ("rafdb-twin", "official", 0, 1.0, {})
    (stage,) = module.stages(run.but(pretraining="")).values()
    assert (stage.dataset, stage.protocol, stage.fold, stage.share) == ("kdef-twin", "lan-kdef-10fold", 3, 0.5)


SMALL = {"image_size": 32, "width": 8, "stem": "small", "last_stride": 1, "batch_size": 32}
LEARNT = {"images": 512, "learning_rate": 0.02, "backbone_learning_rate": 0.05} | SMALL
SMOKE: dict[str, dict[str, Any]] = {
    "baselines": LEARNT | {"dataset": "kdef-twin", "protocol": "lan-kdef-10fold"},
    "lan": LEARNT | {"dataset": "kdef-twin", "protocol": "lan-kdef-10fold", "cluster_sample": 256},
    "pcda": LEARNT | {
        "dataset": "ferplus-twin", "protocol": "official", "trunk": "resnet18",
        "blocks": 1, "dimensions": 24, "heads": 3, "drop": 0.1,
    },
    "dmlnet": SMALL | {
        "dataset": "kdef-twin", "protocol": "dmlnet-kdef-56-14", "images": 320, "optimiser": "adamw", "batch_size": 30,
        "trunk": "resnet18",
        "learning_rate": 5e-3, "fused": 32, "embedding": 16,
    },
    "phanet": {
        "dataset": "kdef-twin", "protocol": "phanet-kdef", "images": 320, "image_size": 32, "stem": "small",
        "optimiser": "adamw", "batch_size": 32, "learning_rate": 5e-3, "growth": 4, "depth": 7, "hidden": 16,
        "squeeze": 8, "fused": 32,
    },
    "classical": {"dataset": "kdef-twin", "protocol": "phanet-kdef", "images": 512, "image_size": 32},
    "vgg": {
        "dataset": "kdef-twin", "protocol": "phanet-kdef", "images": 320, "image_size": 32, "width": 8, "hidden": 32,
        "optimiser": "adamw", "batch_size": 32, "learning_rate": 2e-3,
    },
    "arcface": SMALL | {
        "dataset": "identity-twin", "protocol": "identity", "images": 256, "optimiser": "adamw",
        "learning_rate": 2e-3, "weight_decay": 0.05, "final_rate": 0.02, "standardise": True, "erase": 0.1,
    },
    "landmarks": {
        "dataset": "landmark-twin", "protocol": "official", "images": 128, "image_size": 32, "optimiser": "adamw",
        "batch_size": 32, "learning_rate": 2e-3, "weight_decay": 0.01, "final_rate": 0.01,
        "rotation": 15.0, "shift": 0.08, "contrast": 0.2, "erase": 0.1,
    },
}  # fmt: skip
"""A first look, on whichever data a paper usually has: what is otherwise than a field's default."""


@pytest.mark.parametrize("paper", papers.names())
def test_every_field_of_a_first_look(paper: str) -> None:
    recipe = papers.module(paper).recipe()
    fields = type(recipe).model_fields
    found = {name: value for name, value in recipe if fields[name].is_required() or value != fields[name].default}
    assert found == {"paper": paper, "preset": "smoke"} | SMOKE[paper]
    assert papers.module(paper).recipe("smoke", recipe.dataset) == recipe


RECIPES = Path(__file__).with_name("recipes.csv")
"""Of every paper at every preset, on every data set that it is trained on: a hash of what it says."""


def said(recipe: Recipe) -> dict[str, Any]:
    """What a recipe has otherwise than a field's default, and its stages likewise."""
    fields = type(recipe).model_fields
    own = {name: value for name, value in recipe if fields[name].is_required() or value != fields[name].default}
    stages = getattr(papers.module(recipe.paper), "stages", lambda recipe: {})(recipe)
    return own | {f"stage {name}": said(stage) for name, stage in stages.items()}


def written(paper: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Preset, setting and data set -> :func:`said`."""
    module = papers.module(paper)
    datasets = USUAL if paper in PUBLISHED else [module.recipe().dataset]
    return {
        (preset, setting, dataset): said(module.recipe(preset, dataset, setting=setting))
        for preset in PRESETS
        for setting in (("published", "ours") if preset == "paper" else ("ours",))
        for dataset in datasets
    }


def short(what: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:10]


@pytest.mark.parametrize("paper", papers.names())
def test_every_recipe_is_the_one_that_is_written_down(paper: str) -> None:
    """Whoever changes one on purpose makes its records again, and runs `python tests/papers/test_settings.py`."""
    with RECIPES.open(newline="") as lines:
        known = {tuple(row[1:4]): row[4] for row in csv.reader(lines) if row[0] == paper}
    found = written(paper)
    assert known.keys() == found.keys()
    for which, what in found.items():
        assert known[which] == short(what), (which, what)


OURS = [record for record in records.find(preset="paper", dataset="ferplus") if record.recipe["paper"] in BASES]


def test_our_own_setting_has_records() -> None:
    assert {(record.recipe["paper"], record.recipe["method"]) for record in OURS} >= {
        *(("lan", "lan"), ("lan", "resnet18"), ("pcda", "pcda"), ("pcda", "plain")),
    }


@pytest.mark.parametrize("record", OURS, ids=lambda record: record.name)
def test_our_own_setting_is_that_of_the_committed_records(record: records.Record) -> None:
    r = record.recipe
    same = {name: r[name] for name in ("method", "seed", "fold")}
    ours = papers.module(r["paper"]).recipe("paper", r["dataset"], setting="ours", **same)
    assert experiments.recipe_of(record).model_dump() == ours.model_dump()
    assert list(papers.module(r["paper"]).stages(ours)) == ["backbone"]
    assert ours.epochs == len(record.history["method"]) and ours.backbone_epochs == len(record.history["backbone"])


@pytest.mark.parametrize("preset", ["quick", "smoke"])
@pytest.mark.parametrize("paper", PUBLISHED)
def test_smaller_presets_are_never_the_published_setting(paper: str, preset: str) -> None:
    module = papers.module(paper)
    with pytest.raises(ParameterError, match=f"preset {preset} is smaller than what was published"):
        module.recipe(preset, "rafdb", setting="published")
    assert module.recipe(preset, "rafdb").setting == module.recipe(preset, "rafdb", setting="ours").setting == "ours"


def test_what_knows_people_alone_leaves_no_class_out() -> None:
    with pytest.raises(ParameterError, match="Classes are people here"):
        papers.module("arcface").recipe("quick", leave_out="neutral")
    with pytest.raises(ParameterError, match="preset quick is smaller than what was published"):
        papers.module("arcface").recipe("quick", setting="published")


def test_a_setting_that_there_is_not_is_named() -> None:
    with pytest.raises(ParameterError, match="'setting' = 'theirs'"):
        papers.module("lan").recipe("paper", "rafdb", setting="theirs")


if __name__ == "__main__":
    with RECIPES.open("w", newline="") as file:
        for name in papers.names():
            rows = ([name, *which, short(what)] for which, what in written(name).items())
            csv.writer(file, lineterminator="\n").writerows(rows)
