"""Classical baselines that papers print: descriptors designed by hand, and classifiers that are fitted at once.

Sources: Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005; Ojala, Pietikäinen and
Mäenpää, "Multiresolution Gray-Scale and Rotation Invariant Texture Classification with Local Binary Patterns", TPAMI
2002; Moore and Bowden, "Local binary patterns for multi-view facial expression recognition", CVIU 2011. The descriptors
are scikit-image's, the classifiers scikit-learn's.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from skimage.feature import hog, local_binary_pattern
from sklearn.base import ClassifierMixin
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.svm import LinearSVC
from torch import Tensor, nn
from torch.nn import functional as F

from fercore.backbones.weights import OURS, Convention, convert
from fercore.data.augment import normalise
from fercore.data.labels import Truth
from fercore.data.prepared import Prepared
from fercore.errors import DataError, ParameterError
from fercore.papers import poses
from fercore.papers.baselines import SIZES, CrossEntropy, named
from fercore.recipe import Positive, Recipe, build

NEVER = -1e3
"""The logit of a class without a training image."""
CELLS = 6
"""Descriptors are histograms of so many cells across and down."""
PATTERNS = 59
"""Uniform patterns of eight neighbours, and one more for all others."""
Kind = Literal["hog", "lbp"]

# --- descriptors -----------------------------------------------------------------------------------------


def descriptors(images: np.ndarray, kind: Kind) -> np.ndarray:
    """Grey images (B, S, S) in 0..1 -> (B, F) float32.

    ``hog``: shares of eight directions of the gradient in each cell, normalised over blocks of 2 x 2 cells. ``lbp``: in
    each cell the square roots of the shares of :data:`PATTERNS`, which say what of a pixel's neighbours is brighter.
    """
    side = images.shape[-1] // CELLS
    if not side:
        raise ParameterError(f"images of {images.shape[-1]} pixels", do=f"give {CELLS} or more")
    if kind == "hog":
        told = {"orientations": 8, "pixels_per_cell": (side, side), "cells_per_block": (2, 2)}
        return np.stack([hog(image, **told) for image in images]).astype(np.float32)
    codes = np.stack([pattern_codes(image)[: side * CELLS, : side * CELLS] for image in images])
    cells = codes.reshape(-1, CELLS, side, CELLS, side).swapaxes(2, 3).reshape(-1, side**2)
    counts = np.apply_along_axis(np.bincount, 1, cells, minlength=PATTERNS)
    return np.sqrt(counts / side**2).reshape(len(images), -1).astype(np.float32)


def pattern_codes(image: np.ndarray) -> np.ndarray:
    """The number of the binary pattern at each pixel of a grey image (S, S) in 0..1, below :data:`PATTERNS`."""
    bright = (255 * image).round().clip(0, 255).astype(np.uint8)
    return local_binary_pattern(bright, P=8, R=1, method="nri_uniform").astype(int)


class Output(NamedTuple):
    """What a classical baseline returns where it does not learn the pose."""

    logits: Tensor  # (B, classes)
    features: Tensor  # (B, F): the descriptor, less its mean, by one deviation for all numbers


class PosedOutput(NamedTuple):
    """The same with the pose, of a classifier of its own."""

    logits: Tensor
    features: Tensor
    pose_logits: Tensor  # (B, poses)


class Nearest(nn.Module):
    """The ``neighbours`` nearest training images vote: descriptors (B, F) -> the logarithms of shares (B, classes).

    Every class begins with a hundredth of a vote, so that none is impossible.
    """

    def __init__(self, inside: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.known = nn.Parameter(torch.zeros(1, inside), requires_grad=False)
        self.register_buffer("labels", torch.zeros(1, dtype=torch.long))
        self.register_buffer("neighbours", torch.ones((), dtype=torch.long))

    def forward(self, descriptor: Tensor) -> Tensor:
        count = min(int(self.neighbours), len(self.known))
        near = torch.cdist(descriptor, self.known).topk(count, largest=False).indices
        votes = F.one_hot(self.labels[near], self.classes).sum(1) + 0.01
        return (votes / votes.sum(1, keepdim=True)).log()

    def _load_from_state_dict(self, state: Mapping[str, Tensor], prefix: str, *rest: Any) -> None:
        if (known := state.get(f"{prefix}known")) is not None:  # as many as the run had training images
            self.known = nn.Parameter(torch.empty_like(known), requires_grad=False)
            self.labels = torch.empty_like(state[f"{prefix}labels"])
        super()._load_from_state_dict(state, prefix, *rest)


class Classical(nn.Module):
    """A descriptor and a classifier for each task: images (B, 3, S, S) -> :class:`Output` or :class:`PosedOutput`.

    Nothing of it is learned by gradients: :func:`fit` fills in what scikit-learn has found.
    """

    def __init__(self, kind: Kind, inside: int, classifier: nn.Module, pose_classifier: nn.Module | None) -> None:
        super().__init__()
        self.kind = kind
        self.register_buffer("mean", torch.zeros(inside))
        self.register_buffer("deviation", torch.ones(()))
        self.classifier, self.pose_classifier = classifier, pose_classifier

    def describe(self, images: Tensor) -> Tensor:
        """The descriptor of images, (B, 3, S, S) -> (B, F)."""
        grey = convert(images, OURS, Convention("RGB", (0.0,) * 3, (1.0,) * 3)).mean(1)
        return torch.from_numpy(descriptors(grey.cpu().numpy(), self.kind)).to(images.device)

    def forward(self, images: Tensor) -> Output | PosedOutput:
        features = (self.describe(images) - self.mean) / self.deviation
        if self.pose_classifier is None:
            return Output(self.classifier(features), features)
        return PosedOutput(self.classifier(features), features, self.pose_classifier(features))


# --- recipes -------------------------------------------------------------------------------------------

Method = Literal["svm", "hog-svm", "knn", "lda", "hog-fc"]
"""``svm``: local binary patterns and linear support vectors, as in Moore and Bowden; ``hog-svm``, the same on oriented
gradients; ``knn`` and ``lda``, nearest neighbours and a linear discriminant (of principal components) on binary
patterns; ``hog-fc``, two fully connected layers on gradients, as in PhaNet's Table VII."""
CHOICES: Mapping[str, tuple[float, ...]] = {
    "svm": (3e-5, 3e-4, 3e-3),
    "hog-svm": (3e-5, 3e-4, 3e-3),
    "knn": (1, 5, 15),
    "lda": (30, 100, 300),
    "hog-fc": (0.01, 1.0, 10.0),
}
"""What is tried on validation people: C of support vectors, neighbours, principal components before the discriminant,
the weight of squared weights."""


