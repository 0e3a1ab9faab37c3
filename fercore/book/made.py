"""How was this made? One drop-down below every figure and table, which nobody has to write.

:func:`watch` is called once per notebook, by ``notebook.check_parameters``. From then on a cell that shows a figure or
a table is followed by a drop-down: parameters, commit, data, the records that the cell names, the command that executes
the page again, and the numbers as CSV. A record that other code has made is marked above it.
"""

from __future__ import annotations

import ast
import base64
import html
import io
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from IPython import get_ipython
from IPython.core.pylabtools import print_figure
from IPython.display import HTML, Markdown, display
from matplotlib.figure import Figure as MatplotlibFigure
from PIL import Image

from fercore import provenance, records
from fercore.data.prepared import Prepared
from fercore.errors import ParameterError
from fercore.ledger.found import of_older_twins
from fercore.paths import ROOT
from fercore.records import Record

KEY, FIGURE = "fercore", "figure"
"""Names of our entries in the metadata of an output: of what stands below it, and of a figure."""


class Table(HTML):
    """A table as HTML that remembers its numbers (a DataFrame)."""

    def __init__(self, data: str, numbers: pd.DataFrame) -> None:
        super().__init__(data)
        self.numbers = numbers


class Figure:
    """A figure as a picture with its caption and what it shows in words; remembers its numbers (a DataFrame).

    Raises a :class:`ParameterError` for one that no page can show: more than eight times as wide as high or the other
    way round, or more than 2,500 pixels in one direction.
    """

    def __init__(self, figure: MatplotlibFigure, caption: str, alt: str) -> None:
        self.caption, self.alt = caption, alt
        self.numbers = getattr(figure, "numbers", None)
        self.picture = _smaller(print_figure(figure, "png"))
        plt.close(figure)
        width, height = Image.open(io.BytesIO(self.picture)).size
        if max(width, height) > min(2500, 8 * min(width, height)):
            raise ParameterError(
                f"The figure '{caption[:40]} ...' is {width:,} x {height:,} pixels.", do="draw it smaller, or in rows"
            )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"image/png": self.picture, "text/plain": self.alt}, {FIGURE: {"caption": self.caption, "alt": self.alt}}


def _smaller(png: bytes, most: int = 400_000) -> bytes:
    """A large picture in 256 colours, which takes fewer bytes: many photographs make a page slow to load."""
    if len(png) <= most:
        return png
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256).save(kept := io.BytesIO(), "PNG", optimize=True)
    return kept.getvalue()


