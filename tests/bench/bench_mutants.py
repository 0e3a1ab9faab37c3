"""How many slips the tests would catch: `python tests/bench/bench_mutants.py`, about an hour on two cores.

mutmut changes one thing in a function at a time (a number, a comparison, an argument, a string, a name that is lost);
of all these mutants so many are drawn by a seed in each area, and for each the tests that reach its function are run
until one fails. What survives in a function that runs at import is tried again in a process of its own, as the others
have imported it unchanged. Printed are, by area, how many mutants there are, how many were drawn, how many killed
(found, or so slow that they were stopped), the share in per cent; then every survivor. The tests are those without a
book (`[tool.mutmut]` in pyproject.toml). Another seed draws others, `python tests/bench/bench_mutants.py 1`; with a
pattern of files below `fercore` all their mutants are run, `python tests/bench/bench_mutants.py 0 papers/new.py`.
`python -m mutmut show NAME` shows what a survivor changes.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
AREAS: Mapping[str, tuple[str, int]] = {
    "papers": ("papers/*.py", 70), "loop": ("training/loop.py", 22), "experiments": ("training/experiments.py", 22),
    "data": ("data/*.py", 98), "records": ("records.py", 22), "claims": ("ledger/claims.py", 22),
    "weights": ("backbones/weights.py", 22), "prediction": ("predict.py", 22),
}  # fmt: skip
"""Files below ``fercore`` of each area, and how many mutants are drawn."""
SURVIVED, KILLED, NOT_RUN = 0, {1, 3, 24, 36, 152, -24}, 255
"""Exit codes: of a test run that found nothing; of one that failed, or was stopped for its time; of one that broke off
before its first test, which tells nothing."""


def names(pattern: str) -> Iterator[str]:
    """Every mutant of the files, by the name that mutmut gives it."""
    from mutmut.mutation.file_mutation import mutate_file_contents
    from mutmut.utils.format_utils import get_mutant_name

    for file in sorted((ROOT / "fercore").glob(pattern)):
        found = mutate_file_contents(file.name, file.read_text())
        yield from (get_mutant_name(file.relative_to(ROOT), name) for name in found.mutant_names)


def outcomes() -> dict[str, int | None]:
    """The exit code of the tests for each mutant that was run."""
    found: dict[str, int | None] = {}
    for file in (ROOT / "mutants").rglob("*.meta"):
        found |= json.loads(file.read_text())["exit_code_by_key"]
    return found


IMPORT = """
import json, pytest
from mutmut.configuration import config
from mutmut.state import state
pytest.main(["--collect-only", "-qqq", *config().pytest_add_cli_args_test_selection])
print(json.dumps(sorted(state()._stats)))
"""


def tried_again(survivors: Mapping[str, int | None]) -> dict[str, int]:
    """Whether the tests fail for those whose function runs while they are imported, and for those that were not run."""

    def python(*words: str, mutant: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"MUTANT_UNDER_TEST": mutant}
        return subprocess.run(
            [sys.executable, *words], cwd=ROOT / "mutants", env=environment, stdout=subprocess.PIPE, text=True
        )

    early = set(json.loads(python("-c", IMPORT, mutant="stats").stdout.splitlines()[-1]))
    from mutmut.configuration import config

    stats = json.loads((ROOT / "mutants" / "mutmut-stats.json").read_text())
    reach, seconds = stats["tests_by_mangled_function_name"], stats["duration_by_test"]
    found = {}
    for name, code in survivors.items():
        if name.rpartition("__mutmut_")[0] in early or code == NOT_RUN:
            module = name.rpartition(".")[0] + "."
            near = {test.partition("::")[0] for f, own in reach.items() if f.startswith(module) for test in own}
            # Whole files: what a mutant takes out of a list of cases is not there to be named. The fastest first.
            took = {file: sum(s for test, s in seconds.items() if test.startswith(f"{file}::")) for file in near}
            words = ["-m", "pytest", "-xq", *config().pytest_add_cli_args, *sorted(near, key=took.get)]
            code = python(*words, mutant=name).returncode
            found[name] = int(code in (1, 2))  # a test failed, or could not be collected
    return found


def main(seed: int = 0, areas: Mapping[str, tuple[str, int]] = AREAS, *, run: bool = True) -> None:
    generator = random.Random(seed)
    every = {area: sorted(names(pattern)) for area, (pattern, _) in areas.items()}
    drawn = {area: generator.sample(found, min(areas[area][1], len(found))) for area, found in every.items()}
    chosen = [name for own in drawn.values() for name in own]
    codes: dict[str, int | None] = {}
    if run:
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", "2"]
        subprocess.run([*command, *chosen], cwd=ROOT, check=True)
        codes = {name: code for name, code in outcomes().items() if name in chosen}
        codes |= tried_again({name: code for name, code in codes.items() if code not in KILLED})
    print(f"{'area':<12} {'mutants':>8} {'drawn':>6} {'killed':>7} {'%':>6}")
    for area, own in {**drawn, "all": chosen}.items():
        killed = sum(codes.get(name) in KILLED for name in own)
        there = sum(map(len, every.values())) if area == "all" else len(every[area])
        print(f"{area:<12} {there:8,} {len(own):6} {killed:7} {100 * killed / len(own):6.1f}")
    for name in chosen:
        if run and codes.get(name) not in KILLED:
            print(f"survived: {name}" + ("" if codes.get(name) == SURVIVED else f" ({codes.get(name)})"))


if __name__ == "__main__":
    seed, *patterns = sys.argv[1:] or ["0"]
    main(int(seed), {pattern: (pattern, 10**6) for pattern in patterns} or AREAS)
