"""Every benchmark runs, on tiny sizes: what it measures here is of no interest, that it measures is."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

from fercore.backbones.ir50 import IR50

BENCHES = Path(__file__).parent / "bench"
TINY = {
    "bench_data": {"people": 2, "size": 32},
    "bench_dmlnet": {"most": 500, "batch": 10, "side": 32, "batches": (2,), "width": 4},
    "bench_guidance": {"counts": (96,), "extracted": 64},
    "bench_heads": {"sizes": (32,), "repeats": 2, "views": 2},
    "bench_phanet": {"batches": {"smoke": 4}, "side": 48, "batch": 2},
    "bench_pcda": {
        "sizes": {"dimensions": 24, "heads": 3, "side": 32, "backbone": IR50(4)},
        **{"side": 32, "batches": (1,), "repeats": 1, "peaks": (64,)},
        **{"forms": ("eager", "folded"), "precisions": ("fp32",)},
    },
    "bench_mutants": {"areas": {"loop": ("training/loop.py", 3)}, "run": False},
    "bench_predict": {"frames": 2},
    "bench_sets": {"rafdb_images": 30, "affectnet_rows": 200, "scans": 1, "grid": 20, "pictures": 4, "real": False},
    "bench_train": {"images": 64, "turns": 1},
}


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_benchmark_is_here() -> None:
    assert {path.stem for path in BENCHES.glob("bench_*.py")} == set(TINY)


@pytest.mark.parametrize("name", TINY)
def test_a_benchmark_prints_a_row_of_numbers(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FERCORE_PROGRESS", os.environ.get("FERCORE_PROGRESS", "0"))
    load(name).main(**TINY[name])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert any(
        len(row) >= 3 and all(word.replace(",", "").replace(".", "").isdigit() for word in row[-3:]) for row in rows
    )
