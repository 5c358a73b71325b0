"""A source's training killed with SIGKILL in the middle of an epoch, and continued from the real cache."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Reading a checkpoint imports torch. Imported here, since the training in the child is over in a
# second, and must be seen in its middle.
import safetensors.torch  # noqa: F401

from advtransfer.cache import Cache
from advtransfer.node import Node

LINE = "cpu-1-float32"
NODE = Node("source", "vision/trained")
TRAINER = f"""
import sys
from pathlib import Path
import torch
from advtransfer.cache import Cache
from advtransfer.node import Node
from advtransfer.testing.data import toy
from advtransfer.toolkit import checkpoint
from advtransfer.toolkit.adversary import Free
from advtransfer.worker.context import WorkerContext
from advtransfer_vision.components.training import trained
from advtransfer_vision.networks import SizedNetwork

torch.set_num_threads(1)
checkpoint.CHECKPOINT_INTERVAL_SECONDS, checkpoint.MAX_CHECKPOINT_OVERHEAD = 0.0, 1e9
node = Node("source", "vision/trained")
source = trained(
    data=toy(shape=(1, 8, 8), train=128), network=SizedNetwork(name="resnet18", width=1), epochs=3, batch_size=16,
    adversary=Free(kind="free", eps=0.1, replays=2), augment=("pad_crop", "flip"), label_noise=0.1, validation=0.1,
)
for name in sys.argv[1:]:
    cache = Cache(Path(name), line={LINE!r})
    begun = "batches/begun/numbers" in (cache.load_checkpoint(node.id) or {{}})
    print("in the middle" if begun else "at the start", flush=True)
    context = WorkerContext(node, ("source", 0), torch.device("cpu"), cache, Path(name), lambda news: None, "source")
    weights = source.weights(context)
    cache.put(node.id, weights.tensors, {{"curves": [dict(row) for row in weights.curves]}})
"""


@contextmanager
def _trainer(*roots: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a process that trains one source in each of these caches."""
    command = [sys.executable, "-c", TRAINER, *map(str, roots)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        try:
            yield child
        finally:
            child.kill()


def _state_in(cache: Cache) -> tuple[int, bool]:
    """Return the finished epochs of the saved state, and whether it is in the middle of one."""
    state = cache.load_checkpoint(NODE.id) or {}
    return len(state.get("batches/curves/epoch", ())), "batches/begun/numbers" in state


def test_killed_training_continues_from_the_cache_to_the_same_bits(
    tmp_path: Path,
) -> None:
    killed, whole = (Cache(tmp_path / name, line=LINE) for name in ("killed", "whole"))
    with _trainer(killed.root) as child:
        deadline = time.time() + 60
        while _state_in(killed) != (1, True) and child.poll() is None and time.time() < deadline:
            time.sleep(0.001)
        child.send_signal(signal.SIGKILL)
        child.communicate()
    assert -signal.SIGKILL == child.returncode

    with _trainer(killed.root, whole.root) as child:
        output, _ = child.communicate()
    first, second = killed.get(NODE.id), whole.get(NODE.id)
    assert first is not None
    assert second is not None

    assert "in the middle\nat the start\n" == output
    assert first.digest == second.digest
    assert first.facts == second.facts
    assert killed.load_checkpoint(NODE.id) is None
