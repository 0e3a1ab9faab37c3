"""The command line: ``fercore run``, ``fercore book``; ``fercore --help`` lists everything.

Every mistake a user can make ends as one message on standard error and exit
status 2, without a traceback.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from fercore.errors import FercoreError

app = typer.Typer(
    name="fercore",
    help="Pose-robust facial expression recognition: run notebooks, build the book.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
book_app = typer.Typer(help="Make the book: everything, or one of its two last steps.", no_args_is_help=True)
app.add_typer(book_app, name="book")

STEP = "FERCORE_STEP" in os.environ
"""Whether the Snakefile runs this command: then lines carry a mark by which ``make book`` picks them out."""
Preset = Annotated[str, typer.Option(help="smoke | quick | paper")]


def say(text: str) -> None:
    """Print one line of progress at once."""
    print(f"· {text}" if STEP else text, flush=True)


@app.command(context_settings={"show_default": True})
def run(
    source: Annotated[Path, typer.Argument(help="a notebook under notebooks/")],
    target: Annotated[Path, typer.Argument(help="where the executed notebook goes")],
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="NAME=VALUE or NAME VALUE; may be repeated")
    ] = None,
    log: Annotated[Path | None, typer.Option(help="file for the log and, beside it, a notebook that failed")] = None,
) -> None:
    """Execute one notebook; its parameters are checked before anything runs."""
    from fercore.execute import parse_parameters, relative, run_notebook

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # tidy up when the graph stops us
    pairs = [tuple(text.partition("=")[::2]) for text in parameter or []]
    start, name = time.monotonic(), relative(source)
    parameters = parse_parameters(source, pairs)
    say(f"{name}: running with {', '.join(f'{k}={v!r}' for k, v in parameters.items()) or 'its defaults'}")
    run_notebook(source, target, parameters, log=log, say=say)
    say(f"{name}: done in {time.monotonic() - start:.0f} s -> {relative(target)}")


@book_app.command("make")
def make_book(preset: Preset = "smoke", cores: Annotated[int, typer.Option(help="notebooks at a time")] = 2) -> None:
    """Prepare data, execute what is missing or outdated, build: what ``make book`` calls."""
    from fercore.book import make

    start = time.monotonic()
    index = make(preset, cores, say=say)
    say(f"The book (preset {preset}) is up to date after {time.monotonic() - start:.0f} s.\nOpen {index}")


@book_app.command("stage")
def stage_book(
    runs: Annotated[Path, typer.Argument(help="executed notebooks of one preset")] = Path("_runs/smoke"),
    target: Annotated[Path, typer.Argument(help="tree to write")] = Path("_build/src"),
) -> None:
    """Lay out prose and executed notebooks; refuses what failed, is missing or outdated."""
    from fercore.book import stage

    stage(runs, target)
    say(f"staged {target}")


@book_app.command("build")
def build_book(
    staged: Annotated[Path, typer.Argument(help="staged tree")] = Path("_build/src"),
    target: Annotated[Path, typer.Argument(help="folder of the finished pages")] = Path("_build/html"),
) -> None:
    """Compile the staged tree with Jupyter Book, warnings as errors."""
    from fercore.book import build

    start = time.monotonic()
    say("compiling the book (warnings are errors)")
    index = build(staged, target)
    say(f"book compiled in {time.monotonic() - start:.0f} s -> {index}")


def join_pairs(words: list[str]) -> list[str]:
    """Papermill's ``-p NAME VALUE`` as ``-p NAME=VALUE``, the form that option parsers take."""
    joined, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        if word in ("-p", "--parameter") and len(rest) > 1 and "=" not in rest[0]:
            joined += [word, f"{rest.pop(0)}={rest.pop(0)}"]
        else:
            joined.append(word)
    return joined


def fail(error: Exception) -> NoReturn:
    """Print the message alone and end with status 2."""
    text = str(error)
    print("\n".join(f"! {line}" for line in text.splitlines()) if STEP else f"fercore: {text}", file=sys.stderr)
    sys.exit(2)


def main() -> None:
    """Entry point of the command ``fercore``."""
    words = sys.argv[1:]
    try:
        app(args=join_pairs(words) if words[:1] == ["run"] else words)
    except FercoreError as error:
        fail(error)
    except SystemExit as end:
        if end.code == 130:  # Ctrl-C, as typer reports it
            print("Interrupted: what was finished is kept, nothing half-written is used.", file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
