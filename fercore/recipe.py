"""Recipe: the one frozen, validated set of parameters behind a training run.

Everything that a result depends on, apart from data and code, is a field here. A paper's module fills it per preset and
data set (``lan.recipe("quick", "ferplus")``); a record stores it; two runs with equal recipes, data and code are the
same run.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fercore.errors import ParameterError

Preset = Literal["smoke", "quick", "paper"]
PRESETS: tuple[str, ...] = get_args(Preset)

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Recipe(BaseModel):
    """Parameters common to all papers. Papers add their own in a subclass."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # What is trained on what.
    paper: str
    method: str
    preset: Preset
    dataset: str
    protocol: str
    fold: Count = 0
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    setting: Literal["published", "ours"] = Field(
        default="ours", description="the values that a run begins with: those that the paper prints, or ours"
    )

    images: Count = Field(default=0, description="at most so many images a split, drawn by the seed; 0 for all")
    share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0, description="share of the images that are trained and validated on, drawn by the seed"
    )
    leave_out: str = Field(default="", description="class that is neither trained nor tested on; empty for none")
    oversample: bool = Field(default=False, description="train on each class as often as on the most frequent one")
    pretraining: str = Field(default="", description="data set of the first stage; empty for the run's own")
    start: str = Field(
        default="", description="the trunk's first weights: empty for random ones, identity for our own, or a file"
    )
    also_on: str = Field(default="", description="data set whose test part is tested on, too; empty for none")
    data: dict[str, Any] = Field(default={}, description="what is changed about the data set: a twin's parameters")

    # Network.
    image_size: Annotated[int, Field(gt=0, le=1024)] = Field(
        default=224, description="side of the square input, pixels"
    )
    width: Positive = Field(default=64, description="channels of the first stage; 64 is the published ResNet-18")
    stem: Literal["imagenet", "small"] = "imagenet"
    last_stride: Literal[1, 2] = 2

    # Optimisation: linear warm-up, then a schedule; SGD has Nesterov momentum, AdamW its own.
    optimiser: Literal["sgd", "adamw"] = "sgd"
    epochs: Positive = 1
    batch_size: Annotated[int, Field(ge=2)] = Field(default=64, description="batch norm needs two")
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    momentum: Fraction = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    warmup: Fraction = Field(default=0.1, description="share of the steps over which the rate rises")
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    final_rate: Fraction = Field(default=0.0, description="share of the rate that the cosine leaves at the end")
    decay: Fraction = Field(default=0.1, description="what the rate is multiplied by at a step of the schedule")
    decay_epochs: Positive = Field(default=30, description="epochs between two steps of the schedule")
    targets: Literal["labels", "votes"] = Field(
        default="labels", description="what cross-entropy compares with: the class, or the raters' shares of votes"
    )
    label_smoothing: Fraction = 0.0
    average: Fraction = Field(default=0.0, description="decay of the running mean of weights; 0 for none")
    small_epochs: Count = Field(default=0, description="first epochs, at two thirds of the image size")

    standardise: bool = Field(default=False, description="each image to mean 0 and variance 1 of its own")
    mirror: bool = Field(default=False, description="predict from an image and its mirror image, and average")

    # Augmentation of the training images.
    flip: bool = True
    rotation: Annotated[float, Field(ge=0, le=90)] = Field(default=10.0, description="degrees, either way")
    shift: Fraction = Field(default=0.06, description="share of the side, either way")
    zoom: Fraction = Field(default=0.15, description="log scale, either way")
    contrast: Fraction = Field(default=0.3, description="log contrast and brightness, either way")
    erase: Fraction = Field(default=0.25, description="share of images that lose a rectangle")

    def key(self) -> str:
        """Hash of all fields; 10 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()[:10]

    def check(self) -> None:
        """Refuse fields that each are right and make no sense together."""
        if self.setting == "published" and self.preset != "paper":
            raise ParameterError(f"preset {self.preset} is smaller than what was published.", do="take preset paper")
        if self.also_on == self.dataset:
            raise ParameterError(f"also_on = '{self.also_on}' is the data set itself.", do="name another, or none")
        if self.pretraining == self.dataset:  # another split of it: a first stage would see people who are tested
            what = f"pretraining = '{self.pretraining}' is the data set itself."
            raise ParameterError(what, do="leave it out: a first stage is then on this run's own training images")

    def but(self, **changes: Any) -> Any:
        """A copy with these fields changed and no other, validated as a whole."""
        return build(type(self), {**self.model_dump(), **changes})


def build(kind: type[Recipe], values: dict[str, Any]) -> Recipe:
    """Validate ``values`` as a recipe of ``kind``; one clear error names every field that is wrong."""
    try:
        made = kind.model_validate(values)
    except ValidationError as error:
        raise ParameterError("; ".join(_sentence(kind, item) for item in error.errors())) from None
    made.check()
    return made


def _sentence(kind: type[Recipe], item: Any) -> str:
    name = ".".join(map(str, item["loc"]))
    if item["type"] == "extra_forbidden":
        return unknown("parameter", name, kind.model_fields)
    return f"parameter '{name}' = {item['input']!r}: {item['msg'].lower()}"


def unknown(what: str, name: str, known: Any) -> str:
    """A sentence for a name that does not exist: the closest one, and all there are."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" (did you mean '{close[0]}'?)" if close else ""
    return f"there is no {what} '{name}'{hint}; there are: {', '.join(known)}"


def value_of(text: str) -> Any:
    """The value that a text of the command line stands for, in JSON or YAML; what is neither stays text."""
    for read in (json.loads, yaml.safe_load):  # YAML alone takes 1e-05 for text
        with contextlib.suppress(yaml.YAMLError, ValueError):
            return read(text) if text else ""
    return text


def check_preset(preset: str) -> None:
    """Raise a :class:`~fercore.errors.ParameterError` for an unknown preset."""
    if preset not in PRESETS:
        raise ParameterError(unknown("preset", str(preset), PRESETS))
