"""The command line: data, train, records, run, plan, book; ``fercore --help`` lists everything.

Every mistake a user can make ends as one message on standard error and exit status 2, without a traceback.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from fercore import papers
from fercore.errors import FercoreError, ParameterError
from fercore.recipe import PRESETS, unknown, value_of

app = typer.Typer(
    name="fercore",
    help="Pose-robust facial expression recognition: data, training, records, notebooks, the book.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
book_app = typer.Typer(help="Make the book: everything, or one of its two last steps.", no_args_is_help=True)
app.add_typer(book_app, name="book")
data_app = typer.Typer(
    help="Data sets: list them, prepare one, check one, estimate what one does not know.", no_args_is_help=True
)
app.add_typer(data_app, name="data")
blind_app = typer.Typer(help="Can a reader name the expressions of a data set? Faces without labels, and the score.")
app.add_typer(blind_app, name="blind")
records_app = typer.Typer(help="Records of training runs.", no_args_is_help=True)
app.add_typer(records_app, name="records")

STEP = "FERCORE_STEP" in os.environ
"""Whether the Snakefile runs this command: then lines carry a mark by which ``make book`` picks them out."""
Preset = Annotated[str, typer.Option(help=" | ".join(PRESETS))]
OnlyPreset = Annotated[str, typer.Option(help=f"only this one: {' | '.join(PRESETS)}")]
Only = Annotated[str, typer.Option(help="trainings of one module of fercore.papers")]
Runs = Annotated[Path, typer.Argument(help="executed notebooks of one preset")]


def say(text: str) -> None:
    """Print one line of progress at once."""
    print(f"· {text}" if STEP else text, flush=True)


@app.command()
def run(
    source: Annotated[Path, typer.Argument(help="a notebook under notebooks/")],
    target: Annotated[Path, typer.Argument(help="where the executed notebook goes")],
    parameter: Annotated[
        list[str], typer.Option("--parameter", "-p", help="NAME=VALUE or NAME VALUE; repeatable")
    ] = (),
    log: Annotated[Path | None, typer.Option(help="file for the log and, beside it, a notebook that failed")] = None,
) -> None:
    """Execute one notebook; its parameters are checked before anything runs."""
    from fercore.book.execute import parse_parameters, run_notebook

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # tidy up when the graph stops us
    pairs = [tuple(text.partition("=")[::2]) for text in parameter]
    run_notebook(source, target, parse_parameters(source, pairs), log=log, say=say)


@data_app.command("list")
def data_list() -> None:
    """Every data set: its name, what it is, whether it is at hand here."""
    from fercore.data import catalogue

    for name, entry in catalogue.DATASETS.items():
        here = "rendered here" if not entry.real else "at hand" if catalogue.at_hand(name) else "not at hand"
        say(f"{name:<12} {here:<14} {entry.title}")


@data_app.command("prepare")
def data_prepare(
    name: Annotated[str, typer.Argument(help="a name from: fercore data list")],
    preset: Preset = "smoke",
    rule: Annotated[str | None, typer.Option(help="label rule of FERPlus: majority | plurality")] = None,
    labels: Annotated[str | None, typer.Option(help="label file of FERPlus: label.csv | fer2013new.csv")] = None,
    change: Annotated[list[str], typer.Option("--set", help="FIELD=VALUE of a twin or a real set; repeatable")] = (),
    stamp: Annotated[Path | None, typer.Option(help="file to write name, folder and hash to")] = None,
) -> None:
    """Render or read a data set into the prepared form; nothing is done when it is there."""
    from fercore.data import catalogue

    options = {key: value for key, value in {"rule": rule, "labels": labels}.items() if value is not None}
    if options and name != "ferplus":
        raise ParameterError(f"--{next(iter(options))} is for ferplus, not for {name}.")
    options |= dict(_field(text) for text in change)
    start = time.monotonic()
    data = catalogue.prepare(name, preset, whole=False, changes=options)
    say(f"{data.card['title']}: {len(data)} images in {data.path} ({time.monotonic() - start:.0f} s)")
    for note in data.card["notes"]:
        say(f"  note: {note}")
    if stamp is not None:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(json.dumps({"name": name, "folder": str(data.path), "hash": data.hash}) + "\n")


@data_app.command("estimate")
def data_estimate(
    name: Annotated[str, typer.Argument(help="a name from: fercore data list")],
    preset: Preset = "quick",
    landmarks: Annotated[bool, typer.Option("--landmarks", help="only the landmarks of test images")] = False,
) -> None:
    """Let pre-trained networks say how heads are turned and whose faces they are, for sets that do not know it."""
    from fercore.studies import guesses

    if landmarks:
        return say(f"landmarks of the test images: {guesses.estimate_landmarks(name, preset)}")
    named, told = guesses.estimate(name, preset)
    for what, value in {**told["quality"], **{f"turned: {key}": auc for key, auc in told["turned"].items()}}.items():
        say(f"{what:<30} {value:8.3f}")
    say(f"measured on {told['on']}, whose truth is known; train with: --set estimates={named}")


@data_app.command("check")
def data_check(path: Annotated[Path, typer.Argument(help="a prepared folder, or a data set on disk")]) -> None:
    """Counts by class, pose and split against the published ones; every problem named."""
    from fercore.data.check import check

    report = check(path)
    say(report.what)
    for title, table in report.tables.items():
        say(f"\n{title}\n{table.to_string()}")
    say(f"\n{len(report.problems)} remarks" if report.problems else "\nno problem found")
    for problem in report.problems:
        say(f"- {problem}")


@blind_app.command("make")
def blind_make(
    folder: Annotated[Path, typer.Argument(help="new folder for the page, the sheets and the key")],
    dataset: Annotated[str, typer.Option(help="a twin, or a real set that is at hand")] = "kdef-twin",
    number: Annotated[int, typer.Option(help="how many faces", min=1)] = 80,
    size: Annotated[int, typer.Option(help="side in pixels at which they are to be read")] = 48,
    seed: Annotated[int, typer.Option(help="other faces", min=0)] = 0,
) -> None:
    """Faces of a data set's test part, and a page that shows them one by one and takes a label for each."""
    from fercore.studies import blind

    page = blind.write(folder, blind.draw(dataset, number, size=size, seed=seed))
    say(f"{number} faces, also as numbered sheets; the key lies in {folder / 'key.csv'}\nOpen {page}")


