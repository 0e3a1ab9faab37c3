"""Records: written whole or not at all, checked when read, and the same after any interruption."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import CLASSES, Command, write_prepared

from fercore import evaluate, papers, provenance, records
from fercore.backbones.cost import cost
from fercore.data import catalogue, protocols
from fercore.errors import FercoreError, RecordError
from fercore.ledger.compare import differences, is_result
from fercore.ledger.found import stale
from fercore.papers import lan
from fercore.records import Step
from fercore.training import experiments, loop
from fercore.training.batches import Batches, predict

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {"image_size": 16, "width": 8, "batch_size": 16, "cluster_sample": 32, "epochs": 3, "backbone_epochs": 1}
STRIPES = catalogue.Entry("Stripes", False, lambda preset: "stripes", lambda target, _: write_prepared(target))


def small(**changes: Any) -> lan.LANRecipe:
    return lan.recipe("smoke", **(SMALL | changes))


def train_small(prepared: str, root: Path, ready: Any, dies_in: str) -> None:
    """A small training on one thread, as a command does it, in a process of its own; ``ready`` is told of its start.

    ``dies_in``: kill -9 by its own hand, within the writing of a checkpoint, of weights or of a record's arrays.
    """
    torch.set_num_threads(1)
    os.environ["FERCORE_PREPARED"] = prepared
    catalogue.DATASETS["kdef-twin"] = STRIPES
    if dies_in:
        module, name = WRITERS[dies_in]
        setattr(module, name, half_written)
    ready.send(True)
    experiments.run(small(), root)


WRITERS = {"checkpoint": (torch, "save"), "weights": (loop, "save_file"), "arrays": (np, "savez_compressed")}


def half_written(*words: Any, **__: Any) -> None:
    """What a writer has left when it is killed in the middle."""
    path = next(word for word in words if isinstance(word, Path))
    path.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)


def assert_equal(first: records.Record, second: records.Record) -> None:
    """Two runs that differ in nothing but their times, to the last bit; somebody may have committed meanwhile."""
    assert not [name for name, *_ in differences(first, second) if not name.startswith("commit.")]
    assert first.metrics == second.metrics and first.key == second.key and first.weights == second.weights
    one, two = first.arrays(), second.arrays()
    assert one.keys() == two.keys() and all(one[name].tobytes() == two[name].tobytes() for name in one)


SETTINGS = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
WORDS = ("train", "lan", "--preset", "smoke", *SETTINGS, "--set", "epochs=2")


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setenv("FERCORE_PREPARED", str(tmp_path / "prepared"))
    monkeypatch.setenv("FERCORE_RECORDS", str(tmp_path / "records"))
    monkeypatch.setitem(catalogue.DATASETS, "kdef-twin", STRIPES)
    return Command(monkeypatch, capsys)


# --- the file -------------------------------------------------------------------------------------------


def record_of(key: str = "0123456789", **recipe: Any) -> records.Record:
    note = records.DataNote(name="kdef-twin", title="t", real=False, hash="h", made={}, images={"test": 2})
    return records.Record(
        key=key, recipe=small(**recipe).model_dump(), classes=list(CLASSES), data=note, code="c",
        metrics={"test": {"accuracy": 0.5}}, history={"method": [{"epoch": 1.0}]}, model={}, seconds=1.0,
        peak_memory=1, started="now", command="fercore train lan", versions={}, machine={}, commit={},
    )  # fmt: skip


def test_record_round_trip_and_find(tmp_path: Path) -> None:
    arrays = {"labels": np.arange(2), "samples": np.array(["a", "bc"])}
    for key, seed in (("aaaa", 0), ("bbbb", 1)):
        records.write(record_of(key, seed=seed), arrays, tmp_path)
    first, second = records.find(tmp_path)
    sums = {"arrays_hash", "checksum"}
    assert first.model_dump(exclude=sums) == record_of("aaaa").model_dump(exclude=sums)
    assert first.name == first.folder.name and first.name.endswith("-f0-s0-aaaa")
    assert all(np.array_equal(first.arrays()[name], value) for name, value in arrays.items())
    assert records.find(tmp_path, seed=1, paper="lan") == [second] and not records.find(tmp_path, method="none")
    assert records.find(tmp_path / "none") == []
    shutil.copytree(first.folder, tmp_path / f".{first.name}.123.partial")
    assert [record.name for record in records.find(tmp_path)] == [first.name, second.name], (
        "half-written ones do not count"
    )


def test_what_one_reader_does_with_a_record_s_arrays_is_not_seen_by_another(tmp_path: Path) -> None:
    records.write(record_of(), {"labels": np.arange(2)}, tmp_path)
    (record,) = records.find(tmp_path)
    for _ in range(3):
        arrays = record.arrays()
        assert list(arrays) == ["labels"]
        arrays["labels"], arrays["more"] = np.zeros(9), np.ones(1)
    assert records.find(tmp_path)[0].arrays()["labels"].tolist() == [0, 1]


def test_arrays_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = records.write(record_of(), {"labels": np.arange(2)}, tmp_path)
    record.arrays()
    monkeypatch.setattr(np, "load", None)
    assert record.arrays()["labels"].tolist() == [0, 1]


def test_steps_lead_from_code_to_code_within_a_group() -> None:
    known = [Step("lan --preset quick", "a", "b"), Step("lan", "b", "c"), Step("pcda", "c", "d"), Step("lan", "e", "f")]
    assert records.same_code("lan --preset quick", "a", known) == {"a", "b", "c"}
    assert records.same_code("lan --preset paper", "a", known) == {"a"}, "another group's step"
    assert records.same_code("lan --preset paper", "b", known) == {"b", "c"}, "a step of all of a paper's records"
    circle = [Step("lan", "a", "b"), Step("lan", "b", "a")]
    assert records.same_code("lan", "a", circle) == {"a", "b"}


def test_a_record_that_is_written_again_is_read_again(tmp_path: Path) -> None:
    for accuracy, when in ((0.5, 1), (0.75, 2)):
        record = record_of()
        record.metrics = {"test": {"accuracy": accuracy}}
        file = records.write(record, {"labels": np.arange(2)}, tmp_path).folder / "record.json"
        os.utime(file, (when, when))
        assert [found.metrics["test"]["accuracy"] for found in records.find(tmp_path)] == [accuracy]


def test_steps_are_those_that_lie_beside_the_records(tmp_path: Path) -> None:
    now = provenance.code_of("lan")
    assert records.steps(tmp_path) == [] and records.is_stale("lan --preset quick", "old", tmp_path)
    (tmp_path / records.PROOFS).write_text(f"scope,before,after\nlan,old,{now}\n")
    assert records.steps(tmp_path) == [records.Step("lan", "old", now)]
    assert not records.is_stale("lan --preset quick", "old", tmp_path)
    assert records.is_stale("lan --preset quick", "old"), "the committed ones do not say so"


def test_a_field_younger_than_a_record_has_the_value_of_before(tmp_path: Path) -> None:
    old = record_of()
    del old.recipe["start"]
    records.write(old, {"labels": np.arange(2)}, tmp_path)
    assert "start" not in json.loads((tmp_path / old.name / "record.json").read_text())["recipe"]
    found = records.read(tmp_path / old.name)
    assert found.recipe == record_of().recipe, "and the file's checksum holds"
    assert found.written == old.recipe, "what was there then"


def test_what_stands_for_a_younger_field_is_its_default() -> None:
    fields = lan.LANRecipe.model_fields
    assert {name: fields[name].default for name in records._YOUNGER} == records._YOUNGER


def test_a_record_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records.write(record_of(), {"labels": np.arange(2)}, tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(RecordError, match=r"can't be written(.|\n)*free some space"):
        records.write(record_of(), {"labels": np.arange(3)}, tmp_path)
    assert [len(record.arrays()["labels"]) for record in records.find(tmp_path)] == [2]
    assert len(list(tmp_path.iterdir())) == 1


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the content of ``record.json`` by hand."""
    content = json.loads((folder / "record.json").read_text())
    change(content)
    (folder / "record.json").write_text(json.dumps(content))


CHANGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "a better number": lambda c: c["metrics"]["test"].update(accuracy=0.9),
    "a seed": lambda c: c["recipe"].update(seed=1),
    "an hour less": lambda c: c.update(seconds=0.5),
    "another first loss": lambda c: c["history"]["method"][0].update(epoch=2.0),
    "no checksum": lambda c: c.pop("checksum"),
    "the arrays of another": lambda c: c.update(arrays_hash="0" * 16),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_number_changed_by_hand_is_refused(change: Callable[[dict[str, Any]], None], tmp_path: Path) -> None:
    folder = records.write(record_of(), {"labels": np.arange(2)}, tmp_path).folder
    rewrite(folder, lambda content: None)
    assert records.read(folder).metrics == {"test": {"accuracy": 0.5}}, "the layout of the text does not count"
    rewrite(folder, change)
    with pytest.raises(RecordError, match=r"was changed after the run(.|\n)*run the training again"):
        records.read(folder)


def test_arrays_of_another_run_are_refused(tmp_path: Path) -> None:
    folder = records.write(record_of(), {"labels": np.arange(2)}, tmp_path).folder
    np.savez_compressed(folder / "arrays.npz", labels=np.array([0, 2]))
    with pytest.raises(RecordError, match=r"arrays\.npz is not what the run wrote"):
        records.read(folder).arrays()


