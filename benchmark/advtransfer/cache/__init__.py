"""The cache: sources, references, features and fits, built once for all trials, suites and workers.

    <root>/artifacts/<key>/<id[:2]>/<id>/{data.safetensors, meta.json}   an artifact under its content id
    <root>/artifacts/<key>/<id[:2]>/<id>/{rows.bin, sums.bin, meta.json} rows, filled as they are computed
    <root>/saved/<key>/<id[:2]>/<id>                                     the checkpoint of an unfinished build
    <root>/leases/<key>/<id>                                             the lock of the process that builds it
    <root>/corrupt/<key>/                                                entries with a wrong sha256, set aside
    <root>/runs/                                                         the run folders known on this machine

The environment key names device type, threads and precision (``cpu-1-float32``): with another one, floating
point sums differ, so artifacts are separate. In files, columns and arguments it is called ``line``. Torch is
imported only to read or write tensors. POSIX only, since locks need ``flock``.
"""

from advtransfer.cache.artifact import Artifact
from advtransfer.cache.lock import HeldLock
from advtransfer.cache.maintenance import CacheEntry, PruneResult, VerifiedEntry
from advtransfer.cache.rows import RowFile
from advtransfer.cache.store import Cache, RemoteCache, environment_key

__all__ = [
    "Artifact",
    "Cache",
    "CacheEntry",
    "HeldLock",
    "PruneResult",
    "RemoteCache",
    "RowFile",
    "VerifiedEntry",
    "environment_key",
]
