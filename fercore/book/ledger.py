"""The ledger as pages: does it reproduce, in five lines; then every claim of the five papers beside our records."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import pandas as pd
import yaml
from IPython.display import Markdown

from fercore import published
from fercore.book import made, markdown
from fercore.data import catalogue
from fercore.intervals import signed
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
differ agree, and differs otherwise, if these are half of all its cells or more. *agree* counts them. The margins were
fixed before the runs."""
STALE = """\
A number marked **stale** is from a record that an older version of the code made: it counts until the run is
made again, as its command does. The published numbers are files of the package (`fercore/published/`), ours
are [records](howto.md)."""


def page(every: Sequence[Claim]) -> str:
    """Markdown of the ledger: the summary, the rules, counts by verdict, then a table for each paper."""
    rows, verdicts = claims.rows(every), list(claims.VERDICTS)
    counts = pd.crosstab(rows["paper"], rows["verdict"]).reindex(columns=verdicts, fill_value=0)
    lines = [(f'<a href="#{paper.lower()}">{paper}</a>', *counts.loc[paper]) for paper in rows["paper"].unique()]
    columns = ("claim", "published", "real", "twin", "agree", "verdict", "how")
    papers = [
        f"## {paper}\n\n{markdown.table(columns, map(_row, group.to_dict('records')), right=('agree',))}"
        for paper, group in rows.groupby("paper", sort=False)
    ]
    return markdown.page(
        TITLE,
        "## Does it reproduce?",
        summary(every),
        RULES,
        markdown.bullets(f"**{verdict}**: {meaning}" for verdict, meaning in claims.VERDICTS.items()),
        STALE,
        markdown.table(["paper", *verdicts], lines, right=verdicts),
        *papers,
        made.of_page("fercore/published, book/records", rows),
    )


def summary(every: Sequence[Claim]) -> str:
    """Markdown: for each paper whether its gain over its own baseline appears, where, and what would settle it."""
    numbers, rows = ("published", "ours, real images", "ours, rendered twin"), list(_gains(every))
    shown = sum(row[1] == "**reproduced**" for row in rows)
    measured = sum(row[3] != "–" for row in rows)
    told = f"**Of the five papers' first gains {shown or 'none'} is reproduced so far; {measured or 'none'} could be"
    told += " measured on photographs**, at the preset that the table names, without weights that know faces."
    columns = ("paper", "verdict", *numbers, "gain of", "what would tell more")
    return f"{told}\n\n{markdown.table(columns, rows, right=numbers)}"


def _gains(every: Sequence[Claim]) -> Iterator[tuple[str, ...]]:
    """One row per paper: a gain that was measured on real data, else on a twin, else any."""
    for paper, name in published.PAPERS.items():
        gains = [claim for claim in every if claim.paper == paper and claim.kind == "gain"]
        if gains:
            shown = min(gains, key=lambda claim: (claim.headline.real is None, claim.headline.twin is None))
            head = shown.headline
            ours = (_number(head.real), _number(head.twin))
            yield f"**{name}**", f"**{shown.verdict}**", f"{head.printed} points", *ours, head.row, _settles(shown)


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
    sizes = " and ".join(f"`{preset}`" for preset in dict.fromkeys(m.preset for m in measured))
    stale = " Some of the records are of older code." if any(m.stale for m in measured) else ""
    lines = [
        *map(_gain_line, gains),
        f"**Accuracy** of {own} on {catalogue.entry(number.criterion[0]).title.partition(':')[0]}: published "
        f"**{number.printed} %**; here {_sides(number, ' %')}.",
        f"**What differs**: {differs} Measured at preset {sizes}, up to {max(m.seeds for m in measured)} seeds.{stale}",
    ]
    return Markdown(markdown.bullets(lines))


def _is_headline(c: claims.Comparison, paper: str) -> bool:
    """Whether a comparison is about the method's accuracy on all test images."""
    return c.row == published.PAPERS[paper] and c.criterion[2] == "test" and c.criterion[3] == "accuracy"


def gain_name(claim: Claim) -> str:
    """What a gain is of, in words: ``gain on FERPlus beyond 45°``."""
    return claim.name.replace(" degrees", "°")


