"""Folders of images as people have them: which folder names a class, which a split, and what is left alone."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from frostline.constants import IMAGE_ENDINGS, SPLITS
from frostline.errors import InputError

SPLIT_WORDS = {
    "train": "train", "training": "train", "trn": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test", "tst": "test",
}  # fmt: skip
"""Words in a folder's name that mean an official split."""
EMPTY_WORDS = {"data", "dataset", "image", "images", "img", "imgs", "set", "split"}
"""Words beside them that mean nothing."""
OF_PROGRAMS = {
    "@eadir", "#recycle", "#snapshot", "$recycle.bin", "__macosx", "__pycache__", "lost+found",
    "system volume information",
}  # fmt: skip
"""Folders, in lower case, in which programs keep thumbnails, deleted files and the like."""
NAMED_AT_MOST = 3
KNOWN_ENDINGS = f"Known endings: {', '.join(IMAGE_ENDINGS)}."


@dataclass(frozen=True)
class Found:
    """An image file, its class, its split where the folders tell one, and the folders in which it lies below those."""

    path: Path
    class_name: str
    split: str | None
    group: str


@dataclass(frozen=True)
class Folder:
    """The images below a folder, sorted by path, how its folders were `understood`, and what was `left_alone`."""

    images: list[Found]
    understood: str
    left_alone: list[str]


@dataclass(frozen=True)
class Tree:
    """A folder with its own image files and the folders in it, of which some may hold images."""

    path: Path
    images: list[Path]
    below: list["Tree"]

    @property
    def name(self) -> str:
        """Its name."""
        return self.path.name

    def list_images(self) -> list[Path]:
        """Return all images in it and below it."""
        return [*self.images, *(path for tree in self.below for path in tree.list_images())]


def read_folders(root: Path, *, grouped: bool = False) -> Folder:
    """Return the images below `root`, by the layout that its folders have.

    Folders of classes may lie in folders of splits, or have folders of splits in them; others below those of classes
    are groups of images where somebody said so (`grouped`), and else say nothing. Raises `InputError` where no layout
    fits, or two do.
    """
    if not root.is_dir():
        raise refuse("be a folder of class-named folders", f"no folder at {str(root)!r}")
    left: Counter[str] = Counter()
    tree = look_into(root, left)
    if not tree.below:
        raise refuse("hold one folder of images for each class", f"no folder in {str(root)!r}")
    top = descend(tree)
    found, understood = find_layout(top, grouped=grouped)
    if top is not tree:
        understood += f", in {str(top.path.relative_to(root))!r}"
    check_names([found_image.path.relative_to(root) for found_image in found])
    check_found(root, found)
    told = [f"{count:,} {what}" for what, count in sorted(left.items())]
    return Folder(sorted(found, key=lambda each: each.path), understood, told)


def look_into(folder: Path, left: Counter[str]) -> Tree:
    """Return the folder as a tree; count in `left` what is no image, and what lies in folders of other programs.

    What is hidden is not counted. A link to a folder is refused: dvc does not see what changes behind it.
    """
    images: list[Path] = []
    below: list[Tree] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if path.name.lower() in OF_PROGRAMS:
                left[f"files in {path.name}"] += sum(len(files) for _, _, files in os.walk(path))
            elif path.is_symlink():
                fix = "Copy what it leads to in its place, as dvc does not see what changes there."
                raise refuse("hold no links to folders", f"{str(path)!r}", fix)
            else:
                below.append(look_into(path, left))
        elif path.suffix.lower() not in IMAGE_ENDINGS:
            left[f"{path.suffix.lower() or 'without an ending'} (no image's ending)"] += 1
        elif path.is_file():
            images.append(path)
        else:
            left[f"{path.suffix.lower()} (no file, or a link that leads nowhere)"] += 1
    return Tree(folder, images, below)


def descend(tree: Tree, *, past_splits: bool = False) -> Tree:
    """Return the first folder at or below this one that holds several folders, or images, or folders with images.

    One whose name says a split is looked through only where its split is known already.
    """
    while len(tree.below) == 1 and not tree.images:
        (only,) = tree.below
        if only.images or not only.below or (find_split(only.name) and not past_splits):
            break
        tree = only
    return tree


def find_layout(top: Tree, *, grouped: bool) -> tuple[list[Found], str]:
    """Return the images with their classes and splits, and in words how the folders were understood."""
    refuse_loose(top)
    splits = find_splits(top.below)
    if splits:
        return find_splits_above(top, splits)
    inside = [find_splits(tree.below) if not tree.images else {} for tree in top.below]
    if all(inside):
        found = [
            Found(path, of_class.name, split_of[split.name], name_group(path, split))
            for of_class, split_of in zip(top.below, inside, strict=True)
            for split in of_class.below
            for path in split.list_images()
        ]
        names = list(dict.fromkeys(split.name for of_class in top.below for split in of_class.below))
        return found, f"folders of splits ({', '.join(names)}) in those of {len(top.below)} classes"
    refuse_two_ways(top, grouped=grouped)
    found = [Found(path, tree.name, None, name_group(path, tree)) for tree in top.below for path in tree.list_images()]
    return found, f"folders of {len(top.below)} classes"


def find_splits_above(top: Tree, splits: dict[str, str]) -> tuple[list[Found], str]:
    """Return the images of folders of splits in which those of classes lie."""
    found = []
    for tree in top.below:
        inner = descend(tree, past_splits=True)
        refuse_loose(inner)
        for of_class in inner.below:
            refuse_deep_splits(of_class)
            images = of_class.list_images()
            found += [Found(path, of_class.name, splits[tree.name], name_group(path, of_class)) for path in images]
            if not images:
                raise refuse("hold images in every class folder", f"none in {str(of_class.path)!r}", KNOWN_ENDINGS)
    classes = len({each.class_name for each in found})
    return found, f"folders of {classes} classes in those of splits ({', '.join(tree.name for tree in top.below)})"


