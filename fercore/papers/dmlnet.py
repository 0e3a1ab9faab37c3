"""DML-Net: a dynamic multi-channel metric network.

Source: Liu, Dai, Fang, Chen, Huang, Wang and Wan, "Dynamic Multi-channel Metric Network for Joint Pose-aware and
Identity-invariant Facial Expression Recognition", Information Sciences 578 (2021). No code was published; everything
here is written from the text, in its order.

Shapes: B images, C channels of a trunk, F numbers of a fusion layer, D of an embedding, T five-tuples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fercore.backbones.mobilefacenet import MobileFaceNet
from fercore.backbones.resnet import ResNet, ResNet18, ResNet50
from fercore.data.labels import Truth
from fercore.data.prepared import Prepared
from fercore.errors import DataError, ParameterError
from fercore.papers import poses
from fercore.papers.baselines import SIZES, elsewhere
from fercore.papers.landmarks import as_detected
from fercore.papers.metric import LEAST
from fercore.papers.metric import DMLNetLoss as DMLNetLoss
from fercore.papers.metric import dynamic_weights as dynamic_weights
from fercore.papers.metric import farthest_positive as farthest_positive
from fercore.papers.metric import five_tuples as five_tuples
from fercore.papers.metric import identity_loss as identity_loss
from fercore.papers.metric import nearest_negative as nearest_negative
from fercore.papers.metric import pose_loss as pose_loss
from fercore.papers.metric import squared_distances as squared_distances
from fercore.papers.metric import triplet_losses as triplet_losses
from fercore.recipe import Positive, build

# --- Section 3.2.2: multi-channel feature extraction ---------------------------------------------------


class Output(NamedTuple):
    """What :class:`DMLNet` returns without pose estimation."""

    logits: Tensor  # (B, classes)
    features: Tensor  # (B, F): what the expression branch's softmax sees, as in the paper's Figs. 10 to 13
    embedding: Tensor  # (B, D): e(x); f^2 itself where nothing is embedded
    feature_map: Tensor  # (B, C, H, W) of the whole face


class PosedOutput(NamedTuple):
    """The same with pose estimation, as a second head."""

    logits: Tensor
    features: Tensor
    embedding: Tensor
    feature_map: Tensor
    pose_logits: Tensor  # (B, poses)


def thirds(images: Tensor) -> tuple[Tensor, Tensor]:
    """The eye and the mouth region, the uppermost and the lowest third of the rows: (B, 3, S, S) -> two (B, 3, S/3, S).

    # Paper unclear: whether the crops are resized again. Here they are not, unless a network is told to ``enlarge``.
    """
    height = round(images.shape[2] / 3)
    return images[:, :, :height], images[:, :, -height:]


def around(images: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Regions of the size of :func:`thirds` around the eyes and the mouth that were found.

    images (B, 3, S, S), points (B, 68, 2) as shares of the side -> two (B, 3, S/3, S); a region ends at the image.
    """
    size = images.shape[2]
    if points.shape != (len(images), 68, 2) or not points.isfinite().all():
        raise ParameterError(f"points of shape {tuple(points.shape)}", do="give 68 finite landmarks, (B, 68, 2)")
    height = round(size / 3)
    rows = torch.arange(height, device=images.device)
    cut = []
    for part in (EYES, MOUTH):
        middle = (points[:, part, 1].float().mean(1) * size - height / 2).round().long().clamp(0, size - height)
        place = (middle[:, None] + rows)[:, None, :, None].expand(-1, images.shape[1], -1, size)
        cut.append(images.gather(2, place))
    return cut[0], cut[1]


EYES, MOUTH = slice(36, 48), slice(48, 68)
"""Where they stand among the 68 landmarks."""


