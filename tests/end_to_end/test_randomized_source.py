"""A plugin's source that draws in eval mode: its records repeat to the bit, and its robust accuracy is verified."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from advtransfer.testing.command import Command

PLUGIN = '''\
"""A source that sees the images of another one with noise."""

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Source, Weights, component


class Noisy:
    def __init__(self, source, sigma, says):
        self.source, self.sigma, self.says = source, sigma, says

    def card(self):
        return self.source.card()

    def network(self):
        import torch

        class NoisyNetwork(torch.nn.Module):
            def __init__(self, inner, sigma, says):
                super().__init__()
                self.inner, self.sigma, self.randomized = inner, sigma, says

            blocks = property(lambda self: self.inner.blocks)
            head = property(lambda self: self.inner.head)

            def forward(self, inputs):
                return self.inner(inputs + self.sigma * torch.randn_like(inputs))

            def features(self, inputs, *, upto=None):
                noise = self.sigma * torch.randn_like(inputs)
                return self.inner.features(inputs + noise, upto=upto)

        return NoisyNetwork(self.source.network(), self.sigma, self.says)

    def weights(self, context):
        tensors = self.source.weights(context).tensors
        return Weights({f"inner.{name}": tensor for name, tensor in tensors.items()})


@component(shape="source")
def input_noise(*, source: Source, sigma: float = 0.1, says: bool = True) -> Source:
    """Another source with Gaussian noise on its inputs.

    Args:
        source: The other source.
        sigma: Standard deviation of the noise.
        says: Whether it says that it draws.
    """
    return Noisy(source, sigma, says)


@hookimpl
def register_sources():
    return [input_noise]
'''
SUITE = """\
version: 1
title: Noise on the images
datasets:
  low: {use: vision/digits, classes: [0, 1, 2]}
sources:
  plain: {use: vision/trained, data: low, epochs: 6, width: 4}
  noisy: {use: noisy/input_noise, source: plain}
targets:
  digits: {data: low, n: [40], seeds: 1, test: 16, leakage: "off"}
transfers:
  probe: {use: finetune/linear_probe}
  full: {use: finetune/full, epochs: 2}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  pgd: {use: foolbox/pgd, norm: linf, eps: 0.05, steps: 4, step_size: 0.02, draws: 4}
"""


def robust_results(run: Path) -> list[dict[str, Any]]:  # Any: JSON
    """Return the result records of the attack."""
    records = [json.loads(path.read_text()) for path in run.glob("records/*/*.json")]
    return [record for record in records if "robust_accuracy@0.05" in record.get("outcomes", {})]


@pytest.mark.slow
def test_records_of_a_randomised_source_repeat(
    install_plugin: Callable[[str, str], Path],
    command_in: Callable[[str], Command],
    records_of: Callable[[Path], dict[str, str]],
) -> None:
    site = str(install_plugin("noisy", PLUGIN))
    runs = []
    for name in ("first", "second"):
        command = command_in(name)
        (command.folder / "noise.yaml").write_text(SUITE)
        path = os.pathsep.join([site, command.environment.get("PYTHONPATH", "")])
        command("run", "noise.yaml", "--executor", "local/inline", PYTHONPATH=path)
        runs.append(command.folder / "runs" / "noise")

    command("check", "noisy", PYTHONPATH=path)
    assert records_of(runs[0]) == records_of(runs[1])
    results = robust_results(runs[0])
    assert len(results) == 4
    assert {result["verdict"]["value"] for result in results} == {"checked"}