def name_group(path: Path, tree: Tree) -> str:
    """Return the folders between the image and the one of its class or split, or "" where there are none."""
    between = path.parent.relative_to(tree.path).as_posix()
    return "" if between == "." else between


def find_split(name: str) -> str | None:
    """Return the split that a folder's name says, if one of its words does: "seg_train" is train."""
    said = {SPLIT_WORDS[word] for word in split_words(name) if word in SPLIT_WORDS}
    return next(iter(said)) if len(said) == 1 else None


def split_words(name: str) -> list[str]:
    """Return the words of a name, in lower case, without numbers."""
    return re.findall(r"[a-z]+", name.lower())


def find_splits(trees: Sequence[Tree]) -> dict[str, str]:
    """Return the split of each of these folders by its name, or nothing where they are none.

    They are where each says one and their other words are the same. Where only some do it, both are named.
    """
    said = {tree.name: find_split(tree.name) for tree in trees}
    rest = {
        tuple(word for word in split_words(name) if word not in SPLIT_WORDS and word not in EMPTY_WORDS)
        for name, split in said.items()
        if split
    }
    plain = [name for name, split in said.items() if split and set(split_words(name)) <= {*SPLIT_WORDS, *EMPTY_WORDS}]
    if said and all(said.values()) and len(rest) == 1:
        return {name: split for name, split in said.items() if split}
    if plain or (len(rest) == 1 and sum(map(bool, said.values())) > 1):
        other = next(name for name, split in said.items() if not split or name not in (plain or [name]))
        a_split = next(name for name, split in said.items() if split and name != other)
        got = f"{other!r} beside {a_split!r} (a split or a class?)"
        fix = "Take away what is neither, or rename a class that has a split's name."
        raise refuse("hold either class folders or only train, validation and test", got, fix)
    return {}


def refuse_loose(where: Tree) -> None:
    """Refuse images that lie where only folders should: nothing tells their class."""
    if where.images:
        got = f"{where.images[0].name!r} loose in {str(where.path)!r}"
        raise refuse("hold images in class folders only", got)


def refuse_deep_splits(of_class: Tree) -> None:
    """Refuse folders of splits where nobody would look for them."""
    for tree in of_class.below:
        if tree.name.lower() in SPLIT_WORDS:
            got = f"{str(tree.path)!r}"
            raise refuse("hold folders of splits directly above or below those of all classes", got)
        refuse_deep_splits(tree)


def refuse_two_ways(top: Tree, *, grouped: bool) -> None:
    """Refuse folders of which the upper ones may be the classes, or the lower ones, which are the same in all."""
    for tree in top.below:
        refuse_deep_splits(tree)
        if not tree.list_images() and any(each.list_images() for each in top.below):
            raise refuse("hold images in every class folder", f"none in {str(tree.path)!r}", KNOWN_ENDINGS)
    names = [sorted(tree.name for tree in each.below) for each in top.below]
    alike = len(top.below) > 1 and len(names[0]) > 1 and all(its == names[0] for its in names)
    if alike and not grouped and not any(tree.images for tree in top.below):
        upper, lower = (join_few(each) for each in ([tree.name for tree in top.below], names[0]))
        fix = f"If they are {upper}, say data.groups: folders; if {lower}, put these on top."
        raise refuse("tell which folders are the classes", f"{lower} in each of {upper}", fix)


def check_names(paths: Iterable[Path]) -> None:
    """Refuse names that are not UTF-8, and names that only differ in how Unicode writes their letters."""
    paths = list(paths)
    broken = [path for path in paths if not is_utf8(path)]
    if broken:
        got = join_few([repr(os.fsencode(path)) for path in broken])
        raise refuse("hold files whose names are UTF-8", got)
    forms: dict[str, str] = {}
    for path in paths:
        own = path.as_posix()
        other = forms.setdefault(unicodedata.normalize("NFC", own), own)
        if other != own:
            got = f"{own!r} twice, in two forms of Unicode"
            raise refuse("hold files with different names", got, "Keep one of them.")


def is_utf8(path: Path) -> bool:
    """Return whether the name can be written as UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def check_found(root: Path, found: Sequence[Found]) -> None:
    """Refuse what nobody can make a study of."""
    if not found:
        raise refuse("hold images", f"none in {str(root)!r}", KNOWN_ENDINGS)
    classes = sorted({each.class_name for each in found})
    if len(classes) < 2:
        raise refuse("hold at least two classes", f"only {classes[0]!r} in {str(root)!r}")
    alike: dict[str, str] = {}
    for name in classes:
        other = alike.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            raise refuse("hold classes with different names", f"{other!r} and {name!r}", "Give them one name, or two.")
    splits = {each.split for each in found}
    if splits != {None} and ("train" not in splits or len(splits) == 1):
        got = " and ".join(split for split in SPLITS if split in splits)
        fix = "Without split folders every image is tested, in folds."
        raise refuse("hold train beside validation or test if it holds splits", f"only {got}", fix)


def join_few(names: Sequence[str]) -> str:
    """Return the first three names as "a, b and c", with how many more there are."""
    more = len(names) - NAMED_AT_MOST
    few = list(names[:NAMED_AT_MOST])
    last = f"{more} more" if more > 0 else few.pop()
    return f"{', '.join(few)} and {last}" if few else last


def refuse(must: str, got: str, hint: str = "") -> InputError:
    """Return the error of a folder of images."""
    return InputError.of("data.folder", must, got, hint)
