"""DenseNet, at the published sizes and reduced for small images.

Source: Huang et al., "Densely Connected Convolutional Networks", CVPR 2017.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from fercore.errors import ParameterError

BLOCKS = 3


class DenseLayer(nn.Sequential):
    """One layer: ``m^l = [m^0, ..., m^(l-1), H(m^0, ..., m^(l-1))]``, H batch norm, ReLU and a 3x3 convolution.

    (B, inside, H, W) -> (B, inside + growth, H, W). With ``bottleneck`` batch norm, ReLU and a 1x1 convolution to
    4 ``growth`` channels come before.
    """

    def __init__(self, inside: int, growth: int, bottleneck: bool) -> None:
        super().__init__()
        if bottleneck:
            self.add_module("squeeze", _convolution(inside, 4 * growth, 1))
            inside = 4 * growth
        self.add_module("grow", _convolution(inside, growth, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, super().forward(x)], 1)


class DenseNet(nn.Sequential):
    """PhaNet Eq. (1): ``M_s = H([m_s^0, ..., m_s^l])``, the trunk without pooling and classifier; He's start.

    images (B, 3, S, S) -> M_s (B, channels, H, W). A convolution of ``stem`` pixels, three dense blocks, between them a
    1x1 convolution and the mean of 2 x 2. ``depth`` counts convolutions and the classifier, so depth - 4 is a multiple
    of 3 (of 6 with ``bottleneck``). ``entry`` is how many times the stem makes the image smaller: 1, 2 by a stride, 4
    by a stride and a pooling.
    """

    def __init__(
        self, growth: int = 12, depth: int = 40, *, bottleneck: bool = False, stem: int = 7, entry: int = 4
    ) -> None:
        layers, rest = divmod(depth - 4, BLOCKS * (2 if bottleneck else 1))
        if rest or layers < 1:
            step = BLOCKS * (2 if bottleneck else 1)
            raise ParameterError(f"depth = {depth} of a DenseNet", do=f"take 4 and a multiple of {step}")
        if growth < 1 or stem % 2 == 0 or entry not in (1, 2, 4):
            what = f"growth = {growth}, stem = {stem}, entry = {entry} of a DenseNet"
            raise ParameterError(what, do="take a growth of 1 or more, an odd stem, and entry 1, 2 or 4")
        channels = 2 * growth if bottleneck else 16
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            stem=nn.Conv2d(3, channels, stem, stride=min(entry, 2), padding=stem // 2, bias=False)
        )
        if entry == 4:
            parts["pool"] = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        for block in range(BLOCKS):
            for layer in range(layers):
                parts[f"dense{block + 1}_{layer + 1}"] = DenseLayer(channels, growth, bottleneck)
                channels += growth
            if block < BLOCKS - 1:
                parts[f"transition{block + 1}"] = nn.Sequential(_convolution(channels, channels, 1), nn.AvgPool2d(2))
        parts["norm"] = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        super().__init__(parts)
        self.channels = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    @property
    def entry(self) -> tuple[nn.Conv2d, None]:
        """The convolution that sees the images; no batch norm follows it at once."""
        return self.stem, None


class DenseNetClassifier(nn.Module):
    """A DenseNet with its classifier: images (B, 3, S, S) -> logits (B, classes)."""

    def __init__(self, trunk: DenseNet, classes: int) -> None:
        super().__init__()
        self.backbone, self.classifier = trunk, nn.Linear(trunk.channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.backbone(images).mean((2, 3)))


def densenet(
    growth: int = 12, depth: int = 40, bottleneck: bool = False, classes: int = 10, stem: int = 3
) -> DenseNetClassifier:
    """DenseNet with its classifier; images (B, 3, S, S) -> logits (B, classes).

    The defaults are the DenseNet paper's for 32 x 32 images, 1.0 million parameters (its Table 2). A stem of 7 has
    stride 2 and a pooling behind it, as for 224 x 224; PhaNet's own, whose depth 40 and growth 12 are these.

    >>> sum(weight.numel() for weight in densenet().parameters())
    1019722
    """
    return DenseNetClassifier(
        DenseNet(growth, depth, bottleneck=bottleneck, stem=stem, entry=1 if stem < 7 else 4), classes
    )


def _convolution(inside: int, outside: int, size: int) -> nn.Sequential:
    """Batch norm, ReLU, then a convolution without bias."""
    return nn.Sequential(
        nn.BatchNorm2d(inside),
        nn.ReLU(inplace=True),
        nn.Conv2d(inside, outside, size, padding=size // 2, bias=False),
    )
