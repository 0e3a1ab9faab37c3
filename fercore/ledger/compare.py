"""Is my run right? A reader's run beside the committed reference record of the same recipe.

Both are followed from the start: recipe, data, code, first weights, loss of the first batch, loss of the first epoch,
final numbers. The first place where they part says why the rest does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from fercore import records
from fercore.errors import RecordError
from fercore.paths import records_root, reference_records
from fercore.records import Record

NORM = 1e-5
"""Relative, of the first weights. Five seeds lie 3e-4 to 4e-3 apart; other processors and versions only round."""


class Allowed(NamedTuple):
    """How far two runs may be apart: losses relative to the reference's, accuracies as shares."""

    first_loss: float  # first batch of the first stage
    later_loss: float  # first batch of a stage that starts from a trained one
    epoch_loss: float
    accuracy: float


# About twice the largest difference found among 28 smoke trainings on the twin and on FERPlus, both methods, seeds
# 0 to 4 on one thread and 0 to 1 on two. Threads: 6e-8, 0.052, 0.010; seeds: 0.25, 0.15, 0.081. Accuracies differed
# by at most 0.071 of 70 images and 0.051 of 512, which is below 3 standard errors; see `allowance`.
ROUNDING = Allowed(1e-5, 0.1, 0.02, 0.03)
"""Same seed, 32-bit, other threads, processor or library version: sums are taken in another order."""
HALF = Allowed(0.02, 0.1, 0.05, 0.03)
"""Same seed, one of the two in bfloat16, whose numbers have 8 bits: 0.4 % each. A bound, not measured."""
SEEDS = Allowed(0.5, 0.3, 0.16, 0.05)
"""Another seed: other first weights, order and augmentation."""

Verdict = Literal["equal", "within", "noted", "unknown", "differs"]


class Step(NamedTuple):
    """One place that both runs come by. Only ``differs`` makes a run wrong; ``noted`` can't be judged alone."""

    what: str
    ours: str
    reference: str
    allowed: str
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """A run beside its reference, step by step."""

    ours: Record
    reference: Record
    steps: tuple[Step, ...]

    @property
    def good(self) -> bool:
        """Whether every step is within its tolerance."""
        return all(step.verdict != "differs" for step in self.steps)

    @property
    def parted(self) -> Step | None:
        """The first step that is not equal; None where the runs are equal as far as both records say."""
        return next((step for step in self.steps if step.verdict not in ("equal", "unknown")), None)

    def lines(self) -> Iterator[str]:
        """The comparison as text: a line a step, then where the runs part, why, and the conclusion."""
        yield f"{self.ours.name}\nbeside {self.reference.name}"
        yield f"{'':<26} {'this run':>18} {'reference':>18} {'allowed':>9}"
        for step in self.steps:
            yield f"{step.what:<26} {step.ours:>18} {step.reference:>18} {step.allowed:>9}  {step.verdict}"
        outside = next((step for step in self.steps if step.verdict == "differs"), None)
        if self.parted is None:
            yield "The runs do not part anywhere."
        else:
            yield f"They first part at: {self.parted.what}. {self.parted.reason}"
        if outside is not None and outside is not self.parted:
            yield f"First outside its tolerance: {outside.what}. {outside.reason}"
        yield "Within tolerance." if self.good else "Not within tolerance."


def compare(out: Path, root: Path | None = None) -> list[Comparison]:
    """Every run that ``out`` holds, a record's folder or an executed notebook, beside its reference under ``root``.

    ``root`` is by default the folder of the committed records.
    """
    references = records.find(root or reference_records())
    return [beside(run, closest(run, references)) for run in runs_of(out)]


def runs_of(out: Path) -> list[Record]:
    """The record in a folder, or the records that an executed notebook made, found by the names that it shows."""
    if out.is_dir() or out.suffix != ".ipynb":
        return [records.read(out)]
    try:
        cells = json.loads(out.read_text())["cells"]
        shown = json.dumps([cell.get("outputs", []) for cell in cells])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{out} can't be read as a notebook: {error}", do="name an executed notebook") from error
    names = dict.fromkeys(re.findall(r"\bRecord ([\w.-]+-f\d+-s\d+-[0-9a-f]{10})\b", shown))
    there = [folder for name in names if (folder := records_root() / name).is_dir()]
    if not there:
        what = f"{out} shows no record of a run of its own" + (f" (only {', '.join(names)})" if names else "") + "."
        raise RecordError(what, do="execute a notebook that trains, or set FERCORE_RECORDS to where its records lie")
    return [records.read(folder) for folder in there]


