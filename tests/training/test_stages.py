"""What a run stands on: stages that are trained before it, and weights from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tiny_paper
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fercore import provenance, records
from fercore.backbones import weights
from fercore.data import catalogue
from fercore.records import Record
from fercore.training import experiments, loop

Tensors = dict[str, Tensor]


class Begun(NamedTuple):
    """A training that was started: its recipe and options, and the network's tensors before its first step."""

    recipe: tiny_paper.TinyRecipe
    tensors: Tensors
    options: dict[str, Any]


@pytest.fixture
def use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The small paper is there; called with other definitions, it has those."""
    register = partial(tiny_paper.register, tmp_path, monkeypatch)
    register()
    return register


@pytest.fixture
def begun(use: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> list[Begun]:
    """Every training that is started from now on."""
    seen: list[Begun] = []

    def fit(recipe: Any, network: nn.Module, *words: Any, **options: Any) -> Any:
        seen.append(Begun(recipe, {name: value.clone() for name, value in network.state_dict().items()}, options))
        return loop.fit(recipe, network, *words, **options)

    monkeypatch.setattr(experiments, "fit", fit)
    return seen


def run(**changes: Any) -> Record:
    return experiments.run(tiny_paper.recipe(**changes))


def ended(record: Record) -> Tensors:
    return load_file(record.folder / "model.safetensors")


def part(tensors: Tensors, name: str) -> dict[str, list[float]]:
    return {key: value.flatten().tolist() for key, value in tensors.items() if key.startswith(f"{name}.")}


def stage(name: str) -> Record:
    (found,) = records.find(experiments.records_root() / experiments.STAGES, method=name)
    return found


# --- stages -----------------------------------------------------------------------------------------------


def test_a_run_starts_from_both_of_two_chained_stages(begun: list[Begun]) -> None:
    record = run(chained=2)
    assert [each.recipe.method for each in begun] == ["first", "second", "tiny"], "the first one once, for both"
    first, second = ended(stage("first")), ended(stage("second"))
    start_of_second, start = begun[1].tensors, begun[2].tensors
    assert part(start_of_second, "backbone") == part(first, "backbone")
    assert part(start_of_second, "second") != part(second, "second"), "which it has to train itself"
    assert part(start, "first") == part(first, "first"), "a part that the second stage has not"
    for name in ("second", "backbone", "classifier"):
        assert part(start, name) == part(second, name) != part(first, name), "the last word is the second's"
    assert part(ended(record), "backbone") != part(second, "backbone"), "the run goes on from there"


def test_a_stage_is_trained_once_and_its_record_is_kept_aside(begun: list[Begun], tmp_path: Path) -> None:
    one, two = run(chained=1), run(chained=2)
    assert [each.recipe.method for each in begun] == ["first", "tiny", "second", "tiny"]
    assert one.history["first"] == two.history["first"], "to the seconds: it is the same one"
    root = tmp_path / "records"
    assert {record.folder for record in records.find(root)} == {one.folder, two.folder}, "stages are no results"
    assert stage("first").folder.parent == root / ".stages"
    again = experiments.run_stage(begun[0].recipe, root)
    assert again.folder == stage("first").folder and len(begun) == 4, "found where runs look for it"


def test_the_record_says_what_its_stages_reached(use: Callable[..., None]) -> None:
    record = run(chained=2, epochs=1)
    first, second = stage("first"), stage("second")
    assert record.stages == {"first": first.metrics, "second": second.metrics}
    assert list(record.history) == ["first", "second", "method"]
    assert record.history["first"] == first.history["method"] and record.history["second"] == second.history["method"]
    assert set(record.weights) == {"first", "second", "method", "final"}
    assert record.weights["first"] == first.weights["method"], "what each stage started from"


def test_seconds_count_every_stage_once(use: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*words: Any, **options: Any) -> Any:
        network, history = loop.fit(*words, **options)
        return network, [row | {"seconds": 1000.0} for row in history]

    monkeypatch.setattr(experiments, "fit", fit)
    assert run(chained=2, epochs=1).seconds == pytest.approx(3000)


def test_an_edited_stage_is_another_one(begun: list[Begun]) -> None:
    run(chained=1), run(chained=1, learning_rate=0.04)
    assert [each.recipe.method for each in begun] == ["first", "tiny"] * 2
    assert [each.recipe.learning_rate for each in begun] == [0.05, 0.05, 0.04, 0.04]


def test_a_stage_sees_its_own_data(use: Callable[..., None], begun: list[Begun]) -> None:
    def stages(recipe: tiny_paper.TinyRecipe) -> dict[str, tiny_paper.TinyRecipe]:
        elsewhere = {"method": "first", "dataset": "rafdb-twin", "leave_out": "surprise"}
        return {"first": recipe.but(**elsewhere)} if recipe.method == "tiny" else {}

    use(stages=stages)
    record, first = run(), stage("first")
    assert (first.data.name, record.data.name) == ("rafdb-twin", "kdef-twin")
    assert first.classes == record.classes[:2], "its classes are not the run's, nor is its classifier"
    start = begun[1].tensors
    assert part(start, "backbone") == part(ended(first), "backbone")
    assert start["classifier.weight"].shape[0] == 3 and part(start, "classifier") != part(ended(first), "classifier")


@pytest.mark.parametrize("of_stage", [False, True], ids=["run", "stage"])
def test_a_hook_that_only_draws_changes_no_training(
    of_stage: bool, use: Callable[..., None], begun: list[Begun], tmp_path: Path
) -> None:
    finals = []
    for k, refresh in enumerate((None, lambda *_: {"drawn": torch.rand(9).sum().item()})):
        use(refresh=refresh)
        train = experiments.run_stage if of_stage else experiments.run
        finals.append(train(tiny_paper.recipe(flip=True), tmp_path / str(k)).weights["final"])
    assert finals[0] == finals[1] and [each.options["quiet"] for each in begun] == [of_stage] * 2


# --- weights from elsewhere -------------------------------------------------------------------------------


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Every part that is filled from a file: its class, and the file's name."""
    seen: list[tuple[str, str]] = []
    load = weights.load

    def spied(module: nn.Module, path: Path, **more: Any) -> Any:
        seen.append((type(module).__name__, path.name))
        return load(module, path, **more)

    monkeypatch.setattr(weights, "load", spied)
    return seen


