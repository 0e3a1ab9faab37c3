"""The audit: its arithmetic on small cases, the findings that are known, and no finding that is only rounding."""

from __future__ import annotations

import pandas as pd
import pytest

from fercore import audit, published

CHECKS, FINDINGS = audit.checks(), audit.findings()


def found(paper: str, place: str, kind: str, words: str) -> pd.Series:
    """The one finding whose description holds these words."""
    rows = FINDINGS.query("paper == @paper and place == @place and kind == @kind")
    rows = rows[rows["what"].str.contains(words, regex=False)]
    assert len(rows) == 1, rows
    return rows.iloc[0]


@pytest.mark.parametrize(
    ("printed", "images", "right"),
    [
        ("96.55", 29, 28), ("82.76", 29, 24), ("100", 29, 29), ("0", 29, 0), ("54.36", 436, 237), ("54.39", 436, None),
        ("85.31", 633, 540), ("85.31", 634, None), ("87.5", 8, 7), ("87.4", 8, None), ("92.31", 3068, 2832),
    ],
)  # fmt: skip
def test_possible_counts(printed: str, images: int, right: int | None) -> None:
    assert audit.possible(printed, images) == right


@pytest.mark.parametrize("images", [7, 29, 436, 3068])
def test_every_share_is_possible_as_it_is_rounded(images: int) -> None:
    for right in range(images + 1):
        assert audit.possible(f"{100 * right / images:.2f}", images) is not None


def test_digits() -> None:
    assert (audit.decimals("86.50"), audit.decimals("100"), audit.half_unit("86.5")) == (2, 0, pytest.approx(0.05))


def test_sizes_are_the_sets_sizes() -> None:
    assert sum(audit.class_sizes("SFEW").values()) == 436 and sum(audit.class_sizes("RAF-DB").values()) == 3068
    assert list(audit.sizes("Pose-FERPlus", "> 45").values()) == [634, 633]
    assert audit.sizes("KDEF", "nothing known") == {}


def test_checks_are_many_and_complete() -> None:
    assert tuple(CHECKS.columns) == audit.Check._fields and CHECKS["fits"].dtype == bool
    assert set(CHECKS["paper"]) == set(published.PAPERS)
    assert len(CHECKS) > 400 and not CHECKS[["place", "what", "printed", "computed"]].eq("").any(axis=None)
    assert not CHECKS.duplicated(["paper", "place", "kind", "what"]).any()
    assert audit.summary()["checks"].sum() == len(CHECKS) and audit.summary()["findings"].sum() == len(FINDINGS)
    assert list(FINDINGS["paper"].unique()) == list(published.PAPERS)


@pytest.mark.parametrize(
    ("paper", "place", "kind", "words", "printed", "computed"),
    [
        ("pata", "text", "total", "BU-3DFE, setting 2", "16,000", "16,800"),
        ("pata", "T5", "average", "row 60", "80.63", "80.21"),
        ("pata", "T5", "average", "column happiness", "89.25", "88.75"),
        ("pata", "F4a", "matrix", "squint taken for disgust", "9.36", "at most 7.88"),
        ("pata", "F4b", "matrix", "sadness taken for anger", "19.00", "at most 16.25"),
        ("phanet", "T2", "average", "row DenseNet", "80.39", "80.90"),
        ("phanet", "T3", "average", "row DenseNet", "91.06", "90.95"),
        ("phanet", "text", "difference", "gain over the weakest", "17.16", "17.38"),
        ("phanet", "text", "total", "Multi-PIE", "9,210", "7,655"),
        ("phanet", "F7a", "total", "AffectNet", "5,000", "4,000"),
        ("phanet", "text", "repetition", "pose, as the sentence says", "84.92", "99.49"),
        ("phanet", "T4", "cell sizes", "KDEF", "979", "at most 968"),
        ("lan", "T1", "quoted", "PhaNet, KDEF", "86.50", "88.5"),
        ("lan", "T5", "granularity", "> 45, Pose-FERPlus", "85.31", "85.174 or 85.331"),
        ("dmlnet", "abstract", "repetition", "SFEW", "54.36", "54.39"),
        ("dmlnet", "text", "total", "subjects x 6 x 5", "8,100", "8,790"),
        ("dmlnet", "T4", "repetition", "DML-Net, neutral", "89.3", "100"),
        ("dmlnet", "F9b", "matrix", "row -40", "1", "0.800"),
        ("dmlnet", "T6", "quoted", "IPFR", "91.3", "89.50"),
        ("pcda", "T5", "quoted", "SCN, FERPlus", "89.39", "88.01"),
        ("pcda", "T6", "total", "RAF-DB, PCDA", "92.31", "92.34"),
    ],
)
def test_known_findings(paper: str, place: str, kind: str, words: str, printed: str, computed: str) -> None:
    row = found(paper, place, kind, words)
    assert (row["printed"], row["computed"]) == (printed, computed)


def test_what_fits_is_no_finding() -> None:
    fit = CHECKS[CHECKS["fits"]]
    for words in ("row DML-Net sums", "pose+text over pose", "cross-feature attention", "LAN over RAN", "HPE, KDEF"):
        assert words not in " ".join(FINDINGS["what"])
    assert fit["what"].str.contains("pose+text over pose", regex=False).sum() == 2
    assert fit.query("paper == 'pcda' and place == 'T8'").shape[0] == 2, "module totals add up"
    assert CHECKS.query("paper == 'pata' and place == 'T4'")["fits"].all(), "every cell is a share of 29 people"


def test_an_average_over_images_is_recognised() -> None:
    over = CHECKS[CHECKS["remark"].str.startswith("over images")]
    assert len(over.query("paper == 'dmlnet' and place == 'T7'")) >= 3
    kdef = over.query("paper == 'dmlnet' and place == 'T3'")
    assert len(kdef) == 2 and kdef["fits"].all(), "cells of 27 images weigh less than cells of 28"


def test_one_cell_explains_two_averages() -> None:
    cells = audit.implied_cells().set_index(["paper", "table", "row", "column"])
    asked = cells.loc[("pata", "T5", "60", "happiness")]
    assert asked["printed"] == 87.5 and asked["asked for by the row"] == pytest.approx(90, abs=0.05)
    assert asked["asked for by the column"] == pytest.approx(90, abs=0.05)


def test_conventions() -> None:
    table = audit.conventions().set_index("module")
    assert (table["parameters, counted, M"] / table["parameters, printed, M"]).between(0.98, 1.02).all()
    image = table.loc["image backbone"]
    assert abs(image["multiply-adds, counted, G"] - image["FLOPs, printed, G"]) < 0.05, "one multiply-add is one FLOP"
    assert (table["twice that, G"] > 1.5 * table["FLOPs, printed, G"]).all()
