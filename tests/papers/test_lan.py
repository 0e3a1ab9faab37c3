"""LAN: every equation against a loop written from the paper, k-means against scikit-learn's, and the models."""

from __future__ import annotations

import copy
import ctypes
import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import torchvision
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics.cluster import contingency_matrix
from torch import Tensor
from torch.nn import functional as F

from fercore.backbones.resnet import ResNet18
from fercore.errors import ParameterError
from fercore.papers import lan
from fercore.papers.baselines import CrossEntropy, class_activation
from fercore.papers.clustering import kmeans, lloyd_step
from fercore.papers.lan import GuidanceMap

B, C, H, W = 3, 5, 2, 4


def maps(count: int = B, channels: int = C, height: int = H, width: int = W, seed: int = 0) -> Tensor:
    return torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(seed))


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


# --- Eqs. (1) and (2): attention and fusion ---------------------------------------------------------------


@pytest.mark.equation("LAN Eq. (1)")
def test_eq1_attended_features_by_loop() -> None:
    feature_map, attention = maps(), torch.rand(B, H, W)
    attended = lan.attend(feature_map, attention)
    for b, c, h, w in np.ndindex(B, C, H, W):
        assert attended[b, c, h, w] == feature_map[b, c, h, w] * attention[b, h, w]


@pytest.mark.equation("LAN Eq. (1)")
def test_eq1_limits() -> None:
    feature_map = maps()
    assert torch.equal(lan.attend(feature_map, torch.ones(B, H, W)), feature_map)
    assert not lan.attend(feature_map, torch.zeros(B, H, W)).any()


@pytest.mark.equation("LAN Eq. (2)")
@pytest.mark.parametrize("fusion", ["add", "mean", "concat"])
def test_eq2_fusion_by_loop(fusion: str) -> None:
    f_o, f_a = maps(seed=1), maps(seed=2)
    fused = lan.fuse(f_o, f_a, fusion)
    assert fused.shape == (B, 2 * C if fusion == "concat" else C)
    for b, c in np.ndindex(B, C):
        first = sum(f_o[b, c, h, w].item() for h, w in np.ndindex(H, W)) / (H * W)
        second = sum(f_a[b, c, h, w].item() for h, w in np.ndindex(H, W)) / (H * W)
        if fusion == "concat":
            assert fused[b, [c, C + c]].tolist() == pytest.approx([first, second], abs=1e-6)
        else:
            wanted = first + second if fusion == "add" else (first + second) / 2
            assert fused[b, c].item() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.equation("LAN Eq. (2)")
def test_eq2_limits() -> None:
    feature_map = maps()
    pooled = feature_map.mean((2, 3))
    everywhere, nowhere = (lan.attend(feature_map, torch.full((B, H, W), v)) for v in (1.0, 0.0))
    torch.testing.assert_close(lan.fuse(feature_map, everywhere), 2 * pooled)
    torch.testing.assert_close(lan.fuse(feature_map, nowhere), pooled)
    torch.testing.assert_close(lan.fuse(feature_map, everywhere, "mean"), pooled)
    with pytest.raises(ParameterError, match=r"'sum'.*add, mean, concat"):
        lan.fuse(feature_map, nowhere, "sum")


# --- Eqs. (3) and (4): clusters and guidance labels -------------------------------------------------------


def blobs(count: int = 240, shares: tuple[float, ...] = (0.3, 0.7), seed: int = 0) -> Tensor:
    """Feature maps whose vectors form one overlapping blob a share at every position, in random order."""
    generator = np.random.default_rng(seed)
    belongs = generator.choice(len(shares), size=(count, H, W), p=shares)
    middles = 2.2 * generator.normal(size=(len(shares), H, W, C))
    rows, columns = np.indices((H, W))
    vectors = middles[belongs, rows, columns] + generator.normal(size=(count, H, W, C))
    return torch.from_numpy(vectors).float().permute(0, 3, 1, 2).contiguous()


def stream_of(feature_maps: Tensor, batch: int = 32) -> Callable[[], Iterable[Tensor]]:
    return lambda: iter(feature_maps.split(batch))


