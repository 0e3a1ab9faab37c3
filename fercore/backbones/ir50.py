"""IR-50 up to its third stage: the image backbone of PCDA, in the form in which face recognition publishes it.

Source: the improved residual unit of Deng et al., "ArcFace" (CVPR 2019), Section 3.2. Modules are named as in the
published checkpoints (``input_layer.0``, ``body.0.res_layer.1`` ...), so that those load without renaming.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from fercore.backbones.resnet import Projection

STAGES = ((64, 3), (128, 4), (256, 14))
"""Channels and units of the first three stages; the fourth, (512, 3), is cut off."""


class Unit(nn.Module):
    """Batch norm, convolution, PReLU, convolution with the stride, batch norm, beside a shortcut.

    (B, inside, H, W) -> (B, outside, H / stride, W / stride). The shortcut takes every second place, and where the
    channels change it is a 1x1 convolution with batch norm.
    """

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if inside != outside:
            self.shortcut_layer = nn.Sequential(Projection(inside, outside, stride), nn.BatchNorm2d(outside))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inside),
            nn.Conv2d(inside, outside, 3, 1, 1, bias=False),
            nn.PReLU(outside),
            nn.Conv2d(outside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)


class IR50(nn.Module):
    """images (B, 3, 112, 112) -> feature map (B, 256, 14, 14); 17,611,968 parameters at the published ``width`` 64.

    A side of S gives S / 8. ``width`` is the number of channels of the first stage; ``units`` how many each stage has.
    :attr:`convention`: order of the channels, mean and spread that the published weights were trained with, as in
    face.evoLVe, where they come from.
    """

    convention = ("RGB", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    def __init__(self, width: int = 64, units: tuple[int, ...] = tuple(count for _, count in STAGES)) -> None:
        super().__init__()
        self.channels = 4 * width
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.PReLU(width)
        )
        body, inside = [], width
        for stage, count in enumerate(units):
            outside = width * 2**stage
            body += [Unit(inside if k == 0 else outside, outside, 2 if k == 0 else 1) for k in range(count)]
            inside = outside
        self.body = nn.Sequential(*body)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)

    @property
    def entry(self) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
        """The convolution that sees the images, and its batch norm."""
        return self.input_layer[0], self.input_layer[1]

    def forward(self, images: Tensor) -> Tensor:
        return self.body(self.input_layer(images))

    def renamed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Names of files in which each stage is a module of its own (``body1.0`` to ``body3.13``), as ours."""

        def ours(place: re.Match[str]) -> str:
            before = sum(count for _, count in STAGES[: int(place[1]) - 1])
            return f"body.{before + int(place[2])}."

        return {re.sub(r"body([1-3])\.(\d+)\.", ours, name, count=1): value for name, value in tensors.items()}