class DMLNet(nn.Module):
    """DML-Net, or what Table 8 has before it: images (B, 3, S, S) -> :class:`Output` or :class:`PosedOutput`.

    ``regions`` adds the trunks of eyes and mouth to that of the whole face (MFE), which are one and the same when
    ``shared``; their crops are thirds of the image, or lie around what ``landmark`` finds. ``poses`` classes give a
    second head, ``embedding`` numbers an embedding of length 1. Fully connected layers begin as in Table 1, with a
    standard deviation of 0.04, those before a softmax of 1/512; with ``deviation=0`` 0.05, and He et al.'s elsewhere.

    # Paper unclear: the widths of the fusion layers, of the branches and of the embedding (here ``fused``, twice, and
    # ``embedding``); whether the branches see f^2 or e(x) (f^2); whether e(x) is normalised. FaceNet's, which the paper
    # refers to, is, and with it a margin has a size; ``unit=False`` leaves it as it comes.
    """

    def __init__(
        self,
        trunk: Callable[[], ResNet],
        classes: int,
        *,
        regions: bool = True,
        poses: int = 0,
        embedding: int = 0,
        fused: int = 512,
        shared: bool = False,
        enlarge: bool = False,
        unit: bool = True,
        deviation: float = 0.04,
        landmark: MobileFaceNet | None = None,
    ) -> None:
        super().__init__()
        self.backbone = trunk()
        self.enlarge, self.unit, self.landmark = enlarge, unit, landmark
        if landmark:
            landmark.requires_grad_(False)
        inside = self.backbone.channels
        self.regions = nn.ModuleDict({} if shared or not regions else {"eyes": trunk(), "mouth": trunk()})
        softmax = 1 / 512 if deviation else 0.05
        self.fuse_local = _connected(2 * inside, fused, deviation) if regions else None  # W^1, b^1
        self.fuse = _connected(inside + fused, fused, deviation) if regions else None  # W^2, b^2
        inside = fused if regions else inside
        self.embed = _connected(inside, embedding, deviation) if embedding else None
        self.branch, self.classifier = _connected(inside, fused, deviation), _connected(fused, classes, softmax)
        self.pose_branch = _connected(inside, fused, deviation) if poses else None
        self.pose_classifier = _connected(fused, poses, softmax) if poses else None

    def train(self, mode: bool = True) -> DMLNet:
        """The landmark network stands still, its batch norms, too."""
        super().train(mode)
        if self.landmark:
            self.landmark.eval()
        return self

    def crops(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the second and the third trunk see."""
        if self.landmark is None:
            eyes, mouth = thirds(images)
        else:
            with torch.no_grad():
                points = self.landmark.landmarks(as_detected(images)).unflatten(1, (-1, 2))
            eyes, mouth = around(images, points)
        if self.enlarge:
            size = images.shape[2:]
            eyes, mouth = (F.interpolate(one, size, mode="bilinear", antialias=True) for one in (eyes, mouth))
        return eyes, mouth

    def fused(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """DML-Net Algorithm 2: ``f^1 = ReLU([v_2, v_3] W^1 + b^1), f^2 = ReLU([v_1, f^1] W^2 + b^2)``.

        images (B, 3, S, S) -> f^2 (B, F) and the whole face's map (B, C, H, W); without regions v_1 (B, C) is f^2.
        """
        feature_map = self.backbone(images)
        whole = feature_map.mean((2, 3))  # v_1 (B, C)
        if self.fuse is None or self.fuse_local is None:
            return whole, feature_map
        eyes, mouth = self.crops(images)
        if self.regions:
            parts = [self.regions[name](one).mean((2, 3)) for name, one in (("eyes", eyes), ("mouth", mouth))]
        else:  # one trunk, one pass: the crops are of one shape
            parts = list(self.backbone(torch.cat([eyes, mouth])).mean((2, 3)).chunk(2))
        local = self.fuse_local(torch.cat(parts, 1)).relu()
        return self.fuse(torch.cat([whole, local], 1)).relu(), feature_map

    def forward(self, images: Tensor) -> Output | PosedOutput:
        fused, feature_map = self.fused(images)
        embedding = fused if self.embed is None else self.embed(fused)
        embedding = F.normalize(embedding) if self.embed is not None and self.unit else embedding
        features = self.branch(fused)
        output = Output(self.classifier(features), features, embedding, feature_map)
        if self.pose_branch is None or self.pose_classifier is None:
            return output
        return PosedOutput(*output, self.pose_classifier(self.pose_branch(fused)))


def _connected(inside: int, outside: int, deviation: float) -> nn.Linear:
    """A fully connected layer: weights normal, those of He et al. (2015) where the deviation is 0; biases 0."""
    layer = nn.Linear(inside, outside)
    nn.init.normal_(layer.weight, std=deviation or (2 / inside) ** 0.5)
    nn.init.zeros_(layer.bias)
    return layer


# --- Section 4.1: recipes ------------------------------------------------------------------------------


Method = Literal["single", "mfe", "mfe-hpe", "mfe-jefl", "mfe-hpe-jefl", "dmlnet"]
"""The rows of Table 8, whose first is a single trunk, and the embedding without pose estimation, trained first."""
IN_THE_WILD = (-60, -40, -15, 0, 15, 40, 60)
"""Classes of pose where no cameras stand: those that the paper gave SFEW's images."""
PROTOCOL = {
    **dict.fromkeys(("kdef", "kdef-twin"), "dmlnet-kdef-56-14"),
    **dict.fromkeys(("bu3dfe", "bu3dfe-twin"), "dmlnet-bu3dfe-70-30"),
    **dict.fromkeys(("multipie", "multipie-twin"), "dmlnet-multipie"),
}
"""The paper's split, where it is not the usual one."""


class DMLNetRecipe(poses.PosedRecipe):
    """A run of one of Table 8's rows.

    All rows see the same five-tuples and are trained as long, in two stages: for ``first_epochs`` without the pose
    branch, which the paper freezes at first, expression and embedding ``in_turn``; then for ``epochs`` all together.
    """

    method: Method = "dmlnet"
    trunk: Literal["resnet50", "resnet18"] = Field(default="resnet50", description="each of the three")
    fused: Positive = Field(default=512, description="numbers of each fusion layer and branch")
    embedding: Positive = Field(default=128, description="numbers of e(x)")
    unit: bool = Field(default=True, description="whether e(x) has length 1")
    deviation: Annotated[float, Field(ge=0)] = Field(
        default=0.04, description="of fully connected layers at the start, Table 1; 0 for He et al.'s"
    )
    margin_pose: Annotated[float, Field(ge=0)] = Field(default=0.2, description="m^pose of Eq. (4)")
    margin_identity: Annotated[float, Field(ge=0)] = Field(default=0.2, description="m^id of Eq. (5)")
    triplets: Literal["both", "pose", "identity"] = Field(default="both", description="terms of Eq. (6)")
    hinge: bool = Field(default=True, description="max(0, .) in Eqs. (4) and (5); off as printed")
    reduction: Literal["mean", "sum"] = Field(default="mean", description="over the anchors; sum as printed")
    weight_sum: Annotated[float, Field(gt=0)] = Field(default=2.0, description="K of Eq. (8)")
    temperature: Annotated[float, Field(ge=LEAST)] = Field(default=2.0, description="T of Eq. (8)")
    in_turn: bool = Field(
        default=True,
        description="expression and embedding in turn, a mini-batch each, as long as there is no pose branch; "
        "else expression alone before it joins",
    )
    shared: bool = Field(default=False, description="whether the three trunks are one")
    crops: Literal["thirds", "landmarks"] = Field(default="thirds", description="where eyes and mouth are looked for")
    enlarge: bool = Field(default=False, description="whether crops are resized to the image's size")

    def check(self) -> None:
        super().check()
        if self.batch_size % 5:
            what = f"batch_size = {self.batch_size}: a mini-batch holds whole five-tuples."
            raise ParameterError(what, do="take a multiple of 5, the paper's 15")
        if self.oversample:
            raise ParameterError("An image is in one five-tuple of an epoch.", do="leave oversample out")
        if self.image_size < 3:
            raise ParameterError(f"image_size = {self.image_size} has no thirds.", do="take 3 pixels or more")


_PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "trunk": "resnet18", "images": 320, "batch_size": 30, "fused": 32, "embedding": 16, "learning_rate": 5e-3,
    },
    # On so few images narrow bottlenecks, and layers that begin near 0, hardly leave chance; and the hardest triplets
    # can draw the embedding of a network that knows nothing yet into one point, where their gradient is 0.
    "quick": {
        "trunk": "resnet18", "width": 20, "deviation": 0.0, "in_turn": False, "first_epochs": 16, "epochs": 8,
        "batch_size": 30, "learning_rate": 1e-3,
        "final_rate": 0.02, "weight_decay": 0.05, "average": 0.99, "fused": 128, "embedding": 64, "standardise": True,
        "mirror": True, "rotation": 5.0, "zoom": 0.08, "shift": 0.04, "contrast": 0.15, "erase": 0.0,
    },
    "paper": {
        "epochs": 450, "first_epochs": 50, "batch_size": 15, "learning_rate": 0.01, "weight_decay": 0.0, "warmup": 0.0,
        "schedule": "step", "decay": 0.8, "decay_epochs": 20, "average": 0.9999, "flip": False,
        **dict.fromkeys(("rotation", "shift", "zoom", "contrast", "erase"), 0.0),
    },
}  # fmt: skip
_OURS = {
    "epochs": 20, "first_epochs": 20, "batch_size": 60, "learning_rate": 1e-3, "weight_decay": 0.05, "warmup": 0.1,
    "schedule": "cosine", "average": 0.998, "flip": True, "mirror": True,
    "rotation": 5.0, "zoom": 0.08, "shift": 0.04, "contrast": 0.15,
}  # fmt: skip
"""At ``paper``: a rate that networks of random weights bear, images that vary, fewer and larger mini-batches."""
_EPOCHS = {
    **dict.fromkeys(("bu3dfe", "bu3dfe-twin"), 4), **dict.fromkeys(("multipie", "multipie-twin"), 6),
    **dict.fromkeys(("sfew", "sfew-twin"), 20), "ferplus": 3, "ferplus-twin": 8,
}  # fmt: skip
"""At ``quick``, of each stage: more images, fewer passes over them; a first stage goes by its own set."""


