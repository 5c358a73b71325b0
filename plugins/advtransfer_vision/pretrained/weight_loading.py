"""Load the weights of a checkpoint into a network; report whatever does not fit, its normalisation included."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from advtransfer.types import Tensors
from advtransfer_vision.pretrained.checkpoints import CheckpointContents, head_names
from advtransfer_vision.pretrained.network_spec import CutNetwork, NetworkSpec
from advtransfer_vision.pretrained.safe_load import CheckpointError

NORMALIZATION_TOLERANCE = 2e-3
"""Papers and code round means and standard deviations of pixels to three digits."""


def check_normalization(
    design: NetworkSpec, normalise: Tensors, *, place: str, options: frozenset[str]
) -> None:
    """Refuse a normalisation that is not the one that the file carries.

    Args:
        design: With the mean and the standard deviation that are asked for.
        normalise: ``mean`` and ``std`` of the file.
        place: Where the file is, for the message of an error.
        options: What the component lets a suite say.

    Raises:
        CheckpointError: They differ by more than rounding.
    """
    for name, wanted in (("mean", design.mean), ("std", design.std)):
        held = normalise[name].flatten().expand(3)
        if not torch.allclose(held, torch.tensor(wanted), rtol=0, atol=NORMALIZATION_TOLERANCE):
            values = {one: normalise[one].flatten().expand(3).tolist() for one in ("mean", "std")}
            written = ", ".join(
                f"`{one}: [{_number_list(value)}]`" for one, value in values.items()
            )
            found = f"the {name} {_number_list(held.tolist())} in {place} and {_number_list(wanted)} asked for"
            where = "" if "mean" in options else " with vision/checkpoint"
            raise CheckpointError(
                f"found {found}; expected the same normalisation; write {written}{where}"
            )


def _number_list(values: tuple[float, ...] | list[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


BATCH_COUNTER = "num_batches_tracked"


def fill_network(
    network: CutNetwork,
    contents: CheckpointContents,
    *,
    name: str,
    place: str,
    options: frozenset[str],
) -> None:
    """Put the tensors into the network; every weight must get one, and every tensor must have a place.

    Args:
        network: Filled in place.
        contents: What the file holds.
        name: The architecture's, for the message of an error.
        place: Where the tensors are from, likewise.
        options: What the component lets a suite say of the file.

    Raises:
        CheckpointError: They are another architecture's, or for another number of classes, or no good numbers.
    """
    expected = network.model.state_dict()
    tensors = {key: value for key, value in contents.tensors.items() if key in expected}
    _check_numbers(tensors, expected, place=place)
    head = head_names(network)
    left = head if contents.new_head else set()
    missing = [
        key
        for key in expected
        if key not in tensors and key not in left and not key.endswith(BATCH_COUNTER)
    ]
    unexpected = [key for key in contents.tensors if key not in expected]
    reshaped = [key for key, value in tensors.items() if value.shape != expected[key].shape]
    if missing or unexpected or reshaped:
        _refuse_class_count(reshaped, head, tensors, expected, place=place, options=options)
        headless = bool(missing) and head.issuperset(missing) and not reshaped
        message = _mismatch_text(
            missing, unexpected, {key: (tensors[key], expected[key]) for key in reshaped}
        )
        if headless and "new_head" in options:
            next_step = (
                "write `new_head: true` to draw the head, for transfers that use the rest alone"
            )
        else:
            next_step = _layout_advice(options)
        raise CheckpointError(
            f"found {message} in {place}; expected exactly the weights of {name}; {next_step}"
        )
    network.model.load_state_dict({**expected, **tensors})
    network.normalise.load_state_dict({**network.normalise.state_dict(), **contents.normalization})
    broken = [one for one, value in network.state_dict().items() if not value.isfinite().all()]
    if broken:
        found = f"values beyond float32 in {place} ({_first_names(broken)})"
        raise CheckpointError(
            f"found {found}; expected numbers that float32 can hold; get another file"
        )


def _check_numbers(tensors: Tensors, expected: Tensors, *, place: str) -> None:
    """Refuse weights that cannot give logits, whatever else is wrong with them."""
    of_another_kind = [
        key
        for key, value in tensors.items()
        if expected[key].is_floating_point() and not _is_dense(value)
    ]
    if of_another_kind:
        first = f"{of_another_kind[0]} is {_dtype_text(tensors[of_another_kind[0]])}"
        found = f"{len(of_another_kind)} weights that are no plain floats in {place} ({first})"
        raise CheckpointError(
            f"found {found}; expected float tensors; save the weights before they are quantised"
        )
    broken = [key for key, value in tensors.items() if not value.isfinite().all()]
    if broken:
        found = f"values that are not finite in {place} ({_first_names(broken)})"
        raise CheckpointError(f"found {found}; expected numbers; get another file")
    negative = [
        key
        for key, value in tensors.items()
        if key.endswith("running_var") and bool((value < 0).any())
    ]
    if negative:
        least = tensors[negative[0]].min().item()
        found = f"negative running variances in {place} ({_first_names(negative)}; the least is {least:g})"
        raise CheckpointError(
            f"found {found}; expected 0 or more, since they give logits that are NaN; get another file"
        )


def _is_dense(value: Tensor) -> bool:
    plain = value.layout is torch.strided and not value.is_quantized and not value.is_meta
    return plain and value.is_floating_point()


def _dtype_text(value: Tensor) -> str:
    return "without values" if value.is_meta else str(value.dtype).removeprefix("torch.")


def _refuse_class_count(
    reshaped: Sequence[str],
    head: set[str],
    tensors: Tensors,
    expected: Tensors,
    *,
    place: str,
    options: frozenset[str],
) -> None:
    """Refuse tensors that would fit, were it not for the number of classes."""
    if (
        not reshaped
        or not head.issuperset(reshaped)
        or tensors[reshaped[0]].ndim != expected[reshaped[0]].ndim
    ):
        return
    given, wanted = tuple(tensors[reshaped[0]].shape), tuple(expected[reshaped[0]].shape)
    if given[1:] != wanted[1:]:
        return
    found = f"{given[0]} classes in {place} ({reshaped[0]} is {given})"
    drawn = ", or `new_head: true` to draw another head" if "new_head" in options else ""
    next_step = f"write `outputs: {given[0]}`, or give `data` of {given[0]} classes{drawn}"
    raise CheckpointError(f"found {found}; expected {wanted[0]}; {next_step}")


def _mismatch_text(
    missing: Sequence[str], unexpected: Sequence[str], reshaped: dict[str, tuple[Tensor, Tensor]]
) -> str:
    """What does not fit, counted, with the first names of each kind."""
    told = []
    if missing:
        told.append(f"{len(missing)} names missing ({_first_names(missing)})")
    if unexpected:
        near = difflib.get_close_matches(missing[0], unexpected, n=1, cutoff=0.5) if missing else []
        hint = f"; {near[0]!r} is like {missing[0]!r}" if near else ""
        told.append(f"{len(unexpected)} names unexpected ({_first_names(unexpected)}{hint})")
    if reshaped:
        key, (given, wanted) = next(iter(reshaped.items()))
        shapes = f"{key} is {tuple(given.shape)}, not {tuple(wanted.shape)}"
        told.append(
            f"{len(reshaped)} names of another shape ({shapes}{', ...' if len(reshaped) > 1 else ''})"
        )
    return " and ".join(told)


def _layout_advice(options: frozenset[str]) -> str:
    where = (
        ", or say with `key` and `prefix` where in the file its weights are"
        if "prefix" in options
        else ""
    )
    return f"correct `architecture`{where}"


def _first_names(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
