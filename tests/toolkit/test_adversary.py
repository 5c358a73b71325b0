from __future__ import annotations

from collections.abc import Callable

import pytest
from jsonschema import Draft202012Validator

from advtransfer.options import Options
from advtransfer.toolkit.adversary import AdversarialTraining, Adversary, Apgd, Fast, Free, Trades
from advtransfer.toolkit.option_checks import require_adversary_radius
from advtransfer.types import DataCard, Json


def factory(*, adversary: AdversarialTraining | None = None) -> None: ...


OPTIONS = Options.from_factory(factory)


def _written(value: Json) -> Json:
    values, faults = OPTIONS.validate({"adversary": value})
    assert [] == faults
    return values["adversary"]


def test_the_default_steps_of_an_adversary_add_up_to_two_and_a_half_radii() -> None:
    assert 0.0625 == pytest.approx(Adversary(eps=0.1, steps=4).effective_step_size)
    assert 0.01 == Adversary(eps=0.1, steps=4, step_size=0.01).effective_step_size
    assert 0.0625 == pytest.approx(Trades(kind="trades", eps=0.1, steps=4).effective_step_size)


def test_fast_training_takes_one_step_of_one_and_a_quarter_radii_from_a_random_start() -> None:
    assert Adversary(eps=0.1, steps=1, step_size=0.125) == Fast(kind="fast", eps=0.1).as_pgd
    assert (
        Adversary(eps=0.1, steps=1, step_size=0.2)
        == Fast(kind="fast", eps=0.1, step_size=0.2).as_pgd
    )


def test_an_adversary_is_named_by_its_ball_and_its_method() -> None:
    assert "linf eps 0.1" == str(Adversary(eps=0.1))
    assert "l2 eps 3" == str(Adversary(norm="l2", eps=3.0))
    assert "linf eps 0.1, TRADES beta 6" == str(Trades(kind="trades", eps=0.1))
    assert "linf eps 0.1, APGD" == str(Apgd(kind="apgd", eps=0.1))
    assert "linf eps 0.1, fast" == str(Fast(kind="fast", eps=0.1))
    assert "linf eps 0.1, free with 4 replays" == str(Free(kind="free", eps=0.1, replays=4))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Adversary(eps=0), "eps: a number above 0, not 0"),
        (lambda: Adversary(eps=8), "eps: at most 1 in linf: inputs lie in .0, 1., not 8"),
        (lambda: Adversary(eps=0.1, steps=0), "steps: at least 1, not 0"),
        (lambda: Adversary(eps=0.1, step_size=0), "step_size: a number above 0, not 0"),
        (
            lambda: Trades(kind="trades", eps=2),
            "eps: at most 1 in linf: inputs lie in .0, 1., not 2",
        ),
        (lambda: Trades(kind="trades", eps=0.1, steps=0), "steps: at least 1, not 0"),
        (
            lambda: Trades(kind="trades", eps=0.1, beta=0),
            "beta: a number above 0; 0 is natural training: .*, not 0",
        ),
        (lambda: Fast(kind="fast", eps=0.1, step_size=-1), "step_size: a number above 0, not -1"),
        (lambda: Free(kind="free", eps=0.1, replays=0), "replays: at least 1, not 0"),
    ],
)
def test_an_invalid_adversary_is_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def _card(bounds: tuple[float, float] | None) -> DataCard:
    return DataCard((1, 2, 8), bounds, "classes", 2, ("a", "b"), "digest")


@pytest.mark.parametrize(
    ("adversary", "bounds"),
    [
        (Adversary(norm="l2", eps=4), (0.0, 1.0)),
        (Trades(kind="trades", norm="l2", eps=8), (-1.0, 1.0)),
        (Fast(kind="fast", eps=0.5), (0.0, 0.5)),
        (Free(kind="free", eps=1), (0.0, 1.0)),
        (Adversary(norm="l2", eps=400), None),
        (None, (0.0, 1.0)),
    ],
)
def test_a_radius_up_to_the_largest_distance_is_accepted(
    adversary: Adversary | Trades | Fast | Free | None, bounds: tuple[float, float] | None
) -> None:
    require_adversary_radius(adversary, _card(bounds))


