"""The sets of weights in a checkpoint, and the choice between them.

Training code may store several: the weights and their moving average, a teacher and a student, the best and the last.
If the loader of the code that wrote the file is known to prefer one, that one is chosen; else the suite must name one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import Tensor

from advtransfer.types import Tensors
from advtransfer_vision.pretrained.safe_load import CheckpointError
from advtransfer_vision.pretrained.tensor_names import MIN_COVERAGE, name_coverage

PREFERRED_KEYS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""timm's ``load_state_dict`` takes the first of these keys that exists; torchvision's references evaluate ``model_ema``
if it exists. For other names of a second set there is no common rule."""

USUAL_KEYS = ("state_dict", "model", "net")
"""Keys of weights, to report the mismatch of a file in which no set fits the architecture."""
WEIGHTLESS_KEYS = (
    "optim",
    "sched",
    "scaler",
    "amp",
    "rng",
    "criterion",
    "loss",
    "args",
    "hyper_param",
    "callbacks",
)
"""Prefixes of keys whose tensors are not weights of a model."""
MAX_DEPTH = 3
MAX_DESCRIPTION = 200


@dataclass(frozen=True, slots=True)
class ChosenWeights:
    """A set of weights in a file.

    Args:
        tensors: The weights by their names in the file.
        key: Key of the set in the file, with dots between levels; empty for the whole file.
        other_keys: Keys of other sets of weights for the same architecture.
        other_values: Number of values in the set that are no tensors; they are left out.
    """

    tensors: Tensors
    key: str
    other_keys: tuple[str, ...]
    other_values: int


def choose_weights(
    content: object,
    expected: Sequence[str],
    *,
    path: Path,
    key: str | None = None,
    order: Sequence[str] = PREFERRED_KEYS,
) -> ChosenWeights:
    """Return the set of weights under `key`, or the set with an architecture's names.

    If no set has the names, one of them is returned, so that loading it reports the mismatch.

    Args:
        content: Content of the file.
        expected: Names of the architecture's weights.
        path: The file, for error messages.
        key: Key of the set in the file, with dots between levels; None to search for it.
        order: Keys by preference. Of several sets that fit, the first one in this order is chosen, provided that all
            of them are in it.

    Raises:
        CheckpointError: There are no weights, or several sets that differ and no preference between them.
    """
    sets = dict(_weight_sets(content))
    if key is not None:
        return _weights_under(key, content, sets, expected, path=path)
    if not sets:
        raise CheckpointError(_no_weights_message(content, path))
    fitting = _fitting_keys(sets, expected)
    if not fitting:
        return _chosen_set(_likeliest_key(sets), sets, content, ())
    best = _preferred_key(fitting, sets, order)
    if best is None:
        choices = " or ".join(f"`key: {name or repr('')}`" for name in fitting)
        found = f"{len(fitting)} sets of weights in {path}, under {_quoted_names(fitting)}"
        raise CheckpointError(
            f"found {found}; expected one, or a choice between them; write {choices}"
        )
    return _chosen_set(best, sets, content, tuple(name for name in fitting if name != best))


def _fitting_keys(sets: Mapping[str, Tensors], expected: Sequence[str]) -> list[str]:
    """Return the keys of the sets that have enough of an architecture's names."""
    return [
        key for key, weights in sets.items() if name_coverage(weights, expected) >= MIN_COVERAGE
    ]


def _likeliest_key(sets: Mapping[str, Tensors]) -> str:
    """Return the key of a set that is likely meant, by its name or else by its size."""
    for key in USUAL_KEYS:
        if key in sets:
            return key
    return max(sets, key=lambda key: len(sets[key]))


def _preferred_key(
    fitting: Sequence[str], sets: Mapping[str, Tensors], order: Sequence[str]
) -> str | None:
    """Return the preferred one of several sets; the first if all are equal, None if no rule applies."""
    first = fitting[0]
    # Some codes store the same weights twice, for instance before averaging has begun.
    if all(_equal_sets(sets[first], sets[other]) for other in fitting[1:]):
        return first
    # A set with a name that is not in the order may be the one that is meant.
    if set(fitting) <= set(order):
        return next(name for name in order if name in fitting)
    return None


def _equal_sets(first: Tensors, second: Tensors) -> bool:
    if first.keys() != second.keys():
        return False
    return all(first[name].equal(second[name]) for name in first)


def _weights_under(
    key: str, content: object, sets: Mapping[str, Tensors], expected: Sequence[str], *, path: Path
) -> ChosenWeights:
    """Return the set of weights under the key that the suite gives.

    Raises:
        CheckpointError: There are no weights under this key.
    """
    if key in sets:
        other_keys = tuple(name for name in _fitting_keys(sets, expected) if name != key)
        return _chosen_set(key, sets, content, other_keys)
    value = _value_at(content, key)
    if value is not None:
        found = f"no tensors by name under {key!r} in {path}, but {_describe_value(value)}"
    else:
        found = f"no {key!r} in {path}, which holds {_describe_contents(content)}"
    similar = difflib.get_close_matches(key, list(sets)) or [name for name in sets if name]
    hint = f"; its weights are under {_quoted_names(similar)}" if similar else ""
    raise CheckpointError(f"found {found}; correct `key`{hint}")


def _weight_sets(
    content: object, name: str = "", depth: int = 0
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield every mapping of names to tensors with its key, outer mappings first."""
    if not isinstance(content, Mapping):
        return
    items = {key: value for key, value in content.items() if isinstance(key, str)}
    tensors = {key: value for key, value in items.items() if isinstance(value, Tensor)}
    if tensors:
        yield name, tensors
    if depth == MAX_DEPTH:
        return
    for key, value in items.items():
        if not key.lower().startswith(WEIGHTLESS_KEYS):
            yield from _weight_sets(value, f"{name}.{key}" if name else key, depth + 1)


def _value_at(content: object, key: str) -> object | None:
    """Return the value under a key, or under a path of keys with dots between them; None if there is none."""
    if not isinstance(content, Mapping):
        return None
    if key in content:
        return cast(object, content[key])
    first, _, rest = key.partition(".")
    return _value_at(content[first], rest) if rest and first in content else None


def _chosen_set(
    key: str, sets: Mapping[str, Tensors], content: object, other_keys: tuple[str, ...]
) -> ChosenWeights:
    # Numbers and texts among the weights, such as an epoch, are counted for the record.
    mapping = _value_at(content, key) if key else content
    values = mapping.values() if isinstance(mapping, Mapping) else ()
    other_values = sum(not isinstance(value, Tensor | Mapping) for value in values)
    return ChosenWeights(sets[key], key, other_keys, other_values)


def _no_weights_message(content: object, path: Path) -> str:
    found = f"no tensors by name in {path}, which holds {_describe_contents(content)}"
    return f"found {found}; expected a mapping of names to tensors; save the model's state_dict() alone"


def _describe_contents(content: object) -> str:
    if not isinstance(content, Mapping):
        return _describe_value(content)
    text = ", ".join(f"{key!r}" for key in content) or "nothing"
    return text if len(text) <= MAX_DESCRIPTION else f"{text[:MAX_DESCRIPTION]} ..."


def _quoted_names(names: Sequence[str]) -> str:
    return " and ".join(repr(name) if name else "no key" for name in names)


def _describe_value(value: object) -> str:
    if isinstance(value, Mapping):
        return "a mapping without tensors"
    # The placeholder for an object that was not read is a class.
    if isinstance(value, type):
        return "code or an object that was not read"
    return f"a {type(value).__name__}"
