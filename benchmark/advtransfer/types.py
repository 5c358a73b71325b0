"""The words of advtransfer as types.

Light: torch and numpy are imported for the type checker only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal, ParamSpec, Protocol, TypeAlias, TypeVar, get_args

from advtransfer.deprecation import deprecated_names

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

P = ParamSpec("P")
T = TypeVar("T")
Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
Tensors: TypeAlias = "Mapping[str, Tensor]"
Shape: TypeAlias = tuple[int, ...]
Part: TypeAlias = Literal["train", "validation", "test"]
Task: TypeAlias = Literal["classes", "attributes", "values"]
Need: TypeAlias = Literal["model", "source", "reference", "train"]
CheckStatus: TypeAlias = Literal["pass", "suspicious", "fail", "not applicable"]
Precision: TypeAlias = Literal["float32", "bfloat16"]
BatterySize: TypeAlias = Literal["small", "full", "none"]


Factory: TypeAlias = Callable[..., T]
"""A plain function: its name is its name in YAML, its keyword-only arguments its options; heavy imports inside."""


@dataclass(frozen=True, slots=True)
class Since:
    """Marks an option added later, ``Annotated[float, Since(2)]``: it leaves the id while it equals its default."""

    version: int


@dataclass(frozen=True, slots=True)
class NotInId:
    """Marks an option that says how a thing is got, not what it is, ``Annotated[bool, NotAsked()]``: never in an id."""


@dataclass(frozen=True, slots=True)
class File:
    """A file option: found under ADVTRANSFER_DATA, then beside the suite; its content enters the id, its path never."""

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder option, found as a `File` is; `sha256` is the digest of its manifest (relative path, content digest)."""

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class ComponentMetadata:
    """What a factory says of itself with `component`; the plan reads it without importing torch."""

    version: int = 1
    needs: frozenset[Need] = frozenset()
    tasks: frozenset[Task] = frozenset({"classes"})
    presets: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    shape: Shape | str | None = None
    is_identity: bool = False
    is_untrained: bool = False
    adapts_to_shapes: bool = False


