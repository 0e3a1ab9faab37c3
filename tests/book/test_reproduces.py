"""The three lines at the head of a paper's page: gains, accuracy, what differs, as the ledger has them."""

from __future__ import annotations

import re

import pytest

from fercore.book.ledger import reproduces
from fercore.intervals import points
from fercore.ledger import claims


@pytest.fixture(scope="module")
def every() -> list[claims.Claim]:
    return claims.load()


def test_what_was_measured_on_photographs_is_shown(every: list[claims.Claim]) -> None:
    *gains, accuracy, differs = reproduces("lan", "the start.").data.split("\n- ")
    judged = [claim for claim in every if claim.paper == "lan" and claim.kind == "gain" and claim.headline.real]
    assert len(gains) == len(judged) == 2
    for line, claim in zip(gains, judged, strict=True):
        assert line.removeprefix("- ").startswith(f"**LAN's {claim.name.replace(' degrees', '°')}**: ")
        assert f"published **{claim.headline.printed}** points" in line and f"Verdict: *{claim.verdict}*." in line
        real, twin = re.findall(r"([+−][\d.]+) points \[", line)
        assert float(real.replace("−", "-")) == round(claim.headline.real.value + 0.0, 2)
        assert float(twin.replace("−", "-")) == round(claim.headline.twin.value, 2)
    assert "LAN on FERPlus: published **88.45 %**; here 85.4 % [84.1, 86.5] on photographs" in accuracy
    assert differs.startswith("**What differs**: the start. Measured at preset `quick`, up to 3 seeds.")


def test_without_photographs_the_twin_answers(every: list[claims.Claim]) -> None:
    gain, accuracy, differs = reproduces("pcda", "the start.").data.split("\n- ")
    (claim,) = [claim for claim in every if claim.paper == "pcda" and claim.kind == "gain"]
    ours, beside = gain.split(" On photographs of FERPlus, for which the paper prints no gain, it is ")
    assert claim.headline.real is None and "on photographs" not in ours and "on the rendered twin" in ours
    (measured,) = claims.unprinted("pcda").values()
    assert beside == f"{points(*measured[:3])}." and len(measured.records) == 6
    assert claim.headline.printed in gain and "No verdict: rendered people alone." in gain
    assert "PCDA on FERPlus: published **92.97 %**" in accuracy and "Measured at preset" in differs