@blind_app.command("score")
def blind_score(
    answers: Annotated[Path, typer.Argument(help="csv with the columns face, answer: the page offers it at its end")],
    key: Annotated[Path, typer.Argument(help="key.csv of the same folder")],
) -> None:
    """How often the answers name the label, with a 95 % interval, and what was taken for what."""
    from fercore.studies import blind

    found = blind.score(answers, key)
    say(found.confusion.to_string())
    say(f"agreement {100 * found.share:.1f} % [{100 * found.low:.1f}, {100 * found.high:.1f}]")


@app.command()
def train(
    paper: Annotated[str, typer.Argument(help=f"what to train: {', '.join(papers.names())}")],
    preset: Preset = "smoke",
    dataset: Annotated[str, typer.Option(help="a name from: fercore data list; default: the paper's usual twin")] = "",
    seed: Annotated[int, typer.Option(help="seed of everything random")] = 0,
    records: Annotated[Path | None, typer.Option(help="folder for the record; default _runs/records")] = None,
    change: Annotated[list[str], typer.Option("--set", help="FIELD=VALUE of the recipe; repeatable")] = (),
) -> None:
    """Train, test once, write a record; prints the record's path last. An interrupted run goes on."""
    from fercore import intervals
    from fercore.training import experiments

    fields = dict(_field(text) for text in change) | ({"dataset": dataset} if dataset else {})
    recipe = papers.module(paper).recipe(preset, seed=seed, **fields)
    say(f"{paper}: {recipe.method} on {recipe.dataset}, preset {preset}, seed {seed}")
    record = experiments.run(recipe, records)
    for name, numbers in record.metrics.items():
        for metric in numbers:
            if metric.endswith("accuracy") and metric != "balanced_accuracy":
                found = intervals.estimate([record], metric, name)
                value, low, high = (100 * end for end in found.interval)
                say(f"{name:<14} {metric:<13} {value:6.2f} %  [{low:.2f}, {high:.2f}]  over {found.over}")
    say(str(record.folder))


