"""Pictures out of files: encoded bytes in, RGB pixels out, fast, whatever the bytes are.

Training wants one crop, small, often: `region`. Most of its time goes to a JPEG's entropy decoding,
which no library is faster at than libjpeg-turbo (here by simplejpeg), so what can be saved is

- the rows below the crop: a JPEG is decoded from the top, and told to be less high, it ends there;
- resizing: torch's antialiased kernels are Pillow's, vectorised (equal but for rounding);
- pixels that a small output never shows: where the crop is 4 or 8 times as large as the output, the
  inverse DCT is computed at 1/4 or 1/8 of the size. At 1/2 that was no gain, in between a loss.

Evaluation wants every pixel as everybody else has it: `whole` is Pillow's decoder.

A picture is readable if Pillow can read it, whichever decoder then does: a truncated file is not;
one with damaged entropy data, but all there, is, with grey or wrong blocks. EXIF orientations are
ignored, as timm and torchvision ignore them, so that published accuracies can be met.
"""

from __future__ import annotations

import io
from typing import Final, Literal

import numpy as np
import simplejpeg
import torch
from PIL import Image, UnidentifiedImageError
from torch.nn import functional as F

MAX_PIXELS: Final = 178_956_970  # Pillow's: above it takes a picture for a decompression bomb
TOO_LARGE: Final = f"more than {MAX_PIXELS} pixels"

# Pillow's other formats are not for photographs, and one of them would start Ghostscript.
FORMATS: Final = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")
RESAMPLING: Final = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
SCALES: Final = (8, 4)  # of the inverse DCT: 1/8 and 1/4, which libjpeg-turbo vectorises

START_OF_IMAGE: Final = b"\xff\xd8"
END_OF_IMAGE: Final = b"\xff\xd9"
SEQUENTIAL: Final = (0xC0, 0xC1)  # frames: baseline and extended, Huffman-coded
START_OF_SCAN: Final = 0xDA
SEQUENCE: Final = b"\x00\x3f\x00"  # what a sequential scan's header ends in

Box = tuple[int, int, int, int]  # left, upper, right, lower
Source = bytes | np.ndarray  # an encoded picture, or uint8 [H, W, 3] in RGB


class Unreadable(Exception):
    """These bytes are no picture. The message is the reason, in one line, and the bytes' alone."""


def size(source: Source) -> tuple[int, int]:
    """Width and height in pixels, from the header alone.

    Raises:
        Unreadable: no header that can be read, or a picture of more than MAX_PIXELS.
    """
    if isinstance(source, np.ndarray):
        return source.shape[1], source.shape[0]
    return _jpeg_header(source) or _opened(source).size


def region(
    source: Source, box: Box, resolution: int, interpolation: Literal["bilinear", "bicubic"]
) -> np.ndarray:
    """A crop, resized to a square with antialiasing, as Pillow would crop and resize it.

    The pixels are Pillow's but for rounding, except where the crop is 4 or more times as large as
    the output on both sides: there the inverse DCT does a part of the averaging, and the mean
    difference is up to 1 of 255 in benchmarks/loader.py, and below 2 in the tests.

    Args:
        source: an encoded picture, or one in memory: uint8 [H, W, 3] in RGB.
        box: left, upper, right, lower in pixels of the full-size picture.
        resolution: R, in pixels.
        interpolation: the antialiasing filter.

    Returns:
        uint8 [R, R, 3] in RGB, whose memory is in the order [3, R, R].

    Raises:
        Unreadable: of these bytes whatever the box, so that which pictures a training leaves out
            depends on the files alone.
    """
    if isinstance(source, np.ndarray):
        return _resized(source, box, resolution, interpolation)
    if (full_size := _jpeg_header(source)) is not None:
        scale = _scale(box, resolution)
        pixels = _jpeg_rows(source, full_size, box[3], scale)
        if pixels is not None:
            if scale == 1:
                return _resized(pixels, box, resolution, interpolation)
            return _resized_fraction(pixels, box, scale, resolution, interpolation)
    return _resized(np.array(whole(source)), box, resolution, interpolation)


def whole(source: Source) -> Image.Image:
    """The full-size picture in RGB, exactly as Pillow decodes and converts it.

    16-bit greys keep their upper 8 bits (Pillow would clip at 255). Transparency is dropped. Of an
    animation it is the first frame.

    Raises:
        Unreadable: corrupt, truncated, empty, in no known format, or of more than MAX_PIXELS.
    """
    if isinstance(source, np.ndarray):
        return Image.fromarray(source)
    image = _opened(source)
    try:
        image.load()
        if image.mode.startswith("I"):
            return Image.fromarray(_upper_bits(np.asarray(image))).convert("RGB")
        image.info.pop("transparency", None)  # else Pillow warns that it will be dropped
        return image.convert("RGB")
    except MemoryError:
        raise
    except Exception as error:  # what damaged bytes raise depends on where the damage is
        raise _unreadable(error) from error


def _upper_bits(grey: np.ndarray) -> np.ndarray:
    """The upper 8 of 16 bits, in whatever integers Pillow holds them: uint8 [H, W]."""
    return np.clip(grey.astype(np.int64) >> 8, 0, 255).astype(np.uint8)


