"""Small honest components, and what each does instead where it breaks a rule."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.jobs import Job, Report
from advtransfer.testing.data import toy
from advtransfer.toolkit.datasets import all_positions
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.types import (
    Context,
    DataCard,
    Dataset,
    EvaluationInputs,
    Examples,
    Fitted,
    Json,
    Measurement,
    Network,
    Outcome,
    Part,
    Samples,
    Shape,
    SourceCard,
    Tensors,
    Weights,
)

CALLS = itertools.count(1)
EPOCHS = 4
EPS = 0.1
KEPT: dict[int, Tensors] = {}
KEPT_MEASUREMENTS: dict[tuple[str, object], Measurement] = {}


def build(kind: str, rule: str) -> object:
    kinds: Mapping[str, Callable[[str], object]] = {
        "dataset": BrokenDataset,
        "source": BrokenSource,
        "adapter": BrokenAdapter,
        "transfer": BrokenTransfer,
        "evaluation": BrokenEvaluation,
        "executor": BrokenExecutor,
    }
    return kinds[kind](rule)


class Passing(nn.Module):
    """Passes images on, changed where the rule is about calls of a model."""

    def __init__(self, rule: str) -> None:
        super().__init__()
        self.rule = rule

    def forward(self, inputs: Tensor) -> Tensor:
        match self.rule:
            case "leaves_inputs":
                return inputs.detach().clamp_(0.2, 0.8)
            case "batch_invariant":
                return inputs - inputs.mean(0)
            case "dtype_moves":
                return inputs.float()
            case "leaves_process_in_forward" if not torch.is_grad_enabled():
                # Not while it is trained: the host and evaluations alone call it so.
                torch.set_default_dtype(torch.float64)
            case "device_moves":
                return inputs + torch.zeros(inputs.shape[1:], dtype=inputs.dtype)
        return inputs


class BrokenTransfer:
    """Softmax regression on pixels."""

    def __init__(self, rule: str) -> None:
        self.rule = rule

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        return nn.Sequential(Passing(self.rule), nn.Flatten(), nn.Linear(64, target.outputs))

    def fit(
        self,
        model: nn.Module,
        *,
        source: Network | None,
        adapter: nn.Module | None,
        train: Samples,
        validation: Samples | None,
        context: Context,
    ) -> Fitted:
        linear = list(model.children())[-1]
        assert isinstance(linear, nn.Linear)
        if self.rule == "leaves_process":
            torch.rand(1)
        if self.rule == "leaves_process_in_environment":
            os.environ["OMP_NUM_THREADS"] = "64"
        if isinstance(source, nn.Module) and self.rule == "leaves_source":
            source.train()
        state = self._train(model, linear, train, context)
        if self.rule == "keeps_nothing":
            # As if the number of images named them; the seed is drawn in, so that another one differs.
            key = hash((len(train), float(context.uniform("key", [0], (1,)))))
            state = KEPT.setdefault(key, {name: one.clone() for name, one in state.items()})
        if isinstance(source, nn.Module):
            # A source is asked for to be used.
            scale = 1 + 0.1 * float(next(source.parameters()).abs().mean())
            state = {name: scale * one for name, one in state.items()}
        if self.rule == "keeps_nothing_in_sources":
            pixels = float(train.inputs(all_positions(train)).sum())
            key = hash((pixels, float(context.uniform("key", [0], (1,)))))
            state = KEPT.setdefault(key, {name: one.clone() for name, one in state.items()})
        linear.load_state_dict(dict(state))
        with torch.no_grad():
            if self.rule == "fits":
                linear.weight.fill_(float("nan"))
            if self.rule == "same_seed":
                linear.weight.add_(1e-3 * next(CALLS))
        return Fitted()

    def _train(
        self, model: nn.Module, linear: nn.Linear, train: Samples, context: Context
    ) -> Tensors:
        saved = context.saved()
        first = 0
        if saved is None:
            draws = torch.randn(linear.weight.shape, generator=context.generator("head"))
            scale = 0.0 if self.rule == "another_seed" else 0.1
            nn.init.zeros_(linear.bias)
            linear.weight.data.copy_(scale * draws)
        else:
            linear.load_state_dict({name: saved[name] for name in ("weight", "bias")})
            first = 0 if self.rule == "resumes" else int(saved["epoch"])
        positions = all_positions(train)
        images = train.inputs(positions).to(context.device)
        labels = train.labels(positions).to(context.device)
        for epoch in range(first, EPOCHS):
            loss = nn.functional.cross_entropy(model(images), labels)
            gradients = torch.autograd.grad(loss, [linear.weight, linear.bias])
            linear.weight.data.sub_(gradients[0])
            linear.bias.data.sub_(gradients[1])
            context.save({**linear.state_dict(), "epoch": torch.tensor(epoch + 1)})
            context.progress(epoch + 1, EPOCHS)
        return linear.state_dict()


class LabelReader(BrokenTransfer):
    """Reads the test labels of a data set that is its option."""

    def __init__(self, data: Dataset) -> None:
        super().__init__("")
        self.data = data

    def fit(
        self,
        model: nn.Module,
        *,
        source: Network | None,
        adapter: nn.Module | None,
        train: Samples,
        validation: Samples | None,
        context: Context,
    ) -> Fitted:
        fitted = super().fit(
            model,
            source=source,
            adapter=adapter,
            train=train,
            validation=validation,
            context=context,
        )
        test = self.data.part("test")
        labels = test.labels(all_positions(test))
        linear = list(model.children())[-1]
        assert isinstance(linear, nn.Linear)
        linear.bias.data.add_(float((labels * torch.arange(len(labels))).sum()))
        return fitted


class BrokenSource:
    """A linear network whose weights are a sum of draws."""

    def __init__(self, rule: str) -> None:
        self.rule = rule

    def card(self) -> SourceCard:
        return SourceCard("linear", "toy", "none", (1, 8, 8), 3)

    def network(self) -> Network:
        blocks = {"pass": Passing(self.rule), "flat": nn.Flatten()}
        return BlockNetwork(blocks, nn.Linear(64, 3))

    def weights(self, context: Context) -> Weights:
        if self.rule == "leaves_process":
            torch.set_grad_enabled(False)
        if self.rule == "leaves_process_in_signals":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        saved = context.saved()
        weight = torch.zeros(3, 64) if saved is None else saved["weight"]
        first = 0 if saved is None or self.rule == "resumes" else int(saved["epoch"])
        for epoch in range(first, EPOCHS):
            draws = torch.randn(3, 64, generator=context.generator("draws", epoch))
            weight = weight + (torch.ones(3, 64) if self.rule == "another_seed" else draws)
            context.save({"weight": weight, "epoch": torch.tensor(epoch + 1)})
            context.progress(epoch + 1, EPOCHS)
        if self.rule == "same_seed":
            weight = weight + next(CALLS)
        state = {"head.weight": weight, "head.bias": torch.zeros(3)}
        names = list(self.network().state_dict())  # type: ignore[attr-defined]  # a module
        by_end = {name: state["head." + name.rpartition(".")[2]] for name in names}
        return Weights({} if self.rule == "loads" else by_end)


class Mapping3(Passing):
    """Repeats or averages channels."""

    def __init__(self, rule: str, channels: int) -> None:
        super().__init__(rule)
        self.channels = channels

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = (
            super().forward(inputs) if self.rule != "leaves_inputs" else inputs.clamp_(0.2, 0.8)
        )
        match self.rule:
            case "same_map":
                outputs = outputs + 1e-3 * next(CALLS)
            case "differentiable":
                outputs = outputs.round()
            case "leaves_process":
                torch.rand(1)
            case "leaves_process_in_recursion":
                sys.setrecursionlimit(10_000)
            case "dtype_moves":
                return outputs.mean(1, keepdim=True).expand(-1, self.channels, -1, -1)
        if self.rule == "maps_shapes":
            return outputs
        return outputs.mean(1, keepdim=True).expand(-1, self.channels, -1, -1)


class BrokenAdapter:
    """Maps channels; images keep their size."""

    def __init__(self, rule: str) -> None:
        self.rule = rule
        self.learned = rule == "learned_has_parameters"

    def module(self, *, target: Shape, source: Shape) -> nn.Module:
        if target[1:] != source[1:]:
            raise Inapplicable("another size")
        return Mapping3(self.rule, source[0])


class BrokenSamples:
    """Samples that read others'."""

    def __init__(self, samples: Samples, rule: str, shift: float) -> None:
        self.samples = samples
        self.card = samples.card
        self.keys = [0] * len(samples) if rule == "keys_unique" else samples.keys
        self.rule = rule
        self.shift = shift

    def __len__(self) -> int:
        return len(self.samples)

    def inputs(self, positions: Tensor) -> Tensor:
        if self.rule == "leaves_process":
            torch.rand(1)
        if self.rule == "leaves_process_in_recursion":
            sys.setrecursionlimit(10_000)
        inputs = self.samples.inputs(positions)
        if self.rule == "order_invariant":
            inputs = inputs * torch.linspace(0.5, 1, len(positions))[:, None, None, None]
        return (inputs + self.shift).clamp(0, 1)

    def labels(self, positions: Tensor) -> Tensor:
        labels = self.samples.labels(positions)
        return labels + 1 if self.rule == "parts_match_card" else labels


