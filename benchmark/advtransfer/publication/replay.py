"""Replay: measure some trials of a bundle again, drawn by the verifier, and compare each metric.

Outcomes that were changed together with all that follows from them agree with themselves; only a new
measurement sees them. The draw is made by the verifier's own fresh seed, so no one can know which
trials it will take, and the chance that a false cell escapes is that of an urn.
"""

from __future__ import annotations

import math
import random
import secrets
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from advtransfer.host import Host
from advtransfer.leaderboard.publish import load_run_records
from advtransfer.leaderboard.ranking import rank_rows, requested_ranking
from advtransfer.leaderboard.run_data import gather_run_data
from advtransfer.leaderboard.table_rows import group_rows
from advtransfer.planning import Plan, Trial
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.publication.cells import Fault
from advtransfer.publication.manifest import EXAMPLE_FOLDER
from advtransfer.publication.replay_tolerances import read_tolerances
from advtransfer.publication.trusted_plugins import require_trusted
from advtransfer.publication.verify import Verification
from advtransfer.result import Run
from advtransfer.result.battery_index import BatteryIndex
from advtransfer.result.bounded_reading import read_bytes
from advtransfer.result.evidence import fold_result
from advtransfer.runner import RunSettings, run_suite
from advtransfer.suite import load
from advtransfer.text import one_line
from advtransfer.types import BatterySize
from advtransfer.types.metric_names import CLAIM_PREFIX

RecordJson: TypeAlias = Mapping[str, Any]  # Any: JSON

FALSE_SHARES = (0.01, 0.05, 0.2)
"""Shares of false cells for which the report says how likely they are to be missed."""


class Stratum(NamedTuple):
    """A group of trials, and those of it that are measured again."""

    name: str
    trials: tuple[Trial, ...]
    drawn: tuple[Trial, ...]


class Difference(NamedTuple):
    """A metric of a drawn trial: as recorded, as measured again, and the tolerance (None: unknown)."""

    cell: str
    metric: str
    recorded: float
    measured: float | None
    tolerance: float | None

    @property
    def is_beyond(self) -> bool:
        """Whether it was not measured, or differs by more than the tolerance."""
        if self.measured is None:
            return True
        if self.tolerance is None:
            return False
        return abs(self.measured - self.recorded) > self.tolerance + 1e-12


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay drew and found; `faults` are of examples and of what fits say of their images."""

    seed: int
    strata: tuple[Stratum, ...]
    differences: tuple[Difference, ...]
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether every metric of the drawn trials was measured again, and every example breaks."""
        return not self.fault_count

    @property
    def fault_count(self) -> int:
        """The number of metrics beyond their tolerance, and of other faults."""
        return len(self.faults) + sum(each.is_beyond for each in self.differences)

    def lines(self) -> list[str]:
        """Return the report: the draw, what differs, and what may have been missed."""
        drawn = [trial for stratum in self.strata for trial in stratum.drawn]
        count = f"{len(drawn)} trial{'s' * (len(drawn) != 1)}"
        lines = [f"replayed {count} drawn by seed {self.seed} (--seed {self.seed} repeats it)"]
        lines += [f"  {trial.name}" for trial in drawn]
        judged = [each for each in self.differences if each.tolerance is not None]
        largest = max(
            (abs((each.measured or 0) - each.recorded) for each in judged if not each.is_beyond),
            default=0,
        )
        lines += [_difference_line(each) for each in self.differences if each.is_beyond]
        beyond = sum(each.is_beyond for each in self.differences)
        lines.append(
            f"{len(judged)} metrics held to a tolerance: {beyond} beyond it, the others within {largest:.4g}"
        )
        if unknown := len(self.differences) - len(judged):
            lines.append(f"{unknown} metrics have no tolerance in the table: compared, not judged")
        lines += [str(fault) for fault in self.faults]
        lines += self.notes
        lines += list(_escape_lines(self.strata))
        return list(map(one_line, lines))


def _difference_line(each: Difference) -> str:
    measured = "no value" if each.measured is None else f"{each.measured:.6g}"
    tolerance = "" if each.tolerance is None else f" within {each.tolerance:.4g}"
    return f"{each.cell}, {each.metric}: found {each.recorded:.6g}; measured {measured}; expected the same{tolerance}"


def _escape_lines(strata: Iterable[Stratum]) -> Iterator[str]:
    for stratum in strata:
        size, drawn = len(stratum.trials), len(stratum.drawn)
        if not size:
            continue
        chances = ", ".join(
            f"{share:.0%}: {pass_probability(size, drawn, share):.3f}" for share in FALSE_SHARES
        )
        yield (
            f"{stratum.name}: {drawn} of {size} trial{'s' * (size != 1)}; the probability that false ones pass unseen, "
            f"by their share: {chances}"
        )