def _opened(encoded: bytes) -> Image.Image:
    """Pillow's image, its header read and its pixels not."""
    if not encoded:
        raise Unreadable("empty file")
    try:
        image = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except MemoryError:
        raise
    except Exception as error:
        raise _unreadable(error) from error
    _limit(*image.size)
    return image


def _limit(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise Unreadable(TOO_LARGE)


def _unreadable(error: Exception) -> Unreadable:
    if isinstance(error, UnidentifiedImageError):  # its message has an address in memory
        return Unreadable("no picture in a known format")
    if isinstance(error, Image.DecompressionBombError):
        return Unreadable(TOO_LARGE)
    lines = str(error).strip().splitlines()
    return Unreadable(lines[0] if lines else type(error).__name__)


def _jpeg_header(encoded: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG for the fast path; None for whatever is for Pillow to judge."""
    if not encoded.startswith(START_OF_IMAGE):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(encoded)
    except ValueError:
        return None
    if colours not in ("YCbCr", "Gray"):
        return None
    _limit(width, height)
    return width, height


def _scale(box: Box, resolution: int) -> int:
    """The divisor of a JPEG's size with which a crop still has the output's resolution, or 1."""
    shorter = min(box[2] - box[0], box[3] - box[1])
    return next((scale for scale in SCALES if shorter >= scale * resolution), 1)


def _jpeg_rows(
    encoded: bytes, full_size: tuple[int, int], lower: int, scale: int
) -> np.ndarray | None:
    """A JPEG at 1/scale of its size down to at least a row: uint8 [>= lower / scale, W, 3] in RGB.

    Told of fewer rows, libjpeg looks through the rest of the scan for the next marker and warns. So
    warnings are no errors there, and simplejpeg then hides whatever error follows one: hence only a
    file in which nothing can follow (`_plain`) is cut short. Any other is decoded whole, strictly.

    Returns:
        None if Pillow has to judge.
    """
    width, height = full_size
    rows, strict = height, True
    frame = _plain(encoded)
    if frame is not None:
        # 8 more for pixels at 1/8 and for chroma between rows; 16 are decoded at once anyway
        rows, strict = min(height, -(-(lower + 8) // 16) * 16), False
        encoded = b"".join((encoded[:frame], rows.to_bytes(2, "big"), encoded[frame + 2 :]))
    shape = (-(-rows // scale), -(-width // scale))
    try:
        pixels = simplejpeg.decode_jpeg(
            encoded, min_height=shape[0], min_width=shape[1], min_factor=scale, strict=strict
        )
    except ValueError:
        return None
    return pixels if pixels.shape[:2] == shape else None


def _plain(encoded: bytes) -> int | None:
    """Where a JPEG states its height, in 2 bytes, if it is sequential, whole and of a single scan.

    That is, after the one scan's header every 0xFF is a stuffed byte of entropy data, and only the
    file's last two bytes are a marker. Pillow reads any such file; None for others.
    """
    frame, components, place, marker = 0, 0, 2, 0
    while marker != START_OF_SCAN:
        if place + 10 > len(encoded) or encoded[place] != 0xFF:
            return None
        marker, segment = encoded[place + 1], place + 4
        if marker in SEQUENTIAL:
            frame, components = segment + 1, encoded[segment + 5]
        place += 2 + int.from_bytes(encoded[place + 2 : segment], "big")
    if not components or encoded[segment] != components or encoded[place - 3 : place] != SEQUENCE:
        return None
    scan = np.frombuffer(encoded, np.uint8)[place:]
    (marks,) = np.nonzero(scan == 0xFF)
    whole = encoded.endswith(END_OF_IMAGE) and len(marks) and marks[-1] == len(scan) - 2
    return frame if whole and not scan[marks[:-1] + 1].any() else None


def _resized(pixels: np.ndarray, box: Box, resolution: int, interpolation: str) -> np.ndarray:
    """A crop of whole pixels."""
    left, upper, right, lower = box
    crop = torch.from_numpy(pixels[upper:lower, left:right]).permute(2, 0, 1)[None]
    side = (resolution, resolution)
    resized = F.interpolate(crop, side, mode=interpolation, antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


def _resized_fraction(
    pixels: np.ndarray, box: Box, scale: int, resolution: int, interpolation: str
) -> np.ndarray:
    """A crop of pixels at 1/scale, cut where the box is, between them if need be.

    torch's kernels start at whole pixels only, which would move the crop; Pillow's do not.
    """
    left, upper, right, lower = (edge / scale for edge in box)
    x, y = int(left), int(upper)
    near = Image.fromarray(pixels[y : -(-box[3] // scale), x : -(-box[2] // scale)])
    inside = (left - x, upper - y, right - x, lower - y)
    side = (resolution, resolution)
    resized = np.asarray(near.resize(side, RESAMPLING[interpolation], box=inside))
    return np.ascontiguousarray(resized.transpose(2, 0, 1)).transpose(1, 2, 0)
