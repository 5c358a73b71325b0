"""Match the tensor names of a state dict with those of an architecture: prefixes, wrappers, extra tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from advtransfer.types import Tensors
from advtransfer_vision.pretrained.safe_load import CheckpointError

WRAPPER_NAMES = frozenset(
    {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
)
"""Parts of names that DataParallel, ``torch.compile``, FSDP and activation checkpointing insert."""

COUNTER_NAMES = frozenset({"num_batches_tracked", "n_averaged", "total_ops", "total_params"})
"""Last parts of the names of counters (batch normalisation, ``torch.optim.swa_utils``, thop); no forward pass of an
evaluation reads them."""

MEAN_NAMES = frozenset({"mean", "mu", "new_mean", "pixel_mean", "norm_mean"})
STD_NAMES = frozenset({"std", "sigma", "new_std", "pixel_std", "norm_std"})
"""Last parts of the names of a normalisation's buffers."""
_STATISTICS = dict.fromkeys(MEAN_NAMES, "mean") | dict.fromkeys(STD_NAMES, "std")

MIN_COVERAGE = 0.5
"""Share of an architecture's names that a set of tensors needs to count as weights of the architecture."""
RIVAL_SHARE = 0.9
"""A second prefix with at least this share of the best prefix's names may be the one that is meant."""


@dataclass(frozen=True, slots=True)
class PrefixedTensors:
    """The tensors under one prefix, by the architecture's names.

    Args:
        tensors: The tensors under the prefix.
        prefix: The prefix that was stripped, apart from the names of wrappers.
        normalization: ``mean`` and ``std``, ``(C, 1, 1)``, of a normalisation stored beside the weights.
    """

    tensors: Tensors
    prefix: str
    normalization: Tensors = field(default_factory=dict)


def strip_wrappers(tensors: Tensors, expected: Iterable[str]) -> dict[str, Tensor]:
    """Return the tensors under names without the parts that wrappers insert.

    The names stay as they are if two of them would become equal. Parts that the architecture uses itself are kept.
    """
    wrappers = set(WRAPPER_NAMES)
    for name in expected:
        wrappers.difference_update(name.split("."))
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        parts = [part for part in name.split(".") if part not in wrappers]
        renamed[".".join(parts)] = tensor
    if len(renamed) < len(tensors):
        return dict(tensors)
    return renamed


def name_coverage(tensors: Tensors, expected: Iterable[str]) -> float:
    """Return the largest share of the expected names under one prefix."""
    names = _weight_names(expected)
    candidates = strip_wrappers(tensors, names)
    return _most_names(candidates, names) / max(1, len(names))


def select_prefix(
    tensors: Tensors, expected: Iterable[str], *, prefix: str | None, what: str, place: str
) -> PrefixedTensors:
    """Return the tensors of an architecture, under a given prefix or under the best one.

    Args:
        tensors: The tensors of a state dict.
        expected: Names of the architecture's tensors.
        prefix: Prefix to strip from the names; None to search for it.
        what: The architecture, for error messages.
        place: Origin of the tensors, for error messages.

    Raises:
        CheckpointError: No name begins with the prefix, or several prefixes hold different weights.
    """
    expected = list(expected)
    names = _weight_names(expected)
    candidates = strip_wrappers(tensors, expected)
    # With the wrapper's name, weights are told from tensors beside the wrapped network, so it is
    # stripped only if that makes more names fit.
    strips_help = _most_names(candidates, names) > _most_names(tensors, names)
    is_prefix_of_raw_names = prefix is not None and prefix != "" and _any_begins(tensors, prefix)
    if not strips_help or is_prefix_of_raw_names:
        candidates = dict(tensors)
    other_prefixes: tuple[str, ...] = ()
    if prefix is None:
        prefix = _find_prefix(candidates, names, what=what, place=place)
    elif not prefix:
        # Every name begins with the empty prefix: leave out further copies of the network.
        counts = _count_prefixes(candidates, names)
        enough = MIN_COVERAGE * len(names)
        other_prefixes = tuple(other for other, n in counts.items() if other and n >= enough)
    if not _any_begins(candidates, prefix):
        first = ", ".join(map(repr, list(tensors)[:3]))
        raise CheckpointError(
            f"found no name that begins with {prefix!r} in {place}, but {first} ...; correct `prefix`"
        )
    inside: dict[str, Tensor] = {}
    outside: dict[str, Tensor] = {}
    for name, tensor in candidates.items():
        if name.startswith(prefix) and not name.startswith(other_prefixes):
            inside[name.removeprefix(prefix)] = tensor
        else:
            outside[name] = tensor
    return _separate_extras(strip_wrappers(inside, expected), outside, expected, prefix)


