"""The finished book as a reader meets it: short enough, by ear, by keyboard, on a phone."""

from __future__ import annotations

import itertools
import re
from functools import cache
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from fercore import published
from fercore.book import finish
from fercore.book.site import contents

pytestmark = pytest.mark.slow

WORDS, NUMBERS, BYTES = 1500, 150, 3_000_000
"""At most so many words and numbers in sight on a page of results, so many bytes on any page."""
FOLDED = "details, .cell_input, .math, .text_html .highlight, .caption-number, .headerlink, script, style"
"""What is no reading: folds, code and listings of it, formulas, and what the theme adds."""
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
ZERO = re.compile(r"(?<![\w.,])[-−]0(?:\.0+)?(?![\w.,])")
VAGUE = {"here", "how", "why", "this", "link", "this page", "click here"}
CHART = re.compile(
    r"\b(matri(x|ces)|curves?|(?<!grid )lines?|bars?|scatter|heat maps?|histograms?|panels?|table of)\b", re.I
)
TELLS = re.compile(
    r"\b(is|are|has|have|lies?|falls?|ris(es?|ing)|cross|grows?|goes|go|gives?|contains?|depends?|reach(es)?|near(ly)?|most(ly)?|high|"
    r"approach|overlap(ping|s)?|differs?|takes?|moves?|agree|falling|hardly|above|below|higher|lower|highest|lowest|largest|closest|darkest)\b"
)
"""Words of a sentence that says what a chart shows."""


@cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(), "html.parser")


STRAY = re.compile(r"\{\w+\}|\bnan\b|^None$|\*\*|\$|\[@\w+")
"""What a page shows where a number, a word or a mark was not filled in."""


def in_sight(page: BeautifulSoup) -> tuple[int, int]:
    """Words and numbers that a reader sees without opening anything; a summary is in sight, what it folds is not."""
    article = BeautifulSoup(str(page.find("article")), "html.parser")
    for hidden in article.select(FOLDED):
        if not hidden.decomposed:
            hidden.decompose()
    text = article.get_text(" ", strip=True)
    return len(text.split()), len(NUMBER.findall(text))


def faults(page: BeautifulSoup) -> list[str]:
    """What is wrong on a page for those who read by ear, by keyboard or on a phone."""
    article = page.find("article")
    heads = [f"no scope: {head}" for head in page.find_all("th") if head.get("scope") not in ("col", "row")]
    alts = [image.get("alt", "") for image in article.find_all("img")]
    pictures = [f"says no result: {alt}" for alt in alts if not alt or (CHART.search(alt) and not TELLS.search(alt))]
    links = [f"says nothing: {link}" for link in article.find_all("a") if words(link).lower() in VAGUE]
    figures = [f"does not open: {image}" for image in article.select("img[src*=_images]") if not image.find_parent("a")]
    wide = ".pst-scrollable-table-container"
    tables = [f"has no box: {table}" for table in article.find_all("table") if not table.find_parent(class_=wide[1:])]
    zeros = [f"minus zero: {found}" for found in ZERO.findall(article.get_text(" "))]
    prose = BeautifulSoup(str(article), "html.parser")
    for quoted in prose.select("pre, code, .math, script, math"):
        quoted.decompose()
    strays = [
        f"left over: {found}" for tag in prose.select("p, li, td, summary") for found in STRAY.findall(words(tag))
    ]
    return [*heads, *pictures, *links, *figures, *tables, *zeros, *strays]


def words(tag: BeautifulSoup) -> str:
    return tag.get_text(" ", strip=True)


@pytest.mark.parametrize("name", contents())
def test_a_page_is_for_every_reader(name: str, book: Path) -> None:
    path = book / f"{name}.html"
    assert path.stat().st_size <= BYTES
    assert not faults(soup(path))


