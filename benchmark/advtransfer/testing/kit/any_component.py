"""Rules for a component of any kind: its help, its options, and building it."""

from __future__ import annotations

import json
import re

from advtransfer.testing.kit.check import presupposed, require
from advtransfer.testing.kit.specimen import Specimen

ARGUMENT_LINE = re.compile(r"^    (\w+):\s*\S", re.MULTILINE)


def documented(specimen: Specimen) -> None:
    """The docstring explains the component and each of its options."""
    component = specimen.component
    summary = component.summary.strip()
    require(
        summary.endswith((".", "?")), f"the summary {summary!r}", "a sentence that ends with a dot"
    )
    _, _, arguments = component.help_text.partition("Args:\n")
    explained = set(ARGUMENT_LINE.findall(arguments))
    missing = [name for name in component.options.fields if name not in explained]
    require(
        not missing, f"no line for {', '.join(missing)} below 'Args:'", "a line for each option"
    )


def options_serialisable(specimen: Specimen) -> None:
    """The options have a JSON schema, and their defaults are JSON."""
    options = specimen.component.options
    json.dumps(options.json_schema())
    defaults = {name: option.default for name, option in options.fields.items()}
    json.dumps(defaults, allow_nan=False)


def builds(specimen: Specimen) -> None:
    """It builds with its defaults and its example, and twice."""
    with presupposed("options_serialisable"):
        options_serialisable(specimen)
    specimen.build()
    specimen.build()


RULES = (documented, options_serialisable, builds)