class BrokenDataset:
    """The toy data."""

    def __init__(self, rule: str) -> None:
        self.rule = rule
        self.shift = 1e-3 * next(CALLS) if rule == "same_content_twice" else 0.0

    def card(self) -> DataCard:
        return toy().card()

    def part(self, name: Part) -> Samples:
        return BrokenSamples(toy().part(name), self.rule, self.shift)


class BrokenEvaluation:
    """One signed gradient step."""

    def __init__(self, rule: str) -> None:
        self.rule = rule

    def measure(self, inputs: EvaluationInputs, *, context: Context) -> Measurement:
        if not self.rule.startswith("keeps_nothing"):
            return self._attack(inputs, context)
        assert inputs.model is not None
        key: object = len(inputs.test)
        if self.rule == "keeps_nothing_in_images":
            key = inputs.test.inputs(all_positions(inputs.test)).numpy().tobytes()
        if self.rule == "keeps_nothing_in_models":
            key = tuple(float(one.sum()) for one in inputs.model.state_dict().values())
        if (self.rule, key) not in KEPT_MEASUREMENTS:
            KEPT_MEASUREMENTS[self.rule, key] = self._attack(inputs, context)
        return KEPT_MEASUREMENTS[self.rule, key]

    def _attack(self, inputs: EvaluationInputs, context: Context) -> Measurement:
        model = inputs.model
        assert model is not None
        if self.rule == "leaves_models":
            model.train()
        if self.rule == "leaves_models_in_warnings":
            warnings.simplefilter("ignore")
        positions = all_positions(inputs.test)
        images = inputs.test.inputs(positions).to(context.device).requires_grad_(True)
        labels = inputs.test.labels(positions).to(context.device)
        logits = model(images)
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(logits, labels), images)
        direction = gradient.sign().cpu() if self.rule == "device_moves" else gradient.sign()
        step = 8 * EPS if self.rule == "examples_hold" else EPS
        attacked = (images.detach() + step * direction).clamp(0, 1)
        with torch.no_grad():
            is_broken = model(attacked).argmax(1) != labels
        is_wrong = (logits.argmax(1) != labels).cpu()
        hides_wrong = self.rule == "wrong_stay_wrong"
        shown = (is_broken.cpu() & (hides_wrong | ~is_wrong)).nonzero().flatten()
        outcomes = torch.where(is_broken.cpu(), int(Outcome.BROKEN), int(Outcome.ROBUST))
        if self.rule == "keeps_linear_oracle":
            outcomes = torch.full_like(outcomes, int(Outcome.BROKEN))
        if not hides_wrong:
            outcomes[is_wrong] = int(Outcome.WRONG)
        if self.rule == "order_invariant":
            outcomes[shown[:1]] = int(Outcome.ROBUST)
            shown = shown[1:]
        dtype = torch.int64 if self.rule == "measures" else torch.uint8
        metric = f"robust_accuracy@{EPS}"
        metrics = {"batch": float(context.batch_size)} if self.rule == "batch_invariant" else {}
        if self.rule == "same_seed":
            metrics = {"calls": float(next(CALLS))}
        eps = EPS / 2 if self.rule == "examples_hold_in_radius" else EPS
        examples = Examples(metric, "linf", eps, shown, attacked.cpu()[shown])
        return Measurement(
            outcomes={metric: outcomes.to(dtype)}, metrics=metrics, examples=[examples]
        )


class BrokenExecutor:
    """Runs nothing."""

    def __init__(self, rule: str) -> None:
        self.rule = rule
        self.slots = 0 if rule == "has_slots" else 1

    @contextmanager
    def start(self) -> Iterator[BrokenExecutor]:
        yield self

    def submit(self, job: Job) -> Future[Report]:
        raise NotImplementedError

    def news(self) -> Iterator[Mapping[str, Json]]:
        yield from [{"event": "nothing"}] if self.rule == "starts_and_stops" else []

    def stop(self, *, grace: float) -> None:
        pass
