"""The cache.

What was built once (sources, references, features, fits) is read by every trial, suite and
worker.

    <root>/artifacts/<line>/<id[:2]>/<id>/{data.safetensors, meta.json}   what was built, under its content id
    <root>/artifacts/<line>/<id[:2]>/<id>/{rows.bin, sums.bin, meta.json}   rows that are filled as they are asked for
    <root>/saved/<line>/<id[:2]>/<id>                                     the checkpoint of a build not yet finished
    <root>/leases/<line>/<id>                                             who is building it now
    <root>/corrupt/<line>/                                                what no longer matches its sha256, set aside
    <root>/runs/                                                          run folders known on this machine

`line` names device type, threads and precision (``cpu-1-float32``): other sums, so other artifacts. Nothing here
imports torch until tensors are read or written. POSIX only: the leases stand on ``flock``.
"""

from advtransfer.cache.artifact import Artifact
from advtransfer.cache.lock import NodeLock
from advtransfer.cache.maintenance import CacheEntry, PruneResult, VerifiedEntry
from advtransfer.cache.rows import RowFile
from advtransfer.cache.store import Cache

__all__ = [
    "Artifact",
    "Cache",
    "CacheEntry",
    "NodeLock",
    "PruneResult",
    "RowFile",
    "VerifiedEntry",
]
