"""Claims: all of them, each with its page; verdicts that follow from records, settings and margins."""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import pytest
from scipy import stats

from fercore import papers, published, records
from fercore.data import catalogue, parts, protocols, twin_designs
from fercore.ledger import claims, found
from fercore.paths import ROOT
from fercore.records import Record
from fercore.training import experiments

CLAIMS = claims.load()
ROWS = claims.rows(CLAIMS)
LAN, RESNET18 = (published.value("lan", "T3", row) for row in ("LAN", "ResNet-18"))
SEEDS = range(claims.SEEDS)


def of(among: list[claims.Claim], paper: str, name: str) -> claims.Claim:
    return next(claim for claim in among if (claim.paper, claim.name) == (paper, name))


def write(
    root: Path, method: str, percent: float, seed: int = 0, preset: str = "quick", dataset: str = "ferplus", **more: Any
) -> Record:
    """A committed record again, of other settings, with so many of its answers right: the first ones of its images,
    so that of two methods one is right wherever the other is."""
    (source,) = found.reference(paper="lan", preset="quick", dataset=dataset, method=method, seed=0, fold=0)
    recipe = papers.module("lan").recipe(preset, dataset, method=method, seed=seed, **more)
    arrays = source.arrays()
    order = np.random.default_rng(0).permutation(len(arrays["labels"]))
    right = np.zeros(len(order), bool)
    right[order[: round(percent / 100 * len(order))]] = True
    answers = np.where(right, arrays["labels"], (arrays["labels"] + 1) % len(source.classes))
    arrays["probabilities"] = np.eye(len(source.classes), dtype=np.float16)[answers]
    update = {"recipe": recipe.model_dump(mode="json"), "key": recipe.key(), "command": experiments.command(recipe)}
    return records.write(source.model_copy(update=update), arrays, root)


def published_run(root: Path, method: str, percent: float, seed: int = 0, **more: Any) -> Record:
    """A run at the paper's size with its values, from a file of weights."""
    return write(root, method, percent, seed, "paper", start="weights/of-faces.pth", **more)


# --- what is claimed ----------------------------------------------------------------------------------------


def test_all_claims_are_there() -> None:
    kinds = Counter((claim.paper, claim.kind) for claim in CLAIMS)
    for paper, about in published.ABOUT.items():
        if paper in published.PAPERS:
            assert (kinds[paper, "table"], kinds[paper, "figure"]) == (about["tables"], about["figures"])
            assert kinds[paper, "gain"] >= 1
    assert Counter(claim.kind for claim in CLAIMS)["table"] == 37
    assert Counter(claim.kind for claim in CLAIMS)["figure"] == 49
    assert len({(claim.paper, claim.name) for claim in CLAIMS}) == len(CLAIMS)
    firsts = [next(claim.kind for claim in CLAIMS if claim.paper == paper) for paper in published.PAPERS]
    assert set(firsts) == {"gain"}, "a paper's gains stand first"


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.paper} {claim.name}")
def test_a_claim_says_what_and_where(claim: claims.Claim) -> None:
    assert claim.verdict in claims.VERDICTS
    assert 10 < len(claim.title) < 90 and not claim.title.endswith(".")
    assert re.fullmatch(rf"{claim.paper}/(method|training|ablations|figures|efficiency)\.ipynb", claim.notebook)
    source = ROOT / "notebooks" / claim.notebook
    if (source.parent / "figures.ipynb").is_file():  # a paper that is complete has the notebook of each of its claims
        assert source.is_file()
    if claim.records:
        assert source.is_file() and claim.cell, "what a record says of a claim is shown on a page"
    if claim.cell:
        assert claim.cell in {cell.id for cell in nbformat.read(source, as_version=4).cells}
    wanted = {"table": r"Table \d", "figure": r"Fig\. \d+", "number": r"[a-z].*", "gain": r"gain on .+"}[claim.kind]
    assert re.fullmatch(wanted, claim.name)
    if claim.kind in ("number", "gain"):
        assert claim.comparisons, "a headline number has a criterion"


