"""What notebooks have in common: checked parameters, recorded results, and how each was made.

Functions here return something to display (a table, a piece of HTML) or raise
one clear error; of several runs they take means and differences, with the
functions of :mod:`fercore.evaluate`.
"""

from __future__ import annotations

import ast
import contextlib
import html
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
import pandas as pd
from IPython import get_ipython
from IPython.display import HTML, display

from fercore import evaluate, published, records
from fercore.book import made
from fercore.book.execute import fits
from fercore.book.made import Table
from fercore.data import catalogue
from fercore.errors import ParameterError, RecordError
from fercore.recipe import check_preset, unknown

METHODS = {"resnet18": "ResNet-18", "lan": "LAN", "plain": "plain trunk", "pcda": "PCDA"}
"""Names of methods in tables and figures."""
SUBSETS = {"test": "all test images", "pose_over_30": "pose > 30°", "pose_over_45": "pose > 45°"}
"""Names of subsets in tables and figures; others are shown as they are called."""
SUBSETS |= {f"pan_{pan:+d}": f"pan {pan:+d}°" for pan in (-90, -45, 0, 45, 90)}
PUBLISHED = {
    ("lan", "ferplus", "test"): ("T3", "accuracy", "FERPlus"),
    ("lan", "ferplus", "pose_over_30"): ("T5", "> 30", "Pose-FERPlus"),
    ("lan", "ferplus", "pose_over_45"): ("T5", "> 45", "Pose-FERPlus"),
    ("pcda", "ferplus", "test"): ("T5", "FERPlus", "FERPlus"),
    ("pcda", "rafdb", "test"): ("T5", "RAF-DB", "RAF-DB"),
}
"""Where a paper prints the number of a subset of a data set: table, column, data set."""
ROWS = {"lan": {"resnet18": "ResNet-18", "lan": "LAN"}, "pcda": {"pcda": "PCDA"}}
"""Which rows of these tables are of methods that are trained here."""
IMPLIED = {"plain": ("landmark_weights",)}
"""Parameters that a method settles itself: a plain trunk has no landmark backbone that could start from weights."""


def check_parameters() -> None:
    """Hold what papermill injected against the cell tagged ``parameters``, and follow the cells that come.

    Papermill only logs a parameter that the notebook does not have, and goes on
    with the defaults. This raises a :class:`~fercore.errors.ParameterError` for
    such a name, for a value of another type and for an unknown preset. In
    JupyterLab, where nothing is injected, only the preset is checked. Figures and
    tables of later cells get their drop-down, see :mod:`fercore.book.made`.
    """
    shell = get_ipython()
    if shell is None:
        return
    ran = [str(source) for source in shell.user_ns.get("In", [])]
    injected = [k for k, source in enumerate(ran) if source.startswith("# Parameters\n")]
    declared = _declared(ran[injected[-1] - 1]) if injected else _first_declared(ran)
    if injected:
        for name, value in _assigned(ran[injected[-1]], shell.user_ns).items():
            if name not in declared:
                raise ParameterError(unknown("parameter", name, declared), do="correct the -p option and run again")
            if not fits(value, declared[name]):
                what = f"parameter '{name}' must be {declared[name]}, but {value!r} is {type(value).__name__}"
                raise ParameterError(what, do="correct the -p option and run again")
    if "preset" in shell.user_ns:
        check_preset(shell.user_ns["preset"])
    made.watch(shell, {name: shell.user_ns[name] for name in declared if name in shell.user_ns})


def works_on(*names: str) -> None:
    """Name files or folders of the checkout that the page works on, for the drop-downs below figures and tables."""
    if (shell := get_ipython()) is not None:
        made.works_on(shell, names)