@app.command()
def predict(
    paths: Annotated[list[str], typer.Argument(help="pictures, videos, folders; a number is a camera")],
    model: Annotated[Path | None, typer.Option(help="a record with weights; default: largest, real, newest")] = None,
    table: Annotated[Path, typer.Option(help="csv to write, one row per face and frame")] = Path("predictions.csv"),
    overlay: Annotated[Path | None, typer.Option(help="folder for pictures with squares and answers")] = None,
    attention: Annotated[bool, typer.Option(help="lay the map of what the network attends to over the faces")] = False,
    yunet: Annotated[Path | None, typer.Option(help="model file of OpenCV's YuNet; default: its cascades")] = None,
    aligned: Annotated[bool, typer.Option(help="turn faces upright by the five points that YuNet gives")] = False,
    whole: Annotated[bool, typer.Option(help="each picture is a face already: search nothing")] = False,
    every: Annotated[int, typer.Option(help="of videos every so many-th frame")] = 1,
) -> None:
    """Expressions in your own pictures: who is found, the probability of each class, pose where it is known."""
    from fercore import predict as own

    if attention and overlay is None:
        raise ParameterError("--attention is drawn over the faces.", do="name a folder for the pictures by --overlay")
    folder = model or own.newest()
    predictor = own.Predictor(folder, yunet=yunet, aligned=aligned, whole=whole, maps=attention)
    say(f"Model {folder}\n  {predictor.trained_on}")
    counts: Counter[str] = Counter()
    for frame, found in own.write(predictor, own.frames(paths, every), table, overlay):
        unread = frame.image is None
        counts.update(frames=1, faces=len(found), unread=int(unread), empty=int(not found and not unread))
        if frame.number % 100 == 0:
            answers = ", ".join(f"{seen.expression} {100 * seen.probabilities.max():.0f} %" for seen in found)
            where = frame.source + (f", frame {frame.number}" if frame.number else "")
            say(f"{where}: {answers or frame.problem or 'no face found'}")
    told = "{faces} faces in {frames} frames; {empty} without a face, {unread} unreadable"
    say(told.format_map(counts) + f"\nTable: {table}" + (f"\nPictures: {overlay}" if overlay else ""))
    if counts["unread"]:
        raise typer.Exit(1)


def _field(text: str) -> tuple[str, Any]:
    """``FIELD=VALUE`` of ``--set``; a value that is no YAML stays text, and the recipe says what it should be."""
    name, equals, value = text.partition("=")
    if name in ("preset", "dataset", "seed"):
        raise ParameterError(f"--set {text}: {name} has an option of its own.", do=f"write --{name} {value}")
    if name == "paper":
        raise ParameterError(f"--set {text}: the paper is named first.", do=f"write fercore train {value} ...")
    return name, value_of(value) if equals else None


@records_app.command("prove")
def records_prove(
    names: Annotated[list[str], typer.Argument(help="committed records; default: every stale one")] = (),
    since: Annotated[str, typer.Option(help="a commit with the code that made them; default: the one they name")] = "",
) -> None:
    """Show by shortened runs that edited training code still does the same, so that the records stay current."""
    from fercore import records
    from fercore.ledger import unchanged

    there, wrong = {record.name: record for record in records.find()}, False
    if strange := [name for name in names if name not in there]:
        raise ParameterError(unknown("committed record", strange[0], there))
    asked = names or [name for name, one in there.items() if records.is_stale(one.group, one.code)]
    for proof in unchanged.prove([there[name] for name in asked], since):
        said = "the same to the last bit"
        if proof.holds:
            unchanged.keep(proof)
        else:
            wrong, said = True, f"NOT proven to be the same ({', '.join(proof.differences[:5])})"
        say(f"{proof.group}  {said}" + "  (its best epoch was the last)" * proof.best_is_last)
    if wrong:
        raise typer.Exit(1)


@records_app.command("list")
def records_list(root: Annotated[Path | None, typer.Argument(help="default: the committed ones")] = None) -> None:
    """Every record in a folder, one line each; one made with other code or another twin than those here is stale."""
    from fercore import records
    from fercore.ledger.found import stale

    if root and not root.is_dir():
        raise FercoreError(f"There is no folder {root}.", do="name one of records, or none for the committed ones")
    if not (found := records.find(root)):
        raise FercoreError(f"No record lies in {root}.", do="name the folder that holds the folders of records")
    for record in found:
        mark, changed = "stale  " if stale(record) else "", record.group.partition(" --set ")[2]
        numbers = f"{100 * record.metrics['test']['accuracy']:.2f} %  {record.seconds / 60:.1f} min"
        say(f"{record.name}  {numbers}  {mark}{changed.replace('--set ', '')}".rstrip())


@records_app.command("show")
def records_show(folder: Annotated[Path, typer.Argument(help="folder of one record")]) -> None:
    """One record as text: recipe, data, code, metrics, machine."""
    from fercore import records

    say(records.dump(records.read(folder)))


@records_app.command("diff")
def records_diff(
    first: Annotated[Path, typer.Argument(help="folder of one record")],
    second: Annotated[Path, typer.Argument(help="folder of another")],
) -> None:
    """Every field in which two records differ, and whether their results are equal to the last bit."""
    from fercore import records
    from fercore.ledger.compare import differences, is_result

    found = differences(records.read(first), records.read(second))
    for name, ours, theirs in found:
        say(f"{name}: {ours!r} | {theirs!r}")
    equal = not any(is_result(name) for name, _, _ in found)
    say("results: equal to the last bit" if equal else "results: not equal")


