"""MLflow: one run for the suite's run, and one nested in it for each trial and source.

The server is ``MLFLOW_TRACKING_URI`` or, without it, the folder ``mlruns`` in the run folder; the experiment
is ``MLFLOW_EXPERIMENT_NAME`` or the suite's name. MLflow allows no ``@`` in names: it is written ``:``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from advtransfer.types import Json
from advtransfer_tracking.tracker import Tracker, plain_name, without_password

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

RUN_TAG = "advtransfer.run"
PART_TAG = "advtransfer.part"
"""Tags by which a continued run finds the runs that it began: its id, and the trial's or source's name."""


class MLflow(Tracker):
    """Logs to an MLflow server or folder."""

    extra = "mlflow"
    library = "mlflow"

    def open_run(self, run: Mapping[str, Json]) -> str:
        from mlflow.tracking import MlflowClient

        address = os.environ.get("MLFLOW_TRACKING_URI")
        if not address:
            # MLflow calls folders deprecated; a data base would need libraries that mlflow-skinny lacks.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            address = (Path(str(run["folder"])) / "mlruns").as_uri()
        self._client: MlflowClient = MlflowClient(address)
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or str(run["suite"])
        known = self._client.get_experiment_by_name(experiment)
        self._experiment = (
            known.experiment_id if known else self._client.create_experiment(experiment)
        )
        self._run = str(run["id"])
        self._children: dict[str, str] = {}
        self._parent = self._child(str(run["title"] or run["suite"]), part="run")
        return f"logs to {without_password(address)}, experiment {experiment}"

    def log_trial(self, name: str, axes: Mapping[str, Json], values: Mapping[str, float]) -> None:
        from mlflow.entities import Param

        child = self._child(name)
        params = [Param(axis, str(value)) for axis, value in axes.items()]
        points = [(metric, value, 0) for metric, value in values.items()]
        self._log_points(child, points)
        self._client.log_batch(child, params=params)
        self._client.set_terminated(child)

    def log_curves(self, name: str, curves: Mapping[str, Sequence[tuple[int, float]]]) -> None:
        points = [
            (f"curves/{curve}", value, epoch)
            for curve, pairs in curves.items()
            for epoch, value in pairs
        ]
        self._log_points(self._child(name), points)

    def log_file(self, name: str, path: Path) -> None:
        folder = plain_name(f"figures/{name}", allowed="/ =").rpartition("/")[0]
        self._client.log_artifact(self._parent, str(path), folder)

    def close_run(self, summary: Mapping[str, float]) -> None:
        self._log_points(
            self._parent, [(f"run/{name}", value, 0) for name, value in summary.items()]
        )
        for child in [*self._children.values()]:
            self._client.set_terminated(child)

    def _log_points(self, run: str, points: Sequence[tuple[str, float, int]]) -> None:
        import time

        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(metric_name(name), value, now, step) for name, value, step in points]
        for start in range(0, len(metrics), 500):  # the server takes at most 1000 at once
            self._client.log_batch(run, metrics=metrics[start : start + 500])

    def _child(self, name: str, *, part: str = "") -> str:
        """Return the id of the run of a trial, a source or (`part` "run") all, begun if there is none."""
        part = part or plain_name(name)
        if part not in self._children:
            query = f"tags.`{RUN_TAG}` = '{self._run}' and tags.`{PART_TAG}` = '{part}'"
            found = self._client.search_runs([self._experiment], query, max_results=1)
            if found:
                self._children[part] = found[0].info.run_id
            else:
                tags = {RUN_TAG: self._run, PART_TAG: part}
                if part != "run":
                    tags["mlflow.parentRunId"] = self._parent
                created = self._client.create_run(self._experiment, tags=tags, run_name=name)
                self._children[part] = created.info.run_id
        return self._children[part]


def metric_name(name: str) -> str:
    """Return a name that MLflow allows."""
    return plain_name(name.replace("@", ":"), allowed="/: ")


plugin = MLflow()
