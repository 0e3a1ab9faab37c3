"""LAN: local attention with a guidance map.

Source: Cho and Lee, "Learning Local Attention With Guidance Map for Pose Robust
Facial Expression Recognition", IEEE Access 10 (2022). No code was published;
everything here is written from the text, in its order.

Shapes: B images, C channels, H x W grid positions (7 x 7 x 512 in the paper),
P = H * W positions, K clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fercore.backbones.resnet import ResNet18
from fercore.errors import ParameterError
from fercore.papers.baselines import CrossEntropy, ResNet18Classifier, trunk
from fercore.recipe import Count, Fraction, Positive, Recipe, build, check_preset, unknown

# --- Section III-B: local attention module -------------------------------------------------------------


class Output(NamedTuple):
    """What :class:`LAN` returns."""

    logits: Tensor  # (B, classes)
    features: Tensor  # (B, C), or (B, 2 C) when concatenated: f, what the classifier sees
    feature_map: Tensor  # (B, C, H, W): F_o
    attentive_map: Tensor  # (B, C, H, W): F_a
    attention: Tensor  # (B, H, W) in (0, 1): F_m
    attention_logits: Tensor  # (B, H, W): F_m before the sigmoid


class LocalAttention(nn.Module):
    """Four 3x3 convolutions and a sigmoid: F_o (B, C, H, W) -> logits of F_m (B, H, W).

    # Paper unclear: neither the widths between the four convolutions nor what
    # stands between them is given. Halved each time, with batch norm and ReLU.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inside = channels
        for outside in (channels // 2, channels // 4, channels // 8):
            layers += [nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]
            inside = outside
        self.layers = nn.Sequential(*layers, nn.Conv2d(inside, 1, 3, padding=1))

    def forward(self, feature_map: Tensor) -> Tensor:
        return self.layers(feature_map).squeeze(1)


def attend(feature_map: Tensor, attention: Tensor) -> Tensor:
    """LAN Eq. (1): ``F_a = F_o * F_m``, every channel weighted by the map.

    feature_map (B, C, H, W), attention (B, H, W) -> (B, C, H, W).
    """
    return feature_map * attention[:, None]


def fuse(feature_map: Tensor, attentive_map: Tensor, fusion: str = "add") -> Tensor:
    """LAN Eq. (2): ``f = GAP(F_o) + GAP(F_a)``; Table 6 compares it with ``concat`` and ``mean``.

    Two maps (B, C, H, W) -> (B, C), or (B, 2 C) for ``concat``.

    # Paper unclear: Eq. (2) and the text say summation, the caption of Fig. 2
    # says concatenation. Table 6 names addition as the authors' choice.
    """
    f_o, f_a = feature_map.mean((2, 3)), attentive_map.mean((2, 3))
    if fusion == "add":
        return f_o + f_a
    if fusion == "mean":
        return (f_o + f_a) / 2
    if fusion == "concat":
        return torch.cat([f_o, f_a], dim=1)
    raise ParameterError(unknown("fusion", fusion, ("add", "mean", "concat")))


class LAN(nn.Module):
    """The local attention network: images (B, 3, S, S) -> :class:`Output`."""

    def __init__(self, backbone: ResNet18, classes: int, fusion: str = "add") -> None:
        super().__init__()
        self.backbone = backbone
        self.attention = LocalAttention(backbone.channels)
        self.fusion = fusion
        self.classifier = nn.Linear(backbone.channels * (2 if fusion == "concat" else 1), classes)

    def forward(self, images: Tensor) -> Output:
        feature_map = self.backbone(images)  # F_o (B, C, H, W)
        attention_logits = self.attention(feature_map)  # (B, H, W)
        attention = attention_logits.sigmoid()  # F_m
        attentive_map = attend(feature_map, attention)  # F_a
        features = fuse(feature_map, attentive_map, self.fusion)  # f
        logits = self.classifier(features)
        return Output(logits, features, feature_map, attentive_map, attention, attention_logits)


# --- Section III-C: guidance map annotation ------------------------------------------------------------


class GuidanceMap(nn.Module):
    """Per-position clusters of the training set, and the labels that they give to new features.

    ``centres`` (P, K, C) and ``counts`` (P, K) are buffers, so that they travel
    in the checkpoint.
    """

    def __init__(self, positions: int, channels: int, clusters: int = 2) -> None:
        super().__init__()
        self.register_buffer("centres", torch.zeros(positions, clusters, channels))
        self.register_buffer("counts", torch.zeros(positions, clusters))

    def attentive(self) -> Tensor:
        """LAN Eq. (4): the cluster with fewer samples is the attentive one; (P,) indices.

        ``pi_p^a = pi_p^1 if |pi_p^1| < |pi_p^2| else pi_p^2``. With more than
        two clusters, the smallest.
        """
        # Equal counts go to the last cluster, as the equation's "otherwise" does.
        return self.counts.shape[1] - 1 - self.counts.flip(1).argmin(1)

    @torch.no_grad()
    def forward(self, feature_map: Tensor) -> Tensor:
        """1 where the nearest centre is the attentive one: (B, C, H, W) -> (B, H, W) float."""
        points = feature_map.flatten(2).permute(2, 0, 1).float()  # (P, B, C)
        nearest = squared_distances(points, self.centres).argmin(2)  # (P, B)
        labels = (nearest == self.attentive()[:, None]).float()
        return labels.T.unflatten(1, feature_map.shape[2:])

    @torch.no_grad()
    def fit(
        self,
        stream: Callable[[], Iterable[Tensor]],
        *,
        sample: int = 1024,
        passes: int = 2,
        generator: torch.Generator | None = None,
    ) -> None:
        """LAN Eq. (3): k-means at every position over the training set, in bounded memory.

        ``mu_p^k = 1 / |pi_p^k| * sum of f_p in pi_p^k``. ``stream()`` starts a
        pass over the feature maps of the training set, (B, C, H, W) at a time,
        in an order that is not sorted by class or person.

        The first ``sample`` maps are clustered in memory (k-means++, eight
        starts a position, Lloyd to convergence); then ``passes`` exact Lloyd
        steps run over the whole stream, of which only sums and counts are kept.
        Peak memory is that of the sample, whatever the number of images. A
        stream that fits in the sample is clustered exactly and needs no pass.

        # Paper unclear: when features are clustered, and how often again. Here
        # it is after the backbone's own fine-tuning, then as the recipe says.
        """
        first, whole = _head(stream(), sample)
        points = first.flatten(2).permute(2, 0, 1).float().contiguous()  # (P, n, C)
        del first
        centres, counts = kmeans(points, self.centres.shape[1], generator=generator)
        del points
        if not whole:
            for _ in range(passes):
                centres, counts = lloyd_step(stream(), centres)
        self.centres.copy_(centres)
        self.counts.copy_(counts)


def _head(batches: Iterable[Tensor], limit: int) -> tuple[Tensor, bool]:
    """The first ``limit`` maps of a stream, and whether that was all of it."""
    kept: list[Tensor] = []
    count = 0
    for batch in batches:
        if count >= limit:
            return torch.cat(kept), False
        kept.append(batch[: limit - count].clone())
        count += len(kept[-1])
        if len(kept[-1]) < len(batch):
            return torch.cat(kept), False
    if not kept:
        raise ParameterError("k-means of the guidance map: the stream of features is empty.")
    return torch.cat(kept), True


def squared_distances(points: Tensor, centres: Tensor) -> Tensor:
    """Squared Euclidean distances at every position: (P, n, C), (P, K, C) -> (P, n, K), without |point|^2.

    What is left out is the same for all clusters, so the nearest stays the nearest.
    """
    return centres.square().sum(2)[:, None, :] - 2 * points @ centres.transpose(1, 2)


def lloyd_step(batches: Iterable[Tensor], centres: Tensor) -> tuple[Tensor, Tensor]:
    """One step of k-means over a stream: assign to the nearest centre, then Eq. (3). Returns centres, counts.

    A cluster that got nothing keeps its centre.
    """
    sums, counts = torch.zeros_like(centres), torch.zeros(centres.shape[:2], device=centres.device)
    for batch in batches:
        points = batch.flatten(2).permute(2, 0, 1).float()  # (P, B, C)
        chosen = F.one_hot(squared_distances(points, centres).argmin(2), centres.shape[1]).float()  # (P, B, K)
        sums += chosen.transpose(1, 2) @ points
        counts += chosen.sum(1)
    return torch.where(counts[..., None] > 0, sums / counts.clamp(min=1)[..., None], centres), counts


def kmeans(
    points: Tensor, clusters: int, *, starts: int = 8, steps: int = 100, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """k-means at all positions at once: points (P, n, C) -> centres (P, K, C), counts (P, K).

    k-means++ seeding (Arthur and Vassilvitskii, 2007), Lloyd's algorithm until
    no point moves; of ``starts`` runs each position keeps its best.
    """
    norms = points.square().sum(2)  # (P, n)
    best: tuple[Tensor, Tensor, Tensor] | None = None
    for _ in range(starts):
        centres = _seed(points, norms, clusters, generator)
        before = None
        for _ in range(steps):
            distances = squared_distances(points, centres)
            nearest = distances.argmin(2)  # (P, n)
            if before is not None and torch.equal(nearest, before):
                break
            before = nearest
            chosen = F.one_hot(nearest, clusters).to(points.dtype).transpose(1, 2)  # (P, K, n)
            counts = chosen.sum(2)
            centres = torch.where(counts[..., None] > 0, chosen @ points / counts.clamp(min=1)[..., None], centres)
        inertia = (distances.gather(2, nearest[..., None]).squeeze(2) + norms).sum(1)  # (P,)
        if best is None:
            best = inertia, centres, counts
        else:
            better = inertia < best[0]
            best = (
                torch.where(better, inertia, best[0]),
                torch.where(better[:, None, None], centres, best[1]),
                torch.where(better[:, None], counts, best[2]),
            )
    assert best is not None
    return best[1], best[2]


def _seed(points: Tensor, norms: Tensor, clusters: int, generator: torch.Generator | None) -> Tensor:
    """k-means++: each further centre is drawn with probability proportional to its squared distance."""
    positions, count, _ = points.shape
    rows = torch.arange(positions, device=points.device)
    first = torch.randint(count, (positions,), generator=generator).to(points.device)
    centres = [points[rows, first]]
    for _ in range(clusters - 1):
        near = squared_distances(points, torch.stack(centres, 1)).amin(2) + norms
        weight = near.clamp(min=0) + 1e-12  # all points equal: draw any
        drawn = torch.multinomial(weight.cpu(), 1, generator=generator).squeeze(1).to(points.device)
        centres.append(points[rows, drawn])
    return torch.stack(centres, 1)


# --- Section III-D: loss -------------------------------------------------------------------------------


def map_loss(attention_logits: Tensor, guidance: Tensor) -> Tensor:
    """LAN Eq. (6): ``L_map = BCE(F_m, guidance)``, the mean over images and positions.

    attention_logits, guidance (B, H, W); the sigmoid is inside, for numerical
    stability.
    """
    return F.binary_cross_entropy_with_logits(attention_logits, guidance)


class LANLoss(nn.Module):
    """LAN Eq. (5): ``L = L_CE + alpha * L_map``; alpha = 0.5 in the paper.

    output, batch -> ``{"cross_entropy": (), "map": ()}``, the latter already
    weighted. The guidance labels are those of the current features under the
    stored centres, as the paper's Section III-C describes; no gradient flows
    through them.
    """

    def __init__(self, guidance: GuidanceMap, alpha: float = 0.5, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.guidance = guidance
        self.alpha = alpha
        self.cross_entropy = CrossEntropy(label_smoothing)

    def forward(self, output: Output, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        terms = self.cross_entropy(output, batch)
        labels = self.guidance(output.feature_map.detach())
        return terms | {"map": self.alpha * map_loss(output.attention_logits, labels)}


# --- Section IV: recipes -------------------------------------------------------------------------------


class LANRecipe(Recipe):
    """A LAN run, or its baseline: the same two stages, the second without attention.

    Stage one trains the plain ResNet-18 for ``backbone_epochs``. From its
    weights, and for the same ``epochs``, the baseline goes on as it is and LAN
    goes on with attention, so that the two differ in nothing else.
    """

    method: Literal["resnet18", "lan"] = "lan"
    backbone_epochs: Count = 1
    backbone_learning_rate: Annotated[float, Field(gt=0)] = 0.1
    backbone_small_epochs: Count = 0
    backbone_final_rate: Fraction = 0.0
    alpha: Annotated[float, Field(ge=0)] = Field(default=0.5, description="weight of the map loss, Eq. (5)")
    fusion: Literal["add", "concat", "mean"] = "add"
    clusters: Annotated[int, Field(ge=2)] = Field(default=2, description="K of Eq. (3)")
    cluster_sample: Positive = Field(default=1024, description="feature maps clustered in memory")
    cluster_passes: Count = Field(default=2, description="exact k-means steps over the whole training set")
    refresh: Count = Field(default=0, description="cluster again every so many epochs; 0 for never")


PROTOCOLS = {
    "kdef-twin": "lan-kdef-10fold",
    "ferplus": "ferplus-official",
    **dict.fromkeys(("rafdb-twin", "ferplus-twin", "affectnet-twin", "sfew-twin"), "official"),
    "bu3dfe-twin": "phanet-bu3dfe-9pan",  # not LAN's data; its baseline says how hard these twins are
    "multipie-twin": "pata-multipie-s1",
}
_SIZES = {
    "smoke": {
        "images": 512, "image_size": 32, "width": 8, "stem": "small", "last_stride": 1, "cluster_sample": 256,
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
    "batch_size": 32, "average": 0.99, "backbone_epochs": 14, "epochs": 6, "backbone_small_epochs": 0,
    "standardise": True, "backbone_final_rate": 0.2,
    "rotation": 5.0, "zoom": 0.08, "shift": 0.04, "contrast": 0.15, "erase": 0.0,
}  # fmt: skip
_CHANGES = {
    ("quick", "ferplus"): {
        "targets": "votes", "label_smoothing": 0.0, "mirror": True, "backbone_epochs": 13,
        "backbone_small_epochs": 10, "backbone_final_rate": 0.4, "learning_rate": 0.04, "epochs": 4,
        "rotation": 6.0, "zoom": 0.1, "shift": 0.05, "contrast": 0.2, "erase": 0.0,
    },
    **{("quick", name): _TWIN for name in PROTOCOLS if name.endswith("-twin")},
}  # fmt: skip


def recipe(preset: str = "smoke", dataset: str = "kdef-twin", **changes: object) -> LANRecipe:
    """The parameters of one LAN run. Any field can be changed by name.

    ``paper`` is the published setting: ResNet-18 at 224 x 224, SGD, rate 0.1,
    batches of 64, alpha 0.5. ``quick`` reduces width and image size for two
    cores; its rates and averaging are ours.
    """
    check_preset(preset)
    for name in filter(None, (dataset, changes.get("pretraining"), changes.get("also_on"))):
        if name not in PROTOCOLS:
            raise ParameterError(unknown("data set for LAN", str(name), PROTOCOLS))
    values = {"paper": "lan", "preset": preset, "dataset": dataset, "protocol": PROTOCOLS[dataset]}
    values |= _SIZES[preset] | _CHANGES.get((preset, dataset), {})
    return build(LANRecipe, values | changes)


def backbone_stage(recipe: LANRecipe) -> LANRecipe:
    """The run whose weights both methods start from: plain ResNet-18, ``backbone_epochs`` long.

    Fields that it does not depend on are set to their defaults, so that all
    runs which share it find the same one. With ``pretraining`` it sees that data
    set, all of it.
    """
    fields = LANRecipe.model_fields
    elsewhere: dict[str, object] = {}
    if recipe.pretraining:
        protocol = PROTOCOLS[recipe.pretraining]
        elsewhere = {"dataset": recipe.pretraining, "protocol": protocol, "fold": 0, "share": 1.0, "data": {}}
    same = (
        "pretraining", "also_on", "alpha", "fusion", "clusters", "cluster_sample", "cluster_passes", "refresh",
        "backbone_learning_rate", "backbone_small_epochs", "backbone_final_rate",
    )  # fmt: skip
    return recipe.but(
        method="resnet18",
        epochs=recipe.backbone_epochs,
        learning_rate=recipe.backbone_learning_rate,
        small_epochs=recipe.backbone_small_epochs,
        final_rate=recipe.backbone_final_rate,
        backbone_epochs=0,
        **{name: fields[name].default for name in same},
        **elsewhere,
    )


def model(recipe: LANRecipe, classes: int) -> ResNet18Classifier | LAN:
    """The network that a recipe describes, freshly initialised."""
    if recipe.method == "resnet18":
        return ResNet18Classifier(trunk(recipe), classes)
    return LAN(trunk(recipe), classes, recipe.fusion)


def criterion(recipe: LANRecipe, network: nn.Module) -> CrossEntropy | LANLoss:
    """The loss that a recipe describes; LAN's holds the guidance map, still to be fitted."""
    if recipe.method == "resnet18":
        return CrossEntropy(recipe.label_smoothing)
    with torch.no_grad():
        size = recipe.image_size
        grid = network.backbone.eval()(torch.zeros(1, 3, size, size)).shape
        network.backbone.train()
    guidance = GuidanceMap(grid[2] * grid[3], grid[1], recipe.clusters)
    return LANLoss(guidance, recipe.alpha, recipe.label_smoothing)


def refresh(
    recipe: LANRecipe, epoch: int, network: nn.Module, loss: nn.Module, images: Callable[[], Iterable[Tensor]]
) -> bool:
    """Fit the guidance map before the first epoch, and again every ``refresh`` epochs; True when it was fitted.

    ``images()`` starts a pass over the training images, normalised, without
    augmentation, (B, 3, S, S) at a time.
    """
    if recipe.method != "lan" or not (epoch == 0 or (recipe.refresh and epoch % recipe.refresh == 0)):
        return False
    was_training = network.training
    network.eval()

    def stream() -> Iterable[Tensor]:
        for batch in images():
            with torch.no_grad():
                yield network.backbone(batch)

    generator = torch.Generator().manual_seed(recipe.seed)
    loss.guidance.fit(stream, sample=recipe.cluster_sample, passes=recipe.cluster_passes, generator=generator)
    network.train(was_training)
    return True
