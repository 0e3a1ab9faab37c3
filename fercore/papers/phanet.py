"""PhaNet: a pose-adaptive hierarchical attention network.

Source: Liu, Peng, Zeng and Shan, "Pose-adaptive Hierarchical Attention Network for Facial Expression Recognition"
(2019). No code was published; everything here is written from the text, in its order.

Shapes: B images of S x S pixels, K scales, C channels of a trunk, F numbers of the joint representation. Regions are
squares (x, y, half) in pixels, see :mod:`fercore.papers.attention`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from fercore.backbones.densenet import DenseNet
from fercore.data.labels import Truth
from fercore.data.prepared import Prepared
from fercore.errors import ParameterError
from fercore.papers import poses
from fercore.papers.attention import Mask, cropped
from fercore.papers.attention import PhaNetLoss as PhaNetLoss
from fercore.papers.attention import attention_loss as attention_loss
from fercore.papers.attention import boxcar as boxcar
from fercore.papers.attention import constraint_factor as constraint_factor
from fercore.papers.attention import crop_and_zoom as crop_and_zoom
from fercore.papers.attention import ranking_loss as ranking_loss
from fercore.papers.attention import task_weights as task_weights
from fercore.papers.baselines import SIZES, elsewhere
from fercore.recipe import Count, Positive, Recipe, build

HALVES = (1 / 6, 3 / 8)
"""Bounds of half a region's side, as shares of the side of the image in which it lies: it can neither vanish nor fill
that image, so that its mask has an edge on all four sides."""


class Output(NamedTuple):
    """What :class:`PhaNet` returns without pose."""

    logits: Tensor  # (B, classes)
    features: Tensor  # (B, F): f of Eq. (8)
    feature_maps: tuple[Tensor, ...]  # M_s of Eq. (1), K of (B, C, H, W)
    at_scales: tuple[Tensor, ...]  # answers of Eq. (2), logits (B, classes) of each scale
    regions: tuple[Tensor, ...]  # of the scales after the first, (B, 3), in pixels of the scale before
    corners: tuple[Tensor, ...]  # the same numbers, without their past: where the crops are
    coefficients: Tensor  # (B, scales in use): c_s of Eq. (7); 1 without scale attention
    side: int  # of the images, pixels


class PosedOutput(NamedTuple):
    """The same with pose, a second head, and what Eq. (10) makes of the two tasks' weights."""

    logits: Tensor
    features: Tensor
    feature_maps: tuple[Tensor, ...]
    at_scales: tuple[Tensor, ...]
    regions: tuple[Tensor, ...]
    corners: tuple[Tensor, ...]
    coefficients: Tensor
    side: int
    pose_logits: Tensor  # (B, poses)
    weights: Tensor  # (B, 2): W f + b, before the sigmoid; 0 where weights are fixed


# --- Section III-B: hierarchical pixel attention --------------------------------------------------------


class PixelAttention(nn.Module):
    """PhaNet Eq. (2): ``[x, y, l, p(e|s)] = Y(M_s)``: where the next scale looks, and what this one answers.

    M_s (B, C, H, W) of images of ``side`` pixels -> region (B, 3), logits (B, classes). Two fully connected layers see
    the map, brought to ``grid`` x ``grid``, and give three numbers; by logistic functions of these half a side lies
    within :data:`HALVES`, and the square inside the image. It begins near the middle, half a side ``first_half``.
    ``pace`` slows it down: an optimiser such as Adam takes steps of one size however weak and noisy a gradient is, so
    that regions drift as fast as all else learns.

    # Paper unclear: what the layers see, and how a square is kept inside. Answers come from the map's mean by one
    # layer. ``apart`` keeps what moves a region out of the trunk.
    """

    def __init__(
        self, channels: int, grid: int, classes: int, hidden: int, first_half: float, pace: float, apart: bool
    ) -> None:
        super().__init__()
        self.apart, self.pace = apart, pace
        self.pool = nn.AdaptiveAvgPool2d(grid)
        self.hidden, self.region = nn.Linear(channels * grid**2, hidden), nn.Linear(hidden, 3)
        self.answer = nn.Linear(channels, classes)
        nn.init.normal_(self.region.weight, std=1e-3)
        nn.init.zeros_(self.region.bias)
        low, high = HALVES
        share = (first_half - low) / (high - low)
        self.register_buffer("start", torch.tensor([0.0, 0.0, math.log(share / (1 - share))]), persistent=False)

    def forward(self, feature_map: Tensor, side: int) -> tuple[Tensor, Tensor]:
        seen = self.pool(feature_map.detach() if self.apart else feature_map).flatten(1)
        place = self.region(self.hidden(seen).relu())
        place = place.to(torch.promote_types(place.dtype, torch.float32))  # bf16 can't tell neighbouring pixels apart
        x, y, half = (self.start + self.pace * place).sigmoid().unbind(1)
        half = side * (HALVES[0] + (HALVES[1] - HALVES[0]) * half)
        x, y = (half + (side - 2 * half) * one for one in (x, y))
        return torch.stack([x, y, half], 1), self.answer(feature_map.mean((2, 3)))


