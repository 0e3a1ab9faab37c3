"""Costs: what was measured is kept a preset at a time, and a budget lists what fits and what nobody measured."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest

from fercore.book import costs, made
from fercore.book.site import notebooks
from fercore.errors import FercoreError, ParameterError
from fercore.recipe import PRESETS

PAGES = ("notebooks/a", "notebooks/b")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where costs are kept instead of the committed file; records are the committed ones."""
    monkeypatch.setattr(costs, "FILE", tmp_path / "costs.csv")
    return costs.FILE


def executed(runs: Path, page: str, preset: str, seconds: float, mib: int = 500) -> None:
    """An executed notebook, as far as its cost is concerned."""
    own = {"parameters": {"preset": preset}, "peak_mib": mib, "machine": "Linux x86_64, 2 cores", "commit": "c" * 40}
    metadata = {"papermill": {"duration": seconds, "end_time": "2026-11-25T12:00:00"}, "fercore": own}
    (runs / page).parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(metadata=metadata), runs / f"{page}.ipynb")


def test_costs_are_written_from_executed_notebooks(file: Path, tmp_path: Path) -> None:
    executed(tmp_path / "smoke", "notebooks/b", "smoke", 90.04)
    executed(tmp_path / "quick", "notebooks/b", "quick", 600.0, 1500)
    executed(tmp_path / "smoke", "notebooks/a", "smoke", 30.0)
    executed(tmp_path / "smoke", "notebooks/gone", "smoke", 1.0)
    for preset in ("quick", "smoke", "smoke"):
        costs.write(tmp_path / preset, PAGES)
    assert file.read_text().splitlines() == [
        ",".join(costs.COLUMNS),
        "notebooks/a,smoke,30.0,500,2,Linux x86_64,2026-11-25,cccccccccc",
        "notebooks/b,smoke,90.0,500,2,Linux x86_64,2026-11-25,cccccccccc",
        "notebooks/b,quick,600.0,1500,2,Linux x86_64,2026-11-25,cccccccccc",
    ]
    with pytest.raises(FercoreError, match=r"No executed notebook of the book lies in .*nowhere"):
        costs.write(tmp_path / "nowhere", PAGES)


def test_a_page_says_how_long_it_takes(file: Path, tmp_path: Path) -> None:
    executed(tmp_path / "smoke", "notebooks/b", "smoke", 90.04)
    executed(tmp_path / "quick", "notebooks/b", "quick", 600.0, 1500)
    for preset in ("quick", "smoke"):
        costs.write(tmp_path / preset, PAGES)
    words = nbformat.v4.new_output("execute_result", {"text/markdown": "said " * 300})
    page = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("word " * 300),
            nbformat.v4.new_code_cell("not read " * 900, outputs=[words]),
        ]
    )
    line = costs.time_line("notebooks/b", page)
    assert line == (
        "**Time**: 3 minutes to read; to execute on 2 cores, by preset: `smoke` 90 seconds, `quick` 10.0 minutes."
    )
    assert costs.time_line("notebooks/c", page) == "**Time**: 3 minutes to read."
    page.cells = page.cells[:0]
    assert "1 minutes" not in costs.time_line("notebooks/c", page)


def test_a_page_says_what_its_records_took(monkeypatch: pytest.MonkeyPatch) -> None:
    made_of = [("a", "quick", 3000.0, "none"), ("b", "quick", 4200.0, "none"), ("c", "quick", 60.0, "GPU")]
    made_of += [("d", "paper", 120.0, "GPU"), ("not shown", "quick", 9000.0, "none")]
    known = [
        SimpleNamespace(name=name, recipe={"preset": preset}, seconds=seconds, machine={"gpu": gpu})
        for name, preset, seconds, gpu in made_of
    ]
    monkeypatch.setattr(costs.records, "find", lambda: known)
    below = nbformat.v4.new_output("display_data", {}, metadata={made.KEY: {"records": {name: {} for name in "abcd"}}})
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[below, below])])
    assert costs.time_line("notebooks/c", page) == (
        "**Time**: 2 minutes to read. A training behind its records takes about 60.0 minutes at `quick` on a "
        "processor, 60 seconds at `quick` on a GPU, 2.0 minutes at `paper` on a GPU."
    )


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5h", 5400), (" 5m ", 300)])
def test_a_budget_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert costs.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["30", "m", "-5m", "1d", "1h30m", ""])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="is no time"):
        costs.seconds_of(text)


def test_a_plan_names_what_fits_and_what_nobody_measured(file: Path, tmp_path: Path) -> None:
    executed(tmp_path / "smoke", "notebooks/a", "smoke", 120.0, 900)
    executed(tmp_path / "smoke", "notebooks/b", "smoke", 60.0, 700)
    costs.write(tmp_path / "smoke", PAGES)
    _, first, second, *rest = costs.lines(PAGES, budget=179.0)
    assert first.split()[:2] == ["1.0", "700"] and second.split()[:2] == ["2.0", "900"]
    assert "fercore run notebooks/b.ipynb out.ipynb -p preset smoke" in first
    assert "beyond" in second and "beyond" not in first
    assert rest == [f"Never measured at {preset}: notebooks/a, notebooks/b" for preset in ("quick", "paper")]
    assert not any("beyond" in line for line in costs.lines(PAGES, budget=180.0))
    assert list(costs.lines(PAGES, "paper"))[1:] == ["Never measured at paper: notebooks/a, notebooks/b"]


def test_the_committed_costs_are_of_this_book() -> None:
    table = costs.table()
    assert tuple(table.columns) == costs.COLUMNS and set(table["notebook"]) <= set(notebooks())
    assert set(table["preset"]) <= set(PRESETS) and not table.duplicated(["notebook", "preset"]).any()
    assert (table[["seconds", "peak_mib", "cores"]] > 0).all(axis=None)
    assert pd.to_datetime(table["date"]).notna().all() and table["commit"].str.fullmatch("[0-9a-f]{10}").all()
    assert set(table.query("preset == 'smoke'")["notebook"]) == set(notebooks()), "fercore book costs _runs/smoke"
