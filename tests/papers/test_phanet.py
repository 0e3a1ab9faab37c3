"""PhaNet's crops, losses and network against loops, limits and finite differences."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import manifest, write_prepared
from torch import Tensor
from torch.nn import functional as F

from fercore.backbones.densenet import DenseNet, densenet
from fercore.data.prepared import open_prepared
from fercore.errors import DataError, FercoreError, ParameterError
from fercore.papers import attention, phanet
from fercore.papers.phanet import HALVES, PhaNet, PhaNetLoss

pytestmark = pytest.mark.usefixtures("one_thread")

# --- Eq. (1): DenseNet -----------------------------------------------------------------------------------


@pytest.mark.equation("PhaNet Eq. (1)")
def test_every_layer_sees_all_that_came_before() -> None:
    torch.manual_seed(0)
    trunk = DenseNet(3, 10, stem=3, entry=1).eval()
    x = trunk.stem(torch.randn(2, 3, 12, 12))
    for block in (1, 2, 3):
        for layer in (1, 2):
            own = trunk.get_submodule(f"dense{block}_{layer}")
            x = torch.cat([x, own.grow(x)], 1)
        x = trunk.get_submodule(f"transition{block}")(x) if block < 3 else trunk.norm(x)
    torch.manual_seed(0)
    again = DenseNet(3, 10, stem=3, entry=1).eval()
    assert torch.equal(again(torch.randn(2, 3, 12, 12)), x)
    assert x.shape == (2, 16 + 3 * 2 * 3, 3, 3) and trunk.channels == 34


def test_the_published_size_is_that_of_the_densenet_paper() -> None:
    number = {
        name: sum(p.numel() for p in densenet(**changes).parameters())
        for name, changes in (("plain", {}), ("bottleneck", {"depth": 100, "bottleneck": True}))
    }
    # One million in its Table 2. By its form: 16 channels, twelve 3x3 convolutions a block, 1x1 ones between, batch
    # norm before each.
    channels, by_form = 16, 16 * 3 * 9
    for block in range(3):
        for _ in range(12):
            by_form += 2 * channels + channels * 12 * 9
            channels += 12
        by_form += 2 * channels + (channels * channels if block < 2 else channels * 10 + 10)
    assert number["plain"] == by_form == 1_019_722
    assert densenet(classes=7, stem=7)(torch.zeros(2, 3, 224, 224)).shape == (2, 7)
    assert DenseNet()(torch.zeros(1, 3, 224, 224)).shape == (1, 448, 14, 14)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"depth": 41}, "multiple of 3"), ({"depth": 4}, "depth"), ({"depth": 43, "bottleneck": True}, "multiple of 6"),
     ({"stem": 4}, "odd stem"), ({"entry": 3}, "entry"), ({"growth": 0}, "growth")],
)  # fmt: skip
def test_a_densenet_that_is_none_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        DenseNet(**changes)


# --- Eq. (5): mask, crop and zoom ------------------------------------------------------------------------


def squares(*values: tuple[float, float, float]) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(torch.tensor(values, dtype=torch.float64).unbind(1))


@pytest.mark.equation("PhaNet Eq. (5)")
def test_the_mask_by_loop_and_tanh_is_a_logistic_of_twice_the_sharpness() -> None:
    x, y, half = squares((3.2, 5.0, 2.1), (6.0, 2.5, 1.5))
    found = attention.boxcar(x, y, half, 9, k=1.7)

    def step(z: float) -> float:
        return 1 / (1 + math.exp(-1.7 * z))

    for b in range(2):
        for row in range(9):
            for column in range(9):
                u, v = column + 0.5 - x[b].item(), row + 0.5 - y[b].item()
                across = step(u + half[b].item()) - step(u - half[b].item())
                down = step(v + half[b].item()) - step(v - half[b].item())
                assert found[b, row, column].item() == pytest.approx(across * down)
    assert torch.allclose(found, attention.boxcar(x, y, half, 9, kind="tanh", k=0.85))
    with pytest.raises(ParameterError, match="logistic or tanh"):
        attention.boxcar(x, y, half, 9, kind="box")  # type: ignore[arg-type]


@settings(max_examples=50, deadline=None)
@given(st.integers(6, 20), st.integers(0, 10**6))
def test_a_sharp_crop_is_a_slice(side: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    half = int(rng.integers(1, side // 2 + 1))
    left, top = (int(rng.integers(0, side - 2 * half + 1)) for _ in range(2))
    images = torch.rand(1, 2, side, side, dtype=torch.float64)
    region = squares((left + half, top + half, half))
    found = phanet.crop_and_zoom(images, *region, 2 * half, k=1e4)
    assert torch.allclose(found, images[:, :, top : top + 2 * half, left : left + 2 * half])
    larger = phanet.crop_and_zoom(images, *region, 6 * half, k=1e4)
    cut = images[:, :, top : top + 2 * half, left : left + 2 * half]
    inner = slice(3, -3)  # at the border the crop may see its neighbours, which the mask has made 0
    expected = F.interpolate(cut, (6 * half,) * 2, mode="bilinear", align_corners=False)
    assert torch.allclose(larger[:, :, inner, inner], expected[:, :, inner, inner])


def enlarged(images: Tensor, region: Tensor) -> Tensor:
    """Squares of images, brought to the size of these; no mask."""
    side = images.shape[-1]
    zoom, right, down = (one / side for one in (2 * region[:, 2], 2 * region[:, 0] - side, 2 * region[:, 1] - side))
    theta = torch.stack([zoom, 0 * zoom, right, 0 * zoom, zoom, down], 1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def test_the_gradient_of_a_crop_is_that_of_the_mask() -> None:
    torch.manual_seed(0)
    images, weights = torch.rand(1, 1, 8, 8, dtype=torch.float64), torch.rand(1, 1, 8, 8, dtype=torch.float64)
    region = torch.tensor([[4.2, 3.6, 2.3]], dtype=torch.float64, requires_grad=True)
    (phanet.crop_and_zoom(images, *region.unbind(1), 8, k=1.0) * weights).sum().backward()

    def at(values: Tensor) -> float:
        masked = images * attention.boxcar(*values.unbind(1), 8, k=1.0)[:, None]
        return (enlarged(masked, region.detach()) * weights).sum().item()

    for k in range(3):
        step = torch.zeros_like(region)
        step[0, k] = 1e-6
        by_difference = (at(region.detach() + step) - at(region.detach() - step)) / 2e-6
        assert region.grad[0, k].item() == pytest.approx(by_difference, rel=1e-5)


@pytest.mark.parametrize(
    ("spot", "moves"),
    [((14.5, 10.0), (1, 0)), ((5.5, 10.0), (-1, 0)), ((10.0, 14.5), (0, 1)), ((10.0, 5.5), (0, -1))],
)
def test_the_ranking_loss_moves_a_square_towards_what_makes_it_sure(
    spot: tuple[float, float], moves: tuple[int, int]
) -> None:
    u = torch.arange(20, dtype=torch.float64) + 0.5
    bright = torch.exp(-((u[None] - spot[0]) ** 2 + (u[:, None] - spot[1]) ** 2) / 4)[None, None]
    region = torch.tensor([[10.0, 10.0, 4.0]], dtype=torch.float64, requires_grad=True)

    def loss(values: Tensor) -> Tensor:
        seen = phanet.crop_and_zoom(bright, *values.unbind(1), 20, k=1.0).mean((1, 2, 3))
        return phanet.ranking_loss(torch.full((1,), 0.9, dtype=torch.float64), seen.sigmoid())

    loss(region).backward()
    pull = -region.grad[0]
    towards = torch.tensor(moves, dtype=torch.float64)
    assert (pull[:2] * towards).sum() > 0 and pull[2] > 0, "to the spot, and larger to see more of it"
    assert (pull[:2] * (1 - towards.abs())).abs().sum() < 1e-9, "and nowhere else"
    nearer = region.detach().clone()
    nearer[0, :2] += 0.5 * towards
    assert loss(nearer) < loss(region)


def test_a_square_that_leaves_the_image_has_a_mask_without_an_edge_there() -> None:
    images = torch.rand(1, 1, 16, 16, dtype=torch.float64)
    region = torch.tensor([[8.0, 8.0, 12.0]], dtype=torch.float64, requires_grad=True)
    phanet.crop_and_zoom(images, *region.unbind(1), 16).sum().backward()
    assert region.grad.abs().max() < 1e-12, "the crop would change, and the gradient says nothing: hence HALVES"
    assert max(HALVES) < 0.5


def test_what_can_not_be_cropped_is_refused() -> None:
    one = torch.ones(1)
    with pytest.raises(ParameterError, match="squares"):
        phanet.crop_and_zoom(torch.zeros(1, 3, 8, 9), one, one, one, 4)
    with pytest.raises(ParameterError, match="not a number"):
        phanet.crop_and_zoom(torch.zeros(1, 3, 8, 8), one * math.nan, one, one, 4)


def test_regions_begin_around_the_highest_response_and_inside() -> None:
    maps = torch.zeros(3, 2, 4, 4)
    maps[0, :, 1, 2], maps[1, 0, 0, 0], maps[2, :, 3, 3] = 1.0, 5.0, 2.0
    found = attention.highest_response(maps, 32, 6.0)
    assert found.tolist() == [[20.0, 12.0, 6.0], [6.0, 6.0, 6.0], [26.0, 26.0, 6.0]]


# --- Eqs. (3), (4) ---------------------------------------------------------------------------------------

probabilities = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8)


@pytest.mark.equation("PhaNet Eq. (4)")
@settings(max_examples=40, deadline=None)
@given(probabilities, st.floats(0, 0.5))
def test_eq4_by_loop(pairs: list[tuple[float, float]], margin: float) -> None:
    coarse, fine = torch.tensor(pairs, dtype=torch.float64).T
    terms = [max(0.0, before - now + margin) for before, now in pairs]
    assert phanet.ranking_loss(coarse, fine, margin, "sum").item() == pytest.approx(sum(terms))
    assert phanet.ranking_loss(coarse, fine, margin).item() == pytest.approx(sum(terms) / len(pairs))
    assert phanet.ranking_loss(fine - 2, fine, margin) == 0, "a finer scale that is surer costs nothing"


@pytest.mark.equation("PhaNet Eq. (3)")
def test_eq3_is_ranking_and_cross_entropy_of_the_finer_scale() -> None:
    torch.manual_seed(0)
    coarse, fine = torch.randn(6, 4, requires_grad=True), torch.randn(6, 4, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    ranking, expression = phanet.attention_loss(coarse, fine, labels)
    p = [one.softmax(1)[range(6), labels] for one in (coarse, fine)]
    assert ranking.item() == pytest.approx((p[0] - p[1] + 0.05).clamp(min=0).mean().item())
    assert expression.item() == pytest.approx(-p[1].log().mean().item(), rel=1e-5)
    (ranking + expression).backward()
    assert coarse.grad is None and fine.grad.abs().sum() > 0
    with pytest.raises(ParameterError, match="median"):
        phanet.ranking_loss(p[0], p[1], reduction="median")  # type: ignore[arg-type]


# --- Eqs. (6) to (8) -------------------------------------------------------------------------------------


def small(method: str = "phanet", **changes: Any) -> tuple[PhaNet, PhaNetLoss]:
    recipe = phanet.recipe("smoke", method=method, **changes)
    torch.manual_seed(0)
    return phanet.model(recipe, 5), phanet.criterion(recipe, torch.nn.Identity())


@pytest.mark.equation("PhaNet Eq. (6)", "PhaNet Eq. (7)", "PhaNet Eq. (8)")
@pytest.mark.parametrize("rectified", [True, False])
def test_eqs_6_to_8_by_hand(rectified: bool) -> None:
    network = small(rectified=rectified)[0].eval()
    output = network(torch.randn(3, 3, 32, 32))
    pooled = [one.mean((2, 3)) for one in output.feature_maps]
    joint = torch.cat(pooled, 1)
    answers = network.weigh.excite(network.weigh.squeeze(joint).relu())
    expected = (answers.clamp(min=0) if rectified else answers).sigmoid()
    assert torch.allclose(output.coefficients, expected)
    scaled = torch.cat([expected[:, k, None] * one for k, one in enumerate(pooled)], 1)
    assert torch.allclose(output.features, scaled)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 50))
def test_coefficients_as_printed_are_never_below_a_half(seed: int, scale: float) -> None:
    torch.manual_seed(seed)
    layer = phanet.ScaleAttention(6, 3, 4)
    begun = layer(torch.randn(20, 6))
    assert (begun > 0.5).all() and (begun < 0.6).all(), "near a half, where the ReLU is awake"
    torch.nn.init.normal_(layer.excite.weight)
    found = layer(scale * torch.randn(20, 6))
    assert (found >= 0.5).all() and (found <= 1).all()


def test_without_the_inner_relu_they_fall_below_it() -> None:
    torch.manual_seed(0)
    layer = phanet.ScaleAttention(6, 3, 4, rectified=False)
    torch.nn.init.normal_(layer.excite.weight)
    assert (layer(torch.randn(50, 6)) < 0.5).any()


# --- Eqs. (9), (10) --------------------------------------------------------------------------------------


@pytest.mark.equation("PhaNet Eq. (10)")
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-60, 60), st.floats(-60, 60)), min_size=1, max_size=6), st.booleans())
def test_weights_keep_their_constraints_for_any_input(answers: list[tuple[float, float]], ordered: bool) -> None:
    found = phanet.task_weights(torch.tensor(answers, dtype=torch.float64), ordered)
    assert torch.allclose(found.sum(1), torch.ones(len(answers))) and (found >= 0).all()
    for (e, p), (own_e, own_p) in zip(answers, found.tolist(), strict=True):
        first, second = (1 / (1 + math.exp(-one)) for one in (e, p))
        share = second / (first + second)
        assert own_p == pytest.approx(share / 2 if ordered else share, abs=1e-6)
        assert own_e >= own_p - 1e-6 or not ordered


def test_the_factor_is_least_where_both_tasks_weigh_the_same() -> None:
    weights = torch.linspace(0, 1, 1001, dtype=torch.float64)
    found = phanet.constraint_factor(weights)
    assert found.argmin() == 500 and found[0] == found[-1] == 1 and found[500].item() == pytest.approx(math.exp(-3))
    assert torch.allclose(found, found.flip(0))


def answers(network: PhaNet, seed: int = 0) -> tuple[Any, dict[str, Tensor]]:
    torch.manual_seed(seed)
    batch = {"labels": torch.arange(8) % 5, "pose": torch.tensor([0, 1, 2, 3, 4, -1, 0, 1])}
    return network(torch.randn(8, 3, 32, 32)), batch


@pytest.mark.equation("PhaNet Eq. (9)")
def test_eq9_by_loop() -> None:
    network, loss = small(optimise="apart")
    output, batch = answers(network.train())
    terms, told = loss(output, batch)
    e, p = (F.log_softmax(one, 1) for one in (output.logits, output.pose_logits))
    weights = phanet.task_weights(output.weights)
    expected = dict.fromkeys(("expression", "pose", "factor"), 0.0)
    for k in range(8):
        expected["expression"] -= (weights[k, 0] * e[k, batch["labels"][k]]).item() / 8
        if batch["pose"][k] >= 0:
            expected["pose"] -= (weights[k, 1] * p[k, batch["pose"][k]]).item() / 8
        share = weights[k, 1].item()
        expected["factor"] += math.exp(-12 * share * (1 - share)) / 8
    for s in (2, 3):
        ranking, own = phanet.attention_loss(output.at_scales[s - 2], output.at_scales[s - 1], batch["labels"])
        expected |= {f"ranking_{s}": ranking.item(), f"at_{s}": own.item()}
    expected["at_1"] = F.cross_entropy(output.at_scales[0], batch["labels"]).item()
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-4)
    assert told["lambda_e"].item() + told["lambda_p"].item() == pytest.approx(1)


def moved(network: PhaNet, terms: dict[str, Tensor]) -> dict[str, float]:
    """How large the gradient is in each part of the network."""
    network.zero_grad()
    sum(terms.values()).backward()
    parts = dict.fromkeys(("trunks", "regions", "rest"), 0.0)
    for name, weight in network.named_parameters():
        kind = "trunks" if name.startswith(("backbone", "finer")) else "rest"
        kind = "regions" if ".hidden" in name or ".region" in name else kind
        parts[kind] += 0.0 if weight.grad is None else weight.grad.abs().sum().item()
    return parts


def test_in_turn_scales_then_all_together_then_regions_alone() -> None:
    network, loss = small()
    for names in (("at_1", "at_2", "at_3"), ("expression", "pose", "factor"), ("ranking_2", "ranking_3")) * 2:
        output, batch = answers(network.train())
        terms = loss(output, batch)[0]
        assert tuple(terms) == names
        found = moved(network, terms)
        only = "ranking_2" in terms
        assert (found["regions"] > 0) == only and (found["trunks"] > 0) == (not only)


def test_what_is_put_on_the_regions_is_the_gradient_of_the_ranking_loss() -> None:
    network, loss = small(optimise="apart")
    network.double().eval()  # batch norm by batch would tie the images together, and half precision blur differences
    torch.manual_seed(1)
    images, labels = torch.randn(4, 3, 32, 32, dtype=torch.float64), torch.tensor([0, 1, 2, 3])
    network.mask, network.sharpness = "logistic", 1.0
    output = network(images)
    terms = loss(output, {"labels": labels, "pose": labels})[0]
    found = torch.autograd.grad(terms["ranking_2"] + terms["ranking_3"], output.regions[1], retain_graph=True)[0]
    at = output.corners[1].detach()

    def ranking(region: Tensor) -> float:
        seen = attention.cropped(images, *output.corners[0].unbind(1), 32, "logistic", 1.0)
        masked = seen * attention.boxcar(*region.unbind(1), 32, k=1.0)[:, None]
        answer = network.attend[2].answer(network.finer[1](enlarged(masked, at)).mean((2, 3)))
        p = [one.softmax(1)[range(4), labels] for one in (output.at_scales[1], answer)]
        return (p[0] - p[1] + 0.05).clamp(min=0).mean().item()

    for k in range(3):
        step = torch.zeros_like(at)
        step[2, k] = 1e-5
        with torch.no_grad():
            by_difference = (ranking(at + step) - ranking(at - step)) / 2e-5
        assert found[2, k].item() == pytest.approx(by_difference, rel=1e-3, abs=1e-9)


def test_as_one_sum_the_ranking_moves_the_trunks_too() -> None:
    for how, trunks in (("alternating", False), ("together", True)):
        network, loss = small(optimise=how)
        loss.steps += 2
        output, batch = answers(network.train())
        terms = {name: term for name, term in loss(output, batch)[0].items() if name.startswith("ranking")}
        assert (moved(network, terms)["trunks"] > 0) == trunks


def test_while_proposing_regions_learn_where_the_response_is_highest() -> None:
    network, loss = small()
    loss.proposing.fill_(True)
    network.train()
    optimiser = torch.optim.Adam([p for n, p in network.named_parameters() if ".hidden" in n or ".region" in n], 3e-3)
    seen = []
    for _ in range(60):
        loss.steps.fill_(2)
        output, batch = answers(network)
        terms = loss(output, batch)[0]
        assert tuple(terms) == ("proposal_2", "proposal_3")
        optimiser.zero_grad()
        sum(terms.values()).backward()
        optimiser.step()
        seen.append(terms["proposal_2"].item())
    assert seen[-1] < 0.1 * seen[0], "the same eight images: their squares find the places"


def test_a_region_that_is_no_number_is_refused_with_the_step() -> None:
    network, loss = small()
    loss.steps += 41
    with torch.no_grad():
        network.attend[1].region.weight.fill_(math.nan)
    output, batch = answers(network)
    with pytest.raises(FercoreError, match="S3 is not a number at mini-batch 42"):
        loss(output, batch)


# --- the network -----------------------------------------------------------------------------------------


@pytest.mark.equation("PhaNet Eq. (2)")
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1e4))
def test_regions_stay_within_bounds_and_nest(seed: int, scale: float) -> None:
    torch.manual_seed(seed)
    layer = phanet.PixelAttention(4, 3, 5, 6, 1 / 3, 1.0, True)
    with torch.no_grad():
        layer.region.weight.normal_(std=scale)
    first, second = (layer(torch.randn(7, 4, 6, 6), 48)[0] for _ in range(2))
    for x, y, half in first.tolist():
        assert 48 * HALVES[0] - 1e-3 <= half <= 48 * HALVES[1] + 1e-3
        assert half - 1e-3 <= min(x, y) and max(x, y) <= 48 - half + 1e-3
    outer, inner = phanet.absolute([first, second], 48)
    assert ((inner[:, :2] - outer[:, :2]).abs() + inner[:, 2:] <= outer[:, 2:] + 1e-2).all(), "S3 lies inside S2"


def test_a_square_begins_in_the_middle_as_large_as_it_is_told() -> None:
    layer = phanet.PixelAttention(4, 3, 5, 6, 0.3, 1.0, True)
    region, logits = layer(torch.randn(2, 4, 6, 6), 60)
    assert torch.allclose(region, torch.tensor([30.0, 30.0, 18.0]), atol=0.3) and logits.shape == (2, 5)


def test_a_slow_square_goes_the_same_way_and_less_far() -> None:
    """The same optimiser's steps of one size, at full pace and at a tenth of it."""
    feature_map, ends = torch.rand(8, 4, 6, 6), []
    for pace in (1.0, 0.1):
        torch.manual_seed(0)
        layer = phanet.PixelAttention(4, 3, 5, 64, 0.3, pace, True)
        optimiser = torch.optim.Adam(layer.parameters(), 1e-2)
        for _ in range(5):
            optimiser.zero_grad()
            layer(feature_map, 60)[0][:, 0].sum().backward()  # to the left
            optimiser.step()
        ends.append(30 - layer(feature_map, 60)[0][:, 0].mean().item())
    assert 0 < ends[1] < 0.2 * ends[0]


