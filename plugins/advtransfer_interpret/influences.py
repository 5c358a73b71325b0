"""Influence functions of a softmax layer, exactly and in closed form, with figures.

Koh and Liang (2017), as Utrera et al. (2021) use them. The Hessian of the summed cross-entropy is
the sum over training samples of ``(diag(p) - p p') kron (phi phi')``, with a 1 for the bias in phi.
No training sample has a gradient along two kinds of direction that are known in advance: the same
shift of all classes, and weights outside the span of the training features. Without them, the
Hessian has ``(K - 1) * (rank + 1)`` rows instead of ``K * (D + 1)``, and gives the same scores, also
if a ridge is added to the weights.
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
from advtransfer.types import Context, DataCard, EvaluationInputs, Measurement, Samples
from advtransfer_interpret import figures
from advtransfer_interpret.last_layer import LastLayer
from advtransfer_interpret.samples import class_name, require_model

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


GRADIENT_CHUNK = 1024
"""Number of samples whose gradients are held at once."""
BYTES_PER_SQUARED_ROW = 32
"""Float64 for the Hessian, for its eigenvectors, and for a workspace as large as both."""


@dataclass(frozen=True, slots=True)
class LayerSamples:
    """Samples at a softmax layer.

    Args:
        features: Inputs of the layer, ``(N, D)``.
        probabilities: Outputs of the softmax, ``(N, K)``.
        labels: Classes, ``(N,)``.
        bias: True if the layer has a bias.
    """

    features: Tensor
    probabilities: Tensor
    labels: Tensor
    bias: bool

    @property
    def logit_gradients(self) -> Tensor:
        """Gradients of the cross-entropy with respect to the logits, ``(N, K)``."""
        classes = self.probabilities.shape[1]
        return self.probabilities - torch.nn.functional.one_hot(self.labels, classes)

    def features_in_basis(self, basis: Tensor) -> Tensor:
        """Return the features in a basis ``(D, rank)``, followed by a 1 if there is a bias."""
        coordinates = self.features @ basis
        ones = coordinates.new_ones(len(coordinates), int(self.bias))
        return torch.cat([coordinates, ones], dim=1)


@dataclass(frozen=True, slots=True)
class InfluenceScores:
    """Influences of training samples on targets.

    Args:
        scores: The scores, ``(targets, train)``.
        hessian_size: Number of rows of the reduced Hessian.
        hessian_rank: Number of its eigenvalues that were inverted.
    """

    scores: Tensor
    hessian_size: int
    hessian_rank: int


def compute_influences(
    train: LayerSamples, targets: LayerSamples, *, rcond: float, damping: float, largest: int
) -> InfluenceScores:
    """Return the scores ``G_targets H^+ G_train'``.

    A score is positive if training on the sample lowers the target's loss.

    Args:
        train: The training samples, float64.
        targets: The samples whose loss is explained, float64.
        rcond: Eigenvalues below this fraction of the largest count as 0; so do those below
            rounding.
        damping: Ridge that is added to the Hessian of the summed cross-entropy for each weight, not
            for biases.
        largest: Largest number of rows that the reduced Hessian may have.

    Raises:
        Inapplicable: The Hessian has more rows, or all scores are 0.
    """
    class_basis = _class_contrasts(train.probabilities)
    feature_basis = _feature_basis(train.features)
    size = class_basis.shape[1] * (feature_basis.shape[1] + int(train.bias))
    _require_size(size, class_basis, feature_basis, largest)
    hessian = _reduced_hessian(train, feature_basis, class_basis, damping=damping)
    values, vectors = torch.linalg.eigh(hessian)
    # The paper cuts singular values at 1e-20, below rounding: there the directions are noise.
    rounding = size * torch.finfo(values.dtype).eps
    is_inverted = values > max(rcond, rounding) * values[-1]
    # Utrera et al. (2021, equation 8), with the sign of their code: a positive score helps. With
    # W = V / sqrt(lambda), H^+ = W W', so the scores are products of whitened gradients.
    whitening = vectors[:, is_inverted] / values[is_inverted].sqrt()
    target_gradients = _whitened_gradients(targets, feature_basis, class_basis, whitening)
    train_gradients = _whitened_gradients(train, feature_basis, class_basis, whitening)
    scores = target_gradients @ train_gradients.T
    if not scores.any():
        raise Inapplicable(
            "all influences are 0: the model is certain of every training image, or of every target"
        )
    return InfluenceScores(scores, size, int(is_inverted.sum()))


def _require_size(size: int, class_basis: Tensor, feature_basis: Tensor, largest: int) -> None:
    if size <= largest:
        return
    dimensions = (
        f"{class_basis.shape[1]} + 1 classes, {feature_basis.shape[1]} independent features"
    )
    gigabytes = BYTES_PER_SQUARED_ROW * size**2 / 1e9
    raise Inapplicable(
        f"the Hessian has {size} rows ({dimensions}), more than {largest}; "
        f"take fewer labels, or {gigabytes:.2g} GB of memory and largest: {size}"
    )


def _class_contrasts(probabilities: Tensor) -> Tensor:
    """Return an orthonormal basis ``(K, K - 1)`` of the differences between classes."""
    count = probabilities.shape[1]
    # The centring matrix has eigenvalue 0 for the common shift, which comes first, and 1 otherwise.
    centring = torch.eye(count).to(probabilities) - 1 / count
    basis: Tensor = torch.linalg.eigh(centring).eigenvectors[:, 1:]
    return basis


def _feature_basis(features: Tensor) -> Tensor:
    """Return an orthonormal basis ``(D, rank)`` of the features' span."""
    _, values, directions = torch.linalg.svd(features, full_matrices=False)
    # numpy's `matrix_rank` has the same cut-off.
    is_significant = values > max(features.shape) * torch.finfo(values.dtype).eps * values[:1]
    basis: Tensor = directions[is_significant].T
    return basis


