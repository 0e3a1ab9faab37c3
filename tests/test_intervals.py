"""Intervals: by hand, against loops, and in simulations of what they promise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from test_records import record_of

from fercore import intervals, records
from fercore.errors import ParameterError, RecordError
from fercore.intervals import Part

CLASSES = ("a", "b", "c")


def answers(seed: int, number: int = 60, skill: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Labels and answers that are right more often than not."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, number)
    return labels, np.where(rng.random(number) < skill, labels, rng.integers(0, 3, number))


# --- metrics and their errors ------------------------------------------------------------------------------


def naive(metric: str, labels: np.ndarray, found: np.ndarray) -> float:
    """The metric by counting."""
    kind, _, name = metric.partition(".")
    pairs = list(zip(labels.tolist(), found.tolist(), strict=True))
    if kind == "accuracy":
        return sum(t == a for t, a in pairs) / len(pairs)
    recall = [sum(t == a == k for t, a in pairs) / sum(t == k for t, _ in pairs) for k in range(3)]
    if kind == "balanced_accuracy":
        return sum(recall) / 3
    k = CLASSES.index(name)
    precision = sum(t == a == k for t, a in pairs) / sum(a == k for _, a in pairs)
    return {"recall": recall[k], "precision": precision, "f1": 2 * recall[k] * precision / (recall[k] + precision)}[
        kind
    ]


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "recall.b", "precision.a", "f1.c"])
def test_a_metric_is_what_counting_gives_and_its_errors_say_how_it_moves(metric: str) -> None:
    labels, found = answers(0, 400)
    value, errors = intervals.metric_of(metric, labels, found, CLASSES)
    assert value == pytest.approx(naive(metric, labels, found)) and errors.sum() == pytest.approx(0, abs=1e-12)
    # Leaving one image out moves the metric by about its error: the infinitesimal jackknife.
    for place in (0, 57, 311):
        without = naive(metric, np.delete(labels, place), np.delete(found, place))
        assert value - without == pytest.approx(errors[place], abs=2e-5)


def test_a_metric_that_there_is_not_is_named() -> None:
    labels, found = answers(0)
    with pytest.raises(ParameterError, match=r"no metric 'recall\.d' of a, b, c"):
        intervals.metric_of("recall.d", labels, found, CLASSES)
    with pytest.raises(ParameterError, match="no metric 'luck'"):
        intervals.metric_of("luck", labels, found, CLASSES)


def test_a_class_without_images_has_no_recall_and_no_interval() -> None:
    value, errors = intervals.metric_of("recall.c", np.array([0, 1, 1]), np.array([0, 1, 2]), CLASSES)
    assert math.isnan(value)
    found = intervals.together([Part(value, errors, np.arange(3), False)])
    assert math.isnan(found.low) and math.isnan(found.high)


# --- intervals by hand -------------------------------------------------------------------------------------


def test_over_images_it_is_wilsons() -> None:
    right = np.array([1] * 42 + [0] * 18)
    found = intervals.mean(right)
    # Wilson's with the variance of a sample (n - 1) and the quantile of t in place of the normal one.
    p, number, t = 0.7, 59, stats.t.ppf(0.975, 59)
    middle = (p + t**2 / (2 * number)) / (1 + t**2 / number)
    half = t / (1 + t**2 / number) * math.sqrt(p * (1 - p) / number + t**2 / (4 * number**2))
    assert found == pytest.approx((p, middle - half, middle + half))
    low, high = stats.binomtest(42, 60).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.005)


def test_people_are_counted_not_images() -> None:
    each = np.array([1, 0, 1, 1, 0, 1, 1, 1])
    alone = intervals.mean(each)
    repeated = intervals.mean(np.repeat(each, 50), np.repeat(np.arange(8), 50))
    assert repeated == pytest.approx(alone), "fifty times the same answer of a person say no more than one"
    assert intervals.mean(np.repeat(each, 50)).high - intervals.mean(np.repeat(each, 50)).low < alone.high - alone.low


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_or_nothing_is_not_certain(value: float) -> None:
    low, high = intervals.mean(np.full(30, value))[1:]
    assert 0 <= low <= value <= high <= 1 and high - low > 0.05


def test_where_everybody_is_answered_alike_nothing_was_measured() -> None:
    found = intervals.mean(np.tile([1, 0], 10), np.repeat(np.arange(10), 2))
    assert found.value == 0.5 and found.high - found.low > 0.4, "as sure as ten images are"


def test_seeds_add_their_spread() -> None:
    names = np.arange(40).astype(str)
    right = [(np.arange(40) % 10 < k).astype(float) for k in (7, 8, 9)]
    parts = [Part(*intervals.ratio(own, np.ones(40)), names, False, seed=k) for k, own in enumerate(right)]
    found = intervals.together(parts, share=False)
    errors = np.mean([part.errors for part in parts], axis=0)
    people = 40 / 39 * float(np.square(errors).sum())
    seeds = float(np.var([0.7, 0.8, 0.9], ddof=1)) / 3
    freedom = (people + seeds) ** 2 / (people**2 / 39 + seeds**2 / 2)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(people + seeds)
    assert found[:3] == pytest.approx((0.8, 0.8 - half, 0.8 + half)) and found.over == "3 seeds, 40 images"
    assert found.p == pytest.approx(2 * stats.t.sf(0.8 / math.sqrt(people + seeds), freedom))
    one = intervals.together(parts[:1], share=False)
    assert one.over == "40 images" and one.high - one.low < found.high - found.low


def test_folds_follow_each_other_and_a_person_who_returns_is_one() -> None:
    def fold(number: int, names: list[str]) -> Part:
        right = np.random.default_rng(number).random(20) < 0.7
        return Part(*intervals.ratio(right.astype(float), np.ones(20)), np.repeat(names, 5), True, fold=number)

    apart = intervals.together([fold(0, list("abcd")), fold(1, list("efgh"))])
    again = intervals.together([fold(0, list("abcd")), fold(1, list("abcd"))])
    assert apart.over == "8 people" and again.over == "4 people" and apart.value == again.value


def test_equal_runs_do_not_differ() -> None:
    part = Part(0.0, np.zeros(10), np.arange(10), False)
    value, low, high, _, p = intervals.together([part], share=False)
    wilson = intervals.mean(np.zeros(10)).high
    assert (value, p) == (0, 1) and -low == high == pytest.approx(wilson), "ten equal answers do not settle it"


@pytest.mark.parametrize(("people", "images"), [(7, 4), (7, 10), (3, 3), (10, 7), (5, 3)])
def test_a_difference_that_is_everybodys_has_no_measured_spread(people: int, images: int) -> None:
    """One more image right of each person: nothing varies, whatever sums of rounded numbers say."""
    value, errors = intervals.ratio(np.tile(np.eye(images)[0], people), np.ones(people * images))
    found = intervals.together([Part(value, errors, np.repeat(np.arange(people), images), True)], share=False)
    assert found.value == pytest.approx(1 / images) and found.low < 0 < found.value < found.high and found.p > 0.05


def test_all_right_against_all_wrong_is_as_sure_as_a_sign_test() -> None:
    found = intervals.together([Part(1.0, np.zeros(7), np.arange(7), True)], share=False)
    assert found.low == pytest.approx(0.54, abs=0.01) and found.p == pytest.approx(2.0**-6)


@pytest.mark.parametrize(("right", "of"), [((35, 35, 36), 200), ((9, 9, 9, 9, 9, 9, 10), 10)])
def test_people_who_are_alike_tell_no_more_than_their_images(right: Sequence[int], of: int) -> None:
    values = np.concatenate([np.arange(of) < number for number in right]).astype(float)
    found = intervals.mean(values, np.repeat(np.arange(len(right)), of))
    alone = intervals.mean(values)
    assert found.low <= alone.low + 1e-9 and found.high >= alone.high - 1e-9


def test_nothing_has_no_mean() -> None:
    with pytest.raises(ParameterError, match="no value"):
        intervals.mean(np.array([]))


# --- do they hold what they promise? -----------------------------------------------------------------------


def bootstrap(values: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """The 95 % percentile bootstrap over people: values (people, images)."""
    means = values.mean(1)
    drawn = means[rng.integers(len(means), size=(600, len(means)))].mean(1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


@pytest.mark.parametrize(
    ("people", "true", "alike", "at_least", "bootstrap_at_most"),
    [(7, 0.87, 20, 0.93, 0.92), (14, 0.87, 20, 0.93, 0.945), (7, 0.97, 10, 0.86, 0.8)],
)
def test_few_people_are_covered_as_often_as_promised(
    people: int, true: float, alike: float, at_least: float, bootstrap_at_most: float
) -> None:
    """People whose rates differ, 70 images each, in 1,000 draws; a percentile bootstrap covers too few."""
    rng = np.random.default_rng(people)
    covered, by_bootstrap = 0, 0
    names = np.repeat(np.arange(people), 70)
    for _ in range(1000):
        rates = rng.beta(alike * true, alike * (1 - true), people)
        values = (rng.random((people, 70)) < rates[:, None]).astype(float)
        found, low_high = intervals.mean(values.ravel(), names), bootstrap(values, rng)
        covered += found.low <= true <= found.high
        by_bootstrap += low_high[0] <= true <= low_high[1]
    assert at_least <= covered / 1000 <= 0.98
    assert by_bootstrap / 1000 <= bootstrap_at_most


def test_a_difference_over_seeds_and_people_is_covered_as_often_as_promised() -> None:
    """Two networks of three seeds each that are equally good, tested on the same 40 people; both vary with the seed."""
    rng, covered = np.random.default_rng(0), 0
    names = np.repeat(np.arange(40), 10)
    for _ in range(600):
        hard = rng.normal(0, 1, (40, 1))
        parts = []
        for seed in range(3):
            right = [rng.normal(0, 1, (40, 10)) + hard + rng.normal(0, 0.15) > -0.8 for _ in range(2)]
            one, two = (intervals.ratio(own.ravel().astype(float), np.ones(400)) for own in right)
            parts.append(Part(one[0] - two[0], one[1] - two[1], names, True, seed=seed))
        found = intervals.together(parts, share=False)
        covered += found.low <= 0 <= found.high
    assert 0.93 <= covered / 600 <= 0.995, "the spread of seeds and people together is counted with care"


# --- of records --------------------------------------------------------------------------------------------


def kept(tmp_path: Path, seed: int = 0, skill: float = 0.7, **changed: Any) -> records.Record:
    """A record of 60 test images of six people."""
    labels = answers(0)[0]
    right = np.random.default_rng(seed + 7).random(60) < skill
    found = np.where(right, labels, (labels + 1) % 3)
    pose = (labels + (np.arange(60) < 6)) % 2  # six of them wrong
    arrays = {
        "labels": labels, "probabilities": np.eye(3)[found].astype(np.float16),
        "subjects": np.repeat(list("uvwxyz"), 10), "samples": np.arange(60).astype(str),
        "in_test": np.ones(60, bool), "in_pose_over_45": np.arange(60) % 3 == 0,
        "confusion_on_other": np.array([[8, 1, 1], [2, 7, 1], [0, 0, 10]]),
        "pose_labels": labels % 2, "pose_probabilities": np.eye(2)[pose].astype(np.float16),
    }  # fmt: skip
    record = record_of(f"{seed}{'ab'[skill > 0.7]}" + "0" * 8, seed=seed)
    record.classes, record.heads = list(CLASSES), {"pose": ["left", "right"]}
    record.metrics = {"test": {"accuracy": 0.5}, "pose_over_45": {}}
    return records.write(record, arrays | changed, tmp_path)


def test_of_one_record(tmp_path: Path) -> None:
    run = kept(tmp_path)
    arrays = run.arrays()
    right = arrays["probabilities"].argmax(1) == arrays["labels"]
    found = intervals.estimate([run])
    assert found[:3] == pytest.approx(intervals.mean(right, arrays["subjects"])) and found.over == "6 people"
    turned = intervals.estimate([run], subset="pose_over_45")
    assert turned.value == right[arrays["in_pose_over_45"]].mean()
    assert intervals.estimate([run], "pose_accuracy").value == pytest.approx(0.9)
    assert intervals.estimate([run], "accuracy", "on_other").value == pytest.approx(25 / 30)
    assert intervals.estimate([run], "recall.b", "on_other").value == pytest.approx(0.7)
    with pytest.raises(RecordError, match="does not keep what an interval of accuracy on pan_"):
        intervals.part_of(run, "accuracy", "pan_+30")


def test_images_whose_pose_nobody_knows_do_not_count(tmp_path: Path) -> None:
    whole = kept(tmp_path / "a").arrays()
    unknown = np.where(np.arange(60) < 9, -1, whole["pose_labels"])  # six of them are answered wrongly
    run = kept(tmp_path / "b", pose_labels=unknown)
    assert intervals.estimate([run], "pose_accuracy").value == 1.0
    assert intervals.estimate([run]).value == intervals.estimate([kept(tmp_path / "a")]).value


def test_equal_runs_tell_no_more_than_one(tmp_path: Path) -> None:
    alone, *others = [kept(tmp_path, seed) for seed in (0, 1, 2)]
    one, three = (intervals.estimate(own, subset="on_other") for own in ([alone], [alone, *others]))
    assert three[:3] == pytest.approx(one[:3], abs=1e-6), "of images that can't be met again"


def test_every_seed_counts_alike_however_many_folds_it_has() -> None:
    def part(value: float, seed: int, fold: int) -> Part:
        return Part(value, np.linspace(-0.01, 0.01, 8), np.arange(8) + 8 * fold, True, seed=seed, fold=fold)

    parts = [part(0.9, 0, 0), part(0.8, 0, 1), part(0.7, 0, 2), part(0.4, 1, 0)]
    assert intervals.together(parts, share=False).value == pytest.approx((0.8 + 0.4) / 2)


def test_two_kinds_of_runs_are_paired_by_seed_and_fold(tmp_path: Path) -> None:
    ours = [kept(tmp_path / "a", seed, skill=0.9) for seed in (0, 1, 2)]
    theirs = [kept(tmp_path / "b", seed, skill=0.6) for seed in (2, 0, 1)]
    found = intervals.estimate(ours, against=theirs)
    assert found.value == pytest.approx(intervals.estimate(ours).value - intervals.estimate(theirs).value)
    assert found.low > 0 and found.p < 0.05 and found.over == "3 seeds, 6 people"
    with pytest.raises(RecordError, match="compared by"):
        intervals.estimate(ours, against=theirs[:2])
    other = kept(tmp_path / "c", subjects=np.repeat(list("ABCDEF"), 10))
    with pytest.raises(RecordError, match="not tested on the same images"):
        intervals.estimate(ours[:1], against=[other])
    with pytest.raises(RecordError, match="no run"):
        intervals.estimate([])


def test_images_that_cannot_be_met_again_are_not_paired(tmp_path: Path) -> None:
    one, two = kept(tmp_path / "a"), kept(tmp_path / "b", skill=0.9)
    found = intervals.estimate([one], subset="on_other", against=[two])
    alone = intervals.estimate([one], subset="on_other")
    assert found.value == 0 and found.high - found.low > alone.high - alone.low, "both spreads count"


def test_who_alone_is_right(tmp_path: Path) -> None:
    one, two = kept(tmp_path / "a"), kept(tmp_path / "b", skill=0.9)
    right = [run.arrays()["probabilities"].argmax(1) == run.arrays()["labels"] for run in (one, two)]
    assert intervals.apart(one, two) == ((right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum())
    other = kept(tmp_path / "c", samples=np.arange(60).astype(str)[::-1])
    with pytest.raises(RecordError, match="not tested on the same images"):
        intervals.apart(one, other)


def test_records_without_answers_keep_the_interval_that_they_wrote(tmp_path: Path) -> None:
    record = record_of()
    ends = {"accuracy_low": 0.8, "accuracy_high": 0.95, "interval_over": "subjects"}
    record.metrics = {"test": {"accuracy": 0.9} | ends}
    found = intervals.estimate([records.write(record, {"right": np.ones(3, bool)}, tmp_path)])
    assert found[:4] == (0.9, 0.8, 0.95, "subjects")
    arrays = {"right": np.array([1, 0, 1, 1], bool), "people": np.array(list("aabb"))}
    newer = intervals.estimate([records.write(record_of("1" * 10), arrays, tmp_path)])
    assert newer.over == "2 people" and newer.value == 0.75


# --- many at once ------------------------------------------------------------------------------------------


def test_kendall_agrees_with_a_loop() -> None:
    ours, printed = [1.0, 3.0, 2.0, 5.0], [10.0, 20.0, 30.0, 40.0]
    signs = [np.sign((ours[i] - ours[j]) * (printed[i] - printed[j])) for i in range(4) for j in range(i)]
    assert intervals.kendall(ours, printed).tau == pytest.approx(sum(signs) / len(signs))
    with pytest.raises(ParameterError, match="two rows or more"):
        intervals.kendall([1.0, 1.0], [1.0, 2.0])


def test_holm_by_hand() -> None:
    assert intervals.holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert intervals.holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
