"""A classifier of scikit-learn on frozen features as a transfer, `sklearn_head/head`."""

from collections.abc import Iterable
from typing import Annotated, Literal

from annotated_types import Ge

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Factory, Transfer, component


@component(needs=["source"], deterministic={"kernel": "linear"})
def head(
    *,
    classifier: Literal["logistic", "ridge", "svm"] = "logistic",
    kernel: Literal["linear", "rbf"] = "linear",
    components: Annotated[int, Ge(1)] = 256,
) -> Transfer:
    """A fitted classifier of scikit-learn as the head of the frozen source, with gradients.

    Features are standardized; what scikit-learn fitted is copied into torch, so that attacks see the same function.

    Args:
        classifier: ``LogisticRegression``, ``RidgeClassifier`` or ``LinearSVC``, with its defaults.
        kernel: ``rbf`` puts ``RBFSampler`` before it (Rahimi and Recht, 2007): ``exp(-|f - g|^2 / F)`` of F features.
        components: Number of random Fourier features of ``rbf``.
    """
    from sklearn_head.transfer import SklearnHead

    return SklearnHead(classifier, kernel, components)


@hookimpl
def register_transfers() -> Iterable[Factory[Transfer]]:
    """Return the transfer methods of this plugin."""
    return [head]
