"""How heads are turned, as classes: cameras where a data set has them, bins of yaw elsewhere; and who is on an image.

Where a set does not know it, tables of :mod:`fercore.data.estimates` may say it, which a recipe names in its field
``estimates``: a table for each set that a run sees, with a + between two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from fercore.data import estimates
from fercore.data.labels import Truth, pose_classes
from fercore.data.prepared import Prepared
from fercore.errors import DataError, ParameterError
from fercore.papers.baselines import named
from fercore.recipe import Count, Recipe

_NINE, _FIVE = (-90, -60, -45, -30, 0, 30, 45, 60, 90), (-45, -30, 0, 30, 45)
ANGLES: Mapping[str, tuple[float, ...]] = {
    "kdef": (-90, -45, 0, 45, 90), "bu3dfe": _NINE, "multipie": tuple(range(-90, 91, 15)),
    **dict.fromkeys(("dmlnet-bu3dfe-5pan", "phanet-bu3dfe-5pan"), _FIVE),
    **dict.fromkeys(("pata-bu3dfe-s2", "pata-bu3dfe-s3"), (-45, -30, -15, 0, 15, 30, 45)),
    **dict.fromkeys(("dmlnet-multipie", "phanet-multipie", "pata-multipie-s1"), (-30, -15, 0, 15, 30)),
}  # fmt: skip
"""Classes of pose, degrees of yaw, by data set and by protocols that take fewer of its cameras: their pans."""
LABELLED = "take a twin, or let networks say it, fercore data estimate NAME, and set estimates to what that prints"


class PosedRecipe(Recipe):
    """A run in two stages, of a network that learns the pose, too, if it is known or estimated."""

    first_epochs: Count = Field(default=1, description="epochs of the first stage; 0 for none")
    estimates: str = Field(default="", description="tables of what the data lack, a + between two")

    def check(self) -> None:
        super().check()
        check_estimates(self.estimates, self.dataset, self.pretraining)
        if self.pretraining and not self.first_epochs:
            what = f"pretraining = '{self.pretraining}' is for a first stage, which this run does not have."
            raise ParameterError(what, do="set first_epochs, too, or leave pretraining out")


def begun(
    preset: str,
    dataset: str,
    changes: Mapping[str, object],
    presets: Mapping[str, Mapping[str, Any]],
    epochs: Mapping[str, int],
    protocols: Mapping[str, str],
) -> dict[str, Any]:
    """What a recipe begins with: a preset's values, at ``quick`` each stage's epochs by its own set, and the paper's
    split, where it is not the usual one."""
    values = named(preset, dataset, changes) | {"optimiser": "adamw"} | presets[preset]
    for name, on in (("epochs", dataset), ("first_epochs", changes.get("pretraining") or dataset)):
        if preset == "quick" and on in epochs:
            values[name] = epochs[on]
    return values | {"protocol": protocols.get(dataset, values["protocol"])}


def angles(recipe: Recipe, elsewhere: tuple[float, ...]) -> tuple[float, ...]:
    """The classes of pose of a recipe's data, degrees; ``elsewhere`` where no cameras stand."""
    named = recipe.protocol, recipe.dataset.removesuffix("-twin")
    return next((ANGLES[name] for name in named if name in ANGLES), elsewhere)


def check_estimates(names: str, dataset: str, pretraining: str = "") -> None:
    """Refuse tables that are about none of a run's data sets, and two about one."""
    about = [estimates.about_set(name) for name in names.split("+")] if names else []
    for name, own in zip(names.split("+"), about, strict=False):
        if own not in {dataset, pretraining} - {""}:
            do = f"take those of {pretraining or dataset}, or leave them out"
            raise ParameterError(f"estimates = '{name}' are of no data set of this run.", do=do)
        if about.count(own) > 1:
            raise ParameterError(f"estimates = '{names}' are two tables of {own}.", do="choose one")


def of_set(names: str, dataset: str) -> str:
    """The table that is about a data set; an empty text where there is none."""
    return next((name for name in names.split("+") if estimates.about_set(name) == dataset), "")


def completed(data: Prepared, names: str, dataset: str) -> Prepared:
    """The data with what is estimated of them."""
    own = of_set(names, dataset)
    return estimates.completed(data, own) if own else data


def poses(data: Prepared, classes: tuple[float, ...]) -> Truth:
    """The class of pose of each image, -1 where nobody knows: its camera's pan, else its yaw.

    A set of which no image's is known is an error.
    """
    yaw = estimates.turned(data)
    if yaw.isna().all():
        raise DataError(f"{data.name} does not know how heads are turned.", do=LABELLED)
    return pose_classes(yaw.to_numpy(), classes)


def people(data: Prepared) -> Truth:
    """Who is on each image, a number for each person, -1 where nobody knows. A set that knows none is an error."""
    names = data.manifest["subject"].to_numpy()
    if not (names != "").any():
        raise DataError(f"{data.name} does not know who is on its images.", do=LABELLED)
    return Truth(np.where(names == "", -1, np.unique(names, return_inverse=True)[1]))
