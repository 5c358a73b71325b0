"""Influence functions of a softmax layer, exactly and in closed form (Koh and Liang, 2017; Utrera et al., 2021), with figures.

The Hessian of the summed cross-entropy is the sum over training samples of ``(diag(p) - p p') kron (phi phi')``, with
a 1 for the bias in phi. No training sample has a gradient along two known kinds of direction: one shift of all classes
alike, and weights outside the span of the training features. Without them, the Hessian has ``(K - 1) * (rank + 1)``
rows instead of ``K * (D + 1)``, and gives the same scores, also where a ridge is added to the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.prediction import apply_in_chunks, kernel_batches, predict
from advtransfer.types import Context, EvaluationInputs, Measurement, Samples
from advtransfer_interpret import figures
from advtransfer_interpret.last_layer import LastLayer
from advtransfer_interpret.samples import require_model

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


GRADIENT_CHUNK = 1024  # samples whose gradients are held at once
BYTES_PER_SQUARED_ROW = 32  # by squared row: float64 for the Hessian, its eigenvectors, and a workspace as large as both


@dataclass(frozen=True, slots=True)
class LayerSamples:
    """Samples at a softmax layer: features ``(N, D)``, probabilities ``(N, K)``, labels, whether there are biases."""

    features: Tensor
    probabilities: Tensor
    labels: Tensor
    bias: bool

    @property
    def logit_gradients(self) -> Tensor:
        """The gradient with respect to the logits, ``(N, K)``."""
        return self.probabilities - torch.nn.functional.one_hot(
            self.labels, self.probabilities.shape[1]
        )

    def features_in_basis(self, span: Tensor) -> Tensor:
        """The features in a basis ``(D, rank)``, and after them a 1 where there are biases."""
        inside = self.features @ span
        return torch.cat([inside, inside.new_ones(len(inside), int(self.bias))], dim=1)


@dataclass(frozen=True, slots=True)
class InfluenceScores:
    """The scores ``(targets, train)``, the size of the reduced Hessian, and how many directions were inverted."""

    scores: Tensor
    hessian_size: int
    hessian_rank: int


def compute_influences(
    train: LayerSamples, targets: LayerSamples, *, rcond: float, damping: float, largest: int
) -> InfluenceScores:
    """The scores ``G_targets H^+ G_train'``: positive where training on a sample lowers a target's loss.

    Args:
        train: The training samples, float64.
        targets: The samples whose loss is asked about.
        rcond: Eigenvalues below this share of the largest are taken as 0 (and what is below rounding always is).
        damping: The ridge: what is added to the Hessian of the summed cross-entropy for each weight, not for biases.
        largest: The most rows that the reduced Hessian may have.

    Raises:
        Inapplicable: It has more, or all scores are 0.
    """
    classes, span = _class_contrasts(train.probabilities), _feature_basis(train.features)
    size = classes.shape[1] * (span.shape[1] + int(train.bias))
    if size > largest:
        there = f"{classes.shape[1]} + 1 classes, {span.shape[1]} independent features"
        needed = f"take fewer labels, or {BYTES_PER_SQUARED_ROW * size**2 / 1e9:.2g} GB of memory and largest: {size}"
        raise Inapplicable(f"the Hessian has {size} rows ({there}), more than {largest}; {needed}")
    values, vectors = torch.linalg.eigh(_reduced_hessian(train, span, classes, damping=damping))
    kept = values > max(rcond, size * torch.finfo(values.dtype).eps) * values[-1]
    whitened = vectors[:, kept] / values[kept].sqrt()
    left, right = (
        _whitened_gradients(layer, span, classes, whitened) for layer in (targets, train)
    )
    scores = left @ right.T
    if not scores.any():
        raise Inapplicable(
            "all influences are 0: the model is certain of every training image, or of every target"
        )
    return InfluenceScores(scores, size, int(kept.sum()))


def _class_contrasts(probabilities: Tensor) -> Tensor:
    """An orthonormal basis ``(K, K - 1)`` of what differs between classes."""
    count = probabilities.shape[1]
    centring = torch.eye(count).to(probabilities) - 1 / count
    basis: Tensor = torch.linalg.eigh(centring).eigenvectors[:, 1:]
    return basis


def _feature_basis(features: Tensor) -> Tensor:
    """An orthonormal basis ``(D, rank)`` of the features' span."""
    _, values, directions = torch.linalg.svd(features, full_matrices=False)
    kept = values > max(features.shape) * torch.finfo(values.dtype).eps * values[:1]
    basis: Tensor = directions[kept].T
    return basis


