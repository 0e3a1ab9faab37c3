"""Milliseconds an image of PCDA at its published size: `python tests/bench/bench_pcda.py [--keep] [--poster FOLDER]`.

Each form (as it is; folded, channels last; compiled), precision and batch, the whole and, in 32 bits, its parts, beside
the machine's peak. With ``--keep`` the table takes its place beside the records, where the book shows it.
``--poster`` names a checkout of POSTER's published code (needs einops and timm), which is then timed in the same run,
with weights at random: its files of weights are not needed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args
from unittest import mock

import pandas as pd
import torch
from torch import nn

from fercore.backbones.cost import cost
from fercore.papers.pcda import PCDA, Part
from fercore.studies import speed


@contextlib.contextmanager
def _without_weights(folder: Path) -> Iterator[None]:
    """Let the published code be imported and built where its files of weights are not."""
    sys.path.insert(0, str(folder))
    nothing = mock.patch.object(nn.Module, "load_state_dict", lambda *_, **__: None)
    with mock.patch.object(torch, "load", lambda *_, **__: {"state_dict": {}}), nothing:
        yield
    sys.path.remove(str(folder))


def poster(folder: Path) -> nn.Module:
    """POSTER as its authors publish it, large, seven classes."""
    with _without_weights(folder):
        from models.emotion_hyp import pyramid_trans_expr

        return pyramid_trans_expr(224, 7).eval()


def main(
    sizes: dict[str, Any] | None = None,
    side: int = 112,
    batches: Sequence[int] = (1, 16, 32),
    repeats: int = 9,
    forms: Sequence[speed.Form] = get_args(speed.Form),
    precisions: Sequence[speed.Precision] = ("fp32", "bf16"),
    peaks: Sequence[int] = (512, 1024, 2048),
    *,
    keep: bool = False,
    published: Path | None = None,
) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":  # small products do not fill it
        peaks = (4096, 8192)
    network = PCDA(classes=8, **(sizes or {})).eval()
    whole: dict[tuple[str, str], tuple[nn.Module, int]] = {("PCDA", "whole"): (network, side)}
    parts = {
        ("PCDA", "image backbone"): (network.backbone, side),
        ("PCDA", "landmark backbone"): (Part(network.landmark, "features"), side),
    }
    if published:
        whole["POSTER", "whole"] = (poster(published), 224)
        print(f"POSTER: {cost(*whole['POSTER', 'whole'])}")
    common = {"forms": forms, "batches": batches, "device": device, "repeats": repeats, "peaks": peaks}
    tables = [
        speed.measure(
            {name: module},
            pixels,
            precisions=precisions if name in whole else ("fp32",),
            channels_last=name[0] == "PCDA",
            **common,
        )  # POSTER's code needs its tensors contiguous
        for name, (module, pixels) in (whole | parts).items()
    ]
    table = pd.concat(tables, ignore_index=True)
    for limit in ("peak", "product"):  # the machine's, not that of a busy moment
        table[limit] = table.groupby("precision")[limit].transform("max")
    table["share"] = speed.share_of_peak(table)
    columns = ["network", "part", "form", "precision", "batch", "milliseconds", "share"]
    print(table[columns].to_string(index=False, float_format="{:.2f}".format))
    for limit in ("peak", "product"):
        print(f"{limit}: {table.groupby('precision')[limit].max().round(0).to_dict()} x 10^9 operations a second")
    if keep:
        print(f"kept in {speed.keep(table.drop(columns='share'))}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="put the table beside the records")
    parser.add_argument("--poster", type=Path, help="a checkout of POSTER's published code")
    given = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    main(keep=given.keep, published=given.poster)
