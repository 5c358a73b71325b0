"""A plugin of which each component breaks one rule of the kit; its name is ``<kind>_<rule>``."""

from collections.abc import Callable, Iterable
from functools import partial

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Dataset, Factory, Transfer, component

RULES = {
    "dataset": "parts_match_card order_invariant same_content_twice keys_unique leaves_process "
    "leaves_process_in_recursion",
    "source": "loads same_seed another_seed leaves_process leaves_process_in_forward "
    "leaves_process_in_signals leaves_inputs batch_invariant dtype_moves device_moves resumes",
    "adapter": "maps_shapes learned_has_parameters same_map differentiable leaves_process "
    "leaves_process_in_recursion leaves_inputs batch_invariant dtype_moves device_moves",
    "transfer": "fits same_seed another_seed keeps_nothing keeps_nothing_in_sources leaves_process "
    "leaves_process_in_forward leaves_process_in_environment leaves_source leaves_inputs "
    "batch_invariant dtype_moves device_moves resumes",
    "evaluation": "measures examples_hold examples_hold_in_radius wrong_stay_wrong same_seed keeps_nothing "
    "keeps_nothing_in_images keeps_nothing_in_models order_invariant leaves_models "
    "leaves_models_in_warnings batch_invariant device_moves keeps_linear_oracle",
    "executor": "has_slots starts_and_stops",
}


def _broken_factory(kind: str, rule: str) -> Callable[[], object]:
    def build() -> object:
        """Break one rule."""
        import broken_parts

        return broken_parts.build(kind, rule)

    build.__name__ = f"{kind}_{rule}"
    if kind == "evaluation":
        return component(needs=["model"])(build)
    needs_source = rule in ("leaves_source", "keeps_nothing_in_sources")
    return component(needs=["source"] if needs_source else [])(build)


def _honest_transfer() -> Transfer:
    import broken_parts

    return broken_parts.BrokenTransfer("")


def transfer_never_sees_test_labels(*, data: Dataset) -> Transfer:
    """Break one rule.

    Args:
        data: The data set whose test labels it reads.
    """
    import broken_parts

    return broken_parts.LabelReader(data)


def transfer_documented(*, steps: int = 4) -> Transfer:
    """Break one rule."""
    return _honest_transfer()


def transfer_options_serialisable(*, limit: float = float("inf")) -> Transfer:
    """Break one rule.

    Args:
        limit: A number that JSON does not have.
    """
    return _honest_transfer()


def transfer_builds(*, steps: int) -> Transfer:
    """Break one rule.

    Args:
        steps: A required option without an example.
    """
    return _honest_transfer()


def transfer_() -> Transfer:
    """Break no rule."""
    return _honest_transfer()


def _factories(kind: str) -> Iterable[Factory[object]]:
    return list(map(partial(_broken_factory, kind), RULES[kind].split()))


@hookimpl
def register_datasets() -> Iterable[Factory[object]]:
    return _factories("dataset")


@hookimpl
def register_sources() -> Iterable[Factory[object]]:
    return _factories("source")


@hookimpl
def register_adapters() -> Iterable[Factory[object]]:
    return _factories("adapter")


@hookimpl
def register_transfers() -> Iterable[Factory[object]]:
    others: list[Factory[object]] = [
        transfer_,
        transfer_never_sees_test_labels,
        transfer_documented,
        transfer_options_serialisable,
        transfer_builds,
    ]
    return [*_factories("transfer"), *others]


@hookimpl
def register_evaluations() -> Iterable[Factory[object]]:
    return _factories("evaluation")


@hookimpl
def register_executors() -> Iterable[Factory[object]]:
    return _factories("executor")
