"""Classical baselines: descriptors against loops, classifiers against scikit-learn's own answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC
from tiny import manifest, write_prepared

from fercore.data.labels import Truth
from fercore.data.parts import parts_of
from fercore.data.prepared import Prepared, open_prepared
from fercore.errors import DataError, ParameterError
from fercore.papers import classical

pytestmark = pytest.mark.usefixtures("one_thread")


def grey(count: int = 3, side: int = 24) -> np.ndarray:
    return np.random.default_rng(0).uniform(size=(count, side, side))


def test_binary_patterns_are_counted_in_each_cell() -> None:
    """Each cell's numbers are the roots of the shares of its pixels' codes, counted one by one."""
    images = (255 * grey(1)).round() / 255
    found = classical.descriptors(images, "lbp").reshape(classical.CELLS, classical.CELLS, classical.PATTERNS)
    assert np.allclose(np.square(found).sum(-1), 1)
    codes = classical.pattern_codes(images[0])
    assert codes.min() >= 0 and codes.max() < classical.PATTERNS
    for row, column in ((0, 0), (2, 5)):
        cell = codes[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        counts = [(cell == code).sum() for code in range(classical.PATTERNS)]
        assert np.allclose(found[row, column], np.sqrt(np.array(counts) / 16))


def test_light_changes_no_binary_pattern_and_an_edge_one_direction() -> None:
    images = (255 * grey()).round() / 255
    order = classical.descriptors(np.round(images * 100) / 255, "lbp")
    assert np.allclose(order, classical.descriptors(np.round(images * 100) * 2 / 255, "lbp"))
    assert not np.allclose(order, classical.descriptors(1 - images, "lbp")), "a negative has other patterns"
    edge = np.zeros((1, 24, 24))
    edge[:, :, 12:] = 1.0
    across = classical.descriptors(edge, "hog").reshape(-1, 8).sum(0)
    down = classical.descriptors(edge.swapaxes(1, 2), "hog").reshape(-1, 8).sum(0)
    assert across.argmax() == 0 and down.argmax() == 4 and across[1:].max() < 1e-3 * across[0]


@pytest.mark.parametrize("kind", ["hog", "lbp"])
@pytest.mark.parametrize("side", [6, 24, 50])
def test_descriptors_are_finite_and_of_one_length(kind: Any, side: int) -> None:
    found = classical.descriptors(grey(2, side), kind)
    assert found.shape == (2, 800 if kind == "hog" else 36 * 59) and np.isfinite(found).all()
    assert np.isfinite(classical.descriptors(np.zeros((1, side, side)), kind)).all()
    with pytest.raises(ParameterError, match="images of 5 pixels"):
        classical.descriptors(grey(1, 5), kind)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    table = manifest(10, 3)
    turned = table.assign(yaw=np.where(np.arange(len(table)) % 2, 0.0, 45.0))
    return open_prepared(write_prepared(tmp_path_factory.mktemp("data") / "set", turned, 32))


def fitted(data: Prepared, **changes: Any) -> tuple[Any, Any, list[dict[str, float]], dict[str, np.ndarray]]:
    recipe = classical.recipe("smoke", "kdef-twin", images=0, **changes)
    parts = parts_of(recipe, data)
    network = classical.model(recipe, len(data.classes))
    loss = classical.criterion(recipe, network)
    network, history = classical.fit(
        recipe, network, loss, data, parts, Path(), truth=classical.truth(recipe, data), accelerator=None
    )
    return recipe, network, history, parts


@pytest.mark.parametrize("method", classical.CHOICES)
def test_every_method_is_fitted_and_answers(method: str, data: Prepared) -> None:
    recipe, network, history, parts = fitted(data, method=method)
    assert [row["choice"] for row in history] == list(classical.CHOICES[method])
    output = network(torch.rand(4, 3, 32, 32))
    assert output.logits.shape == (4, len(data.classes)) and output.pose_logits.shape == (4, 5)
    assert all(value.isfinite().all() for value in output)
    seen = classical._described(recipe, network, data, parts["validation"])
    answers = network.classifier((seen - network.mean) / network.deviation).argmax(1).numpy()
    best = max(row["validation_accuracy"] for row in history)
    assert np.mean(answers == data.labels()[parts["validation"]]) == pytest.approx(best)
    again = classical.model(recipe, len(data.classes))
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(torch.ones(1, 3, 32, 32)).logits, network(torch.ones(1, 3, 32, 32)).logits)


@pytest.mark.parametrize("poses", [2, 3])
def test_support_vectors_answer_as_scikit_learn_does(poses: int) -> None:
    rng = np.random.default_rng(1)
    seen, labels = rng.normal(size=(60, 7)), rng.integers(0, poses, 60) + 1  # class 0 has no image
    task = torch.nn.Linear(7, poses + 2)
    recipe = classical.recipe()
    classical._fill(recipe, task, 0.03, torch.from_numpy(seen).float(), torch.from_numpy(labels))
    new = rng.normal(size=(40, 7)).astype(np.float32)
    expected = LinearSVC(C=0.03, random_state=0).fit(seen.astype(np.float32).astype(float), labels).predict(new)
    assert np.array_equal(task(torch.from_numpy(new)).argmax(1).numpy(), expected)


def test_neighbours_vote_as_scikit_learn_has_them() -> None:
    rng = np.random.default_rng(2)
    seen, labels = rng.normal(size=(50, 4)).astype(np.float32), rng.integers(0, 3, 50)
    task = classical.Nearest(4, 3)
    classical._fill(classical.recipe(method="knn"), task, 5, torch.from_numpy(seen), torch.from_numpy(labels))
    new = rng.normal(size=(30, 4)).astype(np.float32)
    expected = KNeighborsClassifier(5, algorithm="brute").fit(seen, labels).predict_proba(new)
    assert np.allclose(task(torch.from_numpy(new)).exp().numpy(), (5 * expected + 0.01) / 5.03, atol=1e-5)


def test_one_class_alone_is_refused(data: Prepared) -> None:
    recipe = classical.recipe("smoke", "kdef-twin", images=0)
    network = classical.model(recipe, len(data.classes))
    one = {"pose": Truth(np.zeros(len(data.manifest), int))}
    with pytest.raises(DataError, match="show one pose alone"):
        classical.fit(recipe, network, None, data, parts_of(recipe, data), Path(), truth=one)
