"""torchvision's weights by name: their metadata and their files."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from pathlib import Path
from typing import Any, cast
from urllib.request import urlopen

import torch
from torchvision import models

from advtransfer.errors import AdvTransferError, UnknownName
from advtransfer.types import Context
from advtransfer_vision.pretrained.claims import Claims
from advtransfer_vision.pretrained.network_spec import NetworkSpec
from advtransfer_vision.pretrained.safe_load import CheckpointError

DOWNLOAD_CHUNK = 2**20


def find_weights(architecture: str, name: str) -> models.WeightsEnum:
    """Return the weights of a name such as ``ResNet50_Weights.IMAGENET1K_V1``, or ``IMAGENET1K_V1`` for short.

    Raises:
        UnknownName: torchvision has no such weights for this architecture.
    """
    full_names: list[str] = []
    if architecture in models.list_models(module=models):
        full_names = [str(weights) for weights in models.get_model_weights(architecture)]
    for full_name in full_names:
        short_name = full_name.partition(".")[2]
        if name in (full_name, short_name):
            return models.get_weight(full_name)
    expected = f"weights of {architecture} ({', '.join(full_names) or 'torchvision has none'})"
    raise UnknownName(name, expected, difflib.get_close_matches(name, full_names))


def weights_spec(architecture: str, weights: models.WeightsEnum) -> NetworkSpec:
    """Return the network that the weights were trained in, with its normalisation."""
    transforms = weights.transforms()
    return NetworkSpec(
        name=architecture,
        outputs=len(weights.meta["categories"]),
        pixels=transforms.crop_size[0],
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        imagenet_inputs=True,
    )


def weights_claims(weights: models.WeightsEnum) -> Claims:
    """Return the claims in torchvision's metadata of the weights."""
    meta = cast("dict[str, Any]", weights.meta)  # Any: a dictionary with values of many types
    metrics_by_data = cast("dict[str, dict[str, float]]", meta.get("_metrics", {}))
    data, metrics = next(iter(metrics_by_data.items()), ("not stated", dict[str, float]()))
    percent = metrics.get("acc@1")
    citation = f"torchvision, {weights}"
    if meta.get("recipe"):
        citation += f", {meta['recipe']}"
    return Claims(
        data=data,
        clean_accuracy=None if percent is None else percent / 100,
        licence=meta.get("license"),
        citation=citation,
    )


def weights_file(weights: models.WeightsEnum, *, download: bool, context: Context) -> Path:
    """Return the file of the weights in ADVTRANSFER_DATA or torch hub's cache, after a check of its digest.

    Args:
        weights: The weights.
        download: Whether to download a missing file into torch hub's cache.
        context: Receives the progress of a download, in bytes.

    Raises:
        CheckpointError: The file is missing, or does not have the digest in its name.
    """
    name = weights.url.rpartition("/")[2]
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    data_root = os.environ.get("ADVTRANSFER_DATA")
    folders = [cache]
    if data_root:
        folders = [Path(data_root), Path(data_root) / "checkpoints", cache]
    paths = [folder / name for folder in folders]
    path = next((path for path in paths if path.is_file()), None)
    if path is None and not download:
        expected = f"{name} in {' or '.join(map(str, folders))}"
        next_step = f"download {weights.url} to there, or set `download: true`"
        raise CheckpointError(f"found no file for {weights}; expected {expected}; {next_step}")
    return _check_digest(path or _download_file(weights.url, cache / name, context))


def _check_digest(path: Path) -> Path:
    """Return the path if the file's sha256 begins with the digits in its name (``resnet50-0676ba61.pth``).

    Raises:
        CheckpointError: It begins with other digits.
    """
    # A name without digits says nothing about the content.
    digits = re.search(r"-([0-9a-f]{8,})\.", path.name)
    with path.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    if digits and not sha256.startswith(digits[1]):
        found = f"{path} with sha256 {sha256}"
        raise CheckpointError(
            f"found {found}; expected one that begins with {digits[1]}; remove it and get it again"
        )
    return path


def _download_file(url: str, target: Path, context: Context) -> Path:
    """Download a file to `target` and return it; raise an AdvTransferError if that fails."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # Written beside the target and moved, so that other processes never see an incomplete file.
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with urlopen(url, timeout=60) as response, temporary.open("wb") as content:
            total = int(response.headers.get("Content-Length") or 0)
            while chunk := response.read(DOWNLOAD_CHUNK):
                content.write(chunk)
                # The total is 0 if the server does not send it.
                context.progress(content.tell(), max(total, content.tell()))
        temporary.replace(target)
    except OSError as error:
        found = f"no answer from {url} ({error})"
        raise AdvTransferError(
            f"found {found}; expected its file; download it elsewhere to {target}"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return target
