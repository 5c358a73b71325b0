"""Models without logits or without input gradients raise an error with an explanation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import ModelError
from advtransfer.testing.data import toy
from advtransfer.toolkit.prediction import predict
from advtransfer.types import EvaluationInputs
from advtransfer.worker.verification.model_checks import check_outputs, explain_missing_gradient

CPU = torch.device("cpu")
TEST = toy(classes=2, train=4, test=6, shape=(1, 2, 2)).part("test")


class Odd(nn.Module):
    """A linear model whose logits are changed on their way out."""

    def __init__(self, change: Callable[[nn.Module, Tensor], object]) -> None:
        super().__init__()
        self.body, self.change = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), change

    def forward(self, inputs: Tensor) -> object:
        return self.change(self.body, inputs)


def writes(body: nn.Module, inputs: Tensor) -> object:
    inputs.sub_(0.5)
    return body(inputs + 0.5)


def without_gradient(body: nn.Module, inputs: Tensor) -> object:
    with torch.no_grad():
        return body(inputs)


def quantised(body: nn.Module, inputs: Tensor) -> object:
    return body((inputs * 255).to(torch.uint8).float() / 255)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda body, inputs: (body(inputs), inputs),
            "found a tuple from the model; expected logits (B, K)",
        ),
        (
            lambda body, inputs: {"logits": body(inputs)},
            "found a dict from the model; expected logits (B, K)",
        ),
        (lambda body, inputs: None, "found None from the model; expected logits (B, K)"),
        (
            lambda body, inputs: body(inputs)[..., None],
            "found float32 outputs of shape (2, 2, 1) from the model",
        ),
        (
            lambda body, inputs: body(inputs)[:, :1],
            "found float32 outputs of shape (2, 1) from the model",
        ),
        (
            lambda body, inputs: body(inputs)[:1],
            "found float32 outputs of shape (1, 2) from the model",
        ),
        (
            lambda body, inputs: body(inputs) > 0,
            "found bool outputs of shape (2, 2) from the model",
        ),
        (
            lambda body, inputs: body(inputs).argmax(1),
            "found int64 outputs of shape (2,) from the model",
        ),
        (
            lambda body, inputs: body(inputs).double(),
            "found float64 logits from the model; expected float32",
        ),
        (
            writes,
            "found a model that writes into its inputs; expected one that leaves them as they are",
        ),
    ],
)
def test_model_without_logits_is_refused(
    change: Callable[[nn.Module, Tensor], object], words: str
) -> None:
    with pytest.raises(ModelError) as caught:
        check_outputs(Odd(change).eval(), TEST, device=CPU)

    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    "change", [lambda body, inputs: (body(inputs), inputs), lambda body, inputs: body(inputs)[0]]
)
def test_predictions_of_a_model_without_logits_are_refused(
    change: Callable[[nn.Module, Tensor], object],
) -> None:
    with pytest.raises(ModelError, match="from the model; expected logits"):
        predict(Odd(change).eval(), TEST, device=CPU)


@pytest.mark.parametrize("change", [without_gradient, quantised])
@pytest.mark.parametrize(
    "error", [RuntimeError("element 0 of tensors does not require grad"), AssertionError()]
)
def test_error_of_a_missing_gradient_is_explained(
    change: Callable[[nn.Module, Tensor], object], error: Exception
) -> None:
    given = EvaluationInputs(test=TEST, model=Odd(change).eval())
    with (
        pytest.raises(ModelError) as caught,
        explain_missing_gradient("foolbox/pgd", given, device=CPU),
    ):
        raise error

    assert str(caught.value).startswith(
        "the model gives no gradient of its inputs, which foolbox/pgd needs"
    )
    assert "use an attack that needs none, such as foolbox/boundary" in str(caught.value)


def test_other_errors_are_unchanged() -> None:
    given = EvaluationInputs(test=TEST, model=Odd(lambda body, inputs: body(inputs)).eval())
    with (
        pytest.raises(RuntimeError, match="no luck"),
        explain_missing_gradient("foolbox/pgd", given, device=CPU),
    ):
        raise RuntimeError("no luck")
    with (
        pytest.raises(RuntimeError, match="no luck"),
        explain_missing_gradient("x/y", EvaluationInputs(test=TEST), device=CPU),
    ):
        raise RuntimeError("no luck")


def test_valid_model_passes() -> None:
    check_outputs(Odd(lambda body, inputs: body(inputs)).eval(), TEST, device=CPU)
