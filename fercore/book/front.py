"""The first page: what the book found, in three sentences and one figure, and where to go on. All from records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from fercore import figures, published
from fercore.book import costs, markdown
from fercore.book.ledger import first_gains, gain_name, title, unprinted
from fercore.heads import sheets
from fercore.intervals import points
from fercore.ledger import claims
from fercore.ledger.claims import Claim, Measured
from fercore.ledger.found import stale
from fercore.studies import reality

SEEN = {
    "reproduced": "appears here",
    "differs": "does not appear here",
    "inconclusive": "is not settled here",
}
"""What a verdict on a gain says in plain words."""
WORDS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
STALE = " (*stale*)"
"""What follows a finding whose records older code or an older twin has made; the page says below what it means."""
QUESTIONS = {
    "What does a face look like that nobody has?": "data/heads",
    "Does LAN's attention help when heads turn?": "lan/training",
    "Which part of LAN does the work?": "lan/ablations",
    "Where does PhaNet look?": "phanet/figures",
    "Does zooming into a face help?": "phanet/ablations",
    "Do DML-Net's features forget pose and person?": "dmlnet/figures",
    "Do landmarks help PCDA?": "pcda/training",
    "Is PCDA small and fast?": "pcda/efficiency",
    "Do results on rendered people transfer to photographs?": "data/reality",
    "How far do classical baselines come?": "comparison/baselines",
    "Which printed numbers contradict each other?": "comparison/audit",
    "What does a network say of my photograph?": "use/photo",
}
"""Questions of readers and the page that answers each."""


def findings(every: Sequence[Claim]) -> str:
    """Markdown: what became of the printed gains on photographs, what is found on rendered people, how far these carry:
    three sentences; :func:`gains` has the numbers."""
    lines = [_on_photographs(every), _on_people(every)]
    if found := reality.runs():
        levels = reality.levels(found, "balanced").set_index(["learnt on", "share", "without"])
        lines.append(_transfer(levels) + STALE * any(map(stale, found)))
    return markdown.bullets(lines)


def gains(every: Sequence[Claim]) -> str:
    """Markdown: what became of the gains of each paper that was run."""
    return markdown.bullets([_gain(claim, setting=not place) for place, claim in enumerate(first_gains(every))])


def _whole(every: Sequence[Claim]) -> list[Claim]:
    """Measured gains of whole methods, not of their parts."""
    return [claim for claim in every if claim.kind == "gain" and claim.headline.twin and " by " not in claim.name]


def _on_photographs(every: Sequence[Claim]) -> str:
    tested = [claim for claim in _whole(every) if claim.headline.real]
    kept = sum(claim.verdict == "reproduced" for claim in tested)
    head = f"{kept} of {len(tested)} printed gains appear" if kept else "No printed gain could be confirmed"
    who = " and ".join(dict.fromkeys(f"{published.PAPERS[claim.paper]}'s" for claim in tested))
    counts = Counter(claim.verdict for claim in tested)
    told = ", ".join(f"{WORDS[counts[verdict]]} {said}" for verdict, said in SEEN.items() if counts[verdict])
    mark = STALE * any(claim.headline.real.stale for claim in tested)
    where = f"**{head} on photographs.** {WORDS[len(tested)].capitalize()} could be tested there, {who}: {told}.{mark}"
    return where + "".join(_losses(every))


def _losses(every: Sequence[Claim]) -> Iterator[str]:
    """Sets for which papers print no gain, and on which their methods are behind, with guessed labels and one seed."""
    behind: dict[str, list[str]] = {}
    for claim in (claim for claim in first_gains(every) if not claim.headline.real):
        for name in (name for name, own in claims.unprinted(claim.paper).items() if own.high < 0 and _guessed(own)):
            behind.setdefault(title(name), []).append(published.PAPERS[claim.paper])
    for name, papers in behind.items():
        many = (
            "are behind their baselines, in one training each"
            if len(papers) > 1
            else "is behind its baseline, in one training"
        )
        yield f" On {name}, where networks guessed the poses, {' and '.join(papers)} {many}."


def _guessed(own: Measured) -> bool:
    return "estimates=" in own.command and own.seeds == 1


def _on_people(every: Sequence[Claim]) -> str:
    shown = [(claim, claim.headline.twin) for claim in _whole(every)]
    above, below = (
        [claim for claim, own in shown if test(own)] for test in (lambda m: m.low > 0, lambda m: m.high < 0)
    )
    head = (
        f"{len(above)} of {len(shown)} gains appear"
        if above
        else "No method is distinguishably better than its baseline"
    )
    names = ", ".join(f"{published.PAPERS[claim.paper]}'s {gain_name(claim)}" for claim in below)
    told = f"; {names} is a loss" if below else ""
    apart = f"The 95 % intervals of {len(shown) - len(above) - len(below)} of {len(shown)} gains include zero{told}."
    return f"**{head} on rendered people.** {apart}{STALE * any(own.stale for _, own in shown)}"


def _transfer(levels: pd.DataFrame) -> str:
    """A sentence of how far rendered people carry: balanced accuracy on photographs after either kind of training."""
    twin, real = (levels.loc[key] for key in (("twin", 0.0, ""), ("real", 1.0, "")))
    seeds = " and ".join(dict.fromkeys(f"{level.seeds:.0f}" for level in (twin, real)))
    return (
        f"**[Rendered people](/notebooks/data/reality.ipynb) are a start, not a substitute.** A small network that has "
        f"seen them alone reaches a balanced accuracy of {_share(twin)} on photographs, one that learned from "
        f"photographs {_share(real)}; means over {seeds} seeds."
    )


def _share(level: pd.Series) -> str:
    return f"{level.balanced:.1f} % [{level.low:.1f}, {level.high:.1f}]"


def _gain(claim: Claim, *, setting: bool) -> str:
    """A sentence of a gain: published, ours on photographs or else on rendered people, perhaps with which network."""
    head = claim.headline
    ours, where = (head.real, ", on photographs") if head.real else (head.twin, "")
    sign = "is undecided" if _holds(ours, 0) else "is a gain, too," if ours.low > 0 else "is a loss"
    said = SEEN[claim.verdict] if head.real else f"{sign} on rendered people"
    link = f"[{published.PAPERS[claim.paper]}](/notebooks/{claim.notebook})"
    network = ", with a small network" if ours.preset == "quick" else f", at preset {ours.preset}"
    faces = published.ABOUT[claim.paper].get("start") == "faces" and "start" not in ours.command
    network += ", not trained on faces before" * faces
    few = ", one seed" * (ours.seeds == 1)
    both = ", which includes zero and the published value" * (_holds(ours, 0) and _holds(ours, float(head.printed)))
    told = f"Published {head.printed} points; here {points(*ours[:3])}{both}{where}{few}{network * setting}."
    return f"**{link}'s {gain_name(claim)} {said}.** {told}{unprinted(claim)}{STALE * bool(ours.stale)}"


def _holds(ours: Measured, value: float) -> bool:
    return ours.low <= value <= ours.high


def pages() -> str:
    """Markdown: a question, the page that answers it, the command that executes it, the seconds that were measured."""
    seconds = costs.table().query("preset == 'smoke'").set_index("notebook")["seconds"]
    command = "`fercore run notebooks/{0}.ipynb out.ipynb`"
    rows = [
        (question, f"[{page}](/notebooks/{page}.ipynb)", command.format(page), _long(seconds[f"notebooks/{page}"]))
        for question, page in QUESTIONS.items()
        if f"notebooks/{page}" in seconds.index
    ]
    return markdown.table(("question", "page", "command (a first look, `smoke`)", "takes"), rows)


def _long(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def crowd() -> Figure:
    """The people of the first page and of the README, ``book/_static/crowd.png``."""
    return figures.image_grid(sheets.crowd(range(1, 33), 72, columns=16), cell=0.6)


def draw(target: Path, every: Sequence[Claim]) -> None:
    """Write the figure of the gains, without those of single parts of a method."""
    rows = {}
    for first in first_gains(every):
        paper = published.PAPERS[first.paper]
        own = (claim for claim in _whole(every) if claim.paper == first.paper)
        rows |= {f"{paper}: {gain_name(claim).removeprefix('gain on ')}": claim.headline for claim in own}
        for name, measured in ({} if first.headline.real else claims.unprinted(first.paper)).items():
            row = f"{paper}: {title(name)} (no baseline printed)"
            rows[row] = first.headline._replace(printed="nan", real=measured, twin=None)
    save(figures.gains(rows).figure, target)


def save(drawn: Figure, target: Path) -> None:
    """Write a figure as PNG at 120 pixels an inch, without a margin; then it is closed."""
    drawn.savefig(target, bbox_inches="tight", dpi=120, pil_kwargs={"optimize": True})
    plt.close(drawn)
