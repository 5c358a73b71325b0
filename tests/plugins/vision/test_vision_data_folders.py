from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from advtransfer.errors import AdvTransferWarning, BadInput
from advtransfer.toolkit import file_digests
from advtransfer.toolkit.datasets import all_positions
from advtransfer.types import Folder
from advtransfer_vision.components import datasets as vision_data
from advtransfer_vision.data import image_files
from advtransfer_vision.data.image_files import Framing, ImageFiles
from advtransfer_vision.data.split_rules import FirstImages

pytestmark = pytest.mark.usefixtures("own_cache")

RANDOM = np.random.default_rng(0)


def _image(width: int, height: int, mode: str = "RGB") -> Image.Image:
    return Image.fromarray(RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(
        mode
    )


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Folder]:
    """Writes images under names into one folder."""

    def write(
        names: Iterable[str], *, size: tuple[int, int] = (12, 8), mode: str = "RGB"
    ) -> Folder:
        root = tmp_path / "set"
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            _image(*size, mode).save(root / name)
        return Folder(root, file_digests.content_sha256(root))

    return write


NAMES = (
    "train/cow/2.png",
    "train/cow/10.jpg",
    "train/ant/b/1.png",
    "train/ant/1.PNG",
    "test/ant/2.png",
    "test/cow/1.png",
)


def test_classes_are_the_sorted_folders_and_files_are_in_sorted_order(
    write: Callable[..., Folder],
) -> None:
    data = vision_data.image_folder(root=write(NAMES), pixels=8)
    train = data.part("train")

    assert isinstance(train, ImageFiles)
    assert ["ant/1.PNG", "ant/b/1.png", "cow/10.jpg", "cow/2.png"] == list(train.names)
    assert [0, 0, 1, 1] == train.labels(all_positions(train)).tolist()
    assert range(4) == train.keys
    assert ((3, 8, 8), (0.0, 1.0), "classes", 2, ("ant", "cow")) == (
        data.card().shape,
        data.card().bounds,
        data.card().task,
        data.card().outputs,
        data.card().names,
    )


def test_test_part_has_the_class_numbers_of_the_train_part(write: Callable[..., Folder]) -> None:
    test = vision_data.image_folder(root=write(NAMES), pixels=8).part("test")

    assert [0, 1] == test.labels(all_positions(test)).tolist()


@pytest.mark.parametrize("size", [(40, 60), (61, 43), (32, 32), (300, 28), (9, 7)])
@pytest.mark.parametrize("pixels", [28, 32])
def test_images_are_cropped_as_torchvision_does_for_imagenet(
    write: Callable[..., Folder], size: tuple[int, int], pixels: int
) -> None:
    root = write(["train/a/1.png", "test/a/1.png"], size=size)
    crop = v2.Compose(
        [
            v2.Resize(round(pixels / 0.875), interpolation=v2.InterpolationMode.BILINEAR),
            v2.CenterCrop(pixels),
            v2.PILToTensor(),
        ]
    )
    with Image.open(root.path / "train/a/1.png") as image:
        expected = crop(image).float() / 255

    assert expected.equal(
        vision_data.image_folder(root=root, pixels=pixels)
        .part("train")
        .inputs(torch.tensor([0]))[0]
    )


def test_a_square_keeps_the_whole_image(write: Callable[..., Folder]) -> None:
    root = write(["train/a/1.png", "test/a/1.png"], size=(40, 60))
    data = vision_data.image_folder(root=root, pixels=16, fit="square")
    with Image.open(root.path / "train/a/1.png") as image:
        expected = v2.PILToTensor()(v2.Resize((16, 16))(image)).float() / 255

    assert expected.equal(data.part("train").inputs(torch.tensor([0]))[0])


def test_an_image_of_the_right_size_keeps_its_pixels(write: Callable[..., Folder]) -> None:
    root = write(["train/a/1.png", "test/a/1.png"], size=(16, 16))
    with Image.open(root.path / "train/a/1.png") as image:
        expected = torch.from_numpy(np.array(image).transpose(2, 0, 1)).float() / 255

    for data in (
        vision_data.image_folder(root=root, pixels=16, fit="square"),
        vision_data.image_folder(root=root, pixels=16, crop_share=1.0),
    ):
        assert expected.equal(data.part("train").inputs(torch.tensor([0]))[0])


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_every_kind_of_image_becomes_three_channels(
    write: Callable[..., Folder], mode: str
) -> None:
    data = vision_data.image_folder(
        root=write(("train/cow/2.png", "test/cow/1.png"), mode=mode), pixels=8
    )
    images = data.part("train").inputs(torch.tensor([0]))

    assert (1, 3, 8, 8) == images.shape
    assert 0 <= images.min() <= images.max() <= 1
    assert mode in ("RGBA", "P") or images[0, 0].equal(images[0, 2])


