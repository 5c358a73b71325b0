"""Types of options that several factories share."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from annotated_types import Ge, Gt, MinLen

from advtransfer.types import Since
from advtransfer_foolbox.settings import OfEps

Eps: TypeAlias = Annotated[float, Ge(0)]
Ladder: TypeAlias = Annotated[tuple[Eps, ...], MinLen(1)]
AtLeastOne: TypeAlias = Annotated[int, Ge(1)]
Positive: TypeAlias = Annotated[float, Gt(0)]
StepSize: TypeAlias = Positive | OfEps
Seed: TypeAlias = Annotated[int, Ge(0)]
Counts: TypeAlias = Annotated[bool, Since(1)]
