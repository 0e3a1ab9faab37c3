"""No result is typed by hand: what the text says in numbers comes from records and published files.

The rule, for markdown cells, captions, alternative texts, words in code cells, and the pages under ``book/``: a number
that a reader would take for a result stands in a table or figure, or is filled in (``{name}``, see
``fercore.notebook.say``). For a result is taken whatever :data:`RESULT` matches. Sizes, degrees, counts, dates and
settings are none; the few that look like one stand in :data:`ALLOWED`, each with its reason.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fercore import cli
from fercore.book import front
from fercore.ledger import claims
from fercore.paths import ROOT
from fercore.studies import speed

NUMBER = r"(?:\d[\d.,]*|\b(?:an?|one|two|three|four|five|six|seven|eight|nine|ten|a\sfew))"
RESULT = re.compile(
    rf"""
      {NUMBER}\s?(?:%|per\s?cent\b)                       # 84.5 %, ten per cent
    | {NUMBER}\s(?:percentage\s)?points?\b                # 3 points, a point
    | \b(?:one|two|three|\d+)\sin\s(?:an?\s)?(?:ten|twenty|forty|fifty|hundred)\b  # one in forty
    | (?<![\d.,])[1-9]\d\.\d+\b                           # 84.51: from 10 to 100, with decimals
    | (?<![\d.,])0\.\d\d+\b                               # 0.845: a share with two decimals or more
    """,
    re.VERBOSE,
)
NO_PROSE = re.compile(r"^(`{3,}|~{3,}).*?^\1|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\]\([^)]*\)", re.DOTALL | re.MULTILINE)
"""Code, formulas, targets of links."""
ALLOWED = {
    r"95 % ((bootstrap )?intervals?)": "the level at which every interval is given",
    r"about 12 %( and|,) lopsided by 10 %": "settings of a twin: jitter of expressions",
    r"units of up to 0\.15": "a setting of a twin: the strength of stray units",
    r"five points": "the places that a detector marks on a face",
    r"68 points": "the landmarks of the iBUG mark-up",
    r"nothing can be printed as 97\.00": "an example of what no count of 29 gives",
}
"""What looks like a result and is none, with the words around it, and why."""
PAGES = sorted([*ROOT.glob("book/*.md"), *ROOT.glob("notebooks/*/*.ipynb")])


def prose(path: Path) -> Iterator[tuple[str, str]]:
    """(where, text) of everything in a page that is read as words."""
    if path.suffix == ".md":
        yield "the page", path.read_text()
        return
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            yield cell.id, cell.source
            continue
        source = "\n".join(line for line in cell.source.splitlines() if not line.startswith("%"))
        nodes = ast.walk(ast.parse(source))
        yield from ((cell.id, n.value) for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str))


def typed(text: str) -> list[str]:
    """Results in a text that are typed, each with some words around it."""
    text = NO_PROSE.sub(" … ", text)
    for words in ALLOWED:
        text = re.sub(words, " … ", text)
    return [" ".join(text[max(0, m.start() - 40) : m.end() + 20].split()) for m in RESULT.finditer(text)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_result_is_typed_by_hand(path: Path) -> None:
    found = {where: results for where, text in prose(path) if (results := typed(text))}
    assert not found, "fill it in from a record or from fercore/published, or draw it"


@pytest.mark.parametrize(
    ("text", "results"),
    [
        ("LAN reaches 84.5 % on FERPlus", 1), ("84.51%, then 85 per cent", 2), ("ten per cent more", 1),
        ("a gain of nearly ten points over", 1), ("by up to a point", 1), ("3.2 percentage points", 1),
        ("one in forty answers", 1), ("an accuracy of 0.845", 1), ("between 83.7 and 85.3", 2),
        ("{gain} on 3,137 images of 48 × 48 pixels at 45°", 0), ("$p = 84.5$ and `0.95`", 0),
        ("a 95 % interval", 0), ("95 % of them", 1), ("in Table 5 of 2022, version 1.0, with 68 points", 0),
        ("rate 0.1, batches of 64, 0.5 of it", 0), ("```\n84.5 %\n```", 0), ("[here](a/84.51.html)", 0),
    ],
)  # fmt: skip
def test_what_is_taken_for_a_result(text: str, results: int) -> None:
    assert len(typed(text)) == results


def test_everything_allowed_is_needed() -> None:
    texts = [text for path in PAGES for _, text in prose(path)]
    assert not [words for words in ALLOWED if not any(re.search(words, text) for text in texts)]


AVOIDED = re.compile(
    r"\b[Pp]ictures?\b|\bstands? (?:at|among|beside|below|above|here)\b|\bcan't\b|can(?:no|')t be told\b|"
    r"\b(?:images|frames) a second\b|\bat hand\b|\bturns with the seed\b"
)
"""Words for which the guide to English has others: image, is, cannot, not distinguishable, per second, available."""


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_words_are_those_of_the_guide(path: Path) -> None:
    assert [words for _, text in prose(path) for words in AVOIDED.findall(text)] == []


def test_the_readme_says_what_the_first_page_says() -> None:
    text = " ".join((ROOT / "README.md").read_text().split())
    for line in front.findings(claims.load()).strip().split("\n"):
        plain = re.sub(r"\[([^\]]*)\]\(/[^)]*\)", r"\1", line)
        assert plain in text, f"write into the README: {plain}"
        text = text.replace(plain, "")
    assert not typed(text)


def test_the_readme_names_what_there_is() -> None:
    """Targets, commands and files; and what the two commands print."""
    text, makefile = ((ROOT / name).read_text() for name in ("README.md", "Makefile"))
    code = "\n".join(re.findall(r"`+([^`]+)`+", text))
    assert set(re.findall(r"\bmake ([a-z]+)", code)) <= set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    commands = {command.callback.__name__ for command in cli.app.registered_commands}
    assert set(re.findall(r"^fercore ([a-z]+)", code, re.MULTILINE)) <= commands | {"data", "records", "book"}
    for path in re.findall(r"(?:notebooks|book|fercore|tests)/[\w/.]*|\b\w+\.(?:yml|lock|toml|md)\b", code):
        assert (ROOT / path).exists(), path
    printed = "== Making the book: preset", "images in", "is up to date after", "== All checks passed"
    sources = makefile + (ROOT / "fercore" / "cli.py").read_text()
    assert [words for words in printed if words not in text or words not in sources] == []


def test_the_time_of_pcda_is_the_measured_one() -> None:
    of = {"network": "PCDA", "part": "whole", "form": "compiled", "batch": 16}
    table = speed.kept("PCDA", "POSTER")
    chosen = table[~speed.on_gpu(table) & (table[list(of)] == pd.Series(of)).all(axis=1)].set_index("precision")
    (row,) = re.findall(r"\| PCDA at its.*", (ROOT / "book" / "measured.md").read_text())
    times = [f"{chosen.loc[name, 'milliseconds']:.0f}" for name in ("fp32", "bf16")]
    assert f"{times[0]} ms per image in 32 bits and {times[1]} in bf16" in row


def test_the_picture_of_the_people_is_what_the_heads_give_now(tmp_path: Path) -> None:
    front.save(front.crowd(), tmp_path / "now.png")
    now, kept = (
        np.asarray(Image.open(path).convert("RGB"), float)
        for path in (tmp_path / "now.png", ROOT / "book" / "_static" / "crowd.png")
    )
    assert now.shape == kept.shape and np.abs(now - kept).mean() < 2, "save front.crowd() there again"
