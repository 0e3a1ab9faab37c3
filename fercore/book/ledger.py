"""The ledger as pages: does it reproduce, in a few lines; then every claim of the five papers beside our records."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from IPython.display import Markdown

from fercore import published
from fercore.book import made, markdown
from fercore.data import catalogue
from fercore.intervals import points, signed
from fercore.ledger import claims
from fercore.ledger.claims import Claim
from fercore.paths import ROOT

TITLE = """\
---
html_theme.sidebar_secondary.remove: true
---

# The reproduction ledger"""
RULES = f"""\
## How it is judged

Every gain, table, figure and headline number of the five papers is a claim. Each is shown beside what this book
measured, on the **real** data set or on its rendered **twin**, never mixed. Two questions are answered apart:

- **Does the gain appear?** Method and baseline on the same real data, from the same start, with the same seeds, at any
  size. The margin is half of the published gain either way of it.
- **Is the absolute number reached?** Only where the setting is the paper's: its size, its values, its kind of
  pre-training. The margin is {claims.ABSOLUTE:g} point either way; sizes that are counted have
  2 %, or half of the last digit that is printed.

A verdict is computed, not written. It needs {claims.SEEDS} seeds, or all folds of a protocol that averages over folds;
a table of many cells is judged as a whole: it is reproduced where {100 * claims.AGREE:g} % of the cells that agree or
differ agree, and differs otherwise, if these are half of all its cells or more. *Agree* counts them. The margins were
fixed before the runs. A number marked **stale** is from a record that an older version of the code or of the
rendered people made: it counts until the run is made again, as its command does."""
LEDGER = "../../book/ledger.md"
SIZES = {"M": "numbers of parameters", "G": "numbers of operations"}
"""Units of what is counted, not measured, and of what they are."""
COLUMNS = ("claim", "verdict", "published", "real", "twin", "agree", "how")


def page(every: Sequence[Claim]) -> str:
    """Markdown of the ledger: the answer, the rules, counts by verdict, then the claims of each paper that is written;
    the others folded."""
    rows = claims.rows(every)
    written = [name for paper, name in published.PAPERS.items() if is_written(paper)]
    others = [name for name in published.PAPERS.values() if name not in written]
    counts = pd.crosstab(rows["verdict"], rows["paper"]).reindex(claims.VERDICTS, fill_value=0)
    links = [f'<a href="#{name.lower()}">{name}</a>' for name in written]
    lines = [(f"**{verdict}**", *counts.loc[verdict, written], told) for verdict, told in claims.VERDICTS.items()]
    groups = dict(list(rows.groupby("paper", sort=False)))
    return markdown.page(
        TITLE,
        "## Does it reproduce?",
        summary(every),
        *(block for name in written for block in _of_paper(name, groups[name])),
        "## Not attempted yet" if others else "",
        *(_folded(name, groups[name]) for name in others),
        RULES,
        markdown.table(("verdict", *links, "meaning"), lines, right=links),
        made.of_page("fercore/published, book/records", rows),
        "**Next.** {doc}`Your own photograph </notebooks/use/photo>`." * (ROOT / "notebooks/use/photo.ipynb").is_file(),
    )


def is_written(paper: str) -> bool:
    """Whether this edition says what became of a paper: its module is there, and the page of its trainings."""
    return all((ROOT / at).is_file() for at in (f"fercore/papers/{paper}.py", f"notebooks/{paper}/training.ipynb"))


def _of_paper(name: str, rows: pd.DataFrame) -> Iterator[str]:
    """Its gains and accuracies, its sizes, and, folded, what was not measured and what pages only show."""
    sized, only_shown = rows["unit"].isin(SIZES), rows["published"] == ""
    empty = rows[["real value", "twin value"]].isna().all(axis=1) & ~sized & ~only_shown
    yield f"## {name}"
    if not (sized | only_shown | empty).all():
        yield _table(rows[~sized & ~only_shown & ~empty])
    if empty.any():
        yield _folded(f"{name}'s numbers that were not measured", rows[empty])
    if sized.any():
        yield f"### Sizes of {name}\n\n{_table(rows[sized]).replace(' real ', ' counted ', 1)}"
    if only_shown.any():
        yield _folded(f"{name}'s tables and figures without a number to judge", rows[only_shown])


def _table(rows: pd.DataFrame) -> str:
    """Claims with the columns of :data:`COLUMNS` that are not empty."""
    table = pd.DataFrame(map(_row, rows.to_dict("records")), columns=COLUMNS)
    shown = table[[name for name in COLUMNS if table[name].any()]]
    return markdown.table(shown.columns, shown.itertuples(index=False))