@pytest.mark.parametrize(
    ("adversary", "bounds", "message"),
    [
        (Adversary(norm="l2", eps=4.1), (0.0, 1.0), r"found eps 4\.1; expected 0 to 4 for l2"),
        (
            Trades(kind="trades", norm="l2", eps=9),
            (-1.0, 1.0),
            r"expected 0 to 8 for l2 on inputs of shape .* in \(-1\.0, 1\.0\)",
        ),
        (
            Free(kind="free", eps=0.6),
            (0.0, 0.5),
            r"found eps 0\.6; expected 0 to 0\.5 for linf on inputs of shape",
        ),
    ],
)
def test_a_radius_above_the_largest_distance_is_refused(
    adversary: Adversary | Trades | Fast | Free, bounds: tuple[float, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        require_adversary_radius(adversary, _card(bounds))


def test_an_adversary_of_the_default_kind_is_serialised_without_its_kind() -> None:
    before = {"norm": "linf", "eps": 0.5, "steps": 7, "step_size": None, "random_start": True}

    assert before == _written({"eps": 0.5})
    assert before == _written({"kind": "pgd", "eps": 0.5, "best": False})
    assert before == _written({"eps": 0.5, "warmup": 0})
    assert before | {"best": True} == _written({"eps": 0.5, "best": True})


@pytest.mark.parametrize(
    ("written", "built"),
    [
        ({"eps": 0.5, "best": True}, Adversary(eps=0.5, best=True)),
        ({"kind": "trades", "eps": 0.5, "beta": 1}, Trades(kind="trades", eps=0.5, beta=1.0)),
        ({"kind": "apgd", "eps": 0.5, "warmup": 0.2}, Apgd(kind="apgd", eps=0.5, warmup=0.2)),
        ({"kind": "fast", "norm": "linf", "eps": 0.5}, Fast(kind="fast", eps=0.5)),
        ({"kind": "free", "eps": 0.5, "replays": 4}, Free(kind="free", eps=0.5, replays=4)),
        (None, None),
    ],
)
def test_each_kind_survives_a_round_trip_through_canonical_values(
    written: Json, built: object
) -> None:
    assert {"adversary": built} == OPTIONS.python_values({"adversary": _written(written)})


@pytest.mark.parametrize(
    ("value", "path", "expected"),
    [
        ({"kind": "trades", "eps": 0.1, "beta": -1}, ("adversary",), "beta: a number above 0"),
        ({"kind": "fast", "eps": 0.1, "steps": 3}, ("adversary", "steps"), "a key that it knows"),
        ({"kind": "free", "eps": 0.1, "norm": "l2"}, ("adversary", "norm"), "'linf'"),
        ({"kind": "pgd"}, ("adversary",), "a value, since it has no default"),
        (
            {"kind": "mart", "eps": 1},
            ("adversary",),
            "kind is 'pgd' or 'apgd' or 'trades' or 'fast' or 'free'",
        ),
    ],
)
def test_a_mistake_is_reported_once_for_the_named_kind(
    value: Json, path: tuple[str | int, ...], expected: str
) -> None:
    (fault,) = OPTIONS.validate({"adversary": value})[1]

    assert path == fault.path
    assert expected in fault.expected


def test_the_json_schema_contains_every_kind() -> None:
    validator = Draft202012Validator(OPTIONS.json_schema())
    right: list[Json] = [
        None,
        {"eps": 0.1},
        {"kind": "pgd", "eps": 0.1},
        {"kind": "free", "eps": 0.1, "replays": 2},
    ]

    assert [True] * 4 == [validator.is_valid({"adversary": value}) for value in right]
    assert not validator.is_valid({"adversary": {"kind": "fast", "eps": 0.1, "steps": 2}})
