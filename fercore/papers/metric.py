"""DML-Net's five-tuples and losses; the network and its recipes stand in :mod:`fercore.papers.dmlnet`.

Shapes: N samples, T five-tuples, B images, D numbers of an embedding.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from accelerate.utils import reduce
from torch import Tensor, nn
from torch.nn import functional as F

from fercore.errors import DataError, ParameterError
from fercore.papers.baselines import CrossEntropy

# --- Section 3.1: five-tuples ---------------------------------------------------------------------------


def five_tuples(expression: Sequence, pose: Sequence, identity: Sequence, *, seed: int | Sequence[int]) -> np.ndarray:
    """DML-Net Algorithm 1: ``T = {(x, x^pose+, x^pose-, x^id+, x^id-)}``, rows (T, 5) of places among N samples.

    Labels (N,) of N samples, all of them known. Against its anchor a pose-positive has the same expression in another
    pose, a pose-negative another expression in the same pose, an identity-positive the same expression of another
    person, an identity-negative another expression of the same person. The samples are shuffled by ``seed``; each in
    turn becomes an anchor, unless a tuple holds it already, and takes the first samples in that order which are free
    and fit. A sample is in one tuple at most; an anchor that finds no four stays free for others.

    As printed, each search walks the whole set. Here the free samples of each expression, pose and person stand in
    order by their other label, and a heap knows the first of each label: the same tuples in O(N log N).
    """
    labels = [_numbered(name, of) for name, of in (("expression", expression), ("pose", pose), ("identity", identity))]
    if len({len(one) for one in labels}) != 1:
        raise DataError("A five-tuple needs three labels of each sample.", do="give as many poses and people as labels")
    if np.size(seed) == 0 or not all(isinstance(one, (int, np.integer)) and one >= 0 for one in np.ravel(seed)):
        raise ParameterError(f"seed = {seed!r} of five-tuples", do="give one or more whole numbers from 0 on")
    rows = np.random.default_rng(seed).permutation(len(labels[0]))
    used = bytearray(len(rows))
    e, p, s = (one[rows] for one in labels)
    same_expression, same_pose = _Free(e, p, used), _Free(p, e, used)
    other_person, same_person = _Free(e, s, used), _Free(s, e, used)
    tuples = []
    for anchor, (its_e, its_p, its_s) in enumerate(zip(e.tolist(), p.tolist(), s.tolist(), strict=True)):
        # Only the two of one kind, positives or negatives, could be one and the same sample.
        if (
            not used[anchor]
            and (pose_positive := same_expression.first(its_e, its_p)) is not None
            and (pose_negative := same_pose.first(its_p, its_e)) is not None
            and (id_positive := other_person.first(its_e, its_s, pose_positive)) is not None
            and (id_negative := same_person.first(its_s, its_e, pose_negative)) is not None
        ):
            tuples.append([anchor, pose_positive, pose_negative, id_positive, id_negative])
            for place in tuples[-1]:
                used[place] = 1
    return rows[np.array(tuples, np.int64).reshape(-1, 5)]


def _numbered(name: str, labels: Sequence) -> np.ndarray:
    """Labels (N,) as numbers from 0 on; one that is not known, below 0, NaN, None or an empty name, is an error."""
    try:
        values = pd.Series(np.asarray(labels))
    except ValueError as error:  # of two axes, or ragged
        raise DataError(f"{name} holds more than one label of a sample.", do="give one of each, (N,)") from error
    unknown = values.isna() | ((values < 0) if pd.api.types.is_numeric_dtype(values) else (values == ""))
    if unknown.any():
        raise DataError(f"{unknown.sum()} samples have no known {name}.", do="leave them out of the five-tuples")
    return pd.factorize(values)[0]


class _Free:
    """Of each group, the first free sample whose label is another than a given one.

    ``used`` (N,) is shared and says which samples are taken for good. Samples of one group and label stand in their
    order, places of a run; a heap for each group holds the first free sample of each run.
    """

    def __init__(self, group: np.ndarray, label: np.ndarray, used: bytearray) -> None:
        order = np.lexsort((label, group))  # stable
        starts = np.flatnonzero(np.diff(group[order], prepend=-1) | np.diff(label[order], prepend=-1)).tolist()
        self.order, self.used = order.tolist(), used
        self.onwards = list(range(1, len(order) + 1))  # from a sample that is taken to one that may be free
        self.heaps: list[list[tuple[int, int, int, int]]] = [[] for _ in range(group.max(initial=-1) + 1)]
        for start, end in zip(starts, [*starts[1:], len(order)], strict=False):
            self.heaps[group[order[start]]].append((self.order[start], int(label[order[start]]), start, end))
        for heap in self.heaps:
            heapq.heapify(heap)

    def first(self, group: int, unlike: int, besides: int | None = None) -> int | None:
        """The first free sample of a group with a label that is ``unlike``, and not the sample ``besides``."""
        heap, aside, found = self.heaps[group], [], []
        while heap and not found:
            place, label, at, end = heap[0]
            if self.used[place]:
                heapq.heappop(heap)
                if (at := self._next(at, end)) < end:
                    heapq.heappush(heap, (self.order[at], label, at, end))
            elif label == unlike or place == besides:
                aside.append(heapq.heappop(heap))
            else:
                found.append(place)
        for entry in aside:
            heapq.heappush(heap, entry)
            _, label, at, end = entry
            if label != unlike and (at := self._next(at + 1, end)) < end:  # what stands behind ``besides``
                found.append(self.order[at])
        return min(found, default=None)

    def _next(self, at: int, end: int) -> int:
        """The first free place of a run from a place on, its ``end`` where there is none."""
        begin = at
        while at < end and self.used[self.order[at]]:
            at = self.onwards[at]
        while begin < at:  # whoever comes this way again goes there in one step
            self.onwards[begin], begin = at, self.onwards[begin]
        return at


# --- Section 3.2.3: joint embedding feature learning -----------------------------------------------------


def squared_distances(embeddings: Tensor) -> Tensor:
    """DML-Net Eq. (1): ``D(e(x_1), e(x_2)) = ||e(x_1) - e(x_2)||_2^2`` of every pair: (B, D) -> (B, B), in float32.

    Differences of all pairs are held at once, B^2 D numbers, because a difference of squares loses digits.
    """
    if embeddings.ndim != 2 or not embeddings.is_floating_point():
        what = f"embeddings of shape {tuple(embeddings.shape)} and type {embeddings.dtype}"
        raise ParameterError(what, do="give numbers with a point, (B, D)")
    return (embeddings.float()[:, None] - embeddings.float()[None]).square().sum(2)


def farthest_positive(distances: Tensor, positive: Tensor) -> Tensor:
    """DML-Net Eq. (2): ``D_i^HP+ = max_p D(e(x_i), e(x_p^pose+))``, over the positives of each anchor in the batch.

    distances (B, B), positive (B, B) bool: whether the second is a positive of the first -> (B,), -inf where none is.
    """
    return distances.masked_fill(~positive, -torch.inf).amax(1)


def nearest_negative(distances: Tensor, negative: Tensor) -> Tensor:
    """DML-Net Eq. (3): ``D_i^HP- = min_n D(e(x_i), e(x_n^pose-))``; like Eq. (2), +inf where none is."""
    return distances.masked_fill(~negative, torch.inf).amin(1)


def pose_loss(embeddings: Tensor, expression: Tensor, pose: Tensor, margin: float = 0.2, **form: Any) -> Tensor:
    """DML-Net Eq. (4): ``L^pose = sum_i max(0, m^pose + D_i^HP+ - D_i^HP-)`` over the anchors that have both.

    embeddings (B, D), labels (B,) -> (). Positives have the same expression in another pose, negatives another
    expression in the same pose. ``form``: hinge and reduction of :func:`triplet_losses`.
    """
    return hardest_triplets(embeddings, expression, pose, margin, **form)


def identity_loss(embeddings: Tensor, expression: Tensor, identity: Tensor, margin: float = 0.2, **form: Any) -> Tensor:
    """DML-Net Eq. (5): ``L^id = sum_i max(0, m^id + D_i^HI+ - D_i^HI-)``: as Eq. (4), with persons for poses."""
    return hardest_triplets(embeddings, expression, identity, margin, **form)


def hardest_triplets(
    embeddings: Tensor, expression: Tensor, other: Tensor, margin: float, *, hinge: bool = True, reduction: str = "mean"
) -> Tensor:
    """What Eqs. (4) and (5) have in common: positives share the expression and not the ``other`` label (B,), negatives
    the other label and not the expression. Anchors that lack one of them count for nothing, nor does an image of which
    a label is not known (-1)."""
    _check(reduction, (margin,))
    expression, other = (torch.as_tensor(one, device=embeddings.device) for one in (expression, other))
    if not expression.shape == other.shape == embeddings.shape[:1]:
        shapes = ", ".join(str(tuple(one.shape)) for one in (embeddings, expression, other))
        raise ParameterError(f"embeddings and two labels of shapes {shapes}", do="give (B, D), (B,) and (B,)")
    distances = squared_distances(embeddings)
    if not len(distances):
        return distances.sum()
    same, alike = expression[:, None] == expression, other[:, None] == other
    known = (expression >= 0) & (other >= 0)
    known = known[:, None] & known
    positive, negative = same & ~alike & known, ~same & alike & known
    counts = positive.any(1) & negative.any(1)
    terms = (margin + farthest_positive(distances, positive) - nearest_negative(distances, negative))[counts]
    terms = terms.clamp(min=0) if hinge else terms
    return terms.sum() / (counts.sum().clamp(min=1) if reduction == "mean" else 1)


def _check(reduction: str, margins: Sequence[float]) -> None:
    if reduction not in ("mean", "sum"):
        raise ParameterError(f"reduction {reduction!r} of a triplet loss", do="choose mean or sum")
    if not all(0 <= margin < math.inf for margin in margins):
        raise ParameterError(f"margins {margins} of a triplet loss", do="take numbers from 0 on")


def triplet_losses(
    embeddings: Tensor,
    expression: Tensor,
    pose: Tensor,
    identity: Tensor,
    *,
    margins: tuple[float, float] = (0.2, 0.2),
    hinge: bool = True,
    reduction: Literal["mean", "sum"] = "mean",
) -> tuple[Tensor, Tensor]:
    """DML-Net Eq. (6): ``L^triplet = L^pose + L^id``, as two terms; 0 where no anchor has a positive and a negative.

    embeddings (B, D), labels (B,), margins m^pose and m^id -> two scalars. Every image of the batch is an anchor.

    # Paper unclear: Eqs. (4), (5) have no max(0, .), so that pushing negatives
    # away for ever lowers them without bound; ``hinge=False`` is as printed.
    # Margins are not given, nor which images are anchors, and the sum makes the
    # rate depend on the batch: ``mean`` is the default, ``sum`` is as printed.
    """
    form = {"hinge": hinge, "reduction": reduction}
    of_pose, of_identity = margins
    first = pose_loss(embeddings, expression, pose, of_pose, **form)
    return first, identity_loss(embeddings, expression, identity, of_identity, **form)


# --- Section 3.2.4: dynamic weights ----------------------------------------------------------------------


def dynamic_weights(history: Tensor | Sequence, K: float = 2.0, T: float = 2.0) -> Tensor:  # as the paper calls them
    """DML-Net Eq. (8): ``lambda_k = K exp(w_k / T) / sum_i exp(w_i / T)`` with ``w_k = L_k(t - 1) / L_k(t - 2)``.

    history (2 or more, tasks): mean losses, the newest first -> (tasks,), which sum to K. As T grows each nears K over
    the number of tasks (2/3 for the paper's three and its K, not the 1 that it names).

    # Paper unclear: a ratio means nothing where one of the two losses is not above 0, as a hinge that is met everywhere
    # makes it, or Eqs. (4) and (5) without a hinge, as printed. There it is 1, that of a loss that stays as it is.
    """
    found = torch.as_tensor(history)
    found = found if found.dtype in (torch.float32, torch.float64) else found.double()
    if found.ndim != 2 or len(found) < 2:
        raise ParameterError(f"a history of shape {tuple(found.shape)}", do="give two rows or more, the newest first")
    if not found.isfinite().all():
        raise ParameterError("a history with a loss that is not a number", do="leave such mini-batches out")
    _check_weights(K, T)
    newest, before = found[:2]
    ratios = torch.where((newest > 0) & (before > 0), newest / before, 1.0).clamp(max=1e30)
    return K * torch.softmax(ratios / T, 0)


LEAST = 1e-3
"""The least T, at which one weight has been all of K for long."""


def _check_weights(K: float, T: float) -> None:
    if not (0 < K < math.inf and LEAST <= T < math.inf):
        what = f"K = {K} and T = {T} of the dynamic weights"
        raise ParameterError(what, do=f"take a K above 0 and a T of {LEAST} or more")


TASKS = ("expression", "pose", "triplet")
"""What DML-Net learns, in the order of Eq. (7)."""


class DMLNetLoss(nn.Module):
    """DML-Net Eq. (7): ``L = lambda_1 CE_e + lambda_2 CE_p + lambda_3 L^triplet``, of as many tasks as the network has.

    output, batch (labels, pose, identity) -> the weighted terms, and beside them losses and lambdas as they are. With
    ``dynamic`` the lambdas are Eq. (8)'s over means of ``WINDOW`` mini-batches, equal before there are two of these;
    without, they stay equal; they sum to ``K``, but one task alone has the weight 1. ``in_turn`` trains one task after
    the other instead, a mini-batch each, as the paper does while the pose branch is frozen. Window, history and lambdas
    are buffers and travel in the checkpoint; several processes share the means of their losses.

    # Paper unclear: whether windows slide (here they follow each other), and the weights without Eq. (8) (equal).
    """

    WINDOW = 5

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        margins: tuple[float, float] = (0.2, 0.2),
        kinds: Sequence[Literal["pose", "identity"]] = ("pose", "identity"),
        hinge: bool = True,
        reduction: Literal["mean", "sum"] = "mean",
        dynamic: bool = True,
        in_turn: bool = False,
        K: float = 2.0,  # K and T as the paper calls them
        T: float = 2.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        _check(reduction, margins)
        _check_weights(K, T)
        if isinstance(kinds, str) or not kinds or not set(kinds) <= {"pose", "identity"}:
            raise ParameterError(f"kinds {kinds!r} of triplets", do="name pose, identity or both, in a list")
        if len(margins) != 2:
            raise ParameterError(f"margins {margins} of a triplet loss", do="give m^pose and m^id")
        if "expression" not in tasks or list(tasks) != [one for one in TASKS if one in tasks]:
            raise ParameterError(f"tasks {', '.join(tasks)}", do=f"name some of {', '.join(TASKS)}, in this order")
        self.tasks, self.in_turn, self.dynamic = tuple(tasks), in_turn, dynamic and len(tasks) > 1
        self.metric = {"margins": margins, "hinge": hinge, "reduction": reduction}
        self.kinds = tuple(kinds)
        self.K, self.T = K, T
        self.cross_entropy = CrossEntropy(label_smoothing)
        number = len(tasks)
        self.register_buffer("lambdas", torch.full((number,), K / number if number > 1 else 1.0))
        self.register_buffer("window", torch.zeros(self.WINDOW, number))
        self.register_buffer("means", torch.zeros(2, number))  # the newest first
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def losses(self, output: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each task's loss, not weighted. A pose that is not known (-1) does not count."""
        found = {"expression": self.cross_entropy(output, batch)["cross_entropy"]}
        if "pose" in self.tasks:
            known = (batch["pose"] >= 0).sum().clamp(min=1)
            whole = F.cross_entropy(output.pose_logits, batch["pose"], ignore_index=-1, reduction="sum")
            found["pose"] = whole / known
        if "triplet" in self.tasks:
            labels = (batch[name] for name in ("labels", "pose", "identity"))
            both = dict(
                zip(("pose", "identity"), triplet_losses(output.embedding, *labels, **self.metric), strict=True)
            )
            found["triplet"] = torch.stack([both[kind] for kind in self.kinds]).sum()  # Eq. (6)
        return found

    def forward(self, output: Any, batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        losses = self.losses(output, batch)
        lambdas = dict(zip(self.tasks, self.lambdas.clone(), strict=True))
        if self.in_turn:
            turn = self.tasks[int(self.steps) % len(self.tasks)]
            lambdas = {name: torch.zeros_like(weight) + (name == turn) for name, weight in lambdas.items()}
        terms = {name: lambdas[name] * loss for name, loss in losses.items()}
        told = {f"loss_{name}": loss.detach() for name, loss in losses.items()}
        self._note(torch.stack([loss.detach().float() for loss in losses.values()]))
        return terms, told | ({f"lambda_{name}": weight for name, weight in lambdas.items()} if self.dynamic else {})

    def _note(self, losses: Tensor) -> None:
        """Take in the losses of a mini-batch; a full window gives the lambdas of the next."""
        place = int(self.steps) % self.WINDOW
        self.window[place] = reduce(losses, "mean")
        self.steps += 1
        if place == self.WINDOW - 1:
            self.means.copy_(torch.stack([self.window.mean(0), self.means[0]]))
            if self.dynamic and int(self.steps) >= 2 * self.WINDOW and self.means.isfinite().all():
                self.lambdas.copy_(dynamic_weights(self.means, self.K, self.T))
