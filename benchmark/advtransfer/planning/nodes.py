"""The nodes behind the labels of a plan, and the jobs that build them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from advtransfer.node import Node
from advtransfer.planning.trials import SubsetSize, Trial
from advtransfer.suite import GridEntry, Suite, Target
from advtransfer.suite.further_tests import is_measured_at


@dataclass(frozen=True, slots=True)
class JobRequest:
    """One job: the node to build, and the results to measure on it."""

    node: Node
    results: tuple[Node, ...] = ()

    def nodes_without_record(self, has: Callable[[str], bool]) -> list[Node]:
        """Return the nodes that have failed where building `node` failed.

        These are the node itself or, where it has a record, its results without one. A fit is then
        only made again for these results, and its own record stays valid.
        """
        if not has(self.node.id):
            return [self.node]
        return [result for result in self.results if not has(result.id)]


@dataclass(frozen=True)
class SuiteIndex:
    """A suite's cells by the labels that trials hold, and the nodes made from them."""

    suite: Suite

    @cached_property
    def sources(self) -> Mapping[str, GridEntry]:
        return _entries_by_label(self.suite.sources)

    @cached_property
    def adapters(self) -> Mapping[str, GridEntry]:
        return _entries_by_label(self.suite.adapters)

    @cached_property
    def transfers(self) -> Mapping[str, GridEntry]:
        return _entries_by_label(self.suite.transfers)

    @cached_property
    def evaluations(self) -> Mapping[str, GridEntry]:
        return _entries_by_label(self.suite.evaluations)

    @cached_property
    def targets(self) -> Mapping[str, Target]:
        return {target.key: target for target in self.suite.targets}

    @cached_property
    def source_entries(self) -> Mapping[str, GridEntry]:
        """Every source and reference by id."""
        references = [cell for target in self.suite.targets for cell in target.references]
        return {cell.node.id: cell for cell in (*self.suite.sources, *references)}

    @cached_property
    def source_nodes(self) -> Mapping[str, Node]:
        """The nodes of every source and reference by id."""
        return {id: cell.node for id, cell in self.source_entries.items()}

    @cached_property
    def _subset_nodes(self) -> Mapping[tuple[str, SubsetSize, int], Node]:
        return {
            (target.key, subset.n, subset.seed): subset_node(target, index)
            for target in self.suite.targets
            for index, subset in enumerate(target.subsets)
        }

    @cached_property
    def _fit_bases(self) -> Mapping[str, Node]:
        # A base spares hashing the options of its component again for each of up to 100,000 cells.
        return {label: fit_base(cell) for label, cell in self.transfers.items()}

    @cached_property
    def _result_bases(self) -> Mapping[tuple[str, str], Node]:
        return {
            (key, label): result_base(cell, target)
            for key, target in self.targets.items()
            for label, cell in self.evaluations.items()
            if is_measured_at(cell, target)
        }

    def trial_fit(self, trial: Trial) -> Node:
        """Return the node of a trial's fit."""
        source = self.sources[trial.source].node if trial.source is not None else None
        adapter = (
            effective_adapter(self.adapters[trial.adapter]) if trial.adapter is not None else None
        )
        subset = self._subset_nodes[trial.target, trial.n, trial.seed]
        return fit_node(
            self._fit_bases[trial.transfer], source=source, adapter=adapter, subset=subset
        )

    def trial_results(self, trial: Trial) -> list[Node]:
        """Return the nodes of a trial's results, each once."""
        fit = self.trial_fit(trial)
        target = self.targets[trial.target]
        nodes: dict[str, Node] = {}
        for label in trial.evaluations:
            base = self._result_bases[trial.target, label]
            for node in result_nodes(base, self.evaluations[label], target, fit):
                nodes[node.id] = node
        return list(nodes.values())


def job_requests(cells: SuiteIndex, trial: Trial, missing: Iterable[str]) -> list[JobRequest]:
    """Return the jobs that build a trial's `missing` records.

    Results that use the fitted model are measured in the job of the fit. Each of the others is a
    job of its own, since several trials may share it.
    """
    missing_ids = set(missing)
    results = [node for node in cells.trial_results(trial) if node.id in missing_ids]
    of_model = tuple(node for node in results if "model" in node.inputs)
    requests = [JobRequest(node) for node in results if "model" not in node.inputs]
    if of_model or trial.id in missing_ids:
        requests.insert(0, JobRequest(cells.trial_fit(trial), of_model))
    return requests


