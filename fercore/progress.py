"""One progress bar for everything that takes longer than a moment: plain text, so that a notebook needs no widgets."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

Step = TypeVar("Step")


def progress(
    steps: Iterable[Step], title: str, total: int | None = None, *, unit: str = "it", wanted: bool = True
) -> Iterable[Step]:
    """``steps`` behind a bar on a terminal and in a notebook; ``FERCORE_PROGRESS=0`` or ``wanted=False`` hides it."""
    seen = sys.stderr.isatty() or "ipykernel" in sys.modules
    shown = wanted and seen and os.environ.get("FERCORE_PROGRESS", "1") != "0"
    return tqdm(steps, desc=title, total=total, unit=unit, disable=not shown, leave=False, mininterval=1.0)