def _folded(name: str, rows: pd.DataFrame) -> str:
    columns = ("claim", "published", "where") if (rows["published"] != "").any() else ("claim", "where")
    cells = [
        {"claim": _claim(row), "published": row["published"], "where": _shown_at(row["notebook"], row["cell"])}
        for row in rows.to_dict("records")
    ]
    table = markdown.table(columns, ([row[name] for name in columns] for row in cells))
    return f'<details class="folded"><summary>{name}: {len(rows)} claims</summary>\n\n{table}\n\n</details>'


def summary(every: Sequence[Claim]) -> str:
    """Markdown: does it reproduce, in a sentence, then in a line for each paper that is written, and for the rest."""
    counted = {c.criterion: c for claim in every for c in claim.comparisons if c.unit in SIZES and c.verdict}.values()
    verdicts = {what: [c.verdict == "reproduced" for c in counted if c.unit == unit] for unit, what in SIZES.items()}
    others = [name for paper, name in published.PAPERS.items() if not is_written(paper)]
    told_of = {claim.paper: _gain_line(claim) for claim in first_gains(every)}
    lines = [
        told_of.get(paper, f"**{name}**: no gain measured yet.")
        for paper, name in published.PAPERS.items()
        if is_written(paper)
    ]
    accuracies = [c for claim in every if claim.kind != "gain" for c in claim.comparisons if c.unit not in SIZES]
    if not any(c.real and c.real.judged for c in accuracies):
        lines.append(
            "**Absolute accuracies** are shown and not judged: no run has a paper's size and weights from faces."
        )
    sizes = ", ".join(f"{sum(agree)} of {len(agree)} {what}" for what, agree in verdicts.items())
    lines.append(f"**Sizes**, which need no training: {sizes} are as printed.")
    lines += [f"**{', '.join(others)}**: not attempted yet."] if others else []
    foot = 'What a verdict means and how it is computed is explained <a href="#how-it-is-judged">below</a>.'
    return f"**Of the printed gains, measured on photographs: {judged(every)}.**\n\n{markdown.bullets(lines)}\n\n{foot}"


def judged(every: Sequence[Claim]) -> str:
    """How many printed gains that were measured on photographs have which verdict: ``none reproduced, ...``."""
    gains = [claim for claim in every if claim.kind == "gain" and claim.headline.verdict]
    counts = {verdict: sum(claim.verdict == verdict for claim in gains) for verdict in claims.JUDGED}
    return ", ".join(f"{count or 'none'} {verdict}" for verdict, count in counts.items())


def first_gains(every: Sequence[Claim]) -> Iterator[Claim]:
    """Of each paper the first gain that was measured, on photographs if any was."""
    for paper in published.PAPERS:
        gains = [claim for claim in every if claim.paper == paper and claim.kind == "gain" and claim.headline.twin]
        yield from sorted(gains, key=lambda claim: claim.headline.real is None)[:1]


def gains_of(paper: str) -> dict[str, claims.Comparison]:
    """A paper's gains that were measured, by what they are on."""
    measured = (claim for claim in claims.load() if claim.paper == paper and claim.kind == "gain")
    return {gain_name(claim).removeprefix("gain on "): claim.headline for claim in measured if claim.headline.twin}


def reproduces(paper: str, differs: str) -> Markdown:
    """Three lines for the head of a paper's page: its gains, its absolute number, ``differs``: what else is otherwise.

    Gains and number are those that were measured on photographs; where none was, on rendered people.
    """
    every = [claim for claim in claims.load() if claim.paper == paper and claim.comparisons]
    gains = [claim for claim in every if claim.kind == "gain" and claim.headline.twin]
    gains = [claim for claim in gains if claim.headline.real] or gains[:1]
    own = published.PAPERS[paper]
    accuracies = [c for claim in every if claim.kind == "table" for c in claim.comparisons if _is_headline(c, paper)]
    number = min(accuracies, key=lambda c: (c.real is None, c.twin is None))
    measured = [m for c in (*(claim.headline for claim in gains), number) for m in (c.real, c.twin) if m]
    most = max(m.seeds for m in measured)
    seeds = f"up to {most} seeds" if most > 1 else "one seed"
    sizes = " and ".join(f"`{preset}`" for preset in dict.fromkeys(m.preset for m in measured))
    lines = [
        *map(_gain_line, gains),
        f"**Accuracy** of {own} on {title(number.criterion[0])}: published "
        f"**{number.printed} %**; here {_sides(number, ' %')}.",
        f"**What differs**: {differs} Measured at preset {sizes}, {seeds}. [How a gain is judged]({LEDGER}).",
    ]
    return Markdown(markdown.bullets(lines))


def _is_headline(c: claims.Comparison, paper: str) -> bool:
    """Whether a comparison is about the method's accuracy on all test images."""
    return c.row == published.PAPERS[paper] and c.criterion[2] == "test" and c.criterion[3] == "accuracy"


