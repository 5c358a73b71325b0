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
"""Calls, by name without underscores, whose results are not those of the rectifier before."""


@dataclass(frozen=True, slots=True)
class LastLayer:
    """The last layer of a model: its logits are ``features @ weight.T + bias``.

    Attributes:
        model: The model, in eval mode.
        weight: The weight, ``(K, D)``.
        bias: True if the layer has a bias.
        rectifier: Index, among the model's calls of `relu`, of the one that gives the features,
            with neither a layer nor another activation in between; None if there is no such call.
    """

    model: nn.Module
    weight: Tensor
    bias: bool
    rectifier: int | None

    @classmethod
    def find_in(cls, model: nn.Module, inputs: Tensor) -> LastLayer:
        """Return the last layer of a model, found while it evaluates inputs ``(B, ...)``.

        Raises:
            Inapplicable: The logits are not the output of a linear layer on features ``(B, D)``.
        """
        recorder = _CallRecorder()
        with torch.no_grad(), recorder:
            logits = model(inputs)
        features = recorder.features
        if recorder.output is None or features is None or not torch.equal(recorder.output, logits):
            raise Inapplicable(
                "the model's logits do not come straight from a linear layer, so it has no last one"
            )
        if features.ndim != 2 or recorder.weight is None:
            raise Inapplicable(
                f"the last layer sees features of shape {tuple(features.shape)}, not (B, D)"
            )
        return cls(model, recorder.weight.detach(), recorder.bias, recorder.rectifier)

    def features(self, inputs: Tensor, *, fake_relu: bool = False) -> Tensor:
        """Return the inputs of the layer, ``(B, D)``, differentiable.

        A head on standardised features has the standardised features as inputs.

        Args:
            inputs: The model's inputs, ``(B, ...)``.
            fake_relu: Let gradients pass the `rectifier` unchanged (Engstrom et al., 2019).

        Raises:
            Inapplicable: The model does not call its last layer on these inputs.
        """
        recorder = _CallRecorder(faked_relu=self.rectifier if fake_relu else None)
        with recorder:
            self.model(inputs)
        if recorder.features is None:
            raise Inapplicable("the model's last layer is not called on all inputs")
        return recorder.features


class _CallRecorder(TorchFunctionMode):
    """A mode that records the last call of `linear`.

    A mode sees calls of functions as well as modules, and leaves no hook behind in the model.

    Args:
        faked_relu: Index of the call of `relu` that passes gradients unchanged; None for none.
    """

    def __init__(self, *, faked_relu: int | None = None) -> None:
        super().__init__()
        self.faked_relu = faked_relu
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
        # In-place variants (`relu_`) differ by an underscore.
        name = getattr(func, "__name__", "").replace("_", "")
        if name == "relu":
            self._last_relu = self._relu_count
            self._relu_count += 1
            if self._last_relu == self.faked_relu:
                return _FakeRelu.apply(args[0] if args else kwargs["input"])
        output = func(*args, **kwargs)
        if func is functional.linear:
            self._record_linear(args, kwargs, output)
        if name in FEATURE_BREAKS:
            self._last_relu = None
        return output

    # Any: as in `__torch_function__`
    def _record_linear(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], output: Tensor
    ) -> None:
        self.features = args[0]
        self.weight = args[1]
        bias = args[2] if len(args) > 2 else kwargs.get("bias")
        self.bias = bias is not None
        self.output = output
        self.rectifier = self._last_relu


class _FakeRelu(torch.autograd.Function):
    """A rectifier whose backward pass is the identity."""

    @staticmethod
    def forward(context: Any, inputs: Tensor) -> Tensor:  # noqa: ANN401  # Any: torch's own, without a type
        return inputs.clamp_min(0)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401  # Any: torch's own, without a type
        return gradients[0]
