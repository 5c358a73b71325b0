"""A data set as a card and its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from advtransfer.types import DataCard, Part, Samples


@dataclass(frozen=True, slots=True)
class PartedDataset:
    """A `Dataset` whose parts are at hand; every one of them carries this card."""

    described: DataCard
    parts: Mapping[Part, Samples]

    def card(self) -> DataCard:
        """What it is."""
        return self.described

    def part(self, name: Part) -> Samples:
        """The part; a ValueError that lists the parts there are when this one is not."""
        if name not in self.parts:
            raise ValueError(f"found part {name!r}; expected one of {sorted(self.parts)}; ask for one of these")
        return self.parts[name]
