"""Parameters of a notebook: what its parameters cell declares, and whether given values fit.

Papermill only logs a parameter that a notebook does not have, and goes on with the defaults. So the same check is made
before a notebook is executed (:mod:`fercore.book.execute`) and, for those who call papermill, within it.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping
from typing import Any, ForwardRef, NamedTuple

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from fercore.errors import ParameterError
from fercore.recipe import check_preset


class Parameter(NamedTuple):
    """Type and default of a parameter, as they are written."""

    type: str
    default: str


def declared(source: str) -> dict[str, Parameter]:
    """The names that a cell of ``name: type = value`` or ``name = value`` assigns."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign):
            found[ast.unparse(node.target)] = Parameter(ast.unparse(node.annotation), ast.unparse(node.value))
        elif isinstance(node, ast.Assign):
            own = Parameter(_type_of(node.value), ast.unparse(node.value))
            found |= {ast.unparse(target): own for target in node.targets}
    return found


def _type_of(value: ast.expr) -> str:
    try:
        return type(ast.literal_eval(value)).__name__
    except ValueError:
        return "Any"


def check(notebook: str, values: Mapping[str, Any], known: Mapping[str, Parameter]) -> None:
    """Raise a :class:`ParameterError` for a name that the notebook does not declare, a value of another type, or a
    preset that there is not."""
    for name, value in values.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            listing = ", ".join(f"{key}: {parameter.type}" for key, parameter in known.items()) or "none"
            raise ParameterError(f"{notebook} has no parameter '{name}'.{hint}", do=f"take one of: {listing}")
        if not fits(value, known[name].type):
            what = f"parameter '{name}' must be {known[name].type}, but {value!r} is {type(value).__name__}."
            raise ParameterError(f"{notebook}: {what}", do=f"give a value such as {known[name].default}")
        if name == "preset":
            check_preset(value)


def fits(value: Any, annotation: str) -> bool:
    """Whether a value has a type such as ``int``, ``list[int]`` or ``str | None``; a type unknown here takes any."""
    try:
        TypeAdapter(ForwardRef(annotation)).validate_python(value, strict=True)
    except ValidationError:
        return False
    except PydanticUserError:
        return True
    return True
