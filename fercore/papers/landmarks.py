"""Pre-training on landmarks: a MobileFaceNet that finds 68 points, in place of PCDA's published detector.

It is trained like a paper (``fercore train landmarks``) on rendered faces, whose points are known exactly; PCDA starts
from it with ``landmark_weights="landmarks"``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fercore.backbones.mobilefacenet import LANDMARKS, MobileFaceNet
from fercore.backbones.weights import OURS, Convention, convert
from fercore.data.labels import Truth
from fercore.data.prepared import Prepared
from fercore.recipe import Recipe, build, check_preset

# --- model and loss ------------------------------------------------------------------------------------


class Output(NamedTuple):
    """What the network returns."""

    points: Tensor  # (B, 68, 2): x and y as shares of the side, from the upper left corner


class LandmarkNetwork(nn.Module):
    """MobileFaceNet that sees this package's images: (B, 3, S, S), normalised -> :class:`Output`.

    Its last batch norm begins at the middle of the image, spread as landmarks are, so that no step is spent on getting
    there.
    """

    def __init__(self, side: int = 112) -> None:
        super().__init__()
        self.detector = MobileFaceNet(side)
        nn.init.constant_(self.detector.output_layer.bn.bias, 0.5)
        nn.init.constant_(self.detector.output_layer.bn.weight, 0.2)

    def forward(self, images: Tensor) -> Output:
        return Output(self.detector.landmarks(as_detected(images)).unflatten(1, (LANDMARKS, 2)))


def as_detected(images: Tensor) -> Tensor:
    """Normalised images as the landmark detector wants them: blue, green, red, 0 to 1; (B, 3, S, S) -> the same."""
    return convert(images, OURS, Convention(*MobileFaceNet.convention))


class LandmarkLoss(nn.Module):
    """Mean absolute error of the coordinates, in shares of the side: output, batch -> ``{"points": ()}``.

    ``batch["points"]`` (B, 68, 2). Points that the head itself hides count, too: where they are follows from the
    others.
    """

    def forward(self, output: Output, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"points": (output.points.float() - batch["points"]).abs().mean()}


# --- recipes -------------------------------------------------------------------------------------------


class LandmarkRecipe(Recipe):
    """One pre-training run; a single stage."""

    method: Literal["mobilefacenet"] = "mobilefacenet"


START = "landmarks"
"""The name by which other runs start from these weights."""
_PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"images": 128, "image_size": 32, "epochs": 1, "batch_size": 32},
    "quick": {"image_size": 48, "epochs": 20, "batch_size": 64, "average": 0.998},
    "paper": {"image_size": 112, "epochs": 10, "batch_size": 128, "average": 0.998},
}


def recipe(preset: str = "smoke", dataset: str = "landmark-twin", **changes: object) -> LandmarkRecipe:
    """The parameters of one run. Any field can be changed by name."""
    check_preset(preset)
    values = {"paper": "landmarks", "preset": preset, "dataset": dataset, "protocol": "official"}
    values |= {"optimiser": "adamw", "learning_rate": 2e-3, "weight_decay": 0.01, "final_rate": 0.01, "erase": 0.1}
    values |= {"rotation": 15.0, "shift": 0.08, "zoom": 0.15, "contrast": 0.2}
    return build(LandmarkRecipe, values | _PRESETS[preset] | changes)


def pretraining_of(run: Recipe) -> LandmarkRecipe:
    """The training from which another run's landmark backbone starts: images of the same kind and size."""
    return recipe(run.preset, image_size=run.image_size, standardise=run.standardise)


def truth(recipe: LandmarkRecipe, data: Prepared) -> dict[str, Truth]:
    """Where the landmarks are on each image; augmentation moves them with it."""
    return {"points": Truth(data.landmarks())}


def model(recipe: LandmarkRecipe, classes: int) -> LandmarkNetwork:
    """The network that a recipe describes, freshly initialised."""
    return LandmarkNetwork(recipe.image_size)


def criterion(recipe: LandmarkRecipe, network: nn.Module) -> LandmarkLoss:
    """The loss that a recipe describes."""
    return LandmarkLoss()


# --- the test: where are the landmarks? ----------------------------------------------------------------

NEAR = 0.05
"""A landmark counts as found within this share of the face's size."""
SHOWN = 40
"""Test images whose found landmarks a record keeps."""


def distances(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Of each landmark the distance to its true place, as a share of the face's size: two (N, P, 2) -> (N, P).

    The size is ``sqrt(width * height)`` of the box round the true landmarks, which, unlike the distance of the eyes,
    does not shrink to nothing when the head turns.
    """
    size = np.sqrt(np.prod(true.max(1) - true.min(1), axis=1))  # (N,)
    return np.linalg.norm(found - true, axis=2) / size[:, None]


@torch.no_grad()
def find(network: nn.Module, batches: Any) -> np.ndarray:
    """Landmarks on the images of a split, in its order: (N, 68, 2) float32, shares of the side."""
    network.eval()
    return torch.cat([network(batch["images"])[0].float().cpu() for batch in batches]).numpy()


def judge(recipe: Recipe, network: nn.Module, batches: Any) -> float:
    """Share of the landmarks of a split that are found within :data:`NEAR`."""
    true = batches.truth["points"][batches.rows].numpy()
    return float((distances(find(network, batches), true) < NEAR).mean())


def test(
    recipe: Recipe, network: nn.Module, data: Prepared, rows: np.ndarray, batches: Any
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Landmarks on people whom nobody has seen: metrics of ``test``, and arrays.

    ``accuracy``: share of landmarks within :data:`NEAR`; ``normalised_mean_error``: the mean of :func:`distances`,
    ``..._visible`` of those landmarks that the head itself does not hide. Arrays, each (N,): the share ``near``,
    ``error`` and ``error_visible`` of each image, its ``yaw``, who is on it, ``people``, and ``samples``; and of the
    first images, whose rows in the manifest are ``shown_rows``, what was ``found`` (n, 68, 2).
    """
    found = find(network, batches)
    error = distances(found, data.landmarks()[rows])
    manifest = data.manifest.iloc[rows]
    visible = np.stack(manifest["visible"].to_numpy()).astype(bool)
    of_visible = np.where(visible, error, 0.0).sum(1) / np.maximum(visible.sum(1), 1)
    people = manifest["subject"].to_numpy().astype(str)
    metrics = {
        "images": len(rows),
        "people": len(np.unique(people)),
        "accuracy": float((error < NEAR).mean(1).mean()),
        "normalised_mean_error": float(error.mean()),
        "normalised_mean_error_visible": float(error[visible].mean()),
    }
    arrays = {
        "near": (error < NEAR).mean(1).astype(np.float32),
        "error": error.mean(1).astype(np.float32),
        "error_visible": of_visible.astype(np.float32),
        "yaw": manifest["yaw"].to_numpy(np.float32),
        "people": people,
        "samples": manifest["sample"].to_numpy().astype(str),
        "shown_rows": rows[:SHOWN],
        "found": found[:SHOWN].astype(np.float16),
    }
    return {"test": metrics}, arrays
