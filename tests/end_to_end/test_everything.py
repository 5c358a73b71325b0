"""Every part of the built-in plugins on the pretend GPU: nothing fails there, and the records are those of the CPU."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from advtransfer.cli import main
from advtransfer.host import Host
from advtransfer.testing.pretend_cuda import pretend_cuda

SUITE = Path(__file__).with_name("everything.yaml")

NOT_IN_IT = {
    "vision/torchvision": "reads the official files, which are no part of the project",
    "vision/huggingface": "reads a file of the hub; the network is that of vision/checkpoint",
    "foolbox/brendel_bethge": "numba compiles it for a minute: the slow test below",
    "vision/module": "runs a file of one's own: tests/plugins/vision/test_vision_user_code.py",
    "finetune/unchanged": "fits nothing, for one model from Python: tests/api/test_in_memory.py",
    "local/module": "a module in memory: tests/api/test_in_memory.py",
    "local/pool": "its workers are other processes, which do not have the pretend device",
    "ray/cluster": "the same: tests/end_to_end/test_ray.py",
    "slurm/submitit": "the same: tests/end_to_end/test_slurm.py",
}
"""Components that the suite leaves out, each with its reason."""

BRENDEL = """\
datasets:
  low: {use: vision/digits, classes: [0, 1, 2]}
  high: {use: vision/digits, classes: [5, 6, 7]}
sources:
  natural: {use: vision/trained, data: low, epochs: 1}
targets:
  high: {data: high, n: [20], test: 6}
transfers:
  probe: {use: finetune/linear_probe}
evaluations:
  brendel: {use: foolbox/brendel_bethge, norm: l2, eps: 0.5, steps: 2}
leaderboard: {baseline: natural, rank_by: brendel.robust_accuracy, columns: [brendel.robust_accuracy]}
"""


def write_files(folder: Path) -> None:
    """Small images and weights in the kinds of files that the suite reads."""
    import numpy as np
    import torch
    from PIL import Image
    from torchvision.models import resnet18, shufflenet_v2_x0_5

    drawn = np.random.default_rng(0)
    images, labels = drawn.integers(0, 256, (60, 10, 10), dtype=np.uint8), np.arange(60) % 3
    np.savez(
        folder / "images.npz",
        x_train=images[12:],
        y_train=labels[12:],
        x_test=images[:12],
        y_test=labels[:12],
    )
    annotations = []
    for label in (0, 1):
        for number in range(12):
            image = Image.fromarray(drawn.integers(0, 256, (12, 12, 3), dtype=np.uint8))
            part, name = "train" if number < 8 else "test", f"val_{label}_{number}.JPEG"
            places = [
                folder / "folder" / part / f"class{label}" / f"{number}.png",
                folder / "tiny" / (f"train/n{label}/images" if number < 8 else "val/images") / name,
            ]
            for place, size in zip(places, (12, 64), strict=True):
                place.parent.mkdir(parents=True, exist_ok=True)
                image.resize((size, size)).save(place)
            if number >= 8:
                annotations.append(f"{name}\tn{label}\t0\t0\t63\t63\n")
    (folder / "tiny" / "wnids.txt").write_text("n0\nn1\n")
    (folder / "tiny" / "words.txt").write_text("n0\taeroplane\nn1\tcar\n")
    (folder / "tiny" / "val" / "val_annotations.txt").write_text("".join(annotations))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(shufflenet_v2_x0_5(num_classes=3).state_dict(), folder / "weights.pt")
        plain = resnet18(num_classes=3)
        plain.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    names = {
        name: name.replace("fc.", "linear.").replace("downsample.", "shortcut.")
        for name in plain.state_dict()
    }
    state = {f"module.model.{names[name]}": values for name, values in plain.state_dict().items()}
    state |= {
        name.replace("module.", "module.attacker.", 1): values for name, values in state.items()
    }
    for where in ("module.normalizer", "module.attacker.normalize"):
        state |= {
            f"{where}.new_mean": torch.full((3, 1, 1), 0.5),
            f"{where}.new_std": torch.full((3, 1, 1), 0.25),
        }
    torch.save({"model": state, "epoch": 3}, folder / "madry.pt")


def run_on(device: str, folder: Path, suite: Path, *more: str) -> Path:
    """Run a suite in this process, where the device can be the pretend GPU; return the run."""
    arguments = ["run", str(suite), "--executor", "local/inline", "--device", device, *more]
    with (
        pytest.MonkeyPatch.context() as patch,
        pretend_cuda() if device == "cuda" else nullcontext(),
    ):
        patch.setenv("ADVTRANSFER_DATA", str(suite.parent))
        patch.setenv("ADVTRANSFER_CACHE", str(folder / "cache"))
        # Each kind of device has its own rule, and the order of the numbers changes their last bits.
        patch.setattr("advtransfer.toolkit.training.prefers_channels_last", lambda *_: False)
        done = CliRunner().invoke(main, [*arguments, "--runs", str(folder), "--json", "--quiet"])
    assert done.exit_code == 0, done.output
    ended = json.loads(done.stdout)
    assert (0, True) == (ended["failed"], bool(ended["done"]))
    assert more or not ended["todo"]
    return folder / suite.stem


def comparable(run: Path) -> dict[str, dict[str, Any]]:  # Any: JSON that the command wrote
    """The records of a run by id, without what was observed and what names the device."""
    found = {}
    for path in run.glob("records/*/*.json"):
        record = json.loads(path.read_text())
        del record["observed"], record["provenance"]["environment"], record["provenance"]["device"]
        found[path.stem] = record
    return found


def differences(one: object, other: object, place: str = "") -> Iterator[str]:
    """Where two records differ; numbers may in their last bits, which depend on where in memory a matrix lies."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in sorted({*one, *other}):
            yield from differences(one.get(name), other.get(name), f"{place}/{name}")
    elif isinstance(one, float) and isinstance(other, float):
        if not math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12):
            yield f"{place}: {one} and {other}"
    elif one != other:
        yield f"{place}: {str(one)[:80]} and {str(other)[:80]}"