def component(
    *,
    version: int = 1,
    needs: Iterable[Need] = (),
    tasks: Iterable[Task] = ("classes",),
    presets: Mapping[str, Mapping[str, Json]] | None = None,
    shape: Shape | str | None = None,
    identity: bool = False,
    drawn: bool = False,
    suits: bool = False,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """State facts that the plan needs without importing torch.

    Args:
        version: Goes up when the same options give other results; it is in every id.
        needs: What a transfer or evaluation is handed; a transfer without ``"source"`` is planned once per target.
        tasks: The tasks the component can work on.
        presets: Named tables of options, expanded before validation and hashing.
        shape: The input shape ``(C, H, W)``, or the name of the data set option whose shape it takes; when known,
            the plan skips cells whose shapes differ, otherwise the worker does.
        identity: The adapter changes nothing: a cell with it is the same, by id, as a cell with none.
        drawn: The source is untrained: as an option of a transfer, each fit draws its weights from its own stream.
        suits: The adapter suits itself to the shapes: records say what it became.

    Raises:
        TypeError: `needs` or `tasks` is no collection of the words that there are.
    """
    needs, tasks = (
        _known_words("needs", needs, get_args(Need)),
        _known_words("tasks", tasks, get_args(Task)),
    )
    facts = ComponentMetadata(
        version, needs, tasks, dict(presets or {}), shape, identity, drawn, suits
    )

    def state(factory: Callable[P, T]) -> Callable[P, T]:
        factory.__advtransfer__ = facts  # type: ignore[attr-defined]  # typing has no word for attributes of functions
        return factory

    return state


def _known_words(name: str, words: Iterable[T], known: tuple[T, ...]) -> frozenset[T]:
    """The words as a set, each of them one of `known`."""
    expected = f"expected a list of words out of {', '.join(map(repr, known))}"
    if isinstance(words, str) or not isinstance(words, Iterable):
        raise TypeError(f"found {name}={words!r}; {expected}; write it as a list")
    listed = list(words)
    if unknown := [word for word in listed if word not in known]:
        raise TypeError(f"found {name} with {', '.join(map(repr, unknown))}; {expected}")
    return frozenset(listed)


def metadata_of(factory: Callable[..., object]) -> ComponentMetadata:
    """The facts a factory states, or the defaults."""
    facts = getattr(factory, "__advtransfer__", None)
    return facts if isinstance(facts, ComponentMetadata) else ComponentMetadata()


@dataclass(frozen=True, slots=True)
class DataCard:
    """What a data set is: input shape and bounds, task, outputs, class names, digest of content, labels and order."""

    shape: Shape
    bounds: tuple[float, float] | None
    task: Task
    outputs: int
    names: tuple[str, ...]
    digest: str


class Samples(Protocol):
    """One part, or a subset of one, in a fixed order; pixels are read only when asked for."""

    @property
    def card(self) -> DataCard: ...
    @property
    def keys(self) -> Sequence[int]:
        """A stable number for each sample (its position in the official part): what random streams are keyed by."""

    def __len__(self) -> int: ...
    def inputs(self, positions: Tensor) -> Tensor:
        """``(B, *shape)`` float32 in the card's bounds, on the CPU."""

    def labels(self, positions: Tensor) -> Tensor:
        """``(B,)`` int64 classes, ``(B, outputs)`` 0/1 attributes or float32 values."""


class Dataset(Protocol):
    """A data set with train and test parts; class subsets, channels and size are views that the host lays over it."""

    def card(self) -> DataCard: ...
    def part(self, name: Part) -> Samples: ...


class Network(Protocol):
    """An ``nn.Module`` from inputs in the card's bounds to logits, normalisation inside, as blocks and a head."""

    @property
    def blocks(self) -> Mapping[str, nn.Module]: ...
    @property
    def head(self) -> nn.Module: ...
    def __call__(self, inputs: Tensor) -> Tensor: ...
    def features(self, inputs: Tensor, *, upto: str | None = None) -> Tensor:
        """Activations after a block (default: what the head receives)."""


@dataclass(frozen=True, slots=True)
class SourceCard:
    """What a source claims to be; the start-up probe compares `clean_accuracy` with a measurement."""

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
    """A source's weights by parameter name, and how they came about: curves (one row an epoch) and facts."""

    tensors: Tensors
    curves: Sequence[Mapping[str, float]] = ()
    facts: Mapping[str, float | str] = field(default_factory=dict)


class Source(Protocol):
    """A pretrained model f_S, or a reference f_T: an architecture, and weights that the host caches under its id."""

    def card(self) -> SourceCard: ...
    def network(self) -> Network:
        """The architecture with untrained weights; the same call rebuilds it around cached ones."""

    def weights(self, context: Context) -> Weights:
        """Load or train; a killed call continues from `context.saved()` to the same bits."""


class Adapter(Protocol):
    """x' = A x + b from target inputs to the source's; differentiable.

    Of a learned one, the module's parameters that require gradients are trained by the transfer, together with its new
    logit layer, in a copy. Their first values are drawn by `reset_parameters` of the module that holds them, or of one
    around it, from the fit's own stream. The host freezes the parameters of one that is not learned.
    """

    @property
    def learned(self) -> bool: ...
    def module(self, *, target: Shape, source: Shape) -> nn.Module:
        """The map ``(B, *target) -> (B, *source)``; random ones are fixed in eval mode."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a fit leaves beside the weights: curves (one row an epoch), what validation chose, facts, snapshots."""

    curves: Sequence[Mapping[str, float]] = ()
    chosen: Mapping[str, Json] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)
    snapshots: Mapping[int, Tensors] = field(default_factory=dict)


class Transfer(Protocol):
    """Carries a source to a target. Sees no test data: none is handed to it."""

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        """The untrained target model (target inputs -> target logits); the same call rebuilds it for saved weights.

        A copy of the source with a new head is `advtransfer.toolkit.heads.with_head`. What is drawn here from torch's
        global random state comes from a stream of the fit's own, named ``model``; `fit` draws from its context.
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
        """Train `model` in place; raises Diverged(epoch, loss), or Inapplicable(reason) where it makes no sense."""


@dataclass(frozen=True, slots=True)
class EvaluationInputs:
    """What an evaluation receives: the test part, and of the rest only what its factory's `needs` names."""

    test: Samples
    model: nn.Module | None = None
    source: Network | None = None
    adapter: nn.Module | None = None
    reference: Network | None = None
    train: Samples | None = None


