"""A data set cut into disjoint ones. Light: torch is imported when one is built."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Interval

from advtransfer.precheck import precheck
from advtransfer.types import Dataset, Factory, component
from advtransfer_vision import outlines


@precheck(outline=outlines.portion, check=outlines.check_portion)
@component(shape="data", tasks=("classes", "attributes", "values"))
def portion(
    *,
    data: Dataset,
    start: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
    end: Annotated[float, Interval(gt=0, le=1)] = 1.0,
) -> Dataset:
    """A portion of another data set's train part, beside its whole test part: for a source and a target of one set.

    The train part is put in one fixed order in which every class is spread evenly, and cut at shares of it: portions
    whose shares do not overlap have no image in common, and every class has its share in each. ``classes`` and other
    views are laid over the portion, so portions of different classes are disjoint likewise.

    Args:
        data: The data set to cut.
        start: The share of the train part that lies before the portion.
        end: The share of the train part that the portion reaches to, above `start`.
    """
    from advtransfer_vision.cutting import cut

    return cut(data, start=start, end=end)


DATASETS: tuple[Factory[Dataset], ...] = (portion,)