def unprinted(claim: Claim) -> str:
    """Of a gain that was not measured on photographs: those that were, without a printed one, in sentences, or ""."""
    found = {} if claim.headline.real else claims.unprinted(claim.paper)
    return "".join(
        f" On photographs of {title(name)}, for which the paper prints no gain, it is {points(*measured[:3])}"
        f"{', with labels that networks guessed' * ('estimates=' in measured.command)}"
        f"{', one seed' * (measured.seeds == 1)}."
        for name, measured in found.items()
    )


def title(dataset: str) -> str:
    """A data set's short name: ``FERPlus``."""
    return catalogue.entry(dataset).title.partition(":")[0]


def gain_name(claim: Claim) -> str:
    """What a gain is of, in words: ``gain on FERPlus beyond 45°``."""
    return claim.name.replace(" degrees", "°")


def _gain_line(claim: Claim) -> str:
    verdict = f" Verdict: *{claim.verdict}*." if claim.headline.verdict else " No verdict: rendered people alone."
    name, head = f"{published.PAPERS[claim.paper]}'s {gain_name(claim)}", claim.headline
    verdict += " (*stale*)" * any(own.stale for own in (head.real, head.twin) if own)
    return f"**{name}**: published **{head.printed}** points; here {_sides(head)}.{verdict}{unprinted(claim)}"


def _sides(c: claims.Comparison, unit: str = "") -> str:
    """What was measured on photographs and on rendered people, each with its interval."""
    told = []
    for measured, where in ((c.real, "photographs"), (c.twin, "the rendered twin")):
        if measured:
            value, low, high = measured[:3]
            both = f"{value:.1f}{unit} [{low:.1f}, {high:.1f}]" if unit else points(value, low, high)
            told.append(f"{both} on {where}")
    return ", ".join(told)


def _claim(row: Mapping[str, Any]) -> str:
    return f"**{row['claim'].replace(' degrees', '°')}**<br>{row['title']}"


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The cells of :data:`COLUMNS`."""
    how, stale = [_shown_at(row["notebook"], row["cell"])], row["stale"].split(", ")
    links = [
        f'<a href="../records/{name}.json">record {name}</a>' + " **stale**" * (name in stale)
        for name in filter(None, row["record"].split(", "))
    ]
    lines = [*links, *([f"`{row['command']}`"] if row["command"] else [])]
    if lines:
        count = f"{len(links)} record{'s' * (len(links) != 1)} and the command" if links else "the command"
        how.append(f"<details><summary>{count}</summary>{'<br>'.join(lines)}</details>")
    apart, several = row["apart"].replace("; ", "<br>"), row["apart"].count("; ") > 1
    told = f"<details><summary>apart</summary>{apart}</details>" if several else f"<br>{apart}" if apart else ""
    agree = row["agree"] * (row["agree"] not in ("0 of 1", "1 of 1")) + told
    of = "" if row["kind"] == "gain" else f"<br>{row['headline']}"
    printed = f"{row['published']}{of}" + (f"<br>*odd*: {row['note']}" if row["note"] else "")
    margin = "" if math.isnan(row["margin"]) else f"<br>margin ±{row['margin']:.2f}"
    verdict = f"**{row['verdict']}**{margin}"
    return _claim(row), verdict, printed, _ours(row, "real"), _ours(row, "twin"), agree, "<br>".join(how)


def _shown_at(notebook: str, cell: str) -> str:
    """A link to the cell that shows a claim; to its page where no cell does; words where the page is not written."""
    page = notebook.removesuffix(".ipynb")
    if not (ROOT / "notebooks" / notebook).is_file():
        return f"{page}: not written yet"
    if not cell:
        return f"{{doc}}`{page} </notebooks/{page}>`, not shown there yet"
    return f'<a href="../notebooks/{page}.html#made-{cell}">{page}, {cell}</a>'


def _ours(row: Mapping[str, Any], kind: str) -> str:
    """A number of ours with its interval, preset and seeds, marked where a record behind it is stale."""
    value, low, high, over, preset, seeds, folds, stale = (
        row[f"{kind} {part}"] for part in ("value", "low", "high", "over", "preset", "seeds", "folds", "stale")
    )
    if math.isnan(value):
        return ""
    if not seeds:  # a size, which is counted and not trained
        return f"{value:.2f} {row['unit']}<br>{preset}"
    number = signed if row["unit"] == "points" else (lambda end: f"{end:.{2 if row['unit'] == 'share' else 1}f}")
    interval = "" if math.isnan(low) else f" [{number(low)},\N{NO-BREAK SPACE}{number(high)}]"
    runs = over + (f", {folds} folds" if folds > 1 else "")
    return f"{number(value)}{interval}<br>{preset}, {runs}" + ("<br>**stale**" if stale else "")