def _reduced_hessian(
    train: LayerSamples, feature_basis: Tensor, class_basis: Tensor, *, damping: float
) -> Tensor:
    """Return the sum over samples of ``S kron (phi phi')``, plus the ridge.

    Here ``S = U' (diag(p) - p p') U`` with the class basis U, and phi are the features in their
    basis.
    """
    features = train.features_in_basis(feature_basis)
    class_count = class_basis.shape[1]
    feature_count = features.shape[1]
    class_means = train.probabilities @ class_basis
    hessian = features.new_zeros(class_count, feature_count, class_count, feature_count)
    for a, b in combinations_with_replacement(range(class_count), 2):
        second_moments = train.probabilities @ (class_basis[:, a] * class_basis[:, b])
        covariances = second_moments - class_means[:, a] * class_means[:, b]
        block = features.T @ (covariances[:, None] * features)
        hessian[a, :, b] = block
        hessian[b, :, a] = block
    hessian = hessian.reshape(class_count * feature_count, class_count * feature_count)

    # The bases are orthonormal, so a ridge on the weights stays a ridge in their coordinates.
    ridge = features.new_zeros(feature_count)
    ridge[: feature_basis.shape[1]] = damping
    hessian.diagonal().add_(ridge.repeat(class_count))
    return hessian


def _whitened_gradients(
    samples: LayerSamples, feature_basis: Tensor, class_basis: Tensor, whitening: Tensor
) -> Tensor:
    """Return each sample's gradient in the whitened directions, ``(N, rank)``."""
    class_chunks = torch.split(samples.logit_gradients @ class_basis, GRADIENT_CHUNK)
    feature_chunks = torch.split(samples.features_in_basis(feature_basis), GRADIENT_CHUNK)
    gradients = []
    for class_part, feature_part in zip(class_chunks, feature_chunks, strict=True):
        # The gradient of a weight is the logit's gradient times the feature.
        layer_gradients = (class_part[:, :, None] * feature_part[:, None, :]).flatten(1)
        gradients.append(layer_gradients @ whitening)
    return torch.cat(gradients)