@pytest.mark.parametrize("number", [0, 3, "2", None])
def test_a_record_of_another_format_is_refused(number: object, tmp_path: Path) -> None:
    folder = records.write(record_of(), {"labels": np.arange(2)}, tmp_path).folder
    rewrite(folder, lambda content: content.update(format=number))
    with pytest.raises(RecordError, match=rf"has format {number!r}; this version of fercore reads 1 and 2"):
        records.read(folder)


def test_results_are_what_an_equal_run_repeats(tmp_path: Path) -> None:
    def results(change: Callable[[records.Record], Any], arrays: int = 2) -> list[str]:
        """What differs from an unchanged run, and has to be equal."""
        runs = [record_of(), record_of()]
        change(runs[1])
        sizes = enumerate((2, arrays))
        written = [records.write(runs[k], {"labels": np.arange(n)}, tmp_path / str(k)) for k, n in sizes]
        return [name for name, *_ in differences(*written) if is_result(name)]

    def later(record: records.Record) -> None:
        record.history["method"][0]["seconds"] = 9.0
        record.seconds, record.started, record.versions = 7.0, "later", {"torch": "another"}

    assert results(later) == []
    assert results(lambda record: record.history["method"][0].update(train_loss=1.5)) == ["history.method.0.train_loss"]
    assert results(lambda record: record.stages.update(backbone={"test": {"accuracy": 1.0}}))
    assert results(lambda record: None, arrays=3) == ["arrays.labels"]


@pytest.mark.apart
def test_what_a_killed_writer_left_is_swept_away(tmp_path: Path) -> None:
    (tmp_path / f".{record_of().name}.12345.partial").mkdir()
    (tmp_path / ".another.1.partial").mkdir()
    records.write(record_of(), {"labels": np.arange(2)}, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".another.1.partial", record_of().name]


def test_diff_names_every_field_that_differs(tmp_path: Path, command: Command) -> None:
    first = records.write(record_of("aaaa"), {"labels": np.arange(2)}, tmp_path)
    changed = record_of("bbbb", seed=1)
    changed.metrics["test"]["recall"] = {"a": 0.5}
    changed.history["method"].append({"epoch": 2.0})
    second = records.write(changed, {"labels": np.arange(2)}, tmp_path)
    assert differences(first, first) == []
    assert differences(first, second) == [
        ("key", "aaaa", "bbbb"),
        ("recipe.seed", 0, 1),
        ("metrics.test.recall.a", None, 0.5),
        ("history.method.1.epoch", None, 2.0),
    ]
    lines = command.good("records", "diff", first.folder, second.folder)
    assert "recipe.seed: 0 | 1" in lines and lines[-1] == "results: not equal"
    assert command.good("records", "diff", first.folder, first.folder) == ["results: equal to the last bit"]


