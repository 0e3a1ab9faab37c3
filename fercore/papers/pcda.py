"""PCDA: product-cross dual attention and the neutral-aware anchor loss.

Source: Nie, Pan et al., "Face Expression Recognition via Product-Cross Dual Attention and Neutral-Aware Anchor Loss"
(2024). No code was published; everything here is written from the text, in its order.

Shapes: B images, h x w grid positions (14 x 14), c_lm = 128 and c_img = 256 channels, D = 768 numbers a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, get_args

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fercore.backbones.cost import Cost, cost
from fercore.backbones.ir50 import IR50
from fercore.backbones.mobilefacenet import MobileFaceNet
from fercore.backbones.resnet import ResNet18
from fercore.data.labels import EXPRESSIONS
from fercore.errors import ParameterError
from fercore.papers import baselines
from fercore.papers.baselines import CrossEntropy, ResNet18Classifier, StagedRecipe, class_activation, first_stage
from fercore.papers.landmarks import as_detected
from fercore.recipe import Fraction, Positive, build, unknown

HeatMap = Literal["max", "sum", "abs-sum", "conv"]

# --- Section 3.1: dot-product attention ----------------------------------------------------------------


def heat_map(landmark_map: Tensor, kind: HeatMap = "max") -> Tensor:
    """H of PCDA Eq. (1), from the landmark features (B, c_lm, h, w) -> (B, h, w): the maximum over the channels.

    Table 4 compares it with their sum and the sum of their sizes; its fourth row, a convolution to one map for each
    channel of the image features, has weights and stands in :class:`PCDA`.
    """
    if kind == "max":
        return landmark_map.amax(1)
    if kind == "sum":
        return landmark_map.sum(1)
    if kind == "abs-sum":
        return landmark_map.abs().sum(1)
    raise ParameterError(unknown("map without weights", kind, ("max", "sum", "abs-sum")))


def dot_product_attention(heat: Tensor, image_map: Tensor) -> Tensor:
    """PCDA Eq. (1): ``f_fusion = H' * f_img``, every channel weighted by the heat map.

    heat (B, h, w), repeated for all channels, or (B, c_img, h, w), one map a channel; image_map (B, c_img, h, w) ->
    the same shape.
    """
    return (heat[:, None] if heat.ndim == 3 else heat) * image_map


# --- Section 3.1: cross-feature attention --------------------------------------------------------------


class Tokens(nn.Module):
    """PCDA Eq. (2): ``t = Cat(Embedding(f), t_class)``; a map (B, C, h, w) -> tokens (B, h w + 1, D), the class first.

    The embedding is linear, the same at each position. ``position`` (1, h w + 1, D) is added, as ViT has it.
    # Paper unclear: whether the two streams share their positions. Here they do, and the paper's size comes out.
    """

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        self.embed = nn.Linear(channels, dimensions)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dimensions))
        nn.init.trunc_normal_(self.class_token, std=0.02)

    def forward(self, feature_map: Tensor, position: Tensor) -> Tensor:
        tokens = self.embed(feature_map.flatten(2).transpose(1, 2))
        return torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], 1) + position


class CrossAttention(nn.Module):
    """PCDA Eq. (3): ``Q = t W_q, K = t_fusion W_k, V = t_fusion W_v``, then Eq. (4).

    t_fusion, t_lm (B, T, D) -> (B, T, D). With ``cross`` the queries are the landmark tokens', else the fusion tokens'
    own. Eq. (3) lists both matrices and Eq. (4) uses one: the other one is kept, as the paper counts it, and frozen.
    # Paper unclear: the number of heads, d, and whether a projection follows. Both are ViT's: 64 a head, and one.
    """

    def __init__(self, dimensions: int, heads: int, drop: float = 0.0, *, cross: bool = True) -> None:
        super().__init__()
        self.heads, self.cross = heads, cross
        self.query_fusion = nn.Linear(dimensions, dimensions)
        self.query_landmark = nn.Linear(dimensions, dimensions)
        self.key, self.value = nn.Linear(dimensions, dimensions), nn.Linear(dimensions, dimensions)
        self.project, self.drop = nn.Linear(dimensions, dimensions), nn.Dropout(drop)
        (self.query_fusion if cross else self.query_landmark).requires_grad_(False)

    def forward(self, fusion: Tensor, landmark: Tensor) -> Tensor:
        query = self.query_landmark(landmark) if self.cross else self.query_fusion(fusion)
        query, key, value = (self._split(t) for t in (query, self.key(fusion), self.value(fusion)))
        attended = cross_attention(query, key, value)
        return self.drop(self.project(attended.transpose(1, 2).flatten(2)))

    def _split(self, tokens: Tensor) -> Tensor:
        """(B, T, D) -> (B, heads, T, d)."""
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)


def cross_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """PCDA Eq. (4): ``A = Softmax(Q_lm K_fusion^T / sqrt(d)) V_fusion``; each (B, heads, T, d) -> (B, heads, T, d)."""
    return F.scaled_dot_product_attention(query, key, value)


class Block(nn.Module):
    """PCDA Eq. (5): ``t' = CrossAttention + t_fusion, t_out = MLP(Norm(t')) + t'``; (B, T, D) twice -> (B, T, D).

    # Paper unclear: the brackets of the printed formula do not close; this is the reading of a ViT block. Such a block
    # also normalises what it attends to, which Eq. (3) does not show; here it does, for both streams.
    """

    def __init__(self, dimensions: int, heads: int, ratio: int = 4, drop: float = 0.5, *, cross: bool = True) -> None:
        super().__init__()
        self.norm_fusion, self.norm_landmark = nn.LayerNorm(dimensions), nn.LayerNorm(dimensions)
        self.attention = CrossAttention(dimensions, heads, drop, cross=cross)
        self.norm = nn.LayerNorm(dimensions)
        self.mlp = nn.Sequential(
            nn.Linear(dimensions, ratio * dimensions), nn.GELU(), nn.Dropout(drop),
            nn.Linear(ratio * dimensions, dimensions), nn.Dropout(drop),
        )  # fmt: skip
        if not cross:
            self.norm_landmark.requires_grad_(False)

    def forward(self, fusion: Tensor, landmark: Tensor) -> Tensor:
        fusion = fusion + self.attention(self.norm_fusion(fusion), self.norm_landmark(landmark))
        return fusion + self.mlp(self.norm(fusion))


class Output(NamedTuple):
    """What :class:`PCDA` returns."""

    logits: Tensor  # (B, classes)
    features: Tensor  # (B, D): the class token, on which the anchor loss works
    feature_map: Tensor  # (B, c_img, h, w): f_fusion
    heat: Tensor  # (B, h, w): H; with a convolution, the mean of its maps


class PCDA(nn.Module):
    """Image and landmark features, both attentions, and a linear classifier: images (B, 3, 112, 112) -> Output.

    Images are normalised as everywhere in this package; what the landmark detector wants is made of them inside. It is
    frozen, its batch norms, too, unless ``frozen`` is off, and counts with its head, which PCDA does not use, as in the
    paper's 1.0 M. With ``dot`` off f_fusion is f_img, with ``cross`` off tokens attend to themselves (Table 1);
    ``blocks`` as in Table 2, ``heat`` as in Table 4; ``side`` is that of the images, 8 times the grid's.
    """

    def __init__(
        self,
        classes: int = 8,
        *,
        blocks: int = 2,
        dimensions: int = 768,
        heads: int = 12,
        drop: float = 0.5,
        dot: bool = True,
        cross: bool = True,
        heat: HeatMap = "max",
        side: int = 112,
        frozen: bool = True,
        backbone: IR50 | ResNet18 | None = None,
        landmark: MobileFaceNet | None = None,
    ) -> None:
        super().__init__()
        if heat not in get_args(HeatMap):
            raise ParameterError(unknown("heat map", heat, get_args(HeatMap)))
        if dimensions % heads:
            raise ParameterError(f"{dimensions} numbers a token can't be split among {heads} heads.")
        self.backbone, self.landmark = backbone or IR50(), landmark or MobileFaceNet()
        self.frozen = frozen
        self.landmark.requires_grad_(False)
        if not frozen:
            for part in self.landmark.feature_layers():
                part.requires_grad_(True)
        self.dot, self.kind = dot, "max" if heat == "conv" else heat
        # Paper unclear: the size of Table 4's convolution, 128 to 256 channels. Here 1 x 1.
        channels = self.landmark.channels, self.backbone.channels
        self.heat = nn.Conv2d(*channels, 1) if heat == "conv" and dot else None
        self.fusion_tokens = Tokens(self.backbone.channels, dimensions)
        self.landmark_tokens = Tokens(self.landmark.channels, dimensions)
        self.position = nn.Parameter(torch.zeros(1, (side // 8) ** 2 + 1, dimensions))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.blocks = nn.ModuleList(Block(dimensions, heads, drop=drop, cross=cross) for _ in range(blocks))
        self.norm = nn.LayerNorm(dimensions)
        self.classifier = nn.Linear(dimensions, classes)
        if not cross:
            self.landmark_tokens.requires_grad_(False)

    def train(self, mode: bool = True) -> PCDA:
        """Frozen means frozen: the landmark backbone's batch norms keep their statistics, too."""
        super().train(mode)
        if self.frozen:
            self.landmark.eval()
        return self

    def forward(self, images: Tensor) -> Output:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            landmark_map = self.landmark.features(as_detected(images))
        image_map = self.backbone(images)
        heat = self.heat(landmark_map) if self.heat else heat_map(landmark_map, self.kind)
        fused = dot_product_attention(heat, image_map) if self.dot else image_map
        fusion = self.fusion_tokens(fused, self.position)
        landmark = self.landmark_tokens(landmark_map, self.position)
        for block in self.blocks:
            fusion = block(fusion, landmark)
        features = self.norm(fusion[:, 0])
        return Output(self.classifier(features), features, fused, heat.mean(1) if self.heat else heat)


