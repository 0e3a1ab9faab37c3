"""VGG-19: torchvision's network of that name, its layers' sizes, and a second task beside the first."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torchvision.models import vgg19_bn

from fercore.errors import ParameterError
from fercore.papers import vgg

pytestmark = pytest.mark.usefixtures("one_thread")


def test_it_is_torchvision_s_at_the_published_sizes() -> None:
    """The same tensors in the same order: published weights of its convolutions fit."""
    own, theirs = (
        {name: tuple(one.shape) for name, one in network.state_dict().items()}
        for network in (vgg.VGG19(1000), vgg19_bn())
    )
    assert [own[name] for name in own] == [theirs[name] for name in theirs]


def test_it_answers_what_torchvision_s_answers() -> None:
    torch.manual_seed(0)
    own, theirs = vgg.VGG19(1000).eval(), vgg19_bn().eval()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), own.state_dict().values(), strict=True)))
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.allclose(own(images).logits, theirs(images), atol=1e-4)


@pytest.mark.parametrize("poses", [0, 5])
def test_shapes_finite_answers_and_a_gradient_everywhere(poses: int) -> None:
    torch.manual_seed(0)
    network = vgg.VGG19(7, poses, side=70, width=8, hidden=16, drop=0.0)
    output = network(torch.randn(4, 3, 70, 70))
    assert output.logits.shape == (4, 7) and output.features.shape == (4, 16)
    assert isinstance(output, vgg.PosedOutput) == bool(poses)
    batch = {"labels": torch.arange(4), "pose": torch.tensor([0, 1, -1, 4])}
    terms = vgg.VGGLoss()(output, batch)
    assert terms.keys() == {"cross_entropy", "pose"} if poses else {"cross_entropy"}
    sum(terms.values()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.any() or "bias" in name, name  # batch norm takes a convolution's bias away


def test_images_of_unknown_pose_teach_the_expression_alone() -> None:
    output = vgg.PosedOutput(torch.randn(3, 7), torch.zeros(3, 2), torch.randn(3, 5))
    labels, pose = torch.tensor([1, 2, 3]), torch.tensor([-1, 4, -1])
    terms = vgg.VGGLoss()(output, {"labels": labels, "pose": pose})
    assert torch.isclose(terms["cross_entropy"], F.cross_entropy(output.logits, labels))
    assert torch.isclose(terms["pose"], -output.pose_logits.log_softmax(1)[1, 4])
    none = vgg.VGGLoss()(output, {"labels": labels, "pose": torch.full((3,), -1)})
    assert none["pose"] == 0


def test_small_images_and_unknown_sets_are_refused() -> None:
    for pixels, changes in ((31, {"image_size": 31}), (31, {"image_size": 47, "small_epochs": 1})):
        with pytest.raises(ParameterError, match=f"images of {pixels} pixels for VGG-19(?s:.*) do: take 32 or more"):
            vgg.recipe("quick", "kdef-twin", **changes)
    assert vgg.recipe("quick", "kdef-twin", image_size=48, small_epochs=1).small_epochs
    with pytest.raises(ParameterError, match="no data set to train on"):
        vgg.recipe("quick", "fer2013")