class Outcome(IntEnum):
    """What became of one sample; a sample wrong without attack is `WRONG`, an unfinished or illegal one `UNKNOWN`."""

    ROBUST = 0
    BROKEN = 1
    WRONG = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Examples:
    """Adversarial examples behind an outcome; the host re-checks norm and box in float64, and labels."""

    metric: str
    norm: Literal["linf", "l2", "l1", "l0"]
    eps: float
    positions: Tensor
    inputs: Tensor


@dataclass(frozen=True, slots=True)
class Check:
    """One piece of evidence: a number, the limit it was held to, on how many samples, and what it means in words."""

    name: str
    grade: CheckStatus
    value: float
    limit: float
    samples: int
    text: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """What an evaluation found: per-sample outcomes, other numbers, arrays ``(N, ...)`` in test order, evidence.

    `outcomes` maps a metric (`accuracy`, `robust_accuracy@0.1`) to ``(N,)`` uint8 values of `Outcome`; the host
    computes the metric's value, bounds and interval from them. A `robust_accuracy*` needs `Examples` with its ball, of
    no sample where nothing broke: the host holds it against its battery. `metrics` holds what is not a share of
    samples; one that is a mean over samples has its values under its own name in `samples`, NaN where one is left out.
    """

    outcomes: Tensors = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    samples: Tensors = field(default_factory=dict)
    examples: Sequence[Examples] = ()
    checks: Sequence[Check] = ()
    files: Mapping[str, Path] = field(default_factory=dict)


class Evaluation(Protocol):
    """Measures what its factory `needs`; leaves weights, modes, `.grad` and global random state as found."""

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement: ...


class Context(Protocol):
    """What the host lends to a running part; nothing is global."""

    @property
    def device(self) -> torch.device: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def scratch(self) -> Path: ...
    def generator(self, stream: str, *keys: int) -> torch.Generator:
        """A CPU generator that depends on the node's seed inputs, the stream's name and the keys; never on order."""

    def numpy(self, stream: str, *keys: int) -> np.random.Generator: ...
    def remember(
        self,
        what: str,
        key: Mapping[str, Json],
        build: Callable[[], Tensors],
        *,
        of: Iterable[str] | None = None,
    ) -> Tensors:
        """A cache node below this one, built by one worker and read by all who ask for the same.

        `of` names the inputs of this node that alone decide what is built (``("reference", "test")`` for a reference's
        adversarials): nodes that share these inputs then share what was built. Without it, it is this node's own.
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
        """What `compute` gives for each sample, ``(N, ...)`` on the CPU: computed once, then found by the sample's key.

        `compute` takes inputs ``(B, *shape)`` on the context's device; it must be frozen, deterministic and treat rows
        independently. `key` says all that it depends on besides the inputs of this node that `of` names (a dot goes
        below one: ``("source", "adapter", "subset.data")``) and the samples' part, which belongs into `key` as well.
        """

    def saved(self) -> Tensors | None: ...
    def save(self, state: Tensors) -> None: ...
    def progress(self, done: int, total: int, **news: float) -> None:
        """Tell where one is; may raise Cancelled (a worker that is stopped is killed: what was saved is continued)."""


if not TYPE_CHECKING:  # mypy then reports an old name, as it should
    __getattr__ = deprecated_names(
        __name__,
        {
            "Executor": "advtransfer.jobs:Executor",
            "Facts": "advtransfer.types:ComponentMetadata",
            "Given": "advtransfer.types:EvaluationInputs",
            "Grade": "advtransfer.types:CheckStatus",
            "Job": "advtransfer.jobs:Job",
            "NotAsked": "advtransfer.types:NotInId",
            "Report": "advtransfer.jobs:Report",
            "facts_of": "advtransfer.types:metadata_of",
        },
    )
