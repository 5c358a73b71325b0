"""The sets of weights that a checkpoint holds, and which of them is taken.

Training code keeps more than one: the weights and their moving average, a teacher and a student, the best and the
last. Where the writer's own loader is known to prefer one, that one is taken; elsewhere the suite must say which.
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
"""timm's ``load_state_dict`` takes the first of these that is there; torchvision's references evaluate ``model_ema``
where it is there. Other names of a second set have no rule that all agree on."""

USUAL_KEYS = ("state_dict", "model", "net")
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
MAX_DEPTH = 3


@dataclass(frozen=True, slots=True)
class ChosenWeights:
    """A set of weights of a file.

    Args:
        tensors: By the names in the file.
        key: Where it was found; empty for the whole file.
        beside: Where other sets of weights for the same architecture are.
        others: How many values among them are no tensors; they were left out.
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
    """The set of weights under `key`, or else the one that has an architecture's names.

    Args:
        content: What the file holds.
        expected: The architecture's names.
        path: The file, for the message of an error.
        key: Where in the file it is; dots go below. None to look for it.
        order: Of several that have the names, the first of these is taken, where all of them are among these.

    Raises:
        CheckpointError: There are no weights, or several sets of them.
    """
    sets = dict(_weight_sets(content))
    if key is not None:
        return _weights_under(key, content, sets, expected, path=path)
    if not sets:
        raise CheckpointError(_no_weights_message(content, path))
    fitting = [name for name, one in sets.items() if name_coverage(one, expected) >= MIN_COVERAGE]
    if not fitting:
        usual = next(
            (name for name in USUAL_KEYS if name in sets),
            max(sets, key=lambda name: len(sets[name])),
        )
        return _chosen_set(usual, sets, content, ())
    best = _preferred_key(fitting, sets, order)
    if best is None:
        named = " or ".join(f"`key: {name or repr('')}`" for name in fitting)
        found = f"{len(fitting)} sets of weights in {path}, under {_quoted_names(fitting)}"
        raise CheckpointError(f"found {found}; expected one, or the word which; write {named}")
    return _chosen_set(best, sets, content, tuple(name for name in fitting if name != best))


def _preferred_key(
    fitting: Sequence[str], sets: Mapping[str, Tensors], order: Sequence[str]
) -> str | None:
    first = fitting[0]
    if all(_equal_sets(sets[first], sets[other]) for other in fitting[1:]):
        return first
    if set(fitting) <= set(order):
        return next(name for name in order if name in fitting)
    return None


def _equal_sets(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def _weights_under(
    key: str, content: object, sets: Mapping[str, Tensors], expected: Sequence[str], *, path: Path
) -> ChosenWeights:
    """The set of weights that the suite names."""
    if key in sets:
        beside = [
            name
            for name, one in sets.items()
            if name != key and name_coverage(one, expected) >= MIN_COVERAGE
        ]
        return _chosen_set(key, sets, content, tuple(beside))
    inner = _value_at(content, key)
    if inner is not None:
        found = f"no tensors by name under {key!r} in {path}, but {_describe_value(inner)}"
    else:
        found = f"no {key!r} in {path}, which holds {_describe_contents(content)}"
    near = difflib.get_close_matches(key, list(sets)) or [name for name in sets if name]
    hint = f"; its weights are under {_quoted_names(near)}" if near else ""
    raise CheckpointError(f"found {found}; correct `key`{hint}")


def _weight_sets(
    content: object, name: str = "", depth: int = 0
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every mapping that holds tensors by name, from the outermost on."""
    if not isinstance(content, Mapping):
        return
    tensors = {
        key: one for key, one in content.items() if isinstance(key, str) and isinstance(one, Tensor)
    }
    if tensors:
        yield name, tensors
    for key, inner in content.items():
        if (
            depth < MAX_DEPTH
            and isinstance(key, str)
            and not key.lower().startswith(WEIGHTLESS_KEYS)
        ):
            yield from _weight_sets(inner, f"{name}.{key}" if name else key, depth + 1)


def _value_at(content: object, key: str) -> object | None:
    """What lies under a key of a file, or under a path of keys with dots between them."""
    if not isinstance(content, Mapping):
        return None
    if key in content:
        return cast(object, content[key])
    first, _, rest = key.partition(".")
    return _value_at(content[first], rest) if rest and first in content else None


def _chosen_set(
    name: str, sets: Mapping[str, Tensors], content: object, beside: tuple[str, ...]
) -> ChosenWeights:
    held = content if not name else _value_at(content, name)
    values = held.values() if isinstance(held, Mapping) else ()
    others = sum(not isinstance(one, Tensor | Mapping) for one in values)
    return ChosenWeights(sets[name], name, beside, others)


def _no_weights_message(content: object, path: Path) -> str:
    found = f"no tensors by name in {path}, which holds {_describe_contents(content)}"
    return f"found {found}; expected a mapping of names to tensors; save the model's state_dict() alone"


def _describe_contents(content: object) -> str:
    if not isinstance(content, Mapping):
        return _describe_value(content)
    text = ", ".join(f"{key!r}" for key in content) or "nothing"
    return text if len(text) <= 200 else f"{text[:200]} ..."


def _quoted_names(names: Sequence[str]) -> str:
    return " and ".join(repr(name) if name else "no key" for name in names)


def _describe_value(value: object) -> str:
    if isinstance(value, Mapping):
        return "a mapping without tensors"
    return (
        "code or an object that was not read"
        if isinstance(value, type)
        else f"a {type(value).__name__}"
    )