# --- Section III-C: joint scale attention ---------------------------------------------------------------


class ScaleAttention(nn.Module):
    """PhaNet Eq. (7): ``[c_1, c_2, c_3] = sigmoid(ReLU(W_2 ReLU(W_1 M_F)))``, M_F (B, F) -> (B, scales).

    # Paper unclear: with the inner ReLU, as printed, no coefficient is below 1/2, while the paper's Fig. 12 has some
    # fall from there; ``rectified=False`` leaves it out.
    """

    def __init__(self, inside: int, scales: int, squeeze: int, rectified: bool = True) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Linear(inside, squeeze), nn.Linear(squeeze, scales)
        self.rectified = rectified
        nn.init.normal_(self.excite.weight, std=0.01)
        nn.init.constant_(self.excite.bias, 0.1)

    def forward(self, joint: Tensor) -> Tensor:
        answers = self.excite(self.squeeze(joint).relu())
        return (answers.relu() if self.rectified else answers).sigmoid()


def pooled(feature_maps: Sequence[Tensor]) -> Tensor:
    """PhaNet Eq. (6): ``M_F = H([g(M_S1), g(M_S2), g(M_S3)])``, g the mean over places; maps (B, C, H, W) -> (B, F)."""
    return torch.cat([one.mean((2, 3)) for one in feature_maps], 1)


def weighted(joint: Tensor, coefficients: Tensor) -> Tensor:
    """PhaNet Eq. (8): ``f = H([c_1 M_S1^R, c_2 M_S2^R, c_3 M_S3^R])``; M_F (B, F), c (B, scales) -> (B, F)."""
    return (joint.unflatten(1, (coefficients.shape[1], -1)) * coefficients[:, :, None]).flatten(1)


class PhaNet(nn.Module):
    """PhaNet, or a row of Table VI: images (B, 3, S, S) -> :class:`Output` or :class:`PosedOutput`.

    ``scales`` names those whose features are joined (Eqs. 6, 8), 1 to 3; a finer one needs those before it for its
    region. ``sal`` weighs them, ``poses`` classes give a second head, ``balanced`` Eq. (10). The first trunk is called
    ``backbone``; the others are of its kind, or the same one when ``shared``.
    """

    def __init__(
        self,
        trunk: Callable[[], DenseNet],
        classes: int,
        *,
        side: int,
        scales: Sequence[int] = (1, 2, 3),
        sal: bool = True,
        rectified: bool = True,
        poses: int = 0,
        balanced: bool = True,
        hidden: int = 128,
        squeeze: int = 64,
        fused: int = 512,
        shared: bool = False,
        mask: Mask = "logistic",
        sharpness: float = 10.0,
        first_half: float = 1 / 3,
        pace: float = 1.0,
        apart: bool = True,
    ) -> None:
        super().__init__()
        self.backbone, self.scales, self.mask, self.sharpness = trunk(), tuple(scales), mask, sharpness
        finer, inside = max(scales) - 1, self.backbone.channels
        self.finer = nn.ModuleList() if shared else nn.ModuleList(trunk() for _ in range(finer))
        with torch.no_grad():
            grid = self.backbone.eval()(torch.zeros(1, 3, side, side)).shape[-1]
        self.backbone.train()
        scales_looked = range(finer + 1) if finer else ()
        self.attend = nn.ModuleList(
            PixelAttention(inside, min(grid, 7), classes, hidden, first_half, pace, apart) for _ in scales_looked
        )
        if finer:  # nobody asks the finest scale for a region
            last = self.attend[-1]
            last.hidden, last.region = nn.Identity(), nn.Identity()
        joined = inside * len(self.scales)
        self.weigh = ScaleAttention(joined, len(self.scales), squeeze, rectified) if sal else None
        self.branch, self.classifier = nn.Linear(joined, fused), nn.Linear(fused, classes)
        self.pose_classifier = nn.Linear(fused, poses) if poses else None
        self.balance = nn.Linear(joined, 2) if poses and balanced else None

    def at(self, scale: int) -> DenseNet:
        """The trunk of a scale, from 0 on."""
        return self.finer[scale - 1] if scale and len(self.finer) else self.backbone

    def forward(self, images: Tensor) -> Output | PosedOutput:
        side, seen = images.shape[-1], images
        maps, answers, regions, corners = [], [], [], []
        for scale in range(max(self.scales)):
            maps.append(self.at(scale)(seen))
            if not len(self.attend):
                break
            if scale < len(self.attend) - 1:
                region, answer = self.attend[scale](maps[-1], side)
                corner = region.detach().requires_grad_(torch.is_grad_enabled())
                regions.append(region)
                corners.append(corner)
                seen = cropped(seen, *corner.unbind(1), side, self.mask, self.sharpness)
            else:
                answer = self.attend[scale].answer(maps[-1].mean((2, 3)))
            answers.append(answer)
        joint = pooled([maps[scale - 1] for scale in self.scales])
        coefficients = self.weigh(joint) if self.weigh else joint.new_ones(len(joint), len(self.scales))
        features = weighted(joint, coefficients)
        fused = self.branch(features).relu()
        found = (features, tuple(maps), tuple(answers), tuple(regions), tuple(corners), coefficients, side)
        if self.pose_classifier is None:
            return Output(self.classifier(fused), *found)
        weights = self.balance(features) if self.balance else features.new_zeros(len(features), 2)
        return PosedOutput(self.classifier(fused), *found, self.pose_classifier(fused), weights)


