"""Baselines that more than one paper compares with: a trunk, pooling, one linear layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from fercore.backbones.resnet import ResNet18, resnet18
from fercore.recipe import Recipe


class Output(NamedTuple):
    """What a plain classifier returns."""

    logits: Tensor  # (B, classes)
    features: Tensor  # (B, C), what the classifier sees
    feature_map: Tensor  # (B, C, H, W), before pooling


class ResNet18Classifier(nn.Module):
    """ResNet-18, global average pooling, one linear layer: images (B, 3, S, S) -> :class:`Output`."""

    def __init__(self, backbone: ResNet18, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Linear(backbone.channels, classes)

    def forward(self, images: Tensor) -> Output:
        feature_map = self.backbone(images)
        features = feature_map.mean((2, 3))
        return Output(self.classifier(features), features, feature_map)


class CrossEntropy(nn.Module):
    """Softmax cross-entropy, with label smoothing (0 for none): output, batch -> ``{"cross_entropy": ()}``.

    Against ``batch["targets"]`` (B, classes), a distribution such as the shares
    of the raters' votes (Barsoum et al., 2016), where the batch holds it;
    against ``batch["labels"]`` (B,) otherwise.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, output: NamedTuple, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        targets = batch.get("targets", batch["labels"])
        loss = F.cross_entropy(output.logits, targets, label_smoothing=self.label_smoothing)
        return {"cross_entropy": loss}


def trunk(recipe: Recipe) -> ResNet18:
    """The ResNet-18 that a recipe describes."""
    return resnet18(recipe.width, recipe.stem, recipe.last_stride)