def recipe(preset: str = "smoke", dataset: str = "kdef-twin", **changes: object) -> DMLNetRecipe:
    """The parameters of one run. Any field can be changed by name.

    ``paper`` is the published setting: 224 x 224, Adam, rate 0.01, decay 0.8, mini-batches of 15, 500 epochs, running
    mean 0.9999. ``quick`` has three narrow ResNet-18 at 48 x 48, mini-batches of 30 and rates of ours.
    # Paper unclear: after how many epochs the rate decays (20 here), for how many the pose branch stands still (50),
    # whether images are augmented (not), when training stops; here the best epoch on validation people counts.
    """
    trunk = {
        name: SIZES[preset][name] for name in ("image_size", "width", "stem", "last_stride") if name in SIZES[preset]
    }
    values = {"paper": "dmlnet"} | trunk | poses.begun(preset, dataset, changes, _PRESETS, _EPOCHS, PROTOCOL)
    if preset == "paper" and changes.get("setting") == "ours":
        values |= _OURS
    return build(DMLNetRecipe, values | changes)


_OF_EMBEDDING = ("embedding", "unit", "margin_pose", "margin_identity", "triplets", "hinge", "reduction")
_OF_WEIGHTS = ("weight_sum", "temperature")
_OF_REGIONS = ("shared", "crops", "enlarge")


