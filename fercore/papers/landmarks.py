"""Pre-training on landmarks: a MobileFaceNet that finds 68 points, in place of PCDA's published detector.

It is trained like a paper (``fercore train landmarks``) on rendered faces, whose points are known exactly; PCDA starts
from it with ``landmark_weights="landmarks"``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from fercore.backbones.mobilefacenet import LANDMARKS, MobileFaceNet
from fercore.backbones.weights import OURS, Convention, convert
from fercore.data.prepared import Prepared
from fercore.recipe import Recipe, build, check_preset
from fercore.training.landmarks import judge as judge
from fercore.training.landmarks import test as test

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
    backbone_epochs: Literal[0] = 0


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


def view(data: Prepared) -> Prepared:
    """The data as this training sees them."""
    return data.of_landmarks()


def backbone_stage(recipe: LandmarkRecipe) -> LandmarkRecipe:
    """There is no stage before this one."""
    return recipe


def model(recipe: LandmarkRecipe, classes: int) -> LandmarkNetwork:
    """The network that a recipe describes, freshly initialised."""
    return LandmarkNetwork(recipe.image_size)


def criterion(recipe: LandmarkRecipe, network: nn.Module) -> LandmarkLoss:
    """The loss that a recipe describes."""
    return LandmarkLoss()


def refresh(*_: object) -> dict[str, float]:
    """Nothing is computed from the whole training set."""
    return {}
