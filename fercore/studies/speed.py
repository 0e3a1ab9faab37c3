"""How fast a network answers, in which form, and how near that is to the machine's own limit."""

from __future__ import annotations

import contextlib
import copy
import itertools
import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fercore.backbones.cost import cost, seconds
from fercore.errors import ParameterError
from fercore.paths import reference_records
from fercore.recipe import unknown

Form = Literal["eager", "folded", "compiled"]
Precision = Literal["fp32", "bf16"]
TYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
COLUMNS = (
    *("network", "part", "form", "precision", "batch", "milliseconds", "multiply_adds", "peak", "product"),
    *("device", "threads", "torch"),
)
"""Of a table of measurements: ``milliseconds`` an image, median; ``multiply_adds`` an image; ``peak`` of the machine
and what its matrix ``product`` comes to (:func:`limits`), 10^9 operations a second, of which a multiply-add is two."""
CUDA_GRAPHS = {"triton.cudagraphs": True}
KEPT = "speed.csv"
"""Beside the records: measurements that pages show."""
SAME = ["network", "device"]
"""What a new measurement has in common with those that it replaces."""


def folded(network: nn.Module) -> nn.Module:
    """A copy for inference whose batch norms are part of the convolutions before them.

    ``W' = W g / sqrt(v + e)``, ``b' = b_bn - m g / sqrt(v + e)``. A batch norm counts as after a convolution when it is
    declared right after it, which in every network of this package is where it is applied.
    """
    network = copy.deepcopy(network).eval()
    for parent in list(network.modules()):
        for (first, convolution), (second, norm) in itertools.pairwise(list(parent.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, first, fuse_conv_bn_eval(convolution, norm))
                setattr(parent, second, nn.Identity())
    return network


class Pointwise(nn.Module):
    """A linear layer as a 1 x 1 convolution: tokens (B, T, D) -> (B, T, D'), the same sums in another library's order.

    On a processor PyTorch has two libraries for the two, and in 32 bits that for products is half as fast as that for
    convolutions on some. Tokens lie in memory as a map (B, D, 1, T) with channels last does, so nothing is copied.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(linear.weight.detach()[..., None, None]), linear.bias

    def forward(self, tokens: Tensor) -> Tensor:
        if tokens.ndim != 3:
            return F.linear(tokens, self.weight.flatten(1), self.bias)
        return F.conv2d(tokens.transpose(1, 2)[:, :, None], self.weight, self.bias)[:, :, 0].transpose(1, 2)


def pointwise(network: nn.Module) -> nn.Module:
    """The network itself, its linear layers each a :class:`Pointwise`; layers of a kind derived from them stay."""
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear:
                setattr(parent, name, Pointwise(layer))
    return network


def ready(
    network: nn.Module, form: Form = "compiled", precision: Precision = "fp32", *, channels_last: bool = True
) -> Callable[[Tensor], Any]:
    """The network as it answers fastest, or as it is: images (B, 3, S, S) -> what it returns.

    ``folded``: batch norms folded, channels last (where the network bears that), on a processor in 32 bits linear
    layers as convolutions (:class:`Pointwise`). ``compiled``: the same through torch.compile, its weights laid out for
    the machine, which needs a C++ compiler and, at the first call with images of a new shape, a minute; on a GPU, cuDNN
    is let try its convolutions then, all layers are started as one CUDA graph, and what it returned is overwritten by
    the next call. Attention is PyTorch's fused one in all of them. ``bf16`` halves the bits of weights and images.
    """
    if form not in get_args(Form):
        raise ParameterError(unknown("form", form, get_args(Form)))
    if precision not in TYPES:
        raise ParameterError(unknown("precision", precision, TYPES))
    dtype, on_cpu = TYPES[precision], next(network.parameters()).device.type == "cpu"
    if form == "eager":
        network, layout = copy.deepcopy(network).eval().to(dtype), torch.contiguous_format
    else:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        network = folded(network)
        network = pointwise(network) if on_cpu and precision == "fp32" else network
        network = network.to(dtype, memory_format=layout)
    if form == "compiled":  # for each shape anew: weights are packed only for shapes that stand
        network = torch.compile(network, dynamic=False, options={"freezing": True} | ({} if on_cpu else CUDA_GRAPHS))

    @torch.no_grad()
    def answer(images: Tensor) -> Any:
        with _searched(form == "compiled"):
            return network(images.to(dtype, memory_format=layout))

    return answer


@contextlib.contextmanager
def _searched(search: bool) -> Iterator[None]:
    """Whether cuDNN tries its convolutions on each new shape and keeps the fastest; it is as before afterwards."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = search or before
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def product(precision: Precision = "fp32", device: str = "cpu", sizes: Sequence[int] = (512, 1024, 2048)) -> float:
    """The best product of two square matrices, in 10^9 operations a second; n^3 multiply-adds count 2 n^3."""

    def rate(n: int) -> float:
        a, b = (torch.randn(n, n, device=device, dtype=TYPES[precision]) for _ in range(2))
        return 2e-9 * n**3 / seconds(lambda: a @ b, 5, device)

    return max(map(rate, sizes))


@torch.no_grad()
def convolution(precision: Precision = "fp32", sizes: Sequence[int] = (512, 1024, 2048)) -> float:
    """The processor's best 3 x 3 convolution, n / 4 channels on 28 x 28 places, channels last; as :func:`product`."""
    form = {"dtype": TYPES[precision], "memory_format": torch.channels_last}

    def rate(n: int) -> float:
        layer = nn.Conv2d(n // 4, n // 4, 3, padding=1, bias=False).to(**form)
        maps = torch.randn(1, n // 4, 28, 28).to(**form)
        return 2e-9 * layer.weight.numel() * 28**2 / seconds(lambda: layer(maps), 5)

    return max(map(rate, sizes))


def limits(
    precision: Precision = "fp32", device: str = "cpu", sizes: Sequence[int] = (512, 1024, 2048)
) -> dict[str, float]:
    """What the machine multiplies and adds at its best, in 10^9 operations a second.

    ``product``: :func:`product`. ``peak``: the same on a GPU, whose convolutions may round to fewer bits; on a
    processor the better of that and :func:`convolution`, because PyTorch gives the two to different libraries there,
    and in 32 bits that for products is slow on some processors.
    """
    own = product(precision, device, sizes)
    return {"peak": own if device != "cpu" else max(own, convolution(precision, sizes)), "product": own}


def measure(
    networks: dict[tuple[str, str], nn.Module],
    side: int = 112,
    *,
    forms: Sequence[Form] = get_args(Form),
    precisions: Sequence[Precision] = ("fp32", "bf16"),
    batches: Sequence[int] = (1, 16, 32),
    device: str = "cpu",
    repeats: int = 7,
    peaks: Sequence[int] = (512, 1024, 2048),
    channels_last: bool = True,
) -> pd.DataFrame:
    """Time networks by (name, part) in every form, precision and batch: :data:`COLUMNS`.

    What the machine or a compiler that is missing can't do is left out, and said on the console.
    """
    where = torch.cuda.get_device_name() if device != "cpu" else processor()
    rows = []

    def timed(answer: Callable[[Tensor], Any], batch: int) -> float:
        images = torch.randn(batch, 3, side, side, device=device)
        return seconds(lambda: answer(images), repeats, device)

    for precision in precisions:
        best = limits(precision, device, peaks)
        for (name, part), network in networks.items():
            adds = cost(network, side).multiply_adds
            for form in forms:
                try:
                    answer = ready(network.to(device), form, precision, channels_last=channels_last)
                    times = {batch: timed(answer, batch) for batch in batches}
                except Exception as error:  # a compiler's and a backend's errors have no common kind
                    print(f"{name}, {part}, {form}, {precision}: not measured: {str(error).splitlines()[0][:200]}")
                    continue
                finally:
                    torch.compiler.reset()
                rows += [
                    {
                        "network": name, "part": part, "form": form, "precision": precision, "batch": batch,
                        "milliseconds": 1000 * time / batch, "multiply_adds": adds, **best, "device": where,
                        "threads": torch.get_num_threads(), "torch": torch.__version__,
                    }
                    for batch, time in times.items()
                ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, and whether it multiplies matrices of bf16; where Linux does not say, its kind."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    known = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in reversed(lines))}
    name = known.get("model name") or platform.processor() or platform.machine()
    return name + (" with AMX" if "amx_bf16" in known.get("flags", "").split() else "")


def on_gpu(table: pd.DataFrame) -> pd.Series:
    """Of each row whether it was measured on a GPU, by the device's name: NVIDIA's, or AMD's."""
    return table["device"].str.contains("NVIDIA|Radeon|Instinct")


def share_of_peak(table: pd.DataFrame) -> pd.Series:
    """Of each row the share of the machine's peak that its multiply-adds come to."""
    return 2e-9 * table["multiply_adds"] / (table["milliseconds"] / 1000) / table["peak"]


def kept(*networks: str, root: Path | None = None) -> pd.DataFrame:
    """The measurements beside the records, of these networks."""
    table = pd.read_csv((root or reference_records()) / KEPT)
    return table[table["network"].isin(networks)].reset_index(drop=True)


def keep(table: pd.DataFrame, root: Path | None = None) -> Path:
    """Put measurements beside the records in place of those of the same networks and device; written aside first."""
    path = (root or reference_records()) / KEPT
    if path.exists():
        old = pd.read_csv(path)
        again = pd.MultiIndex.from_frame(old[SAME]).isin(pd.MultiIndex.from_frame(table[SAME]))
        table = pd.concat([old[~again], table])
    aside = path.with_suffix(".partial")
    table.to_csv(aside, index=False, float_format="%.5g", lineterminator="\n")
    aside.replace(path)
    return path
