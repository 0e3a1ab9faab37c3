"""PCDA: its published sizes, every equation against a loop written from the paper, the loss at its limits."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny import manifest, write_prepared, write_squares
from torch import Tensor, nn
from torch.nn import functional as F

from fercore.backbones.ir50 import IR50
from fercore.backbones.mobilefacenet import MobileFaceNet
from fercore.backbones.resnet import ResNet18
from fercore.data import catalogue
from fercore.data.labels import EXPRESSIONS
from fercore.errors import DataError, ParameterError
from fercore.papers import landmarks, pcda
from fercore.papers.baselines import CrossEntropy
from fercore.papers.pcda import PCDA, NeutralAwareAnchorLoss, PCDALoss
from fercore.training import experiments

NEUTRAL = 0


def small(**changes: Any) -> PCDA:
    torch.manual_seed(0)
    usual = {"backbone": IR50(8), "dimensions": 24, "heads": 3, "side": 48, "drop": 0.0}
    return PCDA(5, **(usual | changes))


def millions(*modules: nn.Module) -> float:
    return sum(p.numel() for module in modules for p in module.parameters()) / 1e6


# --- sizes ---------------------------------------------------------------------------------------------


def test_sizes_of_table_8() -> None:
    with torch.device("meta"):
        network = PCDA(8)
    whole, image, landmark = millions(network), millions(network.backbone), millions(network.landmark)
    for ours, printed in ((whole, 34.2), (image, 17.6), (landmark, 1.0), (whole - image - landmark, 15.6)):
        assert ours == pytest.approx(printed, rel=0.02)


def test_operations_of_table_8_are_multiply_adds() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        network = PCDA(8).eval()
        images = torch.zeros(1, 3, 112, 112)
        counts = []
        for work in (network, network.backbone, network.landmark.features):
            with FlopCounterMode(display=False) as counter:
                work(images)
            counts.append(counter.get_total_flops() / 2e9)
    whole, image, landmark = counts
    assert image == pytest.approx(5.5, rel=0.01) and landmark == pytest.approx(0.2, abs=0.01)
    # The paper's 3.6 G for the cross attention is more than what its equations need.
    assert 2.8 < whole - image - landmark < 3.2


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dot": False},
        {"cross": False},
        {"heat": "conv"},
        {"heat": "sum"},
        {"heat": "abs-sum"},
        {"blocks": 3},
        {"frozen": False},
        {"backbone": ResNet18(8, "small", 1)},
    ],
)
def test_shapes_finite_and_a_gradient_in_every_trainable_parameter(changes: dict[str, Any]) -> None:
    network = small(**changes)
    images, labels = torch.randn(4, 3, 48, 48), torch.tensor([0, 0, 1, 1])
    out = network(images)
    assert out.logits.shape == (4, 5) and out.features.shape == (4, 24)
    assert out.feature_map.shape == (4, network.backbone.channels, 6, 6) and out.heat.shape == (4, 6, 6)
    terms = PCDALoss(NEUTRAL)(out, {"labels": labels})
    assert all(torch.isfinite(term) for term in terms.values())
    sum(terms.values()).backward()
    trained = {name: value for name, value in network.named_parameters() if value.requires_grad}
    assert not [name for name, value in trained.items() if value.grad is None or not torch.isfinite(value.grad).all()]
    # a bias of the keys is the same for all of them, and softmax takes it away
    still = [name for name, value in trained.items() if value.grad.abs().max() < 1e-12]
    assert all(name.endswith("attention.key.bias") for name in still), still


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ParameterError, match="did you mean 'max'"):
        small(heat="maxi")
    with pytest.raises(ParameterError, match="24 numbers a token can't be split among 5 heads"):
        small(heads=5)


def test_the_class_token_is_what_is_classified() -> None:
    network = small(blocks=1).eval()
    network.blocks = nn.ModuleList()  # tokens as they come
    images = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        out = network(images)
        tokens = network.fusion_tokens(out.feature_map, network.position)
        assert torch.allclose(out.features, network.norm(tokens[:, 0]), atol=1e-6)
        assert not torch.allclose(out.features, network.norm(tokens[:, -1]), atol=1e-2)
        assert torch.allclose(out.logits, network.classifier(out.features), atol=1e-6)


def test_frozen_means_frozen() -> None:
    network = small()
    before = {name: value.clone() for name, value in network.landmark.state_dict().items()}
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=0.01)
    loss = PCDALoss(NEUTRAL)
    for _ in range(2):
        network.train()
        terms = loss(network(torch.randn(4, 3, 48, 48) * 3 + 1), {"labels": torch.tensor([0, 1, 1, 2])})
        optimiser.zero_grad()
        sum(terms.values()).backward()
        optimiser.step()
    assert all(torch.equal(before[name], value) for name, value in network.landmark.state_dict().items())
    assert not network.landmark.training and network.backbone.training


# --- equations -----------------------------------------------------------------------------------------


def test_what_is_not_said_is_the_paper_s() -> None:
    with torch.device("meta"):
        network, block = PCDA(), pcda.Block(8, 2)
    assert (network.classifier.in_features, network.classifier.out_features, len(network.blocks)) == (768, 8, 2)
    assert network.position.shape[1] == 14 * 14 + 1 and network.frozen and network.dot and network.kind == "max"
    own = network.blocks[0].attention
    assert (own.heads, own.cross, own.drop.p) == (12, True, 0.5)
    assert block.mlp[0].out_features == 4 * 8 and block.attention.drop.p == block.mlp[2].p == 0.5


@pytest.mark.equation("PCDA Eq. (1)")
def test_eq1_by_loop() -> None:
    torch.manual_seed(0)
    landmark, image = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4)
    fused = pcda.dot_product_attention(pcda.heat_map(landmark), image)
    kinds = {"max": max, "sum": sum, "abs-sum": lambda values: sum(map(abs, values))}
    for kind, of in kinds.items():
        heat = pcda.heat_map(landmark, kind)
        for b in range(2):
            for y in range(4):
                for x in range(4):
                    assert heat[b, y, x].item() == pytest.approx(of(landmark[b, :, y, x].tolist()), rel=1e-5, abs=1e-6)
    for c in range(5):
        assert fused[1, c, 2, 3].item() == pytest.approx(max(landmark[1, :, 2, 3].tolist()) * image[1, c, 2, 3].item())


@pytest.mark.equation("PCDA Eq. (1)")
def test_the_convolution_of_table_4_gives_each_channel_a_map_of_its_own() -> None:
    network = small(heat="conv")
    assert network.heat.weight.shape == (network.backbone.channels, 128, 1, 1)
    published = PCDA(heat="conv", backbone=IR50())
    assert published.heat.weight.shape[:2] == (256, 128), "128 to 256 channels, as the text about the table says"
    images = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        out = network.eval()(images)
        landmark = network.landmark.features(pcda.as_detected(images))
        image = network.backbone(images)
    assert torch.allclose(out.heat, network.heat(landmark).mean(1), atol=1e-6), "the mean of its maps stands for them"
    weight, bias = network.heat.weight.flatten(1), network.heat.bias
    for c in (0, 7):
        heat = weight[c] @ landmark[1, :, 2, 3] + bias[c]
        assert out.feature_map[1, c, 2, 3].item() == pytest.approx((heat * image[1, c, 2, 3]).item(), rel=1e-4)


@pytest.mark.equation("PCDA Eq. (2)")
def test_eq2_the_class_token_and_then_the_grid_row_by_row() -> None:
    torch.manual_seed(0)
    tokens = pcda.Tokens(3, 6)
    feature_map, position = torch.randn(2, 3, 2, 4), torch.randn(1, 9, 6)
    found = tokens(feature_map, position)
    assert found.shape == (2, 9, 6)
    assert torch.allclose(found[0, 0], tokens.class_token[0, 0] + position[0, 0])
    at = tokens.embed(feature_map[1, :, 1, 2]) + position[0, 1 + 1 * 4 + 2]
    assert torch.allclose(found[1, 1 + 1 * 4 + 2], at, atol=1e-6)


@pytest.mark.equation("PCDA Eq. (3)")
@pytest.mark.equation("PCDA Eq. (4)")
def test_eq3_and_eq4_by_loop() -> None:
    torch.manual_seed(0)
    attention = pcda.CrossAttention(8, 2).eval()
    fusion, landmark = torch.randn(1, 5, 8), torch.randn(1, 5, 8)
    query = attention.query_landmark(landmark)[0]
    key, value = attention.key(fusion)[0], attention.value(fusion)[0]
    rows = []
    for t in range(5):
        parts = []
        for h in (slice(0, 4), slice(4, 8)):
            scores = [(query[t, h] @ key[s, h]).item() / math.sqrt(4) for s in range(5)]
            weights = [math.exp(score - max(scores)) for score in scores]
            parts.append(sum(w * value[s, h] for s, w in enumerate(weights)) / sum(weights))
        rows.append(torch.cat(parts))
    expected = attention.project(torch.stack(rows))
    assert torch.allclose(attention(fusion, landmark)[0], expected, atol=1e-5)


def test_without_cross_attention_the_landmark_tokens_do_not_matter() -> None:
    torch.manual_seed(0)
    fusion, first, second = torch.randn(3, 1, 5, 8).unbind()
    own, crossed = pcda.CrossAttention(8, 2, cross=False).eval(), pcda.CrossAttention(8, 2).eval()
    assert torch.equal(own(fusion, first), own(fusion, second))
    assert not torch.allclose(crossed(fusion, first), crossed(fusion, second))


@pytest.mark.equation("PCDA Eq. (5)")
def test_eq5_is_a_block_with_two_residuals() -> None:
    torch.manual_seed(0)
    block = pcda.Block(8, 2, drop=0.5).eval()
    fusion, landmark = torch.randn(2, 2, 5, 8).unbind()
    attended = block.attention(block.norm_fusion(fusion), block.norm_landmark(landmark)) + fusion
    assert torch.allclose(block(fusion, landmark), block.mlp(block.norm(attended)) + attended, atol=1e-6)


def test_a_block_drops_in_three_places() -> None:
    block = pcda.Block(8, 2, drop=1.0).train()
    assert [module.p for module in block.modules() if isinstance(module, nn.Dropout)] == [1.0] * 3
    fusion, landmark = torch.randn(2, 2, 5, 8).unbind()
    assert torch.equal(block(fusion, landmark), fusion), "with all of both branches dropped"


@pytest.mark.equation("PCDA Eq. (2)")
def test_both_streams_have_the_same_positions() -> None:
    network = PCDA(3, dimensions=24, heads=3, side=64, blocks=1, backbone=IR50(), landmark=MobileFaceNet(64)).eval()
    assert 0.015 < network.position.std().item() < 0.025
    nn.init.normal_(network.position)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        landmark = network.landmark.features(landmarks.as_detected(images))
        fused = landmark.amax(1, keepdim=True) * network.backbone(images)
        streams = []
        for tokens, features in ((network.fusion_tokens, fused), (network.landmark_tokens, landmark)):
            embedded = tokens.embed(features.flatten(2).transpose(1, 2))
            streams.append(torch.cat([tokens.class_token.expand(2, -1, -1), embedded], 1) + network.position)
        class_token = network.norm(network.blocks[0](*streams)[:, 0])
        torch.testing.assert_close(network(images).logits, network.classifier(class_token))


def naive(features: Tensor, logits: Tensor, labels: Tensor, neutral: int) -> tuple[float, float, float]:
    """Eqs. (7), (8) and (9), sample by sample and pair by pair."""
    values, classes = features.tolist(), labels.tolist()
    probabilities = logits.softmax(1).tolist()
    entropy = [-sum(p * math.log(p) for p in row if p > 0) for row in probabilities]

    def distance(a: int, b: int) -> float:
        return sum((x - y) ** 2 for x, y in zip(values[a], values[b], strict=True)) / len(values[a])

    of_class = {}
    for c in set(classes):
        members = [i for i, label in enumerate(classes) if label == c]
        anchor = min(members, key=lambda i: entropy[i])
        of_class[c] = sum(distance(i, anchor) for i in members) / len(members)
    own = [i for i, label in enumerate(classes) if label == neutral]
    pairs = sum(distance(i, j) for i in own for j in own if i != j)
    spread = pairs / (len(own) - 1) ** 2 if len(own) > 1 else 0.0
    every = sum(of_class.values())
    return every, every - of_class.get(neutral, 0.0), spread


@pytest.mark.equation("PCDA Eq. (6)")
@pytest.mark.equation("PCDA Eq. (7)")
@pytest.mark.equation("PCDA Eq. (8)")
@pytest.mark.equation("PCDA Eq. (9)")
@pytest.mark.equation("PCDA Eq. (10)")
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 14), st.integers(1, 5), st.integers(0, 1000), st.integers(0, 3))
def test_eqs_6_to_10_are_those_of_loops(count: int, classes: int, seed: int, neutral: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features, logits = torch.randn(count, 6, generator=generator), torch.randn(count, 4, generator=generator) * 2
    labels = torch.randint(classes, (count,), generator=generator) % 4
    every, others, spread = naive(features, logits, labels, neutral)
    anchor = pcda.anchors(logits, labels)
    assert torch.equal(labels[anchor], labels)
    assert pcda.anchor_distance(features, anchor, labels).item() == pytest.approx(every, rel=1e-4, abs=1e-6)
    found = pcda.non_neutral_distance(features, logits, labels, neutral).item()
    assert found == pytest.approx(others, rel=1e-4, abs=1e-5)
    assert pcda.neutral_distance(features[labels == neutral]).item() == pytest.approx(spread, rel=1e-4, abs=1e-5)
    whole = NeutralAwareAnchorLoss(neutral)(features, logits, labels).item()
    assert whole == pytest.approx(others + spread, rel=1e-4, abs=1e-5)


@pytest.mark.equation("PCDA Eq. (9)")
def test_pairs_cost_as_much_as_samples_and_far_from_zero_they_are_still_right() -> None:
    torch.manual_seed(0)
    features = (torch.randn(400, 16, dtype=torch.float64) + 1000).float()  # squares of 1e6 would swallow differences
    quadratic = torch.cdist(features.double(), features.double()).square().sum().item() / 16 / 399**2
    assert pcda.neutral_distance(features).item() == pytest.approx(quadratic, rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("labels", [[0], [1], [0, 0], [1, 1], [0, 1, 2, 3], [1, 2, 3], [0, 0, 0, 1]])
@pytest.mark.parametrize("detach", [False, True])
def test_the_loss_is_never_nan(labels: list[int], dtype: torch.dtype, detach: bool) -> None:
    torch.manual_seed(0)
    features = (torch.randn(len(labels), 8) * 300).to(dtype).requires_grad_()
    logits = (torch.randn(len(labels), 4) * 80).to(dtype)
    loss = NeutralAwareAnchorLoss(NEUTRAL, detach=detach)(features, logits, torch.tensor(labels))
    loss.backward()
    assert torch.isfinite(loss) and loss.dtype == torch.float32 and torch.isfinite(features.grad).all()
    if len(set(labels)) == len(labels):
        assert loss.item() == 0, "single samples have nothing to be near to"


@pytest.mark.equation("PCDA Eq. (10)")
def test_equal_features_cost_nothing_and_an_anchor_may_stand_still() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    logits = torch.tensor([[0.0, 0, 0], [3, 0, 0], [0, 9.0, 0], [0, 1, 0]])
    assert NeutralAwareAnchorLoss(NEUTRAL)(torch.ones(4, 8), logits, labels).item() == 0
    features = torch.arange(4.0)[:, None].repeat(1, 2).requires_grad_()
    moving, still = (NeutralAwareAnchorLoss(NEUTRAL, detach=detach) for detach in (False, True))
    assert moving(features, logits, labels).item() == still(features, logits, labels).item() == 2.0 + 0.5
    (gradient,) = torch.autograd.grad(moving(features, logits, labels), features)
    assert gradient[2].any(), "sample 2, the surest of its class, is its anchor"
    (gradient,) = torch.autograd.grad(still(features, logits, labels), features)
    assert not gradient[2].any() and gradient[3].any()


@pytest.mark.equation("PCDA Eq. (11)")
def test_eq11_weighs_the_anchor_loss() -> None:
    torch.manual_seed(0)
    out = small()(torch.randn(4, 3, 48, 48))
    labels = torch.tensor([0, 0, 1, 1])
    terms = PCDALoss(NEUTRAL)(out, {"labels": labels})
    assert terms["cross_entropy"].item() == pytest.approx(F.cross_entropy(out.logits, labels).item())
    own = NeutralAwareAnchorLoss(NEUTRAL)(out.features, out.logits, labels)
    assert terms["anchor"].item() == pytest.approx(0.01 * own.item(), rel=1e-5)
    assert set(PCDALoss(NEUTRAL, 0.0)(out, {"labels": labels})) == {"cross_entropy"}


@pytest.mark.equation("PCDA Eq. (7)")
def test_anchor_loss_without_neutral_treats_all_classes_alike() -> None:
    torch.manual_seed(0)
    features, logits, labels = torch.randn(9, 6), torch.randn(9, 3), torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    plain = NeutralAwareAnchorLoss(None)(features, logits, labels)
    assert plain.item() == pytest.approx(pcda.anchor_distance(features, pcda.anchors(logits, labels), labels).item())
    features.requires_grad_()
    anchor = pcda.anchors(logits, labels)
    for detach in (False, True):
        loss = NeutralAwareAnchorLoss(None, detach=detach)(features, logits, labels)
        (gradient,) = torch.autograd.grad(loss, features)
        assert gradient[anchor].any() != detach, "an anchor may stand still here, too"
    shifted = NeutralAwareAnchorLoss(None)(features.roll(3, 0), logits.roll(3, 0).roll(1, 1), labels)
    assert shifted.item() == pytest.approx(plain.item(), rel=1e-5), "no class is another one"


def test_the_map_of_an_answer_is_grad_cam_of_its_logit() -> None:
    network = small().double().eval()
    images = torch.randn(3, 3, 48, 48, generator=torch.Generator().manual_seed(1)).double()
    found = pcda.maps(network, images)
    with torch.no_grad():
        out = network(images)
        answered = out.logits.argmax(1)
        assert torch.allclose(found["heat"], out.heat)
        step, network.dot, stem = 1e-5, False, network.backbone  # f_fusion is fed in by hand
        gradients = torch.zeros_like(out.feature_map[0].mean((1, 2)))
        for c in range(0, out.feature_map.shape[1], 17):
            logits = []
            for sign in (-1, 1):
                moved = out.feature_map.clone()
                moved[:, c] += sign * step
                network.backbone = Given(moved)
                logits.append(network(images).logits[0, answered[0]].item())
            gradients[c] = (logits[1] - logits[0]) / (2 * step) / moved[0, c].numel()
        network.backbone, network.dot = stem, True
    image = images.clone()
    output = network(image)
    (gradient,) = torch.autograd.grad(output.logits[0, answered[0]], output.feature_map)
    weights = gradient[0].mean((1, 2))
    assert torch.allclose(gradients[::17], weights[::17], rtol=1e-4, atol=1e-9), "by finite differences"
    expected = (weights[:, None, None] * out.feature_map[0]).sum(0).relu()
    assert torch.allclose(found["cam"][0], expected, rtol=1e-5, atol=1e-9) and expected.any()


class Given(nn.Module):
    """A trunk that answers with one and the same map."""

    def __init__(self, feature_map: Tensor) -> None:
        super().__init__()
        self.feature_map = feature_map

    def forward(self, images: Tensor) -> Tensor:
        return self.feature_map


def test_the_loss_of_a_recipe() -> None:
    network = torch.nn.Linear(1, 1)
    plain = pcda.criterion(pcda.recipe("smoke", method="plain", label_smoothing=0.2), network)
    assert type(plain) is CrossEntropy and plain.label_smoothing == 0.2, "a plain trunk has no anchors"
    loss = pcda.criterion(pcda.recipe("smoke", label_smoothing=0.2, anchor_weight=0.5, detach=True), network)
    assert loss.cross_entropy.label_smoothing == 0.2 and loss.weight == 0.5 and loss.anchor.detach
    neutral, alike = (
        pcda.criterion(pcda.recipe("smoke", anchor=anchor), network).anchor.neutral
        for anchor in ("neutral-aware", "plain")
    )
    assert EXPRESSIONS[neutral] == "neutral" and alike is None


def test_what_the_detector_sees() -> None:
    images = torch.rand(1, 3, 4, 4)
    ours = (images - 0.5) / 0.25
    assert torch.allclose(landmarks.as_detected(ours), images.flip(1), atol=1e-6)


# --- runs ----------------------------------------------------------------------------------------------


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stripes whose expression can be learnt, and squares whose landmarks can."""
    monkeypatch.setenv("FERCORE_PREPARED", str(tmp_path / "prepared"))
    monkeypatch.setenv("FERCORE_RECORDS", str(tmp_path / "records"))

    def stripes(target: Path, preset: str) -> None:
        table = manifest(16, 3)
        fold = table["subject"].str[1:].astype(int) % 4
        table["split"] = np.where(fold == 0, "test", np.where(fold == 1, "validation", "train"))
        table["arousal"], table["valence"] = np.linspace(-1, 1, len(table)), 0.5
        write_prepared(target, table, size=32, name="ferplus-twin")

    for name, write in (("ferplus-twin", stripes), ("landmark-twin", write_squares)):
        monkeypatch.setitem(catalogue.DATASETS, name, catalogue.Entry(name, False, lambda _, n=name: n, write))


