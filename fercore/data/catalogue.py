"""Every data set by name: what there is, making its prepared form, checking a folder."""

from __future__ import annotations

import hashlib
import multiprocessing
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from filelock import FileLock

from fercore.data import affectnet, bu3dfe, ferplus, kdef, multipie, rafdb, sfew
from fercore.data.picture_files import PictureSet
from fercore.data.prepared import Prepared, open_prepared
from fercore.errors import DataError, ParameterError
from fercore.paths import data_root, prepared_root
from fercore.recipe import check_preset, unknown


class Entry(NamedTuple):
    """One data set: what it is, whether it is real, its key (what the prepared form depends on) and how to make it."""

    title: str
    real: bool
    key: Callable[..., str]
    make: Callable[..., None]
    splits: tuple[str, ...] = ()  # that it was published with
    options: tuple[str, ...] = ()  # that a real set can be prepared with
    how_to_get: str = ""  # what to do where a real set is not at hand
    find: Callable[[Path | None], Path] | None = None  # where a real set lies below the folder of all of them


def _real(
    known: PictureSet | ModuleType, title: str, splits: tuple[str, ...], options: tuple[str, ...], how_to_get: str
) -> Entry:
    """A real set, which knows where it lies, what its prepared form depends on and how that is made."""

    def key(preset: str, **options: Any) -> str:
        return known.key(known.find_source(data_root()), **options)

    def make(target: Path, preset: str, **options: Any) -> None:
        known.prepare(target, known.find_source(data_root()), **options)

    return Entry(title, True, key, make, splits, options, how_to_get, known.find_source)


def _of_files(known: PictureSet, title: str) -> Entry:
    """A real set of files; the side of its pictures can be chosen, and what it has a choice of itself."""
    splits = tuple(split for split in known.published if split != "all")
    treated = () if known.code else ("treatment", "yunet")
    return _real(known, title, splits, ("size", *treated, *known.choices), known.how_to_get)


def _twin(name: str, title: str) -> Entry:
    def key(preset: str, **changes: Any) -> str:
        from fercore.data import twin_designs, twins

        return twins.key(twin_designs.parameters(name, preset, **changes))

    def make(target: Path, preset: str, **changes: Any) -> None:
        from fercore.data import twin_designs, twins

        twins.prepare(target, twin_designs.parameters(name, preset, **changes), preset=preset)

    return Entry(title, False, key, make)


TWINS = {
    "kdef-twin": "KDEF twin: 70 rendered people, 7 expressions, 5 pans, 2 series",
    "bu3dfe-twin": "BU-3DFE twin: 100 rendered people, 6 expressions in 4 levels, 9 pans, tilts",
    "multipie-twin": "Multi-PIE twin: 337 rendered people, 4 sessions, 13 cameras, 20 lights",
    "rafdb-twin": "RAF-DB twin: 7 expressions in the wild, rendered",
    "ferplus-twin": "FERPlus twin: 8 expressions, grey, ten simulated raters, rendered",
    "affectnet-twin": "AffectNet twin: 8 expressions, unbalanced, noisy labels, rendered",
    "sfew-twin": "SFEW twin: 7 expressions in film light, rendered",
    "identity-twin": "Identity twin: many rendered people, for pre-training",
    "landmark-twin": "Landmark twin: rendered faces in every pose with 68 points, for pre-training",
}

DATASETS: dict[str, Entry] = {
    **{name: _twin(name, title) for name, title in TWINS.items()},
    "ferplus": _real(
        ferplus,
        "FERPlus: real photographs of 48 x 48 pixels, ten raters",
        ("train", "validation", "test"),
        ("rule", "labels"),
        ferplus.HOW_TO_GET,
    ),
    **{
        known.name: _of_files(known, title)
        for known, title in (
            (rafdb.SET, "RAF-DB: real photographs from the web, seven expressions"),
            (affectnet.SET, "AffectNet: real photographs from the web, eight expressions"),
            (sfew.SET, "SFEW 2.0: real frames of films, seven expressions"),
            (kdef.SET, "KDEF: real photographs of 70 people, seven expressions, five sides"),
            (bu3dfe.SET, "BU-3DFE: real scans of 100 people, rendered from nine sides"),
            (multipie.SET, "Multi-PIE: real photographs of 337 people from thirteen sides"),
        )
    },
}


def entry(name: str) -> Entry:
    """The catalogue's entry of that name; an unknown one is an error that lists what there is."""
    if name not in DATASETS:
        raise ParameterError(unknown("data set", name, DATASETS))
    return DATASETS[name]


def at_hand(name: str) -> bool:
    """Whether the data set can be prepared here: rendered ones always, real ones where their files lie."""
    find = entry(name).find
    if find is None:
        return True
    try:
        find(data_root())
    except DataError:
        return False
    return True


def prepare(
    name: str, preset: str = "smoke", *, whole: bool = True, changes: Mapping[str, Any] | None = None, **options: Any
) -> Prepared:
    """The prepared form of a data set: opened when it is there, made when it is not.

    ``changes`` and ``options``: changed parameters of a twin (`fercore.data.twin_rows.Twin`), or a real set's own. With
    ``whole`` a split that the set was published with and that has no image is an error: nothing is trained or tested on
    a part by mistake.

    Its folder is named after everything it depends on (parameters, rendering code or source files), so a changed
    parameter never finds an old cache. Two processes that ask at once wait for each other.
    """
    check_preset(preset)
    _not_while_a_worker_starts(name)
    found, options = entry(name), {**(changes or {}), **options}
    if taken := options.keys() & {"name", "preset"}:
        raise ParameterError(f"'{min(taken)}' of {name} can't be changed.", do="name another data set or preset")
    if found.real and (strange := options.keys() - set(found.options)):
        what = unknown(f"option of {name}", min(strange), found.options)
        raise ParameterError(what, do="a twin's parameters can be changed, a real set's images can't")
    digest = hashlib.sha256(found.key(preset, **options).encode()).hexdigest()[:10]
    folder = prepared_root() / f"{name}-{'' if found.real else preset + '-'}{digest}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            for left in folder.parent.glob(f".{folder.name}.*.partial"):  # of a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            if not folder.exists():
                found.make(folder, preset, **options)
    except OSError as error:
        raise DataError(
            f"{folder.parent} can't be written: {error}", do="set FERCORE_PREPARED to your own folder"
        ) from error
    data = open_prepared(folder)
    lost = [split for split in found.splits if not (data.manifest["split"] == split).any()] if whole else []
    if lost:
        do = "add its images and prepare it again; fercore data check says what is missing"
        raise DataError(f"{data.card['title']}: the part '{lost[0]}' is empty ({folder}).", do=do)
    return data


def _not_while_a_worker_starts(name: str) -> None:
    """Refuse to work in a process that renders for another: it would wait for the one that waits for it.

    Each of them imports the script that started it, so a script whose calls stand at its top level gets here.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing itself finds out
        raise DataError(
            f"{name} is asked for while a process that renders it imports your script.",
            do='put what the script does below a line: if __name__ == "__main__":',
        )
