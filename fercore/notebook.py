"""What notebooks have in common: checked parameters, recorded results, and how each was made.

Functions here return something to display (a table, a piece of HTML) or raise one clear error; of several runs they
take means and differences, with the functions of :mod:`fercore.intervals`.
"""

from __future__ import annotations

import html
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
import pandas as pd
from IPython import get_ipython
from IPython.display import HTML, Markdown
from matplotlib.artist import Artist
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from fercore import intervals, published
from fercore.book import made, parameters
from fercore.book.made import Table
from fercore.book.made import works_on as works_on
from fercore.data import catalogue
from fercore.errors import ParameterError
from fercore.figures import degrees
from fercore.intervals import Estimate, estimate
from fercore.intervals import signed as signed
from fercore.ledger.found import place
from fercore.ledger.found import reference as reference
from fercore.paths import ROOT
from fercore.provenance import without_docstrings
from fercore.recipe import check_preset
from fercore.records import Record

SUBSETS = {"test": "all test images", "pose_over_30": "pose > 30°", "pose_over_45": "pose > 45°"}
"""Names of subsets in tables and figures; others are shown as they are called."""
SUBSETS |= {f"pan_{yaw:+d}": f"yaw {degrees(yaw)}" for yaw in range(-90, 91, 15)}


def check_parameters() -> None:
    """Hold what papermill injected against the cell tagged ``parameters``, and follow the cells that come.

    Raises a :class:`~fercore.errors.ParameterError` as :func:`fercore.book.parameters.check` does, and for an unknown
    preset. In JupyterLab, where nothing is injected, only the preset is checked. Figures and tables of later cells get
    their drop-down, see :mod:`fercore.book.made`.
    """
    shell = get_ipython()
    if shell is None:
        return
    ran, values = shell.user_ns["In"], shell.user_ns
    injected = [k for k, source in enumerate(ran) if source.startswith("# Parameters\n")]
    if injected:
        known = parameters.declared(ran[injected[-1] - 1])
        given = parameters.declared(ran[injected[-1]])
        parameters.check("This notebook", {name: values[name] for name in given}, known)
    else:
        known = shell.user_module.__annotations__  # every parameter has one
    if "preset" in values:
        check_preset(values["preset"])
    made.watch(shell, {name: values[name] for name in known})


def say(text: str, numbers: Mapping[str, str] | None = None) -> Markdown:
    """Words of the page as Markdown, ``{name}`` in them replaced by ``numbers[name]``.

    So what a text says in numbers comes from records and published files, and reads the same in the book, in JupyterLab
    and in whatever else opens the notebook; a test refuses results that are typed. A name without a number is an error.
    """
    try:
        return Markdown(text if numbers is None else text.format_map(numbers))
    except KeyError as error:
        raise ParameterError(
            f"The text names {error}, which is no number of this page.", do=f"take one of {', '.join(numbers)}"
        ) from None


def figure(drawn: Artist, caption: str, *, alt: str) -> made.Figure:
    """A figure with its caption below, as the last line of a cell; the numbers behind it as :func:`figures.told` left
    them. ``alt``: what it shows, in words, for those who can't see it."""
    return made.Figure(drawn.figure, caption, alt)


def printed(paper: str, place: str, row: str, column: str = "accuracy", dataset: str | None = None) -> str:
    """A published number with its unit, with the digits that the paper prints; the cell as in :mod:`published`."""
    cell = published.cell(paper, place, row, column, dataset)
    return f"{cell['printed']} {cell['unit']}".strip()


def note(text: str, kind: str = "note") -> HTML:
    """A boxed remark, ``kind`` note or warning; the text may hold HTML."""
    colour = {"note": "#2563eb", "warning": "#d97706"}[kind]
    return HTML(
        f'<div style="border-left: 4px solid {colour}; padding: 0.4em 0.9em; margin: 0.6em 0; '
        f'background: color-mix(in srgb, {colour} 9%, transparent)">{text}</div>'
    )


def what_this_run_is(preset: str) -> HTML:
    """The label of what this execution of the page computed; at ``smoke`` it is no result."""
    if preset == "smoke":
        return note(
            "<b>This run: preset smoke.</b> A tiny network saw a few hundred images for seconds. The numbers below "
            "show that the code runs from data to record; they say nothing about the method.",
            "warning",
        )
    return note(f"<b>This run: preset {html.escape(preset)}.</b> The numbers below were computed by this execution.")


def how_to_get(dataset: str) -> HTML:
    """How to come by a data set that is not available, as a boxed remark."""
    entry = catalogue.entry(dataset)
    words = f"<b>{html.escape(entry.title)}: not available here.</b> The page shows the recorded result. "
    return note(f"{words}To compute it yourself: {html.escape(entry.how_to_get)}.")