PROTOCOL = {
    **dict.fromkeys(("kdef", "kdef-twin"), "phanet-kdef"),
    **dict.fromkeys(("multipie", "multipie-twin"), "phanet-multipie"),
}
"""Splits of the papers that print such baselines, where they are not the usual ones."""
UNPOSED = ("ferplus", "rafdb", "sfew")
"""Sets that do not know how heads are turned."""
IN_THE_WILD = (-40, -15, 0, 15, 40)
"""Classes of pose where no cameras stand, as PhaNet has them."""


class ClassicalRecipe(Recipe):
    """A run of a classical baseline. It takes images as they are: no stage, no order, no augmentation."""

    method: Method = "svm"
    hidden: Positive = Field(default=128, description="numbers between the two layers of hog-fc")
    pose: bool = Field(default=True, description="whether pose is learned, too")


def recipe(preset: str = "smoke", dataset: str = "kdef-twin", **changes: object) -> ClassicalRecipe:
    """The parameters of one run. Any field can be changed by name; the papers say nothing of theirs."""
    values = named(preset, dataset, changes)
    same = {name: SIZES[preset][name] for name in ("images", "image_size") if name in SIZES[preset]}
    values |= {"paper": "classical", "pose": dataset not in UNPOSED} | same
    values["protocol"] = PROTOCOL.get(dataset, values["protocol"])
    return build(ClassicalRecipe, values | changes)


def truth(recipe: ClassicalRecipe, data: Prepared) -> dict[str, Truth]:
    """``pose``, the classes of a second classifier, where it is learned (-1: nobody knows)."""
    return {"pose": poses.poses(data, poses.angles(recipe, IN_THE_WILD))} if recipe.pose else {}


def model(recipe: ClassicalRecipe, classes: int) -> Classical:
    """The network that a recipe describes, empty."""
    kind: Kind = "hog" if recipe.method.startswith("hog") else "lbp"
    inside = descriptors(np.zeros((1, recipe.image_size, recipe.image_size)), kind).shape[1]

    def task(classes: int) -> nn.Module:
        if recipe.method == "knn":
            return Nearest(inside, classes)
        if recipe.method == "hog-fc":
            return nn.Sequential(nn.Linear(inside, recipe.hidden), nn.ReLU(), nn.Linear(recipe.hidden, classes))
        return nn.Linear(inside, classes)

    pose = task(len(poses.angles(recipe, IN_THE_WILD))) if recipe.pose else None
    return Classical(kind, inside, task(classes), pose)


def criterion(recipe: ClassicalRecipe, network: nn.Module) -> CrossEntropy:
    """What scikit-learn minimises is in its documentation; nothing is trained by this one."""
    return CrossEntropy(recipe.label_smoothing)


