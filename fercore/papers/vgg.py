"""VGG-19 for the expression and the pose: the deep baseline of PhaNet's Table VII.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015. PhaNet
cites Parkhi et al., "Deep Face Recognition", BMVC 2015, for it, whose networks have 16 layers. The convolutions are
torchvision's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fercore.data.labels import Truth
from fercore.data.prepared import Prepared
from fercore.errors import ParameterError
from fercore.papers import phanet, poses
from fercore.papers.baselines import CrossEntropy
from fercore.recipe import Positive, Recipe, build

STEPS = 5
"""How often the sixteen convolutions halve an image."""


class Output(NamedTuple):
    """What :class:`VGG19` returns without pose."""

    logits: Tensor  # (B, classes)
    features: Tensor  # (B, hidden): the second fully connected layer


class PosedOutput(NamedTuple):
    """The same with pose, a second softmax layer on the same features."""

    logits: Tensor
    features: Tensor
    pose_logits: Tensor  # (B, poses)


class VGG19(nn.Module):
    """Sixteen convolutions, two fully connected layers with dropout, a softmax layer for each task.

    Images (B, 3, S, S), S at least 32 -> :class:`Output` or, with ``poses``, :class:`PosedOutput`. ``width`` and
    ``hidden`` are 64 and 4096 as published. Convolutions have batch norm, as in torchvision's ``vgg19_bn``.
    """

    def __init__(
        self, classes: int, poses: int = 0, *, side: int = 224, width: int = 64, hidden: int = 4096, drop: float = 0.5
    ) -> None:
        from torchvision.models.vgg import cfgs, make_layers  # takes seconds that readers of records need not wait

        super().__init__()
        grid = side // 2**STEPS
        kinds = [step if step == "M" else step * width // 64 for step in cfgs["E"]]
        self.backbone = make_layers(kinds, batch_norm=True)
        for layer in self.backbone:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        self.hidden = nn.Sequential(
            *(nn.AdaptiveAvgPool2d(grid), nn.Flatten()),
            *(nn.Linear(kinds[-2] * grid**2, hidden), nn.ReLU(), nn.Dropout(drop)),
            *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(drop)),
        )
        self.classifier = nn.Linear(hidden, classes)
        self.pose_classifier = nn.Linear(hidden, poses) if poses else None

    def forward(self, images: Tensor) -> Output | PosedOutput:
        features = self.hidden(self.backbone(images))
        if self.pose_classifier is None:
            return Output(self.classifier(features), features)
        return PosedOutput(self.classifier(features), features, self.pose_classifier(features))


class VGGLoss(CrossEntropy):
    """Cross-entropy of the expression and of the pose, with equal weights; a pose of -1 is not known."""

    def forward(self, output: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        terms = super().forward(output, batch)
        if isinstance(output, PosedOutput):
            known = (batch["pose"] >= 0).sum().clamp(min=1)
            terms["pose"] = F.cross_entropy(output.pose_logits, batch["pose"], ignore_index=-1, reduction="sum") / known
        return terms


# --- recipes -------------------------------------------------------------------------------------------


class VGGRecipe(Recipe):
    """A run of VGG-19, in one stage."""

    method: Literal["vgg19"] = "vgg19"
    pose: bool = Field(default=True, description="whether pose is learned, too")
    hidden: Positive = Field(default=4096, description="numbers of each of the two fully connected layers")
    drop: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.5, description="share of these that a step leaves out")

    def check(self) -> None:
        super().check()
        smallest = self.image_size * 2 // 3 if self.small_epochs else self.image_size
        if smallest < 2**STEPS:
            what = f"images of {smallest} pixels for VGG-19, which halves them {STEPS} times"
            raise ParameterError(what, do=f"take {2**STEPS} or more, of small_epochs {3 * 2 ** (STEPS - 1)} or more")


_PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"images": 320, "image_size": 32, "width": 8, "hidden": 32, "batch_size": 32, "learning_rate": 2e-3},
    "quick": {
        "image_size": 48, "width": 24, "hidden": 256, "epochs": 28, "batch_size": 32, "learning_rate": 1e-3,
        "final_rate": 0.02, "weight_decay": 0.05, "average": 0.99, "standardise": True, "mirror": True,
        "rotation": 5.0, "zoom": 0.08, "shift": 0.04, "contrast": 0.15, "erase": 0.0,
    },
    "paper": {"optimiser": "sgd", "epochs": 60, "learning_rate": 0.01},
}  # fmt: skip
_EPOCHS = {
    **dict.fromkeys(("bu3dfe", "bu3dfe-twin"), 8), **dict.fromkeys(("multipie", "multipie-twin"), 12),
    **dict.fromkeys(("affectnet", "affectnet-twin"), 4), "ferplus": 6, "ferplus-twin": 16,
}  # fmt: skip
"""At ``quick``: as many as both stages of PhaNet's DenseNet have together."""


def recipe(preset: str = "smoke", dataset: str = "kdef-twin", **changes: object) -> VGGRecipe:
    """The parameters of one run, on PhaNet's splits. Any field can be changed by name.

    On sets that know no pose, such as FERPlus, ``pose`` is off.
    # Paper unclear: which VGG its row is (the cited one has 16 layers), what it starts from, how it is trained.
    """
    values = poses.begun(preset, dataset, changes, _PRESETS, {}, phanet.PROTOCOL)
    if preset == "quick" and dataset in _EPOCHS:
        values["epochs"] = _EPOCHS[dataset]
    return build(VGGRecipe, values | {"paper": "vgg", "pose": dataset not in phanet.UNPOSED} | changes)


def truth(recipe: VGGRecipe, data: Prepared) -> dict[str, Truth]:
    """``pose``, the classes of the second softmax layer, where it is learned (-1: nobody knows)."""
    return {"pose": poses.poses(data, poses.angles(recipe, phanet.IN_THE_WILD))} if recipe.pose else {}


def model(recipe: VGGRecipe, classes: int) -> VGG19:
    """The network that a recipe describes, freshly initialised."""
    same = {name: getattr(recipe, name) for name in ("width", "hidden", "drop")}
    angles = poses.angles(recipe, phanet.IN_THE_WILD) if recipe.pose else ()
    return VGG19(classes, len(angles), side=recipe.image_size, **same)


def criterion(recipe: VGGRecipe, network: nn.Module) -> VGGLoss:
    """The loss that a recipe describes."""
    return VGGLoss(recipe.label_smoothing)


def features(network: nn.Module, images: Tensor) -> Tensor:
    """What the softmax layers see, (B, 3, S, S) -> (B, hidden)."""
    return network(images).features
