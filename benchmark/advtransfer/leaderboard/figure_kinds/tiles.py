"""Pictures that an evaluation drew for several models or adapters in one figure, over the same images.

Chan et al. (2020) show input gradients (Figures 1, 4 and 6), adapted images (Figure 3) and decision regions (Figure 7)
in this way.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING

from advtransfer.leaderboard.figure_inputs import figure_error, run_of
from advtransfer.leaderboard.markdown import count_noun, inline_code
from advtransfer.leaderboard.pareto_figure import row_name
from advtransfer.leaderboard.plugin_figures import row_files
from advtransfer.leaderboard.questions_config import read_selection
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import LeaderboardRow, group_rows
from advtransfer.leaderboard.tiles_plot import Tile, tiles_figure
from advtransfer.types import Drawing, FigureInputs, FigureKind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_TILES = 12
MAX_PIXELS = 8_000_000
"""Pixels of a picture; records of others may hold any file."""
REGIONS_FILE = "decision_regions"


def _draw_grid(inputs: FigureInputs) -> Drawing | None:
    return _drawing(inputs, inputs.settings.get("file"))


def _draw_regions(inputs: FigureInputs) -> Drawing | None:
    return _drawing(inputs, REGIONS_FILE)


def _drawing(inputs: FigureInputs, file: object) -> Drawing | None:
    data = run_of(inputs)
    evaluation = str(inputs.settings["evaluation"])
    rows = _selected_rows(inputs, data)
    has_source = len({row.source for row in rows}) > 1
    has_n = len({row.trials[0].n for row in rows}) > 1
    has_target = len({row.trials[0].target for row in rows}) > 1
    tiles: list[Tile] = []
    name = file if isinstance(file, str) else ""
    for row in rows:
        files = dict(row_files(row, evaluation, data))
        if not name:
            name = min(files, default="")
        pixels = _read_picture(files.get(name), data)
        if pixels is not None:
            label = row_name(row, has_source=has_source, has_n=has_n)
            target = f"{row.trials[0].target}, " if has_target else ""
            tiles.append(Tile(target + label, pixels))
    if not tiles:
        return None
    shown = tiles[:MAX_TILES]
    labels = "; ".join(tile.label for tile in shown)
    more = f" Drawn: {len(shown)} of {count_noun(len(tiles), 'row')}." * (len(tiles) > MAX_TILES)
    return Drawing(
        f"{evaluation} {name}",
        partial(tiles_figure, shown),
        text=f"The pictures {name} of {evaluation}, from top to bottom: {labels}.",
        caption=f"{inline_code(name)} of {inline_code(evaluation)} for each row's first seed, over the same images."
        f"{more}",
    )


def _selected_rows(inputs: FigureInputs, data: RunData) -> list[LeaderboardRow]:
    """Return the rows that ``given`` selects, at each target's largest n unless it names n."""
    given = inputs.settings.get("given")
    selection = read_selection(given)
    tables = group_rows(data)
    largest: dict[str, int | str] = {}
    for target, n in tables:  # sorted by n
        largest[target] = n
    rows: list[LeaderboardRow] = []
    for (target, n), of_table in tables.items():
        if "n" not in selection.given and largest[target] != n:
            continue
        for row in of_table:
            trials = tuple(trial for trial in row.trials if selection.selects_trial(trial))
            if trials:
                rows.append(LeaderboardRow(row.source, row.adapter, row.transfer, trials))
    return rows


def _read_picture(path: str | None, data: RunData) -> NDArray[np.generic] | None:
    """Return the pixels ``(H, W, 3)`` of a PNG file of the run, None where it is missing or no such picture."""
    import numpy as np
    from PIL import Image

    if path is None or data.root is None or path not in data.files or not path.endswith(".png"):
        return None
    id = path.split("/")[1]
    file = data.root / data.subfolders.get(id, "") / path
    try:
        # Pillow warns of, and beyond a limit refuses, pictures that would fill the memory.
        with warnings.catch_warnings(action="error"), Image.open(file, formats=["PNG"]) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Warning):
        return None


def _check_evaluation(inputs: FigureInputs) -> None:
    """Raise where no trial plans the evaluation."""
    evaluation = inputs.settings["evaluation"]
    labels = sorted({label for trial in run_of(inputs).plan.trials for label in trial.evaluations})
    if evaluation not in labels:
        raise figure_error(inputs.settings, f"evaluation: one of {', '.join(labels) or 'none'}")


def _check_grid(inputs: FigureInputs) -> None:
    """Raise where the evaluation is measured and wrote no such picture."""
    _check_evaluation(inputs)
    file = inputs.settings.get("file")
    _check_pictures(inputs, file if isinstance(file, str) else "")


def _check_regions(inputs: FigureInputs) -> None:
    """Raise where the evaluation is measured and drew no decision regions."""
    _check_evaluation(inputs)
    _check_pictures(inputs, REGIONS_FILE)


def _check_pictures(inputs: FigureInputs, file: str) -> None:
    data = run_of(inputs)
    evaluation = str(inputs.settings["evaluation"])
    rows = _selected_rows(inputs, data)
    ids = {
        id for row in rows for trial in row.trials for id in trial.evaluations.get(evaluation, ())
    }
    if not any(id in data.results for id in ids):
        return
    names = {name for row in rows for name, _ in row_files(row, evaluation, data)}
    if not names:
        raise figure_error(
            inputs.settings, f"evaluation: one that writes files; {evaluation} did not"
        )
    if file and file not in names:
        expected = f"a file that {evaluation} wrote: {', '.join(sorted(names))}"
        raise figure_error(inputs.settings, expected)


GRID = FigureKind(
    "grid",
    _draw_grid,
    required={"evaluation": "evaluation"},
    optional={"file": "file", "given": "selection"},
    check=_check_grid,
    help="The pictures of an evaluation for several models or adapters, over the same images.",
)
DECISION_REGIONS = FigureKind(
    "decision_regions",
    _draw_regions,
    required={"evaluation": "evaluation"},
    optional={"given": "selection"},
    check=_check_regions,
    help="The predicted classes beside the loss around test images, for several models.",
)
