"""An epoch of PGD-7 adversarial training beside loops written by hand for it alone.

    python tests/performance/training_epoch.py

The same network, images, batches and thread, on small images and on images of 28 pixels with one channel. Two loops:
one under the flags that `toolkit.training` sets (fused optimizer, convolutions channels-last, no gradients of weights
inside the attack), and one as it is often written, under torch's defaults. Neither can be resumed, draws named random
streams, measures accuracies or notices that it diverged. A whole call of `train` counts, with what surrounds its epoch.
"""

from __future__ import annotations

import sys
from functools import partial

import torch
from side_by_side.claims import at_least, report
from side_by_side.timing import alternate
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.adversarial_training import training_objective
from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.datasets import all_positions
from advtransfer.toolkit.model_modes import freeze_weights
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.training import train
from advtransfer.toolkit.training_config import Schedule, Sgd
from advtransfer.types import Dataset, Samples
from advtransfer_vision.networks import SizedNetwork, build_network

IMAGES, CLASSES, REPEATS = 512, 10, 5
SHAPES = {
    "8 pixels, batches of 32": ((1, 8, 8), 32),
    "28 pixels, batches of 128": ((1, 28, 28), 128),
}
ATTACK = Adversary(norm="linf", eps=0.1, steps=7, step_size=0.025)
RECIPE = Sgd(lr=0.01)
LEAST = 0.9
"""The least share of a loop's speed."""


def network(data: Dataset) -> BlockNetwork:
    """Return the network that is trained; always the same weights."""
    build = partial(build_network, SizedNetwork(name="small_cnn"), data=data.card())
    return build_initialized(build, stream_generator("network"))


def ours(data: Dataset, size: int) -> None:
    """Train for one epoch by the toolkit."""
    train(
        network(data),
        data.part("train"),
        epochs=1,
        batch_size=size,
        optimiser=RECIPE,
        schedule=Schedule(kind="constant"),
        context=InMemoryContext(),
        objective=training_objective(ATTACK),
    )


def by_hand(data: Dataset, size: int, *, flags: bool) -> None:
    """Train for one epoch by a loop for this alone, under our flags or torch's defaults."""
    model = network(data)
    inputs, labels = _all(data.part("train"))
    if flags:
        model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=RECIPE.lr,
        momentum=RECIPE.momentum,
        weight_decay=RECIPE.weight_decay,
        fused=flags,
    )
    for positions in torch.split(torch.randperm(len(labels)), size):
        batch, truth = inputs[positions], labels[positions]
        adversarial = _attack(model, batch, truth, flags=flags)
        model.train()
        loss = functional.cross_entropy(model(adversarial), truth)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
        optimizer.step()


def _attack(model: nn.Module, inputs: Tensor, labels: Tensor, *, flags: bool) -> Tensor:
    """Return the inputs after PGD-7 from a random start."""
    model.eval()
    start = (2 * torch.rand_like(inputs) - 1) * ATTACK.eps
    moved = (inputs + start).clamp(0, 1)
    if flags:
        freeze_weights(model)
    for _ in range(ATTACK.steps):
        moved.requires_grad_()
        loss = functional.cross_entropy(model(moved), labels)
        (gradient,) = torch.autograd.grad(loss, moved)
        stepped = moved.detach() + ATTACK.effective_step_size * gradient.sign()
        moved = (inputs + (stepped - inputs).clamp(-ATTACK.eps, ATTACK.eps)).clamp(0, 1)
    model.requires_grad_(True)
    return moved.detach()


def _all(samples: Samples) -> tuple[Tensor, Tensor]:
    positions = all_positions(samples)
    return samples.inputs(positions), samples.labels(positions)


def main() -> int:
    """Compare the speeds."""
    torch.set_num_threads(1)
    claims = []
    for name, (shape, size) in SHAPES.items():
        data = toy(classes=CLASSES, shape=shape, noise=0.2, train=IMAGES, test=CLASSES)
        seconds = alternate(
            {
                "ours": partial(ours, data, size),
                "the same flags": partial(by_hand, data, size, flags=True),
                "torch's defaults": partial(by_hand, data, size, flags=False),
            },
            repeats=REPEATS,
        )
        for other in ("the same flags", "torch's defaults"):
            claim = f"PGD-7 epoch, {name}: speed beside a loop by hand under {other}"
            times = f"{seconds['ours']:.2f} s, by hand {seconds[other]:.2f} s"
            claims.append(at_least(claim, seconds[other] / seconds["ours"], LEAST, times=times))
    return report(claims)


if __name__ == "__main__":
    sys.exit(main())
