"""Rules for adapters."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.testing.kit.check import NotChecked, presupposed, require
from advtransfer.testing.kit.running import (
    call_model,
    require_batch_invariance,
    require_close,
    require_dtype_moves,
    require_inputs_kept,
    undisturbed,
)
from advtransfer.testing.kit.specimen import Specimen
from advtransfer.testing.pretend_cuda import pretend_cuda
from advtransfer.toolkit.model_modes import freeze_weights
from advtransfer.toolkit.rng import fork_global_rng, reinitialize, stream_generator
from advtransfer.types import Adapter, Shape
from advtransfer.worker.plugin_values import require_module

SHAPES: tuple[tuple[Shape, Shape], ...] = (
    ((1, 8, 8), (1, 8, 8)),
    ((1, 8, 8), (3, 8, 8)),
    ((3, 8, 8), (1, 8, 8)),
    ((1, 8, 8), (1, 16, 16)),
    ((1, 16, 16), (1, 8, 8)),
    ((3, 8, 8), (3, 16, 16)),
)
"""Pairs of a target's shape and a source's."""


def _built_modules(specimen: Specimen) -> list[tuple[nn.Module, Shape, Shape]]:
    """Return the modules for the pairs of `SHAPES` that the adapter connects."""
    adapter = cast(Adapter, specimen.product())
    modules = []
    for target, source in SHAPES:
        with fork_global_rng(stream_generator("kit adapter"), device=torch.device("cpu")):
            try:
                returned = adapter.module(target=target, source=source)
            except Inapplicable:
                continue
        module = require_module(specimen.component, "module", returned).eval()
        if not adapter.learned:
            freeze_weights(module)
        modules.append((module, target, source))
    return modules


def sound_module(specimen: Specimen) -> tuple[nn.Module, Tensor]:
    """Return a module and images for it, for a rule that presupposes that it maps shapes."""
    with presupposed("maps_shapes"):
        maps_shapes(specimen)
    module, target, _ = _built_modules(specimen)[-1]
    return module, _images(target)


def _images(shape: Shape) -> Tensor:
    return torch.rand((4, *shape), generator=stream_generator("kit images"))


def maps_shapes(specimen: Specimen) -> None:
    """It maps images to finite ones of the source's shape, or raises Inapplicable."""
    modules = _built_modules(specimen)
    shapes = "; ".join(f"{target} to {source}" for target, source in SHAPES)
    require(bool(modules), f"Inapplicable for each of {shapes}", "a map for one of them")
    for module, target, source in modules:
        outputs = call_model(module, _images(target))
        shape = tuple(outputs.shape)
        require(shape == (4, *source), f"{shape} from {target}", f"{(4, *source)}")
        require(bool(outputs.isfinite().all()), "outputs that are not finite", "finite ones")


def learned_has_parameters(specimen: Specimen) -> None:
    """A learned adapter has parameters to train, which can be drawn again."""
    module, _ = sound_module(specimen)
    if not cast(Adapter, specimen.product()).learned:
        raise NotChecked("it is not learned")
    is_trainable = any(parameter.requires_grad for parameter in module.parameters())
    require(is_trainable, "no parameter that requires a gradient", "at least one")
    reinitialize(module, stream_generator("kit redraw"), whose=specimen.component.name)


def same_map(specimen: Specimen) -> None:
    """Two modules of an adapter that is not learned map alike, however often they are called."""
    module, images = sound_module(specimen)
    again, _ = sound_module(specimen)
    with torch.no_grad():
        outputs = [module(images), module(images), again(images)]
    is_equal = all(torch.equal(outputs[0], other) for other in outputs[1:])
    require(is_equal, "other outputs for the same images", "equal ones")


def differentiable(specimen: Specimen) -> None:
    """Gradients reach the images, so that attacks go through the adapter."""
    with presupposed("leaves_inputs"):
        leaves_inputs(specimen)
    module, images = sound_module(specimen)
    images.requires_grad_(True)
    outputs = module(images)
    require(outputs.requires_grad, "outputs without a gradient", "differentiable ones")
    # Weighted, since the sum of outputs may be constant.
    weights = torch.rand(outputs.shape, generator=stream_generator("kit weights"))
    (gradient,) = torch.autograd.grad((weights * outputs).sum(), images)
    is_there = bool(gradient.isfinite().all()) and bool(gradient.any())
    require(is_there, "a gradient that is zero or not finite", "another one")


def leaves_process(specimen: Specimen) -> None:
    """Calling it leaves random state, settings, threads and torch's functions as they were."""
    module, images = sound_module(specimen)
    with undisturbed(module):
        module(images)


def leaves_inputs(specimen: Specimen) -> None:
    """It does not change the images that it is called with."""
    require_inputs_kept(*sound_module(specimen))


def batch_invariant(specimen: Specimen) -> None:
    """The output for an image does not depend on the images beside it."""
    with presupposed("same_map"):
        same_map(specimen)
    require_batch_invariance(*sound_module(specimen))


def dtype_moves(specimen: Specimen) -> None:
    """It follows ``.double()``."""
    with presupposed("same_map"):
        same_map(specimen)
    require_dtype_moves(*sound_module(specimen))


def device_moves(specimen: Specimen) -> None:
    """It computes on another device."""
    with presupposed("same_map"):
        same_map(specimen)
    module, images = sound_module(specimen)
    with torch.no_grad():
        expected = module(images)
        with pretend_cuda():
            outputs = module.to("cuda")(images.to("cuda")).cpu()
            module.cpu()
    require_close(expected, outputs, "on another device")


RULES = (
    maps_shapes,
    learned_has_parameters,
    same_map,
    differentiable,
    leaves_process,
    leaves_inputs,
    batch_invariant,
    dtype_moves,
    device_moves,
)