def files(folder: Path) -> tuple[str, str]:
    """Weights of a trunk and of a helper, as this package writes them."""
    torch.manual_seed(5)
    network = tiny_paper.Network(3, helpers=("second",))
    for name in ("backbone", "second"):
        loop.save_weights(getattr(network, name), folder / f"{name}.safetensors", ("any",))
    return tuple(str(folder / f"{name}.safetensors") for name in ("backbone", "second"))


def test_a_part_that_a_stage_trains_is_not_filled_again(
    begun: list[Begun], taken: list[tuple[str, str]], tmp_path: Path
) -> None:
    trunk, _ = files(tmp_path)
    record = run(chained=1, start=trunk)
    assert taken == [("Conv2d", "backbone.safetensors")], "by the stage, not by the run"
    loaded = {f"backbone.{name}": value for name, value in load_file(trunk).items()}
    assert part(begun[0].tensors, "backbone") == part(loaded, "backbone")
    assert part(begun[1].tensors, "backbone") == part(ended(stage("first")), "backbone") != part(loaded, "backbone")
    alone = run(start=trunk)
    assert part(begun[2].tensors, "backbone") == part(loaded, "backbone"), "without a stage by the run itself"
    assert len({record.key, alone.key, run(chained=1).key}) == 3


def test_a_further_part_is_filled_beside_the_stages(
    use: Callable[..., None], begun: list[Begun], taken: list[tuple[str, str]], tmp_path: Path
) -> None:
    trunk, helper = files(tmp_path)

    def starts(recipe: tiny_paper.TinyRecipe) -> dict[str, str]:
        return {"backbone": recipe.start} | ({"second": helper} if recipe.method == "tiny" else {})

    use(starts=starts)
    run(chained=1, start=trunk)
    assert taken == [("Conv2d", "backbone.safetensors"), ("Linear", "second.safetensors")]
    loaded = {f"second.{name}": value for name, value in load_file(helper).items()}
    assert part(begun[1].tensors, "second") == part(loaded, "second")
    run(start=trunk)
    assert taken[2:] == [("Conv2d", "backbone.safetensors"), ("Linear", "second.safetensors")]