TIMES = frozenset({"seconds", "started", "frames_per_second", "peak_memory", "checksum", "arrays_hash"})
"""Fields in which two equal runs may differ."""


def differences(one: Record, two: Record) -> list[tuple[str, Any, Any]]:
    """Every field and array in which two records differ, times aside: dotted name and both values, None where one has
    it not. An array stands for itself by its type and shape."""

    def everything(record: Record) -> dict[str, Any]:
        fields = records.flat(record.model_dump())
        arrays = (
            (f"arrays.{name}", _Array(f"{a.dtype} {a.shape}", a.tobytes())) for name, a in record.arrays().items()
        )
        return {name: value for name, value in (*fields, *arrays) if name.rpartition(".")[2] not in TIMES}

    return [(name, *values) for name, values in _other(everything(one), everything(two)).items()]


def is_result(name: str) -> bool:
    """Whether a field of :func:`differences` is what an equal run must repeat to the last bit."""
    return name.partition(".")[0] in ("metrics", "stages", "history", "weights", "arrays")


class _Array(NamedTuple):
    """An array that is equal to another one when every bit is, and that is shown by its form."""

    form: str
    bits: bytes

    def __repr__(self) -> str:
        return self.form


SAME = ("paper", "method", "dataset", "preset", "fold")


def closest(run: Record, references: list[Record]) -> Record:
    """The reference of the same paper, method, data set, preset and fold with the fewest other differences."""
    fitting = [r for r in references if all(r.recipe.get(name) == run.recipe[name] for name in SAME)]
    if not fitting:
        wanted = ", ".join(f"{name} {run.recipe[name]}" for name in SAME)
        there = ", ".join(reference.name for reference in references) or "none"
        what = f"There is no reference record of {wanted}. There are: {there}."
        raise RecordError(what, do="run one of those recipes")
    return min(fitting, key=lambda reference: (len(_other(run.recipe, reference.recipe)), reference.name))


def beside(ours: Record, reference: Record) -> Comparison:
    """All steps of one run beside one reference, in the order in which a run comes by them."""
    ours.arrays(), reference.arrays()  # refuses what was changed
    allowed = _allowed(ours, reference)
    steps = [*_inputs(ours, reference)]
    for stage in dict.fromkeys([*reference.history, *ours.history]):
        steps += _stage(stage, ours, reference, allowed)
    steps += _numbers(ours, reference, allowed)
    return Comparison(ours, reference, tuple(steps))


def _allowed(ours: Record, reference: Record) -> Allowed:
    if ours.recipe["seed"] != reference.recipe["seed"]:
        return SEEDS
    half = {record.machine.get("precision", "no") for record in (ours, reference)} != {"no"}
    return HALF if half else ROUNDING


def _inputs(ours: Record, reference: Record) -> Iterator[Step]:
    fields = _other(ours.recipe, reference.recipe)
    only_seed = set(fields) == {"seed"}
    verdict: Verdict = "within" if only_seed else "differs" if fields else "equal"
    count = f"{len(fields)} fields differ"
    texts = [f"seed {r.recipe['seed']}" if only_seed or not fields else count for r in (ours, reference)]
    reason = "The seed is another one: all that follows is compared with the spread of seeds." if only_seed else ""
    yield Step("recipe", *texts, "seed", verdict, reason or _fields("Other parameters", fields))

    made = _other(dict(records.flat(ours.data.made)), dict(records.flat(reference.data.made)))
    same = ours.data.hash == reference.data.hash
    reason = _fields("The data set is another one", made) if made else (
        f"The data set is another one: {ours.data.title} beside {reference.data.title}, made alike but with "
        "other files or other code; `fercore data check` looks into a real one."
    )  # fmt: skip
    yield Step("data", ours.data.hash, reference.data.hash, "", "equal" if same else "differs", reason)

    same = ours.code == reference.code
    reason = f"The code is another version (commit {_commit(ours)} beside {_commit(reference)})."
    yield Step("code", ours.code, reference.code, "", "equal" if same else "noted", reason)


def _stage(stage: str, ours: Record, reference: Record, allowed: Allowed) -> Iterator[Step]:
    if stage not in ours.history or stage not in reference.history:
        where = ["trained" if stage in record.history else "none" for record in (ours, reference)]
        yield Step(f"{stage}: stage", *where, "", "differs", "One of the runs does not have this stage.")
        return
    yield _weights(stage, ours, reference, allowed)
    rows = [record.history[stage][0] for record in (ours, reference)]
    first, epoch = ([row.get(name) for row in rows] for name in ("first_loss", "train_loss"))
    room, text = allowed.first_loss, "The first batch gives another loss"
    if stage != next(iter(reference.history)):
        room, text = allowed.later_loss, "It starts from a stage in which the runs had parted, or from other weights"
    yield _number(f"{stage}: first batch, loss", first, room, text, ours, reference)
    text = "The first batch still agreed, the steps after it do not"
    yield _number(f"{stage}: first epoch, loss", epoch, allowed.epoch_loss, text, ours, reference)


