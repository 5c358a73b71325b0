"""torchvision's own weights by name: their metadata and their files."""

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
    """The weights of a name such as ``ResNet50_Weights.IMAGENET1K_V1``, or ``IMAGENET1K_V1`` for short.

    Raises:
        UnknownName: torchvision has no such weights of this architecture.
    """
    has_some = architecture in models.list_models(module=models)
    known = [str(one) for one in models.get_model_weights(architecture)] if has_some else []
    full = next((one for one in known if name in (one, one.partition(".")[2])), None)
    if full is None:
        expected = f"weights of {architecture} ({', '.join(known) or 'torchvision has none'})"
        raise UnknownName(name, expected, difflib.get_close_matches(name, known))
    return models.get_weight(full)


def weights_spec(architecture: str, weights: models.WeightsEnum) -> NetworkSpec:
    """The network that the weights were trained in, and how its inputs were normalised."""
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
    """What torchvision says of the weights."""
    meta = cast("dict[str, Any]", weights.meta)  # Any: a dictionary with values of many types
    measured = cast("dict[str, dict[str, float]]", meta.get("_metrics", {}))
    data, metrics = next(iter(measured.items()), ("not stated", dict[str, float]()))
    accuracy = metrics.get("acc@1")
    return Claims(
        data=data,
        clean_accuracy=None if accuracy is None else accuracy / 100,
        licence=meta.get("license"),
        citation=f"torchvision, {weights}" + (f", {meta['recipe']}" if meta.get("recipe") else ""),
    )


def weights_file(weights: models.WeightsEnum, *, download: bool, context: Context) -> Path:
    """Where the file of the weights lies: in ADVTRANSFER_DATA or in torch hub's cache, held to the digest in its name.

    Args:
        weights: The weights.
        download: Download it into torch hub's cache when it is in neither.
        context: Told of a download's progress, in bytes.

    Raises:
        CheckpointError: It is not there, or has another content.
    """
    name = weights.url.rpartition("/")[2]
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    data = os.environ.get("ADVTRANSFER_DATA")
    folders = [*([Path(data), Path(data) / "checkpoints"] if data else []), cache]
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if path is None and not download:
        expected = f"{name} in {' or '.join(map(str, folders))}"
        next_step = f"download {weights.url} to there, or set `download: true`"
        raise CheckpointError(f"found no file for {weights}; expected {expected}; {next_step}")
    return _check_digest(path or _download_file(weights.url, cache / name, context))


def _check_digest(path: Path) -> Path:
    """The path, when the sha256 of what is there begins as its name says, such as ``resnet50-0676ba61.pth``."""
    digits = re.search(r"-([0-9a-f]{8,})\.", path.name)
    with path.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    if digits and not sha256.startswith(digits[1]):
        found = f"{path} with sha256 {sha256}"
        raise CheckpointError(
            f"found {found}; expected one that begins with {digits[1]}; remove it and get it again"
        )
    return path


def _download_file(url: str, to: Path, context: Context) -> Path:
    to.parent.mkdir(parents=True, exist_ok=True)
    beside = to.with_name(f".{to.name}.{os.getpid()}.tmp")
    try:
        with urlopen(url, timeout=60) as answer, beside.open("wb") as content:
            total = int(answer.headers.get("Content-Length") or 0)
            while chunk := answer.read(DOWNLOAD_CHUNK):
                content.write(chunk)
                context.progress(content.tell(), max(total, content.tell()))
        beside.replace(to)
    except OSError as error:
        found = f"no answer from {url} ({error})"
        raise AdvTransferError(
            f"found {found}; expected its file; download it elsewhere to {to}"
        ) from error
    finally:
        beside.unlink(missing_ok=True)
    return to
