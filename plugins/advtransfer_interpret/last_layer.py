"""The last layer of any classifier, found as the call of `linear` that gives the logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import activation
from torch.overrides import TorchFunctionMode

from advtransfer.errors import Inapplicable

ACTIVATION_CALLS = {name.lower() for name in activation.__all__} - {"relu"} | {
    "clamp",
    "clampmin",
    "maximum",
    "where",
}
LAYER_CALLS = {
    "bilinear",
    "bmm",
    "cat",
    "concat",
    "conv1d",
    "conv2d",
    "conv3d",
    "einsum",
    "linear",
    "matmul",
    "mm",
    "stack",
}
FEATURE_BREAKS = frozenset(ACTIVATION_CALLS | LAYER_CALLS)
"""Calls, by name without underscores, after which features are no longer those of the rectifier before them."""


@dataclass(frozen=True, slots=True)
class LastLayer:
    """A model's last layer: logits are ``features @ weight.T + bias``.

    Attributes:
        model: The model, in eval mode.
        weight: ``(K, D)``.
        bias: Whether there is a bias.
        rectifier: The place among the calls of `relu` of the one that the features come from, with neither a layer nor
            another activation after it; None where there is no such one.
    """

    model: nn.Module
    weight: Tensor
    bias: bool
    rectifier: int | None

    @classmethod
    def find_in(cls, model: nn.Module, inputs: Tensor) -> LastLayer:
        """The last layer of a model, seen at work on some inputs ``(B, ...)``.

        Raises:
            Inapplicable: The logits are not what a linear layer gave.
        """
        watch = _CallRecorder()
        with torch.no_grad(), watch:
            logits = model(inputs)
        if watch.output is None or not torch.equal(watch.output, logits) or watch.features is None:
            raise Inapplicable(
                "the model's logits do not come straight from a linear layer, so it has no last one"
            )
        if watch.features.ndim != 2 or watch.weight is None:
            raise Inapplicable(
                f"the last layer sees features of shape {tuple(watch.features.shape)}, not (B, D)"
            )
        return cls(model, watch.weight.detach(), watch.bias, watch.rectifier)

    def features(self, inputs: Tensor, *, fake_relu: bool = False) -> Tensor:
        """What the layer sees, ``(B, D)``, differentiable; for the standardised head, standardised.

        Args:
            inputs: ``(B, ...)``.
            fake_relu: Let gradients pass the `rectifier` as if it were not there (Engstrom et al., 2019).
        """
        watch = _CallRecorder(faked=self.rectifier if fake_relu else None)
        with watch:
            self.model(inputs)
        if watch.features is None:
            raise Inapplicable("the model's last layer is not called on all inputs")
        return watch.features


class _CallRecorder(TorchFunctionMode):
    """Keeps the last call of `linear`; the rectifier whose turn is `faked` passes gradients unchanged."""

    def __init__(self, *, faked: int | None = None) -> None:
        super().__init__()
        self.faked_relu = faked
        self.features: Tensor | None = None
        self.weight: Tensor | None = None
        self.output: Tensor | None = None
        self.bias = False
        self.rectifier: int | None = None
        self._last_relu: int | None = None
        self._relu_count = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  # Any: whatever torch's functions take and give
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").replace("_", "")
        if name == "relu":
            self._last_relu, self._relu_count = self._relu_count, self._relu_count + 1
            if self._last_relu == self.faked_relu:
                return _FakeRelu.apply(args[0] if args else kwargs["input"])
        output = func(*args, **kwargs)
        if func is functional.linear:
            self.features, self.weight = args[0], args[1]
            self.bias = (args[2] if len(args) > 2 else kwargs.get("bias")) is not None
            self.output, self.rectifier = output, self._last_relu
        if name in FEATURE_BREAKS:
            self._last_relu = None
        return output


class _FakeRelu(torch.autograd.Function):
    """Forward a rectifier, backward the identity."""

    @staticmethod
    def forward(context: Any, inputs: Tensor) -> Tensor:  # noqa: ANN401  # Any: torch's own, without a type
        return inputs.clamp_min(0)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401  # Any: torch's own, without a type
        return gradients[0]
