"""Which files below a part's folder are images, of which class, and which files are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from advtransfer.digests import SYSTEM_FILES, below, encodable, not_files
from advtransfer.errors import Problem
from advtransfer_vision.notes import tell

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
HIDDEN, LOOSE, NO_FILE = "hidden", "outside of class folders", "links to nowhere or special files"


@dataclass(frozen=True, slots=True)
class Listed:
    """The images of one part: their names, sorted by class and then by name, and each one's class.

    `left_out` counts the files that are no images, by class folder (``""`` for what is in none) and by kind.
    """

    folder: Path
    names: list[str]
    classes: list[str]
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def problems(self) -> list[Problem]:
        """One for each class folder without an image: its class would vanish, and the others be renumbered."""
        empty = sorted(_class_folders(self.folder) - set(self.classes))
        return [self._without_images(name) for name in empty]

    def warn(self) -> None:
        """Tell how many files are left out, and of what kinds."""
        kinds: Counter[str] = sum((Counter(counts) for counts in self.left_out.values()), Counter())
        if kinds:
            count = f"{kinds.total()} {'file is' if kinds.total() == 1 else 'files are'} left out"
            tell(f"{str(self.folder)!r}: {count} ({_counted(kinds)}); images are {', '.join(SUFFIXES)}")
        nested = sorted(set(self.classes) - {name.split("/")[0] for name in self.names if name.count("/") == 1})
        if nested and len(set(self.classes)) == 1:
            tell(
                f"{str(self.folder)!r}: all images are of one class, {nested[0]!r}, in folders below it; if these are "
                f"the classes, name {str(self.folder / nested[0])!r} with the options `train` and `test`"
            )

    def _without_images(self, name: str) -> Problem:
        there = self.left_out.get(name)
        holds = f" (there are {_counted(there)})" if there else ""
        next_step = "convert its files, for instance to PNG, or remove it" if there else "fill it, or remove it"
        found = f"no image in the class folder {name!r} of {str(self.folder)!r}{holds}"
        return Problem(found, f"files named {', '.join(SUFFIXES)}", next_step)


def listed(folder: Path) -> Listed:
    """The images in the class folders of a part, whatever folders lie between; hidden ones are left out."""
    names: list[str] = []
    left_out: dict[str, Counter[str]] = {}
    for name in below(folder):
        why = _why_left_out(name)
        if why is None:
            names.append(name)
        else:
            left_out.setdefault(_class_of(name), Counter())[why] += 1
    for name in not_files(folder):
        left_out.setdefault(_class_of(name), Counter())[NO_FILE] += 1
    names.sort(key=lambda name: (name.partition("/")[0], name))
    return Listed(folder, names, [name.partition("/")[0] for name in names], left_out)


def printable(name: str) -> str:
    """A folder's name as a class's: what UTF-8 cannot hold or a terminal would obey is escaped."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in encodable(name))


def _why_left_out(name: str) -> str | None:
    *folders, file = name.split("/")
    if any(part.startswith(".") for part in (*folders, file)):
        return HIDDEN
    if not folders:
        return LOOSE
    suffix = Path(file).suffix.lower()
    return None if file.lower().endswith(SUFFIXES) else suffix or "without a suffix"


def _class_of(name: str) -> str:
    return name.partition("/")[0] if "/" in name else ""


def _class_folders(folder: Path) -> set[str]:
    names = (path.name for path in folder.iterdir() if path.is_dir())
    return {name for name in names if not name.startswith(".") and not SYSTEM_FILES.fullmatch(name)}


def _counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {printable(kind)}" for kind, count in sorted(kinds.items()))
