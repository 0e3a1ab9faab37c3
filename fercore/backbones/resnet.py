"""ResNet-18, at the published size and reduced for small images.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. The blocks are torchvision's and so are
the names of the weights (``conv1``, ``bn1``, ``layer1`` to ``layer4``), so that published checkpoints load.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock


class ResNet18(nn.Module):
    """The trunk of ResNet-18 without pooling and classifier, freshly initialised (He et al., 2015).

    images (B, 3, S, S) -> feature map (B, 8 * width, H, W), Conv5_x of the paper. Published form: ``width=64``,
    ``stem="imagenet"``, ``last_stride=2``; S = 224 gives (B, 512, 7, 7). For images of 32 to 64 pixels ``stem="small"``
    replaces the 7x7 convolution and the pooling, together a factor of 4, by one 3x3 convolution of stride 2, and
    ``last_stride=1`` keeps the last stage's grid: S = 48 gives 6 x 6.

    >>> ResNet18()(torch.zeros(1, 3, 224, 224)).shape
    torch.Size([1, 512, 7, 7])
    """

    def __init__(
        self, width: int = 64, stem: Literal["imagenet", "small"] = "imagenet", last_stride: Literal[1, 2] = 2
    ) -> None:
        super().__init__()
        self.channels = 8 * width
        if stem == "imagenet":
            self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
            self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        else:
            self.conv1 = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
            self.pool = nn.Identity()
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(width, width, 1)
        self.layer2 = _stage(width, 2 * width, 2)
        self.layer3 = _stage(2 * width, 4 * width, 2)
        self.layer4 = _stage(4 * width, 8 * width, last_stride)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def entry(self) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
        """The convolution that sees the images, and its batch norm."""
        return self.conv1, self.bn1

    def forward(self, images: Tensor) -> Tensor:
        x = self.pool(self.relu(self.bn1(self.conv1(images))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class Projection(nn.Conv2d):
    """A 1x1 convolution without a bias of every ``stride``-th place: (B, inside, H, W) -> (B, outside, H', W').

    The same numbers as nn.Conv2d gives. That one writes beyond its memory in training (torch 2.15 on CPUs, channels
    last, several threads, 8 channels, an odd batch); a convolution with stride 1 of the places that count does not.
    It has a bias once a batch norm was folded into it (:func:`fercore.studies.speed.folded`).
    """

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__(inside, outside, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        down, right = self.stride
        return F.conv2d(x[:, :, ::down, ::right], self.weight, self.bias)


def _stage(inside: int, outside: int, stride: int) -> nn.Sequential:
    """Two basic blocks; the first changes size and width, with a 1x1 projection on its shortcut."""
    shortcut = None
    if stride != 1 or inside != outside:
        shortcut = nn.Sequential(Projection(inside, outside, stride), nn.BatchNorm2d(outside))
    return nn.Sequential(BasicBlock(inside, outside, stride, shortcut), BasicBlock(outside, outside))