class Part(nn.Module):
    """One method of a part of a network as a network of its own, so that it can be counted and timed."""

    def __init__(self, part: nn.Module, call: str) -> None:
        super().__init__()
        self.part, self.call = part, call

    def forward(self, images: Tensor) -> Tensor:
        return getattr(self.part, self.call)(images)


def costs(network: PCDA, side: int = 112) -> dict[str, Cost]:
    """Parameters and operations an image of ``image`` and ``landmark`` backbone, of ``attention`` and of the ``whole``.

    The landmark backbone counts with its head, as the paper's 1.0 M does, and its operations up to what is used.
    """
    whole, image = cost(network, side), cost(network.backbone, side)
    landmark = cost(Part(network.landmark, "features"), side)
    attention = Cost(*(a - b - c for a, b, c in zip(whole, image, landmark, strict=True)))
    return {"image": image, "landmark": landmark, "attention": attention, "whole": whole}


def sizes() -> dict[str, Cost]:
    """:func:`costs` at the published size, for eight classes; no memory is taken."""
    with torch.device("meta"):
        return costs(PCDA(classes=8))


# --- Section 3.2: neutral-aware anchor loss ------------------------------------------------------------


def anchors(logits: Tensor, labels: Tensor) -> Tensor:
    """PCDA Eq. (6): ``anchor_c = argmin over i in N_c of -sum_k p_ik log p_ik``, the entropy of i's prediction.

    logits (B, classes), labels (B,) -> (B,): of each sample, the place in the batch of its class's anchor.
    """
    log = logits.float().log_softmax(1)
    entropy = -(log.exp() * log).sum(1)
    same = labels[:, None] == labels[None]  # (B, B)
    return entropy.expand(len(labels), -1).masked_fill(~same, float("inf")).argmin(1)