def test_every_criterion_names_one_cell_of_one_claim() -> None:
    listed = {(line.paper, line.name) for line in published.read("claims").itertuples()}
    lines = published.read("criteria")
    for line in lines.itertuples():
        assert (line.paper, line.claim) in listed
        published.cell(line.paper, line.table or line.figure, line.row, line.column, line.of or None)
        assert line.where == claims.COUNTED or all("=" in pair for pair in line.where.split(";"))
    assert not lines.duplicated().any()


@pytest.mark.parametrize("name", ["criteria", "gains"])
def test_criteria_are_settings_that_papers_have_and_runs_can_take(name: str) -> None:
    known = {dataset.removesuffix("-twin") for dataset in catalogue.DATASETS}
    lines = published.read(name)
    lines = lines[(lines["paper"].isin(papers.names())) & (lines["where"] != claims.COUNTED)]
    assert {"lan", "pcda"} <= set(lines["paper"])
    for line in lines.itertuples():
        assert line.dataset in known, "names of data sets are the catalogue's"
        for text in (line.where, getattr(line, "without", line.where)):
            where = found.settings(text)
            rest = {field: value for field, value in where.items() if field != "preset"}
            recipe = papers.module(line.paper).recipe(where.get("preset", "quick"), f"{line.dataset}-twin", **rest)
            assert all(getattr(recipe, field) == value for field, value in where.items())


@functools.cache
def of_test_part(dataset: str, protocol: str) -> tuple[set[str], set[str]]:
    """Subsets and classes of the test part of a data set, whose design its twin has."""
    table = twin_designs.rows(twin_designs.parameters(f"{dataset}-twin", "paper"))
    rows = protocols.split(table, protocol)["test"]
    return set(parts.subsets(SimpleNamespace(manifest=table), rows)), set(table["expression"].iloc[rows])


CRITERIA = published.read("criteria")
TRAINED = [
    *CRITERIA[CRITERIA["where"] != claims.COUNTED]
    .drop_duplicates(["dataset", "where", "subset", "metric"])
    .itertuples()
]


@pytest.mark.parametrize("line", TRAINED, ids=lambda line: f"{line.where}-{line.subset}-{line.metric}")
def test_every_criterion_can_meet_a_record(line: Any) -> None:
    """Its split is in the registry, its data set in the catalogue; the split's test part has its subset and class."""
    assert catalogue.entry(line.dataset).real
    where = found.settings(line.where)
    assert {"method", "protocol"} <= set(where) and where["protocol"] in protocols.PROTOCOLS
    subsets, classes = of_test_part(line.dataset, where["protocol"])
    if line.subset.startswith("on_"):
        elsewhere = line.subset.removeprefix("on_")
        assert catalogue.entry(elsewhere).real
        classes = classes & of_test_part(elsewhere, protocols.USUAL[elsewhere])[1]
    else:
        assert line.subset in subsets
    metric = re.fullmatch(r"accuracy|balanced_accuracy|pose_accuracy|(?:recall|f1)\.(\w+)", line.metric)
    assert metric and (metric[1] is None or metric[1] in classes - {where.get("leave_out")})


def test_every_gain_is_of_the_splits_of_its_cells() -> None:
    for line in published.read("gains").itertuples():
        cells = CRITERIA.query("paper == @line.paper and table == @line.table and row == @line.row and of == @line.of")
        splits = {found.settings(where)["protocol"] for where in cells.query("column == @line.column")["where"]}
        assert {found.settings(text)["protocol"] for text in (line.where, line.without)} == splits
        assert line.subset in of_test_part(line.dataset, splits.pop())[0]


@pytest.mark.parametrize(
    ("dataset", "protocol", "subset", "known"),
    [
        ("bu3dfe", "pata-bu3dfe-s1", "pan_+15", False), ("bu3dfe", "pata-bu3dfe-s2", "pan_+15", True),
        ("kdef", "phanet-kdef", "pan_+30", False), ("ferplus", "ferplus-official", "pose_over_45", True),
        ("multipie", "pata-multipie-s2", "pan_-30", False), ("sfew", "official", "pose_over_30", True),
    ],
)  # fmt: skip
def test_which_subsets_a_test_part_has(dataset: str, protocol: str, subset: str, known: bool) -> None:
    assert (subset in of_test_part(dataset, protocol)[0]) == known
    assert "smile" not in of_test_part("multipie", "phanet-multipie")[1], "it is labelled happiness here"


