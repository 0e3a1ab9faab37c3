"""Pre-training on persons: the loss against a loop and its limits, the network, the pairs, the test."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from fercore.data import protocols
from fercore.errors import DataError, ParameterError
from fercore.figures import faces as figures_faces
from fercore.papers import arcface, lan
from fercore.papers.arcface import ArcFaceLoss, FaceNetwork, Output


def output(cosine: torch.Tensor, scale: float) -> Output:
    return Output(scale * cosine, cosine, cosine)


def naive(cosine: torch.Tensor, labels: torch.Tensor, scale: float, margin: float) -> float:
    """One image after the other, angles by acos."""
    total = 0.0
    for row, label in zip(cosine.tolist(), labels.tolist(), strict=True):
        angle = math.acos(row[label])
        turned = math.cos(angle + margin) if angle + margin < math.pi else row[label] - margin * math.sin(margin)
        values = [scale * (turned if k == label else value) for k, value in enumerate(row)]
        top = max(values)
        total += math.log(sum(math.exp(v - top) for v in values)) + top - values[label]
    return total / len(labels)


@pytest.mark.equation("ArcFace Eq. (3)")
@pytest.mark.parametrize(("scale", "margin"), [(32.0, 0.3), (8.0, 0.5), (64.0, 0.0)])
def test_loss_is_that_of_a_loop(scale: float, margin: float) -> None:
    torch.manual_seed(0)
    cosine = torch.rand(16, 9) * 1.98 - 0.99
    cosine[0, 3] = -0.995  # past the edge, where the angle with its margin would be more than a half turn
    labels = torch.randint(9, (16,))
    labels[0] = 3
    found = ArcFaceLoss(scale, margin)(output(cosine, scale), {"labels": labels})["arcface"].item()
    assert found == pytest.approx(naive(cosine, labels, scale, margin), rel=1e-4)


@pytest.mark.equation("ArcFace Eq. (3)")
def test_no_margin_is_cross_entropy_and_more_margin_costs_more() -> None:
    torch.manual_seed(0)
    cosine, labels = torch.rand(8, 5) - 0.5, torch.randint(5, (8,))
    plain, small, large = (
        ArcFaceLoss(16.0, m)(output(cosine, 16.0), {"labels": labels})["arcface"].item() for m in (0.0, 0.2, 0.6)
    )
    assert plain == pytest.approx(F.cross_entropy(16 * cosine, labels).item(), rel=1e-5) and plain < small < large


def test_network_shapes_finite_and_a_gradient_everywhere() -> None:
    torch.manual_seed(0)
    recipe = arcface.recipe("smoke")
    network = arcface.model(recipe, 10)
    labels = torch.arange(8) % 10
    found = network(torch.randn(8, 3, 32, 32))
    assert found.logits.shape == (8, 10) and found.features.shape == (8, 128)
    assert found.logits.abs().max() <= recipe.scale * (1 + 1e-5), "a cosine"
    arcface.criterion(recipe, network)(found, {"labels": labels})["arcface"].backward()
    for name, value in network.named_parameters():
        assert value.grad is not None and torch.isfinite(value.grad).all() and value.grad.any(), name


def test_logits_do_not_depend_on_lengths() -> None:
    torch.manual_seed(0)
    network = FaceNetwork(arcface.trunk(arcface.recipe("smoke")), 6).eval()
    images = torch.randn(4, 3, 32, 32)
    before = network(images).logits
    with torch.no_grad():
        network.directions *= 7.0
    assert torch.allclose(network(images).logits, before, atol=1e-4)


@pytest.mark.parametrize("preset", ["smoke", "quick", "paper"])
def test_recipes_have_the_trunk_of_the_preset(preset: str) -> None:
    from fercore.papers import lan

    ours, theirs = arcface.recipe(preset), lan.recipe(preset)
    assert all(getattr(ours, name) == getattr(theirs, name) for name in ("image_size", "width", "stem", "last_stride"))


def test_wrong_parameters_are_named() -> None:
    with pytest.raises(ParameterError, match="margin"):
        arcface.recipe("smoke", margin=2.0)


# --- protocol ------------------------------------------------------------------------------------------


def people(count: int = 20, each: int = 9) -> pd.DataFrame:
    rows = [
        (f"p{k:02d}_{n}", f"p{k:02d}", "test" if k % 10 == 9 else "train") for k in range(count) for n in range(each)
    ]
    return pd.DataFrame(rows, columns=["sample", "subject", "split"])


def test_people_of_the_test_are_strangers_and_those_of_the_validation_are_known() -> None:
    table = people()
    parts = protocols.split(table, "identity")
    who = {name: set(table["subject"].iloc[rows]) for name, rows in parts.items()}
    assert not who["test"] & who["train"] and who["validation"] == who["train"]
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(table)))
    held = table["sample"].iloc[parts["validation"]].tolist()
    assert held == [f"p{k:02d}_7" for k in range(20) if k % 10 != 9], "the eighth image of each"
    with pytest.raises(ParameterError, match="one fold"):
        protocols.split(table, "identity", 1)


# --- verification --------------------------------------------------------------------------------------


@given(st.integers(2, 12), st.integers(2, 6), st.integers(0, 5))
def test_pairs_are_what_they_say(count: int, each: int, seed: int) -> None:
    subjects = np.repeat([f"p{k}" for k in range(count)], each)
    drawn = arcface.draw_pairs(subjects, 60, seed)
    assert drawn.same.sum() == 30 and (drawn.first != drawn.second).all()
    assert np.array_equal(subjects[drawn.first] == subjects[drawn.second], drawn.same)


def test_pairs_need_people_with_several_images() -> None:
    for subjects in (["a", "a"], ["a", "b"]):
        with pytest.raises(DataError, match="two people or more"):
            arcface.draw_pairs(np.array(subjects))


def test_verification_at_its_limits() -> None:
    same = np.arange(2000) < 1000
    rng = np.random.default_rng(0)
    right, area = arcface.right_pairs(same + 0.1 * rng.random(2000), same)
    assert right.all() and area == 1
    right, area = arcface.right_pairs(rng.random(2000), same)
    assert abs(right.mean() - 0.5) < 0.06 and abs(area - 0.5) < 0.05, "chance"


def test_threshold_is_the_best_of_the_other_folds() -> None:
    rng = np.random.default_rng(1)
    same = np.arange(300) < 150
    similarity = rng.normal(same * 1.0, 1.0)
    right, _ = arcface.right_pairs(similarity, same, folds=3, seed=4)
    fold = np.random.default_rng(4).permutation(300) % 3
    for k in range(3):
        known = fold != k
        values = np.sort(similarity[known])
        edges = [-np.inf, *((values[1:] + values[:-1]) / 2), np.inf]
        counts = [((similarity[known] > edge) == same[known]).sum() for edge in edges]
        best = [edge for edge, count in zip(edges, counts, strict=True) if count == max(counts)]
        answers = right[fold == k] == same[fold == k]
        agree = [edge for edge in edges if np.array_equal(similarity[fold == k] > edge, answers)]
        assert set(best) & set(agree), "the answers are those of a threshold that is best elsewhere"
        assert max(counts) > counts[0], "and such a one is better than calling all pairs the same"


def test_a_network_that_knows_each_person_has_every_pair_right() -> None:
    """Embeddings that are a person's own direction; the yaw of a pair is how far the two are turned apart."""
    table = people(5, 4).assign(yaw=lambda t: 10.0 * (t.index % 4))
    rows = np.arange(4, 20)
    codes = torch.tensor(table["subject"].str[1:].astype(int).tolist())
    embedding = F.one_hot(codes, 5).float() + 0.1 * torch.rand(20, 5, generator=torch.Generator().manual_seed(0))
    network = torch.nn.Module()
    network.forward = lambda images: output(3 * images, 1.0)
    batches = [{"images": embedding[rows[:9]]}, {"images": embedding[rows[9:]]}]
    metrics, arrays = arcface.test(arcface.recipe(), network, SimpleNamespace(manifest=table), rows, batches)
    numbers = metrics["test"]
    assert numbers["accuracy"] == numbers["area_under_roc"] == 1 and arrays["right"].all()
    assert (numbers["images"], numbers["people"], numbers["pairs"]) == (16, 4, 6000)
    assert {len(own) for own in arrays.values()} == {6000}
    drawn = arcface.draw_pairs(table["subject"].to_numpy()[rows].astype(str))
    own = F.normalize(embedding[rows])
    pair = (own[drawn.first[7]] @ own[drawn.second[7]]).item()
    assert arrays["similarity"][7] == pytest.approx(pair, abs=1e-6), "of normalised embeddings"
    yaw = table["yaw"].to_numpy()[rows]
    assert arrays["yaw"].tolist() == np.abs(yaw[drawn.first] - yaw[drawn.second]).tolist()
    assert arrays["people"].tolist() == table["subject"].to_numpy()[rows][drawn.first].tolist()
    assert not network.training
    again = arcface.test(arcface.recipe(seed=5), network, SimpleNamespace(manifest=table), rows, batches)[1]
    assert again["people"].tolist() == arrays["people"].tolist(), "all seeds are tested on the same pairs"


