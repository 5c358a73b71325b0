"""Weights & Biases: one run, whose keys begin with the name of the trial or source.

Nothing leaves the machine unless ``WANDB_MODE`` says ``online``: by default files are written to ``wandb`` in
the run folder (or ``WANDB_DIR``), and ``wandb sync`` sends them. ``WANDB_PROJECT`` names the project.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from advtransfer.types import Json
from advtransfer_tracking.tracker import Tracker, plain_name

if TYPE_CHECKING:
    from wandb.sdk.wandb_run import Run


class WeightsAndBiases(Tracker):
    """Logs to a wandb run."""

    extra = "wandb"
    library = "wandb"

    def open_run(self, run: Mapping[str, Json]) -> str:
        import wandb

        mode: Literal["online", "offline"] = (
            "online" if os.environ.get("WANDB_MODE") == "online" else "offline"
        )
        folder = os.environ.get("WANDB_DIR") or str(run["folder"])
        project = os.environ.get("WANDB_PROJECT") or "advtransfer"
        # No command line, code, repository, machine or console output: only what the hooks tell.
        private = wandb.Settings(
            console="off",
            disable_git=True,
            save_code=False,
            silent=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
        )
        self._run: Run = wandb.init(
            project=project,
            name=str(run["title"] or run["suite"]),
            id=str(run["id"]),
            resume="allow",
            mode=mode,
            dir=folder,
            config={"suite": run["suite"], "device": run["device"], "precision": run["precision"]},
            settings=private,
        )
        if mode == "online":
            return f"sends to {self._run.settings.base_url}, project {project}"
        return f"offline: writes to {folder}/wandb (send it: wandb sync; or set WANDB_MODE=online)"

    def log_trial(self, name: str, axes: Mapping[str, Json], values: Mapping[str, float]) -> None:
        self._run.config.update({f"trial {name}": dict(axes)}, allow_val_change=True)
        self._run.log({f"{name}/{metric}": value for metric, value in values.items()})

    def log_curves(self, name: str, curves: Mapping[str, Sequence[tuple[int, float]]]) -> None:
        step = f"{name}/epoch"
        by_epoch: dict[int, dict[str, float]] = {}
        for curve, points in curves.items():
            key = f"{name}/curves/{curve}"
            self._run.define_metric(key, step_metric=step)
            for epoch, value in points:
                by_epoch.setdefault(epoch, {step: epoch})[key] = value
        for epoch in sorted(by_epoch):
            self._run.log(by_epoch[epoch])

    def log_file(self, name: str, path: Path) -> None:
        import wandb

        if path.suffix.lower() == ".png":
            # The key becomes a path below the run's folder.
            key = plain_name(f"figures/{name}", allowed="/ =@")
            self._run.log({key: wandb.Image(str(path))})

    def close_run(self, summary: Mapping[str, float]) -> None:
        self._run.log({f"run/{name}": value for name, value in summary.items()})
        self._run.finish()


plugin = WeightsAndBiases()