def test_a_split_may_have_two_names_and_being_tested_elsewhere_makes_no_variant(tmp_path: Path) -> None:
    run = write(tmp_path, "lan", 80, dataset="ferplus-twin")
    assert run.recipe["protocol"] == "official", "the twin's name of FERPlus's own split"
    assert of(claims.load(tmp_path), "lan", "Table 3").headline.twin.records == (run.name,)
    other = write(tmp_path / "other", "lan", 80, dataset="ferplus-twin", also_on="rafdb-twin")
    assert of(claims.load(tmp_path / "other"), "lan", "Table 3").headline.twin.records == (other.name,)


def test_what_is_tested_on_another_set_is_that_sets_twin_for_a_twin(tmp_path: Path) -> None:
    run = write(tmp_path, "lan", 80, dataset="kdef-twin", also_on="rafdb-twin")
    arrays = run.arrays() | {"confusion_on_rafdb-twin": np.diag(np.full(len(run.classes), 7))}
    records.write(run, arrays, tmp_path)
    line = SimpleNamespace(paper="lan", dataset="kdef", where="method=lan", subset="on_rafdb", metric="accuracy")
    measured = claims._absolute(line, "%", "kdef-twin", claims.Runs(tmp_path))
    assert measured.value == pytest.approx(100) and measured.records == (run.name,)
    assert claims._absolute(line, "%", "kdef", claims.Runs(tmp_path)) is None


def test_a_number_that_repeats_a_tables_cells_is_left_out() -> None:
    listed = published.read("claims").query("kind == 'number'")
    shown = {(claim.paper, claim.name) for claim in CLAIMS if claim.kind == "number"}
    left = {(line.paper, line.name) for line in listed.itertuples()} - shown
    assert ("lan", "accuracy on FERPlus") in left
    criteria = published.read("criteria")
    fields = ["dataset", "where", "subset", "metric"]
    tables = criteria[criteria["claim"].str.match("Table")]
    cells = {(line.paper, *(getattr(line, field) for field in fields)) for line in tables.itertuples()}
    for paper, name in left:
        own = criteria[(criteria["paper"] == paper) & (criteria["claim"] == name)]
        assert {(paper, *(getattr(line, field) for field in fields)) for line in own.itertuples()} <= cells


# --- verdicts of one number ---------------------------------------------------------------------------------


def measured(value: float, low: float, high: float, **more: Any) -> claims.Measured:
    fields = {"judged": True, "enough": True} | more
    return claims.Measured(value, low, high, "", "paper", 3, 1, ("a",), "", (), **fields)


@pytest.mark.parametrize(
    ("low", "high", "more", "expected"),
    [
        (87.1, 88.9, {}, "reproduced"), (87.0, 89.0, {}, "reproduced"), (86.9, 88.0, {}, "inconclusive"),
        (88.0, 89.1, {}, "inconclusive"), (80.0, 95.0, {}, "inconclusive"), (85.0, 86.9, {}, "differs"),
        (89.1, 90.0, {}, "differs"), (87.1, 88.9, {"enough": False}, "inconclusive"),
        (85.0, 86.0, {"enough": False}, "inconclusive"), (87.1, 88.9, {"judged": False}, "another setting"),
        (85.0, 86.0, {"judged": False}, "another setting"), (math.nan, math.nan, {}, "inconclusive"),
    ],
)  # fmt: skip
def test_the_margin_and_the_interval_decide(low: float, high: float, more: dict[str, Any], expected: str) -> None:
    assert claims.verdict_of(measured((low + high) / 2, low, high, **more), 88.0, 1.0) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (["reproduced"] * 9 + ["differs"], "reproduced"), (["reproduced"] * 8 + ["differs"] * 2, "differs"),
        (["reproduced", "inconclusive"], "reproduced"), (["reproduced"] + ["inconclusive"] * 2, "inconclusive"),
        (["inconclusive", "another setting"], "inconclusive"), (["another setting", ""], "another setting"),
        (["differs", "inconclusive"], "differs"), (["differs"] + ["inconclusive"] * 2, "inconclusive"),
        (["reproduced"] + [""] * 19, "inconclusive"), (["differs"] + [""] * 19, "inconclusive"),
    ],
)  # fmt: skip
def test_a_table_is_judged_as_a_whole(said: list[str], expected: str) -> None:
    comparisons = [claims.Comparison("T1", "", "", "", "", None, None, verdict, ()) for verdict in said]
    assert claims._verdict(comparisons, "a-cell", [], claims.Runs()) == expected