def test_positions_are_given_in_the_order_asked_and_twice_when_asked_twice(
    write: Callable[..., Folder],
) -> None:
    train = vision_data.image_folder(root=write(NAMES), pixels=8).part("train")
    whole = train.inputs(all_positions(train))

    assert whole[[2, 0, 2]].equal(train.inputs(torch.tensor([2, 0, 2])))
    assert (0, 3, 8, 8) == train.inputs(torch.tensor([], dtype=torch.int64)).shape


def test_few_decoded_images_are_kept_however_many_are_seen(
    write: Callable[..., Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def noted(path: Path, framing: Framing) -> np.ndarray:
        opened.append(path)
        return np.zeros((3, 8, 8), np.uint8)

    monkeypatch.setattr(image_files, "decode_image", noted)
    monkeypatch.setattr(image_files, "DECODED_CACHE_BYTES", 2 * 3 * 8 * 8)
    train = vision_data.image_folder(root=write(NAMES), pixels=8).part("train")
    for positions in ([0, 1], [0, 1], [2, 3], [0, 1]):
        train.inputs(torch.tensor(positions))

    # the first two again come from memory; after two others they are decoded again
    assert 6 == len(opened)


def test_the_digest_depends_on_the_files_and_on_how_they_are_framed(
    write: Callable[..., Folder],
) -> None:
    root = write(NAMES)
    framed = [
        vision_data.image_folder(root=root, pixels=8),
        vision_data.image_folder(root=root, pixels=9),
        vision_data.image_folder(root=root, pixels=8, fit="square"),
        vision_data.image_folder(root=root, pixels=8, crop_share=0.5),
    ]
    found = [data.card().digest for data in framed]
    again = vision_data.image_folder(root=root, pixels=8).card().digest
    other = vision_data.image_folder(root=write(["train/cow/3.png"]), pixels=8).card().digest

    assert 5 == len({*found, other})
    assert found[0] == again


def test_parts_can_have_other_names(write: Callable[..., Folder]) -> None:
    root = write(
        ["Training/a/1.png", "Final/a/1.png", "val/a/1.png", "val/a/2.png", "train/a/1.png"]
    )

    assert 2 == len(vision_data.image_folder(root=root).part("test"))
    assert 1 == len(
        vision_data.image_folder(root=root, train="Training", test="Final").part("test")
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["a/1.png"],
            r"found no folder 'train' in .* \(there are 'a'\); expected a train and a test folder; name them",
        ),
        (["train/a/1.png"], r"found no folder 'test' or 'val' in .* \(there are 'train'\)"),
        (
            ["train/1.png", "test/a/1.png"],
            r"found no image in .*train'; expected class folders with images \(.jpg",
        ),
        (
            ["train/a/1.png", "test/b/1.png"],
            r"found the class folder 'b' in .*test'; expected one of the 1 of .*train'",
        ),
    ],
)
def test_folder_of_another_layout_is_an_error(
    write: Callable[..., Folder], names: list[str], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        vision_data.image_folder(root=write(names))


def _tiny(root: Path) -> Folder:
    """Two classes of Tiny ImageNet, as it is laid out."""
    for name in ("n02/images/n02_0.JPEG", "n02/images/n02_1.JPEG", "n01/images/n01_0.JPEG"):
        (root / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        _image(64, 64).save(root / "train" / name)
    (root / "train" / "n01" / "n01_boxes.txt").write_text("n01_0.JPEG\t0\t0\t62\t62\n")
    (root / "val" / "images").mkdir(parents=True)
    for number in (0, 2, 10):
        _image(64, 64, "L" if number == 2 else "RGB").save(
            root / "val" / "images" / f"val_{number}.JPEG"
        )
    rows = [("val_10.JPEG", "n01"), ("val_0.JPEG", "n02"), ("val_2.JPEG", "n01")]
    (root / "val" / "val_annotations.txt").write_text(
        "".join(f"{name}\t{id}\t0\t32\t44\t62\n" for name, id in rows)
    )
    (root / "wnids.txt").write_text("n02\nn01\n")
    (root / "words.txt").write_text(
        "n00\tentity\nn01\tgoldfish, Carassius auratus\nn02\tbullfrog\n"
    )
    (root / "test" / "images").mkdir(parents=True)
    _image(64, 64).save(root / "test" / "images" / "test_0.JPEG")
    return Folder(root, file_digests.content_sha256(root))


def test_tiny_imagenet_is_read_in_its_own_layout(tmp_path: Path) -> None:
    data = vision_data.tiny_imagenet(root=_tiny(tmp_path / "tiny"))
    train, test = data.part("train"), data.part("test")
    with Image.open(tmp_path / "tiny" / "val" / "images" / "val_10.JPEG") as image:
        last = torch.from_numpy(np.array(image).transpose(2, 0, 1)).float() / 255

    assert ((3, 64, 64), 2, ("goldfish", "bullfrog")) == (
        data.card().shape,
        data.card().outputs,
        data.card().names,
    )
    assert [0, 1, 1] == train.labels(all_positions(train)).tolist()
    assert [1, 0, 0] == test.labels(all_positions(test)).tolist()
    assert (3, 3, 64, 64) == train.inputs(all_positions(train)).shape
    assert last.equal(test.inputs(all_positions(test))[2])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "wnids.txt").unlink(), r"found no wnids.txt in .*; expected the unpacked tiny-imagenet"),
        (lambda root: (root / "words.txt").unlink(), r"found no words.txt"),
        (lambda root: (root / "val" / "val_annotations.txt").write_text(""), "found no annotations"),
        (lambda root: (root / "val" / "images" / "val_2.JPEG").unlink(), r"the line \['val_2.JPEG', 'n01'\] in .*val_"),
        (lambda root: (root / "wnids.txt").write_text("n02\n"), r"the line \['val_2.JPEG', 'n01'\]"),
        (lambda root: (root / "wnids.txt").write_text("n01\nn02\nn03\n"), r"no image in .*n03/images'; expected JPEG"),
    ],
)  # fmt: skip
def test_missing_files_of_tiny_imagenet_are_reported(
    tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    root = _tiny(tmp_path / "tiny")
    spoil(root.path)

    with pytest.raises(BadInput, match=message):
        vision_data.tiny_imagenet(root=root)


def test_images_that_the_tables_do_not_name_are_counted(tmp_path: Path) -> None:
    root = _tiny(tmp_path / "tiny")
    _image(64, 64).save(root.path / "val" / "images" / "val_77.JPEG")
    (root.path / "train" / "n01" / "images" / "notes.txt").write_text("not an image")

    with pytest.warns(AdvTransferWarning) as told:
        vision_data.tiny_imagenet(root=root)
    assert [True, True] == [
        "1 files of" in str(one.message) and "left out" in str(one.message) for one in told
    ]


def _split_names() -> list[str]:
    ants = [f"ant/image_000{number}.png" for number in (3, 1, 2)]
    return [*ants, "cow/b.png", "cow/a.png", "cow/c.png", "cow/d.png"]


def test_split_rule_trains_on_the_first_images_of_each_class_by_name(
    write: Callable[..., Folder],
) -> None:
    data = vision_data.image_folder(
        root=write(_split_names()), pixels=8, split=FirstImages(images=2)
    )
    train, test = data.part("train"), data.part("test")

    assert isinstance(train, ImageFiles)
    assert isinstance(test, ImageFiles)
    assert list(train.names) == [
        "ant/image_0001.png",
        "ant/image_0002.png",
        "cow/a.png",
        "cow/b.png",
    ]
    assert list(test.names) == ["ant/image_0003.png", "cow/c.png", "cow/d.png"]
    assert test.labels(all_positions(test)).tolist() == [0, 1, 1]
    assert data.card().names == ("ant", "cow")


def test_each_split_has_its_own_content_and_none_leaves_it_as_it_was(
    write: Callable[..., Folder],
) -> None:
    root = write(_split_names())
    contents = {
        vision_data.image_folder(root=root, pixels=8, split=FirstImages(images=count)).card().digest
        for count in (1, 2)
    }

    assert len(contents) == 2


def test_split_that_leaves_a_class_no_test_image_is_refused(write: Callable[..., Folder]) -> None:
    root = write(_split_names())

    with pytest.raises(BadInput, match=r"'ant'.*more than the 3 that `split` trains on"):
        vision_data.image_folder(root=root, pixels=8, split=FirstImages(images=3))
