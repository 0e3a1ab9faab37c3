"""The audit: its arithmetic on small cases, the findings that are known, and no finding that is only rounding."""

from __future__ import annotations

import pandas as pd
import pytest

from fercore import published
from fercore.studies import audit

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
        ("pata", "text", "total", "setting 2: images = 100", "16,000", "16,800"),
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
        ("pata", "text", "total", "viewpoints = poses of Table 5", "7", "5"),
        ("phanet", "T1", "total", "GAN, LLRS", "35", "5"),
        ("phanet", "T6", "order", "all scales, AffectNet", "2", "7"),
        ("phanet", "T6", "granularity", "N_S1, KDEF", "85.31", "85.291 or 85.393"),
        ("phanet", "T3", "granularity", "DenseNet, 0, Multi-PIE", "90.56", "90.489 or 90.761"),
        ("lan", "T5", "subset", "ResNet-18, RAF-DB", "84.04", "68.58"),
        ("dmlnet", "T3", "order", "fear at pan -90", "1", "2"),
        ("dmlnet", "F9b", "matrix", "pose accuracy", "80.0", "77.67"),
        ("dmlnet", "F14", "total", "subjects in the figure", "31", "30"),
        ("pcda", "T2", "total", "a whole number of the same blocks", "67.3", "65.4"),
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


def test_row_sizes_are_all_of_them() -> None:
    assert audit.row_sizes([[0.333, 0.667], [0.25, 0.75]], 7) == [(3, 4)]
    assert audit.row_sizes([[0.5, 0.5], [0.5, 0.5]], 6) == [(2, 4), (4, 2)]
    assert audit.row_sizes([[0.5, 0.4]], 10) == [] and audit.row_sizes([[0.333, 0.667]], 2) == []


def test_the_shares_of_sfews_poses_leave_one_set_of_sizes() -> None:
    row = found("dmlnet", "F9b", "matrix", "pose accuracy")
    assert row["remark"].startswith("80.05 with") and "1 set of row sizes" in row["remark"]


def test_one_model_on_turned_faces_and_on_all() -> None:
    checked = CHECKS.query("kind == 'subset'")
    assert len(checked) == 12 and checked["fits"].sum() == 11


def test_ranks_said_are_of_cells_that_are_there() -> None:
    ranks = published.read("ranks")
    for line in ranks.itertuples():
        assert published.value(line.paper, line.table, line.row, line.column, line.dataset) > 0
    assert len(CHECKS.query("kind == 'order'")) == len(ranks) + 4


def test_what_only_words_contradict() -> None:
    table = audit.words()
    assert {"PhaNet", "LAN", "DML-Net", "PCDA", "PATA"} == set(table["paper"]) and len(table) >= 14
    assert (table[["place", "what", "one place", "why no check"]] != "").all(axis=None)


def test_conventions() -> None:
    table = audit.conventions().set_index("module")
    assert (table["parameters, counted, M"] / table["parameters, printed, M"]).between(0.98, 1.02).all()
    image = table.loc["image backbone"]
    assert abs(image["multiply-adds, counted, G"] - image["FLOPs, printed, G"]) < 0.05, "one multiply-add is one FLOP"
    assert (table["twice that, G"] > 1.5 * table["FLOPs, printed, G"]).all()
    # The attention again, from the paper's equations: four projections (Eq. 3), an output projection and a perceptron
    # of ratio 4 a block, two embeddings of 256 and 128 channels; norms, positions, classifier are what is left out.
    width, tokens, blocks = 768, 197, 2
    weights = blocks * 13 * width**2 + (256 + 128) * width
    # Of the four projections the one that Eq. (4) does not use takes no operations.
    adds = blocks * (12 * width**2 * tokens + 2 * tokens**2 * width) + (256 + 128) * width * (tokens - 1)
    attention = table.loc["cross attention module"]
    assert 1 < attention["parameters, counted, M"] / (weights / 1e6) < 1.02
    assert 0.98 < attention["multiply-adds, counted, G"] / (adds / 1e9) < 1.02
