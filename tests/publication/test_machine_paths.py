"""Paths of a machine are refused before anything is published, by file and line, all at once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from advtransfer import runner, suite
from advtransfer.errors import BadInput
from advtransfer.host import Host
from advtransfer.node import Node
from advtransfer.planning import make_plan
from advtransfer.publication.publish import Origin, publish_run
from advtransfer.result import Run
from advtransfer.result.machine_paths import machine_path_problems, machine_paths, shorten_paths
from advtransfer.result.record import attempt_record
from advtransfer.result.run_folder import record_bytes
from advtransfer.runner.settings import RunSettings

ROOT = Path(__file__).parents[2]
SUITE = """
version: 1
title: Files of this machine
datasets: {{own: {{use: vision/npz, file: {data}}}}}
sources:
  net: {{use: vision/module, code: {code}, name: make, data: own, card: {{citation: {cited}}}}}
targets: {{own: {{data: own, n: [40], seeds: 1, validation: 0, leakage: "off"}}}}
transfers: {{probe: {{use: finetune/linear_probe}}}}
evaluations: {{clean: {{use: foolbox/clean_accuracy}}}}
"""
CODE = """
from torch import nn


def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 2))
"""


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("file: /home/a/b.npz  # mine", ["/home/a/b.npz"]),
        ("root: /data", ["/data"]),
        ("{file: /a.npz, other: [/b, /c.d]}", ["/a.npz", "/b", "/c.d"]),
        ("no file '/home/A Name/x.csv' here", ["/home/A Name/x.csv"]),
        (r"file: C:\Users\A\x.pt", [r"C:\Users\A\x.pt"]),
        (r"'\\server\share\x'", [r"\\server\share\x"]),
        ("~/x.pt and file:///home/q", ["~/x.pt", "file:///home/q"]),
        # Fractions, URLs, formulas, relative paths, markup and base64 are none.
        ("eps: 8/255, and/or, (a)/b, https://a.b/c/d, ../x/y, ./z", []),
        ("<b>a</b> eJw/ab+/cd== accuracy /n", []),
    ],
)
def test_paths_are_told_from_other_slashes(text: str, paths: list[str]) -> None:
    assert paths == machine_paths(text)


def test_a_reason_keeps_the_last_part_of_a_path() -> None:
    assert "no 'x.csv', 8/255" == shorten_paths("no '/home/A Name/x.csv', 8/255")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and code of one's own, and suites that name them absolutely and relatively."""
    folder = tmp_path_factory.mktemp("someone")
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 2
    images = generator.uniform(size=(60, 8, 8)) * 0.5 + labels[:, None, None] * 0.4
    np.savez(
        folder / "own.npz",
        x_train=images[:40],
        y_train=labels[:40],
        x_test=images[40:],
        y_test=labels[40:],
    )
    (folder / "net.py").write_text(CODE)
    whole = {"data": folder / "own.npz", "code": folder / "net.py", "cited": folder / "me"}
    (folder / "absolute.yaml").write_text(SUITE.format(**whole))
    relative = {"data": "own.npz", "code": "net.py", "cited": "me"}
    (folder / "relative.yaml").write_text(SUITE.format(**relative))
    return folder


def run_of(folder: Path, name: str, host: Host) -> Run:
    settings = RunSettings(
        executor="local/inline", runs=folder / "runs", cache=folder / "cache", battery="none"
    )
    loaded = suite.load(str(folder / f"{name}.yaml"), host)
    return Run(runner.run_suite(loaded, settings=settings, host=host).run)


def test_paths_in_suite_records_and_citation_are_named_at_once(
    folder: Path, tmp_path: Path
) -> None:
    host = Host.discover()
    run = run_of(folder, "absolute", host)
    citation = tmp_path / "cite"
    citation.write_text(f"title: mine\nurl: file://{folder}/x\n")
    with pytest.raises(BadInput) as caught:
        publish_run(run, tmp_path / "board", Origin("mine", "A", "MIT", citation), found=True)
    found = [problem.found for problem in caught.value.problems]
    steps = " ".join(str(problem.next_step) for problem in caught.value.problems)

    assert 6 == len(found), found
    assert any("own.npz' in suite.yaml:4" in text for text in found)
    assert any("net.py' in suite.yaml:6" in text for text in found)
    assert any("me' in suite.yaml:6" in text for text in found)
    assert any("in citation:2" in text for text in found)
    assert any("in records/source.jsonl.xz:1, card.citation" in text for text in found)
    assert any("records/source.jsonl.xz:1, asked.options.card" in text for text in found)
    for step in ("relative to the suite's folder", "part of the id", "the plugin", "--citation"):
        assert step in steps
    assert not list((tmp_path / "board").rglob("*.*"))


def test_relative_paths_give_the_same_ids_and_are_published(folder: Path, tmp_path: Path) -> None:
    host = Host.discover()
    text = SUITE.format(data=folder / "own.npz", code=folder / "net.py", cited="me")
    (folder / "same.yaml").write_text(text)
    same, relative = (
        make_plan(suite.load(str(folder / f"{name}.yaml"), host), host)
        for name in ("same", "relative")
    )
    assert same.trials == relative.trials
    run = run_of(folder, "relative", host)
    (trial,) = relative.trials
    ((result,),) = trial.evaluations.values()
    next(run.path.glob(f"records/*/{result}.json")).unlink()
    node = Node("result", "foolbox/clean_accuracy", 1)
    reason = f"no '{folder}/lost.csv'"
    failure = {"status": "failed", "exception": "BadInput", "traceback": f"File {folder}/x.py"}
    attempt = attempt_record(
        node, reason=reason, deterministic=True, environment="e" * 64, observed={}, **failure
    )
    run.write_attempt(attempt | {"id": result})
    origin = Origin("mine", "A", "MIT", ROOT / "CITATION.cff")
    bundle = publish_run(run, tmp_path / "board", origin, found=True)

    assert [] == machine_path_problems(bundle)
    assert "no 'lost.csv'" in (bundle / "attempts.jsonl").read_text()
    assert not any(
        str(folder) in path.read_bytes().decode("utf-8", "replace")
        for path in (tmp_path / "board").rglob("*")
        if path.is_file()
    )
    # What no run of this test writes: an environment, a label, a figure, a damaged reason.
    altered = tmp_path / "altered"
    shutil.copytree(bundle, altered)
    (environment,) = altered.glob("environments/*.json")
    content = json.loads(environment.read_text())
    content["processor"]["limits"] = {"OPENBLAS_CORETYPE": "/opt/a/b"}
    environment.write_bytes(record_bytes(content))
    plan = json.loads((altered / "plan.json").read_text())
    plan["title"] = "of ~/pictures"
    (altered / "plan.json").write_bytes(record_bytes(plan))
    (altered / "files" / "x").mkdir(parents=True)
    (altered / "files" / "x" / "a.svg").write_text("<svg>\n<title>/home/a/b</title></svg>")
    wheres = [problem.found.partition("' in ")[2] for problem in machine_path_problems(altered)]

    assert [
        "plan.json, title",
        f"environments/{environment.stem}.json, processor.limits.OPENBLAS_CORETYPE",
        "files/x/a.svg:2",
    ] == wheres