def test_broken_records_are_named(tmp_path: Path, command: Command) -> None:
    with pytest.raises(RecordError, match="is no record"):
        records.read(tmp_path / "none")
    folder = records.write(record_of(), {"labels": np.arange(2)}, tmp_path / "store").folder
    file = folder / "record.json"
    text = file.read_text()
    for bad, field in (
        (text.replace('"seconds":', '"secs":'), "seconds: Field required"),
        (text.replace('"real": false', '"real": "perhaps"').replace('"real":false', '"real":"perhaps"'), "data.real"),
        (text[:50], "Invalid JSON"),
    ):
        file.write_text(bad)
        with pytest.raises(RecordError, match=f"record.json(.|\n)*{field}"):
            records.read(folder)
        assert field in command.bad("records", "show", folder)
    file.write_text(text)
    assert "is no record" in command.bad("records", "show", tmp_path)
    for damage in (lambda p: os.truncate(p, 40), lambda p: p.write_text("hello"), lambda p: p.unlink()):
        damage(folder / "arrays.npz")
        with pytest.raises(RecordError, match=r"arrays\.npz can't be read"):
            records.read(folder).arrays()


def test_nothing_pickled_is_read(tmp_path: Path) -> None:
    folder = records.write(record_of(), {"labels": np.arange(2)}, tmp_path).folder
    np.savez(folder / "arrays.npz", labels=np.array([{}], dtype=object))
    with pytest.raises(RecordError, match=r"arrays\.npz can't be read"):
        records.read(folder).arrays()


# --- from the command line to a record --------------------------------------------------------------------


def test_train_writes_a_record_and_finds_it_again(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = command.good(*WORDS)
    record = records.read(lines[-1])
    assert record.folder.parent == tmp_path / "records" and lines[-2].startswith("test ")
    assert record.recipe["epochs"] == 2 and record.classes == list(CLASSES)
    assert {stage: len(rows) for stage, rows in record.history.items()} == {"backbone": 1, "method": 2}
    numbers, arrays = record.metrics["test"], record.arrays()
    value, low, high = (float(number) for number in re.findall(r"\d+\.\d+", lines[-2]))
    assert value == pytest.approx(100 * numbers["accuracy"], abs=0.01)
    assert low < value < high and "people" in lines[-2], "the interval is over people"
    assert set(record.stages) == {"backbone"} and record.stages["backbone"]["test"]["images"] == numbers["images"]
    assert not [name for name, value in arrays.items() if value.dtype == object]
    answers = arrays["probabilities"].astype(float).argmax(1)
    assert (answers == arrays["labels"]).mean() == pytest.approx(numbers["accuracy"])
    assert np.trace(arrays["confusion_test"]) == round(numbers["accuracy"] * numbers["images"])
    assert record.data.images["test"] == len(arrays["samples"]) == numbers["images"]

    recipe = lan.LANRecipe.model_validate(record.recipe)
    network = lan.model(recipe, 3)
    loop.load_weights(network, record.folder / "model.safetensors")
    data = catalogue.prepare("kdef-twin")
    rows = protocols.split(data.manifest, recipe.protocol)["test"]
    again = predict(network, Batches(data, rows, 16, 256, "cpu"))["expression"]
    assert np.abs(again - arrays["probabilities"]).max() < 1e-3, "the weights are those that were tested"
    assert not (tmp_path / "records" / ".running" / record.key).exists()

    monkeypatch.setattr(experiments, "_train", lambda *_: pytest.fail("trained again"))
    assert command.good(*WORDS) == lines
    assert command.good(*record.command.split()[1:])[-1] == lines[-1], "the record's own command finds it"
    listed = command.good("records", "list", tmp_path / "records")[0]
    assert record.name in listed and "stale" not in listed
    monkeypatch.setattr(provenance, "code_of", lambda paper: "edited")
    assert (
        command.good("records", "list", tmp_path / "records")[0]
        == f"{listed.partition(' min')[0]} min  stale  {listed.partition(' min  ')[2]}"
    )
    assert f'"key": "{record.key}"' in "\n".join(command.good("records", "show", lines[-1]))


@pytest.mark.apart
def test_processes_that_train_together_write_one_record(tmp_path: Path) -> None:
    words = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "fercore.cli", *WORDS]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "FERCORE_RECORDS": str(tmp_path)}
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    (record,) = records.find(tmp_path)
    assert len(list((tmp_path / experiments.STAGES).glob("*/record.json"))) == 1
    assert len(record.history["method"]) == 2 and record.arrays()
    assert not list((tmp_path / ".running").glob("*/checkpoint.pt"))


