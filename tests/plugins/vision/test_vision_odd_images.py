"""Image files as people have them: damaged, huge, of other formats, turned, animated."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from advtransfer.errors import BadInput
from advtransfer.toolkit import file_digests
from advtransfer.toolkit.datasets import all_positions
from advtransfer.types import Folder, Samples
from advtransfer_vision.components import datasets as vision_data

pytestmark = pytest.mark.usefixtures("own_cache")

NOISE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Where the odd image is to be, beside a test image."""
    for part in ("train", "test"):
        (tmp_path / "set" / part / "ant").mkdir(parents=True)
    Image.fromarray(NOISE).save(tmp_path / "set" / "test" / "ant" / "1.png")
    return tmp_path / "set" / "train" / "ant" / "odd.png"


def _train(odd: Path) -> Samples:
    root = odd.parents[2]
    return vision_data.image_folder(
        root=Folder(root, file_digests.content_sha256(root)), pixels=8, crop_share=1.0
    ).part("train")


def _only(odd: Path) -> torch.Tensor:
    train = _train(odd)
    return train.inputs(all_positions(train))[0]


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n"


NO_IMAGES = {
    "empty": b"",
    "text": b"text",
    "eps": POSTSCRIPT,
    "pdf": b"%PDF-1.7\n",
    "png": b"\x89PNG\r\n\x1a\n",
}


@pytest.mark.parametrize("content", NO_IMAGES.values(), ids=NO_IMAGES)
def test_files_that_hold_no_image_are_named_before_anything_is_read(
    odd: Path, content: bytes
) -> None:
    odd.write_bytes(content)

    with pytest.raises(
        BadInput, match=r"found '.*train/ant/odd.png', which (holds no image|cannot be decoded)"
    ):
        _train(odd)


def test_postscript_never_reaches_another_program(
    odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import EpsImagePlugin

    monkeypatch.setattr(
        EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was called")
    )
    odd.write_bytes(POSTSCRIPT)

    with pytest.raises(BadInput, match="which holds no image"):
        _train(odd)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF"])
def test_truncated_image_is_named_when_it_is_read(odd: Path, kind: str) -> None:
    Image.fromarray(NOISE).save(odd, kind)
    whole = odd.read_bytes()
    odd.write_bytes(whole[: len(whole) * 3 // 4])

    with pytest.raises(
        BadInput,
        match=r"found '.*odd.png', which .*; restore the file, or remove it and plan again",
    ):
        _only(odd)


def test_files_without_an_image_are_listed_up_to_a_limit(odd: Path) -> None:
    for number in range(12):
        odd.with_name(f"{number:02}.png").write_bytes(b"not an image")

    with pytest.raises(BadInput) as raised:
        _train(odd)
    assert 11 == len(raised.value.problems)
    assert "2 more files" in raised.value.problems[-1].found


def test_headers_that_were_found_in_order_are_not_read_again(
    odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    Image.fromarray(NOISE).save(odd)
    for path in odd.parents[2].rglob("*.png"):
        os.utime(path, (1e9, 1e9))
    _train(odd)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("a file was opened again"))

    assert 1 == len(_train(odd))


def test_a_huge_image_is_named(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(NOISE).save(odd)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 31)  # Pillow refuses twice as many; 64 are there

    with pytest.raises(
        BadInput, match=r"odd.png', an image of more than 62 pixels; expected at most 62; make"
    ):
        _train(odd)


def test_large_image_below_the_limit_causes_no_warning(
    odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(NOISE).save(odd)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)  # Pillow warns above it

    assert (3, 8, 8) == _only(odd).shape


def test_long_strip_that_would_become_enormous_is_refused(odd: Path) -> None:
    Image.new("1", (3_000_000, 1)).save(odd)

    with pytest.raises(
        BadInput, match=r"odd.png', an image of 3000000 x 1 pixels, which would become 192,000,000"
    ):
        _train(odd)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_images_of_more_than_8_bits_are_refused(odd: Path, mode: str) -> None:
    Image.fromarray(
        np.zeros((8, 8), {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode])
    ).save(odd, "TIFF")

    with pytest.raises(
        BadInput,
        match=rf"odd.png' with pixels of mode '{mode}'; expected 8 bits a channel; convert",
    ):
        _train(odd)


def test_first_frame_is_read_without_rotation(odd: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown turned by 90 degrees
    frames = [Image.fromarray(NOISE), Image.fromarray(255 - NOISE)]
    frames[0].save(odd, save_all=True, append_images=frames[1:], exif=turned)

    assert torch.from_numpy(NOISE.transpose(2, 0, 1).copy()).equal(
        (255 * _only(odd)).round().to(torch.uint8)
    )


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "CMYK", "1"])
def test_other_pixel_modes_become_rgb_without_a_warning(odd: Path, mode: str) -> None:
    image = Image.fromarray(NOISE).convert(mode)
    options = {"transparency": bytes(range(256))} if mode == "P" else {}
    image.save(odd, "TIFF" if mode == "CMYK" else "PNG", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = torch.from_numpy(np.array(image.convert("RGB")).transpose(2, 0, 1).copy())

    assert expected.equal((255 * _only(odd)).round().to(torch.uint8))