def _gain_line(claim: Claim) -> str:
    verdict = f" Verdict: *{claim.verdict}*." if claim.headline.verdict else ""
    name, head = f"{published.PAPERS[claim.paper]}'s {gain_name(claim)}", claim.headline
    return f"**{name}**: published **{head.printed}** points; here {_sides(head)}.{verdict}"


def _sides(c: claims.Comparison, unit: str = "") -> str:
    """What was measured on photographs and on rendered people, each with its interval."""
    told = []
    for measured, where in ((c.real, "photographs"), (c.twin, "the rendered twin")):
        if measured:
            value, low, high = (f"{end:.1f}" if unit else signed(end, 1) for end in measured[:3])
            told.append(f"**{value}{unit}** [{low}, {high}] on {where}")
    return ", ".join(told)


def _number(measured: claims.Measured | None) -> str:
    if measured is None:
        return "–"
    value, low, high = map(signed, measured[:3])
    told = f"{value} [{low}, {high}]<br>{measured.over}, preset {measured.preset}"
    return told + ("<br>**stale**" if measured.stale else "")


def _settles(claim: Claim) -> str:
    """What a reader would need to know more."""
    real = claim.headline.real
    if not (ROOT / "fercore" / "papers" / f"{claim.paper}.py").is_file():
        return "the method, which is not in this edition yet, and the licensed images"
    if claim.verdict == "data not available":
        return f"the licensed images of {catalogue.entry(claim.headline.criterion[0]).title.partition(':')[0]}"
    if claim.verdict == "inconclusive" and real and not real.enough:
        return f"{claims.SEEDS} seeds or more"
    if real and published.ABOUT[claim.paper].get("start"):
        return "the published weights of faces at the published size (`--preset paper --set start=FILE`)"
    return "more seeds" if claim.verdict == "inconclusive" else "–"


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    how = [_shown_at(row["notebook"], row["cell"])]
    if row["record"]:
        stale = row["stale"].split(", ")
        links = [_record_link(name) + " **stale**" * (name in stale) for name in row["record"].split(", ")]
        how.append(f"<details><summary>{len(links)} records</summary>{'<br>'.join(links)}</details>")
    if row["command"]:
        how.append(f"`{row['command']}`")
    apart = row["apart"].replace("; ", "<br>")
    agree = row["agree"] + (f"<details><summary>apart</summary>{apart}</details>" if apart else "")
    printed = f"{row['published']}<br>{row['headline']}" if row["published"] else ""
    what = f"**{row['claim']}**<br>{row['title']}"
    return what, printed, _ours(row, "real"), _ours(row, "twin"), agree, row["verdict"], "<br>".join(how)


def _shown_at(notebook: str, cell: str) -> str:
    """A link to the cell that shows a claim; to its page where no cell does; words where the page is not written."""
    page = notebook.removesuffix(".ipynb")
    if not (ROOT / "notebooks" / notebook).is_file():
        return f"{page}: not written yet"
    if not cell:
        return f"{{doc}}`{page} </notebooks/{page}>`, not shown there yet"
    return f'<a href="../notebooks/{page}.html#{cell}">{page}, {cell}</a>'


@cache
def _repository() -> str:
    repository = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]
    return f"{repository['url']}/tree/{repository['branch']}"


def _record_link(name: str) -> str:
    return f'<a href="{_repository()}/book/records/{name}">record {name}</a>'


def _ours(row: Mapping[str, Any], kind: str) -> str:
    """A number of ours with its interval, preset and seeds, marked where a record behind it is stale."""
    value, low, high, over, preset, seeds, folds, stale = (
        row[f"{kind} {part}"] for part in ("value", "low", "high", "over", "preset", "seeds", "folds", "stale")
    )
    if math.isnan(value):
        return ""
    if not seeds:  # a size, which is counted and not trained
        return f"{value:.2f}<br>{preset}"
    interval = "" if math.isnan(low) else f" [{low:.1f}, {high:.1f}]"
    runs = over + (f", {folds} folds" if folds > 1 else "")
    return f"{value:.2f}{interval}<br>{preset}, {runs}" + ("<br>**stale**" if stale else "")