def fitted(feature_maps: Tensor, clusters: int = 2, **options: int) -> lan.GuidanceMap:
    guidance = lan.GuidanceMap(H * W, C, clusters)
    guidance.fit(stream_of(feature_maps), generator=torch.Generator().manual_seed(0), **options)
    return guidance


def nearest(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, float]:
    """Index of the nearest centre of each point, and the sum of squared distances to it."""
    distances = np.array([[((point - centre) ** 2).sum() for centre in centres] for point in points])
    return distances.argmin(1), float(distances.min(1).sum())


@pytest.mark.equation("LAN Eq. (3)")
@pytest.mark.parametrize(
    ("options", "same"), [({"sample": 1024}, 1.0), ({"sample": 60, "passes": 12}, 0.98)], ids=["in memory", "streamed"]
)
@pytest.mark.parametrize("shares", [(0.3, 0.7), (0.2, 0.3, 0.5)], ids=["K=2", "K=3"])
def test_eq3_clusters_are_those_of_scikit_learn(
    shares: tuple[float, ...], options: dict[str, int], same: float
) -> None:
    feature_maps = blobs(shares=shares)
    guidance = fitted(feature_maps, len(shares), **options)
    points = feature_maps.flatten(2).permute(2, 0, 1).numpy()  # (P, N, C)
    for position in range(H * W):
        oracle = KMeans(len(shares), n_init=10, random_state=0).fit(points[position])
        labels, inertia = nearest(points[position], guidance.centres[position].numpy())
        assert inertia <= 1.01 * oracle.inertia_
        table = contingency_matrix(labels, oracle.labels_)
        ours, theirs = linear_sum_assignment(table, maximize=True)
        assert table[ours, theirs].sum() >= same * len(labels)
        assert np.abs(guidance.counts[position].numpy() - np.bincount(labels)).max() <= (1 - same) * len(labels)
        assert theirs[guidance.attentive()[position]] == np.bincount(oracle.labels_).argmin()


def test_eq3_a_cluster_of_one_image_is_that_image() -> None:
    points = torch.zeros(2, 9, C)
    points[:, 4] = 7.0
    centres, counts = kmeans(points, 2, generator=torch.Generator().manual_seed(0))
    for position in range(2):
        few = counts[position].argmin()
        assert counts[position, few] == 1 and torch.equal(centres[position, few], points[position, 4])


@pytest.mark.equation("LAN Eq. (3)")
def test_eq3_centres_are_the_means_of_their_members() -> None:
    feature_maps, centres = maps(20), torch.randn(H * W, 2, C)
    found, counts = lan.lloyd_step(feature_maps.split(7), centres)
    for position in range(H * W):
        h, w = divmod(position, W)
        members: dict[int, list[Tensor]] = {0: [], 1: []}
        for n in range(20):
            distances = [float((feature_maps[n, :, h, w] - centres[position, k]).square().sum()) for k in (0, 1)]
            members[distances.index(min(distances))].append(feature_maps[n, :, h, w])
        for k in (0, 1):
            assert counts[position, k] == len(members[k])
            mean = torch.stack(members[k]).mean(0) if members[k] else centres[position, k]
            torch.testing.assert_close(found[position, k], mean)


def test_eq3_a_cluster_without_members_keeps_its_centre() -> None:
    centres = torch.zeros(H * W, 2, C)
    centres[:, 1] = 1e3
    found, counts = lan.lloyd_step([maps()], centres)
    assert torch.equal(found[:, 1], centres[:, 1]) and counts[:, 1].eq(0).all() and counts[:, 0].eq(B).all()


def test_eq3_more_clusters_than_images_are_refused() -> None:
    with pytest.raises(ParameterError, match="11 clusters of 10 images"):
        fitted(maps()[:1].expand(10, -1, -1, -1), clusters=11)


def test_eq3_equal_features_are_no_accident() -> None:
    guidance = fitted(torch.ones(10, C, H, W))
    assert guidance.centres.isfinite().all() and guidance.counts.sum(1).eq(10).all()


def test_eq3_same_seed_same_clusters() -> None:
    first, second = (fitted(blobs(), sample=60) for _ in range(2))
    assert torch.equal(first.centres, second.centres) and torch.equal(first.counts, second.counts)


