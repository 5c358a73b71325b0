"""Data sets of images, and disjoint portions of them. Does not import torch before a data set is built."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge, Interval

from advtransfer.precheck import precheck
from advtransfer.types import Dataset, Factory, File, Folder, NotInId, Part, Since, component
from advtransfer_vision import outlines
from advtransfer_vision.data.split_rules import FirstImages

SetName: TypeAlias = Literal[
    "MNIST",
    "FashionMNIST",
    "KMNIST",
    "EMNIST-balanced",
    "EMNIST-byclass",
    "EMNIST-bymerge",
    "EMNIST-digits",
    "EMNIST-letters",
    "EMNIST-mnist",
    "USPS",
    "CIFAR10",
    "CIFAR100",
    "SVHN",
    "STL10",
]
"""torchvision's classification sets with images of one size; EMNIST by its splits."""


@precheck(outline=outlines.digits_outline, check=outlines.check_digits)
@component(shape=(1, 8, 8))
def digits(
    *,
    test_share: Annotated[float, Interval(gt=0, lt=1)] = 0.3,
    split_seed: Annotated[int, Ge(0)] = 0,
) -> Dataset:
    """1,797 handwritten digits of 8 x 8 pixels, bundled with scikit-learn: nothing is downloaded.

    Ten classes, ``0`` to ``9``; 16 grey levels, scaled to [0, 1]. The bundle has no official split: the test part is
    drawn with every class at its share (540 test images by default).

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998,
    https://doi.org/10.24432/C50P49 (CC BY 4.0); scikit-learn bundles its test set.

    Args:
        test_share: Share of the images in the test part.
        split_seed: Seed of the split.
    """
    from advtransfer_vision.data.generated import load_digit_images

    return load_digit_images(test_share=test_share, split_seed=split_seed)


@precheck(outline=outlines.torchvision_outline)
def torchvision(
    *,
    name: SetName,
    root: Annotated[str | None, NotInId()] = None,
    download: Annotated[bool, NotInId()] = False,
) -> Dataset:
    """A classification set of torchvision by its name, in its own size, with its official train and test parts.

    It is read from where torchvision stores it (``MNIST/raw``, ``cifar-10-batches-py`` ...) under ADVTRANSFER_DATA.
    MNIST, FashionMNIST and KMNIST are also read from the ``.gz`` files, in a folder that may be read-only. Nothing is
    downloaded or written unless `download` is true. Images are as torchvision returns them: EMNIST's are transposed.

    Args:
        name: Name of the set in torchvision; EMNIST with its split.
        root: Another folder than ADVTRANSFER_DATA; relative to that one unless it is absolute.
        download: Whether to download a missing set into the folder; torchvision shows the progress.
    """
    from advtransfer_vision.data.torchvision_sets import load_torchvision_set

    return load_torchvision_set(name, root=root, download=download)


@precheck(outline=outlines.npz_outline)
@component(tasks=("classes", "attributes"))
def npz(
    *,
    file: File,
    x_train: str = "x_train",
    y_train: str = "y_train",
    x_test: str = "x_test",
    y_test: str = "y_test",
    class_names: str = "class_names",
    layout: Literal["auto", "NHWC", "NCHW"] = "auto",
) -> Dataset:
    """Your own images and labels in one NumPy archive.

    Images are ``(N, H, W)``, ``(N, H, W, C)`` or ``(N, C, H, W)``, uint8 or floats in [0, 1]. Labels are ``(N,)`` class
    numbers from 0, or ``(N, K)`` zeros and ones for K attributes, which an image has or has not. One-hot classes are
    read as attributes: write class numbers instead. For a set larger than the memory use `numpy.savez`: arrays stored
    without compression are mapped, not read as a whole; those of `numpy.savez_compressed` are read into memory.

    Args:
        file: The archive; it is identified by its content, not by its path.
        x_train: Key of the training images.
        y_train: Key of the training labels.
        x_test: Key of the test images.
        y_test: Key of the test labels.
        class_names: Key of the names of the classes or attributes; without such an array, they are numbered.
        layout: Where the channels are; ``auto`` searches for a dimension of 1 or 3, and fails if that is ambiguous.
    """
    from advtransfer_vision.data.array_files import load_array_files

    keys: dict[Part, tuple[str, str]] = {"train": (x_train, y_train), "test": (x_test, y_test)}
    return load_array_files(file, keys=keys, names=class_names, layout=layout)