# --- verdicts of records ------------------------------------------------------------------------------------


def test_without_records_only_sizes_are_judged(tmp_path: Path) -> None:
    among = claims.load(tmp_path)
    counted = {(claim.paper, claim.name) for claim in among if any(c.real for c in claim.comparisons)}
    assert counted == {("pcda", name) for name in ("Table 2", "Table 7", "Table 8", "parameters")} & {
        (claim.paper, claim.name) for claim in among
    }
    others = [claim for claim in among if (claim.paper, claim.name) not in counted]
    assert {claim.verdict for claim in others} <= {"not run", "data not available", "shown", "not shown"}
    assert not any(claim.records for claim in among)


@pytest.mark.parametrize(
    ("above", "expected"), [(LAN - RESNET18, "reproduced"), (0.5, "differs"), (3.0, "inconclusive")]
)
def test_a_gain_is_judged_at_any_size(tmp_path: Path, above: float, expected: str) -> None:
    for seed in SEEDS:
        write(tmp_path, "resnet18", 80, seed)
        write(tmp_path, "lan", 80 + above, seed)
    claim = of(claims.load(tmp_path), "lan", "gain on FERPlus")
    real = claim.comparisons[0].real
    assert claim.verdict == expected and claim.headline.printed == f"{LAN - RESNET18:+.2f}"
    assert (real.value, real.seeds, real.preset) == (pytest.approx(above, abs=0.05), claims.SEEDS, "quick")
    assert len(real.records) == 2 * claims.SEEDS
    assert of(claims.load(tmp_path), "lan", "gain on RAF-DB").verdict == "data not available"


def test_a_gain_needs_seeds_and_the_same_start_on_both_sides(tmp_path: Path) -> None:
    for seed in SEEDS[:-1]:
        write(tmp_path, "resnet18", 80, seed)
        write(tmp_path, "lan", 80 + LAN - RESNET18, seed)
    assert of(claims.load(tmp_path), "lan", "gain on FERPlus").verdict == "inconclusive", "too few seeds"
    write(tmp_path, "lan", 85, SEEDS[-1])
    assert of(claims.load(tmp_path), "lan", "gain on FERPlus").headline.real.seeds == claims.SEEDS - 1, "no partner"
    for seed in SEEDS:
        write(tmp_path / "other", "resnet18", 80, seed)
        write(tmp_path / "other", "lan", 85, seed, start="identity")
    claim = of(claims.load(tmp_path / "other"), "lan", "gain on FERPlus")
    assert (claim.verdict, claim.headline.real) == ("not run", None), "other weights to start from"


def test_a_gain_on_a_subset_that_no_list_names_is_none(tmp_path: Path) -> None:
    for method in ("resnet18", "lan"):
        record = write(tmp_path / "whole", method, 80)
        arrays = {name: each for name, each in record.arrays().items() if "pose_over" not in name}
        records.write(record, arrays, tmp_path / "bare")
    among = claims.load(tmp_path / "bare")
    assert of(among, "lan", "gain on FERPlus").headline.real
    assert not of(among, "lan", "gain on FERPlus beyond 45 degrees").headline.real


@pytest.mark.parametrize(
    ("weights", "published_setting", "variant"),
    [("landmarks.pth", True, False), ("landmarks", False, False), ("", False, True)],
)
def test_what_a_part_starts_from_belongs_to_the_setting(weights: str, published_setting: bool, variant: bool) -> None:
    where = {"method": "pcda", "protocol": "official"}
    recipe = papers.module("pcda").recipe("paper", "rafdb", start="faces.pth", landmark_weights=weights)
    assert found.is_published(recipe, where, "faces") == published_setting
    assert found.is_variant(recipe, where) == variant
    plain = papers.module("pcda").recipe("paper", "rafdb", start="faces.pth", method="plain")
    assert found.is_published(plain, where | {"method": "plain"}, "faces"), "it has no landmark backbone"


