"""Rules for transfers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from advtransfer.testing.kit.check import NotChecked, presupposed, require
from advtransfer.testing.kit.running import (
    CountingContext,
    call_model,
    require_batch_invariance,
    require_close,
    require_dtype_moves,
    require_equal_states,
    require_inputs_kept,
    require_logits,
    require_quiet_call,
    require_unchanged,
    run_interrupted,
    state_of,
)
from advtransfer.testing.kit.specimen import (
    TOY_CLASSES,
    Specimen,
    frozen_network,
    toy_dataset,
)
from advtransfer.testing.pretend_cuda import pretend_cuda
from advtransfer.toolkit.datasets import all_positions
from advtransfer.toolkit.model_modes import freeze_weights
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.rng import fork_global_rng, stream_generator
from advtransfer.types import Fitted, Network, Tensors, Transfer
from advtransfer.worker.guards.side_effects import guard_side_effects
from advtransfer.worker.plugin_values import require_fitted, require_module
from advtransfer.worker.process import deterministic_algorithms

IMAGES = 6


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted model, and what happened while it was fitted.

    Args:
        model: The model, in eval mode and frozen.
        fitted: What the transfer returned.
        context: The context of the fit.
        state: The model's weights on the CPU.
        before: The same before the fit.
        changes: Changes of the process, and of hooks and methods of the model.
        source_changes: Changes of the source.
    """

    model: nn.Module
    fitted: Fitted
    context: CountingContext
    state: Tensors
    before: Tensors
    changes: tuple[str, ...]
    source_changes: tuple[str, ...]


def fit_model(
    specimen: Specimen,
    context: CountingContext,
    *,
    transfer: Transfer | None = None,
    draw: int = 0,
    source_draw: int = 0,
) -> Fit:
    """Fit a model of the toy data from a toy source, as the host does.

    Args:
        specimen: The component.
        context: The context of the fit.
        transfer: A transfer that was built before; by default a new one.
        draw: The number of the draw of the images.
        source_draw: The number of the draw of the source.
    """
    component = specimen.component
    transfer = transfer or cast(Transfer, specimen.build())
    source = _toy_source(specimen, context, source_draw)
    train = toy_dataset(seed=draw, test_labels=specimen.test_labels).part("train")
    network = cast("Network | None", source)
    with deterministic_algorithms(), guard_side_effects(source, draws=True) as source_guard:
        with fork_global_rng(context.generator("model"), device=context.device):
            returned = transfer.model(source=network, adapter=None, target=train.card)
            model = require_module(component, "model", returned).to(context.device)
        before = _copied_state(model)
        context.draws = 0
        with (
            # Always the same global stream, so that draws from it are one rule's matter alone.
            fork_global_rng(stream_generator("kit global"), device=context.device),
            guard_side_effects(model, draws=False, fits=True) as guard,
        ):
            fitted = transfer.fit(
                model, source=network, adapter=None, train=train, validation=None, context=context
            )
    require_fitted(component, fitted)
    freeze_weights(model.eval())
    changes = guard.all_changes
    state = _copied_state(model)
    return Fit(model, fitted, context, state, before, changes, source_guard.all_changes)


def _copied_state(model: nn.Module) -> Tensors:
    return {name: tensor.to("cpu", copy=True) for name, tensor in state_of(model).items()}


def _toy_source(specimen: Specimen, context: CountingContext, draw: int = 0) -> BlockNetwork | None:
    if "source" not in specimen.component.metadata.needs:
        return None
    return frozen_network(draw).to(context.device)


def fitted_model(specimen: Specimen, seed: int = 0) -> Fit:
    """Return the fit of a seed, for a rule that presupposes that it fits."""
    specimen.product()
    with presupposed("fits"):
        fits(specimen)
        return specimen.recall(f"seed {seed}", lambda: fit_model(specimen, CountingContext(seed)))


def toy_images() -> Tensor:
    """Return a few test images of the toy data."""
    samples = toy_dataset().part("test")
    return samples.inputs(all_positions(samples)[:IMAGES])


def fits(specimen: Specimen) -> None:
    """A fit ends, and its model gives finite logits of the target's classes."""
    specimen.product()
    fit = specimen.recall("seed 0", lambda: fit_model(specimen, CountingContext(0)))
    images = toy_images()
    is_finite = all(bool(tensor.isfinite().all()) for tensor in fit.state.values())
    require(is_finite, "weights that are not finite", "finite ones")
    require_logits(call_model(fit.model, images), len(images), TOY_CLASSES)