def test_eq3_an_empty_stream_is_an_error() -> None:
    with pytest.raises(ParameterError, match="stream of features is empty"):
        lan.GuidanceMap(H * W, C).fit(lambda: iter(()))


@pytest.mark.equation("LAN Eq. (4)")
@pytest.mark.parametrize(
    ("counts", "attentive"),
    [([3, 5], 0), ([5, 3], 1), ([4, 4], 1), ([5, 3, 4], 1), ([1, 9, 9], 0), ([4, 2, 2], 2)],
)
def test_eq4_smaller_cluster_is_attentive_and_a_tie_goes_to_the_second(counts: list[int], attentive: int) -> None:
    guidance = lan.GuidanceMap(1, C, len(counts))
    guidance.counts.copy_(torch.tensor([counts]))
    assert guidance.attentive().tolist() == [attentive]


@pytest.mark.parametrize("clusters", [2, 3])
def test_guidance_labels_by_loop(clusters: int) -> None:
    guidance = fitted(blobs(), clusters)
    new = maps(6, seed=5)
    labels = guidance(new)
    assert labels.shape == (6, H, W)
    for b, h, w in np.ndindex(6, H, W):
        centres = guidance.centres[h * W + w]
        distances = [float((new[b, :, h, w] - centre).square().sum()) for centre in centres]
        smallest = min(reversed(range(clusters)), key=guidance.counts[h * W + w].tolist().__getitem__)
        assert labels[b, h, w] == float(distances.index(min(distances)) == smallest)


@pytest.mark.parametrize("clusters", [2, 3])
def test_weighted_guidance_by_loop(clusters: int) -> None:
    guidance = fitted(blobs(), clusters)
    guidance.source = "weighted"
    new = maps(6, seed=5)
    labels = guidance(new)
    for b, h, w in np.ndindex(6, H, W):
        centres = guidance.centres[h * W + w]
        near = [1 / float((new[b, :, h, w] - centre).square().sum()) for centre in centres]
        smallest = min(reversed(range(clusters)), key=guidance.counts[h * W + w].tolist().__getitem__)
        assert labels[b, h, w].item() == pytest.approx(near[smallest] / sum(near), rel=1e-3)
    at_a_centre = guidance.centres[:, 0].T.reshape(1, C, H, W)
    hit = (guidance.attentive() == 0).float().reshape(1, H, W)
    torch.testing.assert_close(guidance(at_a_centre), hit, atol=1e-4, rtol=0)


def test_the_larger_cluster_may_be_attended() -> None:
    guidance = fitted(blobs(shares=(0.2, 0.3, 0.5)), 3)
    new = maps(6, seed=5)
    guidance.attended = "larger"
    assert torch.equal(guidance.attentive(), guidance.counts.argmax(1))
    two = fitted(blobs())
    labels = two(new)
    two.attended = "larger"
    assert torch.equal(two(new), 1 - labels), "with two clusters the labels are turned round"


def test_guidance_by_chance_is_fixed_for_an_image_and_as_frequent_as_the_clusters() -> None:
    guidance = fitted(blobs())
    guidance.source = "random"
    rows = torch.arange(3000)
    labels = guidance(maps(3000), {"rows": rows})
    assert torch.equal(labels[17:20], guidance(maps(3, seed=9), {"rows": rows[17:20]})), "whatever the features are"
    share = guidance.counts.min(1).values / guidance.counts.sum(1)
    assert (labels.flatten(1).mean(0) - share).abs().max() < 0.04
    with pytest.raises(ParameterError, match="needs the batch's 'rows'"):
        guidance(maps())


def test_guidance_by_yaw_marks_turned_faces() -> None:
    guidance = lan.GuidanceMap(H * W, C, source="yaw")
    labels = guidance(maps(4), {"yaw": torch.tensor([-45.0, 30.0, 31.0, 0.0])})
    assert labels.shape == (4, H, W) and labels.flatten(1).mean(1).tolist() == [1, 0, 1, 0]
    with pytest.raises(ParameterError, match=r"needs the batch's 'yaw'.*\n.*twin"):
        guidance(maps(4), {"rows": torch.arange(4)})


