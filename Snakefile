"""The work as a graph: data -> pre-training -> records -> executed notebooks -> staged tree -> book.

`make book` runs it, `make records` the trainings alone; by hand: snakemake --cores 2 --config preset=quick.
On a cluster the same file runs under Snakemake's executor plugins. A notebook
runs again when its source, a fercore file that it reaches by import, the data
that its metadata name or (where it shows records) a committed record has changed.
"""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from fercore import paths, provenance
from fercore.book import site

PRESET = config.get("preset", "smoke")
RUNS = f"_runs/{PRESET}"
NOTEBOOKS = [page.removeprefix("notebooks/") for page in site.notebooks()]
FERCORE = f"{sys.executable} -m fercore.cli"
os.environ["FERCORE_STEP"] = "1"  # marks the lines that `make book` shows

# Sets that nobody can ship: part of the graph where FERCORE_DATA holds them.
REAL = {"ferplus": ["ferplus", "FERPlus", "ferplus.tar.gz"]}


def files(folder, pattern):
    return sorted(path.as_posix() for path in Path(folder).rglob(pattern) if path.is_file())


RECORDS = files("book/records", "record.json")
# What the papers print, and what the book says of each.
PUBLISHED = [*files("fercore/published", "*.csv"), *files("fercore/papers", "*.toml")]


def at_hand(name):
    """Whether a data set can be prepared here: rendered ones always, real ones if they are there."""
    root = paths.data_root()
    return name not in REAL or (root is not None and any((root / entry).exists() for entry in REAL[name]))


def code_of(modules):
    return [paths.relative(path) for path in provenance.sources(modules)]


@cache
def code_of_notebook(name):
    found = [paths.relative(path) for path in provenance.notebook_sources(Path(f"notebooks/{name}.ipynb"))]
    return found + (PUBLISHED if "fercore/published/__init__.py" in found else [])


def code(wildcards):
    return code_of_notebook(wildcards.name)


def data(wildcards):
    named = json.loads(Path(f"notebooks/{wildcards.name}.ipynb").read_text())["metadata"].get("data_sets", [])
    return [f"{RUNS}/data/{name}.json" for name in named if at_hand(name)]


def records(wildcards):
    return RECORDS if "fercore/records.py" in code(wildcards) else []


def prose():
    return [file for file in files("book", "*") if not file.startswith("book/records/") and "/." not in file]


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
        code_of(["fercore.book.site", *(f"fercore.papers.{path.stem}" for path in Path("fercore/papers").glob("*.py"))]),
        # The ledger shows records and published values, every page its costs, the list of equations the tests.
        "book/records/costs.csv",
        RECORDS,
        PUBLISHED,
        files("tests", "test_*.py"),
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


# ---- records: one job for each that is missing or stale ----


def wanted():
    """The trainings that `make records` asks for, by name; nothing where the book is made."""
    if not config.get("records"):
        return {}
    words = ["records", "jobs", "--preset", config.get("preset", ""), "--only", config.get("only", "")]
    found = subprocess.run([*FERCORE.split(), *words], capture_output=True, text=True)
    if found.returncode:
        raise WorkflowError(found.stderr)
    return json.loads(found.stdout)


JOBS = wanted()
for name in JOBS if workflow.is_main_process else ():  # what is wanted is not done, whatever was done before
    Path(f"_runs/jobs/{name}.done").unlink(missing_ok=True)


rule records:
    input:
        [f"_runs/jobs/{name}.done" for name in JOBS],


rule training:
    input:
        lambda wildcards: [f"_runs/jobs/{name}.done" for name in JOBS[wildcards.job]["before"]],
    output:
        "_runs/jobs/{job}.done",
    log:
        "_runs/jobs/{job}.log",
    threads: 1
    priority: lambda wildcards: len(JOBS) - list(JOBS).index(wildcards.job)  # the most wanted first
    resources:
        mem_mb=lambda wildcards: JOBS[wildcards.job]["mib"],
        gpu=1 if config.get("gpu") else 0,  # a share of one: as many at once as --resources gpu= allows
    params:
        name=lambda wildcards: JOBS[wildcards.job]["job"],
    shell:
        "OMP_NUM_THREADS={threads} FERCORE_PROGRESS=0 {FERCORE} records make '{params.name}' 2> >(tee {log} >&2) && touch {output}"
