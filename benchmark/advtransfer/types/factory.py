"""A factory's side of the plugin API: the words of its metadata, marks on its options, `component`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, ParamSpec, TypeAlias, TypeVar, get_args

P = ParamSpec("P")
T = TypeVar("T")
Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
Shape: TypeAlias = tuple[int, ...]
Task: TypeAlias = Literal["classes", "attributes", "values"]
Need: TypeAlias = Literal["model", "source", "reference", "train"]

Factory: TypeAlias = Callable[..., T]
"""A plain function: its name is the name in YAML, its keyword-only arguments are the options."""


@dataclass(frozen=True, slots=True)
class Since:
    """Mark an option that was added later, ``Annotated[float, Since(2)]``.

    It is left out of the id while it equals its default, so that adding it changes no id.
    """

    version: int


@dataclass(frozen=True, slots=True)
class NotInId:
    """Exclude an option from the content id, ``Annotated[bool, NotInId()]``.

    For options that change how an object is obtained (a download, a local path) and not what it is.
    """


@dataclass(frozen=True, slots=True)
class File:
    """A file option, searched for under ADVTRANSFER_DATA, then beside the suite.

    The id depends on its content and never on its path.
    """

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder option, searched for like a `File`.

    `sha256` is the digest of its manifest: the relative path and content digest of every file.
    """

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class ComponentMetadata:
    """Metadata that a factory states with `component`; read by the plan without importing torch.

    See `component` for the meaning of each field.
    """

    version: int = 1
    needs: frozenset[Need] = frozenset()
    tasks: frozenset[Task] = frozenset({"classes"})
    presets: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    shape: Shape | str | None = None
    is_identity: bool = False
    is_untrained: bool = False
    adapts_to_shapes: bool = False
    is_strong: bool = False
    takes_second_derivatives: bool = False
    deterministic: bool | Mapping[str, Json] = False
    example: Mapping[str, Json] = field(default_factory=dict)

    def is_deterministic(self, options: Mapping[str, Json]) -> bool:
        """Return whether a transfer with these options draws no random number."""
        if isinstance(self.deterministic, bool):
            return self.deterministic
        # Options at their defaults may be left out of `options`.
        return all(options.get(name, value) == value for name, value in self.deterministic.items())

    @property
    def identity(self) -> bool:
        """Deprecated name of `is_identity`."""
        return self.is_identity

    @property
    def drawn(self) -> bool:
        """Deprecated name of `is_untrained`."""
        return self.is_untrained

    @property
    def suits(self) -> bool:
        """Deprecated name of `adapts_to_shapes`."""
        return self.adapts_to_shapes


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
    strong: bool = False,
    second_derivatives: bool = False,
    deterministic: bool | Mapping[str, Json] = False,
    example: Mapping[str, Json] | None = None,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Attach metadata to a factory that the plan can read without importing torch.

    Args:
        version: Part of every id; raise it when the same options give other results.
        needs: The inputs of a transfer or evaluation. A transfer without ``"source"`` is planned once per target.
        tasks: The kinds of labels that the component supports.
        presets: Named sets of options, expanded before validation and hashing.
        shape: The input shape ``(C, H, W)``, or the name of the data set option that determines it. Where it
            is known, the plan skips cells whose shapes differ; otherwise the worker skips them.
        identity: The adapter changes nothing: a cell with it has the same id as a cell without an adapter.
        drawn: The source is untrained: as an option of a transfer, each fit draws its weights from its own
            random stream.
        suits: The adapter is chosen from the shapes that it connects; records store the chosen one.
        strong: The evaluation claims that its attack is as strong as AutoAttack. Its robust accuracy
            is suspicious if the host breaks more than 2 % of the samples that it left, instead of
            5 %; it gains nothing else.
        second_derivatives: The component trains on derivatives of gradients, which models that `torch.compile`
            has compiled do not have: ``run --compile`` refuses it.
        deterministic: The transfer draws no random number, so that fits to the same images are equal: with
            ``n: all``, all seeds are one trial. Or the options whose defaults make it so.
        example: Options that the kit of `advtransfer.testing` builds the component with: values of those that
            are required, and cheap values of those that take long. In no id.

    Raises:
        TypeError: `needs` or `tasks` is not a collection of known words.
    """
    metadata = ComponentMetadata(
        version,
        needs=_known_words("needs", needs, get_args(Need)),
        tasks=_known_words("tasks", tasks, get_args(Task)),
        presets=dict(presets or {}),
        shape=shape,
        is_identity=identity,
        is_untrained=drawn,
        adapts_to_shapes=suits,
        is_strong=strong,
        takes_second_derivatives=second_derivatives,
        deterministic=deterministic if isinstance(deterministic, bool) else dict(deterministic),
        example=dict(example or {}),
    )

    def attach_metadata(factory: Callable[P, T]) -> Callable[P, T]:
        factory.__advtransfer__ = metadata  # type: ignore[attr-defined]  # typing has no word for attributes of functions
        return factory

    return attach_metadata


def _known_words(name: str, words: Iterable[T], known: tuple[T, ...]) -> frozenset[T]:
    """Return the words as a set; raise TypeError where one is not in `known`."""
    expected = f"expected a list of words out of {', '.join(map(repr, known))}"
    if isinstance(words, str) or not isinstance(words, Iterable):
        raise TypeError(f"found {name}={words!r}; {expected}; write it as a list")
    listed = list(words)
    if unknown := [word for word in listed if word not in known]:
        raise TypeError(f"found {name} with {', '.join(map(repr, unknown))}; {expected}")
    return frozenset(listed)


def metadata_of(factory: Callable[..., object]) -> ComponentMetadata:
    """Return the metadata that a factory states with `component`, or the defaults."""
    metadata = getattr(factory, "__advtransfer__", None)
    return metadata if isinstance(metadata, ComponentMetadata) else ComponentMetadata()
