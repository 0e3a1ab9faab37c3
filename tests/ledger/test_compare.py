"""A reader's run beside the reference: where they part, why, and whether that is within what was measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_records import record_of
from tiny import Command

from fercore import records
from fercore.book import made
from fercore.errors import RecordError
from fercore.ledger.compare import ROUNDING, SEEDS, Comparison, allowance, compare

Change = Callable[[records.Record], Any]


def run(key: str = "0000000000", **recipe: Any) -> records.Record:
    """A record with all that a comparison looks at."""
    record = record_of(key, **recipe)
    rows = [{"epoch": 1.0, "first_loss": 2.0, "train_loss": 1.8}, {"epoch": 2.0, "first_loss": 1.7, "train_loss": 1.6}]
    record.history = {"backbone": [dict(row) for row in rows], "method": [dict(row) for row in rows]}
    names = ("backbone", "method", "final")
    record.weights = {name: records.WeightsNote(hash=f"{name}-bits", norm=10.0) for name in names}
    record.metrics = {"test": {"accuracy": 0.8, "images": 1000}}
    record.machine = {"device": "cpu", "precision": "no", "threads": 1, "instructions": "AVX2"}
    record.versions = {"torch": "2.9.0", "python": "3.11"}
    return record


@pytest.fixture
def beside(tmp_path: Path) -> Callable[..., Comparison]:
    """A comparison of two runs that differ in what ``change`` does to ours."""
    arrays = {"labels": np.arange(3)}
    records.write(run(), arrays, tmp_path / "reference")

    def make(change: Change = lambda record: None, **recipe: Any) -> Comparison:
        ours = run(**recipe)
        change(ours)
        written = records.write(ours, arrays, tmp_path / "ours")
        (found,) = compare(written.folder, tmp_path / "reference")
        return found

    return make


def test_equal_runs_part_nowhere(beside: Callable[..., Comparison]) -> None:
    found = beside()
    assert found.good and found.parted is None
    assert [step.what for step in found.steps] == [
        "recipe",
        "data",
        "code",
        *(f"{stage}: {what}" for stage in ("backbone", "method") for what in PLACES),
        "accuracy, test",
    ]
    assert {step.verdict for step in found.steps} == {"equal"}
    assert list(found.lines())[-2:] == ["The runs do not part anywhere.", "Within tolerance."]


PLACES = ("first weights", "first batch, loss", "first epoch, loss")


def loss(stage: str, name: str, value: float) -> Change:
    return lambda record: record.history[stage][0].update({name: value})


def accuracy(value: float) -> Change:
    return lambda record: record.metrics["test"].update(accuracy=value)


def weights(norm: float) -> Change:
    return lambda record: record.weights.update(backbone=records.WeightsNote(hash="other", norm=norm))


def threads(then: Change) -> Change:
    def change(record: records.Record) -> None:
        record.machine["threads"] = 2
        then(record)

    return change


def on_gpu(then: Change) -> Change:
    def change(record: records.Record) -> None:
        record.machine.update(device="cuda", precision="bf16")
        then(record)

    return change


PARTINGS: dict[str, tuple[Change, str, str, bool]] = {
    "data": (lambda r: setattr(r.data, "hash", "x"), "data", "The data set is another one: t beside t", False),
    "how the data were made": (
        lambda r: [setattr(r.data, "hash", "x"), r.data.made.update(people=9)],
        "data",
        "The data set is another one: people 9 (reference None)",
        False,
    ),
    "code alone": (lambda r: setattr(r, "code", "d"), "code", "The code is another version", True),
    "weights rounded": (weights(10.00005), "backbone: first weights", "rounded otherwise, and the records name", True),
    "weights": (weights(10.01), "backbone: first weights", "The first weights are others", False),
    "first batch": (loss("backbone", "first_loss", 2.1), "backbone: first batch, loss", "name no cause", False),
    "first batch, threads": (
        threads(loss("backbone", "first_loss", 2 + 1e-7)),
        "backbone: first batch, loss",
        "likely because of: threads 2 (reference 1)",
        True,
    ),
    "first batch, GPU": (
        on_gpu(loss("backbone", "first_loss", 2.02)),
        "backbone: first batch, loss",
        "device 'cuda' (reference 'cpu'), precision 'bf16' (reference 'no')",
        True,
    ),
    "second stage": (loss("method", "first_loss", 2.1), "method: first batch, loss", "stage in which", True),
    "second stage, far": (loss("method", "first_loss", 2.5), "method: first batch, loss", "stage in which", False),
    "first epoch": (loss("backbone", "train_loss", 1.81), "backbone: first epoch, loss", "still agreed", True),
    "first epoch, far": (loss("backbone", "train_loss", 1.9), "backbone: first epoch, loss", "still agreed", False),
    "end": (accuracy(0.79), "accuracy, test", "drifted apart", True),
    "end, far": (accuracy(0.7), "accuracy, test", "drifted apart", False),
    "better than the reference, far": (accuracy(0.9), "accuracy, test", "drifted apart", False),
    "another part of the test data": (
        lambda r: r.metrics.update(pan=r.metrics["test"]),
        "accuracy, pan",
        "other parts",
        False,
    ),
    "no first stage": (lambda r: r.history.pop("backbone"), "backbone: stage", "does not have this stage", False),
}


@pytest.mark.parametrize(("change", "what", "reason", "good"), PARTINGS.values(), ids=PARTINGS.keys())
def test_where_runs_part_and_why(
    change: Change, what: str, reason: str, good: bool, beside: Callable[..., Comparison]
) -> None:
    found = beside(change)
    assert found.parted is not None and found.parted.what == what
    assert reason in found.parted.reason
    assert found.good == good
    text = "\n".join(found.lines())
    assert f"They first part at: {what}. {found.parted.reason}" in text
    assert text.endswith("\nWithin tolerance." if good else "\nNot within tolerance.")


def test_another_seed_is_held_against_the_spread_of_seeds(beside: Callable[..., Comparison]) -> None:
    found = beside(loss("backbone", "first_loss", 2.3), seed=1)
    assert found.parted is not None and found.parted.what == "recipe" and "seed" in found.parted.reason
    assert found.good, "15 % is usual between seeds"
    far = beside(loss("backbone", "first_loss", 2.0 * (1.01 + SEEDS.first_loss)), seed=2)
    assert not far.good and "First outside its tolerance: backbone: first batch" in "\n".join(far.lines())


def test_another_parameter_is_another_run(beside: Callable[..., Comparison]) -> None:
    found = beside(epochs=4)
    assert not found.good and found.parted is not None
    assert found.parted.reason == "Other parameters: epochs 4 (reference 3)."


def test_a_reference_without_weights_and_first_losses_still_serves(tmp_path: Path) -> None:
    ours = records.write(run(), {"labels": np.arange(3)}, tmp_path / "ours")
    folder = records.write(run(), {"labels": np.arange(3)}, tmp_path / "reference").folder
    content = json.loads((folder / "record.json").read_text())
    content["format"] = 1
    for name in ("weights", "checksum", "arrays_hash"):
        del content[name]
    for rows in content["history"].values():
        for row in rows:
            del row["first_loss"]
    (folder / "record.json").write_text(json.dumps(content))
    (found,) = compare(ours.folder, tmp_path / "reference")
    assert found.good and found.parted is None
    assert [step.what for step in found.steps if step.verdict == "unknown"] == [
        f"{stage}: {what}" for stage in ("backbone", "method") for what in PLACES[:2]
    ]


def test_how_far_accuracies_may_be_apart() -> None:
    assert allowance(ROUNDING, 0.9, 3600) == 0.03, "3 sqrt(0.9 0.1 / 3600) = 0.015"
    assert allowance(ROUNDING, 0.5, 100) == pytest.approx(1.5 / 104**0.5), "3 sqrt(0.5 0.5 / 104)"
    for value in (0.0, 1.0):
        assert allowance(ROUNDING, value, 14) == pytest.approx(3 * (1 / 9 * 8 / 9 / 18) ** 0.5)


# --- what is compared -------------------------------------------------------------------------------------


def executed(path: Path, *found: records.Record) -> Path:
    """A notebook whose last cell shows how these records were made, as the pages do."""
    output = {
        "output_type": "display_data",
        "data": {"text/html": "".join(map(made.record_html, found))},
        "metadata": {},
    }
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown"}, {"cell_type": "code", "outputs": [output]}]}))
    return path


def test_a_notebook_is_compared_by_the_records_that_it_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = {"labels": np.arange(3)}
    root = tmp_path / "reference"
    monkeypatch.setenv("FERCORE_RECORDS", str(tmp_path / "own"))
    machine = {"cores": 2, "gpu": "none"}
    runs = [run("1111111111"), run("2222222222", method="resnet18")]
    for record in runs:
        record.machine |= machine
        records.write(record, arrays, root)
    shown = run("3333333333", seed=7)
    shown.machine |= machine
    runs[1].metrics["test"]["accuracy"] = 0.5
    own = [records.write(record, arrays, tmp_path / "own") for record in runs]
    out = executed(tmp_path / "out.ipynb", shown, *own)
    found = compare(out, root)
    assert [c.ours.name for c in found] == [record.name for record in own], "what is only shown is not its own run"
    assert [c.good for c in found] == [True, False]
    command = Command(monkeypatch, capsys)
    assert command.status("compare", out, "--reference", root) == 1
    assert command.status("compare", own[0].folder, "--reference", root) == 0

    with pytest.raises(RecordError, match=f"shows no record of a run of its own .only {shown.name}"):
        compare(executed(tmp_path / "out.ipynb", shown), root)
    for text in ("{", "{}", "[]", '{"cells": [1]}'):
        out.write_text(text)
        with pytest.raises(RecordError, match="can't be read as a notebook"):
            compare(out, root)


def test_a_run_without_reference_says_what_there_is(tmp_path: Path) -> None:
    record = run()
    record.recipe["preset"] = "quick"
    ours = records.write(record, {"labels": np.arange(3)}, tmp_path / "ours")
    there = records.write(run(), {"labels": np.arange(3)}, tmp_path / "reference")
    with pytest.raises(RecordError, match=f"no reference record of .*preset quick.*There are: {there.name}"):
        compare(ours.folder, tmp_path / "reference")
    with pytest.raises(RecordError, match="There are: none"):
        compare(ours.folder, tmp_path / "empty")
    with pytest.raises(RecordError, match="is no record"):
        compare(tmp_path / "none", tmp_path / "reference")


def test_a_run_whose_numbers_were_changed_is_refused(tmp_path: Path) -> None:
    ours = records.write(run(), {"labels": np.arange(3)}, tmp_path / "ours")
    records.write(run(), {"labels": np.arange(3)}, tmp_path / "reference")
    np.savez_compressed(ours.folder / "arrays.npz", labels=np.arange(4))
    with pytest.raises(RecordError, match="is not what the run wrote"):
        compare(ours.folder, tmp_path / "reference")
