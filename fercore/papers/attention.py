"""PhaNet's regions and losses; the network and its recipes stand in :mod:`fercore.papers.phanet`.

Shapes: B images of S x S pixels, C channels, K scales. A region is a square (x, y, half): its centre, x to the right
and y downwards, and half its side, in pixels of the image in which it lies; pixel i covers i to i + 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fercore.errors import FercoreError, ParameterError

Mask = Literal["logistic", "tanh"]

# --- Section III-B 3: cropping ----------------------------------------------------------------------------


def boxcar(x: Tensor, y: Tensor, half: Tensor, size: int, kind: Mask = "logistic", k: float = 10.0) -> Tensor:
    """The mask of PhaNet Eq. (5): ``[h(u - (x - l)) - h(u - (x + l))] [h(v - (y - l)) - h(v - (y + l))]``.

    x, y, half (B,), u and v the middles of the pixels' columns and rows -> (B, size, size): near 1 inside a square and
    near 0 outside, with an edge about 1 / k pixels wide. ``logistic``: ``h(z) = 1 / (1 + exp(-k z))``, as in RA-CNN,
    PhaNet's model (Fu et al., 2017). ``tanh``: ``h(z) = tanh(k z) / 2``.

    # Paper unclear: it names Tanh, and -1 to 1 as the mask's values. A mask of -1 outside would invert the image
    # there, not crop it, so the difference of two tanh is halved; that is the logistic mask of 2 k. Hence one default.
    """
    if kind not in ("logistic", "tanh"):
        raise ParameterError(f"kind {kind!r} of a boxcar mask", do="choose logistic or tanh")
    step = torch.sigmoid if kind == "logistic" else lambda z: z.tanh() / 2
    places = torch.arange(size, device=x.device, dtype=x.dtype) + 0.5
    across, down = (
        step(k * (places - (middle - half)[:, None])) - step(k * (places - (middle + half)[:, None]))
        for middle in (x, y)
    )
    return down[:, :, None] * across[:, None, :]


def crop_and_zoom(
    images: Tensor, x: Tensor, y: Tensor, half: Tensor, size: int, kind: Mask = "logistic", k: float = 10.0
) -> Tensor:
    """PhaNet Eq. (5): ``R_s = R_(s-1) * mask(x, y, l)``, of which the square is enlarged bilinearly.

    images (B, C, S, S), x, y, half (B,) -> (B, C, size, size). Where pixels are taken is no function of the region for
    the gradient: it reaches x, y and half through the mask alone, hence through the pixels at the square's edge.
    """
    if images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise ParameterError(f"images of shape {tuple(images.shape)}", do="give squares, (B, C, S, S)")
    if not torch.stack([x, y, half]).isfinite().all():
        raise ParameterError("A region is not a number.", do="give finite x, y and half")
    return cropped(images, x, y, half, size, kind, k)


def cropped(images: Tensor, x: Tensor, y: Tensor, half: Tensor, size: int, kind: Mask, k: float) -> Tensor:
    """:func:`crop_and_zoom` of what has been checked."""
    side = images.shape[-1]
    masked = images * boxcar(x, y, half, side, kind, k)[:, None].to(images.dtype)
    zoom, right, down = (one.detach() / side for one in (2 * half, 2 * x - side, 2 * y - side))
    none = torch.zeros_like(zoom)
    theta = torch.stack([zoom, none, right, none, zoom, down], 1).view(-1, 2, 3)
    shape = [len(images), images.shape[1], size, size]
    grid = F.affine_grid(theta.to(images.dtype), shape, align_corners=False)
    return F.grid_sample(masked, grid, padding_mode="border", align_corners=False)


def highest_response(feature_map: Tensor, side: int, half: float) -> Tensor:
    """The square around the highest response of the last convolution, inside the image: where regions begin.

    feature_map (B, C, H, W) of images of ``side`` pixels, half in pixels -> (B, 3). The response is the channels' mean.
    """
    response = feature_map.detach().float().mean(1)
    height, width = response.shape[1:]
    place = response.flatten(1).argmax(1)
    middles = (place % width + 0.5) * side / width, (place // width + 0.5) * side / height
    inside = [middle.clamp(half, side - half) for middle in middles]
    return torch.stack([*inside, torch.full_like(inside[0], half)], 1)


# --- Section III-B 2: attention ranking -------------------------------------------------------------------


def ranking_loss(
    p_coarse: Tensor, p_fine: Tensor, margin: float = 0.05, reduction: Literal["mean", "sum"] = "mean"
) -> Tensor:
    """PhaNet Eq. (4): ``L_s^R = max(0, p(e, y|s - 1) - p(e, y|s) + mar)``, of the true class's probabilities.

    p_coarse, p_fine (B,) -> (). ``reduction`` is over the images.
    """
    if reduction not in ("mean", "sum"):
        raise ParameterError(f"reduction {reduction!r} of a ranking loss", do="choose mean or sum")
    terms = (p_coarse - p_fine + margin).clamp(min=0)
    return terms.mean() if reduction == "mean" else terms.sum()


def attention_loss(coarse: Tensor, fine: Tensor, labels: Tensor, margin: float = 0.05) -> tuple[Tensor, Tensor]:
    """PhaNet Eq. (3): ``L_s^att = L_s^R + L_s(M_s, y^e)``, as two terms.

    Logits of two neighbouring scales (B, classes), labels (B,) -> two scalars. The coarser scale is a reference: no
    gradient goes there.
    """
    of_true = [logits.float().softmax(1).gather(1, labels[:, None])[:, 0] for logits in (coarse.detach(), fine)]
    return ranking_loss(*of_true, margin), F.cross_entropy(fine, labels)


# --- Section III-D: tasks and their weights ---------------------------------------------------------------


def constraint_factor(weight: Tensor) -> Tensor:
    """The last term of PhaNet Eq. (9): ``exp(-12 lambda_p (1 - lambda_p))``, 1 at weights of 0 and 1, least at 1/2."""
    return torch.exp(-12 * weight * (1 - weight))


def task_weights(answers: Tensor, ordered: bool = True) -> Tensor:
    """PhaNet Eq. (10): ``[lambda_e, lambda_p] = sigmoid(W f + b)``, with ``lambda_e + lambda_p = 1`` and
    ``lambda_e >= lambda_p >= 0``, Eq. (9); answers W f + b (B, 2) -> (B, 2).

    # Paper unclear: how the constraints of Eq. (9) are kept. Both are divided by their sum, r = lambda_p of that, and
    # with ``ordered`` lambda_p = r / 2, which is smooth and can reach every pair that is allowed.
    """
    shares = answers.float().sigmoid()
    pose = shares[:, 1] / shares.sum(1) * (0.5 if ordered else 1.0)
    return torch.stack([1 - pose, pose], 1)


class PhaNetLoss(nn.Module):
    """PhaNet Eq. (9): ``L = lambda_e CE_e + lambda_p CE_p + sum_s L_s^att + exp(-12 lambda_p (1 - lambda_p))``.

    output, batch (labels, pose) -> the terms of a mini-batch, and beside them losses, weights and scales as they are.
    Section III-A's three parts are ``scales``, the expression's loss at each scale; ``attention``, Eq. (4), which moves
    regions alone; and ``joint``, expression and pose from all scales with their weights. ``alternating``, each
    mini-batch trains one of them; ``apart``, all three, each what belongs to it; ``together``, Eq. (9) as one sum that
    moves everything. Until :attr:`proposing` ends, regions learn to lie around the highest response instead.

    # Paper unclear: what alternates, and how often. Here mini-batches do; a ranking loss that may move the trunks, too,
    # can also be lowered by making the coarser scale less sure.
    """

    def __init__(
        self,
        *,
        attention: bool = True,
        pose: bool = True,
        dynamic: bool = True,
        factor: bool = True,
        ordered: bool = True,
        margin: float = 0.05,
        optimise: Literal["alternating", "apart", "together"] = "alternating",
        first_half: float = 1 / 3,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention, self.pose, self.dynamic, self.factor = attention, pose, dynamic, factor
        self.ordered, self.margin, self.optimise, self.first_half = ordered, margin, optimise, first_half
        self.label_smoothing = label_smoothing
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("proposing", torch.zeros((), dtype=torch.bool))

    def forward(self, output: Any, batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        parts = {"joint": self.joint(output, batch)}
        told: dict[str, Tensor] = {}
        if output.regions:
            self._check(output)
            parts = {"scales": self.scales(output, batch)} | parts
            if self.attention:
                parts["attention"] = self.regions(output, batch)
            told |= {f"half_{s + 2}": one[:, 2].detach().mean() for s, one in enumerate(output.regions)}
        told |= {f"scale_{s + 1}": one.mean() for s, one in enumerate(output.coefficients.detach().unbind(1))}
        whole = {name: term for part in parts.values() for name, term in part.items()}
        told |= {f"loss_{name}": term.detach() for name, term in whole.items()}
        if self.pose and self.dynamic:
            told |= {f"lambda_{name}": one for name, one in zip(("e", "p"), self._weights(output).mean(0), strict=True)}
        turn = list(parts)[int(self.steps) % len(parts)]
        self.steps += 1
        return self._moving(output, parts[turn] if self.optimise == "alternating" else whole), told

    def joint(self, output: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Expression and pose from the joint features, each with its weight, and the constraint factor."""
        smooth = {"label_smoothing": self.label_smoothing, "reduction": "none"}
        targets = batch.get("targets", batch["labels"])
        expression = F.cross_entropy(output.logits, targets, **smooth)
        if not self.pose:
            return {"expression": expression.mean()}
        pose = F.cross_entropy(output.pose_logits, batch["pose"], ignore_index=-1, reduction="none")
        if not self.dynamic:
            known = (batch["pose"] >= 0).sum().clamp(min=1)
            return {"expression": expression.mean(), "pose": pose.sum() / known}
        weights = task_weights(output.weights, self.ordered)
        terms = {"expression": (weights[:, 0] * expression).mean(), "pose": (weights[:, 1] * pose).mean()}
        return terms | ({"factor": constraint_factor(weights[:, 1]).mean()} if self.factor else {})

    def scales(self, output: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The expression's loss at each scale."""
        losses = [
            F.cross_entropy(answers, batch["labels"], label_smoothing=self.label_smoothing)
            for answers in output.at_scales
        ]
        return {f"at_{scale + 1}": loss for scale, loss in enumerate(losses)}

    def regions(self, output: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What moves the regions: Eq. (4), or while ``proposing`` the way to the highest response."""
        if self.proposing:
            side = output.side
            found = [highest_response(one, side, self.first_half * side) for one in output.feature_maps]
            away = [(own - to).square().sum(1).mean() / side**2 for own, to in zip(output.regions, found, strict=False)]
            return {f"proposal_{s + 2}": one for s, one in enumerate(away)}
        pairs = zip(output.at_scales, output.at_scales[1:], strict=False)
        return {
            f"ranking_{s + 2}": attention_loss(coarse, fine, batch["labels"], self.margin)[0]
            for s, (coarse, fine) in enumerate(pairs)
        }

    def _weights(self, output: Any) -> Tensor:
        return task_weights(output.weights.detach(), self.ordered)

    def _check(self, output: Any) -> None:
        for scale, region in enumerate(output.regions):
            if not region.isfinite().all():
                what = f"The region of scale S{scale + 2} is not a number at mini-batch {int(self.steps) + 1}."
                raise FercoreError(what, do="lower learning_rate; the checkpoint of the epoch before is kept")

    def _moving(self, output: Any, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """The same terms, of which those that should have a gradient in the regions.

        A network crops at ``corners``, copies of its regions, so nothing reaches these of itself. Where a loss should
        move them, its gradient at the corners is put on the regions, which changes no value.
        """
        wanted = [name for name in terms if name.startswith("ranking") or self.optimise == "together"]
        if not wanted or not output.corners or not output.corners[0].requires_grad:
            return terms
        loss = torch.stack([terms[name] for name in wanted]).sum()
        alone = self.optimise == "alternating"
        found = torch.autograd.grad(loss, output.corners, retain_graph=not alone, allow_unused=True)
        pull = [
            (own * gradient).sum() - (own * gradient).sum().detach()
            for own, gradient in zip(output.regions, found, strict=True)
            if gradient is not None
        ]
        if alone or self.optimise == "apart":  # the trunks stand still
            terms = terms | {name: terms[name].detach() for name in wanted}
        return terms | {wanted[0]: terms[wanted[0]] + sum(pull)}
