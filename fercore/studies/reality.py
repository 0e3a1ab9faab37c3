"""Does the twin speak of reality? Runs that learn on FERPlus's twin and are tested on the real set, and the reverse.

Every run is a baseline (`fercore.papers.baselines`): the same small network, the same training, other data. What a
network can see before it meets real labels is one of :data:`BEFORE`: nothing, the twin with its expressions, or the
identity twin, on which it learnt to tell people apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fercore import intervals, records
from fercore.errors import ParameterError, RecordError
from fercore.ledger.found import kind_of, paired
from fercore.papers import baselines
from fercore.papers.baselines import BaselineRecipe
from fercore.recipe import unknown
from fercore.records import Record

REAL, TWIN = "ferplus", "ferplus-twin"
SHARES = (0.01, 0.1, 1.0)
"""Shares of the real training labels that fine-tuning may see."""
EPOCHS = {0.01: 60, 0.1: 24, 1.0: 8}
"""Fewer images, more passes over them; the same for a network that has seen rendered faces and for one that has not."""
BEFORE: dict[str, dict[str, Any]] = {
    "": {"backbone_epochs": 0},
    "twin": {"pretraining": TWIN},
    "people": {"backbone_epochs": 0, "start": "identity"},
}
"""What comes before the real labels, and how a recipe says it; the twin's stage has the length of :data:`COMMON`."""
COMMON: dict[str, Any] = {
    "last_stride": 2, "optimiser": "adamw", "weight_decay": 0.05, "learning_rate": 1e-3, "final_rate": 0.0,
    "targets": "votes", "label_smoothing": 0.0, "standardise": True, "mirror": True, "average": 0.99, "batch_size": 32,
    "rotation": 8.0, "zoom": 0.1, "shift": 0.06, "contrast": 0.2, "erase": 0.0,
    "backbone_learning_rate": 2e-3, "backbone_small_epochs": 8, "backbone_final_rate": 0.1, "backbone_epochs": 14,
}  # fmt: skip
"""What all runs share, so that the stage on the twin is trained once a seed."""
WITHOUT: dict[str, dict[str, Any]] = {
    "many people": {"people": 100},
    "changing light": {"scenery": "studio"},
    "occluders and accessories": {"occluders": 0.0, "accessories": 0.0},
    "ambiguous faces": {"ambiguity": 0.0},
    "tones of photographs": {"exposure": 0.0},
    "camera flaws": {"blur": 0.0, "noise": 0.0},
    "personal variation": {"jitter": 0.0, "drop": 0.0, "stray": 0.0},
    "the real set's crop": {"field": 19.5},
}
"""What a twin loses in the ablation: its name, and the parameters that take it away."""


def rendered_only(seed: int = 0, without: str = "", preset: str = "quick", **changes: Any) -> BaselineRecipe:
    """Trained on the twin alone, perhaps without something; tested on the twin and on the real set."""
    data = WITHOUT[without] if without else {}
    changes = {"epochs": 2, "learning_rate": 2e-4, "data": data, "also_on": REAL} | changes
    return _recipe(TWIN, preset, seed, **changes)


def fine_tuned(share: float, before: str = "", seed: int = 0, preset: str = "quick", **changes: Any) -> BaselineRecipe:
    """Trained on a share of the real training images, after one of :data:`BEFORE`; tested on the twin as well where it
    has seen the twin, or real images alone and all of them."""
    if before not in BEFORE:
        raise ParameterError(unknown("stage before the real labels", before, BEFORE))
    length = {"epochs": EPOCHS[share], "small_epochs": 4 if share == 1 else 0}  # time matters where all images are seen
    also = {"also_on": TWIN} if before == "twin" or (share == 1 and not before) else {}
    return _recipe(REAL, preset, seed, **({"share": share} | also | length | BEFORE[before] | changes))


def _recipe(dataset: str, preset: str, seed: int, **changes: Any) -> BaselineRecipe:
    common = COMMON if preset != "smoke" else {}  # a look at whether it runs needs no settings of its own
    if preset == "smoke":
        changes |= {"epochs": 1}
    return baselines.recipe(preset, dataset, **(common | changes), seed=seed)


def runs(root: Path | None = None) -> list[Record]:
    """The committed runs of this comparison, or those under ``root``."""
    known = {recipe.but(seed=0).key() for recipe in all_recipes()}
    return [run for run in records.find(root, paper="baselines", preset="quick") if kind_of(run).key() in known]


def table(found: Sequence[Record]) -> pd.DataFrame:
    """One row a run: what it learnt on, share of real labels, what the twin lacked, seed, accuracies in per cent.

    ``accuracy`` and ``balanced`` are on the real test images, ``on twin`` the accuracy on the twin's, where it was
    tested.
    """
    rows = []
    for run in found:
        r = run.recipe
        before = "people" if r["start"] else "twin" if r["pretraining"] else ""
        learnt = "twin" if r["dataset"] == TWIN else f"{before}, then real" if before else "real"
        without = next((name for name, data in WITHOUT.items() if data == r["data"]), "")
        real, twin = (run.metrics.get(_part(run, dataset), {}) for dataset in (REAL, TWIN))
        shares = (real["accuracy"], real["balanced_accuracy"], twin.get("accuracy", np.nan))
        own = (learnt, r["share"] if r["dataset"] == REAL else 0.0, without, r["seed"])
        rows.append((*own, *(100 * share for share in shares), run.name))
    columns = ["learnt on", "share", "without", "seed", "accuracy", "balanced", "on twin", "record"]
    return pd.DataFrame(rows, columns=columns)