def anchor_distance(features: Tensor, anchor: Tensor, labels: Tensor, *, detach: bool = False) -> Tensor:
    """PCDA Eq. (7): ``L = sum over c of 1 / N_c * sum over i in N_c of Dist(f_i, f_anchor_c)``, the mean squared error.

    features (B, D), anchor (B,) places in the batch, labels (B,) -> (). An empty batch gives 0.
    # Paper unclear: 1 / N_c stands before the sum over c, where c is not yet bound; each class is divided by its own
    # number. Nor is it said whether a gradient flows into the anchor: it does, unless ``detach``.
    """
    target = features.detach() if detach else features
    distance = (features - target[anchor]).square().mean(1)
    return (distance / (labels[:, None] == labels[None]).sum(1)).sum()


def non_neutral_distance(
    features: Tensor, logits: Tensor, labels: Tensor, neutral: int, *, detach: bool = False
) -> Tensor:
    """PCDA Eq. (8): ``L_non-neutral = sum over c in C' of 1 / N_c * sum over i in N_c of Dist(f_i, f_anchor_c)``.

    C' are the classes without the neutral one. features (B, D), logits (B, classes), labels (B,) -> (); a batch of
    neutral samples alone gives 0.
    """
    chosen = labels != neutral
    features, logits, labels = features[chosen], logits[chosen], labels[chosen]
    if not len(labels):
        return features.sum()  # of nothing: 0, with a gradient
    return anchor_distance(features, anchors(logits, labels), labels, detach=detach)


