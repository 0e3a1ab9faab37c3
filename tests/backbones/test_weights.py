"""Files of weights as users bring them: what must load, and what must be refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from fercore.backbones import weights
from fercore.backbones.resnet import ResNet18
from fercore.backbones.weights import Convention, WeightsError
from fercore.errors import FercoreError


def checkpoint(prefix: str = "", classes: int = 8631) -> dict[str, Tensor]:
    """A whole ResNet-18 under torchvision's names, as published checkpoints hold it."""
    torch.manual_seed(1)
    network = torchvision.models.resnet18(num_classes=classes)
    return {prefix + name: value for name, value in network.state_dict().items()}


@pytest.mark.parametrize(
    ("nest", "prefix"),
    [("", ""), ("state_dict", ""), ("state_dict", "module."), ("model", "module.backbone."), ("net", "encoder.")],
)
def test_published_forms_of_resnet18_load(tmp_path: Path, nest: str, prefix: str) -> None:
    tensors = checkpoint(prefix)
    torch.save({nest: tensors, "epoch": 3} if nest else tensors, tmp_path / "resnet18_msceleb.pth")
    trunk = ResNet18()
    report = weights.load(trunk, tmp_path / "resnet18_msceleb.pth")
    own = trunk.state_dict()
    assert report.share == 1 and not report.missing and not report.reshaped
    assert set(report.unexpected) == {f"{prefix}fc.weight", f"{prefix}fc.bias"}
    assert all(torch.equal(value, tensors[prefix + name]) for name, value in own.items())


@pytest.mark.parametrize("nest", ["state_dict", "model_state_dict", "model", "net", "network", "backbone"])
def test_tensors_are_taken_out_of_what_they_are_nested_in(tmp_path: Path, nest: str) -> None:
    torch.save({"epoch": 3, nest: {"a": torch.ones(2)}}, tmp_path / "nested.pth")
    assert weights.read(tmp_path / "nested.pth")["a"].tolist() == [1, 1]


def test_our_own_files_load_whatever_stands_around_the_trunk(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source, target = (
        nn.ModuleDict({"backbone": ResNet18(8, "small", 1), "classifier": nn.Linear(64, 7)}) for _ in "ab"
    )
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    report = weights.load(target["backbone"], tmp_path / "model.safetensors")
    assert torch.equal(target["backbone"].conv1.weight, source["backbone"].conv1.weight)
    assert set(report.unexpected) == {"classifier.weight", "classifier.bias"}


def test_how_pictures_must_look_is_read_from_the_file(tmp_path: Path) -> None:
    for name, header in (("ours", {"classes": "a,b"}), ("theirs", None)):
        save_file({"a": torch.zeros(1)}, tmp_path / f"{name}.safetensors", metadata=header)
    torch.save({"a": torch.zeros(1)}, tmp_path / "theirs.pth")
    found = [
        weights.convention_of(tmp_path / name) for name in ("ours.safetensors", "theirs.safetensors", "theirs.pth")
    ]
    assert found == [weights.OURS, weights.IMAGENET, weights.IMAGENET]
    (tmp_path / "broken.safetensors").write_bytes(b"\x08" * 40)
    with pytest.raises(WeightsError, match=r"broken.safetensors is no safetensors file"):
        weights.convention_of(tmp_path / "broken.safetensors")


def test_a_file_without_counters_of_batches_is_whole(tmp_path: Path) -> None:
    old = {name: value for name, value in checkpoint().items() if not name.endswith(weights.COUNTERS)}
    torch.save(old, tmp_path / "old.pth")
    assert weights.load(ResNet18(), tmp_path / "old.pth").share == 1


class Danger:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("was-executed"),))


