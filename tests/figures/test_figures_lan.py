"""LAN's figures: faces drawn again are the record's, examples are the surest, maps are laid where they belong."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from fercore.data import twin_designs
from fercore.errors import RecordError
from fercore.figures import lan as figures_lan
from fercore.ledger.found import reference
from fercore.records import Record

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def closed_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def record() -> Record:
    return reference(paper="lan", method="lan", dataset="kdef-twin", preset="quick", fold=0)[0]


def test_rows_are_those_of_the_samples(record: Record) -> None:
    arrays = record.arrays()
    shown = arrays["samples"][: len(arrays["map_rows"])]
    assert figures_lan.rows_of(record, shown).tolist() == arrays["map_rows"].tolist()
    assert figures_lan.rows_of(record, shown[::-1]).tolist() == arrays["map_rows"][::-1].tolist()


def test_pictures_show_the_people_of_the_record(record: Record) -> None:
    rows = record.arrays()["map_rows"][:2]
    images, known = figures_lan.pictures(record, rows, size=40)
    assert images.shape == (2, 40, 40, 3) and images.dtype == np.uint8
    assert known["sample"].tolist() == record.arrays()["samples"][:2].tolist()


def test_no_picture_of_a_photograph(record: Record) -> None:
    real = record.model_copy(update={"data": record.data.model_copy(update={"real": True})})
    with pytest.raises(RecordError, match=r"is of photographs.*(.|\n)*choose a record of a twin"):
        figures_lan.pictures(real, np.arange(2))


@pytest.mark.parametrize("at_least", [0.0, 45.0, 90.0])
def test_examples_are_the_surest_and_all_different(record: Record, at_least: float) -> None:
    table = figures_lan.turned_examples(record, 4, at_least)
    right, wrong = table[table["right"]], table[~table["right"]]
    assert len(right) == len(wrong) == 4 and table["right"].tolist() == [True] * 4 + [False] * 4
    assert (right["true"] == right["answer"]).all() and (wrong["true"] != wrong["answer"]).all()
    assert (table["pan"].abs() >= at_least).all() and not table.duplicated(["person", "true", "right"]).any()
    arrays = record.arrays()
    pan = twin_designs.rows(twin_designs.parameters("kdef-twin", "quick")).set_index("sample")["pan"]
    turned = np.abs(pan.loc[arrays["samples"]].to_numpy()) >= at_least
    missed = arrays["probabilities"].argmax(1) != arrays["labels"]
    assert wrong["probability"].iloc[0] == arrays["probabilities"][turned & missed].max()


def test_wrong_examples_are_red() -> None:
    table = pd.DataFrame({"true": ["fear", "anger"], "answer": ["fear", "fear"], "right": [True, False]})
    figure = figures_lan.examples(np.zeros((2, 8, 8, 3), np.uint8), table, columns=2)
    titles = [axes.title for axes in figure.axes]
    assert [t.get_text() for t in titles] == ["A: fear\nT: fear", "A: fear\nT: anger"]
    assert [t.get_color() for t in titles] == [figures_lan.RIGHT, figures_lan.WRONG]


def test_confusions_are_the_records(record: Record) -> None:
    figure = figures_lan.confusions({"all": (record, "test"), "right profile": (record, "pan_+90")})
    assert [axes.get_title() for axes in figure.axes] == ["all", "right profile"]
    assert len(figure.axes[0].texts) == len(record.classes) ** 2
