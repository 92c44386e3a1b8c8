"""Decoding: Pillow's pixels for every crop, and a one-line reason for unreadable bytes."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from functools import cache, partial

import numpy as np
import pytest
from PIL import Image

from pretrain.images import decode

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
FRAME = b"\xff\xc0\x00\x11\x08"  # a baseline frame of three components; height and width follow


@cache
def photograph(width: int, height: int) -> np.ndarray:
    """Noise with the spectrum of photographs: uint8 [height, width, 3]."""
    rng = np.random.default_rng((width, height))
    total = np.full((height, width, 3), 128.0)
    for octave in range(2, 9):
        noise = Image.fromarray(rng.integers(0, 256, (2**octave, 2**octave, 3), dtype=np.uint8))
        smooth = np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), float)
        total += (smooth - 128) * 0.7**octave * 1.5
    return np.clip(total, 0, 255).astype(np.uint8)


def saved(image: Image.Image | np.ndarray, kind: str = "JPEG", **options) -> bytes:
    stream = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(stream, kind, **({"quality": 92} if kind == "JPEG" else {}) | options)
    return stream.getvalue()


def by_pillow(encoded: bytes, box: decode.Box, resolution: int, kind: str) -> np.ndarray:
    """As torchvision and timm do it: decode completely, crop, resize."""
    crop = Image.open(io.BytesIO(encoded)).convert("RGB").crop(box)
    return np.asarray(crop.resize((resolution, resolution), FILTERS[kind]), np.int16)


def difference(encoded: bytes, box: decode.Box, resolution: int, kind: str) -> np.ndarray:
    found = decode.resized_crop(encoded, box, resolution, kind)
    assert found.shape == (resolution, resolution, 3)
    assert found.dtype == np.uint8
    return np.abs(found - by_pillow(encoded, box, resolution, kind))


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize(
    "options",
    [
        dict(subsampling="4:2:0"),
        dict(subsampling="4:2:2"),
        dict(subsampling="4:4:4"),
        dict(progressive=True),
        dict(restart_marker_blocks=3),
        dict(quality=40, optimize=True),
    ],
    ids=str,
)
def test_crops_are_pillows_up_to_rounding(kind: str, options: dict) -> None:
    encoded = saved(photograph(233, 187), **options)

    for box in [(0, 0, 233, 187), (17, 5, 201, 128), (3, 100, 60, 187), (50, 0, 53, 1)]:
        for resolution in (50, 80):
            assert difference(encoded, box, resolution, kind).max() <= 2, (box, resolution)


def test_the_last_row_of_a_crop_is_right() -> None:
    """For every height: rows below the crop are not decoded."""
    encoded = saved(photograph(64, 70))

    for lower in range(1, 71):
        crop = decode.resized_crop(encoded, (0, lower - 1, 64, lower), 64, "bilinear")
        row = np.asarray(Image.open(io.BytesIO(encoded)))[lower - 1]
        np.testing.assert_array_equal(crop, np.broadcast_to(row, (64, 64, 3)))


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("options", [{}, dict(progressive=True)], ids=str)
def test_scaled_decoding_stays_close(kind: str, options: dict) -> None:
    """Crops 4 and 8 times as large as the output that begin between scaled pixels."""
    encoded = saved(photograph(701, 533), **options)

    for box in [(0, 0, 701, 533), (13, 7, 601, 469), (95, 31, 699, 527), (1, 2, 420, 390)]:
        for resolution in (32, 44, 90):
            assert difference(encoded, box, resolution, kind).mean() < 2, (box, resolution)


@pytest.mark.parametrize("resolution", [24, 40, 90, 200])
def test_nothing_is_shifted(resolution: int) -> None:
    """The centre of mass of a dot is right to a tenth of an output pixel, at every offset."""
    rows, columns = np.mgrid[:400, :400]
    dot = 20 + 220 * np.exp(-((columns - 163.2) ** 2 + (rows - 241.7) ** 2) / (2 * 12**2))
    encoded = saved(np.repeat(dot[:, :, None], 3, axis=2).round().astype(np.uint8))

    for left, upper in zip(range(8, 24), range(23, 7, -1), strict=True):
        box = (left, upper, left + 371, upper + 373)
        crop = decode.resized_crop(encoded, box, resolution, "bilinear")[:, :, 0] - 20.0
        weight = np.where(crop > 20, crop, 0)
        y, x = ((np.mgrid[:resolution, :resolution] + 0.5) * weight).sum((1, 2)) / weight.sum()
        assert x == pytest.approx((163.7 - left) * resolution / 371, abs=0.1)
        assert y == pytest.approx((242.2 - upper) * resolution / 373, abs=0.1)


def test_pixels_in_memory_are_cropped_like_encoded_ones() -> None:
    pixels = photograph(90, 60)
    encoded, box = saved(pixels, "PNG"), (11, 3, 80, 59)

    assert decode.size(pixels) == (90, 60)
    assert decode.full_image(pixels).tobytes() == pixels.tobytes()
    for kind in FILTERS:
        crop = decode.resized_crop(pixels, box, 32, kind)
        assert np.abs(crop - by_pillow(encoded, box, 32, kind)).max() <= 1
        np.testing.assert_array_equal(decode.resized_crop(encoded, box, 32, kind), crop)


def test_evaluation_has_pillows_pixels() -> None:
    for options in ({}, dict(progressive=True), dict(subsampling="4:4:4"), dict(keep_rgb=True)):
        encoded = saved(photograph(233, 187), **options)
        expected = Image.open(io.BytesIO(encoded)).convert("RGB")
        assert decode.full_image(encoded).tobytes() == expected.tobytes()
        assert decode.size(encoded) == (233, 187)


def of_one_colour(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (24, 16), colour)  # type: ignore[arg-type]


def palette() -> Image.Image:
    image = of_one_colour("P", 1)
    image.putpalette([9, 9, 9, 200, 100, 50])
    return image


def deep(value: int, kind: str) -> bytes:
    return saved(Image.fromarray(np.full((16, 24), value, np.uint16)), kind)


@pytest.mark.parametrize(
    ("encoded", "rgb"),
    [
        (saved(of_one_colour("RGB", (200, 100, 50)), "PNG"), (200, 100, 50)),
        (saved(of_one_colour("L", 77), "PNG"), (77, 77, 77)),
        (saved(of_one_colour("1", 1), "PNG"), (255, 255, 255)),
        (saved(of_one_colour("LA", (77, 128)), "PNG"), (77, 77, 77)),
        (saved(of_one_colour("RGBA", (200, 100, 50, 0)), "PNG"), (200, 100, 50)),
        (saved(palette(), "PNG"), (200, 100, 50)),
        (saved(palette(), "PNG", transparency=1), (200, 100, 50)),
        (saved(palette(), "PNG", transparency=b"\x00\x80"), (200, 100, 50)),
        (saved(palette(), "GIF"), (200, 100, 50)),
        (saved(of_one_colour("RGB", (200, 100, 50)), "WEBP", lossless=True), (200, 100, 50)),
        (saved(of_one_colour("RGB", (200, 100, 50)), "BMP"), (200, 100, 50)),
        (deep(0xFFFF, "PNG"), (255, 255, 255)),
        (deep(0x7F80, "PNG"), (127, 127, 127)),
        (deep(0x00FF, "TIFF"), (0, 0, 0)),
        (deep(0x1234, "PPM"), (18, 18, 18)),
        (saved(of_one_colour("L", 77)), (77, 77, 77)),
        # inks: red is 255 (1 - 55 / 255) (1 - 0), and so on
        (saved(of_one_colour("CMYK", (55, 155, 205, 0))), (200, 100, 50)),
        (saved(of_one_colour("RGB", (200, 100, 50)), keep_rgb=True), (200, 100, 50)),
    ],
)
def test_other_colours_and_formats_become_rgb(encoded: bytes, rgb: tuple[int, int, int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode.size(encoded) == (24, 16)
        image = decode.full_image(encoded)
        crop = decode.resized_crop(encoded, (3, 2, 20, 15), 8, "bilinear")

    assert (image.mode, image.size) == ("RGB", (24, 16))
    for pixels in (np.asarray(image), crop):
        assert np.abs(pixels.astype(int) - rgb).max() <= (1 if encoded[:2] == b"\xff\xd8" else 0)


def test_orientation_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotated by 90 degrees
    pixels = photograph(120, 60)
    turned, plain = saved(pixels, exif=exif), saved(pixels)

    assert turned != plain
    assert decode.size(turned) == (120, 60)
    assert decode.full_image(turned).tobytes() == decode.full_image(plain).tobytes()
    one, two = (decode.resized_crop(e, (5, 5, 100, 50), 32, "bilinear") for e in (turned, plain))
    np.testing.assert_array_equal(one, two)


def png_of(width: int, height: int) -> bytes:
    """A PNG of this size in its header, without any pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def jpeg_of(width: int, height: int) -> bytes:
    encoded = bytearray(saved(photograph(40, 30)))
    place = encoded.index(FRAME) + len(FRAME)
    encoded[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(encoded)


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (b"", "empty file"),
        (b"no image", "not an image in a known format"),
        (b"\xff\xd8", "not an image in a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image in a known format"),
        (png_of(60000, 60000), "more than 178956970 pixels"),
        (jpeg_of(60000, 60000), "more than 178956970 pixels"),
        (jpeg_of(0, 30), "not an image in a known format"),
        (saved(photograph(40, 30), "PNG")[:-900], "image file is truncated"),
        (saved(photograph(40, 30), "GIF")[:-900], "image file is truncated"),
        (saved(photograph(40, 30), "WEBP")[:-9], "could not create decoder object"),
    ],
)
def test_the_reason_is_one_line(encoded: bytes, reason: str) -> None:
    crop = partial(decode.resized_crop, box=(0, 0, 20, 20), resolution=8, interpolation="bilinear")
    for function in (decode.full_image, crop):
        with pytest.raises(decode.Unreadable, match=f"^{reason}") as caught:
            function(encoded)
        assert "\n" not in str(caught.value)
        assert " at 0x" not in str(caught.value)