def stages(recipe: DMLNetRecipe) -> dict[str, DMLNetRecipe]:
    """The run that trains a row without its pose branch; with ``pretraining`` on that data set, all of it.

    Fields that it does not depend on are set to their defaults, so that all runs which share it find the same one.
    """
    if not recipe.first_epochs:
        return {}
    turns = recipe.in_turn and _has(recipe, "jefl")
    method = "mfe-jefl" if turns else "single" if recipe.method == "single" else "mfe"
    without = {"pretraining", "also_on", "first_epochs", *_OF_WEIGHTS, *(() if turns else _OF_EMBEDDING)}
    without |= set(_OF_REGIONS if method == "single" else ())
    changes = {name: DMLNetRecipe.model_fields[name].default for name in without}
    changes |= {"method": method, "epochs": recipe.first_epochs, "first_epochs": 0, "in_turn": turns}
    if recipe.pretraining:
        changes["estimates"] = poses.of_set(recipe.estimates, recipe.pretraining)
    return {"first": recipe.but(**(changes | elsewhere(recipe, PROTOCOL)))}


def _has(recipe: DMLNetRecipe, part: str) -> bool:
    """Whether a row of Table 8 has pose estimation (``hpe``) or the embedding (``jefl``)."""
    return part in recipe.method or recipe.method == "dmlnet"


