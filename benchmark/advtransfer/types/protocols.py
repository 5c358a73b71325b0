"""Protocols of the components, and the values that they exchange with the host."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from advtransfer.types.factory import Json, Shape, Task

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

Tensors: TypeAlias = "Mapping[str, Tensor]"
Part: TypeAlias = Literal["train", "validation", "test"]
CheckStatus: TypeAlias = Literal["pass", "suspicious", "fail", "not applicable"]
Precision: TypeAlias = Literal["float32", "bfloat16"]
BatterySize: TypeAlias = Literal["small", "full", "none"]


@dataclass(frozen=True, slots=True)
class DataCard:
    """Description of a data set; `digest` covers content, labels and order of the samples."""

    shape: Shape
    bounds: tuple[float, float] | None
    task: Task
    outputs: int
    names: tuple[str, ...]
    digest: str


class Samples(Protocol):
    """One part of a data set, or a subset of one, in a fixed order; inputs are read on demand."""

    @property
    def card(self) -> DataCard:
        """The description of the data set."""

    @property
    def keys(self) -> Sequence[int]:
        """A stable number of each sample (its position in the official part), which keys random streams."""

    def __len__(self) -> int: ...
    def inputs(self, positions: Tensor) -> Tensor:
        """Return ``(B, *shape)`` float32 in the card's bounds, on the CPU."""

    def labels(self, positions: Tensor) -> Tensor:
        """Return ``(B,)`` int64 classes, ``(B, outputs)`` 0/1 attributes or float32 values."""


class Dataset(Protocol):
    """A data set with train and test parts; the host implements class subsets, channels and size as views."""

    def card(self) -> DataCard:
        """Return the description of the data set."""

    def part(self, name: Part) -> Samples:
        """Return one part; raise ValueError where the data set has none of this name."""


class Network(Protocol):
    """An ``nn.Module`` from inputs in the card's bounds to logits, with the normalisation inside.

    A module in it that draws from torch's global generators in eval mode has the attribute ``randomized = True``.
    One that does not differentiate may have a method ``surrogate(inputs)``, a differentiable stand-in for its
    outputs, which serves gradients only.
    """

    @property
    def blocks(self) -> Mapping[str, nn.Module]:
        """The blocks by name, in forward order."""

    @property
    def head(self) -> nn.Module:
        """The layer from features to logits."""

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return logits ``(B, outputs)`` of inputs ``(B, *shape)``."""

    def features(self, inputs: Tensor, *, upto: str | None = None) -> Tensor:
        """Return the activations after a block; by default, the input of the head."""


@dataclass(frozen=True, slots=True)
class SourceCard:
    """Claims of a source; the start-up probe compares `clean_accuracy` with a measurement."""

    architecture: str
    data: str
    constraint: str
    shape: Shape
    outputs: int
    clean_accuracy: float | None = None
    tolerance: float = 0.01
    licence: str | None = None
    citation: str | None = None
    normalisation: str | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """A source's weights by parameter name, its training curves (one row per epoch) and facts."""

    tensors: Tensors
    curves: Sequence[Mapping[str, float]] = ()
    facts: Mapping[str, float | str] = field(default_factory=dict)


class Source(Protocol):
    """A pretrained model f_S or a reference f_T: an architecture, and weights that the host caches."""

    def card(self) -> SourceCard:
        """Return the claims of the source."""

    def network(self) -> Network:
        """Return the architecture with untrained weights; the host loads cached weights into it."""

    def weights(self, context: Context) -> Weights:
        """Load or train the weights; a killed call continues from `context.saved()` to the same bits."""


class Adapter(Protocol):
    """A differentiable map x' = A x + b from target inputs to source inputs.

    The transfer trains the parameters of a learned adapter that require gradients, in a copy, together
    with its new logit layer. Their initial values are drawn from the fit's random stream by
    `reset_parameters` of the module that holds them, or of a module around it. The host freezes the
    parameters of an adapter that is not learned.
    """

    @property
    def learned(self) -> bool:
        """Whether the adapter has parameters to train."""

    def module(self, *, target: Shape, source: Shape) -> nn.Module:
        """Return the map ``(B, *target) -> (B, *source)``; a random one is fixed in eval mode."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """The results of a fit besides the weights.

    Training curves (one row per epoch), values chosen by validation, facts, and snapshots by epoch.
    """

    curves: Sequence[Mapping[str, float]] = ()
    chosen: Mapping[str, Json] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)
    snapshots: Mapping[int, Tensors] = field(default_factory=dict)


class Transfer(Protocol):
    """A method that transfers a source to a target. It receives no test data."""

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        """Return the untrained target model, from target inputs to target logits.

        The host calls it again to load saved weights. `advtransfer.toolkit.heads.with_head` copies a source
        with a new head. Draws from torch's global random state here come from the fit's stream ``model``;
        `fit` draws from its context.
        """

    def fit(
        self,
        model: nn.Module,
        *,
        source: Network | None,
        adapter: nn.Module | None,
        train: Samples,
        validation: Samples | None,
        context: Context,
    ) -> Fitted:
        """Train `model` in place.

        Raises:
            Diverged: The loss is not finite.
            Inapplicable: The transfer is not applicable to these inputs; gives the reason.
        """


@dataclass(frozen=True, slots=True)
class EvaluationInputs:
    """Inputs of an evaluation: the test part, and those of the others that its factory's `needs` names."""

    test: Samples
    model: nn.Module | None = None
    source: Network | None = None
    adapter: nn.Module | None = None
    reference: Network | None = None
    train: Samples | None = None


