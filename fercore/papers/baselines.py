"""Baselines that more than one paper compares with: a trunk, pooling, one linear layer; and their recipes.

A baseline can be trained like a paper (``fercore train baselines``). Papers whose method starts from a trained trunk
share its two stages: the fields of :class:`StagedRecipe`, the settings of :func:`settings`, :func:`first_stage`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fercore.backbones.ir50 import IR50
from fercore.backbones.resnet import ResNet18
from fercore.data.protocols import USUAL
from fercore.errors import ParameterError
from fercore.recipe import Count, Fraction, Recipe, build, check_preset, unknown

# --- models and losses ---------------------------------------------------------------------------------


class Output(NamedTuple):
    """What a plain classifier returns."""

    logits: Tensor  # (B, classes)
    features: Tensor  # (B, C), what the classifier sees
    feature_map: Tensor  # (B, C, H, W), before pooling


class ResNet18Classifier(nn.Module):
    """ResNet-18, or another trunk, average pooling, one linear layer: images (B, 3, S, S) -> :class:`Output`."""

    def __init__(self, backbone: ResNet18 | IR50, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Linear(backbone.channels, classes)

    def forward(self, images: Tensor) -> Output:
        feature_map = self.backbone(images)
        features = feature_map.mean((2, 3))
        return Output(self.classifier(features), features, feature_map)


class CrossEntropy(nn.Module):
    """Softmax cross-entropy, with label smoothing (0 for none): output, batch -> ``{"cross_entropy": ()}``.

    Against ``batch["targets"]`` (B, classes), a distribution such as the shares of the raters' votes (Barsoum et al.,
    2016), where the batch holds it; against ``batch["labels"]`` (B,) otherwise.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, output: NamedTuple, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        targets = batch.get("targets", batch["labels"])
        loss = F.cross_entropy(output.logits, targets, label_smoothing=self.label_smoothing)
        return {"cross_entropy": loss}


def class_activation(feature_map: Tensor, weights: Tensor) -> Tensor:
    """Class activation map: ``M_c(x, y) = sum_k w_k^c f_k(x, y)``, what each place adds to the logit of class c.

    feature_map (B, C, H, W), weights (B, C), the classifier's for one class an
    image -> (B, H, W). Its mean over the places is the logit without the bias.
    Source: Zhou et al., "Learning Deep Features for Discriminative Localization" (2016).
    """
    return (feature_map * weights[:, :, None, None]).sum(1)


def maps(network: ResNet18Classifier, images: Tensor) -> dict[str, Tensor]:
    """Maps that figures show: ``cam`` (B, H, W), the class activation map of the class that is answered."""
    output = network(images)
    return {"cam": class_activation(output.feature_map, network.classifier.weight[output.logits.argmax(1)])}


# --- recipes -------------------------------------------------------------------------------------------


class StagedRecipe(Recipe):
    """A run in two stages: a plain classifier for ``backbone_epochs``, then the method from its weights."""

    trunk: Literal["resnet18", "ir50"] = Field(default="resnet18", description="the image backbone")
    backbone_epochs: Count = 1
    backbone_learning_rate: Annotated[float, Field(gt=0)] = 0.1
    backbone_small_epochs: Count = 0
    backbone_final_rate: Fraction = 0.0

    def check(self) -> None:
        super().check()
        if self.pretraining and not self.backbone_epochs:
            what = f"pretraining = '{self.pretraining}' is for a first stage, which this run does not have."
            raise ParameterError(what, do="set backbone_epochs, too, or leave pretraining out")
        if self.setting == "published" and self.start and self.backbone_epochs:
            what = f"The published setting trains no first stage over the weights of start = '{self.start}'."
            raise ParameterError(what, do="set backbone_epochs=0, or setting=ours")


class BaselineRecipe(StagedRecipe):
    """A baseline's run. Its second stage goes on as the first one, at a lower rate."""

    method: Literal["resnet18"] = "resnet18"


SIZES = {
    "smoke": {
        "images": 512, "image_size": 32, "width": 8, "stem": "small", "last_stride": 1,
        "backbone_epochs": 1, "epochs": 1, "batch_size": 32, "backbone_learning_rate": 0.05, "learning_rate": 0.02,
    },
    "quick": {
        "image_size": 48, "width": 24, "stem": "small", "last_stride": 1, "backbone_epochs": 12, "epochs": 6,
        "backbone_small_epochs": 6, "batch_size": 64, "backbone_learning_rate": 0.1, "learning_rate": 0.03,
        "label_smoothing": 0.1, "average": 0.998,
    },
    "paper": {
        "image_size": 224, "width": 64, "backbone_epochs": 20, "epochs": 20, "batch_size": 64,
        "backbone_learning_rate": 0.1, "learning_rate": 0.1,
    },
}  # fmt: skip

