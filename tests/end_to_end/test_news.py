from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import Result

if TYPE_CHECKING:
    from advtransfer.testing.command import Command

LISTENER = '''\
"""Writes the news of trials into a file."""

import json
import os

from advtransfer.hookspecs import hookimpl


def note(*news):
    with open(os.environ["NEWS"], "a") as file:
        file.write(json.dumps(news) + "\\n")


@hookimpl
def trial_started(trial):
    note("started", trial["seed"])


@hookimpl
def trial_finished(trial, metrics):
    note("finished", trial["seed"], sorted(metrics))


@hookimpl
def trial_failed(trial, reason):
    note("failed", trial["seed"], reason)


@hookimpl
def trial_skipped(trial, reason):
    note("skipped", trial["seed"], reason)
'''


def test_a_plugin_named_on_the_command_line_is_told_the_news_of_trials(
    faulty: Path,
    command: Command,
    inline: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = faulty
    (site / "listener_plugin.py").write_text(LISTENER)
    (site / "listener-1.0.dist-info").mkdir()
    (site / "listener-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: listener\nVersion: 1.0\n"
    )
    (site / "listener-1.0.dist-info" / "entry_points.txt").write_text(
        "[advtransfer]\nlistener = listener_plugin\n"
    )
    suite = command.folder / "small.yaml"
    suite.write_text(
        suite.read_text().replace(
            "probe: {use: finetune/linear_probe}",
            "probe: {use: finetune/linear_probe, only: {seed: 0}}\n"
            "  bad: {use: faulty/raises, only: {seed: 1}}\n"
            "  odd: {use: faulty/refuses, only: {seed: 2}}",
        )
    )
    news = command.folder / "news.jsonl"
    monkeypatch.setenv("NEWS", str(news))
    options = ["--only", "source=random,n=20", "--plugin", "listener", "--quiet"]
    inline("run", "small.yaml", *options, exit_code=1)
    told = [json.loads(line) for line in news.read_text().splitlines()]
    metrics = [
        "clean.accuracy",
        "pgd.attack_accuracy@0.1",
        "pgd.clean_accuracy",
        "pgd.robust_accuracy@0.1",
        "worst_linf.robust_accuracy@0.1",
    ]

    assert 3 == sum(one[0] == "started" for one in told)
    assert ["finished", 0, metrics] in told
    assert ["failed", 1, "RuntimeError: no luck"] in told
    assert ["skipped", 2, "this source has no blocks"] in told