def test_class_activation_by_loop_and_its_mean_is_the_logit() -> None:
    feature_map, weights = maps(), torch.randn(B, C)
    found = class_activation(feature_map, weights)
    for b, h, w in np.ndindex(B, H, W):
        assert found[b, h, w].item() == pytest.approx(
            sum(float(weights[b, c] * feature_map[b, c, h, w]) for c in range(C)), rel=1e-4, abs=1e-5
        )
    torch.testing.assert_close(found.mean((1, 2)), (feature_map.mean((2, 3)) * weights).sum(1))


@pytest.mark.parametrize("fusion", ["add", "mean", "concat"])
def test_maps_of_figures_add_up_to_the_logit(fusion: str) -> None:
    network = lan.model(lan.recipe("smoke", fusion=fusion), 7).eval()
    images = torch.randn(2, 3, 32, 32)
    found, output = lan.maps(network, images), network(images)
    assert set(found) == {"attention", "cam_o", "cam_a", "cam"}
    assert torch.equal(found["attention"], output.attention)
    top = output.logits.max(1)
    bias = network.classifier.bias[top.indices]
    torch.testing.assert_close(found["cam"].mean((1, 2)) + bias, top.values)
    torch.testing.assert_close(found["cam_o"] + found["cam_a"], found["cam"])
    plain = lan.model(lan.recipe("smoke", method="resnet18"), 7).eval()
    (cam,) = lan.maps(plain, images).values()
    top = plain(images).logits.max(1)
    torch.testing.assert_close(cam.mean((1, 2)) + plain.classifier.bias[top.indices], top.values)


