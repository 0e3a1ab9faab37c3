"""Backbones with published weights: sizes, names and shapes are those of the files that users bring."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fercore.backbones import weights
from fercore.backbones.ir50 import IR50
from fercore.backbones.mobilefacenet import LANDMARKS, MobileFaceNet
from fercore.backbones.resnet import Projection


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_ir50_has_the_published_size_and_grid() -> None:
    with torch.device("meta"):
        network = IR50()
        assert parameters(network) == 17_611_968
        assert network(torch.zeros(2, 3, 112, 112)).shape == (2, 256, 14, 14)


def test_names_of_ir50_are_those_of_its_checkpoints() -> None:
    names = IR50(8).state_dict()
    for name in ("input_layer.0.weight", "input_layer.2.weight", "body.3.shortcut_layer.1.running_mean",
                 "body.20.res_layer.2.weight", "body.20.res_layer.4.num_batches_tracked"):  # fmt: skip
        assert name in names
    assert not [name for name in names if name.startswith(("body.0.shortcut", "body.21"))]
    # with the five layers of the head that is cut off, a published file has 304
    assert len(names) == 304 - 12


def test_a_face_network_that_is_larger_than_the_trunk_fills_it() -> None:
    torch.manual_seed(0)
    source = IR50(8, (3, 4, 14, 3))
    head = {"output_layer.3.weight": torch.zeros(512, 9), "output_layer.0.weight": torch.zeros(64)}
    target = IR50(8)
    fitting, report = weights.fit(
        target.state_dict(), {f"module.{k}": v for k, v in (source.state_dict() | head).items()}
    )
    assert report.share == 1 and not report.missing
    assert {name.split(".")[1] for name in report.unexpected} == {"body", "output_layer"}
    assert torch.equal(fitting["body.20.res_layer.3.weight"], source.body[20].res_layer[3].weight)


def test_stages_in_modules_of_their_own_are_found() -> None:
    torch.manual_seed(0)
    source = IR50(8)
    first = (0, 3, 7)

    def split(name: str) -> str:
        if not name.startswith("body."):
            return name
        number, _, tail = name.removeprefix("body.").partition(".")
        stage = max(k for k in range(3) if int(number) >= first[k])
        return f"module.body{stage + 1}.{int(number) - first[stage]}.{tail}"

    theirs = {split(name): value for name, value in source.state_dict().items()}
    assert any(name.startswith("module.body3.13.") for name in theirs)
    found = source.renamed(theirs)
    assert {name.removeprefix("module.") for name in found} == set(source.state_dict())
    assert all(torch.equal(found[k if k in found else f"module.{k}"], v) for k, v in source.state_dict().items())
    assert source.renamed(source.state_dict()).keys() == source.state_dict().keys(), "ours stay as they are"


def test_a_file_in_either_form_loads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source, target = IR50(8), IR50(8)
    theirs = {name.replace("body.20.", "body3.13."): value for name, value in source.state_dict().items()}
    torch.save({"state_dict": theirs}, tmp_path / "ir50.pth")
    assert weights.load(target, tmp_path / "ir50.pth").share == 1
    assert torch.equal(target.body[20].res_layer[1].weight, source.body[20].res_layer[1].weight)


def test_mobilefacenet_has_the_published_sizes_and_grids() -> None:
    with torch.device("meta"):
        network = MobileFaceNet()
    assert parameters(network) == 1_007_248 and len(network.state_dict()) == 333
    until = ("conv1", "conv2_dw", "conv_23", "conv_3", "conv_34", "conv_4")
    assert sum(parameters(getattr(network, name)) for name in until) == 565_888
    with torch.device("meta"):
        images = torch.zeros(2, 3, 112, 112)
        assert network.features(images).shape == (2, 128, 14, 14)
        assert network.landmarks(images).shape == network(images).shape == (2, 2 * LANDMARKS)


def test_names_of_mobilefacenet_are_those_of_its_checkpoint() -> None:
    names = MobileFaceNet().state_dict()
    for name in ("conv1.conv.weight", "conv1.bn.bias", "conv1.prelu.weight", "conv_23.conv_dw.prelu.weight",
                 "conv_3.model.3.project.bn.running_var", "conv_6_sep.prelu.weight", "output_layer.conv_6_dw.bn.weight",
                 "output_layer.linear.weight", "output_layer.bn.running_mean"):  # fmt: skip
        assert name in names


@pytest.mark.parametrize("kind", ["ir50", "landmarks"])
def test_a_gradient_in_every_parameter_and_finite_output(kind: str) -> None:
    torch.manual_seed(0)
    network = IR50(8) if kind == "ir50" else MobileFaceNet()
    network.eval()  # in training, the last batch norm of the landmarks takes away what the bias before it adds
    out = network(torch.rand(2, 3, 112, 112) if kind == "landmarks" else torch.randn(2, 3, 48, 48))
    assert torch.isfinite(out).all()
    out.square().mean().backward()
    missing = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert not missing, missing


# --- ResNet's shortcut ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_projection_is_a_convolution_with_a_stride(stride: int) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(5, 7, 1, stride=stride, bias=False).double()
    own = Projection(5, 7, stride).double()
    own.load_state_dict(plain.state_dict())
    given = [torch.randn(3, 5, 9, 8, dtype=torch.double, requires_grad=True) for _ in range(2)]
    given[1].data = given[0].data.clone()
    out = [layer(x) for layer, x in zip((plain, own), given, strict=True)]
    upstream = torch.randn_like(out[0])
    for y in out:
        y.backward(upstream)
    torch.testing.assert_close(out[1], out[0])
    torch.testing.assert_close(given[1].grad, given[0].grad)
    torch.testing.assert_close(own.weight.grad, plain.weight.grad)


ODD = """
import torch
from fercore.backbones.resnet import ResNet18
network = ResNet18(8, "small", 1).to(memory_format=torch.channels_last)
for _ in range(12):
    network(torch.randn(21, 3, 32, 32)).sum().backward()
print("done")
"""


def test_a_small_network_trains_on_odd_batches_in_two_threads() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ODD], env=os.environ | {"OMP_NUM_THREADS": "2"}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