def test_an_absolute_number_is_judged_in_the_papers_setting_alone(tmp_path: Path) -> None:
    for seed in SEEDS:
        write(tmp_path / "quick", "lan", LAN, seed)
        write(tmp_path / "ours", "lan", LAN, seed, "paper", setting="ours", start="weights.pth")
        write(tmp_path / "untaught", "lan", LAN, seed, "paper", start="")
        write(tmp_path / "identity", "lan", LAN, seed, "paper", start="identity")
        for method, percent in (("lan", LAN), ("resnet18", RESNET18)):
            published_run(tmp_path / "published", method, percent, seed)
    for name in ("quick", "ours", "untaught", "identity"):
        claim = of(claims.load(tmp_path / name), "lan", "Table 3")
        assert claim.verdict == "another setting" and claim.headline.real.value == pytest.approx(LAN, abs=0.02), name
    judged = of(claims.load(tmp_path / "published"), "lan", "Table 3")
    # 3,137 images tell within 1.2 points: too wide for a margin of one point either way, whatever the value.
    assert judged.verdict == "inconclusive" and judged.headline.real.judged
    for seed in SEEDS:
        for method, percent in (("lan", LAN - 4), ("resnet18", RESNET18 - 4)):
            published_run(tmp_path / "low", method, percent, seed)
    assert of(claims.load(tmp_path / "low"), "lan", "Table 3").verdict == "differs"


def test_a_faithful_run_with_a_weights_file_counts_and_stands_first(tmp_path: Path) -> None:
    for seed in SEEDS:
        write(tmp_path, "lan", 80, seed)
    run = published_run(tmp_path, "lan", 85)
    real = of(claims.load(tmp_path), "lan", "Table 3").headline.real
    assert real.records == (run.name,) and real.judged and not real.enough


def test_smoke_and_variants_never_stand_for_the_method(tmp_path: Path) -> None:
    write(tmp_path, "lan", 50, preset="smoke")
    write(tmp_path, "lan", 50, alpha=0.0)
    write(tmp_path, "lan", 50, fusion="concat")
    for part in (
        {"images": 100},
        {"share": 0.02},
        {"leave_out": "happiness"},
        {"epochs": 1},
        {"trunk": "ir50"},
        {"oversample": True},
        {"data": {"rule": "plurality"}},
        {"learning_rate": 0.5},
    ):
        write(tmp_path, "lan", 50, **part)
    claim = of(claims.load(tmp_path), "lan", "Table 3")
    assert not claim.records and claim.verdict == "not run"
    run = write(tmp_path, "lan", 80)
    assert of(claims.load(tmp_path), "lan", "Table 3").records == (run.name,)


def test_seeds_and_folds_of_one_kind_are_one_number(tmp_path: Path) -> None:
    for seed, percent in enumerate((82, 84, 86)):
        write(tmp_path, "lan", percent, seed)
    real = of(claims.load(tmp_path), "lan", "Table 3").headline.real
    over_seeds, over_images = 4 / 3, 84 * 16 / 3137  # variances in points: of three seeds, and of the images
    freedom = (over_seeds + over_images) ** 2 / (over_seeds**2 / 2 + over_images**2 / 3136)  # Satterthwaite
    half = stats.t.ppf(0.975, freedom) * math.sqrt(over_seeds + over_images)
    assert (real.value, real.seeds, real.folds) == (pytest.approx(84, abs=0.02), 3, 1)
    assert (real.high - real.low) / 2 == pytest.approx(half, rel=0.02)
    for fold in range(4):
        write(tmp_path, "lan", 90, dataset="kdef-twin", fold=fold)
    twin = of(claims.load(tmp_path), "lan", "Table 1").headline.twin
    assert (twin.value, twin.seeds, twin.folds, twin.enough) == (pytest.approx(90, abs=0.2), 1, 4, False)