class Outcome(IntEnum):
    """Outcome of one sample.

    `WRONG` is misclassified without an attack; `UNKNOWN` is unfinished, or has an illegal example.
    """

    ROBUST = 0
    BROKEN = 1
    WRONG = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Examples:
    """Adversarial examples behind an outcome; the host checks norm and box in float64, and labels, again."""

    metric: str
    norm: Literal["linf", "l2", "l1", "l0"]
    eps: float
    positions: Tensor
    inputs: Tensor


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a result: a value, its limit, the number of samples, and its meaning in words."""

    name: str
    grade: CheckStatus
    value: float
    limit: float
    samples: int
    text: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """The results of an evaluation: outcomes by sample, other metrics, arrays ``(N, ...)`` in test order.

    Args:
        outcomes: By metric (``accuracy``, ``robust_accuracy@0.1``), ``(N,)`` uint8 values of `Outcome`. The
            host computes the metric's value, bounds and interval from them.
        metrics: Metrics without an outcome for each sample.
        shares: The names of those metrics that are shares, such as of training images, from 0 to 1: their
            intervals end there.
        samples: The per-sample values ``(N,)`` of a metric that is a mean over samples, under the metric's
            name, with NaN for samples that are left out; and other arrays ``(N, ...)``.
        examples: One for each ``robust_accuracy*``, with its ball, also where no sample was broken: the host
            verifies the metric with its battery.
        checks: Checks of the evaluation itself.
        files: Files to keep in the run folder, by name.
    """

    outcomes: Tensors = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    samples: Tensors = field(default_factory=dict)
    examples: Sequence[Examples] = ()
    checks: Sequence[Check] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    shares: Collection[str] = ()


class Evaluation(Protocol):
    """A measurement; it leaves weights, train/eval modes, `.grad` and global random state unchanged."""

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Measure on the test part; raise Inapplicable(reason) where the evaluation is not applicable."""


class Context(Protocol):
    """Resources that the host provides to a running component; nothing is global."""

    @property
    def device(self) -> torch.device:
        """The device to compute on."""

    @property
    def batch_size(self) -> int:
        """The number of samples in a batch of a forward pass."""

    @property
    def scratch(self) -> Path:
        """A folder for temporary files, deleted after the job."""

    def generator(self, stream: str, *keys: int) -> torch.Generator:
        """Return a CPU generator seeded by the node's seed inputs, the stream's name and the keys.

        It does not depend on the order of calls.
        """

    def uniform(
        self, stream: str, keys: Sequence[int], shape: Shape, restart: int = 0, step: int = 0
    ) -> Tensor:
        """Return uniform numbers in [0, 1) for each sample, ``(len(keys), *shape)`` float32, on the CPU.

        A sample's numbers depend on the node's seed inputs, the stream's name, its key, the restart and
        the step. They are the same to the bit for every batch, order of samples or calls, and machine,
        and a block of samples costs one vectorised draw: use it instead of one `generator` per sample.
        An attack that needs a few numbers at each of many steps draws those of several steps at once,
        along the first dimension of `shape`.

        Args:
            stream: Name of the stream.
            keys: Keys of the samples, as in `Samples.keys`.
            shape: Shape of one sample's numbers.
            restart: Number of the restart.
            step: Number of the step.
        """

    def numpy(self, stream: str, *keys: int) -> np.random.Generator:
        """Return a numpy generator with the same seed inputs as `generator`."""

    def remember(
        self,
        what: str,
        key: Mapping[str, Json],
        build: Callable[[], Tensors],
        *,
        of: Iterable[str] | None = None,
    ) -> Tensors:
        """Return tensors from the cache, built at most once for all workers.

        Args:
            what: A name for the tensors.
            key: Everything that they depend on besides inputs of this node.
            build: Builds them.
            of: The inputs of this node that they depend on, such as ``("reference", "test")`` for adversarial
                examples of a reference. Nodes with the same inputs then share them. By default they depend
                on the whole node.
        """

    def rows(
        self,
        what: str,
        key: Mapping[str, Json],
        samples: Samples,
        compute: Callable[[Tensor], Tensor],
        *,
        of: Iterable[str],
    ) -> Tensor:
        """Return a value ``(N, ...)`` of each sample, on the CPU, computed once and cached by sample key.

        Args:
            what: A name for the values.
            key: Everything that they depend on besides inputs of this node, including the samples' part.
            samples: The samples.
            compute: Maps inputs ``(B, *shape)`` on the context's device to values ``(B, ...)``. It must be
                frozen and deterministic, and must treat the rows independently.
            of: The inputs of this node that they depend on; a dot names an input of an input, as in
                ``("source", "adapter", "subset.data")``.
        """

    def saved(self) -> Tensors | None:
        """Return the last checkpoint of this node, or None."""

    def save(self, state: Tensors) -> None:
        """Save a checkpoint in place of the previous one."""

    def progress(self, done: int, total: int, **news: float) -> None:
        """Report progress; may raise Cancelled. A stopped worker is killed, and continues from its checkpoint."""