class Watch:
    """Follows the cells of one notebook: its parameters, the commit, files that it says it works on, and from which
    records each name was computed."""

    def __init__(self, shell: Any, parameters: Mapping[str, Any]) -> None:
        self.shell, self.parameters, self.commit = shell, dict(parameters), commit_text(provenance.commit())
        self.files: dict[str, str] = {}
        self.computed: dict[str, list[Record]] = {}
        self.listed: set[str] = set()

    def after(self, result: Any) -> None:
        """IPython calls this when a cell has run; shows the drop-down where the cell shows a figure or a table."""
        if not result.success:
            return
        read, assigned = self._values(result.info.raw_cell)
        found = {record.name: record for value in [*read.values(), *assigned.values()] for record in records_in(value)}
        earlier = {record.name: record for name in read for record in self.computed.get(name, ())}
        for name, value in assigned.items():
            self.computed[name] = [*records_in(value)] or [*(earlier | found).values()]
        shown = result.result
        if not isinstance(shown, Figure | Table | pd.DataFrame):
            return
        if isinstance(shown, Figure):
            display(Markdown(f"*{shown.caption}*"), metadata={KEY: {}})
        numbers = shown if isinstance(shown, pd.DataFrame) else getattr(shown, "numbers", None)
        origins = {name: {"group": r.group, "code": r.code} for name, r in (earlier | found).items()}
        if mark := stale_mark(origins):
            display(HTML(mark), metadata={KEY: {}})
        told = found | {name: record for name, record in earlier.items() if name not in self.listed}
        self.listed |= told.keys()
        above = len(origins) - len(told)
        made = details(self._lines(len(told), above), numbers, "".join(map(record_html, told.values())))
        display(HTML(made), metadata={KEY: {"records": origins}})

    def _values(self, source: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The names that a cell reads before it assigns them, with their values, and those that it assigns.

        Of ``a or b`` the one that is taken counts.
        """
        tree, space = ast.parse(self.shell.transform_cell(source)), self.shell.user_ns
        left = set()
        for choice in (node for node in ast.walk(tree) if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or)):
            values = [space.get(one.id) if isinstance(one, ast.Name) else None for one in choice.values]
            taken = [
                k
                for k, value in enumerate(values)
                if value is not None and (not hasattr(value, "__len__") or len(value))
            ]
            left |= set(choice.values[taken[0] + 1 :] if taken else ())
        read: dict[str, Any] = {}
        assigned: dict[str, Any] = {}
        for statement in tree.body:
            names = [n for n in ast.walk(statement) if isinstance(n, ast.Name) and n.id in space and n not in left]
            read |= {n.id: space[n.id] for n in names if isinstance(n.ctx, ast.Load) and n.id not in assigned}
            assigned |= {n.id: space[n.id] for n in names if isinstance(n.ctx, ast.Store)}
        return read, assigned

    def _lines(self, below: int, above: int) -> dict[str, str]:
        page = os.environ.get("FERCORE_NOTEBOOK") or os.environ.get("JPY_SESSION_NAME") or "notebook.ipynb"
        options = "".join(f" -p {name} {shlex.quote(str(value))}" for name, value in self.parameters.items())
        prepared = {v.hash: v for v in self.shell.user_ns.values() if isinstance(v, Prepared)}
        data = [f"{html.escape(v.card['title'])}, hash <code>{v.hash}</code>" for v in prepared.values()]
        data += [f"<code>{name}</code>, hash <code>{digest}</code>" for name, digest in self.files.items()]
        where = " and ".join(
            f"{number} record{'s' * (number > 1)} {place}"
            for number, place in ((below, "below"), (above, "above"))
            if number
        )
        none = f"that of {where}" if where else "none: the code of this commit makes what is shown"
        return {
            "command": f"<code>{html.escape(f'papermill {page} out.ipynb{options}')}</code>",
            "parameters": pairs(self.parameters),
            "commit": self.commit,
            "data": "; ".join(data) or none,
        }


def watch(shell: Any, parameters: Mapping[str, Any]) -> None:
    """Put a drop-down below every figure and table from the next cell on; a second call replaces the first."""
    for former in _watches(shell):
        shell.events.unregister("post_run_cell", former.after)
    shell.events.register("post_run_cell", Watch(shell, parameters).after)


def works_on(*names: str) -> None:
    """Name files or folders of the checkout that the page works on besides data sets; folders by their CSV files."""
    for current in _watches(get_ipython()):
        for name in names:
            files = sorted((ROOT / name).rglob("*.csv")) or [ROOT / name]
            current.files[name] = provenance.files_hash(files)


def _watches(shell: Any) -> list[Watch]:
    if shell is None:  # outside a notebook
        return []
    owners = [getattr(callback, "__self__", None) for callback in shell.events.callbacks["post_run_cell"]]
    return [owner for owner in owners if isinstance(owner, Watch)]


def records_in(value: Any) -> Iterator[Record]:
    """A record, or those in a list or dictionary, however deep."""
    if isinstance(value, Record):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from records_in(inner)


ASKED = "How was this made?"


def details(lines: Mapping[str, str], numbers: pd.DataFrame | None, more: str = "") -> str:
    """The drop-down as one line of HTML: names and what stands beside them (HTML), the numbers as CSV, ``more``."""
    rows = dict(lines) | ({} if numbers is None else {"numbers": csv_link(numbers)})
    return f'<details class="made"><summary>{ASKED}</summary>{_listed(rows)}{more}</details>'


def _listed(rows: Mapping[str, str]) -> str:
    return f"<dl>{''.join(f'<dt>{name}</dt><dd>{text}</dd>' for name, text in rows.items())}</dl>"


def of_page(source: str, numbers: pd.DataFrame) -> str:
    """The drop-down of a generated page: what it was made from, the commit, the command, its tables as CSV."""
    lines = {
        "command": "<code>fercore book stage</code>, a step of <code>make book</code>",
        "made from": f"<code>{source}</code>",
        "commit": commit_text(provenance.commit()),
    }
    return details(lines, numbers)


def record_html(record: Record) -> str:
    """What a record says of itself: command, data, code, time, memory, versions, parameters."""
    r = record
    lines = {
        "command": f"<code>{html.escape(r.command)}</code>",
        "data": f"{html.escape(r.data.title)}, hash <code>{r.data.hash}</code>, images {pairs(r.data.images)}",
        "code": f"hash <code>{r.code}</code>, commit {commit_text(r.commit)}",
        "time": f"{r.seconds / 60:.1f} minutes on {r.machine['cores']} cores ({r.machine['gpu']} GPU), "
        f"peak memory {r.peak_memory / 2**20:.0f} MiB, {r.started}",
        "versions": pairs(r.versions),
        "parameters": pairs(r.recipe),
    }
    return f"<p><b>Record {html.escape(r.name)}</b></p>{_listed(lines)}"


def pairs(values: Mapping[str, Any]) -> str:
    """Names and values in a row, as HTML."""
    return html.escape(", ".join(f"{name} {value}" for name, value in values.items()))


def commit_text(commit: Mapping[str, Any]) -> str:
    """A commit as it is written in a drop-down, with the remark that files were edited since."""
    edits = ", with edits that are not committed" if commit.get("dirty") else ""
    return f"<code>{str(commit.get('id'))[:10]}</code>{edits}"


def csv_link(table: pd.DataFrame, name: str = "numbers.csv", text: str = "These numbers as CSV") -> str:
    """A link that holds a table as CSV, so that it works without a network; an index that only counts is left out."""
    counts = table.index.name is None and pd.api.types.is_integer_dtype(table.index)
    data = base64.b64encode(table.to_csv(index=not counts).encode()).decode()
    return f'<a download="{html.escape(name)}" href="data:text/csv;base64,{data}">{html.escape(text)}</a>'


def stale_mark(origins: Mapping[str, Mapping[str, str]]) -> str:
    """A warning that names the records that other code or other twins than those of now have made; "" for none.

    ``origins``: name of a record -> its group and the hash of its code.
    """
    known = of_older_twins()
    names = [name for name, origin in origins.items() if name in known or records.is_stale(**origin)]
    if not names:
        return ""
    listed = ", ".join(f"<code>{html.escape(name)}</code>" for name in names)
    what = f"{len(names)} of {len(origins)} records behind this" if len(origins) > 1 else "the record behind this"
    were = "was" if len(names) == 1 else "were"
    told = f"<b>Stale:</b> {what} {were} produced by an older version of the code or of the rendered people."
    return f'<details class="stale"><summary>{told}</summary>{listed}</details>'


def settle(cells: Iterable[Any]) -> Iterator[Any]:
    """The cells of an executed notebook for the book: each drop-down in a cell of its own below, named by its cell, and
    the caption of a figure as the book sets it.

    Within the cell of a figure the drop-down would be drawn as a second figure. What is stale is judged anew, because
    code may have been edited since the execution; records are named where a page first shows them.
    """
    import nbformat

    marked: set[str] = set()
    for cell in cells:
        for output in cell.get("outputs", []):
            if told := output.get("metadata", {}).get(FIGURE):
                shown = {"figure": {"caption": told["caption"]}, "image": {"alt": told["alt"]}}
                cell.metadata["mystnb"] = cell.metadata.get("mystnb", {}) | shown
        yield cell
        for output in [output for output in cell.get("outputs", []) if KEY in output.get("metadata", {})]:
            cell.outputs.remove(output)
            if (origins := output.metadata[KEY].get("records")) is not None:
                text = output.data["text/html"].replace("<details ", f'<details id="made-{cell.id}" ', 1)
                mark = stale_mark({name: origin for name, origin in origins.items() if name not in marked})
                if not mark and stale_mark(origins):
                    text = text.replace(f"{ASKED}<", f"{ASKED} <b>Stale</b>, as said above.<", 1)
                marked |= origins.keys()
                yield nbformat.v4.new_markdown_cell(mark + text, id=f"{cell.id}-made")