def false_count(size: int, share: float) -> int:
    """Return the number of false trials among `size`: the share of them, at least one."""
    return min(size, max(1, math.ceil(share * size - 1e-9)))


def pass_probability(size: int, drawn: int, share: float) -> float:
    """Return the probability that none of the false trials is drawn (hypergeometric).

    Args:
        size: Number of trials N.
        drawn: Number of trials k drawn without replacement.
        share: Share of false trials, F = ceil(share N) of them and at least one.

    The probability is C(N - F, k) / C(N, k).
    """
    return math.comb(size - false_count(size, share), drawn) / math.comb(size, drawn)


def draw_strata(
    best: Sequence[Trial], others: Sequence[Trial], count: int, seed: int
) -> tuple[Stratum, ...]:
    """Return both strata with their draws: half of `count`, rounded up, from the best rows.

    Where one has fewer trials, the rest is drawn from the other. The same seed gives the same draw,
    in whatever order the trials come.
    """
    generator = random.Random(seed)  # A draw that can be repeated, and no secret.
    from_best = min(-(-count // 2), len(best))
    from_others = min(count - from_best, len(others))
    from_best = min(count - from_others, len(best))

    def draw(name: str, trials: Sequence[Trial], number: int) -> Stratum:
        ordered = sorted(trials, key=lambda trial: trial.id)
        return Stratum(name, tuple(ordered), tuple(generator.sample(ordered, number)))

    return (
        draw("best rows", best, from_best),
        draw("other rows", others, from_others),
    )


def best_trials(run: Run) -> set[str]:
    """Return the ids of the trials of each table's rows that may be the best by the suite's ranking."""
    data = gather_run_data(load_run_records(run, find_damaged=False))
    ranking = requested_ranking(data)
    ids: set[str] = set()
    for rows in group_rows(data).values():
        lines = rank_rows(rows, columns=(), ranking=ranking, data=data)
        best = [line for line in lines if line.rank_range and line.rank_range.best == 1]
        ids |= {trial.id for line in best for trial in line.row.trials}
    return ids


def replay_bundle(
    verification: Verification,
    *,
    count: int,
    seed: int | None,
    trusted: Collection[str],
    host: Host,
) -> Replay:
    """Measure `count` trials of a verified bundle again in an empty run folder and cache.

    Raises:
        BadInput: The bundle needs the code of a plugin that is not trusted, or its suite cannot be
            run here.
    """
    run = Run(verification.bundle)
    plan = Plan.from_json(run.read_plan())
    records = {str(record["id"]): record for record in run.read_records()}
    finished = [
        trial
        for trial in plan.trials
        if not trial.skipped and records.keys() >= set(trial.record_ids())
    ]
    best = best_trials(run)
    seed = secrets.randbits(32) if seed is None else seed
    strata = draw_strata(
        [trial for trial in finished if trial.id in best],
        [trial for trial in finished if trial.id not in best],
        count,
        seed,
    )
    drawn = [trial for stratum in strata for trial in stratum.drawn]
    with tempfile.TemporaryDirectory(prefix="advtransfer-replay-") as folder:
        kernel_batch = usual_kernel_batch(records.values())
        measured = _measure_again(
            verification.bundle, plan, drawn, Path(folder), trusted, host, kernel_batch
        )
        differences = tuple(compare_trials(drawn, records, measured))
        faults, notes = _replay_examples(verification.bundle, plan, drawn, Path(folder), host)
    faults = (*fact_faults_of_fits(drawn, records, measured), *faults)
    notes = (*verdict_notes(drawn, records, measured), *notes)
    return Replay(seed, strata, differences, faults, notes)


def fact_faults_of_fits(
    drawn: Iterable[Trial],
    recorded: Mapping[str, RecordJson],
    measured: Mapping[str, RecordJson],
) -> Iterator[Fault]:
    """Yield what fits say of their images, leaks and labels used, and what was measured again.

    These are counts of images, which are the same on every machine.
    """
    for trial in drawn:
        names = {trial.id: trial.name}
        # Results on further data sets count the images that these share with the training data.
        names |= {id: f"{trial.name}, {label}" for _, label, id in _results_of([trial])}
        for id, name in names.items():
            if id not in measured or id not in recorded:
                continue  # Its metrics have no value, which is told.
            for fact, value in _image_counts(measured[id]).items():
                found = _image_counts(recorded[id]).get(fact)
                if found != value:
                    text = f"found {fact} {found}; measured {value}; expected the same"
                    yield Fault("records", name, text)


def _image_counts(record: RecordJson) -> dict[str, object]:
    """Return the counts of images in the record of a fit or result, by what is counted."""
    leaks = {f"leakage of {pair}": counts for pair, counts in (record.get("leakage") or {}).items()}
    return {**leaks, "labels_used": (record.get("facts") or {}).get("labels_used")}


def _replay_examples(
    bundle: Path, plan: Plan, drawn: Sequence[Trial], folder: Path, host: Host
) -> tuple[tuple[Fault, ...], tuple[str, ...]]:
    """Hold the examples of the drawn trials, if there are any, against the models of `folder`."""
    if not (bundle / EXAMPLE_FOLDER).exists():
        return (), ()
    # Here, since most bundles bring none, and it imports torch.
    from advtransfer.publication.example_checks import check_classes

    index = SuiteIndex(load(str(folder / f"{plan.suite}.yaml"), host, may_extend=False))
    found = check_classes(bundle, drawn, index=index, host=host, cache=folder / "cache")
    count = (
        f"{found.given} examples of the drawn trials are misclassified by the model fitted again"
    )
    return tuple(found.faults), (count, *found.notes)


def _measure_again(
    bundle: Path,
    plan: Plan,
    drawn: Sequence[Trial],
    folder: Path,
    trusted: Collection[str],
    host: Host,
    kernel_batch: int | None,
) -> dict[str, RecordJson]:
    """Run the drawn trials without any earlier artifact or record; return the records by id."""
    # The name of the suite is that of its file.
    path = folder / f"{plan.suite}.yaml"
    path.write_bytes(read_bytes(bundle / "suite.yaml"))
    suite = load(str(path), host, may_extend=False)
    require_trusted(SuiteIndex(suite), drawn, trusted, host)
    settings = RunSettings(
        runs=folder / "runs",
        cache=folder / "cache",
        only=tuple(trial.id for trial in drawn),
        battery=_battery_size(bundle),
        kernel_batch=kernel_batch,
    )
    summary = run_suite(suite, settings=settings, host=host)
    return {str(record["id"]): record for record in Run(summary.run).read_records()}


def _battery_size(bundle: Path) -> BatterySize:
    size = Run(bundle).read_plan().get("battery", "small")
    return size if size in ("small", "full", "none") else "small"


def usual_kernel_batch(records: Iterable[RecordJson]) -> int | None:
    """Return the kernel batch that most records name; None where they are by the rule."""
    counts = Counter(record["provenance"].get("kernel_batch") for record in records)
    return max(counts, key=lambda rows: (counts[rows], -(rows or 0)), default=None)


def compare_trials(
    trials: Iterable[Trial],
    recorded: Mapping[str, RecordJson],
    measured: Mapping[str, RecordJson],
) -> Iterator[Difference]:
    """Yield every metric of the trials' results, as recorded and as measured again.

    Robust accuracies are compared twice: as the attack left them, and folded with what the host's own
    attacks broke, as pages print them.
    """
    tolerances = read_tolerances()
    index, index_again = (
        BatteryIndex(each for each in records.values() if each["kind"] == "battery")
        for records in (recorded, measured)
    )
    for trial, label, id in _results_of(trials):
        cell = f"{trial.name}, {label}"
        again = measured[id]["metrics"] if id in measured else {}
        for metric, value in recorded[id]["metrics"].items():
            new = again[metric]["value"] if metric in again else None
            is_share = "of" in value or bool(value.get("share"))
            yield Difference(
                cell,
                metric,
                float(value["value"]),
                None if new is None else float(new),
                tolerances.of_metric(metric, is_share=is_share),
            )
        folded_again = fold_result(measured[id], index_again).shares if id in measured else {}
        for metric, share in fold_result(recorded[id], index).shares.items():
            if metric.startswith(CLAIM_PREFIX):
                yield Difference(
                    cell,
                    f"{metric} after the host's own attacks",
                    share.high,
                    folded_again[metric].high if metric in folded_again else None,
                    tolerances.of_metric(metric, is_share=True),
                )


def _results_of(trials: Iterable[Trial]) -> Iterator[tuple[Trial, str, str]]:
    """Yield each trial with the label and the id of each of its results."""
    for trial in trials:
        for label, ids in trial.evaluations.items():
            for id in ids:
                yield trial, label, id


def verdict_notes(
    drawn: Iterable[Trial],
    recorded: Mapping[str, RecordJson],
    measured: Mapping[str, RecordJson],
) -> Iterator[str]:
    """Yield results whose verdict is another when it is measured again; near a limit machines may differ."""
    for trial, label, id in _results_of(drawn):
        if id in measured and "verdict" in recorded[id]:
            old, new = (records[id]["verdict"] for records in (recorded, measured))
            if old["value"] != new["value"]:
                yield (
                    f"{trial.name}, {label}: found the verdict {old['value']}; measured "
                    f"{new['value']} ({new['reason']})"
                )
