"""The components of this plugin. NEVER EDIT THIS FILE: see ``__init__.py``."""

from concurrent.futures import Future
from contextlib import contextmanager

import torch
from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.datasets import ArrayDataset
from advtransfer.toolkit.heads import with_head
from advtransfer.types import Fitted, Measurement, Outcome, SourceCard, Weights
from advtransfer.worker import perform_job


def make_stripes(size):
    generator = torch.Generator().manual_seed(0)
    parts = {}
    for part, count in (("train", 80), ("test", 40)):
        labels = torch.arange(count) % 2
        rows = (torch.arange(size) % 2).float().expand(size, size)
        pattern = torch.stack([rows, rows.T])[labels][:, None]
        noise = torch.rand(pattern.shape, generator=generator)
        parts[part] = (0.5 * pattern + 0.5 * noise, labels)
    return ArrayDataset(parts, names=("vertical", "horizontal"))


class SmallNetwork(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.convolution = nn.Conv2d(1, width, 3)
        self.linear = nn.Linear(width * 36, 2)

    @property
    def blocks(self):
        return {"convolution": self.convolution}

    @property
    def head(self):
        return self.linear

    def features(self, inputs, *, upto=None):
        activations = self.convolution(inputs).relu()
        return activations if upto == "convolution" else activations.flatten(1)

    def forward(self, inputs):
        return self.linear(self.features(inputs))


class SmallSource:
    def __init__(self, width):
        self.width = width

    def card(self):
        return SourceCard(
            architecture="small", data="stripes", constraint="none", shape=(1, 8, 8), outputs=2
        )

    def network(self):
        return SmallNetwork(self.width)

    def weights(self, context):
        generator = context.generator("weights")
        state = {
            name: 0.2 * torch.randn(value.shape, generator=generator)
            for name, value in self.network().state_dict().items()
        }
        return Weights(state, curves=[{"epoch": 1, "loss": 0.75}, {"epoch": 2, "loss": 0.5}])


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, inputs):
        return inputs * self.factor


class Brighter:
    learned = False

    def __init__(self, factor):
        self.factor = factor

    def module(self, *, target, source):
        return Times(self.factor)


class Means:
    def __init__(self, shrink):
        self.shrink = shrink

    def model(self, *, source, adapter, target):
        network = with_head(source, target.outputs, shape=target.shape, adapter=adapter)
        return nn.Sequential(adapter or nn.Identity(), network)

    def fit(self, model, *, source, adapter, train, validation, context):
        if self.shrink > 1:
            raise Inapplicable("more than all")
        adapt, network = model
        positions = torch.arange(len(train))
        with torch.no_grad():
            features = network.eval().features(adapt(train.inputs(positions).to(context.device)))
            labels = train.labels(positions).to(context.device)
            means = torch.stack([features[labels == k].mean(0) for k in range(train.card.outputs)])
            means = (1 - self.shrink) * means + self.shrink * features.mean(0)
            network.head.weight.copy_(means)
            network.head.bias.copy_(-means.square().sum(1) / 2)
        context.progress(1, 1)
        return Fitted(facts={"shrink": self.shrink}, curves=[{"epoch": 1, "loss": 0.25}])


class Correct:
    def measure(self, given, *, context):
        positions = torch.arange(len(given.test))
        with torch.no_grad():
            logits = given.model(given.test.inputs(positions).to(context.device)).cpu()
        right = logits.argmax(1) == given.test.labels(positions)
        outcomes = torch.where(right, int(Outcome.ROBUST), int(Outcome.WRONG)).to(torch.uint8)
        picture = context.scratch / "note.txt"
        picture.write_text("a file of the evaluation")
        return Measurement(
            outcomes={"accuracy": outcomes},
            metrics={"logit": float(logits.amax(1).mean())},
            files={"note.txt": picture},
        )


class Here:
    slots = 1

    def __init__(self):
        self.sent = []

    @contextmanager
    def start(self):
        yield self

    def submit(self, job):
        future = Future()
        future.set_result(perform_job(job, self.sent.append))
        return future

    def news(self):
        sent, self.sent = self.sent, []
        yield from sent

    def stop(self, *, grace):
        pass