@app.command()
def compare(
    out: Annotated[Path, typer.Argument(help="an executed notebook, or the folder of a record")],
    root: Annotated[Path | None, typer.Option("--reference", help="records; default: the committed ones")] = None,
) -> None:
    """Is my run right? A run beside the reference of its recipe; exit status 1 when it is not within tolerance."""
    from fercore.ledger.compare import compare as find

    found = find(out, root)
    say("\n\n".join("\n".join(comparison.lines()) for comparison in found))
    raise typer.Exit(0 if all(comparison.good for comparison in found) else 1)


@book_app.command("make")
def make_book(preset: Preset = "smoke", cores: Annotated[int, typer.Option(help="notebooks at a time")] = 2) -> None:
    """Prepare data, execute what is missing or outdated, build: what ``make book`` calls."""
    from fercore.book.site import make

    start = time.monotonic()
    index = make(preset, cores, say=say)
    say(f"The book (preset {preset}) is up to date after {time.monotonic() - start:.0f} s.\nOpen {index}")


@book_app.command("stage")
def stage_book(
    runs: Runs = Path("_runs/smoke"), target: Annotated[Path, typer.Argument(help="tree to write")] = Path("_build/src")
) -> None:
    """Lay out prose and executed notebooks; refuses what failed, is missing or outdated."""
    from fercore.book.site import stage

    stage(runs, target)
    say(f"staged {target}")


@book_app.command("build")
def build_book(
    staged: Annotated[Path, typer.Argument(help="staged tree")] = Path("_build/src"),
    target: Annotated[Path, typer.Argument(help="folder of the finished pages")] = Path("_build/html"),
) -> None:
    """Compile the staged tree with Jupyter Book, warnings as errors."""
    from fercore.book.site import build

    start = time.monotonic()
    say("compiling the book (warnings are errors)")
    index = build(staged, target)
    say(f"book compiled in {time.monotonic() - start:.0f} s -> {index}")


@book_app.command("costs")
def book_costs(runs: Runs = Path("_runs/smoke")) -> None:
    """Write what the executed notebooks took into book/records/costs.csv, which pages and `fercore plan` read."""
    from fercore.book import costs
    from fercore.book.site import notebooks

    say(costs.write(runs, notebooks()).to_string(index=False))


@app.command()
def plan(
    budget: Annotated[str, typer.Option(help="time at hand: 90s, 30m, 2h; none: no end")] = "",
    preset: OnlyPreset = "",
    only: Only = "",
) -> None:
    """What `make records` would train, with measured minutes and memory, and what notebooks take."""
    from fercore.book import costs
    from fercore.book.site import notebooks
    from fercore.studies import wanted

    seconds = costs.seconds_of(budget) if budget else float("inf")
    for line in wanted.lines(preset, only, seconds):
        say(line)
    if not only:
        say("")
        for line in costs.lines(notebooks(), preset, seconds):
            say(line)


@records_app.command("jobs")
def records_jobs(preset: OnlyPreset = "", only: Only = "") -> None:
    """The trainings behind missing and stale records as JSON, for the Snakefile."""
    from fercore import provenance
    from fercore.studies import wanted

    jobs = wanted.jobs(preset, only)
    # Named after the code, too: what was done for an older version is done again.
    names = {job.id: f"{job.id}-{provenance.code_of(job.recipe.paper)}" for job in jobs}
    found = {
        names[job.id]: {"job": job.id, "mib": job.mib, "before": [names[one] for one in job.before]} for job in jobs
    }
    print(json.dumps(found))


@records_app.command("make")
def records_make(name: Annotated[str, typer.Argument(help="a job's name, from: fercore records jobs")]) -> None:
    """Train one missing or stale record and put it among the committed ones; an interrupted training goes on."""
    from fercore.studies import wanted

    start = time.monotonic()
    record = wanted.make(name)
    say(f"{record.name}: done in {(time.monotonic() - start) / 60:.1f} min")


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
    except OSError as error:
        what = f"{error.filename or 'A file'} can't be read or written: {error.strerror or error}"
        fail(FercoreError(what, do="free some space, or check the folder's permissions, and run it again"))
    except SystemExit as end:
        if end.code == 130:  # Ctrl-C, as typer reports it
            print("Interrupted: what was finished is kept, nothing half-written is used.", file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