@precheck(outline=outlines.image_folder_outline)
def image_folder(
    *,
    root: Folder,
    pixels: Annotated[int, Ge(1)] = 224,
    fit: Literal["crop", "square"] = "crop",
    crop_share: Annotated[float, Interval(gt=0, le=1)] = 0.875,
    train: str = "train",
    test: str | None = None,
    split: Annotated[FirstImages | None, Since(1)] = None,
) -> Dataset:
    """Your own image files: ``train/<class>/<image>`` and ``test/<class>/<image>`` (or ``val``) in one folder.

    With a `split` the folder has no parts, as Caltech-101 is released: ``<class>/<image>``.

    Classes are numbered in the sorted order of their folders. Images are decoded on demand, as RGB, so a set may be
    larger than the memory; the last used ones are cached (128 MiB a part). The first frame of an animation is used,
    transparency is dropped, and rotations in EXIF data are ignored. Files that are no images are left out and counted;
    a class folder without an image is an error.

    Args:
        root: The folder; it is identified by the names and content of its files, not by its path.
        pixels: Height and width of the resized images.
        fit: ``crop``: the short side is resized and the centre cut out, as in evaluations on ImageNet; ``square``: both
            sides are resized, whatever the proportions. Bilinear with antialiasing.
        crop_share: Share of the short side inside the crop; 0.875 is 224 out of 256.
        train: Name of the folder of the training images.
        test: Name of the folder of the test images; by default ``test``, or ``val`` if there is no such folder.
        split: Rule that splits a folder without parts: ``{rule: first, images: 30}`` trains on the first 30 images of
            each class, in the sorted order of their names, and tests on the others (Salman et al., 2020). `train` and
            `test` are then not used.
    """
    from advtransfer_vision.data.image_files import Framing
    from advtransfer_vision.data.image_folders import load_image_folders, load_split_folder

    framing = Framing(pixels, fit, round(pixels / crop_share))
    if split is not None:
        return load_split_folder(root, split=split, framing=framing)
    return load_image_folders(root, train=train, test=test, framing=framing)


@precheck(outline=outlines.tiny_imagenet_outline)
@component(shape=(3, 64, 64))
def tiny_imagenet(*, root: Folder) -> Dataset:
    """Tiny ImageNet: 200 classes of 64 x 64 pixels; its 10,000 validation images are the test part.

    The labels of its official test images are not public. Images are decoded on demand.

    Source: Stanford CS231n, http://cs231n.stanford.edu/tiny-imagenet-200.zip

    Args:
        root: The unpacked ``tiny-imagenet-200``, with ``train``, ``val``, ``wnids.txt`` and ``words.txt``.
    """
    from advtransfer_vision.data.tiny_imagenet import load_tiny_imagenet

    return load_tiny_imagenet(root)


@precheck(outline=outlines.synthetic_outline)
@component(tasks=("values",), example={"n_train": 40, "n_test": 10, "inputs": 6, "outputs": 3})
def synthetic(
    *,
    n_train: Annotated[int, Ge(1)] = 5000,
    n_test: Annotated[int, Ge(1)] = 5000,
    inputs: Annotated[int, Ge(1)] = 50,
    outputs: Annotated[int, Ge(1)] = 10,
    clusters: Annotated[int, Ge(1)] = 10,
    bumps: Annotated[int, Ge(1)] = 100,
    seed: Annotated[int, Ge(0)] = 0,
) -> Dataset:
    """A synthetic regression problem: radial basis functions of points from a mixture of Gaussians.

    y = A phi(x) + b with phi_i(x) = exp(-||x - mu_i||^2 / s_i). The means of the points, mu, A and b are uniform in
    [-0.5, 0.5], s in (0, 100]; the points have unit variance around their mean. Inputs ``(inputs,)`` are unbounded.
    The paper uses one set of 5,000 points; here the test part consists of new points of the same problem.

    Source: Liang et al., Uncovering the Connections Between Adversarial Transferability and Knowledge Transferability,
    ICML 2021, the synthetic experiment of its released code.

    Args:
        n_train: Number of points in the train part.
        n_test: Number of points in the test part.
        inputs: Number of dimensions of x.
        outputs: Number of dimensions of y.
        clusters: Number of Gaussians in the mixture, with equally many points each.
        bumps: Number of radial basis functions.
        seed: Seed of the problem and the points.
    """
    from advtransfer_vision.data.generated import load_synthetic

    return load_synthetic(
        n_train=n_train,
        n_test=n_test,
        inputs=inputs,
        outputs=outputs,
        clusters=clusters,
        bumps=bumps,
        seed=seed,
    )


DATASETS: tuple[Factory[Dataset], ...] = (
    digits,
    torchvision,
    npz,
    image_folder,
    tiny_imagenet,
    synthetic,
)


@precheck(outline=outlines.portion_outline, check=outlines.check_portion)
@component(shape="data", tasks=("classes", "attributes", "values"))
def portion(
    *,
    data: Dataset,
    start: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
    end: Annotated[float, Interval(gt=0, le=1)] = 1.0,
) -> Dataset:
    """A portion of another data set's train part, with its whole test part: for a source and a target of one set.

    The train part is cut in a fixed order in which every class is spread evenly: portions whose shares do not overlap
    have no image in common, and each of them has every class at its share. Views such as ``classes`` are applied to the
    portion, so portions with different views are disjoint as well.

    Args:
        data: The data set to cut.
        start: Share of the train part before the portion.
        end: Share of the train part up to the end of the portion; above `start`.
    """
    from advtransfer_vision.data.parts import cut_portion

    return cut_portion(data, start=start, end=end)


PORTIONS: tuple[Factory[Dataset], ...] = (portion,)
