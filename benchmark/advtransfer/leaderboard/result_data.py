"""The values of a result record that a page reads: its metrics, its verdict, and its values by image."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from advtransfer.leaderboard.questions_config import metric_stem
from advtransfer.result.evidence import Probe, is_snapshot
from advtransfer.result.sample_values import values_by_metric
from advtransfer.result.verdict import Verdict, worst_verdict
from advtransfer.types import Check

if TYPE_CHECKING:
    from advtransfer.result.outcomes import SampleOutcomes
    from advtransfer.statistics.correlation import FloatArray

JsonObject: TypeAlias = Mapping[str, Any]
"""A JSON object as `advtransfer.result` writes it. Any: fields differ by kind of record."""

UNREAD_VERDICT = Verdict("unchecked", "the batteries of the run are not read yet")
NO_BATTERY_REASON = "no battery, or one of an old version, which does not name its images"


class ImageShares(NamedTuple):
    """The values ``(N,)`` of a share by test image, for unknown outcomes as broken and as robust."""

    low: FloatArray
    high: FloatArray

    @property
    def is_known(self) -> bool:
        """Whether no outcome is unknown: both are then one array."""
        return self.low is self.high


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of one result.

    Attributes:
        low: The value if samples with an unknown outcome count as broken.
        high: The value if they count as robust; equal to `low` without unknown outcomes.
        sample_count: Number of test samples if the metric is a share of them.
        probe: The host's own attacks behind a robust accuracy, None for other metrics.
        is_plugin_share: Whether the evaluation says that it is a share of other things than samples.
        images: Its values by test image, None where the record has none.
        batteries: Ids of the batteries whose breaks a robust accuracy counts.
    """

    low: float
    high: float
    sample_count: int | None = None
    probe: Probe | None = None
    is_plugin_share: bool = False
    images: ImageShares | None = field(default=None, compare=False, repr=False)
    batteries: tuple[str, ...] = ()

    @property
    def is_share(self) -> bool:
        """Whether its values are from 0 to 1."""
        return self.is_plugin_share or bool(self.sample_count)

    def with_images(self, images: ImageShares) -> Metric:
        """Return the metric with its values by test image; `replace` would take five times as long."""
        share = (self.sample_count, self.probe, self.is_plugin_share)
        return Metric(self.low, self.high, *share, images, self.batteries)


@dataclass(frozen=True, slots=True)
class ResultData:
    """The values of one result record, or of the worst over all attacks of a trial.

    Robust accuracies are folded with the batteries of the run (see `advtransfer.result.evidence`);
    ``attack_accuracy*`` is what the evaluation's own attack left.

    Attributes:
        id: Record id, empty for the worst over several records.
        metrics: Metrics by name.
        verdict: Verdict of the battery.
        test_id: Id of the test samples.
        reference_id: Id of the reference model, empty without one.
        sample_outcomes: Outcomes by metric that is a share of samples.
        image_values: Arrays ``(N,)`` with the metric as mean, by metric that a question asks about.
        files: Paths in the run folder, by the names that the evaluation gave.
        unlearned_reason: Why the fitted model did not learn its task, None where it did.
        largest_class: Share of the largest class among the test labels, None where not recorded.
        checks: The checks that the verdict rests on; kept only where they are asked for.
    """

    id: str
    metrics: Mapping[str, Metric]
    verdict: Verdict
    test_id: str = ""
    reference_id: str = ""
    sample_outcomes: Mapping[str, SampleOutcomes] = field(default_factory=dict)
    image_values: Mapping[str, FloatArray] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    unlearned_reason: str | None = None
    largest_class: float | None = None
    checks: tuple[Check, ...] = ()

    @property
    def claims(self) -> list[str]:
        """The metrics that are robust accuracies of the fitted model, snapshots included."""
        return [name for name, metric in self.metrics.items() if metric.probe is not None]

    @property
    def claims_verdict(self) -> Verdict:
        """The worst verdict on its robust accuracies, without those of snapshots."""
        claims = [name for name in self.claims if not is_snapshot(name, self.metrics)]
        return worst_verdict([*map(self.metric_verdict, claims), self.verdict])

    def metric_verdict(self, metric: str) -> Verdict:
        """Return the verdict on one metric: without a battery, a robust accuracy is unchecked."""
        probe = self.metrics[metric].probe if metric in self.metrics else None
        if probe is not None and not probe.count and self.verdict.is_ranked:
            return Verdict("unchecked", NO_BATTERY_REASON)
        return self.verdict


def read_result(record: JsonObject, *, stems: set[str], root: Path | None) -> ResultData:
    """Return the values of a result record; `stems` are the metrics that questions ask about."""
    asked = {name for name in record["metrics"] if metric_stem(name) in stems}
    inputs = record["asked"]["inputs"]
    return ResultData(
        str(record["id"]),
        _read_metrics(record["metrics"]),
        UNREAD_VERDICT,
        test_id=sys.intern(str(inputs.get("test", ""))),
        reference_id=str(inputs.get("reference", "")),
        image_values=values_by_metric(root, record, asked) if root else {},
        files=record.get("files", {}),
        largest_class=(record.get("labels") or {}).get("largest_class"),
    )


def _read_metrics(metrics: Mapping[str, JsonObject]) -> dict[str, Metric]:
    parsed: dict[str, Metric] = {}
    for name, metric in metrics.items():
        value = metric["value"]
        low, high = metric.get("low", value), metric.get("high", value)
        is_share = bool(metric.get("share"))
        parsed[name] = Metric(low, high, metric.get("of"), is_plugin_share=is_share)
    return parsed
