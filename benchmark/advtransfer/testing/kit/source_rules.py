"""Rules for sources."""

from __future__ import annotations

from dataclasses import dataclass
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
)
from advtransfer.testing.kit.specimen import Specimen
from advtransfer.testing.pretend_cuda import pretend_cuda
from advtransfer.toolkit.model_modes import freeze_weights
from advtransfer.toolkit.randomized import FixedDraw, is_randomized
from advtransfer.toolkit.rng import fork_global_rng, stream_generator
from advtransfer.types import Network, Source, SourceCard, Weights
from advtransfer.worker.guards.side_effects import guard_side_effects
from advtransfer.worker.plugin_values import (
    load_weights,
    require_network,
    require_source_card,
    require_weights,
)
from advtransfer.worker.process import deterministic_algorithms

IMAGES = 4


@dataclass(frozen=True, slots=True)
class LoadedSource:
    """A source's network with its weights, and what happened while they were made."""

    card: SourceCard
    network: Network
    weights: Weights
    context: CountingContext
    changes: tuple[str, ...]

    @property
    def module(self) -> nn.Module:
        """The network as a module; a randomised one at a fixed draw."""
        network = cast(nn.Module, self.network)
        return FixedDraw(network) if is_randomized(network) else network


def load_source(specimen: Specimen, context: CountingContext) -> LoadedSource:
    """Build the source and load its weights into its network, as the host does."""
    source = cast(Source, specimen.build())
    component = specimen.component
    with (
        deterministic_algorithms(),
        # Always the same global stream, so that draws from it are one rule's matter alone.
        fork_global_rng(stream_generator("kit global"), device=context.device),
        # As in the host: the first weights of layers may be drawn from the global stream.
        guard_side_effects(None, draws=True) as found,
    ):
        card = require_source_card(component, source.card())
        weights = require_weights(component, source.weights(context))
    with fork_global_rng(stream_generator("kit network"), device=context.device):
        network = require_network(component, source.network())
    module = cast(nn.Module, network)
    load_weights(component, module, weights.tensors)
    freeze_weights(module.eval().to(context.device))
    return LoadedSource(card, network, weights, context, found.all_changes)


def loaded_source(specimen: Specimen, seed: int = 0) -> LoadedSource:
    """Return the source of a seed, for a rule that presupposes that it loads."""
    specimen.product()
    with presupposed("loads"):
        loads(specimen)
        return specimen.recall(f"seed {seed}", lambda: load_source(specimen, CountingContext(seed)))


def toy_images(card: SourceCard) -> Tensor:
    """Return images of a source's shape, ``(4, *shape)`` in [0, 1]."""
    return torch.rand((IMAGES, *card.shape), generator=stream_generator("kit images"))


def loads(specimen: Specimen) -> None:
    """The weights fit the network, whose logits are finite and as many as the card says."""
    specimen.product()
    loaded = specimen.recall("seed 0", lambda: load_source(specimen, CountingContext(0)))
    images = toy_images(loaded.card)
    require_logits(call_model(loaded.module, images), len(images), loaded.card.outputs)
    with guard_side_effects(None, draws=True), torch.no_grad():
        features = loaded.network.features(images)
    require(bool(features.isfinite().all()), "features that are not finite", "finite ones")
    require(len(loaded.network.blocks) > 0, "a network without blocks", "at least one")


def same_seed(specimen: Specimen) -> None:
    """The same seed gives the same weights to the bit."""
    first = loaded_source(specimen)
    second = specimen.recall("again", lambda: load_source(specimen, CountingContext(0)))
    require_equal_states(first.weights.tensors, second.weights.tensors, "for the same seed")


def another_seed(specimen: Specimen) -> None:
    """Another seed gives other weights, if the source draws random numbers."""
    with presupposed("same_seed"):
        same_seed(specimen)
    first, second = loaded_source(specimen), loaded_source(specimen, seed=1)
    if not first.context.draws:
        raise NotChecked("it draws no random number from its context")
    tensors, others = first.weights.tensors, second.weights.tensors
    is_equal = all(torch.equal(tensor, others[name]) for name, tensor in tensors.items())
    require(not is_equal, "the same weights for two seeds", "others")


def leaves_process(specimen: Specimen) -> None:
    """Making the weights and calling the network leave settings, threads and torch's functions."""
    loaded = loaded_source(specimen)
    require_unchanged(loaded.changes)
    require_quiet_call(loaded.module, toy_images(loaded.card))


def leaves_inputs(specimen: Specimen) -> None:
    """The network does not change the images that it is called with."""
    loaded = loaded_source(specimen)
    require_inputs_kept(loaded.module, toy_images(loaded.card))


def batch_invariant(specimen: Specimen) -> None:
    """The logits of an image do not depend on the images beside it."""
    loaded = loaded_source(specimen)
    require_batch_invariance(loaded.module, toy_images(loaded.card))


def dtype_moves(specimen: Specimen) -> None:
    """The network follows ``.double()``."""
    loaded = loaded_source(specimen)
    _require_equal_draws(loaded)
    require_dtype_moves(loaded.module, toy_images(loaded.card))


def device_moves(specimen: Specimen) -> None:
    """The weights are made on another device, and the network computes there."""
    loaded = loaded_source(specimen)
    _require_equal_draws(loaded)
    with presupposed("same_seed"):
        same_seed(specimen)
    images = toy_images(loaded.card)
    expected = call_model(loaded.module, images)
    with pretend_cuda():
        moved = load_source(specimen, CountingContext(device="cuda"))
        with torch.no_grad():
            logits = moved.network(images.to("cuda")).cpu()
    require_close(expected, logits, "on another device")


def _require_equal_draws(loaded: LoadedSource) -> None:
    if is_randomized(loaded.network):
        raise NotChecked(
            "the network draws at random, and other numbers in another dtype or on a GPU"
        )


def resumes(specimen: Specimen) -> None:
    """A training that is cancelled and resumed ends with the same weights to the bit."""
    loaded = loaded_source(specimen)
    with presupposed("same_seed"):
        same_seed(specimen)
    resumed = run_interrupted(
        lambda context: load_source(specimen, context), calls=len(loaded.context.told)
    )
    require_equal_states(
        loaded.weights.tensors, resumed.weights.tensors, "after it was cancelled and resumed"
    )


RULES = (
    loads,
    same_seed,
    another_seed,
    leaves_process,
    leaves_inputs,
    batch_invariant,
    dtype_moves,
    device_moves,
    resumes,
)
