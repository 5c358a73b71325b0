"""What it takes to plan and to stream an image folder whose pixels would not fit into the memory.

    python tests/performance/stream_images.py [--all]

The folder holds 50,000 JPEG files (500, linked 100 times) of 256 x 256 pixels, brought to 3 x 224 x 224. Without
``--all`` only the first 2,500 and as many from all over the set are streamed: what is kept decoded is full by then.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from side_by_side.claims import at_most, report

from advtransfer.host import Host
from advtransfer.planning import make_plan
from advtransfer.suite import load
from advtransfer.types import Dataset
from advtransfer.worker.object_builder import call_factory

SUITE = """
datasets:
  many: {use: vision/image_folder, root: many, pixels: 224}
targets:
  many: {data: many, n: [1000], seeds: 2}
sources:
  random: {use: vision/random_init, data: many}
transfers:
  probe: {use: finetune/linear_probe}
evaluations:
  clean: {use: foolbox/clean_accuracy}
"""
FILES, LINKS, CLASSES, PIXELS = 500, 100, 10, 224
SHORT_PASS, BATCH = 2_500, 64
MIB = 2**20
MOST = 0.1  # of what the pixels would take as uint8


def write(folder: Path) -> None:
    """500 images, each under 100 names in the train part and one in the test part."""
    source = np.random.default_rng(0)
    for number in range(FILES):
        coarse = Image.fromarray(source.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        file = folder / "test" / f"{number % CLASSES}" / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize((256, 256), Image.Resampling.BICUBIC).save(file, quality=90)
        os.utime(file, (1e9, 1e9))  # a file that changed just now is not remembered
        for link in range(LINKS):
            name = folder / "train" / f"{number % CLASSES}" / f"{number}_{link}.jpg"
            name.parent.mkdir(parents=True, exist_ok=True)
            name.hardlink_to(file)


def positions(count: int, *, whole: bool) -> Iterator[torch.Tensor]:
    """The batches to stream: every image, or the first ones and then some from all over."""
    every = torch.arange(count)
    scattered = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    yield from torch.split(
        every if whole else torch.cat([every[:SHORT_PASS], scattered[:SHORT_PASS]]), BATCH
    )


def peak() -> float:
    """The most memory that this process ever had, in MiB."""
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kibibytes / (MIB if sys.platform == "darwin" else 1024)


def told(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def measure(folder: Path, *, whole: bool) -> float:
    """Plan and stream; the growth of the peak in MiB."""
    write(folder / "many")
    suite, host = folder / "many.yaml", Host.discover()
    suite.write_text(SUITE)
    for what in ("first, every file read", "again, digests remembered"):
        began = time.perf_counter()
        loaded = load(str(suite), host)
        trials = len(make_plan(loaded, host).trials)
        told(
            f"planned {trials} trials in {time.perf_counter() - began:.1f} s ({what}); peak {peak():.0f} MiB"
        )
    node = loaded.datasets[0].node
    train = cast(Dataset, call_factory(host.component(node.use), node, lambda part: part)).part(
        "train"
    )
    train.inputs(torch.arange(1))
    began, before, seen = time.perf_counter(), peak(), 0
    for batch in positions(len(train), whole=whole):
        seen += len(train.inputs(batch))
    seconds = time.perf_counter() - began
    told(
        f"streamed {seen:,} of {len(train):,} images, {seen / seconds:.0f} a second; peak {peak():.0f} MiB,"
    )
    told(f"of which {before:.0f} MiB before the first batch (Python, torch, the list of names)")
    return peak() - before


def main() -> int:
    """Compare the growth of the peak to what the pixels would take."""
    with tempfile.TemporaryDirectory() as name:
        os.environ["ADVTRANSFER_CACHE"] = str(Path(name) / "cache")
        os.environ.pop("ADVTRANSFER_DATA", None)
        grown = measure(Path(name), whole="--all" in sys.argv)
    pixels = FILES * LINKS * 3 * PIXELS**2 / MIB
    return report(
        [
            at_most(
                f"streaming a folder of {FILES * LINKS:,} images: memory beside its pixels as uint8",
                grown / pixels,
                MOST,
                times=f"{grown:.0f} MiB, pixels {pixels:,.0f} MiB",
            )
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
