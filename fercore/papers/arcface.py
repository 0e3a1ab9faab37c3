"""Pre-training on persons: a trunk that tells people apart, in place of the papers' MS-Celeb-1M networks.

Source of the loss: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition" (CVPR 2019). It is
trained like a paper (``fercore train arcface``); other runs start from its trunk with ``start="identity"``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F

from fercore.backbones.ir50 import IR50
from fercore.backbones.resnet import ResNet18
from fercore.data.prepared import Prepared
from fercore.errors import DataError, ParameterError
from fercore.papers.baselines import SIZES, trunk
from fercore.recipe import Positive, Recipe, build, check_preset

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

    def check(self) -> None:
        super().check()
        if self.leave_out:
            raise ParameterError("Classes are people here, and none is left out.", do="leave leave_out empty")
        if self.protocol != "identity":
            what = (
                f"protocol = '{self.protocol}' does not keep the people of the test apart from those who are classes."
            )
            raise ParameterError(what, do="take protocol identity")


START = "identity"
"""The name by which other runs start from these weights."""
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


def model(recipe: ArcFaceRecipe, people: int) -> FaceNetwork:
    """The network that a recipe describes, freshly initialised."""
    return FaceNetwork(trunk(recipe), people, recipe.dimensions, recipe.scale)


def criterion(recipe: ArcFaceRecipe, network: nn.Module) -> ArcFaceLoss:
    """The loss that a recipe describes."""
    return ArcFaceLoss(recipe.scale, recipe.margin)


# --- verification: are two pictures of one person? -----------------------------------------------------


class Pairs(NamedTuple):
    """Pairs of images, as places in a list: first and second (P,), and whether they show one person (P,)."""

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray


def draw_pairs(subjects: np.ndarray, count: int = 6000, seed: int = 0) -> Pairs:
    """``count`` pairs, half of one person and half of two, drawn by the seed; no image is paired with itself.

    subjects (N,): who is on each image. Fewer than two people, or no two images of one, are an error.
    """
    rng = np.random.default_rng(seed)
    codes = np.unique(subjects, return_inverse=True)[1]
    members = [np.flatnonzero(codes == k) for k in range(codes.max() + 1)]
    several = [own for own in members if len(own) > 1]
    if len(members) < 2 or not several:
        raise DataError("Verification needs two people or more, and several images of one.")
    same = np.array([rng.choice(several[k], 2, replace=False) for k in rng.integers(len(several), size=count // 2)])
    people = np.array([rng.choice(len(members), 2, replace=False) for _ in range(count - count // 2)])
    other = np.array([[rng.choice(members[a]), rng.choice(members[b])] for a, b in people])
    both = np.concatenate([same, other])
    return Pairs(both[:, 0], both[:, 1], np.arange(count) < count // 2)


def right_pairs(similarity: np.ndarray, same: np.ndarray, folds: int = 10, seed: int = 0) -> tuple[np.ndarray, float]:
    """similarity, same (P,) -> whether each pair is answered rightly, (P,) bool, and the area under the ROC curve.

    The threshold for a tenth of the pairs is the one that is best on the other nine, as on Labeled Faces in the Wild
    (Huang et al., 2007).
    """
    fold = np.random.default_rng(seed).permutation(len(same)) % folds
    right = np.zeros(len(same), bool)
    for k in range(folds):
        known = fold != k
        order = np.argsort(similarity[known])
        # correct answers when the pairs from a place in this order on count as one person
        gain = np.where(same[known][order], -1, 1).cumsum()
        best = int(np.argmax(np.concatenate([[0], gain])))
        values = similarity[known][order]
        edge = -np.inf if best == 0 else np.inf if best == len(values) else (values[best - 1] + values[best]) / 2
        right[fold == k] = (similarity[fold == k] > edge) == same[fold == k]
    return right, float(roc_auc_score(same, similarity))


@torch.no_grad()
def test(
    recipe: Recipe, network: nn.Module, data: Prepared, rows: np.ndarray, batches: Iterable[Mapping[str, Tensor]]
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Verification on people whom nobody has seen: metrics of ``test``, and the arrays.

    ``accuracy``: share of the P pairs that are rightly called one person or two; chance is 1/2. Arrays, each (P,):
    cosine ``similarity`` of the two embeddings, whether they are the ``same`` person, whether the answer is ``right``,
    by how many degrees the two ``yaw`` differ, and who is on the first image, ``people``.
    """
    network.eval()
    features = torch.cat([F.normalize(network(batch["images"]).features.float()).cpu() for batch in batches]).numpy()
    subjects = data.manifest["subject"].to_numpy()[rows].astype(str)
    drawn = draw_pairs(subjects)
    similarity = (features[drawn.first] * features[drawn.second]).sum(1).astype(np.float32)
    right, area = right_pairs(similarity, drawn.same)
    metrics = {
        "images": len(rows),
        "people": len(np.unique(subjects)),
        "pairs": len(right),
        "accuracy": float(right.mean()),
        "area_under_roc": area,
    }
    yaw = data.manifest["yaw"].to_numpy(float)[rows]
    apart = np.abs(yaw[drawn.first] - yaw[drawn.second]).astype(np.float32)
    arrays = {"similarity": similarity, "same": drawn.same, "right": right, "yaw": apart}
    return {"test": metrics}, arrays | {"people": subjects[drawn.first]}