SHADED_SHARE = 0.98
"""Fraction of the scores within the range of the figure's shades; the others are clipped."""
MAX_NAMED_CLASSES = 20
"""Largest number of classes whose names fit along a side of the figure."""


@dataclass(frozen=True, slots=True)
class MatrixSide:
    """The images along one side of the matrix.

    Args:
        images: Description of the images.
        labels: Their classes, ``(N,)``.
        card: The data card, which names the classes.
    """

    images: str
    labels: Tensor
    card: DataCard

    @property
    def sorted_positions(self) -> Tensor:
        """The positions of the images, sorted by class."""
        return self.labels.argsort(stable=True)

    def draw_classes(self, axes: Axes, which: str) -> None:
        """Draw lines between the classes, and their names, along the axis ``x`` or ``y``."""
        draw_line = axes.axvline if which == "x" else axes.axhline
        axis = axes.xaxis if which == "x" else axes.yaxis
        counts = self.labels.cpu().bincount()
        ends = counts.cumsum(0) - 0.5
        classes = counts.nonzero().flatten()
        # The last class ends at the frame.
        for end in ends[classes].tolist()[:-1]:
            draw_line(end, color="black", linewidth=0.3)
        named = classes if len(classes) <= MAX_NAMED_CLASSES else classes[:0]
        names = [class_name(self.card, label) for label in named.tolist()]
        axis.set_ticks((ends - counts / 2)[named].tolist(), names)
        axis.set_label_text(f"{self.images}, by class")