def _declared(source: str) -> dict[str, str]:
    """Names and types of a parameters cell: the annotation, else the type of the literal."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = ast.unparse(node.annotation)
        elif isinstance(node, ast.Assign):
            kind = type(ast.literal_eval(node.value)).__name__
            found |= {target.id: kind for target in node.targets if isinstance(target, ast.Name)}
    return found


def _first_declared(sources: Sequence[str]) -> dict[str, str]:
    """Names and types of the first cell of nothing but annotated names, where papermill has not marked one."""
    for source in sources:
        with contextlib.suppress(SyntaxError):  # a cell with a magic
            body = ast.parse(source).body
            if body and all(isinstance(node, ast.AnnAssign) for node in body):
                return _declared(source)
    return {}


def _assigned(source: str, values: Mapping[str, Any]) -> dict[str, Any]:
    nodes = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    return {t.id: values[t.id] for node in nodes for t in node.targets if isinstance(t, ast.Name)}


def glue(**values: str) -> None:
    """Numbers for the words of the page: ``glue(gain="1.5 points")`` is read where a text says ``{glue:text}`gain```.

    So what a text says in numbers comes from records and published files; a
    test refuses results that are typed. The form is that of ``myst_nb.glue``,
    which a notebook need not have installed.
    """
    prefix = "application/papermill.record/"
    for name, value in values.items():
        metadata = {"scrapbook": {"name": name, "mime_prefix": prefix}}
        display({f"{prefix}text/plain": repr(value)}, raw=True, metadata=metadata)


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
    """How to come by a data set that is not at hand, as a boxed remark."""
    entry = catalogue.entry(dataset)
    words = f"<b>{html.escape(entry.title)}: not at hand here.</b> The page shows the recorded result. "
    return note(f"{words}To compute it yourself: {html.escape(entry.how_to_get)}.")


def reference(**recipe: Any) -> list[records.Record]:
    """The committed reference records with these recipe values, all others as the preset sets them; none is an error.

    Every method of the paper is its own, set or not. See :func:`fercore.records.find`, which finds the others, too.
    """
    found = [
        record
        for record in records.find(**recipe)
        if record.changed <= {*recipe, "method", *IMPLIED.get(record.recipe["method"], ())}
    ]
    if not found:
        wanted = ", ".join(f"{name} {value}" for name, value in recipe.items())
        raise RecordError(f"book/records holds no reference record of {wanted}.", do="restore it from the repository")
    return found


def _groups(found: Sequence[records.Record]) -> dict[tuple[str, str], list[records.Record]]:
    """(subset, method) -> the runs that tested it, by seed and fold; subset by subset, methods as in `METHODS`."""
    subsets = dict.fromkeys(name for record in found for name in record.metrics)
    methods = runs_by_method(found).values()
    groups = {(name, runs[0].recipe["method"]): runs for name in subsets for runs in methods}
    there = {(name, m): [run for run in runs if name in run.metrics] for (name, m), runs in groups.items()}
    return {place: runs for place, runs in there.items() if runs}


def _accuracy(runs: Sequence[records.Record], subset: str) -> evaluate.Interval:
    """Of one run with its own interval, which is over what was tested; of several their mean, over seeds or folds."""
    numbers = [run.metrics[subset] for run in runs]
    if len(numbers) > 1:
        return evaluate.over_seeds([m["accuracy"] for m in numbers])
    return evaluate.Interval(*(numbers[0][name] for name in ("accuracy", "accuracy_low", "accuracy_high")))


def accuracy_rows(
    found: Sequence[records.Record], subsets: Sequence[str] = ()
) -> list[tuple[str, str, float, float, float]]:
    """(subset, method, accuracy, low, high) in per cent, as :func:`fercore.figures.intervals` draws them; see
    :func:`accuracy_table`."""
    return [
        (SUBSETS.get(subset, subset), METHODS[method], *(100 * end for end in _accuracy(runs, subset)))
        for (subset, method), runs in _groups(found).items()
        if not subsets or subset in subsets
    ]


def published_accuracies(dataset: str, paper: str = "lan") -> dict[tuple[str, str], float]:
    """(subset, method) -> what a paper prints for a data set, as names of tables and figures."""
    return {
        (SUBSETS[subset], METHODS[method]): published.value(paper, table, row, column, name)
        for (of, known, subset), (table, column, name) in PUBLISHED.items()
        if (of, known) == (paper, dataset)
        for method, row in ROWS[paper].items()
    }


def accuracy_table(found: Sequence[records.Record]) -> pd.DataFrame:
    """One line a subset and method: images, accuracy with its 95 % interval, balanced accuracy, the paper's value.

    Runs of a method that differ in seed or fold share a line: their mean, with a t interval over them.
    """
    lines = []
    for (subset, method), runs in _groups(found).items():
        quoted = published_accuracies(runs[0].recipe["dataset"], runs[0].recipe["paper"])
        name, shown, numbers = SUBSETS.get(subset, subset), METHODS[method], [run.metrics[subset] for run in runs]
        value, low, high = (100 * end for end in _accuracy(runs, subset))
        lines.append(
            {
                "images of": name,
                "method": shown,
                "images": _one_or_range([m["images"] for m in numbers]),
                "accuracy, %": f"{value:.2f}",
                "95 % interval": f"{low:.1f} – {high:.1f}",
                "interval over": numbers[0]["interval_over"] if len(runs) == 1 else _what_varies(runs),
                "balanced, %": f"{100 * np.mean([m['balanced_accuracy'] for m in numbers]):.1f}",
                "published, %": f"{quoted[name, shown]:.2f}" if (name, shown) in quoted else "–",
                "seed": _listed({run.recipe["seed"] for run in runs}),
                "fold": _listed({run.recipe["fold"] for run in runs}),
            }
        )
    return pd.DataFrame(lines)


def _one_or_range(values: Sequence[int]) -> str:
    return f"{min(values):,}" if min(values) == max(values) else f"{min(values):,} – {max(values):,}"


def _listed(numbers: Set[int]) -> str:
    """``0, 2``; four or more without a gap as ``0 – 9``, so that a narrow column stays low."""
    low, high = min(numbers), max(numbers)
    whole = len(numbers) > 3 and len(numbers) == high - low + 1
    return f"{low} – {high}" if whole else ", ".join(map(str, sorted(numbers)))


def _what_varies(runs: Sequence[records.Record]) -> str:
    return " and ".join(f"{name}s" for name in ("seed", "fold") if len({run.recipe[name] for run in runs}) > 1)


def show(table: pd.DataFrame, caption: str = "") -> Table:
    """A table without its index, with a caption, as HTML; numbers of a column have the same decimals, NaN is a dash."""
    styled = table.style.hide(axis="index").set_caption(caption).set_table_attributes('class="table"')
    # A fixed id instead of a random one: the same page gives the same bytes.
    name = "".join(c for c in caption.lower() if c.isalnum())[:24] or "table"
    for column in table.columns[[pd.api.types.is_float_dtype(kind) for kind in table.dtypes]]:
        styled = styled.format(precision=_decimals(table[column]), na_rep="–", subset=[column])
    return Table(styled.to_html(uuid=name), table)


def _decimals(values: pd.Series, most: int = 3) -> int:
    """The fewest decimals that show every value as it is; ``most`` where that takes more."""
    return next(
        (n for n in range(most) if np.allclose(values, values.round(n), rtol=0, atol=1e-9, equal_nan=True)), most
    )


def code(function: Any) -> HTML:
    """The source of a function or class without its docstring, with the place where it stands."""
    import inspect
    import textwrap

    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    from fercore.paths import ROOT
    from fercore.provenance import without_docstrings

    function = inspect.unwrap(function)  # not the decorator's file and line
    text, line = inspect.getsourcelines(function)
    file = inspect.getsourcefile(function) or ""
    where = f"{file.removeprefix(f'{ROOT}/')}, line {line}"
    body = highlight(without_docstrings(textwrap.dedent("".join(text))), PythonLexer(), HtmlFormatter())
    return HTML(f'<div style="font-size: 0.8em; opacity: 0.75">{html.escape(where)}</div>{body}')


def paired_table(
    first: records.Record | Sequence[records.Record],
    second: records.Record | Sequence[records.Record],
    names: tuple[str, str] | None = None,
) -> pd.DataFrame:
    """Two methods on the same images, a line a subset: the difference with its interval, and McNemar's test.

    ``names``: how columns call the two, where that is not by their methods.

    The interval is a paired bootstrap, over subjects where they are known. With
    several runs of each, paired by seed and fold, an image counts by the share
    of runs that have it right, a second interval is over the runs (t), and
    there is a p for each of them. Records whose test images differ are an error.
    """
    one, two = ([runs] if isinstance(runs, records.Record) else list(runs) for runs in (first, second))
    pairs = _paired_runs(one, two)
    names = names or [METHODS[runs[0].recipe["method"]] for runs in (one, two)]
    lines = []
    for subset in pairs[0][0].metrics:
        rights = [records.paired(a, b, subset) for a, b in pairs]
        tests = [evaluate.mcnemar(a, b) for a, b, _ in rights]
        gain = _gain(pairs, rights)
        line = {
            "images of": SUBSETS.get(subset, subset),
            "images": _one_or_range([len(a) for a, _, _ in rights]),
            f"{names[1]} − {names[0]}, points": f"{100 * gain.value:+.2f}",
            "95 % interval": f"{100 * gain.low:+.2f} … {100 * gain.high:+.2f}",
        }
        if len(pairs) > 1:
            over = evaluate.over_seeds([float(b.mean() - a.mean()) for a, b, _ in rights])
            line[f"over {_what_varies(one)}"] = f"{100 * over.low:+.2f} … {100 * over.high:+.2f}"
        line |= {
            f"only {names[0]} right": ", ".join(str(test.only_first) for test in tests),
            f"only {names[1]} right": ", ".join(str(test.only_second) for test in tests),
            "McNemar p": ", ".join(f"{test.p:.3f}" for test in tests),
        }
        lines.append(line)
    return pd.DataFrame(lines)


def said(line: pd.Series) -> str:
    """What a line of :func:`paired_table` says, in words: ``+0.02 points (-0.51 to +0.55)``.

    The interval is that over seeds or folds where there are several, else the one over images or subjects.
    """
    interval = next((line[name] for name in line.index if name.startswith("over ")), line["95 % interval"])
    return f"{line.filter(like=', points').item()} points ({interval.replace(' … ', ' to ')})"


def _paired_runs(
    one: Sequence[records.Record], two: Sequence[records.Record]
) -> list[tuple[records.Record, records.Record]]:
    """The runs of two methods that share seed and fold; runs without a partner are an error."""
    first, second = ({(run.recipe["seed"], run.recipe["fold"]): run for run in runs} for runs in (one, two))
    if not first or first.keys() != second.keys():
        what = f"Runs are compared by (seed, fold), but one method has {sorted(first)} and the other {sorted(second)}."
        raise RecordError(what, do="commit the records that are missing")
    return [(first[key], second[key]) for key in sorted(first)]


def _gain(
    pairs: Sequence[tuple[records.Record, records.Record]], rights: Sequence[tuple[Any, ...]]
) -> evaluate.Interval:
    """Mean difference with a bootstrap over images, or subjects: runs on the same images are averaged image by image,
    folds, which have their own, follow each other."""
    folds: dict[int, list[tuple[Any, ...]]] = {}
    for (run, _), right in zip(pairs, rights, strict=True):
        folds.setdefault(run.recipe["fold"], []).append(right)
    differences = [np.mean([b.astype(float) - a for a, b, _ in own], axis=0) for own in folds.values()]
    subjects = [own[0][2] for own in folds.values()]
    known = all(names is not None for names in subjects)
    return evaluate.bootstrap(np.concatenate(differences), np.concatenate(subjects) if known else None)


def runs_by_method(found: Sequence[records.Record]) -> dict[str, list[records.Record]]:
    """The runs of each method, by seed and fold; methods by their shown names, in the order of `METHODS`."""
    order = sorted(found, key=lambda run: (run.recipe["seed"], run.recipe["fold"]))
    named = {shown: [run for run in order if run.recipe["method"] == method] for method, shown in METHODS.items()}
    return {shown: runs for shown, runs in named.items() if runs}


def confusion(runs: Sequence[records.Record], subset: str = "test") -> np.ndarray:
    """Counts (classes, classes) of several runs of a method together, rows true."""
    return np.sum([run.arrays()[f"confusion_{subset}"] for run in runs], axis=0)


def recalls(of: Mapping[str, Sequence[records.Record]], subset: str = "test") -> pd.DataFrame:
    """Recall and F1 in per cent of each class, a column a method and measure: all runs of a method counted together.

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


def by_method(found: Sequence[records.Record]) -> dict[str, records.Record]:
    """One record a method, the first of each; methods by their shown names."""
    return {shown: runs[0] for shown, runs in runs_by_method(found).items()}
