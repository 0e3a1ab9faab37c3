"""The list of equations: each with the object that implements it and the tests that say they are about it.

An object's docstring begins with the equation's name and its formula, ``LAN Eq. (3): ``mu = ...`` ``; a test is marked
``@pytest.mark.equation("LAN Eq. (3)")``. Nothing is guessed from names.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from fercore import published
from fercore.book import made, markdown
from fercore.paths import ROOT, relative

FORM = re.compile(r"([\w-]+ (?:Eq\. \(\d+\)|Algorithm \d))[^`]*``([^`]+)``")


class Place(NamedTuple):
    """Where an equation lives: its formula, the object, its file and line."""

    formula: str
    object: str
    file: str
    line: int


def implementations() -> dict[str, list[Place]]:
    """``LAN Eq. (3)`` -> objects whose docstring begins with it, from the sources of the package."""
    found = defaultdict(list)
    for path, name, node in _objects("fercore", "*.py"):
        if match := FORM.match(ast.get_docstring(node) or ""):
            found[match[1]].append(Place(" ".join(match[2].split()), name, relative(path), node.lineno))
    return found


def tests() -> dict[str, list[str]]:
    """``LAN Eq. (3)`` -> tests that are marked with it; none where the tests are not there."""
    found = defaultdict(list)
    for path, name, node in _objects("tests", "test_*.py"):
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.equation":
                for word in mark.args:
                    found[ast.literal_eval(word)].append(f"{path.name}::{name}")
    return found


def _objects(folder: str, files: str) -> Iterator[tuple[Path, str, Any]]:
    """Functions, classes and methods below a folder: file, name and node."""
    for path in sorted((ROOT / folder).rglob(files)):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield path, node.name, node
            if isinstance(node, ast.ClassDef):
                methods = (own for own in node.body if isinstance(own, ast.FunctionDef))
                yield from ((path, f"{node.name}.{own.name}", own) for own in methods)


def page() -> str:
    """Markdown of the list, paper by paper."""
    found, declared = implementations(), tests()
    papers, numbers, every = [], [], []
    for paper, shown in published.PAPERS.items():
        rows = []
        for equation in published.ABOUT[paper]["equations"]:
            places, marked = found[f"{shown} {equation}"], declared[f"{shown} {equation}"]
            every.append(bool(places))
            about = {"paper": shown, "equation": equation, "tests": ", ".join(marked)}
            numbers += [about | place._asdict() for place in places]
            tested = "<br>".join(f"`{test}`" for test in marked)
            rows += [
                (equation, f"`{place.formula}`", f"`{place.object}`<br>{place.file}, line {place.line}", tested)
                for place in places
            ]
        listed = markdown.table(("", "formula", "object, file and line", "tests"), rows)
        papers.append(f"## {shown}\n\n{listed if rows else 'Not implemented yet.'}")
    return markdown.page(
        "# Equations, code and tests",
        "Every numbered equation and algorithm of the five papers. The displays of PATA are lost in the text that we "
        f"have, so its numbers are this book's. {sum(every)} of {len(every)} are implemented. The formula is written "
        "as in the code's own documentation; a test is listed where it declares the equation itself.",
        *papers,
        made.of_page("docstrings and tests", pd.DataFrame(numbers)),
    )