def draw_matrix(path: Path, scores: Tensor, train: MatrixSide, targets: MatrixSide) -> Path:
    """Draw the scores over their Frobenius norm, by class (Utrera et al., 2021, Figure 7)."""
    norm = scores.norm().clamp_min(torch.finfo(scores.dtype).tiny)
    shades = (scores / norm)[targets.sorted_positions][:, train.sorted_positions].cpu()
    sizes = shades.abs().flatten()
    # A few scores are far larger than all others, and would leave them without contrast.
    limit = float(sizes.kthvalue(max(1, round(SHADED_SHARE * sizes.numel()))).values) or 1.0
    longest_name = max(map(len, train.card.names), default=0)

    def build() -> Figure:
        figure = figures.new_figure(5.0, 4.2)
        axes = figure.subplots()
        image = axes.imshow(shades.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
        train.draw_classes(axes, "x")
        targets.draw_classes(axes, "y")
        axes.tick_params(axis="x", rotation=45 if longest_name > 3 else 0)
        figure.colorbar(image, ax=axes, label="influence over its norm (positive: lowers the loss)")
        return figure

    return figures.save_figure(path, build)


def draw_match_curve(path: Path, matches_by_rank: list[float], chance: float) -> Path:
    """Draw the class match against the rank (Utrera et al., 2021, Figure 8)."""

    def build() -> Figure:
        figure = figures.new_figure(4.0, 3.0)
        axes = figure.subplots()
        ranks = range(1, len(matches_by_rank) + 1)
        axes.plot(ranks, matches_by_rank, color="#0072B2", marker=".", markersize=3, linewidth=1)
        axes.axhline(chance, color="#767676", linestyle=(0, (5, 1.5)), linewidth=0.8)
        axes.set_ylim(0, 1)
        axes.set_xlabel("rank of the training image")
        axes.set_ylabel("share of its class (dashed: chance)")
        return figure

    return figures.save_figure(path, build)


@dataclass(frozen=True, slots=True)
class InfluenceFunctions:
    """An evaluation of how often the most influential training images have the target's class.

    Args:
        rcond: Eigenvalues of the Hessian below this fraction of the largest count as 0.
        damping: Ridge added to the Hessian for each weight.
        targets: ``test`` or ``train``, the images whose loss is explained.
        ranks: Ranks whose class match is reported, from 1.
        largest: Largest number of rows that the Hessian may have.
    """

    rcond: float
    damping: float
    targets: str
    ranks: tuple[int, ...]
    largest: int

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return class matches by rank, facts of the Hessian, and figures.

        Raises:
            ValueError: There is no model or no training samples, or the model is in training mode.
            Inapplicable: The model has no last layer, its outputs are not finite, the Hessian is
                too large, or all influences are 0.
        """
        if given.train is None:
            raise ValueError(
                "found no training samples; expected some; declare needs=('model', 'train')"
            )
        first_input = given.test.inputs(torch.arange(1)).to(context.device)
        layer = LastLayer.find_in(require_model(given), first_input)
        train = _layer_samples(layer, given.train, context)
        targets = train if self.targets == "train" else _layer_samples(layer, given.test, context)
        context.progress(1, 3)
        influences = compute_influences(
            train, targets, rcond=self.rcond, damping=self.damping, largest=self.largest
        )
        context.progress(2, 3)
        matches = class_matches(influences.scores, train.labels, targets.labels)
        top_matches = matches[:, : max(self.ranks)]
        matches_by_rank = top_matches.double().mean(0).tolist()
        chance = _chance_match(train.labels, targets.labels)
        samples: dict[str, Tensor] = {}
        if self.targets == "test":
            samples["class_match"] = top_matches.to(torch.uint8).cpu()
        match_metrics = self._match_metrics(matches_by_rank)
        return Measurement(
            metrics={
                **match_metrics,
                "three_of_five": three_of_five(matches),
                "chance_match": chance,
                "hessian_size": float(influences.hessian_size),
                "hessian_rank": float(influences.hessian_rank),
            },
            shares=[*match_metrics, "three_of_five", "chance_match"],
            samples=samples,
            files={
                "class_match": draw_match_curve(
                    context.scratch / "class_match.svg", matches_by_rank, chance
                ),
                "influence": self._draw_scores(
                    context.scratch / "influence.png",
                    influences.scores,
                    train,
                    targets,
                    given.test.card,
                ),
            },
        )

    def _match_metrics(self, matches_by_rank: list[float]) -> dict[str, float]:
        """Return the match at each rank up to the number of training images."""
        ranks = [rank for rank in self.ranks if rank <= len(matches_by_rank)]
        return {f"class_match@{rank}": matches_by_rank[rank - 1] for rank in ranks}

    def _draw_scores(
        self,
        path: Path,
        scores: Tensor,
        train: LayerSamples,
        targets: LayerSamples,
        card: DataCard,
    ) -> Path:
        target_images = "training images" if self.targets == "train" else "test images"
        return draw_matrix(
            path,
            scores,
            MatrixSide("training images", train.labels, card),
            MatrixSide(target_images, targets.labels, card),
        )


def class_matches(scores: Tensor, train_labels: Tensor, target_labels: Tensor) -> Tensor:
    """Return if the training sample of each rank has the target's class, ``(targets, train)`` bool.

    The highest score has the first rank. Equal scores keep the order of the training samples.
    """
    ranked = scores.argsort(dim=1, descending=True, stable=True)
    return train_labels[ranked] == target_labels[:, None]


def three_of_five(matches: Tensor) -> float:
    """Return the share of targets with at least three matches among their first five."""
    return (matches[:, :5].sum(1) >= 3).double().mean().item()


def _layer_samples(layer: LastLayer, samples: Samples, context: Context) -> LayerSamples:
    """Return the features and probabilities of samples at the last layer, in float64."""
    chunks = []
    with torch.no_grad():
        for _, inputs, _ in kernel_batches(samples):
            chunks.append(apply_in_chunks(layer.features, inputs.to(context.device)))
    # In float64: the pseudo-inverse depends on eigenvalues far below the largest.
    features = torch.cat(chunks).double()
    logits, labels = predict(layer.model, samples, device=context.device)
    if not (logits.isfinite().all() and features.isfinite().all()):
        raise Inapplicable("the model's features or logits are not finite on all samples")
    probabilities = logits.double().softmax(1).to(context.device)
    return LayerSamples(features, probabilities, labels.to(context.device), layer.bias)


def _chance_match(train_labels: Tensor, target_labels: Tensor) -> float:
    """Return the expected match of training images picked at random."""
    return (train_labels[None, :] == target_labels[:, None]).double().mean().item()
