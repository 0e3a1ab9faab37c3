"""The ledger's page: the answer first, one row a claim of the papers that are written, the others folded."""

from __future__ import annotations

import math
import re

import pytest

from fercore import notebook, published
from fercore.book import front, ledger
from fercore.ledger import claims
from fercore.paths import reference_records

WRITTEN = [name for paper, name in published.PAPERS.items() if ledger.is_written(paper)]
OTHERS = [name for name in published.PAPERS.values() if name not in WRITTEN]


@pytest.fixture(scope="module")
def page() -> str:
    return ledger.page(claims.load())


def test_the_answer_comes_first(page: str) -> None:
    first = page.partition("## Does it reproduce?")[2].partition("\n## ")[0].strip().splitlines()
    lines = [line for line in first if line]
    assert lines[0].startswith("**Of the printed gains, measured on photographs: ") and len(lines) <= 5 + len(WRITTEN)
    assert [line.split("**")[1].split("'s gain on ")[0] for line in lines[1 : 1 + len(WRITTEN)]] == WRITTEN
    (lan,) = (line for line in lines if line.startswith("- **LAN's gain on FERPlus beyond 45°**"))
    assert "published **+9.81** points; here " in lan and " on photographs, " in lan
    assert lines[-2] == f"- **{', '.join(OTHERS)}**: not attempted yet."
    assert "4 of 4 numbers of parameters" in lines[-3], "the whole network is printed in two tables"


def test_papers_that_are_not_written_are_folded(page: str) -> None:
    heads = re.findall(r"^## (.*)$", page, re.MULTILINE)
    assert heads == ["Does it reproduce?", *WRITTEN, "Not attempted yet", "How it is judged"]
    folded = page.partition("## Not attempted yet")[2].partition("\n## ")[0]
    for name in OTHERS:
        own = [claim for claim in claims.load() if published.PAPERS[claim.paper] == name]
        assert f"<summary>{name}: {len(own)} claims</summary>" in folded
    assert folded.count("| **") == sum(not ledger.is_written(claim.paper) for claim in claims.load())


def test_what_was_not_measured_is_folded(page: str) -> None:
    in_sight = re.sub(r"<details.*?</details>", "", page.partition("## How it is judged")[0], flags=re.DOTALL)
    assert "| **twin only** |" in in_sight and "| **data not available** |" not in in_sight
    assert "PhaNet's numbers that were not measured: " in page


def test_verdicts_stand_early_with_their_margin_and_sizes_apart(page: str) -> None:
    lan, sizes = page.partition("## LAN")[2], page.partition("### Sizes of PCDA")[2].partition("<details class")[0]
    assert lan.lstrip().startswith("| claim | verdict | published | real | twin |")
    assert "| **differs**<br>margin ±4.91 | +9.81 points |" in lan
    assert sizes.lstrip().startswith("| claim | verdict | published | counted |")
    assert " twin " not in sizes
    assert " M<br>" in sizes and "%" not in re.sub(r"<[^>]*>", "", sizes)
    assert "*odd*: the baseline is printed lower than on its turned faces alone (Table 5)" in lan


def test_records_are_files_of_the_book(page: str) -> None:
    links = re.findall(r'href="([^"]*)">record ([^<]*)<', page)
    assert links and all(address == f"../records/{name}.json" for address, name in links)
    assert {name for _, name in links} <= {path.name for path in reference_records().iterdir()}
    assert re.search(r"<summary>1 record and the command<", page) and not re.search(r"\b1 records\b", page)


@pytest.mark.parametrize(
    ("unit", "value", "low", "high", "expected"),
    [
        ("points", -0.001, -2.854, 2.85, "+0.00 [−2.85, +2.85]"), ("share", 0.8149, 0.78, 0.841, "0.81 [0.78, 0.84]"),
        ("%", 84.22, 82.44, 85.9, "84.2 [82.4, 85.9]"), ("%", 84.22, math.nan, math.nan, "84.2"),
    ],
)  # fmt: skip
def test_value_and_ends_have_the_same_decimals(unit: str, value: float, low: float, high: float, expected: str) -> None:
    ours = claims.Measured(value, low, high, "3 seeds", "quick", 3, 1, ("a",), "", (), True, True)
    one = claims.Comparison("T1", "", "", "1.0", unit, ours, None, "differs", (), 0.5)
    (row,) = claims.rows([claims.Claim("lan", "table", "Table 1", "", "a.ipynb", "", "differs", (one,))]).to_dict(
        "records"
    )
    assert ledger._ours(row, "real").replace("\N{NO-BREAK SPACE}", " ") == f"{expected}<br>quick, 3 seeds"


def test_a_gain_is_told_in_one_wording() -> None:
    every = claims.load()
    of = notebook.runs_by_method(notebook.reference(paper="lan", dataset="ferplus", preset="quick"))
    told = notebook.gain(of, "LAN", "ResNet-18", "pose_over_45")
    for words in (front.gains(every), ledger.summary(every), ledger.reproduces("lan", "").data):
        assert words.count(told) == 1