def test_a_twin_is_shown_and_never_judged(tmp_path: Path) -> None:
    for fold, method in itertools.product(range(10), ("lan", "resnet18")):
        write(tmp_path, method, 95.39 if method == "lan" else 92, dataset="kdef-twin", fold=fold)
    table = of(claims.load(tmp_path), "lan", "Table 1")
    assert table.verdict in ("twin only", "not run") and table.headline.real is None
    assert (table.headline.twin.folds, table.headline.twin.enough) == (protocols.FOLDS["lan-kdef-10fold"], True)


def test_the_data_decide_between_not_run_and_not_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for here, expected in ((True, "not run"), (False, "data not available")):
        monkeypatch.setattr(catalogue, "at_hand", lambda name, here=here: here)
        among = claims.load(tmp_path)
        assert of(among, "lan", "Table 2").verdict == of(among, "lan", "gain on RAF-DB").verdict == expected


def test_a_figure_that_a_page_draws_is_shown() -> None:
    figures = [claim for claim in CLAIMS if claim.kind == "figure" and not claim.comparisons]
    assert {claim.verdict for claim in figures if claim.cell} == {"shown"}
    assert {claim.verdict for claim in figures if not claim.cell} == {"not shown"}


# --- sizes --------------------------------------------------------------------------------------------------


def test_sizes_are_counted_and_held_to_what_is_printed() -> None:
    table = of(CLAIMS, "pcda", "Table 8")
    cells = {(c.row, c.column): c for c in table.comparisons}
    image = cells["image backbone", "parameters"]
    assert image.real.value == pytest.approx(17.611968) and image.verdict == "reproduced"
    assert cells["cross attention module", "FLOPs"].verdict == "differs", "the equations need less than is printed"
    row = ROWS.query("paper == 'PCDA' and claim == 'Table 8'").iloc[0]
    assert (row["verdict"], row["record"]) == ("differs", "")


# --- the committed records and their rows -------------------------------------------------------------------


def test_verdicts_of_the_committed_records() -> None:
    beyond = of(CLAIMS, "lan", "gain on FERPlus beyond 45 degrees")
    assert beyond.headline.printed == "+9.81" and beyond.headline.real.seeds >= claims.SEEDS
    low, high = beyond.headline.real.low, beyond.headline.real.high
    outside = high < claims.GAIN * 9.81 or low > (2 - claims.GAIN) * 9.81
    assert beyond.verdict == ("differs" if outside else "inconclusive")
    assert of(CLAIMS, "lan", "Table 3").verdict == "another setting", "our runs start from our own pre-training"
    table = of(CLAIMS, "lan", "Table 1")
    assert table.comparisons[0].real is None and table.verdict in ("twin only", "not run")
    assert table.headline.twin.folds == protocols.FOLDS["lan-kdef-10fold"]


def test_a_size_that_is_printed_in_one_digit_is_judged_in_it() -> None:
    sizes = {(c.row, c.column): c for c in of(CLAIMS, "pcda", "Table 8").comparisons}
    rounded = sizes["landmark backbone", "FLOPs"]
    assert rounded.printed == "0.2" and 0.15 < rounded.real.value < 0.196 and rounded.verdict == "reproduced"
    assert sizes["cross attention module", "FLOPs"].verdict == "differs"


def test_a_claim_is_of_one_of_four_kinds_and_gains_come_first() -> None:
    listed = published.read("claims")
    for paper in published.PAPERS:
        kinds = [claim.kind for claim in CLAIMS if claim.paper == paper]
        gains = len(published.read("gains").query("paper == @paper"))
        assert kinds[:gains] == ["gain"] * gains and set(kinds[gains:]) <= {"table", "figure", "number"}, paper
        assert kinds.count("table") == len(listed.query("paper == @paper and kind == 'table'")), paper


