"""Old names of the public surface: the same objects, with a warning that names the new place."""

from __future__ import annotations

import importlib
import re

import pytest

OLD_NAMES = {
    "advtransfer.errors:Mark": "advtransfer.errors:Location",
    "advtransfer.hookspecs:KINDS": "advtransfer.hookspecs:COMPONENT_KINDS",
    "advtransfer.hookspecs:Kind": "advtransfer.hookspecs:ComponentKind",
    "advtransfer.precheck:Check": "advtransfer.precheck:OptionCheck",
    "advtransfer.precheck:Chosen": "advtransfer.precheck:OptionValues",
    "advtransfer.precheck:Surroundings": "advtransfer.precheck:CellOutline",
    "advtransfer.testing.canaries:honest": "advtransfer.testing.canaries.honest_models:honest_network",
    "advtransfer.toolkit.network:Normalise": "advtransfer.toolkit.network:Normalize",
    "advtransfer.toolkit.redraw:redraw": "advtransfer.toolkit.rng:reinitialize",
    "advtransfer.types:Executor": "advtransfer.jobs:Executor",
    "advtransfer.types:Facts": "advtransfer.types:ComponentMetadata",
    "advtransfer.types:Given": "advtransfer.types:EvaluationInputs",
    "advtransfer.types:Grade": "advtransfer.types:CheckStatus",
    "advtransfer.types:Job": "advtransfer.jobs:Job",
    "advtransfer.types:NotAsked": "advtransfer.types:NotInId",
    "advtransfer.types:Report": "advtransfer.jobs:Report",
    "advtransfer.types:facts_of": "advtransfer.types:metadata_of",
}


def resolve_name(name: str) -> object:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("old", OLD_NAMES)
def test_old_name_gives_the_new_object_and_warns(old: str) -> None:
    module, _, name = OLD_NAMES[old].partition(":")
    with pytest.warns(DeprecationWarning, match=rf"\.{re.escape(name)}; import it from there"):
        found = resolve_name(old)

    assert found is getattr(importlib.import_module(module), name)


def test_unknown_name_still_raises_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'advtransfer\.types' has no attribute 'Gven'"):
        resolve_name("advtransfer.types:Gven")


def test_old_fields_of_renamed_classes_can_still_be_read() -> None:
    from advtransfer.errors import Location, Problem
    from advtransfer.types import ComponentMetadata

    metadata = ComponentMetadata(is_identity=True, is_untrained=True, adapts_to_shapes=True)
    problem = Problem("this", "that", "change it", Location("suite.yaml", 1, 2))

    assert (True, True, True) == (metadata.identity, metadata.drawn, metadata.suits)
    assert problem.location is problem.mark