def _reduced_hessian(
    train: LayerSamples, span: Tensor, classes: Tensor, *, damping: float
) -> Tensor:
    """The sum over samples of ``S_n kron (phi phi')``, with ``S = U' (diag(p) - p p') U``, and the ridge."""
    features, count = train.features_in_basis(span), classes.shape[1]
    rank, means = features.shape[1], train.probabilities @ classes
    ridge = features.new_zeros(rank)
    ridge[: span.shape[1]] = damping
    hessian = features.new_zeros(count, rank, count, rank)
    for a, b in combinations_with_replacement(range(count), 2):
        weights = train.probabilities @ (classes[:, a] * classes[:, b]) - means[:, a] * means[:, b]
        block = features.T @ (weights[:, None] * features)
        hessian[a, :, b], hessian[b, :, a] = block, block
    hessian = hessian.reshape(count * rank, count * rank)
    hessian.diagonal().add_(ridge.repeat(count))
    return hessian


def _whitened_gradients(
    layer: LayerSamples, span: Tensor, classes: Tensor, whitened: Tensor
) -> Tensor:
    """Each sample's gradient in the whitened directions, ``(N, rank)``."""
    residuals, features = layer.logit_gradients @ classes, layer.features_in_basis(span)
    parts = zip(
        torch.split(residuals, GRADIENT_CHUNK), torch.split(features, GRADIENT_CHUNK), strict=True
    )
    return torch.cat([(a[:, :, None] * b[:, None, :]).flatten(1) @ whitened for a, b in parts])


SHADED_SHARE = 0.98  # the share of scores that the shades of the figure tell apart
MAX_NAMED_CLASSES = 20  # the most classes whose names have room along a side


@dataclass(frozen=True, slots=True)
class MatrixSide:
    """What lies along one side of the matrix: which images, their labels ``(N,)``, and the classes' names."""

    images: str
    labels: Tensor
    names: tuple[str, ...]

    @property
    def sorted_positions(self) -> Tensor:
        """The positions of the images, sorted by class."""
        return self.labels.argsort(stable=True)

    def draw_classes(self, axes: Axes, which: str) -> None:
        """Lines between the classes, and their names, along the axis ``x`` or ``y``."""
        counts = self.labels.cpu().bincount()
        ends, there = counts.cumsum(0) - 0.5, counts.nonzero().flatten()
        line, along = (axes.axvline, axes.xaxis) if which == "x" else (axes.axhline, axes.yaxis)
        for end in ends[there].tolist()[:-1]:
            line(end, color="black", linewidth=0.3)
        named = there if len(there) <= MAX_NAMED_CLASSES else there[:0]
        names = [self.names[label] if self.names else str(label) for label in named.tolist()]
        along.set_ticks((ends - counts / 2)[named].tolist(), names)
        along.set_label_text(f"{self.images}, by class")


