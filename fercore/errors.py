"""The one error a reader of the book should ever see."""

from __future__ import annotations


class FercoreError(Exception):
    """Something a user can mend: says what is wrong, where, and what to do.

    In a notebook it shows as that sentence alone; in the command line it is
    printed without a traceback and the exit status is 2.
    """

    def __init__(self, what: str, *, do: str | None = None) -> None:
        super().__init__(what if do is None else f"{what}\n  What to do: {do}")

    def _render_traceback_(self) -> list[str]:  # IPython asks for this name
        return [f"{type(self).__name__}: {self}"]


class DataError(FercoreError):
    """A data set, an image or a label file is missing, misnamed or broken."""


class ParameterError(FercoreError):
    """A parameter is misspelt, has the wrong type or an impossible value."""


class RecordError(FercoreError):
    """A record is missing, broken, or does not match what was asked for."""