# A twin has a fraction of FERPlus's images, finer differences and stronger lights; on so few steps plain SGD hardly
# leaves chance.
_TWIN = {
    "optimiser": "adamw", "weight_decay": 0.05, "backbone_learning_rate": 2e-3, "learning_rate": 7e-4,
    "batch_size": 32, "average": 0.99, "backbone_epochs": 18, "epochs": 6, "backbone_small_epochs": 0,
    "standardise": True, "mirror": True, "backbone_final_rate": 0.2,
    "rotation": 5.0, "zoom": 0.08, "shift": 0.04, "contrast": 0.15, "erase": 0.0,
}  # fmt: skip
_CHANGES = {
    ("quick", "ferplus"): {
        "targets": "votes", "label_smoothing": 0.0, "mirror": True, "backbone_epochs": 24,
        "backbone_small_epochs": 18, "backbone_final_rate": 0.4, "learning_rate": 0.04, "epochs": 6,
        "rotation": 6.0, "zoom": 0.1, "shift": 0.05, "contrast": 0.2, "erase": 0.0,
    },
    **{("quick", name): _TWIN for name in USUAL if name.endswith("-twin")},
    # More images than the others have: two to four times, so fewer passes over them.
    ("quick", "bu3dfe-twin"): _TWIN | {"backbone_epochs": 6, "epochs": 2},
    ("quick", "ferplus-twin"): _TWIN | {"backbone_epochs": 9, "epochs": 3},
    ("quick", "affectnet-twin"): _TWIN | {"backbone_epochs": 3, "epochs": 1, "oversample": True},
    ("quick", "affectnet"): {"oversample": True},
    ("paper", "affectnet-twin"): {"oversample": True},
    ("paper", "affectnet"): {"oversample": True},
}  # fmt: skip
_OURS = {
    # Ten votes an image say more than the most frequent one; from no pre-training, so a longer first stage.
    "ferplus": {
        "targets": "votes", "mirror": True, "average": 0.999, "backbone_epochs": 16, "backbone_small_epochs": 12,
        "epochs": 8, "rotation": 10.0, "zoom": 0.12, "shift": 0.06, "contrast": 0.2, "erase": 0.1,
    },
}  # fmt: skip
"""At ``paper``, what ``setting="ours"`` has otherwise than the published one."""


def named(preset: str, dataset: str, changes: Mapping[str, object]) -> dict[str, Any]:
    """What a recipe begins with; names of data sets are checked, those in ``changes`` too.

    ``paper`` has the published setting unless ``setting`` says ours; the other presets are ours.
    """
    check_preset(preset)
    for name in filter(None, (dataset, changes.get("pretraining"), changes.get("also_on"))):
        if name not in USUAL:
            raise ParameterError(unknown("data set to train on", str(name), USUAL))
    setting = changes.get("setting", "published" if preset == "paper" else "ours")
    return {"preset": preset, "dataset": dataset, "protocol": USUAL[dataset], "setting": setting}


def settings(preset: str, dataset: str, changes: Mapping[str, object]) -> dict[str, Any]:
    """What all staged recipes share at a preset on a data set."""
    values = named(preset, dataset, changes) | SIZES[preset] | _CHANGES.get((preset, dataset), {})
    if preset == "paper" and values["setting"] == "ours":
        values |= _OURS.get(dataset, {})
    return values


def with_start(values: Mapping[str, Any], changes: Mapping[str, object]) -> dict[str, Any]:
    """Values and ``changes`` together; weights to start from are not trained over by a first stage that nobody named.

    What is published says how long the method is trained; elsewhere the first stage's epochs go to the method.
    """
    values = dict(values)
    if changes.get("start") and "backbone_epochs" not in changes:
        values["epochs"] += values["backbone_epochs"] if values["setting"] == "ours" else 0
        values["backbone_epochs"] = 0
    return values | changes


def recipe(preset: str = "smoke", dataset: str = "kdef-twin", **changes: object) -> BaselineRecipe:
    """The parameters of one baseline run. Any field can be changed by name."""
    values = {"paper": "baselines", **settings(preset, dataset, changes)}
    return build(BaselineRecipe, with_start(values, changes))


def first_stage(recipe: StagedRecipe, method: str = "resnet18") -> dict[str, Any]:
    """The run whose weights the methods start from, ``backbone``: the plain trunk, ``backbone_epochs`` long.

    Fields that it does not depend on, all of a paper's own among them, are set to their defaults, so that all runs
    which share it find the same one. With ``pretraining`` it sees that data set, all of it.
    """
    if not recipe.backbone_epochs:
        return {}
    fields = type(recipe).model_fields
    same = {"pretraining", "also_on", "backbone_learning_rate", "backbone_small_epochs", "backbone_final_rate"}
    same |= fields.keys() - StagedRecipe.model_fields.keys()
    changes = {name: fields[name].default for name in same} | {
        "method": method,
        "epochs": recipe.backbone_epochs,
        "learning_rate": recipe.backbone_learning_rate,
        "small_epochs": recipe.backbone_small_epochs,
        "final_rate": recipe.backbone_final_rate,
        "backbone_epochs": 0,
    }
    return {"backbone": recipe.but(**(changes | elsewhere(recipe)))}


def elsewhere(recipe: Recipe, protocols: Mapping[str, str] = USUAL) -> dict[str, Any]:
    """What a first stage with ``pretraining`` has otherwise than the run: that data set, all of it."""
    if not (name := recipe.pretraining):
        return {}
    protocol = protocols.get(name, USUAL[name])
    return {"dataset": name, "protocol": protocol, "fold": 0, "share": 1.0, "data": {}}


def stages(recipe: BaselineRecipe) -> dict[str, BaselineRecipe]:
    """See :func:`first_stage`."""
    return first_stage(recipe)


def trunk(recipe: Any) -> ResNet18 | IR50:
    """The trunk that a recipe describes, freshly initialised."""
    if recipe.trunk == "ir50":
        return IR50(recipe.width)
    return ResNet18(recipe.width, recipe.stem, recipe.last_stride)


def model(recipe: Recipe, classes: int) -> ResNet18Classifier:
    """The network that a recipe describes, freshly initialised."""
    return ResNet18Classifier(trunk(recipe), classes)


def criterion(recipe: Recipe, network: nn.Module) -> CrossEntropy:
    """The loss that a recipe describes."""
    return CrossEntropy(recipe.label_smoothing)
