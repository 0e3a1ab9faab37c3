"""The work as a graph: data -> executed notebooks -> staged tree -> book.

`make book` runs it; by hand: snakemake --cores 2 --config preset=quick.
On a cluster the same file runs under Snakemake's executor plugins. A notebook
runs again when its source, a fercore file that it reaches by import, the data
it names or (where it shows records) a committed record has changed.
"""

import os
import sys
from functools import cache
from pathlib import Path

from fercore import book, paths, provenance

PRESET = config.get("preset", "smoke")
RUNS = f"_runs/{PRESET}"
NOTEBOOKS = [page.removeprefix("notebooks/") for page in book.notebooks()]
FERCORE = f"{sys.executable} -m fercore.cli"
os.environ["FERCORE_STEP"] = "1"  # marks the lines that `make book` shows

# What each notebook works on by default, so that it is prepared once, before.
DATA = {
    "data/twins": ["kdef-twin"],
    "data/calibration": ["kdef-twin"],
    "data/ferplus": ["ferplus"],
    "data/reality": ["ferplus-twin", "ferplus"],
    "lan/training": ["kdef-twin"],
    "lan/ablations": ["kdef-twin"],
    "pcda/training": ["rafdb-twin", "landmark-twin"],
    "pcda/ablations": ["rafdb-twin", "landmark-twin"],
    "pretraining/identity": ["identity-twin"],
    "pretraining/landmarks": ["landmark-twin"],
    "use/photo": ["kdef-twin"],
}
# Sets that nobody can ship: part of the graph where FERCORE_DATA holds them.
REAL = {"ferplus": ["ferplus", "FERPlus", "ferplus.tar.gz"]}


def at_hand(name):
    """Whether a data set can be prepared here: rendered ones always, real ones if they are there."""
    root = paths.data_root()
    return name not in REAL or (root is not None and any((root / entry).exists() for entry in REAL[name]))


def code_of(modules):
    return [path.relative_to(paths.ROOT).as_posix() for path in provenance.sources(modules)]


@cache
def code_of_notebook(name):
    found = provenance.notebook_sources(Path(f"notebooks/{name}.ipynb"))
    files = [path.relative_to(paths.ROOT).as_posix() for path in found]
    published = sorted(path.as_posix() for path in Path("fercore/published").glob("*.csv"))
    return files + (published if "fercore/published/__init__.py" in files else [])


def code(wildcards):
    return code_of_notebook(wildcards.name)


def data(wildcards):
    return [f"{RUNS}/data/{name}.json" for name in DATA.get(wildcards.name, []) if at_hand(name)]


def records(wildcards):
    shown = "fercore/records.py" in code(wildcards)
    return sorted(path.as_posix() for path in Path("book/records").rglob("record.json")) if shown else []


def prose():
    found = (path for path in Path("book").rglob("*") if path.is_file() and "records" not in path.parts)
    return sorted(path.as_posix() for path in found if not path.name.startswith("."))


wildcard_constraints:
    name="[A-Za-z0-9_/-]+",


rule book:
    input:
        "_build/html/built.txt",


rule prepare:
    input:
        code_of(["fercore.data.catalogue"]),
    output:
        RUNS + "/data/{name}.json",
    log:
        RUNS + "/logs/data/{name}.log",
    threads: workflow.cores
    priority: 10
    shell:
        "echo '· {wildcards.name}: preparing'; "
        "{FERCORE} data prepare {wildcards.name} --preset {PRESET} --stamp {output} 2> >(tee {log} >&2)"


rule notebook:
    input:
        source="notebooks/{name}.ipynb",
        code=code,
        data=data,
        records=records,
    output:
        RUNS + "/notebooks/{name}.ipynb",
    log:
        RUNS + "/logs/{name}.log",
    # Beyond a first look, training is the long part and has the machine to itself.
    threads: lambda wildcards: workflow.cores if PRESET != "smoke" and wildcards.name.endswith("/training") else 1
    priority: lambda wildcards: 5 if wildcards.name.endswith("/training") else 0
    shell:
        "NUMBA_NUM_THREADS={threads} {FERCORE} run {input.source} {output} -p preset {PRESET} --log {log}"


rule stage:
    input:
        prose(),
        [f"{RUNS}/notebooks/{name}.ipynb" for name in NOTEBOOKS],
        # What is stale depends on the papers' code, which is imported by name.
        code_of(["fercore.book", *(f"fercore.papers.{path.stem}" for path in Path("fercore/papers").glob("*.py"))]),
        # The ledger shows records and published values, every page its costs, the list of equations the tests.
        "book/records/costs.csv",
        sorted(path.as_posix() for path in Path("book/records").rglob("record.json")),
        sorted(path.as_posix() for path in Path("fercore/published").glob("*.csv")),
        sorted(path.as_posix() for path in Path("tests").rglob("test_*.py")),
    output:
        "_build/src/staged.txt",
    shell:
        "{FERCORE} book stage {RUNS} _build/src && echo {PRESET} > {output}"


rule build:
    input:
        "_build/src/staged.txt",
        "_config.yml",
    output:
        "_build/html/built.txt",
    shell:
        "{FERCORE} book build _build/src _build/html && echo {PRESET} > {output}"
