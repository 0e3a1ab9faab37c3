"""Peak memory and seconds of clustering LAN's guidance map: `python tests/bench/bench_guidance.py`.

Streams as long as FERPlus's training part (25,045 feature maps of 7 x 7 x 512, 2.3 GiB), a quarter of it, and as
AffectNet's (280,000, 26 GiB), random, made batch by batch, each in a process of its own. The peak is that of the
resident memory during the fit; what the imports left behind is given beside it. Making the random features takes part
of the seconds. For comparison: the seconds in which ResNet-18 at 224 pixels gives as many feature maps.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

COUNTS, BATCH = (25_045 // 4, 25_045, 280_000), 64


def memory(field: str) -> float:
    """MiB of ``VmRSS`` (now) or ``VmHWM`` (peak), as Linux counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def measure(count: int) -> None:
    """Fit on ``count`` maps and print memory before, peak and seconds."""
    import torch

    from fercore.papers.lan import GuidanceMap, LANRecipe

    fields = LANRecipe.model_fields

    def stream() -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        for start in range(0, count, BATCH):
            yield torch.randn(min(BATCH, count - start), 512, 7, 7, generator=generator)

    guidance = GuidanceMap(49, 512)
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
    started = time.perf_counter()
    guidance.fit(stream, sample=fields["cluster_sample"].default, passes=fields["cluster_passes"].default)
    assert guidance.counts.sum(1).eq(count).all()
    print(before, memory("VmHWM"), time.perf_counter() - started)


def extraction(images: int = 256) -> float:
    """Seconds an image of the published trunk, no gradient, on every core."""
    import torch

    from fercore.backbones.resnet import ResNet18

    trunk, batch = ResNet18().eval(), torch.randn(BATCH, 3, 224, 224).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        trunk(batch)
        started = time.perf_counter()
        for _ in range(images // BATCH):
            trunk(batch)
    return (time.perf_counter() - started) / images


def main(counts: Sequence[int] = COUNTS, extracted: int = 256) -> None:
    one = extraction(extracted)
    print("feature maps  all of them, MiB  before, MiB  peak, MiB  seconds  extracting them, s")
    for count in counts:
        done = subprocess.run([sys.executable, __file__, str(count)], capture_output=True, text=True, check=True)
        before, peak, seconds = map(float, done.stdout.split())
        held = count * 512 * 49 * 4 / 2**20
        print(f"{count:12,d} {held:17.0f} {before:12.0f} {peak:10.0f} {seconds:8.0f} {count * one:19.0f}", flush=True)


if __name__ == "__main__":
    measure(int(sys.argv[1])) if len(sys.argv) > 1 else main()