def run(**changes: Any) -> Any:
    small = {"backbone_epochs": 1, "epochs": 1, "batch_size": 16, "images": 0}
    return experiments.run(pcda.recipe("smoke", **(small | changes)))


def test_a_run_starts_from_our_landmarks_and_leaves_them_as_they_are(sets: None) -> None:
    record = run()
    root = record.folder.parent
    (detector,) = root.glob("landmarks-*/model.safetensors")
    theirs, ours = load_file(detector), load_file(record.folder / "model.safetensors")
    landmark = {name: value for name, value in ours.items() if name.startswith("landmark.")}
    assert landmark and all(
        torch.equal(value, theirs[name.replace("landmark.", "detector.", 1)]) for name, value in landmark.items()
    ), "weights and statistics of batch norm, to the bit"
    assert {"train_cross_entropy", "train_anchor"} <= set(record.history["method"][0])
    arrays = record.arrays()
    assert arrays["map_heat"].shape == arrays["map_cam"].shape == (len(arrays["map_rows"]), 4, 4)
    assert (arrays["map_cam"] >= 0).all() and arrays["map_cam"].any()


def test_a_record_keeps_where_its_test_images_lie_and_what_they_feel(sets: None) -> None:
    arrays = run().arrays()
    features, share = arrays["features"].astype(float), arrays["features_share"]
    assert features.shape == (len(arrays["labels"]), 8) and share.shape == (8,) and share.sum() <= 1 + 1e-6
    variance = features.var(0)
    assert (np.diff(variance) <= 0).all(), "components by variance"
    assert np.allclose(features.mean(0), 0, atol=0.01), "around the mean"
    assert np.allclose(variance / variance.sum(), share / share.sum(), atol=0.01)
    table = catalogue.prepare("ferplus-twin").manifest.set_index("sample").loc[arrays["samples"]]
    for name in ("arousal", "valence"):
        assert np.array_equal(arrays[f"known_{name}"], table[name].to_numpy(np.float16)), "of those that are tested"


