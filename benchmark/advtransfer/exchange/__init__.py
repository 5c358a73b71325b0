"""Exchange of files with workers on machines that share no folder with the driver. Public for plugins with an executor.

A worker calls `perform_on_node` in place of `perform_job`. It reaches the driver's run folder and cache through
`DriverFiles`: `DriverFolders` on the driver's machine, carried by whatever the executor has for calls between
machines. Everything moves by content id and sha256, in chunks of at most `CHUNK_BYTES`; names of files are made
from ids, and a digest is checked before a file gets its name. Does not import torch.
"""

from advtransfer.exchange.driver_folders import DriverFolders
from advtransfer.exchange.node_job import Refusal, job_for_worker, perform_on_node
from advtransfer.exchange.parcels import (
    CHUNK_BYTES,
    DocumentKind,
    DriverFiles,
    FileEntry,
    JobInputs,
    Parcel,
)
from advtransfer.exchange.shared_folders import FolderMarks, mark_folders

__all__ = [
    "CHUNK_BYTES",
    "DocumentKind",
    "DriverFiles",
    "DriverFolders",
    "FileEntry",
    "FolderMarks",
    "JobInputs",
    "Parcel",
    "Refusal",
    "job_for_worker",
    "mark_folders",
    "perform_on_node",
]