def peak_memory(work: Callable[[], object]) -> float:
    """MiB that this process held at most while ``work`` ran, above what it held before."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # what the allocator kept for later would hide what is held now
        trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of before, which the imports have set
    before = psutil.Process().memory_info().rss / 2**20
    work()
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**10 - before


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="peak memory as Linux gives it")
def test_clustering_memory_does_not_grow_with_the_stream() -> None:
    def stream(count: int) -> Iterable[Tensor]:
        for seed in range(count // 256):
            yield maps(256, 256, 3, 3, seed)

    def fit(count: int) -> None:
        lan.GuidanceMap(9, 256).fit(lambda: stream(count), sample=64, passes=1)

    fit(256)  # what the first call of anything needs once
    features = 16384 * 256 * 9 * 4 / 2**20
    assert peak_memory(lambda: list(stream(16384))) > features / 1.25, "the measure sees what is held"
    # An allocator that keeps more for later only adds, so the least of three is nearest to what is held.
    quarter, whole = (min(peak_memory(lambda n=n: fit(n)) for _ in range(3)) for n in (4096, 16384))
    # Whoever held the stream would grow by three quarters of its features.
    assert whole < quarter + features / 8 and whole < features / 2, f"{quarter:.0f}, {whole:.0f} of {features:.0f} MiB"


# --- Eqs. (5) and (6): loss -------------------------------------------------------------------------------


@pytest.mark.equation("LAN Eq. (6)")
def test_eq6_map_loss_by_loop() -> None:
    logits, guidance = 3 * torch.randn(B, H, W), (torch.rand(B, H, W) < 0.5).float()
    total = 0.0
    for b, h, w in np.ndindex(B, H, W):
        p, target = sigmoid(logits[b, h, w].item()), guidance[b, h, w].item()
        total -= target * math.log(p) + (1 - target) * math.log(1 - p)
    assert lan.map_loss(logits, guidance).item() == pytest.approx(total / (B * H * W), rel=1e-5)


@pytest.mark.equation("LAN Eq. (6)")
def test_eq6_limits() -> None:
    guidance = (torch.rand(B, H, W) < 0.5).float()
    assert lan.map_loss(100 * (2 * guidance - 1), guidance).item() == pytest.approx(0, abs=1e-30)
    assert lan.map_loss(torch.zeros(B, H, W), guidance).item() == pytest.approx(math.log(2))
    assert lan.map_loss(-100 * (2 * guidance - 1), guidance).item() == pytest.approx(100)


def output_of(feature_map: Tensor, raw_attention: Tensor, logits: Tensor) -> lan.Output:
    attention = raw_attention.sigmoid()
    attended = lan.attend(feature_map, attention)
    return lan.Output(logits, lan.fuse(feature_map, attended), feature_map, attended, attention, raw_attention)


@pytest.mark.equation("LAN Eq. (5)")
def test_eq5_is_cross_entropy_plus_alpha_times_the_map_loss() -> None:
    guidance = fitted(blobs())
    output, batch = output_of(maps(), torch.randn(B, H, W), torch.randn(B, 7)), {"labels": torch.tensor([0, 6, 2])}
    expected = 0.0
    for row, label in zip(output.logits.tolist(), batch["labels"].tolist(), strict=True):
        expected -= math.log(math.exp(row[label]) / sum(map(math.exp, row))) / B
    for alpha in (0.0, 0.5, 1.0):
        terms = lan.LANLoss(guidance, alpha)(output, batch)
        assert list(terms) == ["cross_entropy", "map"]
        second = alpha * lan.map_loss(output.raw_attention, guidance(output.feature_map)).item()
        assert terms["cross_entropy"].item() == pytest.approx(expected, rel=1e-5)
        assert sum(terms.values()).item() == pytest.approx(expected + second, rel=1e-5)


def test_label_smoothing_by_loop() -> None:
    logits, labels, share = torch.randn(B, 7), torch.tensor([1, 0, 5]), 0.1
    expected = 0.0
    for row, label in zip(logits.log_softmax(1).tolist(), labels.tolist(), strict=True):
        expected -= sum(value * (share / 7 + (1 - share) * (k == label)) for k, value in enumerate(row)) / B
    output = output_of(maps(), torch.zeros(B, H, W), logits)
    assert CrossEntropy(share)(output, {"labels": labels})["cross_entropy"].item() == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_with_votes_against_a_loop() -> None:
    logits, votes = torch.randn(B, 7), torch.rand(B, 7).softmax(1)
    expected = -sum(
        float(votes[b, k]) * (float(logits[b, k]) - math.log(sum(math.exp(float(v)) for v in logits[b])))
        for b in range(B)
        for k in range(7)
    )
    labels = votes.argmax(1)
    output = output_of(maps(), torch.zeros(B, H, W), logits)
    found = CrossEntropy()(output, {"labels": labels, "targets": votes})["cross_entropy"].item()
    assert found == pytest.approx(expected / B, rel=1e-5)
    sure = F.one_hot(labels, 7).float()  # raters of one mind: the plain cross-entropy
    same = CrossEntropy()(output, {"labels": labels, "targets": sure})["cross_entropy"].item()
    assert same == pytest.approx(CrossEntropy()(output, {"labels": labels})["cross_entropy"].item(), rel=1e-6)


def test_no_gradient_flows_through_the_guidance() -> None:
    feature_map, raw_attention = maps().requires_grad_(), torch.randn(B, H, W).requires_grad_()
    output = output_of(feature_map, raw_attention, feature_map.mean((2, 3)))
    loss = lan.LANLoss(fitted(blobs()))
    assert not list(loss.parameters())
    loss(output, {"labels": torch.zeros(B, dtype=torch.long)})["map"].backward()
    assert feature_map.grad is None and raw_attention.grad.any()


# --- models and recipes -----------------------------------------------------------------------------------


def test_trunk_is_torchvisions_resnet18_without_its_classifier() -> None:
    theirs = torchvision.models.resnet18()
    tensors = {name: value for name, value in theirs.state_dict().items() if not name.startswith("fc.")}
    ours = ResNet18()
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in tensors.items()}
    own = sum(p.numel() for p in ours.parameters())
    assert own == sum(p.numel() for p in theirs.parameters()) - sum(p.numel() for p in theirs.fc.parameters())
    ours.load_state_dict(tensors)
    images = torch.randn(1, 3, 64, 64)
    theirs.avgpool, theirs.fc = torch.nn.Identity(), torch.nn.Identity()
    with torch.no_grad():
        assert torch.equal(ours.eval()(images).flatten(1), theirs.eval()(images))


def test_published_size() -> None:
    recipe = lan.recipe("paper")
    assert (recipe.image_size, recipe.width, recipe.batch_size, recipe.learning_rate) == (224, 64, 64, 0.1)
    assert (recipe.alpha, recipe.fusion, recipe.clusters) == (0.5, "add", 2)
    network = lan.model(recipe, 7).eval()
    with torch.no_grad():
        output = network(torch.randn(1, 3, 224, 224))
    assert output.feature_map.shape == output.attentive_map.shape == (1, 512, 7, 7)
    assert output.attention.shape == (1, 7, 7) and output.features.shape == (1, 512) and output.logits.shape == (1, 7)
    convolutions = [m for m in network.attention.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [m.kernel_size for m in convolutions] == [(3, 3)] * 4


@pytest.mark.parametrize("fusion", ["add", "mean", "concat"])
def test_small_size_is_consistent_and_finite(fusion: str) -> None:
    network = lan.model(lan.recipe("smoke", fusion=fusion), 7).eval()
    with torch.no_grad():
        output = network(torch.randn(2, 3, 32, 32))
    assert output.feature_map.shape == (2, 64, 4, 4) and output.logits.shape == (2, 7)
    assert all(value.isfinite().all() for value in output)
    assert output.attention.min() > 0 and output.attention.max() < 1
    torch.testing.assert_close(output.attentive_map, output.feature_map * output.raw_attention.sigmoid()[:, None])
    torch.testing.assert_close(output.logits, network.classifier(output.features))


def test_quick_grid_is_six_by_six() -> None:
    with torch.no_grad():
        assert ResNet18(8, "small", 1)(torch.zeros(2, 3, 48, 48)).shape == (2, 64, 6, 6)


@pytest.mark.parametrize("method", ["lan", "resnet18"])
def test_every_parameter_gets_a_gradient(method: str) -> None:
    torch.manual_seed(0)
    recipe = lan.recipe("smoke", method=method)
    network = lan.model(recipe, 7)
    criterion = lan.criterion(recipe, network)
    assert network.training and network.backbone.training
    images = torch.randn(16, 3, 32, 32)
    lan.refresh(recipe, 0, network, criterion, Images(images, 8))
    terms = criterion(network(images), {"labels": torch.arange(16) % 7})
    sum(terms.values()).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_refresh_runs_when_the_recipe_says_and_leaves_the_network_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = lan.recipe("smoke", refresh=2)
    network = lan.model(recipe, 7)
    criterion = lan.criterion(recipe, network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images, epochs = Images(torch.randn(16, 3, 32, 32), 8), []
    fit = GuidanceMap.fit
    monkeypatch.setattr(
        GuidanceMap, "fit", lambda self, *words, **more: epochs.append(now) or fit(self, *words, **more)
    )
    for now in range(5):
        lan.refresh(recipe, now, network, criterion, images)
    assert epochs == [0, 2, 4]
    assert network.training and all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert criterion.guidance.counts.sum(1).eq(16).all()
    epochs.clear()
    for now in range(3):
        lan.refresh(recipe.but(refresh=0), now, network, criterion, images)
    assert epochs == [0]
    assert lan.refresh(recipe.but(method="resnet18"), 0, network, CrossEntropy(), images) == {}
    assert lan.refresh(recipe.but(guidance="yaw"), 0, network, criterion, images) == {} and epochs == [0]
    assert lan.refresh(recipe.but(guidance="random"), 0, network, criterion, images) == {} and len(epochs) == 2
    lan.refresh(recipe.but(guidance="random", refresh=0), 1, network, criterion, images)
    assert len(epochs) == 2, "chance, too, is fitted once"


def test_clusters_are_fitted_as_the_recipe_says(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = lan.recipe("smoke", seed=7, cluster_sample=9, cluster_passes=4)
    network = lan.model(recipe, 7)
    criterion = lan.criterion(recipe, network)
    asked: list[tuple[int, int, int]] = []

    def fit(self: GuidanceMap, stream: Any, *, sample: int, passes: int, generator: torch.Generator) -> None:
        asked.append((sample, passes, generator.initial_seed()))

    monkeypatch.setattr(GuidanceMap, "fit", fit)
    lan.refresh(recipe, 0, network, criterion, Images(torch.randn(16, 3, 32, 32), 8))
    assert asked == [(9, 4, 7)]


class Images:
    """A training set whose augmented images are brighter; what is drawn from it in turn is equal."""

    def __init__(self, images: Tensor, batch: int) -> None:
        self.images, self.batch = images, batch

    def clean(self, rows: np.ndarray | None = None) -> Iterator[dict[str, Tensor]]:
        chosen = self.images if rows is None else self.images[rows]
        return ({"images": part} for part in chosen.split(self.batch))

    def augmented(self, rows: np.ndarray | None = None) -> Iterator[dict[str, Tensor]]:
        return ({"images": 1.5 * batch["images"] + 0.5} for batch in self.clean(rows))

    def sample(self, number: int) -> np.ndarray:
        return np.arange(min(number, len(self.images)))


def test_centres_are_those_of_the_features_that_labels_are_taken_from() -> None:
    """Eq. (3) holds for augmented images under the statistics of their batches, and for nothing else."""
    torch.manual_seed(1)
    recipe = lan.recipe("smoke")
    network = lan.model(recipe, 7)
    criterion = lan.criterion(recipe, network)
    for _ in range(3):  # running statistics that are not those of a batch
        network(torch.randn(8, 3, 32, 32) * 3)
    images = Images(torch.randn(24, 3, 32, 32), 8)
    lan.refresh(recipe, 0, network, criterion, images)

    def moved(train: bool, augmented: bool) -> float:
        """By how much a further step of k-means moves the centres."""
        seen = copy.deepcopy(network.backbone).train(train)
        batches = images.augmented() if augmented else images.clean()
        with torch.no_grad():
            centres, _ = lloyd_step([seen(batch["images"]) for batch in batches], criterion.guidance.centres)
        return float((centres - criterion.guidance.centres).abs().max())

    assert moved(True, True) < 1e-5
    assert min(moved(False, True), moved(True, False), moved(False, False)) > 1e-2
    output = network(next(images.augmented())["images"])
    wanted = recipe.alpha * F.binary_cross_entropy(output.attention, criterion.guidance(output.feature_map))
    term = criterion(output, {"labels": torch.zeros(8, dtype=torch.long)})["map"]
    torch.testing.assert_close(term, wanted)


def test_agreement_of_labels_is_one_where_nothing_differs() -> None:
    torch.manual_seed(0)
    recipe = lan.recipe("smoke", flip=False)
    network = lan.model(recipe, 7)
    criterion, images = lan.criterion(recipe, network), Images(torch.randn(16, 3, 32, 32), 16)
    images.augmented = images.clean  # type: ignore[method-assign]
    noted = lan.refresh(recipe, 0, network, criterion, images)
    assert noted["guidance_augmented"] == noted["guidance_kept"] == 1.0 > noted["guidance_modes"]
    with torch.no_grad():
        for p in network.backbone.parameters():
            p.add_(0.2 * torch.randn_like(p))
    later = lan.refresh(recipe, 1, network, criterion, images)
    assert later["guidance_augmented"] == 1.0 > later["guidance_kept"], "the features moved, the centres did not"
    assert lan.kappa(np.ones(4), np.ones(4)) == 1 and lan.kappa(np.array([0, 1, 0, 1]), np.array([0, 1, 1, 0])) == 0


def test_modes_are_compared_on_what_training_sees() -> None:
    """A backbone that answers otherwise in training, on images that are altered in augmentation."""

    class Sides(torch.nn.Module):
        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            return maps[:, :1] if self.training else maps[:, 1:2]

    images = Images(torch.zeros(6, 3, 8, 8), 4)
    clean, altered = torch.zeros(2, 6, 3, 8, 8).unbind()
    clean[:3, 1], altered[:4, 1], altered[1:4, 0] = 1, 1, 1  # in training three, else four; without alteration three
    images.clean = lambda rows=None: ({"images": part} for part in clean.split(4))  # type: ignore[method-assign]
    images.augmented = lambda rows=None: ({"images": part} for part in altered.split(4))  # type: ignore[method-assign]
    guidance = GuidanceMap(1, 3)
    guidance.forward = lambda maps, batch=None: maps[:, 0, :1, :1]  # type: ignore[method-assign]
    found = lan.agreement(guidance, Sides(), images, True)
    labels = {"train": [0, 1, 1, 1, 0, 0], "eval": [1, 1, 1, 1, 0, 0], "clean": [1, 1, 1, 0, 0, 0]}
    assert found["guidance_modes"] == lan.kappa(*(np.array(labels[name]) for name in ("train", "eval")))
    assert found["guidance_augmented"] == lan.kappa(*(np.array(labels[name]) for name in ("eval", "clean")))
    assert found["guidance_kept"] == 1


def test_the_widths_of_the_attention_are_halved_each_time() -> None:
    layers = [layer for layer in lan.LocalAttention(512).layers if isinstance(layer, torch.nn.Conv2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in layers] == [
        (512, 256), (256, 128), (128, 64), (64, 1),
    ]  # fmt: skip
    assert {layer.kernel_size for layer in layers} == {(3, 3)}


def test_labels_are_held_against_turned_faces_where_the_data_know_them() -> None:
    yaw = torch.tensor([-90.0, -31.0, -30.0, 0.0, 10.0, 45.0])
    images = Images(torch.zeros(6, 3, 8, 8), 4)
    images.images[:, 0, 0, 0] = (yaw.abs() > 30).float()  # the images themselves say it, on the grid of two positions
    guidance = GuidanceMap(2, 3)
    guidance.forward = lambda maps, batch=None: maps[:, 0, :1, :1].expand(-1, 1, 2)  # type: ignore[method-assign]
    assert "guidance_turned" not in lan.agreement(guidance, torch.nn.Identity(), images, True)
    clean = images.clean
    images.clean = lambda rows=None: (  # type: ignore[method-assign]
        batch | {"yaw": part} for batch, part in zip(clean(rows), yaw.split(4), strict=True)
    )
    assert lan.agreement(guidance, torch.nn.Identity(), images, True)["guidance_turned"] == 1
    images.images[0] = 0  # one of three turned faces is missed, at both positions: 5/6 agree, by chance 1/2
    found = lan.agreement(guidance, torch.nn.Identity(), images, True)["guidance_turned"]
    assert found == pytest.approx((5 / 6 - 1 / 2) / (1 / 2))


def stage(recipe: lan.LANRecipe) -> lan.LANRecipe:
    (own,) = lan.stages(recipe).values()
    return own


def test_methods_share_their_first_stage() -> None:
    recipe = lan.recipe("quick", "ferplus")
    own = stage(recipe)
    assert (own.method, own.epochs, own.backbone_epochs) == ("resnet18", recipe.backbone_epochs, 0)
    assert own.learning_rate == recipe.backbone_learning_rate and lan.stages(own) == {}
    for change in ({"method": "resnet18"}, {"alpha": 0.25}, {"fusion": "concat"}, {"refresh": 3}, {"epochs": 2}):
        assert stage(recipe.but(**change)).key() == own.key()
    for change in ({"width": 16}, {"backbone_epochs": 3}, {"seed": 1}, {"dataset": "kdef-twin"}, {"start": "identity"}):
        assert stage(recipe.but(**change)).key() != own.key()


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        (("smok",), {}, r"no preset 'smok'.*did you mean 'smoke'"),
        (("smoke", "ferplu"), {}, r"no data set to train on 'ferplu'.*did you mean 'ferplus'"),
        ((), {"alhpa": 1}, r"no parameter 'alhpa'.*did you mean 'alpha'"),
        ((), {"alpha": -1}, r"'alpha' = -1"),
        ((), {"alpha": float("nan")}, "'alpha' = nan"),
        ((), {"fusion": "sum"}, "'fusion' = 'sum'"),
        ((), {"clusters": 1}, "'clusters' = 1"),
        ((), {"epochs": "many", "width": 0}, r"'width' = 0.*; parameter 'epochs' = 'many'"),
    ],
)
def test_wrong_recipes(arguments: tuple[str, ...], changes: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        lan.recipe(*arguments, **changes)