def test_a_class_can_be_left_out(sets: None) -> None:
    whole, without = run(), run(leave_out="surprise")
    assert without.classes == [name for name in whole.classes if name != "surprise"]
    labels = whole.arrays()["labels"]
    place = whole.classes.index("surprise")
    assert (without.arrays()["labels"] != place).all() and len(without.arrays()["labels"]) == (labels != place).sum()
    kept = [s for s, label in zip(whole.arrays()["samples"], labels, strict=True) if label != place]
    assert without.arrays()["samples"].tolist() == kept
    assert without.data.images["train"] < whole.data.images["train"]
    no_neutral = pcda.criterion(pcda.recipe("smoke", leave_out="neutral"), torch.nn.Linear(1, 1))
    assert no_neutral.anchor.neutral is None, "nothing is kept apart that is not there"
    with pytest.raises(DataError, match=r"has no class 'suprise' to leave out"):
        run(leave_out="suprise")


def test_a_plain_run_needs_no_landmarks(sets: None) -> None:
    record = run(method="plain")
    assert not list(record.folder.parent.glob("landmarks-*"))
    assert record.arrays()["features"].shape[0] == len(record.arrays()["labels"])


def test_runs_share_the_trunk_and_differ_in_what_is_switched(sets: None) -> None:
    whole, plain, rest = run(), run(method="plain"), run(dot=False, cross=False, anchor_weight=0.0)
    assert whole.weights["backbone"] == plain.weights["backbone"] == rest.weights["backbone"]
    assert whole.history["backbone"] == plain.history["backbone"], "to the seconds: it was trained once"
    assert len({whole.key, plain.key, rest.key}) == 3
    assert "train_anchor" not in rest.history["method"][0] and plain.model["class"] == "ResNet18Classifier"


def test_a_file_of_landmark_weights_takes_the_place_of_ours(sets: None, tmp_path: Path) -> None:
    torch.manual_seed(1)
    torch.save({"state_dict": MobileFaceNet(32).state_dict()}, tmp_path / "detector.pth.tar")
    record = run(landmark_weights=str(tmp_path / "detector.pth.tar"))
    assert not list(record.folder.parent.glob("landmarks-*")), "ours were not needed"
    assert record.key != run(landmark_weights="").key
    with pytest.raises(ParameterError, match=r"pcda is to start from 'gone.pth', which is no file of weights"):
        run(landmark_weights="gone.pth")


def test_the_published_network_has_the_size_that_is_printed() -> None:
    with torch.device("meta"):
        network = pcda.model(pcda.recipe("paper", "rafdb", start="ir50.pth"), 7)
    assert millions(network) == pytest.approx(34.2, rel=0.02)