def levels(found: Sequence[Record], metric: str) -> pd.DataFrame:
    """``accuracy`` or ``balanced`` accuracy on the real test images in per cent with its 95 % interval over seeds and
    images, a row for each way of learning: columns learnt on, share, without, seeds, the metric, low, high."""
    rows = []
    for key, own in _ways(found).items():
        estimate = intervals.estimate(own, METRICS[metric], _part(own[0], REAL))
        ends = (100 * end for end in estimate.interval)
        rows.append((*key, len(own), *ends))
    return pd.DataFrame(rows, columns=["learnt on", "share", "without", "seeds", metric, "low", "high"])


METRICS = {"accuracy": "accuracy", "balanced": "balanced_accuracy"}


def _ways(found: Sequence[Record]) -> dict[tuple[str, float, str], list[Record]]:
    """Runs of each way of learning: (learnt on, share, without) -> runs, in the order of :func:`table`."""
    ways = table(found).groupby(["learnt on", "share", "without"], sort=False)
    return {way: [found[row] for row in rows.index] for way, rows in ways}


def _part(run: Record, dataset: str) -> str:
    """The subset of a run's tests that is the test part of one of the two sets."""
    return "test" if run.recipe["dataset"] == dataset else f"on_{dataset}"


def gains(found: Sequence[Record], before: str = "twin") -> pd.DataFrame:
    """What one of :data:`BEFORE` adds at each share of real labels, in points with its 95 % interval.

    Columns metric, share, seeds, gain, low, high; no line where fewer than two seeds have both. Pairs are runs of the
    same seed, which see the same real images.
    """
    ways, rows = _ways(found), []
    for metric, share in product(METRICS, SHARES):
        after, real = paired(*(ways.get((name, share, ""), []) for name in (f"{before}, then real", "real")))
        if len(after) > 1:
            gain = intervals.estimate(after, METRICS[metric], against=real).interval
            rows.append((metric, share, len(after), *(100 * end for end in gain)))
    return pd.DataFrame(rows, columns=["metric", "share", "seeds", "gain", "low", "high"])


def ablation(found: Sequence[Record]) -> pd.DataFrame:
    """What the twin is worth without something: balanced accuracy on real test images in per cent, and what is lost.

    Columns ablation, row, balanced, difference (from the whole twin, same seed, in points), low, high (95 %, over
    images, for both runs apart: what two runs that are right on the same images would share is not taken off). The
    whole twin comes first, without a difference; where it has not been run the table is empty.
    """
    ways = {key[2]: own for key, own in _ways(found).items() if key[0] == "twin"}
    whole = {run.recipe["seed"]: run for run in ways.get("", [])}
    lines = []
    for seed, reference in sorted(whole.items()):
        others = {name: run for name in WITHOUT for run in ways.get(name, []) if run.recipe["seed"] == seed}
        if not others:
            continue
        number = intervals.estimate([reference], "balanced_accuracy", f"on_{REAL}")
        lines.append((f"seed {seed}", "whole", 100 * number.value, *[np.nan] * 3))
        for name, run in others.items():
            own = intervals.estimate([run], "balanced_accuracy", f"on_{REAL}")
            lost = intervals.estimate([run], "balanced_accuracy", f"on_{REAL}", against=[reference]).interval
            lines.append((f"seed {seed}", f"without {name}", 100 * own.value, *(100 * end for end in lost)))
    return pd.DataFrame(lines, columns=["ablation", "row", "balanced", "difference", "low", "high"])


def all_recipes(seeds: int = 5) -> list[BaselineRecipe]:
    """Every run of the pages that show them, in the order in which they are worth having."""
    wanted = [rendered_only(seed) for seed in range(seeds)]
    wanted += [
        fine_tuned(share, before, seed) for share in SHARES for seed in range(seeds) for before in reversed(BEFORE)
    ]
    return wanted + [rendered_only(0, without) for without in WITHOUT]


def words(found: Sequence[Record]) -> dict[str, str]:
    """Means over seeds for the words of the page, in per cent; real labels: the greatest share that was run."""
    rows = table(found)
    rows = rows[rows["without"] == ""]
    twin, real = rows[rows["learnt on"] == "twin"], rows[rows["learnt on"] == "real"]
    most = real["share"].max()
    real = real[real["share"] == most]
    return {
        "real_share": "all" if most == 1 else f"{100 * most:g} %",
        "twin_on_real": f"{twin['balanced'].mean():.1f} %",
        "real_on_real": f"{real['balanced'].mean():.1f} %",
        "real_on_twin": f"{real['on twin'].mean():.1f} %" if real["on twin"].notna().any() else "–",
        "twin_on_twin": f"{twin['on twin'].mean():.1f} %",
    }


def confusion(found: Sequence[Record]) -> tuple[np.ndarray, list[str]]:
    """Counts over seeds of how networks that saw the twin alone answer real images, (K, K), rows true; the classes."""
    chosen = [run for run in found if run.recipe["dataset"] == TWIN and not run.recipe["data"]]
    if not chosen:
        raise RecordError("No record was trained on the twin alone.", do="run fercore.studies.reality.all_recipes()")
    return sum(run.arrays()[f"confusion_on_{REAL}"] for run in chosen), chosen[0].classes
