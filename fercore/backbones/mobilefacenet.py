"""MobileFaceNet with 68 landmarks: the landmark backbone of PCDA, in the form in which it is published.

Source: Chen et al., "MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification on Mobile Devices" (2018);
the head for landmarks is that of a published detector, whose names of modules are kept, so that its checkpoint loads.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from fercore.errors import ParameterError

LANDMARKS = 68


class _Linear(nn.Module):
    """Convolution and batch norm, no activation."""

    def __init__(
        self, inside: int, outside: int, kernel: int = 1, stride: int = 1, groups: int = 1, *, whole: bool = False
    ) -> None:
        super().__init__()
        padding = 0 if whole else kernel // 2  # one that sees the whole map gives one place
        self.conv = nn.Conv2d(inside, outside, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outside)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class _Block(_Linear):
    """Convolution, batch norm, PReLU."""

    def __init__(self, inside: int, outside: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inside, outside, kernel, stride, groups)
        self.prelu = nn.PReLU(outside)

    def forward(self, x: Tensor) -> Tensor:
        return self.prelu(super().forward(x))


class _DepthWise(nn.Module):
    """Inverted bottleneck: 1x1 to ``inner`` channels, 3x3 in each of them, 1x1 back; with ``residual`` added to x."""

    def __init__(self, inside: int, outside: int, inner: int, stride: int = 1, *, residual: bool = False) -> None:
        super().__init__()
        self.conv = _Block(inside, inner)
        self.conv_dw = _Block(inner, inner, 3, stride, inner)
        self.project = _Linear(inner, outside)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        out = self.project(self.conv_dw(self.conv(x)))
        return x + out if self.residual else out


def _residual(channels: int, number: int, inner: int) -> nn.Sequential:
    """``number`` residual bottlenecks in a row, as one module ``model``, which is what the checkpoint calls them."""
    blocks = [_DepthWise(channels, channels, inner, residual=True) for _ in range(number)]
    return nn.Sequential(OrderedDict(model=nn.Sequential(*blocks)))


class _Points(nn.Module):
    """The places of the map weighed in each channel, then a linear layer and batch norm: (B, 512, 7, 7) -> (B, 136)."""

    def __init__(self, channels: int, outputs: int, grid: int) -> None:
        super().__init__()
        self.conv_6_dw = _Linear(channels, channels, grid, groups=channels, whole=True)
        self.linear = nn.Linear(channels, outputs, bias=False)
        self.bn = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.linear(self.conv_6_dw(x).flatten(1)))


class MobileFaceNet(nn.Module):
    """1,007,248 parameters, of which the 565,888 up to ``conv_4`` give PCDA its features.

    :meth:`features`: images (B, 3, 112, 112) -> (B, 128, 14, 14); :meth:`landmarks`: -> (B, 136), x and y of 68 points
    by turns as shares of the side. Images are those of the published weights: blue, green, red, 0 to 1
    (:attr:`convention`: order of the channels, mean and spread that are taken away). For images of another ``side``,
    a multiple of 16, the layer that weighs the places has as many.
    """

    convention = ("BGR", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    def __init__(self, side: int = 112) -> None:
        super().__init__()
        if side <= 0 or side % 16:
            raise ParameterError(f"MobileFaceNet: a side of {side} is no multiple of 16.", do="take 48, 64, 112 ...")
        self.channels = 128
        self.conv1 = _Block(3, 64, 3, 2)
        self.conv2_dw = _Block(64, 64, 3, 1, 64)
        self.conv_23 = _DepthWise(64, 64, 128, 2)
        self.conv_3 = _residual(64, 4, 128)
        self.conv_34 = _DepthWise(64, 128, 256, 2)
        self.conv_4 = _residual(128, 6, 256)
        self.conv_45 = _DepthWise(128, 128, 512, 2)
        self.conv_5 = _residual(128, 2, 256)
        self.conv_6_sep = _Block(128, 512)
        self.output_layer = _Points(512, 2 * LANDMARKS, side // 16)

    def feature_layers(self) -> tuple[nn.Module, ...]:
        """The layers of :meth:`features`, in their order."""
        return self.conv1, self.conv2_dw, self.conv_23, self.conv_3, self.conv_34, self.conv_4

    def features(self, images: Tensor) -> Tensor:
        """What lies at 14 x 14, before the landmarks are read from it."""
        for layer in self.feature_layers():
            images = layer(images)
        return images

    def landmarks(self, images: Tensor) -> Tensor:
        """x1, y1, x2, y2, ... of the 68 points, as shares of the side."""
        x = self.conv_5(self.conv_45(self.features(images)))
        return self.output_layer(self.conv_6_sep(x))

    def forward(self, images: Tensor) -> Tensor:
        return self.landmarks(images)
