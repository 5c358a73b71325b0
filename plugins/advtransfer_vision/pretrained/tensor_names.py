"""Match the tensor names of a state dict with those of an architecture.

Prefixes, wrappers, extra tensors.
"""

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
"""Parts of names that DataParallel, ``torch.compile``, FSDP and activation checkpointing put in; they hold nothing."""

COUNTER_NAMES = frozenset({"num_batches_tracked", "n_averaged", "total_ops", "total_params"})
"""Last parts of the names of counters (batch normalisation, ``torch.optim.swa_utils``, thop); no forward pass of an
evaluation reads them."""

MEAN_NAMES = frozenset({"mean", "mu", "new_mean", "pixel_mean", "norm_mean"})
STD_NAMES = frozenset({"std", "sigma", "new_std", "pixel_std", "norm_std"})
"""Last parts of the names of a normalisation's buffers."""

MIN_COVERAGE = 0.5
"""The share of an architecture's names that a set of weights must have to count as one of its sets."""
RIVAL_SHARE = 0.9
"""A second prefix that has this share of the best one's names may be the one that is meant."""


@dataclass(frozen=True, slots=True)
class PrefixedTensors:
    """The tensors under one prefix, by the architecture's names.

    Args:
        tensors: Those under the prefix.
        prefix: What was stripped, besides the names of wrappers.
        normalise: ``mean`` and ``std`` of a normalisation that lies beside them, ``(C, 1, 1)``.
        unused: How many tensors were left out.
    """

    tensors: Tensors
    prefix: str
    normalization: Tensors = field(default_factory=dict)
    unused: int = 0


def strip_wrappers(tensors: Tensors, expected: Iterable[str]) -> dict[str, Tensor]:
    """The tensors under names without the parts that wrappers put in, unless two names would become one."""
    parts = {part for name in expected for part in name.split(".")}
    wrappers = WRAPPER_NAMES - parts
    renamed = {
        ".".join(part for part in name.split(".") if part not in wrappers): one
        for name, one in tensors.items()
    }
    return renamed if len(renamed) == len(tensors) else dict(tensors)


def name_coverage(tensors: Tensors, expected: Iterable[str]) -> float:
    """The largest share of the expected names that lies under one prefix."""
    names = _weight_names(expected)
    return _most_names(strip_wrappers(tensors, names), names) / max(1, len(names))


def select_prefix(
    tensors: Tensors, expected: Iterable[str], *, prefix: str | None, what: str, place: str
) -> PrefixedTensors:
    """The tensors of an architecture, under the prefix that is said or, where none is said, found.

    Args:
        tensors: Of a state dict.
        expected: The architecture's names.
        prefix: What to strip from the names; None to look for it.
        what: The architecture, in the words of an error.
        place: Where the tensors are from, likewise.

    Raises:
        CheckpointError: No name begins with the prefix, or several prefixes hold different weights.
    """
    expected = list(expected)
    names = _weight_names(expected)
    clean = strip_wrappers(tensors, expected)
    if _most_names(tensors, names) >= _most_names(clean, names) or (
        prefix and _any_begins(tensors, prefix)
    ):
        clean = dict(
            tensors
        )  # then what lies beside the wrapped network is told from it by the wrapper's name
    if prefix is None:
        prefix = _find_prefix(clean, names, what=what, place=place)
        beside: tuple[str, ...] = ()
    elif prefix:
        beside = ()
    else:
        counts = _count_prefixes(clean, names)
        beside = tuple(
            one for one, count in counts.items() if one and count >= MIN_COVERAGE * len(names)
        )
    if not _any_begins(clean, prefix):
        first = ", ".join(map(repr, list(tensors)[:3]))
        raise CheckpointError(
            f"found no name that begins with {prefix!r} in {place}, but {first} ...; correct `prefix`"
        )
    inside = {
        name.removeprefix(prefix): one
        for name, one in clean.items()
        if _lies_under(name, prefix, beside)
    }
    outside = {name: one for name, one in clean.items() if not _lies_under(name, prefix, beside)}
    return _separate_extras(strip_wrappers(inside, expected), outside, expected, prefix)


def find_normalization(tensors: Tensors) -> dict[str, Tensor]:
    """``mean`` and ``std``, ``(C, 1, 1)`` and for inputs in [0, 1], where both are among the tensors."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        last = name.rsplit(".", 1)[-1]
        which = "mean" if last in MEAN_NAMES else "std" if last in STD_NAMES else None
        if which and tensor.numel() in (1, 3) and tensor.is_floating_point():
            found.setdefault(which, tensor.float().reshape(-1, 1, 1))
    if len(found) < 2:
        return {}
    of_bytes = float(found["mean"].max()) > 2
    return {name: one / 255 if of_bytes else one for name, one in found.items()}


def _find_prefix(clean: Tensors, expected: Sequence[str], *, what: str, place: str) -> str:
    """The prefix under which most of the expected names lie."""
    counts = _count_prefixes(clean, expected)
    most = max(counts.values(), default=0)
    if most < MIN_COVERAGE * len(expected):
        return ""
    rivals = [prefix for prefix, count in counts.items() if count >= RIVAL_SHARE * most]
    rivals.sort(key=lambda prefix: -counts[prefix])
    best = rivals[0]
    others = [rival for rival in rivals[1:] if _sets_differ(clean, best, rival, expected)]
    if others:
        names = [best, *others]
        found = f"weights of {what} under {len(names)} prefixes in {place} ({', '.join(map(repr, names))})"
        written = " or ".join(f"`prefix: {name or repr('')}`" for name in names)
        raise CheckpointError(f"found {found}; expected one set of weights; write {written}")
    return best


def _any_begins(tensors: Tensors, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in tensors)


def _lies_under(name: str, prefix: str, beside: tuple[str, ...]) -> bool:
    return name.startswith(prefix) and not name.startswith(beside)


def _most_names(tensors: Tensors, names: Sequence[str]) -> int:
    return max(_count_prefixes(tensors, names).values())


def _sets_differ(clean: Tensors, first: str, second: str, expected: Sequence[str]) -> bool:
    pairs = ((clean.get(first + name), clean.get(second + name)) for name in expected)
    return any(
        one is not None and other is not None and not _same_tensor(one, other)
        for one, other in pairs
    )


def _same_tensor(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and one.equal(other)


def _count_prefixes(clean: Tensors, expected: Iterable[str]) -> Mapping[str, int]:
    """How many of the expected names lie under each prefix, the empty one first."""
    names = set(expected)
    counts: Counter[str] = Counter({"": 0})
    for name in clean:
        start = 0
        while start >= 0:
            if name[start:] in names:
                counts[name[:start]] += 1
            dot = name.find(".", start)
            start = dot + 1 if dot >= 0 else -1
    return counts


def _weight_names(expected: Iterable[str]) -> list[str]:
    return [name for name in expected if name.rsplit(".", 1)[-1] not in COUNTER_NAMES]


def _separate_extras(
    inside: Tensors, outside: Tensors, expected: Sequence[str], prefix: str
) -> PrefixedTensors:
    """Tell an architecture's tensors from counters and from a normalisation beside them."""
    names = set(expected)
    extra = {name: one for name, one in inside.items() if name not in names}
    beside = find_normalization({**outside, **extra})
    known = {
        name
        for name in extra
        if name.rsplit(".", 1)[-1] in COUNTER_NAMES
        or (beside and name.rsplit(".", 1)[-1] in MEAN_NAMES | STD_NAMES)
    }
    kept = {name: one for name, one in inside.items() if name not in known}
    return PrefixedTensors(kept, prefix, beside, unused=len(outside) + len(known))
