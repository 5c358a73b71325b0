"""Helpers for the tests of plugins: a `Context` without a host, and a data set learned fast.

```python
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy

weights = my_plugin.my_source(data=toy()).weights(InMemoryContext(seed=0))
```

`checks_for` gives the checks of the kit, which hold an installed plugin against every rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from advtransfer.types import Json

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet


def checks_for(
    plugin: str,
    *,
    options: Mapping[str, Mapping[str, Json]] | None = None,
    expected_failures: Mapping[str, str] | None = None,
) -> list[ParameterSet]:
    """Return the checks of an installed plugin as parameters of a pytest test.

    ``@pytest.mark.parametrize("check", checks_for("example"))`` above ``def test_rule(check): check()``.

    Args:
        plugin: The plugin's name.
        options: Options of each factory, over those of its ``example``; files and folders by their paths.
        expected_failures: Reasons of failures, by ``factory.rule``. A check of these that passes is a
            failure.

    Raises:
        UnknownName: No plugin of this name is installed.
        BadInput: A name in `options` or `expected_failures` is unknown.
    """
    # The kit imports torch, which tests of other things need not wait for.
    from advtransfer.testing.kit.parameters import check_parameters

    return check_parameters(
        plugin, options=options or {}, expected_failures=expected_failures or {}
    )


__all__ = ["checks_for"]