def test_the_ledger_has_one_row_a_claim() -> None:
    assert len(ROWS) == len(CLAIMS) and list(ROWS["verdict"]) == [claim.verdict for claim in CLAIMS]
    row = ROWS.query("paper == 'LAN' and claim == 'Table 3'").iloc[0]
    assert row["published"] == "88.45 %" and row["real low"] < row["real value"] < row["real high"]
    assert row["command"].startswith("fercore train lan")
    without = ROWS[(ROWS["record"] == "") & (ROWS["real preset"] != claims.COUNTED)]
    assert without[["real value", "twin value"]].isna().all(axis=None)
    for claim, line in zip(CLAIMS, ROWS.to_dict("records"), strict=True):
        said = [c.verdict for c in claim.comparisons]
        counted = re.fullmatch(r"(\d+) of (\d+)", line["agree"])
        apart = [text for text in line["apart"].split("; ") if text]
        assert len(apart) == (said.count("differs") if len(said) > 1 else 0)
        if counted:
            assert int(counted[1]) == said.count("reproduced") <= int(counted[2]) <= len(said)


def test_a_row_says_all_of_its_claim() -> None:
    ours = claims.Measured(84.0, 83.0, 85.0, "3 seeds", "quick", 3, 1, ("a", "b"), "fercore train", ("b",), True, True)
    twin = ours._replace(value=70.0, low=69.0, high=71.0, over="7 people", seeds=1, folds=10, records=("c",), stale=())
    cells = [
        claims.Comparison("T1", "LAN", "KDEF", "95.39", "%", None, twin, "", ()),
        claims.Comparison("T1", "LAN", "RAF-DB", "88.30", "%", ours, None, "differs", (), 1.0, "odd"),
        claims.Comparison("T1", "LAN", "SFEW", "84.10", "%", ours, None, "reproduced", ()),
        claims.Comparison("T1", "LAN", "FERPlus", "84.50", "%", ours, None, "inconclusive", ()),
        claims.Comparison("T1", "LAN", "AffectNet", "60.00", "%", ours, None, "another setting", ()),
    ]
    claim = claims.Claim("lan", "table", "Table 1", "A title", "lan/training.ipynb", "a-cell", "differs", tuple(cells))
    (row,) = claims.rows([claim]).to_dict("records")
    assert row == {
        "paper": "LAN", "claim": "Table 1", "kind": "table", "title": "A title", "headline": "LAN, RAF-DB",
        "published": "88.30 %", "unit": "%", "margin": 1.0, "note": "odd",
            "real value": 84.0, "real low": 83.0, "real high": 85.0, "real over": "3 seeds",
        "real preset": "quick", "real seeds": 3, "real folds": 1, "real stale": ("b",),
        **{f"twin {name}": row[f"twin {name}"] for name in ("value", "low", "high")},
        "twin over": "", "twin preset": "", "twin seeds": 0, "twin folds": 0, "twin stale": (), "agree": "1 of 3",
        "apart": "LAN, RAF-DB: 88.30, ours 84.00", "verdict": "differs", "notebook": "lan/training.ipynb",
        "cell": "a-cell", "record": "c, a, b", "stale": "b", "command": "fercore train",
    }  # fmt: skip
    assert all(math.isnan(row[f"twin {name}"]) for name in ("value", "low", "high")), "the headline's, which is real"
    (row,) = claims.rows([claim._replace(comparisons=tuple(cells[:1]))]).to_dict("records")
    assert (row["headline"], row["twin value"], row["twin seeds"], row["agree"]) == ("LAN, KDEF", 70.0, 1, "")
    (row,) = claims.rows([claim._replace(comparisons=(), kind="figure")]).to_dict("records")
    command = "papermill notebooks/lan/training.ipynb out.ipynb -p preset quick"
    assert (row["headline"], row["published"], row["record"], row["command"]) == ("", "", "", command)


def test_which_kind_of_runs_stands_for_a_claim(tmp_path: Path) -> None:
    """The published setting, then seeds enough, then the fullest preset, then the fewest departures, then most runs."""
    for seed in SEEDS:
        write(tmp_path, "lan", 80, seed)
        write(tmp_path, "lan", 81, seed, start="identity")
    write(tmp_path, "lan", 82, 0, "paper", setting="ours")
    real = of(claims.load(tmp_path), "lan", "Table 3").headline.real
    assert (real.value, real.preset, real.seeds) == (pytest.approx(80, abs=0.02), "quick", 3), "seeds before size"
    for seed in SEEDS:
        write(tmp_path, "lan", 82, seed, "paper", setting="ours")
    assert of(claims.load(tmp_path), "lan", "Table 3").headline.real.value == pytest.approx(82, abs=0.02)
    published_run(tmp_path, "lan", 83)
    assert of(claims.load(tmp_path), "lan", "Table 3").headline.real.value == pytest.approx(83, abs=0.02)