def damage_json(folder: Path) -> None:
    os.truncate(folder / "record.json", 200)


def damage_number(folder: Path) -> None:
    rewrite(folder, lambda content: content["metrics"]["test"].update(accuracy=1.0))


def damage_arrays(folder: Path) -> None:
    os.truncate(folder / "arrays.npz", 200)


def test_a_corrupted_record_is_named_and_made_again(command: Command) -> None:
    whole = records.read(command.good(*WORDS)[-1])
    whole.arrays()  # read before they are damaged
    for damage, message in (
        (damage_json, "Invalid JSON"),
        (damage_number, "was changed after the run"),
        (damage_arrays, "arrays.npz can't be read"),
    ):
        damage(whole.folder)
        lines = command.good(*WORDS)
        assert message in command.errors and "It is made again now." in command.errors
        again = records.read(lines[-1])
        assert_equal(again, whole)


def test_two_runs_of_the_same_command_make_equal_records(command: Command, tmp_path: Path) -> None:
    first, second = (records.read(command.good(*WORDS, "--records", tmp_path / name)[-1]) for name in ("a", "b"))
    assert_equal(first, second)
    assert first.folder != second.folder and first.name == second.name


def test_what_the_record_says_of_the_run(command: Command) -> None:
    record = records.read(command.good(*WORDS)[-1])
    assert set(record.weights) == {"backbone", "method", "final"}
    assert len({note.hash for note in record.weights.values()}) == 3
    assert all(note.norm > 0 for note in record.weights.values())
    assert all(row["first_loss"] > 0 and row["train_loss"] > 0 for rows in record.history.values() for row in rows)
    assert record.model["flops"] == 2 * record.model["multiply_adds"] > 0 < record.model["frames_per_second"]
    network = lan.model(lan.LANRecipe.model_validate(record.recipe), len(CLASSES))
    counted = cost(network, SMALL["image_size"])._asdict()
    assert {name: record.model[name] for name in counted} == counted and record.model["class"] == "LAN"
    assert record.machine["device"] == "cpu" and record.machine["threads"] == 1 and record.machine["instructions"]
    assert datetime.fromisoformat(record.started).tzinfo is UTC and record.started <= datetime.now(UTC).isoformat()
    assert set(record.commit) == {"id", "dirty"} and record.versions["torch"] and record.peak_memory > 2**20
    arrays, numbers = record.arrays(), record.metrics["test"]
    found = evaluate.summary(arrays["labels"], arrays["probabilities"].argmax(1), record.classes)
    assert {name: numbers[name] for name in found} == found, "every number follows from the arrays"
    assert numbers["calibration_error"] == evaluate.calibration_error(arrays["labels"], arrays["probabilities"])
    assert not stale(record) and stale(record.model_copy(update={"code": "0"}))


def test_an_interrupted_command_goes_on(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refresh = lan.refresh

    def stop(recipe: lan.LANRecipe, epoch: int, *words: Any) -> dict[str, float]:
        if epoch == 1:
            raise FercoreError("stopped", do="start it again")
        return refresh(recipe, epoch, *words)

    monkeypatch.setattr(lan, "refresh", stop)
    assert "stopped" in command.bad(*WORDS)
    assert not list((tmp_path / "records").glob("*/record.json"))
    monkeypatch.setattr(lan, "refresh", refresh)
    resumed = records.read(command.good(*WORDS)[-1])
    whole = records.read(command.good(*WORDS, "--records", tmp_path / "other")[-1])
    assert_equal(resumed, whole)
    weights = [(r.folder / "model.safetensors").read_bytes() for r in (resumed, whole)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("lam",), "no paper 'lam' (did you mean 'lan'?)"),
        (("lan", "--preset", "smoek"), "did you mean 'smoke'?"),
        (("lan", "--dataset", "raf"), "there are: ferplus, kdef, kdef-twin, bu3dfe"),
        (("lan", "--set", "epohcs=2"), "did you mean 'epochs'?"),
        (("lan", "--set", "epochs=many"), "'epochs' = 'many'"),
        (("lan", "--set", "epochs"), "'epochs' = None"),
        (("lan", "--set", "epochs="), "'epochs' = ''"),
        (("lan", "--set", "fold=10"), "folds 0 to 9, not 10"),
        (("lan", "--seed", "-1"), "'seed' = -1"),
        (("lan", "--set", "width=["), "'width' = '['"),
        (("lan", "--set", "preset=quick"), "write --preset quick"),
    ],
)
def test_mistakes(words: tuple[str, ...], message: str, command: Command) -> None:
    assert message in command.bad("train", *words)


