"""Costs: what was measured is kept a preset at a time, and a budget lists what fits and what nobody measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest

from fercore import records
from fercore.book import costs, notebooks
from fercore.errors import ParameterError
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
    line = costs.page_line("notebooks/b")
    assert "smoke 90 seconds, 500 MiB; quick 10.0 minutes, 1,500 MiB; paper not measured (2 cores, 2026-11-25)" in line
    assert costs.page_line("notebooks/c").count("not measured") == 3


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5h", 5400), (" 5m ", 300)])
def test_a_budget_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert costs.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["30", "m", "-5m", "1d", "1h30m", ""])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="is no time"):
        costs.seconds_of(text)


def plan(budget: float, **options: Any) -> tuple[list[str], str]:
    """The lines of what fits, and everything after them."""
    lines = list(costs.plan(budget, PAGES, **options))
    total = next(k for k, line in enumerate(lines) if "together" in line)
    return lines[1:total], "\n".join(lines[total:])


def test_a_plan_holds_what_fits_and_says_the_rest(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = [run for run in records.find(preset="quick") if run.seconds > 240]
    monkeypatch.setattr(records, "find", lambda *args, **recipe: long)
    executed(tmp_path / "smoke", "notebooks/a", "smoke", 120.0, 900)
    executed(tmp_path / "smoke", "notebooks/b", "smoke", 60.0, 700)
    costs.write(tmp_path / "smoke", PAGES)
    fits, rest = plan(180.0)
    assert [line.split()[:2] for line in fits] == [["1.0", "700"], ["2.0", "900"]]
    assert "fercore run notebooks/b.ipynb out.ipynb -p preset smoke" in fits[0]
    assert rest.split()[:2] == ["3.0", "900"] and "of 3.0 minutes" in rest
    assert "Never measured at quick: notebooks/a, notebooks/b" in rest and "measured at smoke" not in rest
    assert all(run.command in rest for run in records.find()), "trainings take longer"
    assert len(plan(179.0)[0]) == 1 and plan(59.0)[0] == []
    assert plan(1e9, preset="paper")[0] == [] and "notebooks/a" in plan(1e9, preset="paper")[1]
    assert len(plan(1e9)[0]) == 2 + len(records.find())


def test_what_a_gpu_did_says_so() -> None:
    gpu = {run.command: run.machine["gpu"] for run in records.find() if run.machine.get("gpu", "none") != "none"}
    remarks = {cost.what: cost.remark for cost in costs.measured([])}
    assert gpu and all(f"on {name}" in remarks[command] for command, name in gpu.items())
    assert not any("on NVIDIA" in remark for command, remark in remarks.items() if command not in gpu)


def test_the_committed_costs_are_of_this_book() -> None:
    table = costs.table()
    assert tuple(table.columns) == costs.COLUMNS and set(table["notebook"]) <= set(notebooks())
    assert set(table["preset"]) <= set(PRESETS) and not table.duplicated(["notebook", "preset"]).any()
    assert (table[["seconds", "peak_mib", "cores"]] > 0).all(axis=None)
    assert pd.to_datetime(table["date"]).notna().all() and table["commit"].str.fullmatch("[0-9a-f]{10}").all()
    assert set(table.query("preset == 'smoke'")["notebook"]) == set(notebooks()), "fercore book costs _runs/smoke"