def job_entries(cells: SuiteIndex, trial: Trial, request: JobRequest) -> list[GridEntry]:
    """Return the entries of a trial that take part in one of its jobs besides the source, which is built before."""
    ids = {request.node.id, *(node.id for node in request.results)}
    evaluations = [label for label, made in trial.evaluations.items() if not ids.isdisjoint(made)]
    entries = [cells.evaluations[label] for label in evaluations]
    if request.node.kind == "fit":
        entries.append(cells.transfers[trial.transfer])
        if trial.adapter is not None:
            entries.append(cells.adapters[trial.adapter])
    return entries


def fit_base(transfer: GridEntry) -> Node:
    """Return the part of a fit node that its transfer determines; `fit_node` adds the inputs."""
    return replace(transfer.node, kind="fit")


def fit_node(base: Node, *, source: Node | None, adapter: Node | None, subset: Node) -> Node:
    """Return the node of a transfer's fit on one training subset."""
    inputs = {"subset": subset, "source": source, "adapter": adapter}
    return base.with_inputs({name: node for name, node in inputs.items() if node is not None})


def result_base(evaluation: GridEntry, target: Target) -> Node:
    """Return the part of a result node that its target determines; `result_nodes` adds the fit."""
    test = further_test_node(target, evaluation.test_data or target.data)
    inputs = {**evaluation.node.inputs, "test": test}
    return replace(evaluation.node, kind="result", inputs=inputs)


def result_nodes(base: Node, evaluation: GridEntry, target: Target, fit: Node) -> list[Node]:
    """Return the results of one evaluation of one fit: one for each reference, or one without."""
    needs: frozenset[str] = evaluation.facts.needs
    offered = {"model": fit, "source": fit.inputs.get("source"), "train": fit.inputs["subset"]}
    inputs: dict[str, Node] = {
        name: node for name, node in offered.items() if name in needs and isinstance(node, Node)
    }
    # The adapter maps the target's inputs to those that the source takes.
    adapter = fit.inputs.get("adapter")
    if "source" in inputs and isinstance(adapter, Node):
        inputs["adapter"] = adapter
    references = references_for(evaluation, target)
    return [
        base.with_inputs({**inputs, "reference": one.node} if one else inputs) for one in references
    ]


def result_id_text(base: Node, evaluation: GridEntry) -> tuple[str, str] | None:
    """Return the text around the fit's id whose hash is the id of the one result of an evaluation.

    None for an evaluation whose results depend on more than the fit itself (see `result_nodes`).
    """
    given = evaluation.facts.needs & {"model", "source", "train", "reference"}
    return base.id_text_around("model") if given == {"model"} else None


def effective_adapter(adapter: GridEntry | None) -> Node | None:
    """Return the node of an adapter, or None where there is none or it is the identity.

    The identity is left out of ids, so that writing it into a suite changes no id.
    """
    return None if adapter is None or adapter.facts.is_identity else adapter.node


def subset_node(target: Target, index: int) -> Node:
    """Return the node of one training subset of a target."""
    subset = target.subsets[index]
    options = {
        "n": subset.n,
        "seed": subset.seed,
        "validation": subset.validation,
        "rule": subset.rule,
    }
    return Node(
        "subset",
        "host/subset",
        1,
        options,
        {"data": target.data.node},
        options_not_in_id={"leakage": target.leakage},
    )


def test_node(target: Target) -> Node:
    """Return the node of a target's test part, or of the fixed draw of it that is measured."""
    return further_test_node(target, target.data)


def further_test_node(target: Target, data: GridEntry) -> Node:
    """Return the same of a further data set, on which the fitted models of a target are measured too."""
    return Node("test", "host/test", 1, {"count": target.test or "all"}, {"data": data.node})


def references_for(evaluation: GridEntry, target: Target) -> tuple[GridEntry | None, ...]:
    """Return the references of an evaluation's results, or (None,) where it needs none."""
    return target.references if "reference" in evaluation.facts.needs else (None,)


def _entries_by_label(cells: Iterable[GridEntry]) -> dict[str, GridEntry]:
    return {cell.label: cell for cell in cells}