def same_seed(specimen: Specimen) -> None:
    """The same seed gives the same weights to the bit."""
    first = fitted_model(specimen)
    second = specimen.recall("again", lambda: fit_model(specimen, CountingContext(0)))
    require_equal_states(first.state, second.state, "for the same seed")


def another_seed(specimen: Specimen) -> None:
    """Another seed gives other weights; the same ones where ``deterministic`` is stated."""
    with presupposed("same_seed"):
        same_seed(specimen)
    first, second = fitted_model(specimen), fitted_model(specimen, seed=1)
    is_equal = all(torch.equal(tensor, second.state[name]) for name, tensor in first.state.items())
    component = specimen.component
    if component.metadata.is_deterministic(specimen.options):
        require(is_equal, "other weights for another seed", "the same, as `deterministic` says")
    else:
        expected = "others, or @component(deterministic=True)"
        require(not is_equal, "the same weights for two seeds", expected)


def keeps_nothing(specimen: Specimen) -> None:
    """Other images, as many, or another source give other weights, and then the first ones the same again.

    One that leaves the model as it was may do so for all.
    """
    first = fitted_model(specimen)
    with presupposed("same_seed"):
        same_seed(specimen)
    transfer = cast(Transfer, specimen.build())
    trained = [
        name for name, tensor in first.state.items() if not torch.equal(tensor, first.before[name])
    ]
    others = {"other images": fit_model(specimen, CountingContext(0), transfer=transfer, draw=1)}
    if "source" in specimen.component.metadata.needs:
        others["another source"] = fit_model(
            specimen, CountingContext(0), transfer=transfer, source_draw=1
        )
    again = fit_model(specimen, CountingContext(0), transfer=transfer)
    require_equal_states(first.state, again.state, "after a fit of others")
    for what, other in others.items():
        is_kept = all(torch.equal(first.state[name], other.state[name]) for name in trained)
        require(not trained or not is_kept, f"the same weights for {what}", "others")


def leaves_process(specimen: Specimen) -> None:
    """Fits and calls of the model leave random state, settings, threads, hooks, torch's functions."""
    fit = fitted_model(specimen)
    require_unchanged(fit.changes)
    require_quiet_call(fit.model, toy_images())


def leaves_source(specimen: Specimen) -> None:
    """A fit leaves the source's weights, modes, gradients and hooks as they were."""
    if "source" not in specimen.component.metadata.needs:
        raise NotChecked("it needs no source")
    require_unchanged(fitted_model(specimen).source_changes)


def leaves_inputs(specimen: Specimen) -> None:
    """The fitted model does not change the images that it is called with."""
    require_inputs_kept(fitted_model(specimen).model, toy_images())


def batch_invariant(specimen: Specimen) -> None:
    """The logits of an image do not depend on the images beside it."""
    require_batch_invariance(fitted_model(specimen).model, toy_images())


def dtype_moves(specimen: Specimen) -> None:
    """The fitted model follows ``.double()``."""
    require_dtype_moves(fitted_model(specimen).model, toy_images())


def device_moves(specimen: Specimen) -> None:
    """A fit computes on another device and gives the same model."""
    with presupposed("same_seed"):
        same_seed(specimen)
    images = toy_images()
    expected = call_model(fitted_model(specimen).model, images)
    with pretend_cuda():
        moved = fit_model(specimen, CountingContext(device="cuda")).model
        with torch.no_grad():
            logits = moved(images.to("cuda")).cpu()
    require_close(expected, logits, "on another device")


def resumes(specimen: Specimen) -> None:
    """A fit that is cancelled and resumed ends with the same weights to the bit."""
    fit = fitted_model(specimen)
    with presupposed("same_seed"):
        same_seed(specimen)
    resumed = run_interrupted(
        lambda context: fit_model(specimen, context), calls=len(fit.context.told)
    )
    require_equal_states(fit.state, resumed.state, "after it was cancelled and resumed")


def never_sees_test_labels(specimen: Specimen) -> None:
    """Other test labels give the same weights to the bit."""
    fit = fitted_model(specimen)
    with presupposed("same_seed"):
        same_seed(specimen)
    relabelled = replace(specimen, test_labels=1, memo={})
    other = fit_model(relabelled, CountingContext())
    require_equal_states(fit.state, other.state, "for other test labels")


RULES = (
    fits,
    same_seed,
    another_seed,
    keeps_nothing,
    leaves_process,
    leaves_source,
    leaves_inputs,
    batch_invariant,
    dtype_moves,
    device_moves,
    resumes,
    never_sees_test_labels,
)
