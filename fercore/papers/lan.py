"""LAN: local attention with a guidance map.

Source: Cho and Lee, "Learning Local Attention With Guidance Map for Pose Robust Facial Expression Recognition", IEEE
Access 10 (2022). No code was published; everything here is written from the text, in its order.

Shapes: B images, C channels, H x W grid positions (7 x 7 x 512 in the paper), P = H * W positions, K clusters.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from sklearn.metrics import cohen_kappa_score
from torch import Tensor, nn
from torch.nn import functional as F

from fercore.backbones.resnet import ResNet18
from fercore.errors import ParameterError
from fercore.papers import baselines
from fercore.papers.baselines import (
    CrossEntropy,
    ResNet18Classifier,
    StagedRecipe,
    class_activation,
    first_stage,
    settings,
    trunk,
    with_start,
)
from fercore.papers.clustering import head, kmeans, lloyd_step, squared_distances
from fercore.recipe import Count, Positive, build, unknown

# --- Section III-B: local attention module -------------------------------------------------------------


class Output(NamedTuple):
    """What :class:`LAN` returns."""

    logits: Tensor  # (B, classes)
    features: Tensor  # (B, C), or (B, 2 C) when concatenated: f, what the classifier sees
    feature_map: Tensor  # (B, C, H, W): F_o
    attentive_map: Tensor  # (B, C, H, W): F_a
    attention: Tensor  # (B, H, W) in (0, 1): F_m
    raw_attention: Tensor  # (B, H, W): F_m before the sigmoid


class LocalAttention(nn.Module):
    """Four 3x3 convolutions: F_o (B, C, H, W) -> F_m before its sigmoid (B, H, W).

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
        raw_attention = self.attention(feature_map)  # (B, H, W)
        attention = raw_attention.sigmoid()  # F_m
        attentive_map = attend(feature_map, attention)  # F_a
        features = fuse(feature_map, attentive_map, self.fusion)  # f
        logits = self.classifier(features)
        return Output(logits, features, feature_map, attentive_map, attention, raw_attention)


# --- Section III-C: guidance map annotation ------------------------------------------------------------


Guidance = Literal["clusters", "weighted", "random", "yaw"]
TURNED = 30.0
"""Degrees of yaw beyond which a face counts as turned, for the control that knows the true yaw."""
SAMPLE = 256
"""Training images on which the agreement of guidance labels is measured."""


