"""Published values: complete, tidy, addressed once, as printed; and the cells that only a careful reader gets right."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from fercore import published
from fercore.errors import ParameterError

TABLES, IN_FIGURES = published.load(), published.in_figures()
KEY = ["paper", "row", "column", "dataset", "metric"]
RANGES = {
    **dict.fromkeys(("accuracy", "pose accuracy", "recall", "mean of recalls", "F1", "confusion"), (0, 100)),
    **{"frames per second": (40, 150), "parameters": (0.5, 100), "FLOPs": (0.1, 20), "milliseconds per image": (1, 4)},
    **{"difference": (0, 20), "relative difference": (0, 100), "count": (1, 1_000_000), "setting": (0, 500)},
    **{"weight": (0, 1), "ratio": (0, 1), "share of errors": (0, 100), "pose recall": (0, 100)},
}


def test_every_table_of_every_paper_is_there() -> None:
    there = TABLES.groupby("paper")["table"].agg(set).to_dict()
    about = {paper: published.ABOUT[paper] for paper in published.PAPERS}
    assert there == {paper: {f"T{k}" for k in range(1, own["tables"] + 1)} for paper, own in about.items()}
    assert [sum(own[what] for own in about.values()) for what in ("tables", "figures")] == [37, 49]


def test_figures_named_exist() -> None:
    for paper, figure in IN_FIGURES[["paper", "figure"]].drop_duplicates().itertuples(index=False):
        number = re.fullmatch(r"F(\d+)[ab]?", figure)
        assert figure in ("text", "abstract", "conclusion") or int(number[1]) <= published.ABOUT[paper]["figures"]


@pytest.mark.parametrize("file", sorted(Path(published.__file__).parent.glob("*.csv")), ids=lambda path: path.stem)
def test_every_file_says_paper_and_table(file: Path) -> None:
    frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    assert {"paper", "table"} <= set(frame.columns) and len(frame)
    assert not frame.duplicated().any()
    assert set(frame["paper"]) <= {*published.PAPERS, ""}
    assert not frame.map(lambda text: text != text.strip() or "\n" in text).any(axis=None)


@pytest.mark.parametrize("cells", [TABLES, IN_FIGURES], ids=["tables", "figures"])
def test_schema(cells: pd.DataFrame) -> None:
    place = "table" if "table" in cells else "figure"
    assert tuple(cells.columns) == tuple(place if name == "table" else name for name in published.COLUMNS)
    assert cells["value"].dtype == float and all(pd.api.types.is_string_dtype(cells[c]) for c in ("row", "printed"))
    assert not cells[["paper", place, "row", "column", "metric"]].eq("").any(axis=None)
    assert not cells.duplicated([*KEY, place]).any(), "a number has one address"
    assert set(cells["metric"]) <= {*RANGES, "text"}
    for metric, (low, high) in RANGES.items():
        assert cells.loc[cells["metric"] == metric, "value"].dropna().between(low, high).all(), metric


def test_value_is_what_is_printed() -> None:
    for cells in (TABLES, IN_FIGURES):
        assert cells["printed"].str.fullmatch(r"(\d+(\.\d+)?)?").all()
        filled = cells[cells["printed"] != ""]
        assert (filled["printed"].astype(float) == filled["value"]).all()
        empty = cells[cells["printed"] == ""]
        assert empty["value"].isna().all() and (empty["notes"] != "").all(), "what is left out is explained"
    assert published.load("lan", "T1")["printed"].tolist()[1:3] == ["86.50", "86.90"], "zeros at the end stay"


def test_quoted_numbers_have_no_split() -> None:
    """Whose images a cited work tested on is not for the paper to say that quotes it."""
    backbones = {("phanet", "Huang et al. 2017"), ("phanet", "Parkhi et al. 2015"), ("lan", "He et al. 2016")}
    backbones |= {("dmlnet", "He et al. 2016")}
    for cells in (TABLES, IN_FIGURES):
        own = (cells["cited"] == "") | cells[["paper", "cited"]].apply(tuple, axis=1).isin(backbones)
        split = cells["protocol"].str.contains(r"subjects|fold|split|validation|755")
        assert not (split & ~own).any() and (split & own).any()


def test_what_is_measured_names_its_data_set() -> None:
    """But for two figures, whose captions and prose name none."""
    for place, cells in (("table", TABLES), ("figure", IN_FIGURES)):
        measured = cells["metric"].isin(("accuracy", "pose accuracy", "recall", "F1", "confusion", "mean of recalls"))
        without = cells[(measured | (cells["unit"] == "points")) & (cells["dataset"] == "")]
        assert set(without["paper"] + " " + without[place]) <= {"pata F3", "phanet F13"}


def test_shares_are_shares() -> None:
    for cells in (TABLES, IN_FIGURES):
        assert cells.loc[cells["unit"] == "share", "value"].dropna().between(0, 1).all()


def test_what_could_not_be_read() -> None:
    numbers = TABLES[(TABLES["value"].isna()) & (TABLES["metric"] != "text")]
    assert numbers[["paper", "table", "row", "column"]].to_numpy().tolist() == [["phanet", "T4", "surprise", "90"]]
    scattered = IN_FIGURES[IN_FIGURES["value"].isna()]
    assert scattered.groupby(["figure", "row"]).size().to_dict() == {("F7a", "surprise"): 7, ("F7b", "-15"): 4}
    assert set(scattered["paper"]) == {"phanet"}


@pytest.mark.parametrize(
    ("paper", "place", "row", "column", "dataset", "expected"),
    [
        ("pata", "T3", "Liu et al. 2021", "BU-3DFE -45..45", None, 84.80),
        ("pata", "T4", "0", "disgust", None, 82.76),
        ("pata", "T5", "60", "happiness", None, 87.50),
        ("phanet", "T2", "DNN-D", "90", None, 79.51),
        ("phanet", "T6", "N_S1+H_S2+H_S3", "AffectNet", None, 48.56),
        ("phanet", "T7", "HOG + 2 FC layers", "FER", None, 35.46),
        ("lan", "T5", "LAN", "> 45", "Pose-FERPlus", 85.31),
        ("dmlnet", "T4", "DML-Net", "surprise", None, 100.0),
        ("dmlnet", "T5", "IPFR", "FER, -45..45", None, 84.0),
        ("dmlnet", "T8", "MFE+HPE+JEFL", "Multi-PIE FPS", None, 78),
        ("dmlnet", "T9", "GMLDA", "fear", None, 29.29),
        ("phanet", "F7a", "surprise", "surprise", None, 0.486),
        ("phanet", "text", "GAN, LLRS, SSE, MMGL", "viewpoints", None, 35),
        ("dmlnet", "F9b", "-40", "-40", None, 0.627),
        ("dmlnet", "F14", "happy faces", "subjects", None, 31),
        ("dmlnet", "abstract", "DML-Net", "SFEW", None, 54.36),
        ("pcda", "T1", "dot+NeAA", "RAF-DB", None, 91.95),
        ("pcda", "T6", "PCDA", "neutral", "AffectNet", 58.20),
        ("pcda", "T7", "APViT", "running time", None, 3.9),
    ],
)
def test_values(paper: str, place: str, row: str, column: str, dataset: str | None, expected: float) -> None:
    assert published.value(paper, place, row, column, dataset) == expected


def test_scattered_cells_name_what_is_left() -> None:
    """The numbers that the notes of a scattered row offer, with those that are placed, sum to one."""
    for figure, row in (("F7a", "surprise"), ("F7b", "-15")):
        cells = published.in_figures("phanet", figure)
        cells = cells[cells["row"] == row]
        offered = set(cells.loc[cells["value"].isna(), "notes"])
        left = [float(text) for text in re.findall(r"0\.\d+", offered.pop())]
        assert not offered and len(left) == cells["value"].isna().sum()
        assert sum(left) + cells["value"].sum() == pytest.approx(1)


def test_contradictions_in_words_say_why_they_are_no_check() -> None:
    words = published.read("words")
    assert (words[["what", "one place", "why no check"]] != "").all(axis=None)
    assert not (words.drop(columns="paper").apply(" ".join, axis=1).str.contains("\u201c")).any()
    for line in words.to_dict("records"):
        assert bool(line["table"]) != bool(line["figure"])


def test_unknown_names_are_errors() -> None:
    with pytest.raises(ParameterError, match="no paper 'poster'"):
        published.load("poster")
    with pytest.raises(ParameterError, match="No table 'T9' of lan"):
        published.load("lan", "T9")
    with pytest.raises(ParameterError, match="No figure 'F3' of lan"):
        published.in_figures("lan", "F3")
    with pytest.raises(ParameterError, match="no paper 'poster'"):
        published.value("poster", "T1", "a")
    with pytest.raises(ParameterError, match="0 published values fit lan T3, row 'LANE'"):
        published.value("lan", "T3", "LANE")
    with pytest.raises(ParameterError, match="3 published values fit lan T5"):
        published.value("lan", "T5", "LAN", "> 30")


def test_a_caller_cannot_spoil_the_values() -> None:
    mine = published.load("lan", "T3")
    mine["value"] = 0.0
    assert published.load("lan", "T3")["value"].min() == 83.52