@pytest.mark.parametrize(
    "broken",
    [
        "<table><tr><th>a</th></tr></table>", '<img alt="Confusion matrix of eight classes" src="a.png">',
        '<img alt="Two lines over the yaw, with intervals" src="a.png">', '<img alt="" src="a.png">', "<table></table>",
        '<a href="b">Here</a>', '<img alt="A face" src="../_images/a.png">', "<p>at −0°</p>", "<p>of -0.00 points</p>",
        "<p>a gain of {gain}</p>", "<td>nan</td>", "<li>**bold**</li>", "<p>of $x</p>", "<p>as in [@cho2022lan]</p>",
    ],
)  # fmt: skip
def test_what_is_a_fault(broken: str) -> None:
    assert len(faults(BeautifulSoup(f"<article>{broken}</article>", "html.parser"))) >= 1


def test_what_is_finished_has_none() -> None:
    page = (
        "<article><table><thead><tr><th>a</th><th class='b'>b</th></tr></thead><tbody><tr><th>c</th><td>0.0, −0.5, a-0"
        '</td></tr></tbody></table><img alt="The curve falls" src="../_images/a.png"><a href="x"><img alt="A face" '
        'src="_images/b.png"></a><div class="pst-scrollable-table-container"><table></table></div></article>'
    )
    made = BeautifulSoup(finish.finished(page), "html.parser")
    assert not faults(made)
    assert [head["scope"] for head in made.find_all("th")] == ["col", "col", "row"]
    assert [link["href"] for link in made.find_all("a")] == ["../_images/a.png", "x"]
    assert len(made.select(".pst-scrollable-table-container")) == 2, "one box a table"


def test_no_line_begins_with_a_per_cent_sign() -> None:
    page = "<p>5 % of <code>5 %</code> 5 people</p><!-- 5 % --><pre>5 %</pre>"
    space = "\N{NO-BREAK SPACE}"
    assert finish.finished(page) == page.replace("<p>5 %", f"<p>5{space}%")


def test_a_column_without_a_name_names_the_rows() -> None:
    cells = "<tr class='r'><td><p>x</p></td><td>1</td></tr><tr><td>y</td><td>2</td></tr>"
    for name, expected in (("<p></p>", ["x", "y"]), ("<p>what</p>", [])):
        page = f"<table><thead><tr><th class='head'>{name}</th><th>b</th></tr></thead><tbody>{cells}</tbody></table>"
        made = BeautifulSoup(finish.finished(page), "html.parser")
        assert [words(head) for head in made.select("tbody th[scope=row]")] == expected


def test_pages_of_papers_are_short_enough_to_read(book: Path) -> None:
    pages = [name for name in contents() if name.split("/")[1] in published.PAPERS]
    assert {name.split("/")[1] for name in pages} >= {"lan", "pcda"}
    long = {name: in_sight(soup(book / f"{name}.html")) for name in pages}
    assert not {name: (w, n) for name, (w, n) in long.items() if w > WORDS or n > NUMBERS}


def test_what_comes_next_is_what_the_arrow_goes_to(book: Path) -> None:
    pages = [name for name in contents() if "/cards/" not in name]
    following = dict(itertools.pairwise(pages))
    told = {}
    for name in pages:
        mark = next(
            (mark for mark in soup(book / f"{name}.html").select("article strong") if words(mark) == "Next."), None
        )
        if mark:
            told[name] = (book / name).parent.joinpath(mark.parent.find("a")["href"]).resolve()
    assert set(told) >= {name for name in pages if name.startswith("notebooks/")}
    assert told == {name: (book / f"{following[name]}.html").resolve() for name in told}


def test_what_is_counted_is_what_is_in_sight() -> None:
    page = """<p>not the article 1</p><article>Two words, 1,234.5 and −3.
    <details><summary>more</summary>five 5 <details>six 6</details></details>
    <div class="cell_input">code 7</div><span class="math">x 8</span><div class="cell_output"><pre>seen 9</pre></div>
    <div class="text_html"><div class="highlight">listed 10</div></div></article>"""
    assert in_sight(BeautifulSoup(page, "html.parser")) == (7, 3)
