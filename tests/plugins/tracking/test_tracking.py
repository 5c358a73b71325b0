"""Each tracker's own reader finds every metric, curve and figure that the hooks told, and doubles nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from advtransfer.errors import MissingLibrary
from advtransfer_tracking.mlflow import MLflow
from advtransfer_tracking.tensorboard import TensorBoard
from advtransfer_tracking.tracker import (
    Tracker,
    curve_points,
    plain_name,
    trial_title,
    without_password,
)
from advtransfer_tracking.wandb import WeightsAndBiases

TRIAL: dict[str, Any] = {  # Any: as varied as JSON
    "id": "abcdef012345",
    "source": "linf-1/255",
    "adapter": None,
    "target": "digits",
    "n": 20,
    "seed": 0,
    "transfer": "../probe",
}
TITLE = "linf-1/255 digits 20 0 ../probe abcdef"
METRICS = {"clean.accuracy": 0.75, "pgd.robust_accuracy@0.1": 0.25}
INTERVALS = {"clean.accuracy": [0.5, 0.875], "pgd.robust_accuracy@0.1": [0.125, 0.5]}
VALUES = {
    "clean.accuracy": 0.75,
    "clean.accuracy.low": 0.5,
    "clean.accuracy.high": 0.875,
    "pgd.robust_accuracy@0.1": 0.25,
    "pgd.robust_accuracy@0.1.low": 0.125,
    "pgd.robust_accuracy@0.1.high": 0.5,
}
LOSS = [(1, 2.0), (2, 1.5), (3, 1.25)]
FIT = {
    "kind": "fit",
    "id": TRIAL["id"],
    "curves": [{"epoch": epoch, "loss": loss} for epoch, loss in LOSS],
}
SUMMARY = {"done": 1, "failed": 0, "seconds": 2.5, "interrupted": False, "stopped": None}


def tell(tracker: Tracker, folder: Path, *, with_trial: bool = True) -> str:
    """Tell a tracker of a run with one trial; gives its line for the user."""
    run: Mapping[str, Any] = {  # Any: as above
        "id": "0123456789abcdef",
        "suite": "small",
        "title": "A small suite",
        "folder": str(folder),
        "device": "cpu",
        "precision": "float32",
    }
    figure = folder / "figures" / "front.png"
    figure.parent.mkdir(exist_ok=True)
    Image.new("RGBA", (6, 4), (0, 0, 255, 255)).save(figure)
    saliency = folder / "map.png"
    Image.new("RGBA", (6, 4), (255, 0, 0, 255)).save(saliency)
    files: list[Mapping[str, Any]] = [  # Any: as above
        {"kind": "figure", "name": "front.png", "path": str(figure)},
        {
            "kind": "file",
            "name": "map.png",
            "path": str(saliency),
            "trial": TRIAL["id"],
            "evaluation": "saliency",
            "record": "r1",
        },
    ]
    line = tracker.run_started(run, {"sources": {}, "trials": [TRIAL]})
    if with_trial:
        tracker.record_written(FIT)
        tracker.record_written({"kind": "result", "id": "r1"})
        tracker.trial_finished(TRIAL, METRICS, INTERVALS)
    tracker.run_finished(SUMMARY, files)
    return line


def test_tensorboards_reader_finds_metrics_curves_and_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard", reason="pip install 'advtransfer[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.delenv("TENSORBOARD_LOGDIR", raising=False)
    line = tell(TensorBoard(), tmp_path)
    tell(TensorBoard(), tmp_path, with_trial=False)  # the run continued, with nothing to do
    logs = tmp_path / "tensorboard"
    trial, run = (
        EventAccumulator(str(folder)).Reload()
        for folder in (logs / plain_name(TITLE, allowed="=@"), logs / "run")
    )
    scalars = {
        tag: [(point.step, point.value) for point in trial.Scalars(tag)]
        for tag in trial.Tags()["scalars"]
    }

    assert str(logs) in line
    assert {name: [(0, value)] for name, value in VALUES.items()} | {"curves/loss": LOSS} == scalars
    assert {
        "figures/front.png",
        f"figures/{TITLE}/saliency/map.png",
    } == set(run.Tags()["images"])
    (image,) = run.Images(f"figures/{TITLE}/saliency/map.png")
    assert (6, 4) == (image.width, image.height)
    assert "_hparams_/session_start_info" in trial.summary_metadata
    assert 2 == len(list(logs.iterdir()))


def test_mlflows_client_finds_metrics_curves_and_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="pip install 'advtransfer[mlflow]'")
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    line = tell(MLflow(), tmp_path)
    tell(MLflow(), tmp_path, with_trial=False)
    client = MlflowClient((tmp_path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("small")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    trial = runs[TITLE]
    history = client.get_metric_history(trial.info.run_id, "curves/loss")
    parent = runs["A small suite"]
    artifacts = client.list_artifacts(parent.info.run_id, "figures")

    assert "experiment small" in line
    assert {"A small suite", TITLE} == set(runs)
    assert {name.replace("@", ":"): value for name, value in VALUES.items()} == {
        name: value for name, value in trial.data.metrics.items() if name != "curves/loss"
    }
    assert LOSS == sorted((point.step, point.value) for point in history)
    assert 1 == len(client.get_metric_history(trial.info.run_id, "clean.accuracy"))
    assert {
        "source": "linf-1/255",
        "n": "20",
        "adapter": "None",
    }.items() <= trial.data.params.items()
    assert parent.info.run_id == trial.data.tags["mlflow.parentRunId"]
    assert "figures/front.png" in {each.path for each in artifacts}
    assert 1 == len(list((tmp_path / "mlruns").rglob("map.png")))


def log_records(content: bytes) -> list[bytes]:
    """Return the records of a wandb file: the log format of LevelDB after a header of 7 bytes.

    Blocks of 32 KiB hold parts of records, each after its checksum (4 bytes), length (2) and type: 1 is a
    whole record, 2 the first part of one, 3 a middle and 4 the last. Python's wandb has no reader since
    its core is written in Go; what the records say is read by its own protocol messages.
    """
    block_size, head_size = 32768, 7
    records, parts, position = [], b"", head_size
    while position < len(content):
        left = block_size - position % block_size
        if left < head_size:
            position += left
            continue
        length = int.from_bytes(content[position + 4 : position + 6], "little")
        kind = content[position + 6]
        parts += content[position + head_size : position + head_size + length]
        position += head_size + length
        if kind in (1, 4):
            records.append(parts)
            parts = b""
    return records


def test_wandbs_own_messages_hold_metrics_curves_and_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="pip install 'advtransfer[wandb]'")
    from wandb.proto.wandb_internal_pb2 import Record

    for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    line = tell(WeightsAndBiases(), tmp_path)
    (file,) = tmp_path.rglob("*.wandb")
    history: list[tuple[str, Any]] = []  # Any: values of JSON
    config: set[str] = set()
    # wandb's own process writes the file; on a busy machine the last block comes later.
    size, end = -1, time.monotonic() + 30
    while size != file.stat().st_size and time.monotonic() < end:
        size = file.stat().st_size
        time.sleep(1)
    for content in log_records(file.read_bytes()):
        record = Record()
        record.ParseFromString(content)
        for item in record.history.item:
            history.append((item.key or "/".join(item.nested_key), json.loads(item.value_json)))
        for update in (*record.run.config.update, *record.config.update):
            config.add(update.key or "/".join(update.nested_key))
    told = {name: value for name, value in history if isinstance(value, int | float)}
    images = {name.removesuffix("/_type") for name, value in history if value == "image-file"}

    assert line.startswith("offline")
    assert {f"{TITLE}/{name}": value for name, value in VALUES.items()}.items() <= told.items()
    assert LOSS == list(
        zip(
            [value for name, value in history if name == f"{TITLE}/epoch"],
            [value for name, value in history if name == f"{TITLE}/curves/loss"],
            strict=True,
        )
    )
    assert {"figures/front.png", f"figures/{TITLE}/saliency/map.png"} == images
    assert f"trial {TITLE}" in config
    assert b"0123456789" * 4 not in b"".join(
        path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    )


def test_a_missing_library_is_named_with_its_extra_and_the_tracker_stays_off(
    tmp_path: Path,
) -> None:
    tracker = TensorBoard()
    tracker.library = "no_such_library"
    with pytest.raises(MissingLibrary, match=r"pip install 'advtransfer\[tensorboard\]'"):
        tell(tracker, tmp_path)
    tracker.trial_finished(TRIAL, METRICS, INTERVALS)

    assert not (tmp_path / "tensorboard").exists()


def test_names_and_addresses_are_made_safe() -> None:
    assert "_/_/a_b" == plain_name("../.../a b", allowed="/")
    assert ".._probe".lstrip(".") == plain_name("../probe")
    assert "https://host:5000/path" == without_password("https://me:secret@host:5000/path?token=1")
    assert {"loss": [(1, 1.0), (2, 0.5)]} == curve_points([{"loss": 1}, {"loss": 0.5}])
    assert trial_title(TRIAL) == TITLE