def _half() -> dict[str, Tensor]:
    return {name: value for k, (name, value) in enumerate(checkpoint().items()) if k % 2}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"state_dict": {"a": torch.zeros(2)}}, r"fills 0 of the 100 tensors of ResNet18; .*conv1.weight: not in the"),
        (_half(), r"fills [45]\d of the 100 tensors of ResNet18; .*: not in the file"),
        (checkpoint() | {"conv1.weight": torch.zeros(64, 3, 3, 3)}, r"fills 99 of the 100 tensors .*conv1\.weight"),
        ({"epoch": 3}, "holds no tensors by name"),
        ([1, 2], "holds no tensors by name"),
        (Danger(), "nothing else in it is executed"),
    ],
    ids=["nothing", "half", "another shape", "empty", "list", "pickle"],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "bad.pth")
    trunk = ResNet18()
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    with pytest.raises(WeightsError, match=said):
        weights.load(trunk, tmp_path / "bad.pth")
    assert all(torch.equal(before[name], value) for name, value in trunk.state_dict().items())
    assert not (tmp_path / "was-executed").exists()


def test_a_plain_pickle_is_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.pth").write_bytes(pickle.dumps({"state_dict": Danger()}))
    with pytest.raises(WeightsError, match="nothing else in it is executed: Weights only load failed"):
        weights.read(tmp_path / "old.pth")
    assert not (tmp_path / "was-executed").exists()


def test_a_part_of_a_network_may_be_enough(tmp_path: Path) -> None:
    torch.save(_half(), tmp_path / "half.pth")
    trunk = ResNet18()
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    with pytest.raises(WeightsError):
        weights.load(trunk, tmp_path / "half.pth", share=0.6)
    report = weights.load(trunk, tmp_path / "half.pth", share=0.4)
    assert report.share == pytest.approx(len(report.matched) / 100) and 0.4 <= report.share < 0.6
    assert len(report.matched) + len(report.missing) == 100 and not report.reshaped
    theirs = _half()
    for name, value in trunk.state_dict().items():
        assert torch.equal(value, theirs.get(name, before[name])), name


def test_another_width_is_named(tmp_path: Path) -> None:
    torch.save(checkpoint(), tmp_path / "wide.pth")
    with pytest.raises(WeightsError, match=r"conv1.weight: \(64, 3, 7, 7\) in the file, \(24, 3, 3, 3\) here"):
        weights.load(ResNet18(24, "small", 1), tmp_path / "wide.pth")


@pytest.mark.parametrize("name", ["none.pth", "broken.safetensors", "broken.pth"])
def test_files_that_are_missing_or_broken(tmp_path: Path, name: str) -> None:
    if name.startswith("broken"):
        (tmp_path / name).write_bytes(b"\x08" * 100)
    with pytest.raises(FercoreError, match=name):
        weights.load(ResNet18(), tmp_path / name)


def test_images_go_from_one_convention_to_another_and_back() -> None:
    torch.manual_seed(0)
    images, other = torch.randn(2, 3, 4, 4), Convention("BGR", (0.1, 0.2, 0.3), (1.0, 0.5, 0.25))
    there = weights.convert(images, weights.OURS, other)
    value = images[1, 2, 3, 0] * weights.OURS.std[2] + weights.OURS.mean[2]  # blue
    assert there[1, 0, 3, 0].item() == pytest.approx((value.item() - 0.1) / 1.0, rel=1e-5)
    assert torch.allclose(weights.convert(there, other, weights.OURS), images, atol=1e-5)


@pytest.mark.parametrize(
    "theirs", [weights.IMAGENET, Convention("BGR", (0.1, 0.2, 0.3), (1.0, 0.5, 0.25)), Convention("BGR")]
)
def test_an_adapted_first_layer_gives_what_it_gave_before(theirs: Convention) -> None:
    torch.manual_seed(0)
    trunk: ResNet18 = ResNet18(8).eval()
    trunk.bn1.running_mean.uniform_(-1, 1)
    values = torch.rand(2, 3, 32, 32)  # RGB, 0 to 1

    def seen(convention: Convention) -> Tensor:
        mean, std = (torch.tensor(v)[None, :, None, None] for v in (convention.mean, convention.std))
        channels = values if convention.channels == "RGB" else values.flip(1)
        return trunk.bn1(trunk.conv1((channels - mean) / std))[..., 2:-2, 2:-2]  # away from the border

    with torch.no_grad():
        expected = seen(theirs)
        weights.adapt_input(trunk.conv1, trunk.bn1, theirs)
        assert torch.allclose(seen(weights.OURS), expected, atol=1e-4)
