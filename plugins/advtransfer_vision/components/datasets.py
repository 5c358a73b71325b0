"""Data sets of images, and disjoint portions of them.

Light: what reads them is imported when one is built.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge, Interval

from advtransfer.precheck import precheck
from advtransfer.types import Dataset, Factory, File, Folder, NotInId, Part, component
from advtransfer_vision import outlines

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
"""torchvision's classification sets whose images all have one size; EMNIST with its split."""


@precheck(outline=outlines.digits_outline, check=outlines.check_digits)
@component(shape=(1, 8, 8))
def digits(
    *,
    test_share: Annotated[float, Interval(gt=0, lt=1)] = 0.3,
    split_seed: Annotated[int, Ge(0)] = 0,
) -> Dataset:
    """1,797 handwritten digits of 8 x 8 pixels, bundled with scikit-learn: nothing is downloaded.

    Ten classes, ``0`` to ``9``; 16 grey levels, scaled to [0, 1]. The bundle has no official split: this one draws the
    test part with every class at its share (540 test images by default).

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998,
    https://doi.org/10.24432/C50P49 (CC BY 4.0); scikit-learn bundles its test set.

    Args:
        test_share: The share of the images that makes the test part.
        split_seed: Draws the split.
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
    """A classification set that torchvision knows by name, in its own size, with its official train and test parts.

    It is looked for where torchvision puts it (``MNIST/raw``, ``cifar-10-batches-py`` ...) under ADVTRANSFER_DATA.
    MNIST, FashionMNIST and KMNIST may be the packed ``.gz`` files, in a folder that cannot be written. Nothing is
    fetched or written unless `download` says so. Images are as torchvision gives them: EMNIST's lie on their side.

    Args:
        name: torchvision's name of it.
        root: Another folder than ADVTRANSFER_DATA; relative to that one unless it is absolute.
        download: Fetch it into the folder when it is not there; torchvision shows the progress.
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
    numbers from 0, or ``(N, K)`` zeros and ones: K attributes each image has or has not (one-hot classes are attributes
    too: write class numbers). Write a set larger than the memory with `numpy.savez`: arrays stored without compression
    are mapped, never read as a whole; those of `numpy.savez_compressed` are read into memory as they are stored.

    Args:
        file: The archive; it is known by its content, not by its path.
        x_train: The key of the training images.
        y_train: The key of the training labels.
        x_test: The key of the test images.
        y_test: The key of the test labels.
        class_names: The key of the names of the classes or attributes; numbers where there is no such array.
        layout: Where the channels are; ``auto`` finds 1 or 3 of them, and asks where that is ambiguous.
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
) -> Dataset:
    """Your own image files: ``train/<class>/<image>`` and ``test/<class>/<image>`` (or ``val``) in one folder.

    Classes are numbered in the sorted order of their folders. Images are decoded when they are asked for, as RGB, so a
    set may be far larger than the memory; the last used are kept decoded (128 MiB a part). Of an animation the first
    frame is taken, transparency is dropped, and an image lies as in its file, whatever rotation its EXIF data ask for.
    Files that are no images are left out and counted; a class folder without an image is an error.

    Args:
        root: The folder; it is known by the names and content of its files, not by its path.
        pixels: Height and width that every image is brought to.
        fit: ``crop``: the short side is resized and the centre cut out, as ImageNet is evaluated; ``square``: both
            sides are resized, whatever the proportions. Bilinear with antialiasing.
        crop_share: For ``crop``: the share of the short side that is kept; 0.875 is 224 out of 256.
        train: The folder of the training images.
        test: The folder of the test images; when left out ``test``, or ``val`` where there is none.
    """
    from advtransfer_vision.data.image_files import Framing
    from advtransfer_vision.data.image_folders import load_image_folders

    framing = Framing(pixels, fit, round(pixels / crop_share))
    return load_image_folders(root, train=train, test=test, framing=framing)


@precheck(outline=outlines.tiny_imagenet_outline)
@component(shape=(3, 64, 64))
def tiny_imagenet(*, root: Folder) -> Dataset:
    """Tiny ImageNet: 200 classes of 64 x 64 pixels; its 10,000 validation images are the test part.

    The labels of its official test images are not public. Images are decoded when they are asked for.

    Source: Stanford CS231n, http://cs231n.stanford.edu/tiny-imagenet-200.zip

    Args:
        root: The unpacked ``tiny-imagenet-200``, with ``train``, ``val``, ``wnids.txt`` and ``words.txt``.
    """
    from advtransfer_vision.data.tiny_imagenet import load_tiny_imagenet

    return load_tiny_imagenet(root)


@precheck(outline=outlines.synthetic_outline)
@component(tasks=("values",))
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
    """A regression problem of known shape: radial basis functions of points from a mixture of Gaussians.

    y = A phi(x) + b with phi_i(x) = exp(-||x - mu_i||^2 / s_i). The points' means, mu, A and b are uniform in
    [-0.5, 0.5], s in (0, 100]; the points have unit variance around their mean. Inputs ``(inputs,)`` are unbounded.
    The source has one set of 5,000 points; here the test part is drawn anew from the same problem.

    Source: Liang et al., Uncovering the Connections Between Adversarial Transferability and Knowledge Transferability,
    ICML 2021, the synthetic experiment of its released code.

    Args:
        n_train: Points of the train part.
        n_test: Points of the test part.
        inputs: Dimensions of x.
        outputs: Dimensions of y.
        clusters: Gaussians in the mixture, each with its share of the points.
        bumps: Radial basis functions.
        seed: Draws the problem and the points.
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
    """A portion of another data set's train part, beside its whole test part: for a source and a target of one set.

    The train part is put in one fixed order in which every class is spread evenly, and cut at shares of it: portions
    whose shares do not overlap have no image in common, and every class has its share in each. ``classes`` and other
    views are laid over the portion, so portions of different classes are disjoint likewise.

    Args:
        data: The data set to cut.
        start: The share of the train part that lies before the portion.
        end: The share of the train part that the portion reaches to, above `start`.
    """
    from advtransfer_vision.data.parts import cut_portion

    return cut_portion(data, start=start, end=end)


PORTIONS: tuple[Factory[Dataset], ...] = (portion,)