def _groups(found: Sequence[Record]) -> Iterator[tuple[str, str, list[Record]]]:
    """Subset, shown method and the runs that tested it; subset by subset, methods in the papers' order."""
    for subset in dict.fromkeys(name for record in found for name in record.metrics):
        for method, runs in runs_by_method(found).items():
            if tested := [run for run in runs if subset in run.metrics]:
                yield subset, method, tested


def accuracy_rows(found: Sequence[Record], subsets: Sequence[str] = ()) -> list[tuple[str, str, float, float, float]]:
    """(subset, method, accuracy, low, high) in per cent, as :func:`fercore.figures.intervals` draws them; see
    :func:`accuracy_table`. Of all subsets where none is named."""
    return [
        (SUBSETS.get(subset, subset), method, *(100 * end for end in estimate(runs, subset=subset).interval))
        for subset, method, runs in _groups(found)
        if not subsets or subset in subsets
    ]


def published_accuracies(dataset: str, paper: str = "lan") -> dict[tuple[str, str], float]:
    """(subset, method) -> what a paper prints for a data set, as names of tables and figures."""
    return {
        (SUBSETS[subset], published.method(method)): value
        for (subset, method), value in published.accuracies(paper, dataset).items()
    }


def accuracy_table(found: Sequence[Record]) -> pd.DataFrame:
    """One row per subset and method: images, accuracy with its 95 % interval, balanced accuracy, the paper's value.

    Runs of a method that differ in seed or fold share a row; see :func:`fercore.intervals.estimate`.
    """
    rows = []
    for subset, method, runs in _groups(found):
        name, own, recipe = SUBSETS.get(subset, subset), estimate(runs, subset=subset), runs[0].recipe
        printed = published_accuracies(recipe["dataset"], recipe["paper"]).get((name, method))
        row = {
            "images of": name,
            "method": method,
            "images": _one_or_range([run.metrics[subset]["images"] for run in runs]),
            "accuracy, %": f"{100 * own.value:.2f}",
            "95 % interval": f"{100 * own.low:.1f} – {100 * own.high:.1f}",
            "interval over": own.over,
            "balanced, %": f"{100 * np.mean([run.metrics[subset]['balanced_accuracy'] for run in runs]):.1f}",
            "published, %": "–" if printed is None else f"{printed:.2f}",
            "seed": _listed({run.recipe["seed"] for run in runs}),
            "fold": _listed({run.recipe["fold"] for run in runs}),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _one_or_range(values: Sequence[int]) -> str:
    return f"{min(values):,}" if min(values) == max(values) else f"{min(values):,} – {max(values):,}"


def _listed(numbers: Set[int]) -> str:
    """``0, 2``; four or more without a gap as ``0 – 9``, so that a narrow column stays low."""
    low, high = min(numbers), max(numbers)
    whole = len(numbers) > 3 and len(numbers) == high - low + 1
    return f"{low} – {high}" if whole else ", ".join(map(str, sorted(numbers)))


def show(table: pd.DataFrame, caption: str = "", *, folded: bool = False) -> Table:
    """A table without its index, with a caption, as HTML; numbers of a column have the same decimals, NaN is a dash.

    ``folded``: the caption alone is in sight, and opens the table.
    """
    styled = table.style.hide(axis="index").set_table_attributes('class="table"')
    if not folded:
        styled = styled.set_caption(caption)
    # A fixed id instead of a random one: the same page gives the same bytes.
    name = "".join(c for c in caption.lower() if c.isalnum())[:60] or "table"
    for column in table.select_dtypes("floating"):
        number = f"{{:.{_decimals(table[column])}f}}"
        styled = styled.format(lambda one, number=number: number.format(one).replace("-", "−"), [column], na_rep="–")
    text = styled.to_html(uuid=name)
    if folded:
        text = f'<details class="folded"><summary>{html.escape(caption)}</summary>{text}</details>'
    return Table(text, table)


def stacked(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Tables one below the other, what one of them lacks as a dash."""
    return pd.concat(tables.values(), ignore_index=True).fillna("–")


def _decimals(values: pd.Series) -> int:
    """The fewest decimals, at most 3, that show every value as it is."""
    whole = (np.allclose(values, values.round(n), rtol=0, atol=1e-9, equal_nan=True) for n in range(3))
    return next((n for n, shown in enumerate(whole) if shown), 3)


def code(function: Any) -> HTML:
    """The source of a function or class without its docstring, with the place where it stands."""
    function = inspect.unwrap(function)  # not the decorator's file and line
    text, line = inspect.getsourcelines(function)
    where = f"{inspect.getsourcefile(function).removeprefix(f'{ROOT}/')}, line {line}"
    body = highlight(without_docstrings(textwrap.dedent("".join(text))), PythonLexer(), HtmlFormatter())
    return HTML(f'<div style="font-size: 0.8em; opacity: 0.75">{html.escape(where)}</div>{body}')


def paired_table(first: Sequence[Record], second: Sequence[Record], names: Sequence[str] | None = None) -> pd.DataFrame:
    """Two methods on the same images, one row per subset: the difference with its interval and p, who alone is right.

    ``names``: how columns call the two, where that is not by their methods. Runs are paired by seed and fold, see
    :func:`fercore.intervals.estimate`; how many images only one of the two has right is told for each pair. Records
    whose test images differ are an error.
    """
    pairs = intervals.pairs(first, second)
    names = names or [published.method(runs[0].recipe["method"]) for runs in (first, second)]
    rows = []
    for subset in pairs[0][0].metrics:
        gain = estimate(second, subset=subset, against=first)
        row = {
            "images of": SUBSETS.get(subset, subset),
            "images": _one_or_range([run.metrics[subset]["images"] for run, _ in pairs]),
            f"{names[1]} − {names[0]}, points": signed(100 * gain.value),
            "95 % interval": f"{signed(100 * gain.low)} … {signed(100 * gain.high)}",
            "interval over": gain.over,
            "p": f"{gain.p:.3f}",
        }
        alone = zip(*(intervals.apart(*pair, subset) for pair in pairs), strict=True)
        for name, counts in zip(names, alone, strict=True):
            row[f"only {name} right"] = ", ".join(map(str, counts))
        rows.append(row)
    return pd.DataFrame(rows)


def difference(estimate: Estimate) -> str:
    """A difference of shares in words: ``+0.02 points [−0.51, +0.55]``."""
    return intervals.points(*(100 * end for end in estimate.interval))


def gain(of: Mapping[str, Sequence[Record]], method: str, against: str, subset: str = "test") -> str:
    """How far a method is above another on the same images, in words; ``of``: :func:`runs_by_method`."""
    return difference(estimate(of[method], subset=subset, against=of[against]))


def changed(of: Mapping[str, Sequence[Record]], method: str, against: str) -> str:
    """How many answers of two methods are right in one of them alone, in words: ``2.8 %``; mean over their pairs."""
    pairs = intervals.pairs(of[against], of[method])
    shares = [sum(intervals.apart(*pair)) / pair[0].metrics["test"]["images"] for pair in pairs]
    return f"{100 * np.mean(shares):.1f} %"


def share(runs: Sequence[Record], subset: str = "test") -> str:
    """The accuracy of several runs of a method in words: ``85.4 %``."""
    return f"{100 * estimate(runs, subset=subset).value:.1f} %"


def trained_on(record: Record) -> str:
    """The machine of a training in words: ``one NVIDIA H200 in bf16``, ``a processor in 32 bits``."""
    gpu = record.machine.get("gpu", "none")
    return "a processor in 32 bits" if gpu == "none" else f"one {gpu} in {record.machine['precision']}"


def runs_by_method(found: Sequence[Record]) -> dict[str, list[Record]]:
    """The runs of each method, by seed and fold; methods by their shown names, in their paper's order."""
    order = sorted(found, key=place)
    named = {
        own["name"]: [run for run in order if run.recipe["method"] == name] for name, own in published.METHODS.items()
    }
    return {shown: runs for shown, runs in named.items() if runs}


def confusion(runs: Sequence[Record], subset: str = "test") -> np.ndarray:
    """Counts (classes, classes) of several runs of a method together, rows true."""
    return np.sum([run.arrays()[f"confusion_{subset}"] for run in runs], axis=0)


def recalls(of: Mapping[str, Sequence[Record]], subset: str = "test") -> pd.DataFrame:
    """Recall and F1 in per cent of each class, one column per method and measure: all its runs counted together.

    ``of``: :func:`runs_by_method`. ``images`` are those of one run.
    """
    counts = {name: confusion(runs, subset) for name, runs in of.items()}
    first = next(iter(of.values()))
    table = pd.DataFrame({"class": first[0].classes, "images": next(iter(counts.values())).sum(1) // len(first)})
    for name, matrix in counts.items():
        hits, true, answered = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        table[f"{name}, recall"] = 100 * np.divide(hits, true, out=np.full(len(hits), np.nan), where=true > 0)
        both = true + answered
        table[f"{name}, F1"] = 200 * np.divide(hits, both, out=np.full(len(hits), np.nan), where=both > 0)
    return table


def recalls_by_pan(runs: Sequence[Record]) -> pd.DataFrame:
    """Recall in per cent of each class, a column a pan, all runs of a method counted together."""
    pans = [name for name in runs[0].metrics if name.startswith("pan_")]
    counts = {degrees(float(name.removeprefix("pan_"))): confusion(runs, name) for name in pans}
    return pd.DataFrame({pan: 100 * n.diagonal() / n.sum(1) for pan, n in counts.items()}, index=runs[0].classes)


def by_method(found: Sequence[Record]) -> dict[str, Record]:
    """One record per method, the first of each; methods by their shown names."""
    return {shown: runs[0] for shown, runs in runs_by_method(found).items()}
