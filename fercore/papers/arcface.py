"""Pre-training on persons: a trunk that tells people apart, in place of the papers' MS-Celeb-1M networks.

Source of the loss: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition" (CVPR 2019). It is
trained like a paper (``fercore train arcface``); other runs start from its trunk with ``start="identity"``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fercore.backbones.ir50 import IR50
from fercore.backbones.resnet import ResNet18
from fercore.data.prepared import Prepared
from fercore.papers.baselines import SIZES, trunk
from fercore.recipe import Positive, Recipe, build, check_preset
from fercore.training.verification import test as test

# --- model and loss ------------------------------------------------------------------------------------


class Output(NamedTuple):
    """What the network returns."""

    logits: Tensor  # (B, people), scale * cosine
    features: Tensor  # (B, dimensions), the embedding before it is normalised
    feature_map: Tensor  # (B, C, H, W)


class FaceNetwork(nn.Module):
    """Trunk, average pooling, a linear embedding with batch norm, and a direction for each person.

    images (B, 3, S, S) -> :class:`Output` with ``logits = scale * cos theta``,
    theta the angle between the embedding and each person's direction.
    """

    def __init__(self, backbone: ResNet18 | IR50, people: int, dimensions: int = 128, scale: float = 32.0) -> None:
        super().__init__()
        self.backbone = backbone
        self.embed = nn.Linear(backbone.channels, dimensions, bias=False)
        self.norm = nn.BatchNorm1d(dimensions)
        self.directions = nn.Parameter(torch.randn(people, dimensions) * 0.01)
        self.scale = scale

    def forward(self, images: Tensor) -> Output:
        feature_map = self.backbone(images)
        features = self.norm(self.embed(feature_map.mean((2, 3))))
        cosine = F.linear(F.normalize(features), F.normalize(self.directions))
        return Output(self.scale * cosine, features, feature_map)


class ArcFaceLoss(nn.Module):
    """ArcFace Eq. (3): ``-log softmax_y`` of ``s cos(theta_y + m)`` for the person y and ``s cos theta_j`` for others.

    output, batch -> ``{"arcface": ()}``; m in radians. Where ``theta_y + m`` would pass pi, and the cosine rise again,
    it goes on falling as ``cos theta_y - m sin m``, as the authors' code has it. m = 0 is softmax cross-entropy.
    """

    def __init__(self, scale: float = 32.0, margin: float = 0.3) -> None:
        super().__init__()
        self.scale, self.margin = scale, margin

    def forward(self, output: Output, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        labels, m = batch["labels"], self.margin
        rows = torch.arange(len(labels), device=labels.device)
        cosine = (output.logits[rows, labels].float() / self.scale).clamp(-1 + 1e-6, 1 - 1e-6)
        sine = (1 - cosine.square()).sqrt()
        turned = torch.where(cosine > -math.cos(m), cosine * math.cos(m) - sine * math.sin(m), cosine - m * math.sin(m))
        logits = output.logits.float().clone()
        logits[rows, labels] = self.scale * turned
        return {"arcface": F.cross_entropy(logits, labels)}


# --- recipes -------------------------------------------------------------------------------------------


class ArcFaceRecipe(Recipe):
    """One pre-training run; a single stage."""

    method: Literal["arcface"] = "arcface"
    trunk: Literal["resnet18", "ir50"] = "resnet18"
    dimensions: Positive = Field(default=128, description="of the embedding")
    scale: Annotated[float, Field(gt=0)] = Field(default=32.0, description="s of ArcFace")
    margin: Annotated[float, Field(ge=0, lt=math.pi / 2)] = Field(default=0.3, description="m of ArcFace, radians")
    backbone_epochs: Literal[0] = 0


_TRUNK = ("image_size", "width", "stem", "last_stride")
_PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"images": 256, "epochs": 1, "batch_size": 32},
    "quick": {"epochs": 14, "batch_size": 64, "average": 0.998, "scale": 16.0, "margin": 0.2},
    "paper": {"epochs": 20, "batch_size": 128, "scale": 64.0, "margin": 0.5, "dimensions": 512},
}


def recipe(preset: str = "smoke", dataset: str = "identity-twin", **changes: object) -> ArcFaceRecipe:
    """The parameters of one run; the trunk is that of the preset's other networks. Any field can be changed by name.

    ``paper`` has ArcFace's published scale and margin, 64 and 0.5. A small network that sees some hundred people learns
    too slowly with them, so ``quick`` has 16 and 0.2.
    """
    check_preset(preset)
    values = {"paper": "arcface", "preset": preset, "dataset": dataset, "protocol": "identity"}
    values |= {name: SIZES[preset][name] for name in _TRUNK if name in SIZES[preset]}
    values |= {"optimiser": "adamw", "learning_rate": 2e-3, "weight_decay": 0.05, "final_rate": 0.02, "erase": 0.1}
    values |= {"standardise": True}  # so that the strength of the light tells nothing
    return build(ArcFaceRecipe, values | _PRESETS[preset] | changes)


def pretraining_of(run: Recipe) -> ArcFaceRecipe:
    """The training from which another run's trunk starts: that of the same trunk."""
    same = {name: getattr(run, name) for name in ("image_size", "width", "stem", "last_stride")}
    return recipe(run.preset, **same, trunk=getattr(run, "trunk", "resnet18"))


def view(data: Prepared) -> Prepared:
    """The data as this training sees them: each person a class."""
    return data.of_people()


def backbone_stage(recipe: ArcFaceRecipe) -> ArcFaceRecipe:
    """There is no stage before this one."""
    return recipe


def model(recipe: ArcFaceRecipe, people: int) -> FaceNetwork:
    """The network that a recipe describes, freshly initialised."""
    return FaceNetwork(trunk(recipe), people, recipe.dimensions, recipe.scale)


def criterion(recipe: ArcFaceRecipe, network: nn.Module) -> ArcFaceLoss:
    """The loss that a recipe describes."""
    return ArcFaceLoss(recipe.scale, recipe.margin)


def refresh(*_: object) -> dict[str, float]:
    """Nothing is computed from the whole training set."""
    return {}