def compared(suite: Path, *more: str) -> list[str]:
    """Run a suite, or with `--only` a part of it, on both devices; how the records differ."""
    cpu, cuda = (
        comparable(run_on(device, suite.parent / device, suite, *more))
        for device in ("cpu", "cuda")
    )
    assert cuda.keys() == cpu.keys()
    return [
        f"{cpu[id]['asked']['use']}{place}"
        for id in cpu
        for place in differences(cpu[id], cuda[id])
    ]


def test_every_component_of_the_built_in_plugins_is_in_the_suite() -> None:
    host, used = Host.discover(), set(re.findall(r"use: (\w+/\w+)", SUITE.read_text()))
    known = {
        component.name for component in host.components() if component.distribution == "advtransfer"
    }

    assert known - used - {"local/inline"} == set(NOT_IN_IT)


def test_every_evaluation_gives_on_a_gpu_what_it_gives_on_the_cpu(tmp_path: Path) -> None:
    (tmp_path / SUITE.name).write_text(SUITE.read_text())
    write_files(tmp_path)
    # The battery by itself: tests/worker/test_battery_on_a_gpu.py.
    part = ("--only", "source=natural,target=high,transfer=probe", "--battery", "none")

    assert compared(tmp_path / SUITE.name, *part) == []


@pytest.mark.slow
def test_everything_runs_on_a_gpu_and_gives_what_it_gives_on_the_cpu(tmp_path: Path) -> None:
    (tmp_path / SUITE.name).write_text(SUITE.read_text())
    write_files(tmp_path)

    assert compared(tmp_path / SUITE.name) == []


@pytest.mark.slow
def test_the_attack_that_is_compiled_runs_on_a_gpu_likewise(tmp_path: Path) -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    (tmp_path / "brendel.yaml").write_text(BRENDEL)

    assert compared(tmp_path / "brendel.yaml") == []