@pytest.mark.parametrize("encoded", [png_of(60000, 60000), jpeg_of(60000, 60000)])
def test_decompression_bombs_are_found_by_their_header(encoded: bytes) -> None:
    with pytest.raises(decode.Unreadable, match="more than 178956970 pixels"):
        decode.size(encoded)


def readable(encoded: bytes) -> bool:
    try:
        Image.open(io.BytesIO(encoded)).convert("RGB")
    except Exception:
        return False
    return True


def decoded(encoded: bytes, box: decode.Box) -> np.ndarray | None:
    try:
        return decode.resized_crop(encoded, box, 16, "bilinear")
    except decode.Unreadable:
        return None


@pytest.mark.parametrize("options", [{}, dict(progressive=True), dict(restart_marker_blocks=2)])
def test_a_file_truncated_anywhere_is_unreadable_for_every_crop(options: dict) -> None:
    encoded = saved(photograph(64, 64), **options)

    # Pillow can read a file that lacks only its end marker, after a restart marker
    for end in (*range(0, len(encoded) - 3, 11), len(encoded) - 3):
        assert not readable(encoded[:end]), "Pillow cannot read it"
        for box in [(0, 0, 64, 16), (0, 0, 64, 64)]:
            assert decoded(encoded[:end], box) is None, end
        with pytest.raises(decode.Unreadable):
            decode.full_image(encoded[:end])
    assert decoded(encoded, (0, 0, 64, 16)) is not None
    assert decoded(encoded + b"trailing", (0, 0, 64, 16)) is not None


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_damaged_file_is_readable_if_pillow_reads_it() -> None:
    """A crop is readable exactly if Pillow reads the image, and then has Pillow's pixels."""
    rng = np.random.default_rng(0)
    whole = [saved(photograph(64, 64), **o) for o in ({}, dict(progressive=True))]
    outcomes = set()
    for trial in range(1500):
        damaged = bytearray(whole[trial % 2])
        last = 700 if trial % 3 else len(damaged)  # more often in the headers
        for place in rng.integers(2, last, int(rng.integers(1, 4))):
            damaged[place] = rng.integers(256)
        if trial % 5 == 0:
            del damaged[int(place) : int(place) + 7]
        encoded = bytes(damaged)
        box = (0, 0, 48, 1 + trial % 48)
        outcomes.add(expected := readable(encoded))
        crop = decoded(encoded, box)
        assert (crop is not None) == expected, trial
        if crop is not None and Image.open(io.BytesIO(encoded)).size == (64, 64):
            assert np.abs(crop - by_pillow(encoded, box, 16, "bilinear")).max() <= 1, trial
    assert outcomes == {True, False}