def find_normalization(tensors: Tensors) -> dict[str, Tensor]:
    """Return ``mean`` and ``std``, ``(C, 1, 1)`` for inputs in [0, 1], if both are among the tensors.

    Returns an empty mapping otherwise.
    """
    statistics: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        kind = _STATISTICS.get(_last_part(name))
        # One value for all channels, or one for each of three.
        has_right_size = tensor.numel() in (1, 3)
        if kind and has_right_size and tensor.is_floating_point():
            statistics.setdefault(kind, tensor.float().reshape(-1, 1, 1))
    if len(statistics) < 2:
        return {}
    # A mean above 2 is one of pixels from 0 to 255.
    is_for_bytes = float(statistics["mean"].max()) > 2
    if not is_for_bytes:
        return statistics
    return {kind: tensor / 255 for kind, tensor in statistics.items()}


def _find_prefix(tensors: Tensors, expected: Sequence[str], *, what: str, place: str) -> str:
    """Return the prefix of most of the expected names; an empty one if there is no good prefix.

    Raises:
        CheckpointError: Several prefixes have about as many names, and different weights.
    """
    counts = _count_prefixes(tensors, expected)
    most = max(counts.values(), default=0)
    if most < MIN_COVERAGE * len(expected):
        return ""
    rivals = [prefix for prefix, count in counts.items() if count >= RIVAL_SHARE * most]
    rivals.sort(key=lambda prefix: -counts[prefix])
    best = rivals[0]
    # Equal copies of the network, as in the robustness library's files, are no ambiguity.
    others = [rival for rival in rivals[1:] if _sets_differ(tensors, best, rival, expected)]
    if others:
        names = [best, *others]
        found = f"weights of {what} under {len(names)} prefixes in {place} ({', '.join(map(repr, names))})"
        choices = " or ".join(f"`prefix: {name or repr('')}`" for name in names)
        raise CheckpointError(f"found {found}; expected one set of weights; write {choices}")
    return best


def _any_begins(tensors: Tensors, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in tensors)


def _most_names(tensors: Tensors, names: Sequence[str]) -> int:
    return max(_count_prefixes(tensors, names).values())


def _sets_differ(tensors: Tensors, prefix: str, other_prefix: str, expected: Sequence[str]) -> bool:
    """Return whether two prefixes have different tensors under a name that both of them have."""
    for name in expected:
        first = tensors.get(prefix + name)
        second = tensors.get(other_prefix + name)
        if first is not None and second is not None and not _same_tensor(first, second):
            return True
    return False


def _same_tensor(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return first.equal(second)


def _count_prefixes(tensors: Tensors, expected: Iterable[str]) -> Mapping[str, int]:
    """Return the number of expected names under each prefix, the empty prefix first."""
    names = set(expected)
    counts: Counter[str] = Counter({"": 0})
    for name in tensors:
        # A prefix ends with a dot, so every position after a dot is tried.
        start = 0
        while start >= 0:
            if name[start:] in names:
                counts[name[:start]] += 1
            dot = name.find(".", start)
            start = dot + 1 if dot >= 0 else -1
    return counts


def _weight_names(expected: Iterable[str]) -> list[str]:
    return [name for name in expected if _last_part(name) not in COUNTER_NAMES]


def _last_part(name: str) -> str:
    return name.rpartition(".")[2]


def _separate_extras(
    inside: Tensors, outside: Tensors, expected: Sequence[str], prefix: str
) -> PrefixedTensors:
    """Separate an architecture's tensors from counters and from a normalisation beside them.

    Other extra tensors stay among the architecture's, so that loading them reports the mismatch.
    """
    names = set(expected)
    extras = {name: tensor for name, tensor in inside.items() if name not in names}
    normalization = find_normalization({**outside, **extras})
    ignored = COUNTER_NAMES | (set(_STATISTICS) if normalization else set())
    tensors = {
        name: tensor
        for name, tensor in inside.items()
        if name in names or _last_part(name) not in ignored
    }
    return PrefixedTensors(tensors, prefix, normalization)