# --- interruptions ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Any:
    """Forks processes in which torch and this file are imported already: a training starts at once, 40 times."""
    context = multiprocessing.get_context("forkserver")
    with pytest.MonkeyPatch.context() as patch:  # Python 3.11's server does not look where its parent does
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
        context.set_forkserver_preload(["test_records"])
        forkserver.ensure_running()
    return context


def start(server: Any, prepared: Path, root: Path, dies_in: str = "") -> Any:
    """A process that runs :func:`train_small`, returned when it has begun."""
    ours, theirs = server.Pipe()
    child = server.Process(target=train_small, args=(str(prepared), root, theirs, dies_in))
    child.start()
    assert ours.poll(600) and ours.recv()
    return child


@pytest.fixture(scope="module")
def whole(server: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """Folder of a record made without interruption in a process of its own, and the seconds that it took."""
    root = tmp_path_factory.mktemp("whole")
    child = start(server, root / "prepared", root / "records")
    began = time.monotonic()
    child.join()
    seconds = time.monotonic() - began
    assert child.exitcode == 0
    return only(root / "records"), seconds


def only(root: Path) -> Path:
    (file,) = root.glob("[!.]*/record.json")
    return file.parent


def assert_it_ends_the_same(server: Any, whole: Path, root: Path) -> None:
    """The same command once more gives the record of the run that nobody killed, and leaves nothing half-written."""
    again = start(server, whole.parents[1] / "prepared", root)
    again.join()
    assert again.exitcode == 0
    assert_equal(records.read(only(root)), records.read(whole))
    left = [path.name for path in root.rglob("*") if ".partial" in path.name]
    assert not left


@pytest.mark.apart
def test_killed_at_20_moments_it_ends_in_the_same_record(
    server: Any, whole: tuple[Path, float], tmp_path: Path
) -> None:
    reference, seconds = whole
    generator, caught = random.Random(20), 0
    while caught < 20:
        child = start(server, reference.parents[1] / "prepared", tmp_path / "cut")
        time.sleep(seconds * (caught + generator.random()) / 20)  # one in each twentieth of the whole training
        child.kill()
        child.join()
        if child.exitcode == -signal.SIGKILL:
            caught += 1
        else:  # it had ended: the machine is faster than when it was measured, and this moment is tried again
            assert child.exitcode == 0
            seconds *= 0.8
        assert_it_ends_the_same(server, reference, tmp_path / "cut")
        shutil.rmtree(tmp_path / "cut")


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.apart
def test_killed_while_it_writes_it_ends_in_the_same_record(
    writer: str, server: Any, whole: tuple[Path, float], tmp_path: Path
) -> None:
    child = start(server, whole[0].parents[1] / "prepared", tmp_path, dies_in=writer)
    child.join()
    assert child.exitcode == -signal.SIGKILL and list(tmp_path.rglob("*.partial*"))
    assert_it_ends_the_same(server, whole[0], tmp_path)


@pytest.mark.parametrize("record", records.find(), ids=lambda record: record.name)
def test_committed_records_have_every_field_of_their_recipe(record: records.Record) -> None:
    kind = type(papers.module(record.recipe["paper"]).recipe(record.recipe["preset"], record.recipe["dataset"]))
    assert set(kind.model_fields) <= set(record.recipe), "a field that came later needs its old meaning in records.py"
