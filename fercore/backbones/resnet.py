"""ResNet-18 and ResNet-50, at the published size and reduced for small images.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. The blocks are torchvision's and so are
the names of the weights (``conv1``, ``bn1``, ``layer1`` to ``layer4``), so that published checkpoints load.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

Stem = Literal["imagenet", "small"]


class ResNet(nn.Module):
    """The trunk of a residual network without pooling and classifier, freshly initialised (He et al., 2015).

    Four stages of ``depths`` blocks, ``width`` channels in the first and twice as many in each that follows, times the
    block's expansion: images (B, 3, S, S) -> feature map (B, channels, H, W), Conv5_x of the paper. For images of 32 to
    64 pixels ``stem="small"`` replaces the 7x7 convolution and the pooling, together a factor of 4, by one 3x3
    convolution of stride 2, and ``last_stride=1`` keeps the last stage's grid: S = 48 gives 6 x 6.
    """

    def __init__(
        self, block: type[BasicBlock | Bottleneck], depths: Sequence[int], width: int, stem: Stem, last_stride: int
    ) -> None:
        super().__init__()
        if stem == "imagenet":
            self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
            self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        else:
            self.conv1 = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
            self.pool = nn.Identity()
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.channels = 8 * width * block.expansion
        inside = width
        for k, (depth, stride) in enumerate(zip(depths, (1, 2, 2, last_stride), strict=True)):
            setattr(self, f"layer{k + 1}", _stage(block, inside, width << k, depth, stride))
            inside = (width << k) * block.expansion
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


class ResNet18(ResNet):
    """ResNet-18 (see :class:`ResNet`): 2, 2, 2, 2 basic blocks; published form (B, 3, 224, 224) -> (B, 512, 7, 7).

    >>> ResNet18()(torch.zeros(1, 3, 224, 224)).shape
    torch.Size([1, 512, 7, 7])
    """

    def __init__(self, width: int = 64, stem: Stem = "imagenet", last_stride: Literal[1, 2] = 2) -> None:
        from torchvision.models.resnet import BasicBlock  # takes seconds that readers of records do not have to wait

        super().__init__(BasicBlock, (2, 2, 2, 2), width, stem, last_stride)


class ResNet50(ResNet):
    """ResNet-50 (see :class:`ResNet`): 3, 4, 6, 3 bottlenecks; published form (B, 3, 224, 224) -> (B, 2048, 7, 7).

    23.5 million parameters. The stride stands at the 3x3 convolution, as in torchvision, not at the first 1x1.
    """

    def __init__(self, width: int = 64, stem: Stem = "imagenet", last_stride: Literal[1, 2] = 2) -> None:
        from torchvision.models.resnet import Bottleneck

        super().__init__(Bottleneck, (3, 4, 6, 3), width, stem, last_stride)


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


def _stage(block: type[BasicBlock | Bottleneck], inside: int, width: int, depth: int, stride: int) -> nn.Sequential:
    """Blocks of one size; the first changes size and width, with a 1x1 projection on its shortcut."""
    shortcut, outside = None, width * block.expansion
    if stride != 1 or inside != outside:
        shortcut = nn.Sequential(Projection(inside, outside, stride), nn.BatchNorm2d(outside))
    rest = (block(outside, width) for _ in range(depth - 1))
    return nn.Sequential(block(inside, width, stride, shortcut), *rest)
