"""What notebooks call: checked parameters, published values, figures that draw what they are given, numbers as CSV."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from IPython.core.interactiveshell import InteractiveShell
from test_records import record_of

from fercore import figures, intervals, notebook, provenance, published, records
from fercore.book import made
from fercore.errors import ParameterError, RecordError
from fercore.papers import lan

matplotlib.use("Agg")
PARAMETERS = """preset: str = "smoke"  # smoke | quick | paper
epochs: int = 2  # how often
rate: float = 0.1  # step
flip: bool = True  # mirrored
seeds: list[int] = [0, 1]  # one run each
"""


@pytest.fixture(autouse=True)
def closed_figures() -> Iterator[None]:
    yield
    plt.close("all")


# --- parameters -------------------------------------------------------------------------------------------


@pytest.fixture
def run() -> Iterator[Callable[..., None]]:
    """A function that runs cells in a shell, as a kernel would, and then :func:`notebook.check_parameters`."""
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()

    def cells(*sources: str) -> None:
        for source in (*sources, "from fercore import notebook\nnotebook.check_parameters()"):
            done = shell.run_cell(source, store_history=True)
            done.raise_error()

    yield cells
    InteractiveShell.clear_instance()


@pytest.mark.parametrize(
    "injected",
    ["preset = 'quick'", "epochs = 3\nseeds = [1]", "rate = 1", "rate = 0.5\nflip = False", "preset = 'paper'\n"],
)
def test_good_parameters_pass(injected: str, run: Callable[..., None]) -> None:
    run(PARAMETERS, f"# Parameters\n{injected}\n")


def test_nothing_injected_passes(run: Callable[..., None]) -> None:
    run(PARAMETERS)
    run("x = 1", "# Parameters of another kind: a comment of the reader's own\ny = 2")


@pytest.mark.parametrize(
    ("injected", "message"),
    [
        ("epoch = 3", r"no parameter 'epoch'. Did you mean 'epochs'\?\n.* preset: str, epochs: int, rate: float"),
        ("preset = 'quick'\nzzz = 1", r"no parameter 'zzz'.\n.*take one of"),
        ("epochs = 'three'", "'epochs' must be int, but 'three' is str"),
        ("epochs = 1.5", "'epochs' must be int, but 1.5 is float"),
        ("epochs = True", "'epochs' must be int, but True is bool"),
        ("flip = 1", "'flip' must be bool, but 1 is int"),
        ("seeds = 4", r"'seeds' must be list\[int\], but 4 is int"),
        ("seeds = ['a']", r"'seeds' must be list\[int\]"),
        ("rate = float('nan')\nzzz = 1", "no parameter 'zzz'"),
        ("preset = 3", "'preset' must be str, but 3 is int"),
        ("preset = 'smoek'", r"no preset 'smoek' \(did you mean 'smoke'\?\)"),
    ],
)
def test_wrong_parameters_stop_the_notebook(injected: str, message: str, run: Callable[..., None]) -> None:
    with pytest.raises(ParameterError, match=message):
        run(PARAMETERS, f"# Parameters\n{injected}\n")


def test_a_preset_edited_by_hand_is_checked(run: Callable[..., None]) -> None:
    with pytest.raises(ParameterError, match="no preset 'fast'"):
        run(PARAMETERS.replace('"smoke"', '"fast"'))


def test_outside_a_notebook_there_is_nothing_to_check() -> None:
    InteractiveShell.clear_instance()
    notebook.check_parameters()


# --- published values -------------------------------------------------------------------------------------


def test_published_values_by_name() -> None:
    assert published.value("lan", "T3", "LAN") == 88.45
    assert (
        published.value("lan", "T3", "ResNet-18")
        == notebook.published_accuracies("ferplus")["all test images", "ResNet-18"]
    )
    assert len(notebook.published_accuracies("ferplus")) == 6 and not notebook.published_accuracies("kdef-twin")
    assert notebook.published_accuracies("ferplus", "pcda") == {("all test images", "PCDA"): 92.97}
    assert not notebook.published_accuracies("ferplus", "baselines")
    with pytest.raises(ParameterError, match="0 published values fit lan T3, row 'LANE'"):
        published.value("lan", "T3", "LANE")
    with pytest.raises(ParameterError, match=r"[2-9] published values fit lan T5"):
        published.value("lan", "T5", "LAN", "> 30")


# --- figures ----------------------------------------------------------------------------------------------

CLASSES = ("neutral", "happiness", "surprise")


def texts(axes: plt.Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_confusion_matrix_shows_row_percentages() -> None:
    axes = figures.confusion_matrix(np.array([[3, 1, 0], [0, 5, 0], [0, 0, 0]]), CLASSES, "LAN")
    values = axes.collections[0].get_array()
    assert np.ma.filled(values, np.nan)[:2].tolist() == [[75, 25, 0], [0, 100, 0]]
    assert np.ma.getmaskarray(values)[2].all(), "a class without images stays white"
    assert texts(axes) == ["75", "25", "0", "0", "100", "0"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["neutral (4)", "happiness (5)", "surprise (0)"]
    assert (axes.get_title(), axes.get_xlabel()) == ("LAN", "predicted")


def test_intervals_draw_every_value_and_every_published_one() -> None:
    first, second = ("all", "ResNet-18", 80.0, 78.0, 82.0), ("all", "LAN", 83.0, 81.5, 84.0)
    rows = [first, second, ("pose > 30°", "LAN", 70.0, 66.0, 75.0)]
    axes = figures.intervals(rows, {("all", "LAN"): 88.5, ("nowhere", "LAN"): 1.0})
    points = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    spans = [tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2]
    diamonds = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "D"]
    assert points == [80, 83, 70] and diamonds == [88.5]
    assert spans == [(78, 82), (81.5, 84), (66, 75)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["all", "pose > 30°"]
    heights = [line.get_ydata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert heights[0] < heights[1] < heights[2] and texts(axes) == ["80.0", "83.0", "70.0"]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["ResNet-18, ours", "LAN, ours", "published"]


def history(*accuracies: float) -> list[dict[str, float]]:
    return [{"train_cross_entropy": 1 - a, "validation_accuracy": a} for a in accuracies]


def test_training_curves_hold_every_epoch() -> None:
    runs = {
        "ResNet-18": {"backbone": history(0.3, 0.5), "method": history(0.6)},
        "LAN": {"backbone": history(0.3, 0.5), "method": history(0.7)},
    }
    left, right = figures.training_curves(runs).axes
    assert [line.get_ydata().tolist() for line in left.lines[:2]] == [
        pytest.approx([0.7, 0.5, 0.4]), pytest.approx([0.7, 0.5, 0.3]),
    ]  # fmt: skip
    assert [line.get_ydata().tolist() for line in right.lines[:2]] == [
        pytest.approx([30, 50, 60]), pytest.approx([30, 50, 70]),
    ]  # fmt: skip
    assert right.lines[0].get_xdata().tolist() == [1, 2, 3]
    assert right.lines[2].get_xdata() == [2.5, 2.5], "where the methods part"


def test_counts_draw_a_bar_for_every_number() -> None:
    axes = figures.counts({"train": {"neutral": 5, "fear": 2}, "test": {"neutral": 1, "anger": 3}})
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
    assert heights == [[5, 2, 0], [1, 0, 3]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["neutral", "fear", "anger"]


def test_image_grid_places_pictures() -> None:
    pictures = np.arange(2 * 3 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 4, 3)
    figure = figures.image_grid(pictures, ["a", "b"], ["x", "y", "z"])
    shown = [axes.images[0].get_array() for axes in figure.axes]
    assert len(shown) == 6 and all(
        np.array_equal(a, b) for a, b in zip(shown, pictures.reshape(6, 4, 4, 3), strict=True)
    )
    assert [text.get_text() for text in figure.texts] == ["a", "b", "x", "y", "z"]
    assert len(figures.image_grid([[pictures[0, 0], None], [None, pictures[0, 1]]]).axes) == 2
    assert len(figures.image_grid(pictures[0]).axes) == 3, "a flat sequence is one row"
    with pytest.raises(ParameterError, match="1 x 3 images, 1 x 2 labels"):
        figures.image_grid(pictures[0], column_labels=["x", "y"])
    assert (
        len(figures.image_grid(pictures[0, ..., 0]).axes) == 3 and len(figures.image_grid(list(pictures[0])).axes) == 3
    )


def test_a_map_is_laid_over_the_picture() -> None:
    images, maps = np.zeros((2, 6, 6, 3), np.uint8), np.zeros((2, 3, 3))
    maps[1, 0, 2] = 1
    figure = figures.maps_over(images, {"map": maps}, ["a", "b"], smooth=False)
    shown = [axes.images[0].get_array() for axes in figure.axes]
    assert len(shown) == 4
    plain, marked = shown[2], shown[3]
    assert (marked[:2, 4:] != plain[:2, 4:]).any(-1).all()
    marked = np.array(marked)
    marked[:2, 4:] = plain[:2, 4:]
    assert np.array_equal(marked, plain), "only where the map says"


def test_shared_maps_have_one_scale_and_darkness_is_left_alone() -> None:
    images = np.full((2, 24, 24, 3), 200, np.uint8)
    strong, weak = np.zeros((2, 6, 6)), np.full((2, 6, 6), -1.0)
    strong[:, :3, :3], weak[:, 3:, 3:] = 4.0, 1.0
    for shared in (True, False):
        figure = figures.maps_over(images, {"strong": strong, "weak": weak}, ["a", "b"], shared=shared)
        drawn = [np.asarray(axes.get_images()[0].get_array()) for axes in figure.axes]
        assert len(drawn) == 6
        lit_strong, lit_weak = drawn[2][2, 2], drawn[4][-3, -3]
        assert np.allclose(lit_strong, lit_weak) is not shared
        nothing = 0.75 * 200 / 255 + 0.25 * np.array(plt.get_cmap("inferno")(0.0)[:3])
        assert np.allclose(drawn[2][-2, -2], nothing) and np.allclose(drawn[4][1, 1], nothing)


def test_landmarks_are_drawn_where_they_are_each_kind_apart() -> None:
    images, true = np.zeros((2, 20, 20, 3), np.uint8), np.full((2, 68, 2), 5.0)
    figure = figures.landmarks(images, {"true": true, "found": true + np.array([2, 0])}, ["a", "b"])
    hollow, filled = figure.axes[0].collections
    assert hollow.get_offsets()[0].tolist() == [5, 5] and filled.get_offsets()[0].tolist() == [7, 5]
    assert len(figure.numbers) == 2 * 2 * 68

    points = np.array([[[1.0, 2], [3, 4], [5, 6]]])
    apart = figures.by_sight(points, np.array([[True, False, True]]))
    figure = figures.landmarks(images[:1], apart, ["a"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["visible", "hidden"]
    numbers = figure.numbers.set_index("point")
    assert numbers["kind"].to_dict() == {0: "visible", 1: "hidden", 2: "visible"} and numbers.loc[1, "x"] == 3


# --- tables and links -------------------------------------------------------------------------------------


def test_csv_link_holds_the_table() -> None:
    table = pd.DataFrame({"name": ['ü, "x"', "b"], "value": [0.125, 2.0]})
    link = made.csv_link(table, "a&b.csv")
    assert 'download="a&amp;b.csv"' in link and "http" not in link
    data = re.search(r"base64,([^\"]+)", link)[1]
    pd.testing.assert_frame_equal(pd.read_csv(io.BytesIO(base64.b64decode(data))), table)


def test_tables_are_the_same_bytes_each_time() -> None:
    table = pd.DataFrame({"a": [1]})
    assert notebook.show(table, "A table").data == notebook.show(table, "A table").data
    assert "A table" in notebook.show(table, "A table").data


def test_labels_of_runs() -> None:
    assert "say nothing about the method" in notebook.what_this_run_is("smoke").data
    assert "say nothing" not in notebook.what_this_run_is("quick").data
    assert "get FER2013" in notebook.how_to_get("ferplus").data
    assert notebook.accuracy_table([]).empty


# --- several seeds and folds ------------------------------------------------------------------------------


def saved(tmp_path: Path, method: str, seed: int, right: Sequence[int], fold: int = 0) -> records.Record:
    """A record on six images of two people, of which ``right`` are right; the folds have other images."""
    answers = np.where(np.isin(np.arange(6), right), 0, 1)
    arrays = {
        "labels": np.zeros(6, int),
        "probabilities": np.eye(2)[answers],
        "samples": np.array([f"{name}{fold}" for name in "abcdef"]),
        "subjects": np.array([f"{name}{fold}" for name in "xxxyyy"]),
        "in_test": np.ones(6, bool),
        "confusion_test": np.array([[len(right), 6 - len(right)], [0, 0]]),
    }
    numbers = {"images": 6, "accuracy": len(right) / 6, "accuracy_low": 0.1, "accuracy_high": 0.9}
    numbers |= {"interval_over": "subjects", "balanced_accuracy": len(right) / 6}
    base = record_of(f"{method}{seed}{fold}")
    recipe = base.recipe | {"method": method, "seed": seed, "fold": fold}
    return records.write(base.model_copy(update={"recipe": recipe, "metrics": {"test": numbers}}), arrays, tmp_path)


def test_seeds_share_a_line_with_their_mean_and_interval(tmp_path: Path) -> None:
    runs = [saved(tmp_path, "lan", seed, range(n)) for seed, n in enumerate((3, 4, 5))]
    alone = saved(tmp_path, "resnet18", 0, [0])
    table = notebook.accuracy_table([*runs[::-1], alone])
    assert table["method"].tolist() == ["ResNet-18", "LAN"] and table["seed"].tolist() == ["0", "0, 1, 2"]
    assert table["accuracy, %"].tolist() == ["16.67", "66.67"]
    assert table["interval over"].tolist() == ["2 people", "3 seeds, 2 people"]
    for line, own in zip(table.to_dict("records"), ([alone], runs), strict=True):
        one = intervals.estimate(own)
        assert line["95 % interval"] == f"{100 * one.low:.1f} – {100 * one.high:.1f}"
    (row,) = notebook.accuracy_rows(runs)
    assert row == ("all test images", "LAN", *(100 * end for end in intervals.estimate(runs).interval))
    assert notebook.confusion(runs).tolist() == [[12, 6], [0, 0]]


def test_recalls_count_all_seeds_together(tmp_path: Path) -> None:
    runs = [saved(tmp_path, "lan", seed, range(n)) for seed, n in enumerate((3, 4, 5))]
    table = notebook.recalls({"LAN": [run.model_copy(update={"classes": ["a", "b"]}) for run in runs]})
    a, b = table.set_index("class").to_dict("index").values()
    assert a["images"] == 6 and a["LAN, recall"] == pytest.approx(100 * 12 / 18)
    assert a["LAN, F1"] == pytest.approx(100 * 2 * 12 / (18 + 12))
    assert b["images"] == 0 and np.isnan(b["LAN, recall"]) and b["LAN, F1"] == 0


def test_methods_are_compared_seed_by_seed(tmp_path: Path) -> None:
    plain = [saved(tmp_path, "resnet18", seed, [0, 1]) for seed in range(3)]
    lan = [saved(tmp_path, "lan", seed, r) for seed, r in enumerate(([0, 1], [0, 1, 2], [0, 1, 2, 3, 4]))]
    table = notebook.paired_table(plain, lan[::-1]).squeeze()
    gain = intervals.estimate(lan, against=plain)
    assert gain.value == pytest.approx((0 + 1 + 3) / 18)
    assert table["LAN − ResNet-18, points"] == notebook.signed(100 * gain.value)
    assert table["95 % interval"] == " … ".join(notebook.signed(100 * end) for end in (gain.low, gain.high))
    assert table["interval over"] == "3 seeds, 2 people" and table["p"] == f"{gain.p:.3f}"
    assert table["only LAN right"] == "0, 1, 3"
    alone = notebook.paired_table(plain[1:2], lan[1:2]).squeeze()
    assert alone["interval over"] == "2 people" and alone["only LAN right"] == "1"
    named = notebook.paired_table(plain, lan, names=("before", "after")).squeeze()
    assert named["after − before, points"] == table["LAN − ResNet-18, points"]
    assert named["only after right"] == table["only LAN right"] and named["only before right"] == "0, 0, 0"


def test_folds_are_compared_each_on_its_own_people(tmp_path: Path) -> None:
    plain = [saved(tmp_path, "resnet18", 0, [0, 1], fold) for fold in range(2)]
    lan = [saved(tmp_path, "lan", 0, r, fold) for fold, r in enumerate(([0, 1, 2], [0]))]
    table = notebook.paired_table(plain, lan).squeeze()
    assert table["LAN − ResNet-18, points"] == "+0.00" and table["interval over"] == "4 people"
    assert table["only LAN right"] == "1, 0" and table["only ResNet-18 right"] == "0, 1"


def test_a_run_without_a_partner_is_named(tmp_path: Path) -> None:
    plain = [saved(tmp_path, "resnet18", seed, [0]) for seed in range(2)]
    with pytest.raises(RecordError, match=r"one kind has \[\(0, 0\), \(1, 0\)\] and the other \[\(0, 0\)\]"):
        notebook.paired_table(plain, [saved(tmp_path, "lan", 0, [0])])


@pytest.mark.parametrize(("value", "text"), [(0.004, "+0.00"), (-0.004, "+0.00"), (-1.255, "−1.25"), (10.0, "+10.00")])
def test_a_difference_has_a_sign_and_zero_a_plus(value: float, text: str) -> None:
    assert notebook.signed(value) == text


# --- how was this made? -----------------------------------------------------------------------------------

GRID = "figures.image_grid(np.zeros((2, 2, 4, 4, 3), np.uint8), ['a', 'b'], ['x', 'y'])"
DRAWN = {
    f"figure = {GRID}": "row,column,height,width,mean",
    "def draw():\n    return " + GRID + "\nfigure = draw()": "row,column,height,width,mean",
    "axes = figures.lines(np.arange(3), {'loss': np.arange(3)}, 'epoch', '')\naxes.set_ylim(0, 9);": "epoch,loss",
    "axes = figures.confusion_matrix(np.eye(2), ['a', 'b'])": "true,a,b",
    "axes = figures.intervals([('all', 'LAN', 80.0, 78.0, 82.0)])": "group,method,value,low,high,published",
    "figure = figures.maps([np.zeros((1, 2))], ['m'])": "map,row,column,value",
    "axes = figures.heat(pd.DataFrame({'x': [1.0]}, index=['a']), 'column', 'row', '')": "row,x",
    "axes = figures.counts({'train': {'fear': 2}})": "class,train",
    "figure = figures.landmarks(np.zeros((1, 8, 8, 3)), {'true': np.ones((1, 2, 2))}, [''])": "picture,kind,point,x,y",
    "pd.DataFrame({'n': [1]}, index=pd.Index(['a'], name='class'))": "class,n",
    "notebook.show(pd.DataFrame({'n': [1]}), 'A table.')": "n",
}
IMPORTS = "import numpy as np, pandas as pd\nfrom fercore import figures, notebook, records"


def shown_after(shell_run: Callable[..., None], *sources: str) -> list[str]:
    """The drop-downs and marks that cells show, as HTML; parameters are checked, and the watch begins, before them."""
    shell_run(PARAMETERS, "# Parameters\nepochs = 3\n", IMPORTS)
    shell = InteractiveShell.instance()
    found: list[str] = []
    shell.display_pub.publish = lambda data, **_: found.extend(
        text for kind, text in data.items() if kind == "text/html"
    )
    for source in sources:
        shell.run_cell(source, store_history=True).raise_error()
    return found


@pytest.mark.parametrize("source", DRAWN)
def test_every_figure_and_table_is_followed_by_one_drop_down(source: str, run: Callable[..., None]) -> None:
    drawn = re.search("^(figure|axes) = ", source, re.MULTILINE)
    shown = f"\nnotebook.figure({drawn[1]}, 'A caption.', alt='What it shows.')" if drawn else ""
    (text,) = shown_after(run, source + shown)
    assert text.startswith('<details class="made">') and "\n" not in text, "one line: Markdown takes it as HTML"
    assert "-p preset smoke -p epochs 3 -p rate 0.1" in text and "epochs 3, rate 0.1" in text
    assert provenance.commit()["id"][:10] in text and "none: the code" in text
    numbers = base64.b64decode(re.search(r"base64,([^\"]+)", text)[1]).decode()
    assert numbers.splitlines()[0] == DRAWN[source] and len(numbers.splitlines()) > 1


def test_other_cells_are_followed_by_nothing(run: Callable[..., None]) -> None:
    sources = ["x = 1", "print('words')", "notebook.note('remark')", "%who_ls", "table = pd.DataFrame({'n': [1]})", ""]
    assert [text for text in shown_after(run, *sources) if "details" in text] == []


def test_a_drop_down_names_records_and_files_and_marks_what_is_stale(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = "notebook.works_on('fercore/published')\n"
    prepare += "found = records.find(method='lan', dataset='ferplus', preset='paper')"
    table = "notebook.show(notebook.accuracy_table(found))"
    (record,) = records.find(method="lan", dataset="ferplus", preset="paper")
    for code, stale in (("another", True), (record.code, False)):
        monkeypatch.setattr(provenance, "code_of", lambda paper, code=code: code)
        *marks, text = shown_after(run, prepare, table)
        assert f"Record {record.name}" in text and "<code>fercore/published</code>, hash" in text
        assert [record.name in mark and "Stale" in mark for mark in marks] == [True] * stale


def test_what_was_computed_from_records_names_them_once(run: Callable[..., None]) -> None:
    found = "found = records.find(method='lan', dataset='ferplus', preset='paper')"
    table = "table = notebook.accuracy_table(found)\nrows = table.head(2)"
    (record,) = records.find(method="lan", dataset="ferplus", preset="paper")
    shown = [text for text in shown_after(run, found, table, "notebook.show(rows)", "rows") if 'class="made"' in text]
    assert [f"Record {record.name}" in text for text in shown] == [True, False]
    assert ["that of 1 record below" in text for text in shown] == [True, False]
    assert ["that of 1 record above" in text for text in shown] == [False, True]


def test_records_behind_a_table_are_those_that_it_was_made_from(run: Callable[..., None]) -> None:
    """Of ``a or b`` the one that is taken; and none of those that a name stood for before."""
    names = [record.name for record in records.find(paper="lan", preset="quick")[:2]]
    first = "one, other = records.find(paper='lan', preset='quick')[:2]\nruns, found, none = [one], [other], []"
    sources = [
        first,
        "notebook.show(notebook.accuracy_table(runs or found))",
        "notebook.show(notebook.accuracy_table(none or found))",
        "table = notebook.accuracy_table(runs)",
        "table = notebook.accuracy_table(found)\nnotebook.show(table)",
    ]
    shown = [text for text in shown_after(run, *sources) if 'class="made"' in text]
    assert [[f"Record {name}" in text for name in names] for text in shown] == [
        [True, False],
        [False, True],
        [False, True],
    ]


def test_a_figure_shows_its_picture_its_caption_and_what_it_is(run: Callable[..., None]) -> None:
    shown = notebook.figure(figures.heat(pd.DataFrame({"x": [1.0]}, index=["a"]), "column", "row"), "One.", alt="Two.")
    data, metadata = shown._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG") and data["text/plain"] == "Two."
    assert metadata == {"figure": {"caption": "One.", "alt": "Two."}} and not plt.get_fignums(), "drawn once"
    shell_run, captions = InteractiveShell.instance(), []
    shown_after(run)
    shell_run.display_pub.publish = lambda data, **_: captions.append(data.get("text/markdown"))
    shell_run.run_cell("notebook.figure(figures.counts({'a': {'b': 1}}), 'Below it.', alt='A bar.')").raise_error()
    assert captions[0] == "*Below it.*", "in Jupyter the caption stands below the picture"


@pytest.mark.parametrize(("size", "fits"), [((24, 3.2), True), ((26, 3.2), False), ((3, 12), True), ((0.5, 9), False)])
def test_a_figure_that_no_page_can_show_is_refused(size: tuple[float, float], fits: bool) -> None:
    drawn = plt.figure(figsize=size, dpi=100)
    drawn.add_axes((0, 0, 1, 1))
    if fits:
        notebook.figure(drawn, "A caption.", alt="Nothing.")
    else:
        with pytest.raises(ParameterError, match=r"pixels.*\n.*draw it smaller"):
            notebook.figure(drawn, "A caption.", alt="Nothing.")
    plt.close(drawn)


def test_words_take_their_numbers_by_name() -> None:
    assert notebook.say("a {gain} of {{x}}", {"gain": "1.5 points"}).data == "a 1.5 points of {x}"
    assert notebook.say("$f_{a}$").data == "$f_{a}$", "without numbers braces are braces"
    with pytest.raises(ParameterError, match=r"'loss', which is no number of this page.*\n.*gain, p"):
        notebook.say("{loss}", {"gain": "1", "p": "2"})


def test_gains_in_words_are_those_of_the_table() -> None:
    of = notebook.runs_by_method(notebook.reference(paper="lan", dataset="ferplus", preset="quick"))
    table = notebook.paired_table(of["ResNet-18"], of["LAN"]).set_index("images of")
    for subset, name in (("test", "all test images"), ("pose_over_45", "pose > 45°")):
        value, interval = table.loc[name, ["LAN − ResNet-18, points", "95 % interval"]]
        assert notebook.gain(of, "LAN", "ResNet-18", subset) == f"{value} points [{interval.replace(' … ', ', ')}]"
    assert notebook.gain(of, "ResNet-18", "LAN") != notebook.gain(of, "LAN", "ResNet-18")
    rows = {(subset, method): value for subset, method, value, _, _ in notebook.accuracy_rows(of["LAN"])}
    assert notebook.share(of["LAN"], "pose_over_45") == f"{rows['pose > 45°', 'LAN']:.1f} %"
    line = table.loc["all test images"]
    alone = [sum(map(int, line[f"only {name} right"].split(", "))) for name in of]
    assert notebook.changed(of, "LAN", "ResNet-18") == f"{100 * sum(alone) / 3 / 3137:.1f} %"


def test_a_folded_table_opens_on_its_caption() -> None:
    table = notebook.stacked({"a": pd.DataFrame({"n": [1.0]}), "b": pd.DataFrame({"m": ["x"]})})
    assert table.to_dict("list") == {"n": [1.0, "–"], "m": ["–", "x"]}
    page = BeautifulSoup(notebook.show(table, "All <of> it.", folded=True).data, "html.parser")
    assert page.details.summary.text == "All <of> it." and page.details.table and not page.find("caption")
    assert BeautifulSoup(notebook.show(table, "All.").data, "html.parser").caption.text == "All."


def test_an_architecture_shows_every_box_and_arrow() -> None:
    boxes = {"image": (0, 0, "3 × 8 × 8"), "map": (1, 0, "4 × 2 × 2"), "labels": (1, 1, "")}
    drawn = figures.architecture(boxes, [("image", "map", "trunk"), ("labels", "map", "training: loss")])
    written = [text.get_text() for text in drawn.axes[0].texts]
    assert {"image\n3 × 8 × 8", "map\n4 × 2 × 2", "labels", "trunk", "training: loss"} <= set(written)
    styles = [text.arrow_patch.get_linestyle() for text in drawn.axes[0].texts if getattr(text, "arrow_patch", None)]
    assert styles == ["-", "--"] and drawn.numbers["part"].tolist() == list(boxes)
    plt.close(drawn)


def test_angles_have_a_true_minus_and_zero_has_no_sign() -> None:
    assert [figures.degrees(angle) for angle in (-45, -0.2, 0, 89.6)] == ["−45°", "0°", "0°", "+90°"]


def test_numbers_for_the_text() -> None:
    assert notebook.printed("lan", "T3", "LAN") == "88.45 %"
    assert notebook.printed("lan", "text", "LAN over RAN", "> 30", "Pose-FERPlus") == "4.95 points"


def test_a_reference_has_the_settings_of_its_preset(tmp_path: Path) -> None:
    recipes = {"own": {"fold": 3, "method": "resnet18"}, "other": {"alpha": 0.1}, "smaller": {"width": 8}}
    for name, changes in recipes.items():
        recipe = lan.recipe("quick", "kdef-twin", **changes)
        record = record_of().model_copy(update={"recipe": recipe.model_dump(), "key": name})
        records.write(record, {"labels": np.arange(3)}, tmp_path)
    of = {"root": tmp_path, "paper": "lan", "preset": "quick", "dataset": "kdef-twin"}
    assert [record.key for record in notebook.reference(**of)] == ["own"]
    assert [record.key for record in notebook.reference(**of, alpha=0.1)] == ["other"]
    assert [record.key for record in notebook.reference(**of, width=8)] == ["smaller"]
    with pytest.raises(RecordError, match=r"holds no reference record of paper lan, preset quick, .*, seed 1"):
        notebook.reference(**of, seed=1)


def test_many_folds_are_listed_shortly() -> None:
    assert notebook._listed({0}) == "0" and notebook._listed({2, 0, 1}) == "0, 1, 2"
    assert notebook._listed(set(range(10))) == "0 – 9" and notebook._listed({0, 1, 2, 4}) == "0, 1, 2, 4"


def test_numbers_of_a_shown_column_have_the_same_decimals() -> None:
    table = pd.DataFrame(
        {"a": [85.1, 77.76], "b": [1.0, float("nan")], "c": [1 / 3, 0.5], "d": [1, 2], "e": ["x", "y"]}
    )
    rows = BeautifulSoup(notebook.show(table, "A caption.").data, "html.parser").tbody.find_all("tr")
    shown = [[cell.text for cell in row.find_all("td")] for row in rows]
    assert shown == [["85.10", "1", "0.333", "1", "x"], ["77.76", "–", "0.500", "2", "y"]]
