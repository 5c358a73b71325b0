"""Reader of ``leaderboard.claims``: what a paper claims, and the rule by which a page answers it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from advtransfer.suite import validators
from advtransfer.suite.component_schema import (
    JsonSchema,
    closed_object,
    definition_ref,
    one_of,
    one_or_more,
    or_null,
    typed_value,
    with_description,
)
from advtransfer.suite.located import Located, Problems, did_you_mean
from advtransfer.types import Json

CLAIM_KINDS = ("contrast", "correlation", "inequality", "cost")
SIGNS = ("positive", "negative")
COEFFICIENT_NAMES = ("Pearson", "Spearman", "Kendall")
TEXT_KEYS = ("name", "claim", "paper", "place", "reported")
"""What every claim says of itself, also one that is not asked."""
RULE_KEYS = ("kind", "sign", "margin", "detects", "note")
ROW_KEYS = ("of", "against", "at")
CONTRAST_KEYS = ("metric", *ROW_KEYS)
KIND_KEYS: Mapping[str, tuple[str, ...]] = {
    "contrast": (*CONTRAST_KEYS, "minus"),
    "correlation": ("predictor", "outcome", "across", "given", "coefficient", "per_training"),
    "inequality": ("lower", "upper", "given"),
    "cost": ROW_KEYS,
}
REQUIRED_KIND_KEYS: Mapping[str, tuple[str, ...]] = {
    "contrast": ("sign", "margin", "metric", "of", "against"),
    "correlation": ("sign", "margin", "predictor", "outcome", "across"),
    "inequality": ("margin", "lower", "upper"),
    "cost": ("sign", "margin", "of", "against"),
}
COMMIT_PATTERN = re.compile("[0-9a-f]{40}")

ClaimKeyType: TypeAlias = Literal["metric", "row", "place", "axis", "selection"]
"""What a key of a claim holds that only the reader of a whole leaderboard can read."""
KEY_TYPES: Mapping[str, ClaimKeyType] = {
    "metric": "metric",
    "predictor": "metric",
    "outcome": "metric",
    "of": "row",
    "against": "row",
    "at": "place",
    "across": "axis",
    "given": "selection",
}


@dataclass(frozen=True, slots=True)
class ClaimReader:
    """Reader of one claim.

    Attributes:
        readers: Read what a key holds, with labels in place of names.
        problems: Collects the problems.
    """

    readers: Mapping[ClaimKeyType, Callable[[Located], Json]]
    problems: Problems

    def read(self, value: Located) -> dict[str, Json]:
        """Return the claim as a plan stores it; every mistake is a problem."""
        raw = value.value if isinstance(value.value, Mapping) else {}
        if "not_asked" in raw:
            return self._read_texts(
                value, (*TEXT_KEYS, "not_asked"), of="a claim that is not asked"
            )
        kind = self._read_kind(raw.get("kind"), value)
        if kind is None:
            return {}
        keys = (*TEXT_KEYS, *RULE_KEYS, *KIND_KEYS[kind])
        items = self._require(value, keys, (*TEXT_KEYS, *REQUIRED_KIND_KEYS[kind]), of=f"a {kind}")
        claim: dict[str, Json] = {}
        for key, item in items.items():
            claim[key] = self._read_key(key, item)
        if "of" in claim and claim["of"] == claim.get("against"):
            validators.add_mismatch(
                items["against"],
                expected="another row than `of`",
                next_step="name what it is compared with",
                problems=self.problems,
            )
        self._check_correlation(claim, items)
        self._check_bounded_sizes(kind, claim, items)
        return claim

    def _check_correlation(self, claim: Mapping[str, Json], items: Mapping[str, Located]) -> None:
        """Add a problem for a metric that is held against itself, whose coefficient is 1 whatever is measured."""
        if "predictor" in claim and claim["predictor"] == claim.get("outcome"):
            validators.add_mismatch(
                items["outcome"],
                expected="another metric than `predictor`",
                next_step="name what is predicted",
                problems=self.problems,
            )

    def _check_bounded_sizes(
        self, kind: str, claim: Mapping[str, Json], items: Mapping[str, Located]
    ) -> None:
        """Add a problem for a coefficient or share above 1 (of an accuracy too), which nothing measured can reach."""
        metric = str(claim.get("metric", "")).partition("@")[0]
        if kind not in ("correlation", "inequality") and not metric.endswith("accuracy"):
            return
        noun = "coefficient" if kind == "correlation" else "share"
        for key in ("margin", "detects"):
            size = claim.get(key)
            if isinstance(size, float) and size > 1:
                validators.add_mismatch(
                    items[key],
                    expected=f"{key}: a {noun}, at most 1",
                    next_step="write for example 0.9",
                    problems=self.problems,
                )

    def _read_texts(self, value: Located, keys: tuple[str, ...], *, of: str) -> dict[str, Json]:
        items = self._require(value, keys, keys, of=of)
        return {key: self._read_text(key, item) for key, item in items.items()}

    def _read_kind(self, kind: Located | None, value: Located) -> str | None:
        if kind is not None and kind.value in CLAIM_KINDS:
            return str(kind.value)
        choices = ", ".join(CLAIM_KINDS)
        if kind is None:
            self.problems.add(
                value.location,
                found="no 'kind', and no 'not_asked'"
                if isinstance(value.value, Mapping)
                else value.shown_text(),
                expected=f"a claim with the kind {choices}",
                next_step="add `kind`, or the reason why it is not asked",
            )
            return None
        validators.add_mismatch(
            kind,
            expected=f"a kind of claim: {choices}",
            next_step=did_you_mean(kind.value, CLAIM_KINDS, otherwise="correct it"),
            problems=self.problems,
        )
        return None

    def _require(
        self, value: Located, keys: tuple[str, ...], required: tuple[str, ...], *, of: str
    ) -> dict[str, Located]:
        items = validators.require_closed_mapping(value, keys, of=of, problems=self.problems)
        for name in required:
            if name not in items:
                self.problems.add(
                    value.location,
                    found=f"no {name!r}",
                    expected=", ".join(required),
                    next_step="add it",
                )
        return items

    def _read_key(self, key: str, item: Located) -> Json:
        """Return what a key holds, with labels in place of names."""
        if key in KEY_TYPES:
            return self.readers[KEY_TYPES[key]](item)
        if key in ("margin", "detects"):
            return self._read_size(key, item)
        if key in ("lower", "upper"):
            return self._read_side(item)
        if key == "minus":
            items = validators.require_closed_mapping(
                item, CONTRAST_KEYS, of="`minus`", problems=self.problems
            )
            if item.value == {}:
                validators.add_mismatch(
                    item,
                    expected=f"what the second contrast has in place of the first: {', '.join(CONTRAST_KEYS)}",
                    next_step="name it, or remove `minus`",
                    problems=self.problems,
                )
            return {name: self._read_key(name, each) for name, each in items.items()}
        if key == "per_training":
            return validators.require_boolean(
                item,
                expected="true (one coefficient of each training) or false",
                problems=self.problems,
            )
        choices = {"sign": SIGNS, "coefficient": COEFFICIENT_NAMES}.get(key)
        if choices is None:
            return self._read_text(key, item)
        if item.value not in choices:
            validators.add_mismatch(
                item,
                expected=f"one of {', '.join(choices)}",
                next_step=did_you_mean(item.value, choices, otherwise="correct it"),
                problems=self.problems,
            )
        return str(item.value)

    def _read_text(self, key: str, item: Located) -> str:
        text = validators.require_text(
            item, expected=f"{key}: a text for the page", problems=self.problems
        )
        return " ".join((text or "").split())

    def _read_size(self, key: str, item: Located) -> float:
        size = item.value
        if isinstance(size, int | float) and not isinstance(size, bool) and size >= 0:
            return float(size)
        validators.add_mismatch(
            item,
            expected=f"{key}: the size of an effect, 0 or more, without its sign",
            next_step="write for example 0.02",
            problems=self.problems,
        )
        return 0.0

    def _read_side(self, item: Located) -> Json:
        """Return one side of an inequality as a list: metrics, whose values are added, or a number."""
        if isinstance(item.value, int | float) and not isinstance(item.value, bool):
            return [float(item.value)]
        if not isinstance(item.value, tuple):
            return [self.readers["metric"](item)]
        metrics = validators.require_list(
            item, expected="a list of metrics", problems=self.problems
        )
        return [self.readers["metric"](metric) for metric in metrics]


def read_commit(value: Located, problems: Problems) -> str:
    """Return ``leaderboard.registered``: the commit that held the claims before the run."""
    text = value.value if isinstance(value.value, str) else ""
    if not COMMIT_PATTERN.fullmatch(text):
        validators.add_mismatch(
            value,
            expected="a commit: 40 hexadecimal digits, in quotes where they are digits alone",
            next_step="write what `git rev-parse HEAD` says of the commit that holds the claims",
            problems=problems,
        )
    return text


def claim_schema(*, row: JsonSchema, place: JsonSchema, axes: tuple[str, ...]) -> JsonSchema:
    """Return the JSON schema of a claim; `row` and `place` are those of `answer`."""
    text = typed_value("string", pattern=r"\S")
    size = typed_value("number", minimum=0)
    side: JsonSchema = {"anyOf": [typed_value("number"), one_or_more(definition_ref("metric"))]}
    contrast: dict[str, JsonSchema] = {
        "metric": definition_ref("metric"),
        "of": row,
        "against": row,
        "at": place,
    }
    keys: dict[str, JsonSchema] = {
        **dict.fromkeys(TEXT_KEYS, text),
        "sign": with_description(one_of(SIGNS), "The sign of the effect that the paper claims."),
        "margin": with_description(size, "The least effect that would count, without its sign."),
        "detects": with_description(
            size, "The smallest effect that the design finds with power .8."
        ),
        "note": text,
        **contrast,
        "minus": {**closed_object({name: or_null(each) for name, each in contrast.items()})},
        "predictor": definition_ref("metric"),
        "outcome": definition_ref("metric"),
        "across": one_of(axes),
        "given": definition_ref("selection"),
        "coefficient": one_of(COEFFICIENT_NAMES),
        "per_training": typed_value("boolean"),
        "lower": side,
        "upper": side,
    }
    kinds: list[JsonSchema] = []
    for kind in CLAIM_KINDS:
        required = (*TEXT_KEYS, "kind", *REQUIRED_KIND_KEYS[kind])
        names = (*TEXT_KEYS, *RULE_KEYS, *KIND_KEYS[kind])
        own = {name: keys[name] for name in names if name != "kind"}
        optional = {name: each if name in required else or_null(each) for name, each in own.items()}
        kinds.append(closed_object({**optional, "kind": {"const": kind}}, required=required))
    not_asked = dict.fromkeys((*TEXT_KEYS, "not_asked"), text)
    kinds.append(closed_object(not_asked, required=not_asked))
    return {"anyOf": kinds}