# --- Section IV-B: recipes ------------------------------------------------------------------------------


Method = Literal["densenet", "s1", "s2", "s3", "s1-s2", "s1-s3", "s2-s3", "s1-s2-s3", "phanet"]
"""DenseNet of Tables I to V, the whole face for expression and pose with equal weights; then the rows of Table VI,
whose first is the whole face for the expression alone, as row 1 of Table VIII, the last with joint scale attention."""
IN_THE_WILD = (-40, -15, 0, 15, 40)
"""Classes of pose where no cameras stand: the five of the paper's Fig. 7."""


class PhaNetRecipe(poses.PosedRecipe):
    """A run of one of Table VI's rows, or of Table VIII's.

    A first stage trains the whole face's trunk for ``first_epochs``. From its weights, and for ``epochs``, the row goes
    on: ``s1`` and ``densenet`` as it is, the others with finer scales, whose trunks begin as copies of the first.
    """

    method: Method = "phanet"
    growth: Positive = Field(default=12, description="k of DenseNet")
    depth: Positive = Field(default=40, description="of DenseNet")
    bottleneck: bool = Field(default=False, description="1x1 convolutions before those of 3x3")
    copied: bool = Field(default=True, description="whether finer trunks begin as copies of the first; else at random")
    shared: bool = Field(default=False, description="whether the three trunks are one")
    pose: bool = Field(default=True, description="whether pose is learned, too")
    attention: bool = Field(default=True, description="whether Eq. (4) moves regions; else they stay where they begin")
    dynamic: bool = Field(default=True, description="Eq. (10)'s weights of the two tasks; else 1 and 1")
    factor: bool = Field(default=True, description="the last term of Eq. (9)")
    ordered: bool = Field(default=True, description="lambda_e >= lambda_p, Eq. (9)")
    rectified: bool = Field(default=True, description="the inner ReLU of Eq. (7)")
    margin: Annotated[float, Field(ge=0)] = Field(default=0.05, description="mar of Eq. (4)")
    mask: Mask = Field(default="logistic", description="of Eq. (5)")
    sharpness: Annotated[float, Field(gt=0)] = Field(default=10.0, description="k of the mask, per pixel")
    optimise: Literal["alternating", "apart", "together"] = Field(
        default="alternating", description="parts of the loss by mini-batch, each on its own, or as one sum"
    )
    proposal_epochs: Count = Field(default=1, description="first epochs, in which regions seek the highest response")
    first_half: Annotated[float, Field(gt=HALVES[0], lt=HALVES[1])] = Field(
        default=1 / 3, description="half a region's side at the start, as a share of the image's"
    )
    pace: Annotated[float, Field(gt=0)] = Field(
        default=1.0, description="by what numbers of regions are multiplied, so that these move slower than the rest"
    )
    hidden: Positive = Field(default=128, description="numbers of each pixel attention network's first layer")
    squeeze: Positive = Field(default=64, description="numbers between the two layers of Eq. (7)")
    fused: Positive = Field(default=512, description="numbers of the layer before the two softmax layers")

    def check(self) -> None:
        super().check()
        if self.image_size * (2 * HALVES[0]) ** 2 < 2 and self.method not in ("densenet", "s1"):
            what = f"image_size = {self.image_size}: the smallest region of S3 would have less than two pixels."
            raise ParameterError(what, do=f"take {math.ceil(2 / (2 * HALVES[0]) ** 2)} pixels or more")


_PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "images": 320, "growth": 4, "depth": 7, "stem": "small", "batch_size": 32, "hidden": 16, "squeeze": 8,
        "fused": 32, "learning_rate": 5e-3,
    },
    "quick": {
        "growth": 24, "depth": 13, "stem": "small", "first_epochs": 20, "epochs": 8, "batch_size": 32,
        "learning_rate": 1e-3, "final_rate": 0.02, "weight_decay": 0.05, "average": 0.99, "fused": 128,
        "standardise": True, "mirror": True, "rotation": 5.0, "zoom": 0.08, "shift": 0.04, "contrast": 0.15,
        "erase": 0.0, "pace": 0.1, "sharpness": 2.0,
    },
    "paper": {
        "optimiser": "sgd", "epochs": 150, "first_epochs": 0, "batch_size": 32, "learning_rate": 0.01, "warmup": 0.0,
        "schedule": "step", "decay": 0.1, "decay_epochs": 75, "average": 0.0, "flip": False, "copied": False,
        "proposal_epochs": 10, "weight_decay": 1e-4,
        **dict.fromkeys(("rotation", "shift", "zoom", "contrast", "erase"), 0.0),
    },
}  # fmt: skip
_OURS = {
    "optimiser": "adamw", "epochs": 20, "first_epochs": 20, "learning_rate": 1e-3, "weight_decay": 0.05, "warmup": 0.1,
    "schedule": "cosine", "average": 0.998, "flip": True, "mirror": True, "copied": True, "proposal_epochs": 1,
    "rotation": 5.0, "zoom": 0.08, "shift": 0.04, "contrast": 0.15, "pace": 0.1,
}  # fmt: skip
"""At ``paper``: fewer epochs, images that vary, finer trunks that begin where the first one ended."""
_EPOCHS = {
    **dict.fromkeys(("bu3dfe", "bu3dfe-twin"), 4), **dict.fromkeys(("multipie", "multipie-twin"), 6),
    **dict.fromkeys(("affectnet", "affectnet-twin"), 2), "ferplus": 3, "ferplus-twin": 8,
}  # fmt: skip
"""At ``quick``, of each stage: more images, fewer passes over them; a first stage goes by its own set."""
PROTOCOL = {
    **dict.fromkeys(("kdef", "kdef-twin"), "phanet-kdef"),
    **dict.fromkeys(("multipie", "multipie-twin"), "phanet-multipie"),
}
"""The paper's split, where it is not the usual one."""
UNPOSED = ("ferplus", "rafdb", "sfew")
"""Sets that do not know how heads are turned: expression alone, unless ``estimates`` say it."""


def recipe(preset: str = "smoke", dataset: str = "kdef-twin", **changes: object) -> PhaNetRecipe:
    """The parameters of one run. Any field can be changed by name.

    ``paper`` is the published setting: 224 x 224, DenseNet of depth 40 and k = 12, rate 0.01, mini-batches of 32, 150
    epochs. ``quick`` has smaller trunks at 48 x 48 and rates of ours. On sets that know no pose, such as the real
    FERPlus, ``pose`` is off unless ``estimates`` are named.
    # Paper unclear: optimiser (SGD with momentum here), weight decay, when the rate falls by 0.1 (half way), whether
    # images are augmented (not), how long regions are led to the highest response (10 epochs).
    """
    values = poses.begun(preset, dataset, changes, _PRESETS, _EPOCHS, PROTOCOL)
    values |= {"paper": "phanet", "image_size": SIZES[preset]["image_size"]}
    values["pose"] = (dataset not in UNPOSED or bool(changes.get("estimates"))) and changes.get("method") != "s1"
    if preset == "paper" and changes.get("setting") == "ours":
        values |= _OURS
    return build(PhaNetRecipe, values | changes)


_SHARED = {"growth", "depth", "bottleneck", "fused"}
"""What of a run's own fields its first stage depends on."""