def test_a_trunk_of_another_kind_starts_from_one_of_its_own() -> None:
    assert [arcface.pretraining_of(lan.recipe("smoke", trunk=name)).trunk for name in ("resnet18", "ir50")] == [
        "resnet18", "ir50",
    ]  # fmt: skip
    assert arcface.pretraining_of(lan.recipe("quick", width=12)).width == 12
    with pytest.raises(ParameterError, match="people"):
        arcface.recipe(leave_out="p01")


# --- figures -------------------------------------------------------------------------------------------


def test_the_margin_is_drawn_as_the_loss_has_it() -> None:
    numbers = figures_faces.margin(0.4).figure.numbers
    for row in numbers.iloc[[10, 200, 350]].itertuples():
        cosine = torch.tensor([[math.cos(math.radians(row.angle)), -1.0]]).clamp(-1 + 1e-6, 1 - 1e-6)
        loss = ArcFaceLoss(1.0, 0.4)(output(cosine, 1.0), {"labels": torch.tensor([0])})["arcface"].item()
        own = -1.0 + math.log(1 / (math.exp(loss) - 1))  # the logit that gives this loss beside one of -1
        assert own == pytest.approx(row[3], abs=1e-3)
    assert (numbers["with margin"] <= numbers["plain"] + 1e-9).all()


def test_histograms_hold_every_pair_of_their_kind() -> None:
    rng = np.random.default_rng(0)
    numbers = figures_faces.similarities(rng.uniform(-1, 1, 500), np.arange(500) < 100).figure.numbers
    assert numbers[["one person", "two people"]].sum().tolist() == pytest.approx([100, 100])


def test_verification_by_turn_counts_each_pair_once() -> None:
    yaw = np.array([0.0, 14.9, 15.0, 29.0, 61.0, 120.0])
    table = figures_faces.by_turn({"yaw": yaw, "right": np.array([1, 0, 1, 1, 0, 0], bool)})
    assert table["pairs"].tolist() == [2, 2, 2] and table["accuracy"].tolist() == [50, 100, 0]
    assert table["yaws apart"].tolist() == ["0 to 15°", "15 to 30°", "more than 60°"]
