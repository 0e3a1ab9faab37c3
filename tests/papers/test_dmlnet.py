"""DML-Net: five-tuples against a search through all samples, losses against loops and a library's, the networks."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from pytorch_metric_learning.reducers import MeanReducer
from tiny import manifest, write_prepared
from torch import Tensor
from torch.nn import functional as F

from fercore.backbones.mobilefacenet import MobileFaceNet
from fercore.backbones.resnet import ResNet50
from fercore.data.labels import pose_classes
from fercore.data.prepared import open_prepared
from fercore.errors import DataError, ParameterError
from fercore.papers import dmlnet
from fercore.papers.dmlnet import DMLNet, DMLNetLoss, Output, PosedOutput

# --- Algorithm 1: five-tuples ----------------------------------------------------------------------------


def naive(expression: np.ndarray, pose: np.ndarray, identity: np.ndarray, seed: int) -> np.ndarray:
    """Algorithm 1 as it is printed: each of the four partners is looked for among all that are left."""
    rows = np.random.default_rng(seed).permutation(len(expression)).tolist()
    left, tuples = list(rows), []
    for anchor in rows:
        if anchor not in left:
            continue
        rules = [(expression, pose), (pose, expression), (expression, identity), (identity, expression)]
        taken = [anchor]
        for same, other in rules:
            fits = (r for r in left if r not in taken and same[r] == same[anchor] and other[r] != other[anchor])
            if (partner := next(fits, None)) is None:
                break
            taken.append(partner)
        if len(taken) == 5:
            tuples.append(taken)
            left = [row for row in left if row not in taken]
    return np.array(tuples, np.int64).reshape(-1, 5)


samples = st.integers(0, 60).flatmap(
    lambda n: st.tuples(*(st.lists(st.integers(0, most), min_size=n, max_size=n) for most in (3, 2, 4)))
)


@pytest.mark.equation("DML-Net Algorithm 1")
@settings(max_examples=150, deadline=None)
@given(samples, st.integers(0, 2**32 - 1))
def test_five_tuples_are_those_of_a_search_through_all(labels: tuple[list[int], ...], seed: int) -> None:
    e, p, s = (np.array(one, int) for one in labels)
    found = dmlnet.five_tuples(e, p, s, seed=seed)
    assert np.array_equal(found, naive(e, p, s, seed))
    assert len(np.unique(found)) == found.size, "no sample twice"
    anchor, pose_positive, pose_negative, identity_positive, identity_negative = found.T
    for same, other, partner in (
        (e, p, pose_positive), (p, e, pose_negative), (e, s, identity_positive), (s, e, identity_negative),
    ):  # fmt: skip
        assert (same[anchor] == same[partner]).all() and (other[anchor] != other[partner]).all()


@pytest.mark.parametrize("shares", [[1, 1, 1, 1, 1, 1, 1, 1], [47, 26, 9, 9, 5, 1, 2, 1]])
def test_as_few_samples_are_left_over_as_by_the_printed_search(shares: list[int]) -> None:
    rng = np.random.default_rng(0)
    e = rng.choice(8, 800, p=np.array(shares) / sum(shares))
    p, s = rng.integers(0, 5, 800), rng.integers(0, 40, 800)
    ours, printed = dmlnet.five_tuples(e, p, s, seed=1), naive(e, p, s, 1)
    assert ours.size == printed.size > 400


def test_five_tuples_depend_on_the_seed_and_take_names() -> None:
    names = [list("abab" * 10), list("ccdd" * 10), list("eeeeffff" * 5)]
    one, same, other = (dmlnet.five_tuples(*names, seed=seed) for seed in ([3, 1], [3, 1], [3, 2]))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


@pytest.mark.parametrize(("p", "s"), [([0] * 20, list(range(10)) * 2), ([0, 1] * 10, [0] * 20)])
def test_one_pose_or_one_person_gives_no_five_tuple(p: list[int], s: list[int]) -> None:
    assert dmlnet.five_tuples([0, 0, 1, 1] * 5, p, s, seed=0).shape == (0, 5)


def test_five_tuples_of_nothing_and_of_labels_that_do_not_do() -> None:
    assert dmlnet.five_tuples([], [], [], seed=0).shape == (0, 5)
    for labels, said in (
        (([0, 1], [0, 1], [0]), "three labels"),
        (([0, 1], [0, -1], [0, 1]), "1 samples have no known pose"),
        (([0.0, math.nan], [0, 1], [0, 1]), "no known expression"),
        ((["a", None], [0, 1], [0, 1]), "no known expression"),
        (([0, 1], [0, 1], ["", "F01"]), "no known identity"),
        (([[0, 1], [0, 1]], [0, 1], [0, 1]), "more than one"),
        (([[0], [0, 1]], [0, 1], [0, 1]), "more than one"),
    ):
        with pytest.raises(DataError, match=said):
            dmlnet.five_tuples(*labels, seed=0)
    for seed in (None, -1, 1.5, [], "one"):
        with pytest.raises(ParameterError, match="of five-tuples"):
            dmlnet.five_tuples([0, 1], [0, 1], [0, 1], seed=seed)


# --- Eqs. (1) to (6): triplets ---------------------------------------------------------------------------


def batch_of(size: int, seed: int = 0, *, people: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(size, 6, generator=g), *(torch.randint(0, k, (size,), generator=g) for k in (3, 3, people))


@pytest.mark.equation("DML-Net Eq. (1)")
def test_eq1_by_loop() -> None:
    x = torch.randn(5, 3)
    for i, j in np.ndindex(5, 5):
        squares = sum((a - b) ** 2 for a, b in zip(x[i].tolist(), x[j].tolist(), strict=True))
        assert dmlnet.squared_distances(x)[i, j].item() == pytest.approx(squares, abs=1e-5)


def loop(x: Tensor, e: Tensor, other: Tensor, margin: float, hinge: bool) -> list[float]:
    """The terms of Eq. (4), or (5), of the anchors that have both: m + the farthest positive - the nearest negative."""
    terms = []
    for i in range(len(x)):
        distance = [float((x[i] - x[j]).square().sum()) for j in range(len(x))]
        far = [distance[j] for j in range(len(x)) if e[j] == e[i] and other[j] != other[i]]
        near = [distance[j] for j in range(len(x)) if e[j] != e[i] and other[j] == other[i]]
        if far and near:
            term = margin + max(far) - min(near)
            terms.append(max(0.0, term) if hinge else term)
    return terms


@pytest.mark.equation("DML-Net Eq. (2)", "DML-Net Eq. (3)", "DML-Net Eq. (4)", "DML-Net Eq. (5)")
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 24), st.integers(0, 10**6), st.booleans(), st.sampled_from(["mean", "sum"]))
def test_eqs_2_to_5_are_those_of_loops(size: int, seed: int, hinge: bool, reduction: str) -> None:
    x, e, p, s = batch_of(size, seed)
    found = dmlnet.triplet_losses(x, e, p, s, margins=(0.3, 0.7), hinge=hinge, reduction=reduction)
    for term, other, margin in zip(found, (p, s), (0.3, 0.7), strict=True):
        terms = loop(x, e, other, margin, hinge)
        expected = sum(terms) / (max(1, len(terms)) if reduction == "mean" else 1)
        assert term.item() == pytest.approx(expected, rel=1e-4, abs=1e-4)


DISTANCE = LpDistance(normalize_embeddings=False, p=2, power=2)


def test_the_hardest_are_those_of_the_library_s_miner() -> None:
    """Where a positive is any other image of the class and a negative any of another class, as in batch-hard mining."""
    x, e, _, _ = batch_of(40)
    same = e[:, None] == e
    distances = dmlnet.squared_distances(x)
    others = same & ~torch.eye(40, dtype=torch.bool)
    far, near = dmlnet.farthest_positive(distances, others), dmlnet.nearest_negative(distances, ~same)
    counts = others.any(1) & (~same).any(1)
    anchors, positives, negatives = BatchHardMiner(distance=DISTANCE)(x, e)
    assert anchors.tolist() == torch.arange(40)[counts].tolist()
    assert torch.allclose(far[counts], distances[anchors, positives])
    assert torch.allclose(near[counts], distances[anchors, negatives])


@pytest.mark.parametrize("margin", [0.0, 0.2, 50.0])
def test_the_loss_of_the_same_triplets_is_the_library_s(margin: float) -> None:
    x, e, p, s = batch_of(40)
    distances = dmlnet.squared_distances(x)
    same = e[:, None] == e
    for term, other in zip(dmlnet.triplet_losses(x, e, p, s, margins=(margin, margin)), (p, s), strict=True):
        alike = other[:, None] == other
        positives = distances.masked_fill(~(same & ~alike), -1).argmax(1)
        negatives = distances.masked_fill(~(~same & alike), 1e9).argmin(1)
        anchors = ((same & ~alike).any(1) & (~same & alike).any(1)).nonzero().squeeze(1)
        library = TripletMarginLoss(margin, distance=DISTANCE, reducer=MeanReducer())
        chosen = (anchors, positives[anchors], negatives[anchors])
        assert term.item() == pytest.approx(library(x, e, chosen).item(), rel=1e-5)


@pytest.mark.equation("DML-Net Eq. (6)")
def test_eq6_is_the_sum_of_the_kinds_that_are_asked_for() -> None:
    x, e, p, s = batch_of(30)
    output, batch = Output(x[:, :3], x, x, x), {"labels": e, "pose": p, "identity": s}
    pose, identity = dmlnet.triplet_losses(x, e, p, s)
    for kinds, expected in ((("pose", "identity"), pose + identity), (("pose",), pose), (("identity",), identity)):
        loss = DMLNetLoss(["expression", "triplet"], kinds=kinds)
        assert loss.losses(output, batch)["triplet"] == expected > 0


def test_limits_of_the_triplets() -> None:
    e, p = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0])
    apart = torch.tensor([[0.0], [1.0], [3.0]])  # the positive at 1, the negative at 9, in squares
    (pose, identity) = dmlnet.triplet_losses(apart, e, p, torch.tensor([0, 1, 2]), margins=(0.5, 0.5))
    assert pose == 0 and identity == 0, "far enough; and of no person is there another expression"
    (printed, _) = dmlnet.triplet_losses(apart, e, p, torch.tensor([0, 1, 2]), margins=(0.5, 0.5), hinge=False)
    assert printed == pytest.approx(0.5 + 1 - 9)
    (further, _) = dmlnet.triplet_losses(100 * apart, e, p, torch.tensor([0, 1, 2]), hinge=False)
    assert further < -70_000, "without a hinge there is no end"
    (wrong, _) = dmlnet.triplet_losses(apart[[0, 2, 1]], e, p, torch.tensor([0, 1, 2]), margins=(0.5, 0.5))
    assert wrong == pytest.approx(0.5 + 9 - 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("people", [1, 4])
def test_anchors_without_a_partner_add_nothing_and_nothing_is_nan(dtype: torch.dtype, people: int) -> None:
    x, e, p, s = batch_of(12, people=people)
    x = x.to(dtype).requires_grad_()
    pose, identity = dmlnet.triplet_losses(x, e, p, s)
    (pose + identity).backward()
    assert torch.isfinite(x.grad).all() and math.isfinite(pose.item())
    assert (identity == 0) == (people == 1)
    alone, _ = dmlnet.triplet_losses(x[:1], e[:1], p[:1], s[:1])
    assert alone == 0


def test_images_whose_labels_are_not_known_count_for_nothing() -> None:
    x, e, p, s = batch_of(24)
    whole = dmlnet.triplet_losses(x[:16], e[:16], p[:16], s[:16])
    p[16:20], e[20:] = -1, -1
    assert dmlnet.pose_loss(x, e, p) == whole[0]
    s[16:20] = -1
    assert dmlnet.triplet_losses(x, e, p, s)[1] == whole[1]


def test_an_unknown_reduction_and_labels_of_another_length_are_refused() -> None:
    x, e, p, s = batch_of(3)
    with pytest.raises(ParameterError, match="median"):
        dmlnet.triplet_losses(x, e, p, s, reduction="median")
    with pytest.raises(ParameterError, match="shapes"):
        dmlnet.triplet_losses(x, e, p[:1], s)
    for wrong in (x[:, :, None], x[:, 0], x.long()):
        with pytest.raises(ParameterError, match="embeddings of shape"):
            dmlnet.triplet_losses(wrong, e, p, s)
    for margins in ((-1.0, 0.2), (math.nan, 0.2)):
        with pytest.raises(ParameterError, match="margins"):
            dmlnet.triplet_losses(x, e, p, s, margins=margins)


def test_labels_may_be_lists_and_a_batch_empty() -> None:
    x, e, p, s = batch_of(12)
    assert dmlnet.triplet_losses(x, e.tolist(), p.numpy(), s) == dmlnet.triplet_losses(x, e, p, s)
    assert dmlnet.triplet_losses(x[:0], e[:0], p[:0], s[:0]) == (0, 0)


def test_both_of_a_triplet_move() -> None:
    """One anchor with a positive and a negative: the gradient draws the one and pushes the other."""
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    e, p = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0])
    dmlnet.pose_loss(x, e, p, 0.5).backward()
    assert x.grad.tolist() == [[-2.0, 2.0], [2.0, 0.0], [0.0, -2.0]]


# --- Eqs. (7), (8): dynamic weights ----------------------------------------------------------------------


@pytest.mark.equation("DML-Net Eq. (8)")
@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=1, max_size=5),
    st.floats(0.5, 5),
    st.floats(0.5, 9),
)
def test_eq8_by_loop(means: list[tuple[float, float]], K: float, T: float) -> None:
    history = torch.tensor(means, dtype=torch.float64).T
    found = dmlnet.dynamic_weights(history, K, T)
    shares = [math.exp(new / old / T) for new, old in means]
    assert found.tolist() == pytest.approx([K * share / sum(shares) for share in shares])
    assert found.sum().item() == pytest.approx(K)


def test_eq8_favours_what_falls_slowest_and_nears_equal_weights() -> None:
    history = torch.tensor([[0.9, 0.5, 0.1], [1.0, 1.0, 1.0]])
    weights = dmlnet.dynamic_weights(history)
    assert weights[0] > weights[1] > weights[2]
    assert dmlnet.dynamic_weights(history, T=1e6).tolist() == pytest.approx([2 / 3] * 3, rel=1e-5), "not 1, as printed"
    assert dmlnet.dynamic_weights(history.numpy()).tolist() == dmlnet.dynamic_weights(history).tolist()
    assert dmlnet.dynamic_weights([[1, 2], [1, 1]]).dtype == torch.float64


@pytest.mark.parametrize(("newest", "before"), [(0.5, 0.0), (0.0, 0.0), (0.0, 0.5), (-3.0, -1.0), (-1e-9, 2.0)])
def test_a_ratio_that_means_nothing_is_that_of_a_loss_that_stays(newest: float, before: float) -> None:
    found = dmlnet.dynamic_weights(torch.tensor([[0.8, newest], [1.0, before]]))
    assert torch.equal(found, dmlnet.dynamic_weights(torch.tensor([[0.8, 2.0], [1.0, 2.0]])))


def test_what_gives_no_weights_is_refused() -> None:
    for history, numbers, said in (
        ([[1.0, 2.0]], {}, "two rows"), ([[1.0, math.nan], [1.0, 1.0]], {}, "not a number"),
        ([[1.0], [1.0]], {"T": 0.0}, "T = 0.0"), ([[1.0], [1.0]], {"K": -1.0}, "K = -1.0"),
        ([[1.0], [1.0]], {"T": 1e-300}, "0.001 or more"),
    ):  # fmt: skip
        with pytest.raises(ParameterError, match=said):
            dmlnet.dynamic_weights(history, **numbers)
    for history in ([[1.0, 1.0], [1e-40, 1.0]], [[3e38, 1.0], [1e-3, 1.0]]):
        assert dmlnet.dynamic_weights(torch.tensor(history), T=1e-3).tolist() == [2.0, 0.0]
    assert dmlnet.dynamic_weights(torch.tensor([[1.0, 1.0], [1e-5, 1.0]], dtype=torch.half)).isfinite().all()
    for wrong, said in (
        ({"T": 0.0}, "T = 0.0"), ({"K": math.nan}, "K = nan"), ({"kinds": "pose"}, "kinds"), ({"kinds": ()}, "kinds"),
        ({"kinds": ("gaze",)}, "kinds"), ({"reduction": "median"}, "median"), ({"margins": (0.2,)}, "margins"),
    ):  # fmt: skip
        with pytest.raises(ParameterError, match=said):
            DMLNetLoss(["expression", "triplet"], **wrong)
    for tasks in (["pose", "expression"], ["expression", "gaze"], ["pose"]):
        with pytest.raises(ParameterError, match="expression, pose, triplet, in this order"):
            DMLNetLoss(tasks)


def answers(seed: int, size: int = 20) -> tuple[PosedOutput, dict[str, Tensor]]:
    x, e, p, s = batch_of(size, seed)
    return PosedOutput(x[:, :3], 2 * x, x.flip(1), x, x[:, 3:]), {"labels": e, "pose": p, "identity": s}


@pytest.mark.equation("DML-Net Eq. (7)")
def test_eq7_weighs_by_means_of_five_mini_batches() -> None:
    loss = DMLNetLoss(["expression", "pose", "triplet"])
    seen = []
    for step in range(16):
        output, batch = answers(step)
        terms, told = loss(output, batch)
        plain = {
            "expression": F.cross_entropy(output.logits, batch["labels"]),
            "pose": F.cross_entropy(output.pose_logits, batch["pose"]),
            "triplet": sum(
                dmlnet.triplet_losses(output.embedding, *(batch[k] for k in ("labels", "pose", "identity")))
            ),
        }
        means = torch.tensor(seen[: 5 * (step // 5)]).unflatten(0, (-1, 5)).mean(1) if step > 9 else None
        weights = torch.full((3,), 2 / 3) if means is None else dmlnet.dynamic_weights(means[[-1, -2]])
        for k, (name, value) in enumerate(plain.items()):
            assert terms[name].item() == pytest.approx((weights[k] * value).item(), rel=1e-5)
            assert told[f"loss_{name}"].item() == pytest.approx(value.item(), rel=1e-5)
            assert told[f"lambda_{name}"].item() == pytest.approx(weights[k].item(), rel=1e-5)
        seen.append([value.item() for value in plain.values()])


def test_a_loss_that_is_no_number_leaves_the_weights_as_they_are() -> None:
    loss = DMLNetLoss(["expression", "pose", "triplet"])
    for step in range(15):
        output, batch = answers(step)
        if step == 12:
            before = loss.lambdas.clone()
            output = output._replace(logits=output.logits * math.nan)
        loss(output, batch)
    assert torch.equal(loss.lambdas, before) and not torch.equal(before, torch.full((3,), 2 / 3))


def test_the_loss_has_what_it_was_given_and_its_gradient() -> None:
    form = {"margins": (0.7, 0.1), "hinge": False, "reduction": "sum"}
    loss = DMLNetLoss(["expression", "pose", "triplet"], **form, K=6.0, T=0.5, label_smoothing=0.3)
    seen = []
    for step in range(12):
        output, batch = answers(step)
        output = PosedOutput(*(one.clone().requires_grad_() for one in output))
        terms, told = loss(output, batch)
        labels = [batch[name] for name in ("labels", "pose", "identity")]
        plain = {
            "expression": F.cross_entropy(output.logits, batch["labels"], label_smoothing=0.3),
            "pose": F.cross_entropy(output.pose_logits, batch["pose"]),
            "triplet": sum(dmlnet.triplet_losses(output.embedding, *labels, **form)),
        }
        means = torch.tensor(seen[:10]).unflatten(0, (2, 5)).mean(1) if step > 9 else None
        weights = torch.full((3,), 2.0) if means is None else dmlnet.dynamic_weights(means[[1, 0]], 6.0, 0.5)
        for name, weight in zip(plain, weights, strict=True):
            assert terms[name].item() == pytest.approx((weight * plain[name]).item(), rel=1e-4)
            assert not told[f"loss_{name}"].requires_grad and terms[name].requires_grad
        seen.append([value.item() for value in plain.values()])
    sum(terms.values()).backward()
    of = {name: weight * one for (name, one), weight in zip(plain.items(), weights, strict=True)}
    for field, name in (("logits", "expression"), ("pose_logits", "pose"), ("embedding", "triplet")):
        (expected,) = torch.autograd.grad(of[name], getattr(output, field))
        assert torch.allclose(getattr(output, field).grad, expected, atol=1e-5) and expected.abs().sum() > 0
    assert output.features.grad is None


def test_weights_travel_with_the_loss() -> None:
    one, other = (DMLNetLoss(["expression", "pose", "triplet"]) for _ in range(2))
    for step in range(13):
        one(*answers(step))
    other.load_state_dict(one.state_dict())
    for step in range(13, 20):
        assert all(
            torch.equal(a, b) for a, b in zip(*(loss(*answers(step))[0].values() for loss in (one, other)), strict=True)
        )


def test_fixed_weights_stay_and_one_task_has_none() -> None:
    fixed, alone = DMLNetLoss(["expression", "pose"], dynamic=False), DMLNetLoss(["expression"])
    for step in range(12):
        output, batch = answers(step)
        terms, told = fixed(output, batch)
        assert terms["pose"] == told["loss_pose"] and not any(name.startswith("lambda") for name in told)
        assert alone(output, batch)[0]["expression"].item() == F.cross_entropy(output.logits, batch["labels"]).item()


def test_in_turn_each_mini_batch_has_one_task() -> None:
    loss = DMLNetLoss(["expression", "triplet"], in_turn=True)
    turns = [[name for name, term in loss(*answers(step))[0].items() if term != 0] for step in range(4)]
    assert turns == [["expression"], ["triplet"]] * 2


def test_a_pose_that_nobody_knows_does_not_count() -> None:
    output, batch = answers(0)
    unknown = torch.where(torch.arange(20) < 7, batch["pose"], -1)
    loss = DMLNetLoss(["expression", "pose"])
    found = loss.losses(output, batch | {"pose": unknown})["pose"]
    assert found.item() == pytest.approx(F.cross_entropy(output.pose_logits[:7], unknown[:7]).item(), rel=1e-6)
    assert loss.losses(output, batch | {"pose": torch.full((20,), -1)})["pose"] == 0


# --- the network -----------------------------------------------------------------------------------------


def small(**changes: Any) -> DMLNet:
    torch.manual_seed(0)
    return DMLNet(lambda: ResNet50(8, "small", 1), 7, **({"fused": 24} | changes))


def test_trunk_is_torchvisions_resnet50_without_its_classifier() -> None:
    ours, theirs = ResNet50(), torchvision.models.resnet50()
    theirs.fc = torch.nn.Identity()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 96, 96)
    assert torch.allclose(ours.eval()(images).mean((2, 3)), theirs.eval()(images), rtol=1e-3, atol=1e-3)
    assert sum(p.numel() for p in ours.parameters()) == 23_508_032


NETWORKS: list[dict[str, Any]] = [
    {"regions": False}, {}, {"poses": 5}, {"embedding": 16}, {"poses": 5, "embedding": 16},
    {"shared": True, "poses": 9},
    {"enlarge": True}, {"embedding": 16, "unit": False}, {"landmark": MobileFaceNet(48)},
]  # fmt: skip


@pytest.mark.parametrize("changes", NETWORKS)
def test_shapes_finite_and_a_gradient_in_every_trainable_parameter(changes: dict[str, Any]) -> None:
    network = small(**changes).train()
    output = network(torch.randn(6, 3, 48, 48))
    assert output.logits.shape == (6, 7) and output.features.shape == (6, 24)
    assert isinstance(output, PosedOutput) == ("poses" in changes)
    whole = output.logits.square().sum() + output.embedding.sum()
    if isinstance(output, PosedOutput):
        assert output.pose_logits.shape == (6, changes["poses"])
        whole = whole + output.pose_logits.square().sum()
    whole.backward()
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad != name.startswith("landmark"), name
        if parameter.requires_grad:
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all() and parameter.grad.any(), name
    length = output.embedding.norm(dim=1)
    assert torch.allclose(length, torch.ones(6)) == (changes.get("embedding", 0) > 0 and changes.get("unit", True))


@pytest.mark.equation("DML-Net Algorithm 2")
def test_algorithm_2_by_hand() -> None:
    network = small(poses=5, embedding=16).eval()
    images = torch.randn(3, 3, 48, 48)
    v1, v2, v3 = (
        trunk(part).mean((2, 3)) for trunk, part in (
            (network.backbone, images), (network.regions["eyes"], images[:, :, :16]),
            (network.regions["mouth"], images[:, :, 32:]),
        )
    )  # fmt: skip
    f1 = torch.relu(torch.cat([v2, v3], 1) @ network.fuse_local.weight.T + network.fuse_local.bias)
    f2 = torch.relu(torch.cat([v1, f1], 1) @ network.fuse.weight.T + network.fuse.bias)
    assert torch.allclose(network.fused(images)[0], f2, atol=1e-6)
    output = network(images)
    assert torch.allclose(output.embedding, F.normalize(network.embed(f2)), atol=1e-6)
    assert torch.allclose(output.features, network.branch(f2), atol=1e-6)


@pytest.mark.parametrize("field", ["logits", "embedding", "pose_logits"])
def test_what_each_branch_learns_reaches_all_trunks(field: str) -> None:
    network = small(poses=5, embedding=16).train()
    getattr(network(torch.randn(4, 3, 48, 48)), field).square().sum().backward()
    trunks = [network.backbone, *network.regions.values()]
    assert all(sum(p.grad.abs().sum() for p in one.parameters() if p.grad is not None) > 0 for one in trunks)


def test_branches_see_both_fusions_as_they_are() -> None:
    network = small(poses=5, embedding=16).eval()
    images = torch.randn(3, 3, 48, 48)
    output, (fused, _) = network(images), network.fused(images)
    assert torch.equal(output.features, network.branch(fused))
    assert torch.equal(output.logits, network.classifier(output.features))
    assert torch.equal(output.pose_logits, network.pose_classifier(network.pose_branch(fused)))
    assert torch.allclose(output.embedding, F.normalize(network.embed(fused)))
    assert torch.equal(dmlnet.features(network, images), output.features)


def test_enlarged_crops_have_the_size_of_the_image() -> None:
    images = torch.randn(2, 3, 48, 48)
    plain, large = (small(enlarge=enlarge).crops(images) for enlarge in (False, True))
    assert [one.shape[2] for one in plain] == [16, 16] and [one.shape[2] for one in large] == [48, 48]
    assert torch.allclose(large[1][:, :, 24, 24], F.interpolate(plain[1], (48, 48), mode="bilinear")[:, :, 24, 24])


def test_a_shared_trunk_sees_all_three_regions() -> None:
    network = small(shared=True).eval()
    images = torch.randn(3, 3, 48, 48)
    v1, v2, v3 = (network.backbone(part).mean((2, 3)) for part in (images, images[:, :, :16], images[:, :, 32:]))
    f1 = network.fuse_local(torch.cat([v2, v3], 1)).relu()
    assert torch.allclose(network.fused(images)[0], network.fuse(torch.cat([v1, f1], 1)).relu(), atol=1e-5)
    assert not network.regions


def test_fully_connected_layers_begin_as_table_1_says() -> None:
    network = DMLNet(lambda: ResNet50(16, "small", 1), 7, poses=9, embedding=128)
    for name in ("fuse_local", "fuse", "embed", "branch", "pose_branch"):
        assert getattr(network, name).weight.std().item() == pytest.approx(0.04, rel=0.03)
    for name in ("classifier", "pose_classifier"):
        assert getattr(network, name).weight.std().item() == pytest.approx(1 / 512, rel=0.06)
    usual = DMLNet(lambda: ResNet50(16, "small", 1), 7, deviation=0)
    assert usual.branch.weight.std().item() == pytest.approx(1 / 16, rel=0.01)
    assert usual.classifier.weight.std().item() == pytest.approx(0.05, rel=0.06)


def test_regions_lie_around_what_is_found_and_end_at_the_image() -> None:
    images = torch.arange(48.0).view(1, 1, 48, 1).expand(3, 3, 48, 48)  # each row says which one it is
    points = torch.zeros(3, 68, 2)
    points[:, 36:48, 1] = torch.tensor([[0.25], [0.0], [0.5]])
    points[:, 48:, 1] = torch.tensor([[0.75], [1.0], [0.7]])
    eyes, mouth = dmlnet.around(images, points)
    assert eyes.shape == mouth.shape == (3, 3, 16, 48)
    assert [part[0, 0, 0].item() for part in eyes] == [4, 0, 16]
    assert [part[0, 0, 0].item() for part in mouth] == [28, 32, 26]
    assert (eyes[0, 1, :, 5] == torch.arange(4.0, 20)).all()


def test_points_that_are_no_landmarks_are_refused() -> None:
    for points in (torch.zeros(2, 5, 2), torch.full((2, 68, 2), math.nan), torch.zeros(1, 68, 2)):
        with pytest.raises(ParameterError, match="68 finite landmarks"):
            dmlnet.around(torch.zeros(2, 3, 48, 48), points)


def test_the_landmark_network_stands_still() -> None:
    network = small(landmark=MobileFaceNet(48)).train()
    before = {name: value.clone() for name, value in network.landmark.state_dict().items()}
    network(torch.randn(4, 3, 48, 48))
    assert all(torch.equal(value, before[name]) for name, value in network.landmark.state_dict().items())


# --- recipes ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return open_prepared(write_prepared(tmp_path_factory.mktemp("data") / "people", turned(), 48))


def turned() -> Any:
    """Ten people, each expression from the front and from the right."""
    table = manifest(10, 2)
    return table.assign(pan=np.where(table.index % 2 == 0, 0.0, 45.0))


def test_rows_of_table_8_share_what_comes_before() -> None:
    of = {name: dmlnet.recipe("quick", method=name) for name in get_args(dmlnet.Method)}
    first = {name: dmlnet.stages(one)["first"] for name, one in of.items()}
    assert first["single"].method == "single" and {one.method for one in first.values()} == {"single", "mfe"}
    assert len({one.key() for one in first.values()}) == 2, "every row but the first goes on from the same network"
    first = {name: dmlnet.stages(one.but(in_turn=True))["first"] for name, one in of.items()}
    assert first["mfe"] == first["mfe-hpe"] and first["mfe-jefl"] == first["mfe-hpe-jefl"] == first["dmlnet"]
    assert first["dmlnet"].method == "mfe-jefl" and first["dmlnet"].in_turn and not first["mfe"].in_turn
    nothing = torch.nn.Identity()
    assert dmlnet.criterion(first["dmlnet"], nothing).in_turn
    at_once = of["dmlnet"].but(in_turn=True, first_epochs=0)
    assert not dmlnet.criterion(at_once, nothing).in_turn, "a pose branch that trains from the start has no turns"
    around = of["single"].but(crops="landmarks", shared=True, enlarge=True)
    assert dmlnet.stages(around)["first"] == dmlnet.stages(of["single"])["first"], "a single trunk has no regions"
    assert not dmlnet.stages(first["dmlnet"])
    parts = {name: dmlnet.criterion(one, torch.nn.Identity()) for name, one in of.items()}
    assert {name: (loss.tasks, loss.dynamic) for name, loss in parts.items()} == {
        "single": (("expression",), False),
        "mfe": (("expression",), False),
        "mfe-hpe": (("expression", "pose"), False),
        "mfe-jefl": (("expression", "triplet"), False),
        "mfe-hpe-jefl": (("expression", "pose", "triplet"), False),
        "dmlnet": (("expression", "pose", "triplet"), True),
    }


def test_pre_training_elsewhere_is_the_first_stage() -> None:
    run = dmlnet.recipe("quick", "sfew-twin", pretraining="multipie-twin", share=0.5, fold=3, data={"stray": 0.1})
    first = dmlnet.stages(run)["first"]
    assert (first.fold, first.data) == (0, {})
    own = dmlnet.stages(run.but(pretraining="", protocol="dmlnet-kdef-56-14"))["first"]
    assert (own.fold, own.data, own.share, own.protocol) == (3, {"stray": 0.1}, 0.5, "dmlnet-kdef-56-14")
    with pytest.raises(ParameterError, match="is the data set itself"):
        dmlnet.recipe("quick", "kdef-twin", pretraining="kdef-twin", fold=1)
    assert (first.dataset, first.protocol, first.share, first.pretraining) == (
        "multipie-twin",
        "dmlnet-multipie",
        1.0,
        "",
    )


def test_estimates_go_to_the_set_that_they_are_about() -> None:
    both = dmlnet.recipe("quick", "sfew", pretraining="ferplus", estimates="sfew-quick-12345678+ferplus-quick-87654321")
    assert dmlnet.stages(both)["first"].estimates == "ferplus-quick-87654321"
    only = both.but(estimates="sfew-quick-12345678")
    assert dmlnet.stages(only)["first"].estimates == ""
    for names, said in (
        ("kdef-quick-1", "'kdef-quick-1' are of no data set of this run"), ("+", "no data set"),
        ("sfew-quick-1+sfew-quick-2", "two tables of sfew"),
    ):  # fmt: skip
        with pytest.raises(ParameterError, match=said):
            both.but(estimates=names)


def test_an_epoch_is_whole_five_tuples_of_known_images(people: Any) -> None:
    recipe = dmlnet.recipe("smoke", batch_size=10)
    rows = np.arange(len(people.manifest))
    e, one = people.labels(), dmlnet.truth(recipe, people)
    p, s = one["pose"].values, one["identity"].values
    first, again, later = (dmlnet.order(recipe, people, rows, epoch) for epoch in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], later[0])
    for changed in (recipe.but(seed=1), recipe.but(fold=1)):
        assert not np.array_equal(first[0], dmlnet.order(changed, people, rows, 0)[0])
    assert {len(part) for part in first[:-1]} == {10}
    anchor, *others = np.concatenate(first).reshape(-1, 5).T
    for partner, other, alike in zip(others, (p, p, s, s), (True, False, True, False), strict=True):
        assert ((e[partner] == e[anchor]) == alike).all() and ((other[partner] == other[anchor]) != alike).all()


def test_poses_are_the_cameras_or_the_paper_s_seven(people: Any) -> None:
    assert dmlnet.truth(dmlnet.recipe(), people)["pose"].classes == ("-90°", "-45°", "0°", "+45°", "+90°")
    for dataset, protocol, number in (
        ("bu3dfe-twin", "", 9), ("bu3dfe", "pata-bu3dfe-s2", 7), ("kdef", "official", 5), ("multipie", "", 5),
        ("multipie", "pata-multipie-s2", 13), ("sfew-twin", "", 7),
    ):  # fmt: skip
        recipe = dmlnet.recipe(dataset=dataset, **({"protocol": protocol} if protocol else {}))
        assert len(dmlnet.truth(recipe, people)["pose"].classes) == number
    partly = people.manifest.assign(pan=people.manifest["pan"].where(people.manifest.index % 3 > 0), yaw=-90.0)
    found = dmlnet.truth(dmlnet.recipe(), replace(people, manifest=partly))["pose"].values
    assert set(found[::3]) == {0} and set(found[1::3]) | set(found[2::3]) == {2, 3}, "yaw where the pan is not known"
    wild = pose_classes(np.array([-58.0, np.nan, 3.0, 41.0]), dmlnet.IN_THE_WILD)
    assert wild.values.tolist() == [0, -1, 3, 5] and wild.mirrored.tolist() == [6, -1, 3, 1]


@pytest.mark.parametrize(("column", "value", "said"), [("pan", np.nan, "turned"), ("subject", "", "who is on")])
def test_a_set_without_poses_or_people_is_refused(
    column: str, value: Any, said: str, people: Any, tmp_path: Any
) -> None:
    poor = open_prepared(write_prepared(tmp_path / "poor", turned().assign(**{column: value}), 48))
    with pytest.raises(DataError, match=said):
        dmlnet.truth(dmlnet.recipe(), poor)


def test_no_five_tuple_is_an_error_that_says_what_is_needed(people: Any) -> None:
    rows = np.flatnonzero(people.manifest["subject"] == people.manifest["subject"][0])
    with pytest.raises(DataError, match="two people"):
        dmlnet.order(dmlnet.recipe(), people, rows, 0)


def test_wrong_parameters_are_named() -> None:
    for changes, said in (
        ({"batch_size": 16}, "five-tuples"), ({"dataset": "kdfe-twin"}, "kdef-twin"), ({"margin": 1.0}, "margin_pose"),
        ({"first_epochs": 0, "pretraining": "multipie-twin"}, "first_epochs"), ({"method": "mef"}, "mfe"),
        ({"image_size": 1}, "no thirds"), ({"oversample": True}, "oversample"), ({"temperature": 1e-9}, "temperature"),
    ):  # fmt: skip
        with pytest.raises(ParameterError, match=said):
            dmlnet.recipe(**changes)


def test_landmarks_are_needed_by_crops_alone() -> None:
    assert dmlnet.starts(dmlnet.recipe(start="identity")) == {"backbone": "identity"}
    assert dmlnet.starts(dmlnet.recipe()) == {"backbone": ""}
    assert dmlnet.starts(dmlnet.recipe(crops="landmarks"))["landmark"] == "landmarks"
    assert dmlnet.starts(dmlnet.recipe(crops="landmarks", method="single")) == {"backbone": ""}
    assert dmlnet.model(dmlnet.recipe(crops="landmarks"), 7).landmark is not None