def stages(recipe: PhaNetRecipe) -> dict[str, PhaNetRecipe]:
    """The run that trains the whole face's trunk, with the expression alone; with ``pretraining`` on that data set.

    Fields that it does not depend on are set to their defaults, so that all runs which share it find the same one.
    """
    if not recipe.first_epochs:
        return {}
    fields = PhaNetRecipe.model_fields
    own = fields.keys() - Recipe.model_fields.keys() - _SHARED | {"pretraining", "also_on"}
    changes: dict[str, Any] = {name: fields[name].default for name in own}
    changes |= {"method": "s1", "pose": False, "epochs": recipe.first_epochs, "first_epochs": 0}
    return {"first": recipe.but(**(changes | elsewhere(recipe, PROTOCOL)))}


def truth(recipe: PhaNetRecipe, data: Prepared) -> dict[str, Truth]:
    """``pose``, the classes of a second head, where it is learned (-1: nobody knows)."""
    if not recipe.pose:
        return {}
    data = poses.completed(data, recipe.estimates, recipe.dataset)
    return {"pose": poses.poses(data, poses.angles(recipe, IN_THE_WILD))}


def model(recipe: PhaNetRecipe, classes: int) -> PhaNet:
    """The network that a recipe describes, freshly initialised."""
    stem = {"stem": 7, "entry": 4} if recipe.stem == "imagenet" else {"stem": 5, "entry": 2}
    named = {"phanet": "s1-s2-s3", "densenet": "s1"}.get(recipe.method, recipe.method)
    scales = [int(name[1]) for name in named.split("-")]
    same = ("rectified", "hidden", "squeeze", "fused", "shared", "mask", "sharpness", "first_half", "pace")
    return PhaNet(
        lambda: DenseNet(recipe.growth, recipe.depth, bottleneck=recipe.bottleneck, **stem),
        classes,
        side=recipe.image_size,
        scales=scales,
        sal=recipe.method == "phanet",
        poses=len(poses.angles(recipe, IN_THE_WILD)) if recipe.pose else 0,
        balanced=recipe.dynamic and recipe.method != "densenet",
        apart=recipe.optimise != "together",
        **{name: getattr(recipe, name) for name in same},
    )


def criterion(recipe: PhaNetRecipe, network: nn.Module) -> PhaNetLoss:
    """The loss that a recipe describes."""
    same = ("attention", "pose", "dynamic", "factor", "ordered", "margin", "optimise", "first_half", "label_smoothing")
    given = {name: getattr(recipe, name) for name in same}
    return PhaNetLoss(**given | {"dynamic": recipe.dynamic and recipe.method != "densenet"})


def refresh(
    recipe: PhaNetRecipe, epoch: int, network: PhaNet, criterion: PhaNetLoss, training: object
) -> Mapping[str, float]:
    """Before the first epoch finer trunks take the first one's weights; regions seek the highest response at first."""
    if recipe.copied and not epoch:
        for finer in network.finer:
            finer.load_state_dict(network.backbone.state_dict())
    criterion.proposing.fill_(epoch < recipe.proposal_epochs)
    return {}


def features(network: nn.Module, images: Tensor) -> Tensor:
    """The joint representation f of each image, (B, 3, S, S) -> (B, F)."""
    return network(images).features


def maps(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """What figures draw over pictures: ``s1`` to ``s3`` (B, H, W), the channels' mean of each scale's last convolution,
    and ``regions`` (B, K - 1, 3), squares of the whole image, as shares of its side."""
    output = network(images)
    found = {f"s{scale + 1}": one.mean(1) for scale, one in enumerate(output.feature_maps)}
    if output.regions:
        found["regions"] = torch.stack(absolute(output.regions, output.side), 1) / output.side
    return found


def each(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """What a record keeps of every test image: ``coefficients`` (B, scales), ``regions`` as :func:`maps` gives them."""
    output = network(images)
    found = {"coefficients": output.coefficients}
    if output.regions:
        found["regions"] = torch.stack(absolute(output.regions, output.side), 1) / output.side
    return found


def absolute(regions: Sequence[Tensor], side: int) -> list[Tensor]:
    """Regions (B, 3), each in pixels of the scale before, as such of the whole image of ``side`` pixels."""
    found: list[Tensor] = []
    for region in regions:
        x, y, half = region.unbind(1)
        if found:
            left, top, outer = found[-1].unbind(1)
            zoom = 2 * outer / side
            x, y, half = left - outer + zoom * x, top - outer + zoom * y, zoom * half
        found.append(torch.stack([x, y, half], 1))
    return found
