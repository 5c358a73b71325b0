"""One check of a component by one rule, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from advtransfer.worker.guards.side_effects import guard_side_effects


class CheckFailed(AssertionError):
    """The component breaks the rule; the message says what was found and what was expected."""


class NotChecked(Exception):
    """The rule cannot be applied to the component; the message gives the reason."""


class PresuppositionFailed(NotChecked):
    """The component does not keep another rule, which this one presupposes."""

    def __init__(self, rule: str) -> None:
        super().__init__(f"it breaks the rule {rule}, which this one presupposes")
        self.rule = rule


@dataclass(frozen=True, slots=True)
class KitCheck:
    """A rule applied to a component, or to a plugin as a whole.

    Args:
        subject: The name of the factory, or of the plugin.
        rule: The name of the rule.
        text: The rule in words.
        function: Applies the rule; raises CheckFailed or NotChecked.
        passed: The rules that passed so far, shared by the checks of one component.
    """

    subject: str
    rule: str
    text: str
    function: Callable[[], None]
    passed: set[str] = field(default_factory=set, compare=False, repr=False)

    @property
    def id(self) -> str:
        """The name of the check, as pytest shows it: ``factory.rule``."""
        return f"{self.subject}.{self.rule}"

    def __call__(self) -> None:
        """Apply the rule.

        Raises:
            CheckFailed: The component breaks the rule, or ends with an error while it is applied.
            NotChecked: The rule cannot be applied.
        """
        try:
            # Each rule finds the process as it was, whatever the rules before it have called.
            with guard_side_effects(None, draws=True):
                self.function()
            self.passed.add(self.rule)
        except PresuppositionFailed as error:
            if error.rule not in self.passed:
                raise
            # No rule would be named otherwise, and nothing checked.
            found = f"{error.__cause__} where the rule {error.rule} was applied again"
            raise CheckFailed(f"found {found}; expected that it holds each time") from error
        except (CheckFailed, NotChecked):
            raise
        except Exception as error:  # A plugin may raise anything, and the rule asks for a result.
            raise CheckFailed(f"{self.text}; it raised {type(error).__name__}: {error}") from error


def require(condition: bool, found: str, expected: str) -> None:
    """Raise CheckFailed unless a condition holds."""
    if not condition:
        raise CheckFailed(f"found {found}; expected {expected}")


@contextmanager
def presupposed(rule: str) -> Iterator[None]:
    """Raise NotChecked where the block fails, since the failure belongs to another rule.

    What the block changes in the process is undone, so that the rule sees it when it happens again.
    """
    try:
        with guard_side_effects(None, draws=True):
            yield
    except NotChecked:
        raise
    except Exception as error:  # As in `KitCheck`: a plugin may raise anything.
        raise PresuppositionFailed(rule) from error