def fit(
    recipe: ClassicalRecipe,
    network: Classical,
    criterion: nn.Module,
    data: Prepared,
    rows: Mapping[str, np.ndarray],
    folder: Path,
    *,
    truth: Mapping[str, Truth],
    **_: Any,
) -> tuple[Classical, list[dict[str, float]]]:
    """Fit each task's classifier with every one of :data:`CHOICES` on training people, keep the best on validation
    people. The history has a row for each choice, as other runs have for each epoch."""
    device = network.mean.device
    seen = {name: _described(recipe, network, data, rows[name]) for name in ("train", "validation")}
    network.mean.copy_(seen["train"].mean(0))
    network.deviation.copy_((seen["train"] - network.mean).square().mean().sqrt().clamp(min=1e-6))
    seen = {name: (one - network.mean) / network.deviation for name, one in seen.items()}
    tasks = {"": (network.classifier, data.labels())}
    if network.pose_classifier is not None:
        tasks["pose_"] = network.pose_classifier, truth["pose"].values
    history = [{"epoch": float(k + 1), "choice": value} for k, value in enumerate(CHOICES[recipe.method])]
    for prefix, (task, labels) in tasks.items():
        known = {name: labels[rows[name]] >= 0 for name in seen}
        given = {name: torch.as_tensor(labels[rows[name]][known[name]], device=device) for name in seen}
        shown = {name: seen[name][torch.from_numpy(known[name]).to(device)] for name in seen}
        if len(given["train"].unique()) < 2:
            what = f"The training images of {data.name} show one {'pose' if prefix else 'class'} alone."
            raise DataError(what, do="take a split with more people, or pose=False")
        best: tuple[float, dict[str, Tensor]] | None = None
        for row in history:
            started = time.perf_counter()
            _fill(recipe, task, row["choice"], shown["train"], given["train"])
            right = task(shown["validation"]).argmax(1) == given["validation"]
            row[f"{prefix}validation_accuracy"] = right.float().mean().item()
            row["seconds"] = row.get("seconds", 0.0) + time.perf_counter() - started
            if best is None or row[f"{prefix}validation_accuracy"] > best[0]:
                best = row[f"{prefix}validation_accuracy"], {k: v.clone() for k, v in task.state_dict().items()}
        task.load_state_dict(best[1])
    return network, history


def _described(recipe: ClassicalRecipe, network: Classical, data: Prepared, rows: np.ndarray) -> Tensor:
    parts = [rows[start : start + 256] for start in range(0, len(rows), 256)]
    images = (torch.from_numpy(data.images[part]).to(network.mean.device) for part in parts)
    return torch.cat([network.describe(normalise(one, recipe.image_size, recipe.standardise)) for one in images])


@torch.no_grad()
def _fill(recipe: ClassicalRecipe, task: nn.Module, choice: float, seen: Tensor, labels: Tensor) -> None:
    """Fit a task's classifier, and write down what it found; a class without a training image is never answered."""
    if isinstance(task, Nearest):
        task.known = nn.Parameter(seen.clone(), requires_grad=False)
        task.labels, task.neighbours = labels.clone(), torch.tensor(int(choice), device=seen.device)
        return
    axes = np.eye(seen.shape[1])
    if recipe.method == "lda":  # in as many dimensions as images can fill
        axes = PCA(min(int(choice), *seen.shape), random_state=recipe.seed).fit(seen.cpu().double().numpy()).components_
    fitted = _classifier(recipe, choice)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted.fit(seen.cpu().double().numpy() @ axes.T, labels.cpu().numpy())
    if isinstance(task, nn.Linear):
        last, weights, bias = task, fitted.coef_ @ axes, fitted.intercept_
    else:
        first, _, last = task
        first.weight.copy_(torch.from_numpy(fitted.coefs_[0].T))
        first.bias.copy_(torch.from_numpy(fitted.intercepts_[0]))
        weights, bias = fitted.coefs_[1].T, fitted.intercepts_[1]
    if len(weights) == 1:  # of two classes scikit-learn gives the second one's
        weights, bias = np.concatenate([-weights, weights]), np.concatenate([-bias, bias])
    last.weight.zero_()
    last.bias.fill_(NEVER)
    last.weight[torch.from_numpy(fitted.classes_)] = torch.from_numpy(weights).to(last.weight)
    last.bias[torch.from_numpy(fitted.classes_)] = torch.from_numpy(bias).to(last.bias)


def _classifier(recipe: ClassicalRecipe, choice: float) -> ClassifierMixin:
    if recipe.method == "lda":
        return LinearDiscriminantAnalysis()
    if recipe.method == "hog-fc":
        return MLPClassifier((recipe.hidden,), alpha=choice, max_iter=60, random_state=recipe.seed)
    return LinearSVC(C=choice, random_state=recipe.seed)


def features(network: nn.Module, images: Tensor) -> Tensor:
    """The descriptor, (B, 3, S, S) -> (B, F)."""
    return network(images).features
