"""Claims: all of them, each with its notebook; verdicts that follow from records, and from nothing else."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

from fercore import cli, notebook, published, records
from fercore.book import pages
from fercore.data import catalogue
from fercore.ledger import claims
from fercore.paths import ROOT, reference_records
from fercore.records import Record
from fercore.training import experiments

CLAIMS = claims.load()
LAN3 = published.value("lan", "T3", "LAN")
TABLE3 = ("lan", "Table 3")


def of(found: list[claims.Claim], paper: str, name: str) -> claims.Claim:
    return next(claim for claim in found if (claim.paper, claim.name) == (paper, name))


def source(real: bool = True, method: str = "lan", preset: str = "quick") -> Record:
    """A committed record to make others from."""
    dataset = "ferplus" if real else "kdef-twin"
    found = records.find(paper="lan", dataset=dataset, preset=preset, method=method)
    return next(record for record in found if record.changed <= {"method"})


def write(root: Path, record: Record, accuracy: float, half: float = 0.01, **recipe: Any) -> Record:
    """The record again under other settings, with this accuracy on every subset and an interval of this half width."""
    metrics = {
        subset: {**m, "accuracy": accuracy, "accuracy_low": accuracy - half, "accuracy_high": accuracy + half}
        for subset, m in record.metrics.items()
    }
    settings = {"seed": recipe.get("seed", 0), **{k: v for k, v in recipe.items() if k != "seed"}}
    known = ("seed", "preset", "dataset")
    words = "".join(f" --set {name}={value}" for name, value in settings.items() if name not in known)
    command = f"fercore train lan --preset quick --dataset ferplus --seed {settings['seed']}{words}"
    key = f"{abs(hash((accuracy, *sorted(settings.items())))) % 16**10:010x}"
    update = {"metrics": metrics, "recipe": record.recipe | settings, "key": key}
    if record.recipe["method"] == "lan":
        update["command"] = command
    return records.write(record.model_copy(update=update), record.arrays(), root)


def test_all_claims_are_there() -> None:
    kinds = Counter((claim.paper, claim.kind) for claim in CLAIMS)
    for paper in published.PAPERS:
        assert kinds[paper, "table"] == published.TABLES[paper]
        assert kinds[paper, "figure"] == published.FIGURES[paper]
        assert kinds[paper, "number"] >= 4
    assert Counter(claim.kind for claim in CLAIMS)["table"] == 37
    assert Counter(claim.kind for claim in CLAIMS)["figure"] == 49
    assert len({(claim.paper, claim.name) for claim in CLAIMS}) == len(CLAIMS)


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
    wanted = {"table": r"Table \d", "figure": r"Fig\. \d+", "number": r"[a-z].*"}[claim.kind]
    assert re.fullmatch(wanted, claim.name)
    if claim.kind == "number":
        assert claim.comparisons, "a headline number has a criterion"


def test_every_criterion_belongs_to_a_claim_and_names_one_cell() -> None:
    names = {(claim.paper, claim.name) for claim in CLAIMS}
    lines = published.read("criteria")
    for line in lines.itertuples():
        assert (line.paper, line.claim) in names
        published.cell(line.paper, line.table or line.figure, line.row, line.column, line.of or None)
        assert line.where == claims.COUNTED or all("=" in pair for pair in line.where.split(";"))
    assert not lines.duplicated().any()


def test_criteria_are_settings_that_papers_have_and_runs_can_take() -> None:
    known = {name.removesuffix("-twin") for name in catalogue.DATASETS}
    lines = published.read("criteria")
    trained = lines[lines["paper"].isin(experiments.papers()) & (lines["where"] != claims.COUNTED)]
    assert {"lan", "pcda"} <= set(trained["paper"])
    for line in trained.itertuples():
        assert line.dataset in known, "names of data sets are the catalogue's"
        fields = dict(cli._field(pair) for pair in line.where.split(";"))
        module = experiments.paper(line.paper)
        recipe = module.recipe(fields.pop("preset", "quick"), f"{line.dataset}-twin", **fields)
        taken = {name: str(value) for name, value in recipe.model_dump().items()}
        assert all(taken[name] == value for name, value in (pair.split("=") for pair in line.where.split(";")))


def test_every_reference_record_of_a_papers_method_is_claimed() -> None:
    loose = [name for name in claims.unclaimed() if re.match(r"(lan-lan|phanet-phanet|pcda-pcda|pata-pata)-", name)]
    runs = [run for run in (records.read(reference_records() / name) for name in loose) if not run.changed]
    same = ("paper", "method", "dataset")
    fuller = {tuple(run.recipe[name] for name in same) for run in records.find(preset="paper")}
    assert not [run.name for run in runs if tuple(run.recipe[name] for name in same) not in fuller]


def test_verdicts_of_the_committed_records() -> None:
    table = of(CLAIMS, *TABLE3)
    assert table.verdict == "differs" and table.headline.real.preset == "paper"
    run = source(preset="paper")
    assert table.headline.real.value == pytest.approx(100 * run.metrics["test"]["accuracy"])
    assert run.name in table.records
    kdef = of(CLAIMS, "lan", "Table 1")
    assert kdef.comparisons[0].real is None and kdef.comparisons[0].agrees is None
    assert kdef.verdict in ("data not at hand", "not run")
    folds = [r for r in records.find(paper="lan", dataset="kdef-twin", preset="quick", method="lan") if not r.changed]
    of_folds = [100 * run.metrics["test"]["accuracy"] for run in folds]
    twin = kdef.headline.twin
    assert (twin.value, twin.seeds, twin.folds) == (pytest.approx(np.mean(of_folds)), 1, 10)


def test_without_records_nothing_is_reproduced(tmp_path: Path) -> None:
    found = claims.load(tmp_path)
    counted = [claim for claim in found if any(c.real for c in claim.comparisons)]
    assert {claim.verdict for claim in found if claim not in counted} <= {"not run", "data not at hand"}
    assert {(claim.paper, claim.name) for claim in counted} == {
        ("pcda", name) for name in ("Table 2", "Table 7", "Table 8", "parameters")
    }, "sizes need no record"
    assert all(c.real.preset == claims.COUNTED for claim in counted for c in claim.comparisons if c.real)
    assert not any(claim.records for claim in found)


def test_reproduced_needs_every_value(tmp_path: Path) -> None:
    write(tmp_path, source(), LAN3 / 100)
    assert of(claims.load(tmp_path), *TABLE3).verdict == "not run", "ResNet-18 is in the table, too"
    write(tmp_path, source(method="resnet18"), published.value("lan", "T3", "ResNet-18") / 100 + 0.009)
    assert of(claims.load(tmp_path), *TABLE3).verdict == "reproduced"
    assert of(claims.load(tmp_path), "lan", "accuracy on FERPlus").verdict == "reproduced"
    assert of(claims.load(tmp_path), "lan", "Table 5").verdict == "differs", "the same number on turned faces is wrong"


@pytest.mark.parametrize(("gap", "verdict"), [(0.0099, "reproduced"), (-0.0099, "reproduced"), (0.0112, "differs")])
def test_the_interval_decides(tmp_path: Path, gap: float, verdict: str) -> None:
    write(tmp_path, source(), LAN3 / 100 + gap)
    assert of(claims.load(tmp_path), "lan", "accuracy on FERPlus").verdict == verdict


def test_a_twin_never_counts(tmp_path: Path) -> None:
    twin = source(real=False)
    write(tmp_path, twin, 0.9539)
    claim = of(claims.load(tmp_path), "lan", "Table 1")
    assert claim.verdict in ("data not at hand", "not run")
    assert claim.headline.twin.value == pytest.approx(95.39) and claim.headline.real is None


def test_smoke_and_variants_do_not_count(tmp_path: Path) -> None:
    write(tmp_path, source(), 0.5, preset="smoke")
    write(tmp_path, source(), 0.5, alpha=0.0)
    write(tmp_path, source(), 0.5, fusion="concat")
    assert not of(claims.load(tmp_path), *TABLE3).records
    assert len(claims.unclaimed(tmp_path)) == 2


def test_the_fullest_preset_is_taken(tmp_path: Path) -> None:
    write(tmp_path, source(), 0.80)
    write(tmp_path, source(), LAN3 / 100, preset="paper")
    claim = of(claims.load(tmp_path), "lan", "accuracy on FERPlus")
    assert claim.verdict == "reproduced" and claim.headline.real.preset == "paper" and len(claim.records) == 1


def test_seeds_widen_the_interval(tmp_path: Path) -> None:
    for seed, accuracy in enumerate((0.82, 0.84, 0.86)):
        write(tmp_path, source(), accuracy, half=0.001, seed=seed)
    real = of(claims.load(tmp_path), "lan", "accuracy on FERPlus").headline.real
    half = 4.302653 * 2 / math.sqrt(3)  # t(2) at 0.975, standard deviation 2 points
    assert (real.value, real.seeds, real.folds) == (pytest.approx(84), 3, 1)
    assert (real.low, real.high) == (pytest.approx(84 - half, abs=1e-4), pytest.approx(84 + half, abs=1e-4))


def test_folds_narrow_the_interval(tmp_path: Path) -> None:
    for fold in range(4):
        write(tmp_path, source(real=False), 0.9, half=0.04, fold=fold)
    twin = of(claims.load(tmp_path), "lan", "Table 1").headline.twin
    assert (twin.value, twin.seeds, twin.folds) == (pytest.approx(90), 1, 4)
    assert (twin.low, twin.high) == (pytest.approx(88), pytest.approx(92))


def test_a_recall_gets_its_interval_from_the_confusion_matrix() -> None:
    run = source()
    counts = run.arrays()["confusion_test"]
    k = run.classes.index("fear")
    value = claims._value(run, "test", "recall.fear")
    assert value.value == pytest.approx(counts[k, k] / counts[k].sum()) and 0 < value.low < value.value < value.high < 1
    assert claims._value(run, "test", "recall.boredom") is None and claims._value(run, "nowhere", "accuracy") is None
    parameters = claims._value(run, "", "parameters")
    assert parameters.value == run.model["parameters"] and np.isnan(parameters.low)


@pytest.mark.parametrize(
    ("printed", "value", "low", "high", "tolerance", "expected"),
    [
        ("88.5", 88.0, 87.0, 88.46, "", True), ("88.5", 88.0, 87.0, 88.44, "", False),
        ("34.2", 34.0, math.nan, math.nan, "2", True), ("34.2", 33.0, math.nan, math.nan, "2", False),
        ("34.2", 34.0, math.nan, math.nan, "", None), ("", 34.0, 33.0, 35.0, "", None),
    ],
)  # fmt: skip
def test_agreement(printed: str, value: float, low: float, high: float, tolerance: str, expected: bool | None) -> None:
    real = claims.Measured(value, low, high, "quick", 1, 1, ("a",), "", ())
    assert claims._agree(printed, real, tolerance) is expected


def test_ledger_has_one_row_a_claim() -> None:
    rows = claims.ledger_rows()
    assert len(rows) == len(CLAIMS) and list(rows["verdict"]) == [claim.verdict for claim in CLAIMS]
    row = rows.query("paper == 'LAN' and claim == 'Table 3'").iloc[0]
    assert (row["published"], row["real preset"], row["judged"]) == ("88.45 %", "paper", "2 of 2")
    assert row["real low"] < row["real value"] < row["real high"]
    (twin,) = notebook.reference(paper="lan", dataset="ferplus-twin", preset="quick", method="lan")
    assert row["twin value"] == pytest.approx(100 * twin.metrics["test"]["accuracy"])
    assert row["command"].startswith("fercore train lan") and source(preset="paper").name in row["record"]
    without = rows[(rows["record"] == "") & (rows["real preset"] != claims.COUNTED)]
    assert without[["real value", "twin value"]].isna().all(axis=None)
    assert set(without["verdict"]) <= {"not run", "data not at hand"}


def test_every_record_that_the_ledger_shows_can_be_followed() -> None:
    page = pages.ledger_page()
    for row in claims.ledger_rows().to_dict("records"):
        line = next(line for line in page.splitlines() if f"**{row['claim']}**<br>{row['title']}" in line)
        for name in filter(None, row["record"].split(", ")):
            assert f"/book/records/{name}" in line and (reference_records() / name / "record.json").is_file()
            assert f"{row['notebook'].removesuffix('.ipynb')}.html#{row['cell']}" in line
        assert ("not written yet" in line) != (ROOT / "notebooks" / row["notebook"]).is_file()
        assert row["command"] in line
    assert "a download=" in page, "the ledger as CSV"


def test_a_stale_record_is_marked_in_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = {run.name: run for run in records.find()}
    for stale in (True, False):
        monkeypatch.setattr(records, "stale", lambda run, stale=stale: stale)
        rows = claims.ledger_rows().query("record != ''")
        assert all(row["stale"] == (row["record"] if stale else "") for row in rows.to_dict("records"))
        lines = [line for line in pages.ledger_page().splitlines() if any(name in line for name in runs)]
        assert len(lines) == len(rows) and all(("**stale**" in line) == stale for line in lines)
        assert [claim.verdict for claim in claims.load()] == [claim.verdict for claim in CLAIMS], "it still counts"


def test_sizes_are_counted_and_held_to_what_is_printed() -> None:
    (table,) = [claim for claim in CLAIMS if (claim.paper, claim.name) == ("pcda", "Table 8")]
    found = {(c.row, c.column): c for c in table.comparisons}
    image = found["image backbone", "parameters"]
    assert image.real.value == pytest.approx(17.611968) and image.agrees and math.isnan(image.real.low)
    assert not found["cross attention module", "FLOPs"].agrees, "the equations need less than is printed"
    row = claims.ledger_rows().query("paper == 'PCDA' and claim == 'Table 8'").iloc[0]
    assert (row["verdict"], row["record"], row["judged"]) == ("differs", "", "6 of 6")