def neutral_distance(features: Tensor) -> Tensor:
    """PCDA Eq. (9): ``L_neutral = 1 / (N_n - 1)^2 * sum over i, j != i of Dist(f_i, f_j)``.

    Over all pairs of neutral samples: features (N_n, D) -> (); fewer than two give 0. The sum over pairs is
    ``2 N_n * sum |f_i - mean|^2 / D``, linear in their number.
    """
    count = len(features)
    if count < 2:
        return (features - features.detach()).sum()  # 0, with a gradient of what is there
    spread = (features - features.mean(0)).square().mean(1).sum()
    return 2 * count * spread / (count - 1) ** 2


class NeutralAwareAnchorLoss(nn.Module):
    """PCDA Eq. (10): ``L_NeAA = L_non-neutral + L_neutral``; features (B, D), logits (B, classes), labels (B,) -> ().

    ``neutral`` is the index of the neutral class, None for Eq. (7) over all classes alike; with ``detach`` anchors
    stand and the others move. Computed in 32 bits; a class that is absent or has one sample adds 0.
    """

    def __init__(self, neutral: int | None, *, detach: bool = False) -> None:
        super().__init__()
        self.neutral, self.detach = neutral, detach

    def forward(self, features: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        features = features.float()
        if self.neutral is None:
            return anchor_distance(features, anchors(logits.detach(), labels), labels, detach=self.detach)
        others = non_neutral_distance(features, logits.detach(), labels, self.neutral, detach=self.detach)
        return others + neutral_distance(features[labels == self.neutral])


class PCDALoss(nn.Module):
    """PCDA Eq. (11): ``L = L_cls + lambda * L_NeAA``, lambda = 0.01; output, batch -> the two terms, weighted."""

    def __init__(
        self, neutral: int | None, weight: float = 0.01, *, detach: bool = False, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.weight, self.anchor = weight, NeutralAwareAnchorLoss(neutral, detach=detach)
        self.cross_entropy = CrossEntropy(label_smoothing)

    def forward(self, output: Output, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        terms = self.cross_entropy(output, batch)
        if self.weight:
            terms["anchor"] = self.weight * self.anchor(output.features, output.logits, batch["labels"])
        return terms


# --- Section 4.1: recipes ------------------------------------------------------------------------------


class PCDARecipe(StagedRecipe):
    """A PCDA run, or its baseline: the same two stages, the second without attention.

    Stage one trains the trunk with pooling and a linear layer. From its weights, and for the same ``epochs``, the
    baseline (``plain``) goes on as it is and ``pcda`` goes on with both attentions.
    """

    method: Literal["plain", "pcda"] = "pcda"
    trunk: Literal["resnet18", "ir50"] = Field(default="ir50", description="the image backbone")
    landmark_weights: str = Field(default="landmarks", description="landmarks for our own, a file, or empty: random")
    frozen: bool = Field(default=True, description="whether the landmark backbone stays as it is")
    dot: bool = Field(default=True, description="dot-product attention, Eq. (1)")
    cross: bool = Field(default=True, description="cross-feature attention, Eq. (4); off: the image attends to itself")
    heat: HeatMap = Field(default="max", description="how the heat map is made of the landmark features, Table 4")
    blocks: Positive = Field(default=2, description="of attention, Table 2")
    dimensions: Positive = Field(default=768, description="numbers a token")
    heads: Positive = 12
    drop: Fraction = 0.5
    anchor_weight: Annotated[float, Field(ge=0)] = Field(default=0.01, description="lambda of Eq. (11); 0: no NeAA")
    anchor: Literal["neutral-aware", "plain"] = Field(default="neutral-aware", description="Eq. (10) or Eq. (7)")
    detach: bool = Field(default=False, description="whether anchors stand still")

    def check(self) -> None:
        super().check()
        if self.method == "pcda" and self.small_epochs:
            what = f"small_epochs = {self.small_epochs}: the landmark network has the grid of whole images."
            raise ParameterError(what, do="set backbone_small_epochs, or none")


_PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"trunk": "resnet18", "dimensions": 24, "heads": 3, "blocks": 1, "drop": 0.1},
    "quick": {  # plain SGD hardly moves tokens that begin at random
        "trunk": "resnet18", "dimensions": 192, "heads": 3, "drop": 0.2, "optimiser": "adamw", "weight_decay": 0.05,
        "backbone_learning_rate": 2e-3, "learning_rate": 7e-4,
    },
    "paper": {
        "image_size": 112, "backbone_epochs": 0, "epochs": 200, "batch_size": 144, "optimiser": "adamw",
        "learning_rate": 3.5e-5, "weight_decay": 0.0, "warmup": 0.0, "schedule": "constant", "erase": 0.5,
        **dict.fromkeys(("rotation", "shift", "zoom", "contrast"), 0.0),
    },
}  # fmt: skip
_OURS = {
    "backbone_epochs": 20, "backbone_small_epochs": 14, "backbone_learning_rate": 1e-3, "epochs": 8,
    "learning_rate": 2e-4, "weight_decay": 0.05, "warmup": 0.1, "schedule": "cosine", "average": 0.998,
    "rotation": 10.0, "shift": 0.06, "zoom": 0.12, "contrast": 0.2, "erase": 0.25,
}  # fmt: skip
"""At ``paper``, for a trunk that has seen no face yet: it has to learn in the first stage, and from few images."""


def recipe(preset: str = "smoke", dataset: str = "ferplus-twin", **changes: object) -> PCDARecipe:
    """The parameters of one PCDA run. Any field can be changed by name.

    ``paper`` is the published setting: 112 x 112, Adam, rate 3.5e-5 (1e-6 on AffectNet), batches of 144, one stage.
    That is for a trunk that knows faces (``start``); with ``setting="ours"`` a first stage teaches one that does not.
    ``quick`` has the trunk of this book's other quick runs and 192 numbers a token, for two cores.
    # Paper unclear: weight decay, schedule, warm-up, the share of erased images. None here (AdamW without decay is
    # Adam), and half.
    """
    values = {"paper": "pcda", **baselines.settings(preset, dataset, changes), **_PRESETS[preset]}
    values |= {"landmark_weights": ""} if changes.get("method") == "plain" else {}  # it has no landmark backbone
    if preset == "paper":
        values |= {"learning_rate": 1e-6} if dataset.startswith("affectnet") else {}
        values |= _OURS if values["setting"] == "ours" else {}
    return build(PCDARecipe, baselines.with_start(values, changes))


def stages(recipe: PCDARecipe) -> dict[str, PCDARecipe]:
    """The run whose weights both methods start from; see :func:`fercore.papers.baselines.first_stage`."""
    return first_stage(recipe, method="plain")


def starts(recipe: PCDARecipe) -> dict[str, str]:
    """Weights from elsewhere: of the trunk, and of the landmark backbone, which a plain trunk has not."""
    return {"backbone": recipe.start} | ({"landmark": recipe.landmark_weights} if recipe.method == "pcda" else {})


def model(recipe: PCDARecipe, classes: int) -> ResNet18Classifier | PCDA:
    """The network that a recipe describes, freshly initialised."""
    trunk = baselines.trunk(recipe)
    if recipe.method == "plain":
        return ResNet18Classifier(trunk, classes)
    same = ("blocks", "dimensions", "heads", "drop", "dot", "cross", "heat", "frozen")
    given = {name: getattr(recipe, name) for name in same} | {"side": recipe.image_size}
    return PCDA(classes, **given, backbone=trunk, landmark=MobileFaceNet(recipe.image_size))


def criterion(recipe: PCDARecipe, network: nn.Module) -> CrossEntropy | PCDALoss:
    """The loss that a recipe describes. Every order of classes here begins with neutral."""
    if recipe.method == "plain":
        return CrossEntropy(recipe.label_smoothing)
    apart = recipe.anchor == "neutral-aware" and recipe.leave_out != "neutral"
    neutral, smooth = EXPRESSIONS.index("neutral") if apart else None, recipe.label_smoothing
    return PCDALoss(neutral, recipe.anchor_weight, detach=recipe.detach, label_smoothing=smooth)


def features(network: nn.Module, images: Tensor) -> Tensor:
    """What the classifier sees of each image, (B, 3, S, S) -> (B, D): PCDA's class token, a baseline's pooled map."""
    return network(images).features


def maps(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Maps that figures show, each (B, h, w): ``heat`` H of Eq. (1), ``cam`` of the class that is answered.

    ``cam`` is Grad-CAM on f_fusion, as in the paper's Fig. 6: ``ReLU(sum_k a_k f_k)``, a_k the mean gradient of the
    logit over the places (Selvaraju et al., 2017). A baseline has ``cam`` alone.
    """
    if not isinstance(network, PCDA):
        return baselines.maps(network, images)
    with torch.enable_grad():
        output = network(images)
        (gradient,) = torch.autograd.grad(output.logits.amax(1).sum(), output.feature_map)
    cam = class_activation(output.feature_map.detach(), gradient.mean((2, 3))).relu()
    return {"heat": output.heat.detach(), "cam": cam}
