"""Weights from a file into a module, strictly: what fits is counted, and a file that does not fit is refused.

Files are safetensors, or PyTorch's with tensors alone (``weights_only``): nothing in them is executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from fercore.data.augment import MEAN, STD
from fercore.errors import FercoreError, ParameterError

NESTS = ("state_dict", "model_state_dict", "model", "net", "network", "backbone")
"""Names under which checkpoints keep their tensors beside an epoch or an optimiser."""
COUNTERS = "num_batches_tracked"
"""Batch norm's counter of batches: absent in old files, and without effect on any output."""


class WeightsError(FercoreError):
    """A file of weights is missing, broken, dangerous, or made for another network."""


class Convention(NamedTuple):
    """How pictures must look for some weights: order of the channels, and ``(value / 255 - mean) / std`` of each."""

    channels: str = "RGB"
    mean: tuple[float, float, float] = (MEAN, MEAN, MEAN)
    std: tuple[float, float, float] = (STD, STD, STD)


OURS = Convention()
"""What :func:`fercore.data.augment.normalise` gives, and so what every network of this package has learnt from."""
IMAGENET = Convention("RGB", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""What torchvision's weights and the published ResNet-18 of MS-Celeb-1M expect."""


class Report(NamedTuple):
    """What came of a file: names of the module that were ``matched``, that the file has not (``missing``) or has in
    another shape (``reshaped``), and names of the file that the module does not know (``unexpected``)."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]

    @property
    def share(self) -> float:
        """Share of the module's tensors that the file fills."""
        return len(self.matched) / max(1, len(self.matched) + len(self.missing) + len(self.reshaped))


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, taken out of what they are nested in."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise WeightsError(f"There is no file of weights {path}.", do="check the path")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path} is no safetensors file, or broken: {error}", do="get it again") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what its pickle reader and the zip give it
        raise WeightsError(
            f"{path} can't be read as tensors alone, and nothing else in it is executed: {str(error).splitlines()[0]}",
            do="convert it to safetensors where you trust it",
        ) from error
    tensors = _tensors(content)
    if not tensors:
        raise WeightsError(f"{path} holds no tensors by name.", do="name a state_dict, or a checkpoint with one")
    return tensors


def convention_of(path: Path) -> Convention:
    """How pictures must look for a file's weights: ours wrote its classes into the header, all others are taken for
    :data:`IMAGENET`'s. A file that can't be read is an error."""
    if Path(path).suffix != ".safetensors":
        return IMAGENET
    try:
        with safe_open(path, framework="pt") as file:
            return OURS if "classes" in (file.metadata() or {}) else IMAGENET
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no safetensors file, or broken: {error}", do="get it again") from error


def _tensors(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    for name in NESTS:
        if isinstance(content.get(name), Mapping) and (found := _tensors(content[name])):
            return found
    return {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}


def fit(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Report]:
    """The tensors of ``found`` under the names of ``wanted``, and the report.

    A common prefix (``module.``, ``backbone.``) of the file's names is taken off: the one after which most names and
    shapes fit.
    """

    def under(prefix: str) -> dict[str, Tensor]:
        return {name[len(prefix) :]: value for name, value in found.items() if name.startswith(prefix)}

    def fitting(tensors: Mapping[str, Tensor]) -> list[str]:
        return [name for name, value in wanted.items() if name in tensors and tensors[name].shape == value.shape]

    parts = [name.split(".") for name in found]
    prefixes = {"".join(f"{part}." for part in name[:k]) for name in parts for k in range(min(len(name), 4))}
    best = max(sorted(prefixes | {""}), key=lambda prefix: (len(fitting(under(prefix))), -len(prefix)))
    own = under(best)
    counted = [name for name in wanted if not name.endswith(COUNTERS)]
    matched = [name for name in fitting(own) if name in counted]
    report = Report(
        tuple(matched),
        tuple(name for name in counted if name not in own),
        tuple(name for name in found if name.removeprefix(best) not in wanted or not name.startswith(best)),
        tuple(
            f"{name}: {tuple(own[name].shape)} in the file, {tuple(wanted[name].shape)} here"
            for name in counted
            if name in own and own[name].shape != wanted[name].shape
        ),
    )
    return {name: own[name] for name in fitting(own)}, report


def load(module: nn.Module, path: Path, *, share: float = 1.0) -> Report:
    """Fill ``module`` from a file; at least this ``share`` of its tensors must fit, or nothing is changed.

    Names beside the module's, such as another classifier, do not matter; a module that knows other names for its parts
    has a method ``renamed``. The error names the first that did not fit.
    """
    found = read(path)
    found = module.renamed(found) if hasattr(module, "renamed") else found
    tensors, report = fit(module.state_dict(), found)
    if report.share < share or not report.matched:
        wrong = [*report.reshaped, *(f"{name}: not in the file" for name in report.missing)]
        raise WeightsError(
            f"{path} fills {len(report.matched)} of the {len(report.matched) + len(wrong)} tensors of "
            f"{type(module).__name__}; what does not fit begins with {'; '.join(wrong[:3])}.",
            do="name a file of this network, with the same width and stem (preset paper has the published ones)",
        )
    module.load_state_dict(module.state_dict() | tensors)
    return report


def convert(images: Tensor, source: Convention, target: Convention) -> Tensor:
    """Images (B, 3, S, S) that look as ``source`` says, made to look as ``target`` says; the same shape."""
    mean, std = (images.new_tensor(values)[:, None, None] for values in (source.mean, source.std))
    plain = images * std + mean
    if source.channels != target.channels:
        plain = plain.flip(-3)
    mean, std = (plain.new_tensor(values)[:, None, None] for values in (target.mean, target.std))
    return (plain - mean) / std


@torch.no_grad()
def adapt_input(convolution: nn.Conv2d, norm: nn.BatchNorm2d, theirs: Convention, ours: Convention = OURS) -> None:
    """Change a first convolution and its batch norm so that pictures in ``ours`` give what they gave in ``theirs``.

    Channel by channel, ``W' = W s_ours / s_theirs`` and, over what a kernel sees, ``mean' = mean - sum(W (m_ours -
    m_theirs) / s_theirs)``. Exact but for the border, where both pad with zeros that mean another grey.
    """
    if convolution.bias is not None:
        raise ParameterError("adapt_input: the convolution has a bias of its own, which its norm takes away again.")
    kernel = convolution.weight if theirs.channels == ours.channels else convolution.weight.flip(1)
    our_mean, our_std, their_mean, their_std = (
        kernel.new_tensor(values) for values in (ours.mean, ours.std, theirs.mean, theirs.std)
    )
    if theirs.channels != ours.channels:
        their_mean, their_std = their_mean.flip(0), their_std.flip(0)
    shift = (kernel * ((our_mean - their_mean) / their_std)[None, :, None, None]).sum((1, 2, 3))
    norm.running_mean -= shift
    convolution.weight.copy_(kernel * (our_std / their_std)[None, :, None, None])