NETWORKS = [{"method": name} for name in get_args(phanet.Method)] + [
    {"shared": True}, {"pose": False}, {"dynamic": False}, {"attention": False}, {"optimise": "apart"},
    {"optimise": "together"}, {"bottleneck": True, "depth": 10}, {"mask": "tanh", "factor": False},
]  # fmt: skip


@pytest.mark.parametrize("changes", NETWORKS, ids=str)
def test_shapes_finite_and_a_gradient_in_every_trainable_parameter(changes: dict[str, Any]) -> None:
    network, loss = small(**changes)
    network.train()
    moving = set()
    for step in range(6):  # an optimiser's three turns, before and after regions have their first places
        loss.proposing.fill_(step < 3)
        output, batch = answers(network, step)
        terms, told = loss(output, batch)
        assert all(torch.isfinite(one).all() for one in (*terms.values(), *told.values()))
        network.zero_grad()
        sum(terms.values()).backward()
        moving |= {n for n, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    asleep = {n for n, _ in network.named_parameters()} - moving
    unasked: set[str] = set()
    if changes.get("attention") is False:
        unasked |= {name for name in asleep if ".hidden." in name or ".region." in name}
    assert asleep == unasked
    scales = 3 if network.attend else 1
    assert output.logits.shape == (8, 5) and len(output.feature_maps) == max(network.scales) <= scales
    assert output.coefficients.shape == (8, len(network.scales))


def test_one_trunk_for_all_scales_has_a_third_of_the_weights() -> None:
    counts = []
    for shared in (True, False):
        weights = small(shared=shared)[0].named_parameters()
        counts.append(sum(p.numel() for name, p in weights if name.startswith(("backbone", "finer"))))
    assert counts[1] == 3 * counts[0]


# --- recipes ---------------------------------------------------------------------------------------------


def test_rows_share_one_first_stage_of_the_whole_face() -> None:
    rows = [phanet.recipe("quick", method=name) for name in get_args(phanet.Method)]
    rows += [rows[-1].but(pose=False), rows[-1].but(shared=True, mask="tanh"), rows[-1].but(optimise="apart")]
    first = {phanet.stages(one)["first"].key() for one in rows}
    assert len(first) == 1
    stage = phanet.stages(rows[-1])["first"]
    assert (stage.method, stage.pose, stage.epochs, stage.first_epochs) == ("s1", False, rows[0].first_epochs, 0)
    assert not phanet.stages(stage) and phanet.stages(phanet.recipe("paper")) == {}
    other = phanet.stages(phanet.recipe("quick", "sfew", pretraining="affectnet-twin", share=0.5))["first"]
    assert (other.dataset, other.protocol, other.share) == ("affectnet-twin", "official", 1.0)


def test_finer_trunks_begin_as_copies_and_proposals_end() -> None:
    recipe = phanet.recipe("quick", proposal_epochs=2, growth=4, depth=7)
    network, loss = phanet.model(recipe, 5), phanet.criterion(recipe, torch.nn.Identity())
    for epoch, proposing in enumerate((True, True, False)):
        assert phanet.refresh(recipe, epoch, network, loss, None) == {}
        assert bool(loss.proposing) == proposing
        same = [torch.equal(network.backbone.stem.weight, one.stem.weight) for one in network.finer]
        assert same == [not epoch] * 2
        torch.nn.init.normal_(network.backbone.stem.weight)
    alone = phanet.model(recipe.but(copied=False), 5)
    phanet.refresh(recipe.but(copied=False), 0, alone, loss, None)
    assert not torch.equal(alone.backbone.stem.weight, alone.finer[0].stem.weight)


def test_expression_alone_where_nobody_knows_the_pose(tmp_path: Any) -> None:
    assert not phanet.recipe("quick", "ferplus").pose and phanet.recipe("quick", "ferplus-twin").pose
    assert phanet.recipe("quick", "ferplus", estimates="ferplus-quick-12345678").pose
    data = open_prepared(write_prepared(tmp_path / "blind", manifest(4, 2), 32))
    assert phanet.truth(phanet.recipe("smoke", "ferplus"), data) == {}
    with pytest.raises(DataError, match="how heads are turned"):
        phanet.truth(phanet.recipe("smoke", "ferplus", pose=True), data)
    known = open_prepared(write_prepared(tmp_path / "seen", manifest(4, 2).assign(yaw=-38.0), 32))
    assert set(phanet.truth(phanet.recipe("smoke", "affectnet-twin"), known)["pose"].values) == {0}


def test_a_record_keeps_maps_and_squares() -> None:
    network, images = small()[0].eval(), torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        found = phanet.maps(network, images)
        assert set(phanet.maps(small("s1")[0].eval(), images)) == {"s1"}
        assert phanet.features(network, images).shape == (4, 3 * network.backbone.channels)
    assert set(found) == {"s1", "s2", "s3", "regions"} and found["s3"].shape == (4, 4, 4)
    whole, finer = found["regions"].unbind(1)
    assert ((finer[:, :2] - whole[:, :2]).abs() + finer[:, 2:] <= whole[:, 2:] + 1e-5).all(), "S3 lies inside S2"
    assert ((whole[:, :2] - 0.5).abs() + whole[:, 2:] <= 0.5 + 1e-5).all(), "and S2 inside the image"


def test_wrong_parameters_are_named() -> None:
    for changes, said in (
        ({"dataset": "kdfe-twin"}, "kdef-twin"), ({"method": "s4"}, "s1"), ({"image_size": 16}, "18 pixels"),
        ({"first_half": 0.5}, "first_half"), ({"first_epochs": 0, "pretraining": "sfew-twin"}, "first_epochs"),
        ({"estimates": "rafdb-quick-1"}, "no data set"), ({"pretraining": "kdef-twin"}, "data set itself"),
    ):  # fmt: skip
        with pytest.raises(ParameterError, match=said):
            phanet.recipe(**changes)