def draw_matrix(path: Path, scores: Tensor, train: MatrixSide, targets: MatrixSide) -> Path:
    """Draw the scores over their Frobenius norm, rows and columns sorted by class (Utrera et al., 2021, Figure 7)."""
    shown = (scores / scores.norm().clamp_min(torch.finfo(scores.dtype).tiny))[
        targets.sorted_positions
    ][:, train.sorted_positions].cpu()
    reach = (
        float(shown.abs().flatten().kthvalue(max(1, round(SHADED_SHARE * shown.numel()))).values)
        or 1.0
    )

    def build() -> Figure:
        figure = figures.new_figure(5.0, 4.2)
        axes = figure.subplots()
        image = axes.imshow(shown.numpy(), cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto")
        train.draw_classes(axes, "x")
        targets.draw_classes(axes, "y")
        axes.tick_params(axis="x", rotation=45 if max(map(len, train.names), default=0) > 3 else 0)
        figure.colorbar(image, ax=axes, label="influence over its norm (positive: lowers the loss)")
        return figure

    return figures.save_figure(path, build)


def draw_match_curve(path: Path, by_rank: list[float], chance: float) -> Path:
    """Draw the class match against the rank (Utrera et al., 2021, Figure 8)."""

    def build() -> Figure:
        figure = figures.new_figure(4.0, 3.0)
        axes = figure.subplots()
        axes.plot(
            range(1, len(by_rank) + 1),
            by_rank,
            color="#0072B2",
            marker=".",
            markersize=3,
            linewidth=1,
        )
        axes.axhline(chance, color="#767676", linestyle=(0, (5, 1.5)), linewidth=0.8)
        axes.set_ylim(0, 1)
        axes.set_xlabel("rank of the training image")
        axes.set_ylabel("share of its class (dashed: chance)")
        return figure

    return figures.save_figure(path, build)


@dataclass(frozen=True, slots=True)
class InfluenceFunctions:
    """An evaluation: the share of target images whose most influential training images are of their class."""

    rcond: float
    damping: float
    targets: str
    ranks: tuple[int, ...]
    largest: int

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Scores, class matches by rank, and the matrix of scores as a figure."""
        if given.train is None:
            raise ValueError(
                "found no training samples; expected some; declare needs=('model', 'train')"
            )
        layer = LastLayer.find_in(
            require_model(given), given.test.inputs(torch.arange(1)).to(context.device)
        )
        train = _layer_samples(layer, given.train, context)
        targets = train if self.targets == "train" else _layer_samples(layer, given.test, context)
        context.progress(1, 3)
        found = compute_influences(
            train, targets, rcond=self.rcond, damping=self.damping, largest=self.largest
        )
        context.progress(2, 3)
        matches = class_matches(found.scores, train.labels, targets.labels)
        kept, chance = matches[:, : max(self.ranks)], _chance_match(train.labels, targets.labels)
        by_rank = kept.double().mean(0).tolist()
        names, whose = (
            given.test.card.names,
            "training images" if targets is train else "test images",
        )
        sides = (
            MatrixSide("training images", train.labels, names),
            MatrixSide(whose, targets.labels, names),
        )
        return Measurement(
            metrics={
                **{
                    f"class_match@{rank}": by_rank[rank - 1]
                    for rank in self.ranks
                    if rank <= len(by_rank)
                },
                "three_of_five": three_of_five(matches),
                "chance_match": chance,
                "hessian_size": float(found.hessian_size),
                "hessian_rank": float(found.hessian_rank),
            },
            samples={"class_match": kept.to(torch.uint8).cpu()} if self.targets == "test" else {},
            files={
                "class_match": draw_match_curve(
                    context.scratch / "class_match.svg", by_rank, chance
                ),
                "influence": draw_matrix(context.scratch / "influence.png", found.scores, *sides),
            },
        )


def class_matches(scores: Tensor, train: Tensor, targets: Tensor) -> Tensor:
    """Whether the training sample of each rank has the target's class, ``(targets, train)``; the highest score first.

    Equal scores keep the order of the training samples.
    """
    ranked = scores.argsort(dim=1, descending=True, stable=True)
    return train[ranked] == targets[:, None]


def three_of_five(matches: Tensor) -> float:
    """The share of targets with at least three matches among their first five."""
    return (matches[:, :5].sum(1) >= 3).double().mean().item()


def _layer_samples(layer: LastLayer, samples: Samples, context: Context) -> LayerSamples:
    """What the last layer sees and says of samples, in float64."""
    with torch.no_grad():
        parts = [
            apply_in_chunks(layer.features, inputs.to(context.device))
            for _, inputs, _ in kernel_batches(samples)
        ]
    features = torch.cat(parts).double()
    logits, labels = predict(layer.model, samples, device=context.device)
    if not (logits.isfinite().all() and features.isfinite().all()):
        raise Inapplicable("the model's features or logits are not finite on all samples")
    probabilities = logits.double().softmax(1).to(context.device)
    return LayerSamples(features, probabilities, labels.to(context.device), layer.bias)


def _chance_match(train: Tensor, targets: Tensor) -> float:
    """The match to expect of training images picked at random."""
    return (train[None, :] == targets[:, None]).double().mean().item()
