"""Averages of a training's weights, and batch normalisation's statistics for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from advtransfer.toolkit.training_config import Averaging, Ema

COUNT = "count"
"""Key of the number of averaged states beside the averages."""


@dataclass(frozen=True, slots=True)
class WeightAverage:
    """The average of a model's trained weights over a training.

    Args:
        model: The model in training.
        config: The kind of average.
        state: The averages by parameter name, and their number; saved and restored by the training.
    """

    model: nn.Module
    config: Averaging
    state: dict[str, Tensor] = field(default_factory=dict)

    def after_step(self) -> None:
        """Add the weights after a step of the optimizer, for the exponential average."""
        if isinstance(self.config, Ema):
            count = int(self.state.get(COUNT, torch.tensor(0)))
            # The rising decay forgets the first weights also in a short training.
            self._add_weights(1 - min(self.config.decay, (1 + count) / (10 + count)))

    def after_epoch(self, done: float) -> None:
        """Add the weights at the end of an epoch, when a share `done` of the training is over.

        For stochastic weight averaging: w_SWA = (w_SWA * k + w) / (k + 1) for the k weights so far
        (Izmailov et al., 2018, algorithm 1, with cycles of one epoch).
        """
        if not isinstance(self.config, Ema) and done > self.config.start:
            count = int(self.state.get(COUNT, torch.tensor(0)))
            self._add_weights(1 / (count + 1))

    @contextmanager
    def applied(self, read_inputs: Callable[[], Iterable[Tensor]]) -> Iterator[None]:
        """Give the model the averaged weights in the block, and its own again after it.

        Before the first weights are averaged, the model stays as it is.

        Args:
            read_inputs: Reads batches of training inputs ``(B, ...)`` on the model's device, from
                which batch normalisation takes its statistics.
        """
        if COUNT not in self.state:
            yield
            return
        own = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        try:
            self.apply(read_inputs)
            yield
        finally:
            self.model.load_state_dict(own)

    def apply(self, read_inputs: Callable[[], Iterable[Tensor]]) -> None:
        """Give the model the averaged weights; leave it in eval mode."""
        if COUNT not in self.state:
            return
        with torch.no_grad():
            for name, parameter in self._trained_parameters():
                parameter.copy_(self.state[name])
        estimate_statistics(self.model, read_inputs)

    def _add_weights(self, share: float) -> None:
        """Move the averages towards the weights by a share of the difference."""
        count = int(self.state.get(COUNT, torch.tensor(0)))
        with torch.no_grad():
            for name, parameter in self._trained_parameters():
                if name in self.state:
                    average = self.state[name].to(parameter.device)
                    self.state[name] = average + share * (parameter - average)
                else:
                    self.state[name] = parameter.detach().clone()
        self.state[COUNT] = torch.tensor(count + 1)

    def _trained_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                yield name, parameter


def estimate_statistics(model: nn.Module, read_inputs: Callable[[], Iterable[Tensor]]) -> None:
    """Give batch normalisation the statistics of training inputs under the model's weights.

    The statistics that a training collects belong to its own weights, not to their average
    (Izmailov et al., 2018, section 3.2). Layers in eval mode keep theirs. The model ends in eval
    mode.
    """
    layers = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        and module.training
        and module.track_running_stats
    ]
    model.eval()
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        # None is the mean over all batches in place of a moving average.
        layer.momentum = None
        layer.train()
    with torch.no_grad():
        for inputs in read_inputs():
            # A single row may have no variance.
            if len(inputs) > 1:
                model(inputs)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    model.eval()