def test_what_a_run_stands_on_is_in_its_key(use: Callable[..., None], tmp_path: Path) -> None:
    recipe = tiny_paper.recipe(also_on="rafdb-twin", start=files(tmp_path)[0])
    before = experiments._before(recipe, tmp_path)
    other = replace(before.data, card=before.data.card | {"hash": "of other images"})
    start = before.starts["backbone"]
    changed = [
        {"data": other},
        {"others": {"rafdb-twin": other}},
        {"starts": {"backbone": start._replace(hash="of other weights")}},
    ]
    keys = {before._replace(**change).key(recipe, "code") for change in changed}
    own = before.key(recipe, "code")
    assert len(keys | {own, before.key(recipe.but(seed=1), "code"), before.key(recipe, "other code")}) == 6
    moved = before._replace(starts={"backbone": start._replace(file=tmp_path / "moved")})
    assert moved.key(recipe, "code") == own, "where a file lies does not count"


def test_every_set_is_prepared_at_the_run_s_preset(use: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []
    prepare = catalogue.prepare

    def spied(name: str, preset: str = "smoke", **more: Any) -> Any:
        asked.append((name, preset, more.get("changes", {})))
        return prepare(name, preset)

    monkeypatch.setattr(catalogue, "prepare", spied)
    experiments._before(tiny_paper.recipe("quick", also_on="rafdb-twin", data={"stray": 0.1}), Path())
    assert asked == [("kdef-twin", "quick", {"stray": 0.1}), ("rafdb-twin", "quick", {})]


def test_the_seed_decides_what_a_network_begins_with(use: Callable[..., None]) -> None:
    begun = []
    for seed in (0, 5):
        torch.manual_seed(seed)
        begun.append(experiments._weights_note(tiny_paper.model(tiny_paper.recipe(), 3)).hash)
        assert run(seed=seed, epochs=1).weights["method"].hash == begun[-1]
    assert begun[0] != begun[1]


BGR = ("BGR", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("ours", "convention", "expected"),
    [(True, None, []), (False, None, [weights.IMAGENET]), (False, BGR, [weights.Convention(*BGR)])],
    ids=["ours", "usual", "the trunk's own"],
)
def test_a_trunk_that_learnt_from_other_colours_is_adapted(
    ours: bool, convention: Any, expected: list[Any], use: Callable[..., None], begun: list[Begun], tmp_path: Path
) -> None:
    def model(recipe: Any, classes: int) -> nn.Module:
        network = tiny_paper.model(recipe, classes)
        network.backbone.entry = nn.Conv2d(3, 2, 1, bias=False), nn.BatchNorm2d(2)
        if convention:
            network.backbone.convention = convention
        return network

    trunk, _ = files(tmp_path)
    if not ours:  # a file of another package says nothing of classes
        save_file(load_file(trunk), trunk)
    adapted: list[Any] = []
    use(model=model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "adapt_input", lambda *words: adapted.append(words[2]))
        patch.setattr(weights, "load", lambda *words, **more: None)
        run(start=trunk, epochs=1)
    assert adapted == expected


def test_a_run_of_code_that_is_proven_to_do_the_same_is_found(
    use: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(epochs=1)
    monkeypatch.setattr(provenance, "code_of", lambda paper: "later")
    steps = [records.Step("tiny", first.code, "later")]
    for known, found in ((steps, True), ([records.Step("tiny", "later", first.code)], False)):
        monkeypatch.setattr(records, "steps", lambda root=None, known=known: known)
        assert (run(epochs=1).key == first.key) == found


def test_weights_by_their_content_are_part_of_the_run(use: Callable[..., None], tmp_path: Path) -> None:
    trunk, _ = files(tmp_path)
    one = run(start=trunk)
    assert one.starts == {"backbone": provenance.file_hash(Path(trunk))[:16]} and not run().starts
    torch.manual_seed(6)
    loop.save_weights(tiny_paper.Network(3).backbone, Path(trunk), ("any",))
    assert run(start=trunk).key != one.key