def starts(recipe: DMLNetRecipe) -> dict[str, str]:
    """Weights from elsewhere: of the whole face's trunk, and of the landmark network where crops need one."""
    crops = recipe.crops == "landmarks" and recipe.method != "single"
    return {"backbone": recipe.start} | ({"landmark": "landmarks"} if crops else {})


def truth(recipe: DMLNetRecipe, data: Prepared) -> dict[str, Truth]:
    """``pose``, the classes of a second head, and ``identity``, who is on each image (-1: nobody knows).

    Where the recipe names ``estimates``, these say what the set does not know. A set of which nobody knows how heads
    are turned, or who is on its images, is an error.
    """
    data = poses.completed(data, recipe.estimates, recipe.dataset)
    return {"pose": poses.poses(data, poses.angles(recipe, IN_THE_WILD)), "identity": poses.people(data)}


def order(recipe: DMLNetRecipe, data: Prepared, rows: np.ndarray, epoch: int) -> list[np.ndarray]:
    """The five-tuples of an epoch, so many in a mini-batch as it holds; Algorithm 1 runs anew before each epoch.

    Images in no five-tuple, without a pose or a person are not seen in this epoch. Augmentation mirrors images one by
    one (``flip``), which exchanges poses: triplets go by the poses as they are then. Several processes share a
    mini-batch; its five-tuples stay whole, the last one's apart, where ``batch_size`` is a multiple of five times that.
    """
    labels = [data.labels(), *(one.values for one in truth(recipe, data).values())]
    known = rows[np.all([label[rows] >= 0 for label in labels], axis=0)]
    found = five_tuples(*(label[known] for label in labels), seed=[recipe.seed, recipe.fold, epoch])
    if not len(found):
        what = f"No five-tuple can be made of the {len(known)} training images of {data.name} whose labels are known."
        raise DataError(what, do="give each expression two people and two poses, each person and pose two expressions")
    each = recipe.batch_size // 5
    return [known[found[start : start + each]].ravel() for start in range(0, len(found), each)]


TRUNKS: Mapping[str, type[ResNet18 | ResNet50]] = {"resnet18": ResNet18, "resnet50": ResNet50}


def model(recipe: DMLNetRecipe, classes: int) -> DMLNet:
    """The network that a recipe describes, freshly initialised."""
    regions = recipe.method != "single"
    return DMLNet(
        lambda: TRUNKS[recipe.trunk](recipe.width, recipe.stem, recipe.last_stride),
        classes,
        regions=regions,
        poses=len(poses.angles(recipe, IN_THE_WILD)) if _has(recipe, "hpe") else 0,
        embedding=recipe.embedding if _has(recipe, "jefl") else 0,
        fused=recipe.fused,
        shared=recipe.shared,
        enlarge=recipe.enlarge,
        unit=recipe.unit,
        deviation=recipe.deviation,
        landmark=MobileFaceNet(recipe.image_size) if recipe.crops == "landmarks" and regions else None,
    )


def criterion(recipe: DMLNetRecipe, network: nn.Module) -> DMLNetLoss:
    """The loss that a recipe describes."""
    parts = {"expression": True, "pose": _has(recipe, "hpe"), "triplet": _has(recipe, "jefl")}
    return DMLNetLoss(
        [name for name, there in parts.items() if there],
        margins=(recipe.margin_pose, recipe.margin_identity),
        kinds=("pose", "identity") if recipe.triplets == "both" else (recipe.triplets,),
        hinge=recipe.hinge,
        reduction=recipe.reduction,
        dynamic=recipe.method == "dmlnet",
        in_turn=recipe.in_turn and not recipe.first_epochs and not _has(recipe, "hpe"),
        K=recipe.weight_sum,
        T=recipe.temperature,
        label_smoothing=recipe.label_smoothing,
    )


def features(network: nn.Module, images: Tensor) -> Tensor:
    """What the expression branch's softmax sees of each image, (B, 3, S, S) -> (B, F); the paper's t-SNEs show it."""
    return network(images).features