class GuidanceMap(nn.Module):
    """Per-position clusters of the training set, and the labels that they give to new features.

    ``centres`` (P, K, C), ``counts`` (P, K) and ``fitted``, the labels of some images when they were clustered, are
    buffers, so that they travel in the checkpoint. ``source`` says where labels come from: the nearest centre
    (``clusters``, the paper's), the share of the attentive centre in the inverse squared distances (``weighted``), or
    one of two controls: labels by chance, fixed for each image and as frequent as the clusters' (``random``), or
    whether the face is turned by more than 30 degrees (``yaw``).

    # Paper unclear: labels are called 1 where the nearest centre is the
    # attentive one, which we follow; ``weighted`` is the softer reading.
    """

    def __init__(
        self,
        positions: int,
        channels: int,
        clusters: int = 2,
        source: Guidance = "clusters",
        attended: Literal["smaller", "larger"] = "smaller",
    ) -> None:
        super().__init__()
        self.source, self.attended = source, attended
        self.register_buffer("centres", torch.zeros(positions, clusters, channels))
        self.register_buffer("counts", torch.zeros(positions, clusters))
        self.register_buffer("fitted", torch.zeros(SAMPLE * positions, dtype=torch.bool))

    def attentive(self) -> Tensor:
        """LAN Eq. (4): the cluster with fewer samples is the attentive one; (P,) indices.

        ``pi_p^a = pi_p^1 if |pi_p^1| < |pi_p^2| else pi_p^2``. With more than
        two clusters, the smallest. ``attended="larger"`` turns it round.
        """
        counts = self.counts if self.attended == "smaller" else -self.counts
        # Equal counts go to the last cluster, as the equation's "otherwise" does.
        return self.counts.shape[1] - 1 - counts.flip(1).argmin(1)

    @torch.no_grad()
    def forward(self, feature_map: Tensor, batch: Mapping[str, Tensor] | None = None) -> Tensor:
        """The labels, 1 where to attend: (B, C, H, W) -> (B, H, W) float.

        ``batch`` holds ``rows`` (B,) for ``random`` and ``yaw`` (B,) degrees for ``yaw``.
        """
        grid = feature_map.shape[2:]
        if self.source == "random":
            return self._by_chance(_of(batch, "rows"), feature_map.device).unflatten(1, grid)
        if self.source == "yaw":
            turned = (_of(batch, "yaw").abs() > TURNED).to(feature_map)
            return turned[:, None, None].expand(-1, *grid)
        points = feature_map.flatten(2).permute(2, 0, 1).float()  # (P, B, C)
        distances = squared_distances(points, self.centres)  # (P, B, K)
        attentive = self.attentive()[:, None]  # (P, 1)
        if self.source == "weighted":
            near = 1 / (distances + points.square().sum(2, keepdim=True)).clamp(min=1e-6)
            labels = near.gather(2, attentive[..., None].expand(-1, near.shape[1], 1)).squeeze(2) / near.sum(2)
        else:
            labels = (distances.argmin(2) == attentive).float()
        return labels.T.unflatten(1, grid)

    def _by_chance(self, rows: Tensor, device: torch.device) -> Tensor:
        """(B, P) labels that depend on image and position alone, 1 as often as the attentive cluster is met."""
        positions = len(self.counts)
        share = self.counts.gather(1, self.attentive()[:, None]).squeeze(1) / self.counts.sum(1).clamp(min=1)
        drawn = [torch.rand(positions, generator=torch.Generator().manual_seed(int(row))) for row in rows]
        return (torch.stack(drawn).to(device) < share).float()

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

        ``mu_p^k = 1 / |pi_p^k| * sum of f_p in pi_p^k``. ``stream()`` starts a pass over the feature maps of the
        training set, (B, C, H, W) at a time, in an order that is not sorted by class or person.

        The first ``sample`` maps are clustered in memory (k-means++, eight starts a position, Lloyd to convergence);
        then ``passes`` exact Lloyd steps run over the whole stream, of which only sums and counts are kept. Peak memory
        is that of the sample, whatever the number of images. A stream that fits in the sample is clustered exactly and
        needs no pass.

        # Paper unclear: when features are clustered, and how often again. Here
        # it is after the backbone's own fine-tuning, then as the recipe says.
        """
        first, whole = head(stream(), sample)
        points = first.flatten(2).permute(2, 0, 1).float().contiguous()  # (P, n, C)
        del first
        centres, counts = kmeans(points, self.centres.shape[1], generator=generator)
        del points
        if not whole:
            for _ in range(passes):
                centres, counts = lloyd_step(stream(), centres)
        self.centres.copy_(centres)
        self.counts.copy_(counts)


def _of(batch: Mapping[str, Tensor] | None, name: str) -> Tensor:
    """An entry of the batch that a guidance needs."""
    if batch is None or name not in batch:
        what = f"This guidance needs the batch's '{name}', which the data set does not know."
        raise ParameterError(what, do="train on a twin, or take guidance clusters")
    return batch[name]


# --- Section III-D: loss -------------------------------------------------------------------------------


def map_loss(raw_attention: Tensor, guidance: Tensor) -> Tensor:
    """LAN Eq. (6): ``L_map = BCE(F_m, guidance)``, the mean over images and positions.

    raw_attention, guidance (B, H, W); the sigmoid is inside, for numerical stability.
    """
    return F.binary_cross_entropy_with_logits(raw_attention, guidance)


class LANLoss(nn.Module):
    """LAN Eq. (5): ``L = L_CE + alpha * L_map``; alpha = 0.5 in the paper.

    output, batch -> ``{"cross_entropy": (), "map": ()}``, the latter already weighted. The guidance labels are those of
    the current features under the stored centres, as the paper's Section III-C describes; no gradient flows through
    them.
    """

    def __init__(self, guidance: GuidanceMap, alpha: float = 0.5, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.guidance = guidance
        self.alpha = alpha
        self.cross_entropy = CrossEntropy(label_smoothing)

    def forward(self, output: Output, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        terms = self.cross_entropy(output, batch)
        labels = self.guidance(output.feature_map.detach(), batch)
        return terms | {"map": self.alpha * map_loss(output.raw_attention, labels)}


# --- Section IV: recipes -------------------------------------------------------------------------------


class LANRecipe(StagedRecipe):
    """A LAN run, or its baseline: the same two stages, the second without attention.

    Stage one trains the plain ResNet-18 for ``backbone_epochs``. From its weights, and for the same ``epochs``, the
    baseline goes on as it is and LAN goes on with attention, so that the two differ in nothing else.
    """

    method: Literal["resnet18", "lan"] = "lan"
    alpha: Annotated[float, Field(ge=0)] = Field(default=0.5, description="weight of the map loss, Eq. (5)")
    fusion: Literal["add", "concat", "mean"] = "add"
    guidance: Guidance = Field(default="clusters", description="where the labels of the map loss come from")
    attentive: Literal["smaller", "larger"] = Field(default="smaller", description="cluster that is attended, Eq. (4)")
    clusters: Annotated[int, Field(ge=2)] = Field(default=2, description="K of Eq. (3)")
    cluster_sample: Positive = Field(default=1024, description="feature maps clustered in memory")
    cluster_passes: Count = Field(default=2, description="exact k-means steps over the whole training set")
    refresh: Count = Field(default=0, description="cluster again every so many epochs; 0 for never")

    def check(self) -> None:
        super().check()
        if self.method == "lan" and self.small_epochs:
            what = f"small_epochs = {self.small_epochs}: the guidance map has the grid of whole images."
            raise ParameterError(what, do="set backbone_small_epochs, or none")


def recipe(preset: str = "smoke", dataset: str = "kdef-twin", **changes: object) -> LANRecipe:
    """The parameters of one LAN run. Any field can be changed by name.

    ``paper`` is the published setting: ResNet-18 at 224 x 224, SGD, rate 0.1, batches of 64, alpha 0.5. ``quick``
    reduces width and image size for two cores; its rates and averaging are ours.
    """
    values = {"paper": "lan", **settings(preset, dataset, changes)}
    values |= {"cluster_sample": 256} if preset == "smoke" else {}
    return build(LANRecipe, with_start(values, changes))


def stages(recipe: LANRecipe) -> dict[str, LANRecipe]:
    """The run whose weights both methods start from; see :func:`fercore.papers.baselines.first_stage`."""
    return first_stage(recipe)


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
    guidance = GuidanceMap(grid[2] * grid[3], grid[1], recipe.clusters, recipe.guidance, recipe.attentive)
    return LANLoss(guidance, recipe.alpha, recipe.label_smoothing)


def refresh(recipe: LANRecipe, epoch: int, network: nn.Module, loss: nn.Module, training: Any) -> dict[str, float]:
    """Fit the guidance map before the first epoch, and again every ``refresh`` epochs; how far labels agree.

    Clustered is what training sees: augmented images, and batch norm by the statistics of a batch. Centres of clean
    images would be those of other features than the labels are taken from. ``training``: the whole training set, a
    :class:`fercore.training.batches.TrainingSet`.
    """
    if recipe.method != "lan" or recipe.guidance == "yaw":
        return {}
    guidance: GuidanceMap = loss.guidance
    again = epoch == 0 or (recipe.refresh > 0 and epoch % recipe.refresh == 0)
    if again:
        seen = copy.deepcopy(network.backbone).train()  # its running statistics are its own

        def stream() -> Iterable[Tensor]:
            for batch in training.augmented():
                with torch.no_grad():
                    yield seen(batch["images"])

        generator = torch.Generator().manual_seed(recipe.seed)
        guidance.fit(stream, sample=recipe.cluster_sample, passes=recipe.cluster_passes, generator=generator)
    return {} if recipe.guidance == "random" else agreement(guidance, network.backbone, training, again)


@torch.no_grad()
def agreement(guidance: GuidanceMap, backbone: nn.Module, training: Any, fitted: bool) -> dict[str, float]:
    """Cohen's kappa of guidance labels on the same training images, over all positions.

    ``guidance_modes``: batch norm by the batch, as in training, against running statistics; ``guidance_augmented``: as
    training sees the image against the image as it is, by running statistics both; ``guidance_kept``: now against when
    the features were clustered; ``guidance_turned``: against whether the face is turned, where the data know it, which
    is what the clusters are hoped to find.
    """
    rows, backbone = training.sample(SAMPLE), copy.deepcopy(backbone)

    def labels(batches: Iterable[Mapping[str, Tensor]], train: bool = False) -> np.ndarray:
        backbone.train(train)
        return torch.cat([guidance(backbone(batch["images"])) > 0.5 for batch in batches]).flatten().cpu().numpy()

    clean, altered = labels(training.clean(rows)), labels(training.augmented(rows))
    if fitted:
        guidance.fitted[: len(clean)] = torch.from_numpy(clean).to(guidance.fitted)
    before = guidance.fitted[: len(clean)].cpu().numpy()
    pairs = {"modes": (labels(training.augmented(rows), train=True), altered), "augmented": (altered, clean)}
    yaw = [batch["yaw"] for batch in training.clean(rows) if "yaw" in batch]
    if yaw:
        turned = torch.cat(yaw).abs().cpu().numpy() > TURNED
        pairs["turned"] = (clean, turned.repeat(len(guidance.counts)))
    return {f"guidance_{name}": kappa(*pair) for name, pair in (pairs | {"kept": (clean, before)}).items()}


def kappa(one: np.ndarray, two: np.ndarray) -> float:
    """Cohen's kappa of two sets of labels; 1 where all are one and the same label, which has no chance to differ."""
    return 1.0 if np.array_equal(one, two) else float(cohen_kappa_score(one, two))


@torch.no_grad()
def maps(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Maps that figures show, each (B, H, W): ``attention`` F_m, and class activation maps of the class answered.

    ``cam_o`` from F_o, ``cam_a`` from F_a, ``cam`` from what the classifier sees, f (LAN Figs. 3 and 4); a baseline has
    ``cam`` alone.
    """
    if not isinstance(network, LAN):
        return baselines.maps(network, images)
    output = network(images)
    weights = network.classifier.weight[output.logits.argmax(1)]  # (B, C), or (B, 2 C)
    channels = output.feature_map.shape[1]
    plain, attended = weights[:, :channels], weights[:, -channels:]
    share = 0.5 if network.fusion == "mean" else 1.0
    cam_o = share * class_activation(output.feature_map, plain)
    cam_a = share * class_activation(output.attentive_map, attended)
    return {"attention": output.attention, "cam_o": cam_o, "cam_a": cam_a, "cam": cam_o + cam_a}
