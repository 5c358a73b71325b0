"""Loading of a checkpoint's weights into a network, with reports of weights and normalisations that do not fit."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import torch
from torch import Tensor

from advtransfer.types import Tensors
from advtransfer_vision.pretrained.checkpoints import CheckpointContents, head_names
from advtransfer_vision.pretrained.network_spec import CutNetwork, SourceSpec
from advtransfer_vision.pretrained.safe_load import CheckpointError

NORMALIZATION_TOLERANCE = 2e-3
"""Largest accepted difference: papers and code round means and standard deviations of pixels to three digits."""

MAX_SHOWN_NAMES = 3


def check_normalization(
    spec: SourceSpec, normalization: Tensors, *, place: str, options: frozenset[str]
) -> None:
    """Refuse a suite's normalisation that differs from the one stored in the file.

    Args:
        spec: The network, with the mean and the standard deviation of the suite.
        normalization: ``mean`` and ``std`` of the file.
        place: The file, for error messages.
        options: Options of the component.

    Raises:
        CheckpointError: They differ by more than rounding.
    """
    stored = {name: normalization[name].flatten().expand(3) for name in ("mean", "std")}
    texts = {name: _number_list(values.tolist()) for name, values in stored.items()}
    settings = ", ".join(f"`{name}: [{text}]`" for name, text in texts.items())
    component = "" if "mean" in options else " with vision/checkpoint"
    for name, requested in (("mean", spec.mean), ("std", spec.std)):
        difference = stored[name] - torch.tensor(requested)
        # Not ">", so that NaN is refused.
        if not difference.abs().max() <= NORMALIZATION_TOLERANCE:
            found = f"the {name} {texts[name]} in {place} and {_number_list(requested)} asked for"
            raise CheckpointError(
                f"found {found}; expected the same normalisation; write {settings}{component}"
            )


def _number_list(values: Sequence[float]) -> str:
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
    """Load the tensors of a file into a network; both must have exactly the same names and shapes.

    Args:
        network: The network, changed in place.
        contents: The content of the file.
        name: Name of the architecture, for error messages.
        place: The file, for error messages.
        options: Options of the component.

    Raises:
        CheckpointError: The tensors are those of another architecture, are for another number of classes, or are not
            finite numbers.
    """
    expected = network.model.state_dict()
    tensors = {key: value for key, value in contents.tensors.items() if key in expected}
    _check_numbers(tensors, expected, place=place)
    head = head_names(network)
    optional = head if contents.new_head else set()
    # Old checkpoints lack the counter of batches, which no evaluation reads.
    required = [key for key in expected if key not in optional and not key.endswith(BATCH_COUNTER)]
    missing = [key for key in required if key not in tensors]
    unexpected = [key for key in contents.tensors if key not in expected]
    reshaped = [key for key, value in tensors.items() if value.shape != expected[key].shape]
    if missing or unexpected or reshaped:
        _refuse_class_count(reshaped, head, tensors, expected, place=place, options=options)
        shapes = {key: (tensors[key], expected[key]) for key in reshaped}
        mismatch = _mismatch_text(missing, unexpected, shapes)
        lacks_head = bool(missing) and head.issuperset(missing) and not reshaped
        next_step = _mismatch_advice(options, lacks_head=lacks_head)
        raise CheckpointError(
            f"found {mismatch} in {place}; expected exactly the weights of {name}; {next_step}"
        )
    # Missing counters, and a head that is drawn, keep their initial values.
    network.model.load_state_dict({**expected, **tensors})
    network.normalise.load_state_dict({**network.normalise.state_dict(), **contents.normalization})
    # A finite number of float64 may be infinite in the network's float32.
    overflown = [key for key, value in network.state_dict().items() if not value.isfinite().all()]
    if overflown:
        found = f"values beyond float32 in {place} ({_first_names(overflown)})"
        raise CheckpointError(
            f"found {found}; expected numbers that float32 can hold; get another file"
        )


def _check_numbers(tensors: Tensors, expected: Tensors, *, place: str) -> None:
    """Refuse weights that cannot give logits, before their names and shapes are compared.

    Raises:
        CheckpointError: Weights are no dense floats, not finite, or negative variances.
    """
    no_floats: list[str] = []
    for key, value in tensors.items():
        if expected[key].is_floating_point() and not _is_dense(value):
            no_floats.append(key)
    if no_floats:
        first = f"{no_floats[0]} is {_dtype_text(tensors[no_floats[0]])}"
        found = f"{len(no_floats)} weights that are no plain floats in {place} ({first})"
        raise CheckpointError(
            f"found {found}; expected float tensors; save the weights before they are quantised"
        )
    not_finite = [key for key, value in tensors.items() if not value.isfinite().all()]
    if not_finite:
        found = f"values that are not finite in {place} ({_first_names(not_finite)})"
        raise CheckpointError(f"found {found}; expected numbers; get another file")
    variances = {key: value for key, value in tensors.items() if key.endswith("running_var")}
    negative = [key for key, value in variances.items() if bool((value < 0).any())]
    if negative:
        # Batch normalisation takes the root of the variance.
        least = tensors[negative[0]].min().item()
        found = f"negative running variances in {place} ({_first_names(negative)}; the least is {least:g})"
        raise CheckpointError(
            f"found {found}; expected 0 or more, since they give logits that are NaN; get another file"
        )


def _is_dense(value: Tensor) -> bool:
    # Sparse, quantised and meta tensors lack operations that the checks below use.
    if value.layout is not torch.strided or value.is_quantized or value.is_meta:
        return False
    return value.is_floating_point()


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
    """Raise a CheckpointError if the tensors fit except for the number of classes."""
    if not reshaped or not head.issuperset(reshaped):
        return
    key = reshaped[0]
    file_shape = tuple(tensors[key].shape)
    network_shape = tuple(expected[key].shape)
    if len(file_shape) != len(network_shape) or file_shape[1:] != network_shape[1:]:
        return
    classes = file_shape[0]
    found = f"{classes} classes in {place} ({key} is {file_shape})"
    next_step = f"write `outputs: {classes}`, or give `data` of {classes} classes"
    if "new_head" in options:
        next_step += ", or `new_head: true` to draw another head"
    raise CheckpointError(f"found {found}; expected {network_shape[0]}; {next_step}")


def _mismatch_text(
    missing: Sequence[str], unexpected: Sequence[str], reshaped: dict[str, tuple[Tensor, Tensor]]
) -> str:
    """Return the number of names that do not fit, and the first of them, for each kind of mismatch."""
    texts: list[str] = []
    if missing:
        texts.append(f"{len(missing)} names missing ({_first_names(missing)})")
    if unexpected:
        similar: list[str] = []
        if missing:
            similar = difflib.get_close_matches(missing[0], unexpected, n=1, cutoff=0.5)
        hint = f"; {similar[0]!r} is like {missing[0]!r}" if similar else ""
        texts.append(f"{len(unexpected)} names unexpected ({_first_names(unexpected)}{hint})")
    if reshaped:
        key, (from_file, expected) = next(iter(reshaped.items()))
        shapes = f"{key} is {tuple(from_file.shape)}, not {tuple(expected.shape)}"
        more = ", ..." if len(reshaped) > 1 else ""
        texts.append(f"{len(reshaped)} names of another shape ({shapes}{more})")
    return " and ".join(texts)


def _mismatch_advice(options: frozenset[str], *, lacks_head: bool) -> str:
    """Return the next step for weights with other names or shapes, among the component's options."""
    if lacks_head and "new_head" in options:
        return "write `new_head: true` to draw the head, for transfers that use the rest alone"
    if "prefix" not in options:
        return "correct `architecture`"
    return (
        "correct `architecture`, or say with `key` and `prefix` where in the file its weights are"
    )


def _first_names(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > MAX_SHOWN_NAMES else ""
    return ", ".join(names[:MAX_SHOWN_NAMES]) + more
