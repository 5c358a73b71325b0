"""Decisions of a component on toy data, kept in ``checks.json``: a difference needs a raised version.

Decisions are made with margins, so that the rounding of another processor changes none: a predicted class only where
it is clear, shares of outcomes and metrics up to a tolerance.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from advtransfer.errors import BadInput, Problem
from advtransfer.files import write_atomic
from advtransfer.host import Component, Host
from advtransfer.testing.kit import (
    adapter_rules,
    dataset_rules,
    evaluation_rules,
    source_rules,
    transfer_rules,
)
from advtransfer.testing.kit.check import NotChecked, presupposed, require
from advtransfer.testing.kit.specimen import Specimen
from advtransfer.types import Json, Outcome

FILE_NAME = "checks.json"
MARGIN = 0.02
"""Lead of the largest logit, relative to the largest absolute one, from which a class is recorded."""
TOLERANCE = 0.1
"""Absolute difference of shares, and relative difference of metrics, that is none."""


def same_as_recorded(specimen: Specimen) -> None:
    """Decisions on toy data are those of checks.json, unless the version was raised."""
    path = recorded_path(specimen.component)
    if path is None or not path.is_file():
        raise NotChecked(f"there is no {FILE_NAME}; `advtransfer check PLUGIN --record` writes it")
    recorded = json.loads(path.read_text("utf-8")).get(specimen.component.name)
    if recorded is None:
        raise NotChecked(f"{FILE_NAME} does not hold it")
    version = specimen.component.metadata.version
    if recorded["version"] != version:
        found = f"{FILE_NAME} is of version {recorded['version']}, this is version {version}"
        raise NotChecked(f"{found}; record it again")
    with presupposed("builds"):
        present = component_decisions(specimen)
    different = [
        name
        for name in sorted({*present, *recorded["decisions"]})
        if not _agrees(recorded["decisions"].get(name), present.get(name))
    ]
    expected = f"those of {path.name}, or a raised version"
    require(not different, f"other decisions ({', '.join(different)})", expected)


def recorded_path(component: Component) -> Path | None:
    """Return where a plugin keeps its decisions: beside its module; None for one without a file."""
    module = sys.modules.get(component.origin.module_name)
    file = getattr(module, "__file__", None)
    return None if file is None else Path(file).parent / FILE_NAME


def record_decisions(host: Host, plugin: str, *, into: Path | None = None) -> Path:
    """Write the decisions of a plugin's components; return the file.

    Components that cannot be tried (they need a file) are left out.

    Args:
        host: The host that has the plugin.
        plugin: The plugin's name.
        into: The folder of the file; by default that of the plugin's module.

    Raises:
        BadInput: The plugin has no module with a file, and `into` is not given.
    """
    recorded = {}
    components = list(host.load_plugin(plugin).values())
    for component in components:
        specimen = Specimen(component, component.metadata.example)
        try:
            decisions = component_decisions(specimen)
        except NotChecked:
            continue
        if decisions:
            version = component.metadata.version
            recorded[component.name] = {"version": version, "decisions": decisions}
    beside = recorded_path(components[0]) if components else None
    path = beside if into is None else into / FILE_NAME
    if path is None:
        raise BadInput([Problem(f"no file of {plugin!r}", "a folder", "name one by --into")])
    write_atomic(path, json.dumps(recorded, indent=1, sort_keys=True).encode() + b"\n")
    return path


def component_decisions(specimen: Specimen) -> dict[str, Json]:
    """Return the decisions of a component by name; none of an executor."""
    match specimen.component.kind:
        case "dataset":
            return _dataset_decisions(specimen)
        case "source":
            loaded = source_rules.loaded_source(specimen)
            return {"classes": _clear_classes(loaded.module(source_rules.toy_images(loaded.card)))}
        case "adapter":
            module, images = adapter_rules.sound_module(specimen)
            outputs = module(images).flatten(1).mean(1)
            return {"means": [float(value) for value in outputs]}
        case "transfer":
            model = transfer_rules.fitted_model(specimen).model
            return {"classes": _clear_classes(model(transfer_rules.toy_images()))}
        case "evaluation":
            return _evaluation_decisions(specimen)
        case _:
            return {}


def _dataset_decisions(specimen: Specimen) -> dict[str, Json]:
    dataset = dataset_rules.sound_dataset(specimen)
    card = dataset.card()
    sizes: dict[str, Json] = {name: len(dataset.part(name)) for name in dataset_rules.PARTS}
    return {"shape": list(card.shape), "outputs": card.outputs, **sizes}


def _evaluation_decisions(specimen: Specimen) -> dict[str, Json]:
    measurement = evaluation_rules.measured_toy(specimen).measurement
    decisions: dict[str, Json] = {}
    for name, values in measurement.outcomes.items():
        for outcome in Outcome:
            share = float((values == outcome).double().mean())
            decisions[f"{name} {outcome.name.lower()}"] = share
    return {**decisions, **{name: float(value) for name, value in measurement.metrics.items()}}


def _clear_classes(logits: Tensor) -> list[Json]:
    """Return the predicted classes, and None where another is nearly as large."""
    first, second = logits.detach().topk(2, dim=1).values.unbind(1)
    is_clear = first - second > MARGIN * (1 + logits.abs().amax(1))
    classes = torch.where(is_clear, logits.argmax(1), -1).tolist()
    return [None if label < 0 else label for label in classes]


def _agrees(recorded: Json, present: Json) -> bool:
    """Return whether two decisions agree; an unclear class agrees with any."""
    if isinstance(recorded, float) and isinstance(present, float):
        return abs(recorded - present) <= TOLERANCE * max(1.0, abs(recorded))
    if _is_list(recorded) and _is_list(present):
        first, second = cast("list[Json]", recorded), cast("list[Json]", present)
        pairs = zip(first, second, strict=False)
        return len(first) == len(second) and all(
            one is None or other is None or _agrees(one, other) for one, other in pairs
        )
    return recorded == present


def _is_list(value: Json) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | Mapping)