def test_of_two_kinds_that_are_alike_the_one_with_more_runs_stands_first(tmp_path: Path) -> None:
    runs = [write(tmp_path, "lan", 80, seed) for seed in range(claims.SEEDS + 2)]
    where = {"method": "lan"}
    fewer, more = (claims._preference(runs[:number], where) for number in (claims.SEEDS, claims.SEEDS + 2))
    assert more < fewer and fewer[:-1] == more[:-1]


def test_a_kind_that_lacks_the_subset_leaves_its_place_to_the_next(tmp_path: Path) -> None:
    for seed in SEEDS:
        write(tmp_path, "lan", 80, seed)
        first = write(tmp_path, "lan", 82, seed, "paper", setting="ours")
        bare = {name: values for name, values in first.arrays().items() if "pose_over" not in name}
        records.write(first, bare, tmp_path)
    line = SimpleNamespace(paper="lan", dataset="ferplus", where="method=lan", subset="test", metric="accuracy")
    assert claims._absolute(line, "%", "ferplus", claims.Runs(tmp_path)).preset == "paper"
    line.subset = "pose_over_45"
    assert claims._absolute(line, "%", "ferplus", claims.Runs(tmp_path)).preset == "quick"


def test_data_that_were_run_on_once_are_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "at_hand", lambda name: False)
    assert of(claims.load(tmp_path), "lan", "gain on FERPlus").verdict == "data not available"
    write(tmp_path, "resnet18", 80)
    write(tmp_path, "resnet18", 80, dataset="kdef-twin")
    among = claims.load(tmp_path)
    assert of(among, "lan", "gain on FERPlus").verdict == "not run", "its record is of the real set"
    assert of(among, "lan", "gain on RAF-DB").verdict == "data not available"


def test_a_gain_says_what_is_over_what() -> None:
    assert of(CLAIMS, "lan", "gain on FERPlus").title == "LAN over ResNet-18, FERPlus"
    assert [c.column for claim in CLAIMS if claim.kind == "gain" for c in claim.comparisons] == [
        line.metric for paper in dict.fromkeys(claim.paper for claim in CLAIMS)
        for line in published.read("gains").itertuples() if line.paper == paper
    ]  # fmt: skip


def test_a_tolerance_is_a_share_of_what_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = CRITERIA[(CRITERIA["where"] == claims.COUNTED) & (CRITERIA["tolerance"].astype(str) != "")]
    line = max(lines.itertuples(), key=lambda line: float(published.cell(
        line.paper, line.table or line.figure, line.row, line.column, line.of or None)["value"]))  # fmt: skip
    cell = published.cell(line.paper, line.table or line.figure, line.row, line.column, line.of or None)
    value, margin = float(cell["value"]), float(line.tolerance) / 100 * float(cell["value"])
    assert margin > published.half_unit(cell["printed"])
    for share, verdict in ((0.9, "reproduced"), (-0.9, "reproduced"), (1.1, "differs")):
        ours = value + share * margin
        monkeypatch.setattr(claims, "_counted", lambda *_, ours=ours: measured(ours, ours, ours))
        assert claims._compare(line, None).verdict == verdict


def test_a_record_of_older_code_is_marked_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in SEEDS:
        write(tmp_path, "resnet18", 80, seed)
        write(tmp_path, "lan", 80.5, seed)
    verdicts = []
    for stale in (True, False):
        monkeypatch.setattr(claims.found, "stale", lambda run, stale=stale: stale)
        among = claims.load(tmp_path)
        assert all(claim.stale == (claim.records if stale else ()) for claim in among)
        verdicts.append([claim.verdict for claim in among])
    assert verdicts[0] == verdicts[1]