def _weights(stage: str, ours: Record, reference: Record, allowed: Allowed) -> Step:
    what = f"{stage}: first weights"
    notes = [record.weights.get(stage) for record in (ours, reference)]
    if notes[0] is None or notes[1] is None:
        return Step(what, *(note.hash if note else "not kept" for note in notes), "", "unknown")
    one, two = notes
    if one.hash == two.hash:
        return Step(what, one.hash, two.hash, "", "equal")
    near = abs(one.norm - two.norm) <= NORM * two.norm
    verdict: Verdict = "within" if near or allowed is SEEDS else "differs"
    text = "The first weights are rounded otherwise" if near else "The first weights are others"
    return Step(what, one.hash, two.hash, "", verdict, _why(text, ours, reference))


def _number(what: str, values: list[float | None], allowed: float, text: str, ours: Record, reference: Record) -> Step:
    one, two = values
    shown = ["not kept" if value is None else f"{value:.8g}" for value in values]
    if one is None or two is None:
        return Step(what, *shown, "", "unknown")
    verdict: Verdict = "equal" if one == two else "within" if abs(one - two) <= allowed * abs(two) else "differs"
    return Step(what, *shown, f"{100 * allowed:.3g} %", verdict, _why(text, ours, reference))


def _numbers(ours: Record, reference: Record, allowed: Allowed) -> Iterator[Step]:
    for subset in dict.fromkeys([*reference.metrics, *ours.metrics]):
        found = [record.metrics.get(subset) for record in (ours, reference)]
        if found[0] is None or found[1] is None:
            where = ["measured" if numbers else "none" for numbers in found]
            yield Step(f"accuracy, {subset}", *where, "", "differs", "The test data have other parts.")
            continue
        one, two = found
        room, gap = allowance(allowed, two["accuracy"], two["images"]), abs(one["accuracy"] - two["accuracy"])
        verdict: Verdict = "equal" if one == two else "within" if gap <= room else "differs"
        shown = [f"{100 * numbers['accuracy']:.2f} %" for numbers in found]
        text = "The trainings drifted apart after their first epoch"
        yield Step(f"accuracy, {subset}", *shown, f"{100 * room:.1f}", verdict, _why(text, ours, reference))


def allowance(allowed: Allowed, accuracy: float, images: int) -> float:
    """How far two accuracies on the same images may be apart: the measured spread, more where images are few.

    Two trainings that parted answer some images otherwise; on n images that alone moves the accuracy p by
    ``sqrt(p (1 - p) / n)``, of which three are allowed. Two right and two wrong answers are added first (Agresti and
    Coull 1998), so that 0 and 1 have a spread, too.
    """
    number = images + 4
    p = (accuracy * images + 2) / number
    return max(allowed.accuracy, 3 * (p * (1 - p) / number) ** 0.5)


def _why(text: str, ours: Record, reference: Record) -> str:
    """``text`` with everything that is not the same in the two runs and can be its cause."""

    def conditions(r: Record) -> dict[str, Any]:
        machine = {name: r.machine.get(name) for name in ("device", "precision", "threads", "instructions")}
        versions = {name: r.versions.get(name) for name in ("torch", "torchvision", "accelerate", "numpy", "python")}
        return {"seed": r.recipe["seed"], "data": r.data.hash, "code": r.code} | machine | versions

    known = {name: pair for name, pair in _other(conditions(ours), conditions(reference)).items() if None not in pair}
    if not known:
        return f"{text}, and the records name no cause: same seed, data, code, versions and threads."
    return _fields(f"{text}; likely because of", known)


def _fields(text: str, fields: dict[str, tuple[Any, Any]]) -> str:
    named = [f"{name} {one!r} (reference {two!r})" for name, (one, two) in fields.items()]
    more = f" and {len(named) - 5} more" if len(named) > 5 else ""
    return f"{text}: {', '.join(named[:5])}{more}."


def _other(one: dict[str, Any], two: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Fields that are not equal: name -> both values; a missing one is None."""
    names = dict.fromkeys([*one, *two])
    return {name: (one.get(name), two.get(name)) for name in names if one.get(name) != two.get(name)}


def _commit(record: Record) -> str:
    return str(record.commit.get("id"))[:10] + (", with edits" if record.commit.get("dirty") else "")
