"""TensorBoard: one folder of event files for each trial and source, and ``run`` for the page's figures.

They are written to ``TENSORBOARD_LOGDIR/<run id>`` or, without it, to ``tensorboard`` in the run folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from advtransfer.types import Json
from advtransfer_tracking.tracker import Tracker, plain_name

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard(Tracker):
    """Writes event files."""

    extra = "tensorboard"
    library = "tensorboard"

    def open_run(self, run: Mapping[str, Json]) -> str:
        chosen = os.environ.get("TENSORBOARD_LOGDIR")
        own = Path(str(run["folder"])) / "tensorboard"
        self._folder = Path(chosen).expanduser() / str(run["id"]) if chosen else own
        self._folder.mkdir(parents=True, exist_ok=True)
        return f"writes to {self._folder} (show it: tensorboard --logdir {self._folder})"

    def log_trial(self, name: str, axes: Mapping[str, Json], values: Mapping[str, float]) -> None:
        from torch.utils.tensorboard.summary import hparams

        shown = {
            axis: value if isinstance(value, int) else str(value) for axis, value in axes.items()
        }
        with self._writer(name) as writer:
            for metric, value in values.items():
                writer.add_scalar(metric, value, 0)
            for summary in hparams(shown, dict.fromkeys(values)):
                writer._get_file_writer().add_summary(summary)

    def log_curves(self, name: str, curves: Mapping[str, Sequence[tuple[int, float]]]) -> None:
        with self._writer(name) as writer:
            for curve, points in curves.items():
                for epoch, value in points:
                    writer.add_scalar(f"curves/{curve}", value, epoch)

    def log_file(self, name: str, path: Path) -> None:
        from PIL import Image
        from torch import from_numpy

        if path.suffix.lower() != ".png":  # TensorBoard shows no SVG.
            return
        import numpy as np

        with Image.open(path) as image:
            # On white: the figures are transparent.
            canvas = Image.new("RGBA", image.size, "white")
            canvas.alpha_composite(image.convert("RGBA"))
        pixels = from_numpy(np.array(canvas.convert("RGB")))
        with self._writer("run") as writer:
            writer.add_image(f"figures/{name}", pixels, 0, dataformats="HWC")

    def close_run(self, summary: Mapping[str, float]) -> None:
        with self._writer("run") as writer:
            for name, value in summary.items():
                writer.add_scalar(f"run/{name}", value, 0)

    def _writer(self, name: str) -> SummaryWriter:
        # One at a time, closed after use: nothing is lost when the run is killed, and no thread stays.
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self._folder / plain_name(name, allowed="=@")))


plugin = TensorBoard()
