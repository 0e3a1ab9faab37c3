"""The audit: its arithmetic on small cases, the findings that are known, and no finding that is only rounding."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from fercore import published
from fercore.figures import pcda as figures_pcda
from fercore.papers.pcda import PCDA
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
        ("pata", "F4a", "matrix", "squint taken for disgust", "9.36", "7.88"),
        ("pata", "F4b", "matrix", "sadness taken for anger", "19.00", "16.25"),
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
        ("pata", "T2", "granularity", "baseline, BU-3DFE -45..45", "79.45", "79.435 or 79.464"),
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
        ("pata", "T3", "total", "pans on which DML-Net", "7", "5"),
        ("pata", "T4", "order", "surprise; named among the three best", "3", "4"),
        ("phanet", "text", "total", "multi-view data sets", "5", "3"),
        ("phanet", "text", "total", "SFEW: test images", "755", "436"),
        ("phanet", "text", "total", "labelled images of a category", "550", "500"),
        ("phanet", "T1", "total", "mean of these five pans", "84.74", "84.82"),
        ("phanet", "T2", "granularity", "PhaNet, -60, BU-3DFE: 428 images", "86.3", "86.215 or 86.449"),
        ("phanet", "T3", "order", "PhaNet at pan -15", "1", "10"),
        ("phanet", "T6", "order", "KDEF: attention of the third scale", "80.31", "85.31"),
        ("phanet", "F15", "order", "chance to guess a pose", "11.11", "16.67"),
        ("phanet", "F15", "repetition", "accuracy with the factor", "0.95", "0.8492"),
        ("lan", "T3", "order", "LAN, FERPlus", "1", "3"),
        ("lan", "text", "total", "AffectNet: annotated images", "450,000", "420,000"),
        ("dmlnet", "text", "total", "KDEF: training images", "3,914", "3,919"),
        ("dmlnet", "F7", "matrix", "fear taken for happiness", "50", "45"),
        ("dmlnet", "T5", "total", "GAN, LLRS, SSE, MMGL", "5", "35"),
        ("dmlnet", "T7", "order", "outperform the others", "1", "2"),
        ("dmlnet", "T7", "cell sizes", "DDMTL", "7", "0"),
        ("dmlnet", "T8", "order", "frames per second", "76", "99.33"),
        ("dmlnet", "T9", "order", "against that of IPFR", "27.13", "28.07"),
        ("dmlnet", "T9", "order", "against PhaNet", "28.90", "31.25"),
        ("dmlnet", "T9", "total", "classes that are answered", "7", "6"),
        ("pcda", "T2", "total", "operations with a larger transformer", "17.9", "16.5"),
        ("pcda", "T3", "order", "other faces taken for neutral", "83", "58.1"),
        ("pcda", "T6", "order", "AffectNet: recall of neutral", "58.20", "67.2"),
        ("pcda", "T7", "order", "said to outperform", "1", "2"),
        ("pcda", "F3", "total", "matrices of a block", "6", "4"),
    ],
)
def test_known_findings(paper: str, place: str, kind: str, words: str, printed: str, computed: str) -> None:
    row = found(paper, place, kind, words)
    assert (row["printed"], row["computed"]) == (printed, computed)


@pytest.mark.parametrize(("images", "fitting"), [(3360, 3), (3200, 0), (2400, 1)])
def test_how_many_images_pata_tests_on_in_its_second_setting(images: int, fitting: int) -> None:
    """Seven pans give 3,360 images, a fifth of the stated 16,000 is 3,200, five pans give 2,400."""
    cells = published.load("pata", "T2").query("column == 'BU-3DFE -45..45'")
    possible = [audit.possible(text, images) is not None for text in cells["printed"]]
    assert len(cells) == 4 and sum(possible) == fitting
    baseline = audit.possible(published.cell("pata", "T2", "baseline", "BU-3DFE -45..45")["printed"], images)
    assert baseline is None, "the baseline fits no size"


def test_what_fits_is_no_finding() -> None:
    fit = CHECKS[CHECKS["fits"]]
    for words in ("row DML-Net sums", "pose+text over pose", "cross-feature attention", "LAN over RAN", "HPE, KDEF"):
        assert words not in " ".join(FINDINGS["what"])
    assert fit["what"].str.contains("pose+text over pose", regex=False).sum() == 2
    assert fit.query("paper == 'pcda' and place == 'T8'").shape[0] == 2, "module totals add up"
    cells = CHECKS.query("paper == 'pata' and place == 'T4' and kind == 'granularity'")
    assert cells["fits"].all(), "every cell is a share of 29 people"


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


def row_sizes(rows: list[list[float]], total: int) -> list[tuple[int, ...]]:
    """All ways in which rows of printed shares, three digits each, can be counts that sum to ``total`` images."""

    def counts(shares: list[float], images: int) -> bool:
        near = [round(images * share) for share in shares]
        return sum(near) == images and all(
            abs(n / images - v) <= 5e-4 + 1e-9 for n, v in zip(near, shares, strict=True)
        )

    fitting = [[n for n in range(1, total + 1) if counts(row, n)] for row in rows]
    ways: list[tuple[int, ...]] = [()]
    for k, possible_sizes in enumerate(fitting):
        left = total - sum(min(later, default=total + 1) for later in fitting[k + 1 :])
        ways = [(*way, n) for way in ways for n in possible_sizes if sum(way) + n <= left]
    return [way for way in ways if sum(way) == total]


def test_row_sizes_are_all_of_them() -> None:
    assert row_sizes([[0.333, 0.667], [0.25, 0.75]], 7) == [(3, 4)]
    assert row_sizes([[0.5, 0.5], [0.5, 0.5]], 6) == [(2, 4), (4, 2)]
    assert row_sizes([[0.5, 0.4]], 10) == [] and row_sizes([[0.333, 0.667]], 2) == []


def test_the_shares_of_sfews_poses_leave_one_set_of_sizes() -> None:
    """With the one row that does not sum to one closed on its diagonal; these sizes are in sizes.csv."""
    cells = published.in_figures("dmlnet", "F9b").pivot(index="row", columns="column", values="value")
    cells = cells.loc[cells.columns]
    cells.loc["-40", "-40"] = 1 - cells.loc["-40"].drop("-40").sum()
    sizes = tuple(audit.sizes("SFEW", pose)["pose"] for pose in cells.index)
    shares = [[share for share in row if share > 0] for row in cells.to_numpy().tolist()]
    assert row_sizes(shares, 436) == [sizes]
    right = sum(round(n * share) for n, share in zip(sizes, np.diag(cells), strict=True))
    assert f"{100 * right / 436:.2f}" in found("dmlnet", "F9b", "matrix", "pose accuracy")["remark"]


def test_what_recall_and_f1_say_of_other_faces() -> None:
    """PCDA Table 3, counted: of 680 neutral faces 639 are found with the loss, and 83 others taken for neutral."""
    for name, right, mistaken in (("with", 639, 83), ("without", 610, 58)):
        recall, f1 = (published.cell("pcda", "T3", f"{name} NeAA", what)["printed"] for what in ("recall", "F1"))
        assert f"{right / 680:.4f}" == recall and f"{2 * right / (680 + right + mistaken):.4f}" == f1


def test_the_recalls_quoted_on_sfew_are_shares_of_another_set() -> None:
    """DML-Net Table 9: the smallest classes that allow those of one source; one number of GMLPP fits no size."""
    smallest, cells = {}, published.load("dmlnet", "T9")
    cells = cells[cells["row"].isin(("MvDA", "GMLDA", "GMLPP", "DS-GPLVM"))]
    for name, column in cells.groupby("column"):
        texts = [text for text in column["printed"] if text != "19.07"]
        smallest[name] = next(n for n in range(1, 999) if all(audit.possible(text, n) is not None for text in texts))
    assert smallest == {name: audit.sizes("SFEW", name)["another set of 700 images"] for name in smallest}
    assert sum(smallest.values()) == 700 and audit.possible("19.07", smallest["anger"]) is None
    shares = CHECKS.query("kind == 'cell sizes' and place == 'T9' and printed == '7'").set_index("what")["computed"]
    assert len(shares) == 6 and set(shares) == {"0"}, "and none of the validation set that the prose names"


def test_numbers_in_words_are_those_of_the_tables() -> None:
    words = published.read("words").query("paper == 'dmlnet'").set_index("what")
    pan = published.load("dmlnet", "T6").query("column == '-15'").set_index("row")["value"]
    ahead = pan[pan > pan["DML-Net"]].index
    assert (len(ahead), sum("GAN" in name for name in ahead)) == (12, 2)
    assert "ten of the twelve" in words.loc["why others are ahead at pan -15", "another"]
    recalls = published.load("dmlnet", "T7").query("row == 'DML-Net' and column != 'Average'")["value"]
    balance = words.loc["recognition that is balanced over expressions", "another"]
    assert balance == f"recalls from {recalls.min()} to {recalls.max()} per cent"
    same = published.load("dmlnet").query("row == 'DenseNet'").drop_duplicates("printed")["value"]
    assert set(same) <= set(published.load("phanet")["value"]), "DML-Net's DenseNet is PhaNet's"


def test_recalls_of_an_official_split_fit_it() -> None:
    kept = CHECKS.query("paper == 'pcda' and kind == 'cell sizes'")
    assert len(kept) == 2 and kept["fits"].all()


@pytest.mark.parametrize("name", ["totals", "derived", "ranks"])
def test_every_line_of_the_lists_is_one_check(name: str) -> None:
    lines = published.read(name)
    kinds = {"totals": set(lines.get("kind", ())), "derived": {"difference", "repetition"}, "ranks": {"order"}}[name]
    assert len(CHECKS[CHECKS["kind"].isin(kinds)]) >= len(lines) and not lines.duplicated().any()
    if name == "totals":
        assert kinds == {"total", "order", "matrix"} and set(lines["rule"]) == {"equal", "at most", "at least"}


def test_one_model_on_turned_faces_and_on_all() -> None:
    checked = CHECKS.query("kind == 'subset'")
    assert len(checked) == 12 and checked["fits"].sum() == 11


def test_ranks_said_are_of_cells_that_are_there() -> None:
    ranks = published.read("ranks")
    for line in ranks.itertuples():
        assert published.value(line.paper, line.table, line.row, line.column, line.dataset) > 0
    claims = published.read("totals").query("kind == 'order'")
    assert len(CHECKS.query("kind == 'order'")) == len(ranks) + len(claims)


def test_what_only_words_contradict() -> None:
    table = audit.words()
    assert list(published.PAPERS.values()) == list(table["paper"].unique()) and len(table) >= 40
    assert (table[["place", "what", "one place", "why no check"]] != "").all(axis=None)


def test_operations_of_the_attention_follow_from_its_equations() -> None:
    with torch.device("meta"):
        table = figures_pcda.sizes(PCDA(7)).set_index("module")
    # Four projections (Eq. 3), an output projection and a perceptron of ratio 4 a block, two embeddings of 256 and 128
    # channels; norms, positions, classifier are what is left out.
    width, tokens, blocks = 768, 197, 2
    weights = blocks * 13 * width**2 + (256 + 128) * width
    # Of the four projections the one that Eq. (4) does not use takes no operations.
    adds = blocks * (12 * width**2 * tokens + 2 * tokens**2 * width) + (256 + 128) * width * (tokens - 1)
    attention = table.loc["cross attention module"]
    assert 1 < attention["parameters, M"] / (weights / 1e6) < 1.02
    assert 0.98 < attention["multiply-adds, G"] / (adds / 1e9) < 1.02
    image = table.loc["image backbone"]
    assert abs(image["multiply-adds, G"] - image["printed FLOPs, G"]) < 0.05, "one multiply-add is one FLOP"


@pytest.mark.parametrize(
    ("formula", "value", "slack"),
    [
        ("{T8:image backbone|FLOPs|}", 5.5, 0.05), ("{T8:image backbone|FLOPs|} / 2", 2.75, 0.025),
        ("{T7:PCDA|FLOPs|} - {T8:image backbone|FLOPs|}", 3.8, 0.1), ("8 * 500", 4000, 0),
        ("{test|images|RAF-DB}", 3068, 0), ("{lan/text:test|images|RAF-DB}", 3068, 0),
        ("{lan/T3:LAN|accuracy|FERPlus} / 100", 0.8845, 0.00005), ("{sizes:neutral||RAF-DB}", 680, 0),
        ("{T6:PCDA|mean|RAF-DB}", 86.4486, 0.005), ("{T6:PCDA|over images|RAF-DB}", 92.339, 0.005),
        ("100 * {dmlnet/F8b:diagonal|mean|Multi-PIE}", 99.7, 0.01),
    ],
)  # fmt: skip
def test_a_formula_of_published_numbers_knows_how_exact_it_is(formula: str, value: float, slack: float) -> None:
    assert audit.amount("pcda", formula) == (pytest.approx(value, abs=1e-3), pytest.approx(slack, abs=1e-3))
