"""Image decoding: encoded bytes in, RGB pixels out.

Training needs a small crop of each image: `resized_crop`. Most of the time is a JPEG's entropy
decoding, for which libjpeg-turbo (through simplejpeg) is the fastest library. The rest is saved:

- rows below the crop: a JPEG is decoded from the top, and the height in its header can be reduced;
- resizing: torch's antialiased kernels are a vectorised version of Pillow's (equal up to rounding);
- pixels that the output does not need: if the crop is 4 or 8 times as large as the output, the
  inverse DCT runs at 1/4 or 1/8 of the size. Other scales gave no gain.

Evaluation needs the same pixels as other libraries: `full_image` is Pillow's decoder.

An image is readable if Pillow can read it, whichever decoder is used. A truncated file is not. A
complete file with damaged entropy data is, with wrong blocks. EXIF orientation is ignored as in
timm and torchvision, to reproduce published accuracies.
"""

from __future__ import annotations

import io
from typing import Final, Literal

import numpy as np
import simplejpeg
import torch
from PIL import Image, UnidentifiedImageError
from torch.nn import functional as F

MAX_PIXELS: Final = 178_956_970  # Pillow's limit: more is a decompression bomb
TOO_LARGE: Final = f"more than {MAX_PIXELS} pixels"

# Pillow's other formats are not for photographs, and opening an EPS would start Ghostscript.
FORMATS: Final = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")
RESAMPLING: Final = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
SCALES: Final = (8, 4)  # of the inverse DCT: 1/8 and 1/4, which libjpeg-turbo vectorises

START_OF_IMAGE: Final = b"\xff\xd8"
END_OF_IMAGE: Final = b"\xff\xd9"
SEQUENTIAL: Final = (0xC0, 0xC1)  # frame markers: baseline and extended, Huffman-coded
START_OF_SCAN: Final = 0xDA
SEQUENTIAL_SCAN: Final = b"\x00\x3f\x00"  # the last bytes of a sequential scan's header

Box = tuple[int, int, int, int]  # left, upper, right, lower
Source = bytes | np.ndarray  # an encoded image, or uint8 [H, W, 3] in RGB


class Unreadable(Exception):
    """These bytes are not an image. The message, one line, depends on the bytes alone."""


def size(source: Source) -> tuple[int, int]:
    """Width and height in pixels, from the header only.

    Raises:
        Unreadable: the header cannot be read, or the image has more than MAX_PIXELS.
    """
    if isinstance(source, np.ndarray):
        return source.shape[1], source.shape[0]
    return _jpeg_size(source) or _open(source).size


def resized_crop(
    source: Source, box: Box, resolution: int, interpolation: Literal["bilinear", "bicubic"]
) -> np.ndarray:
    """A crop, resized to a square with antialiasing.

    The pixels are Pillow's up to rounding, except if the crop is at least 4 times as large as the
    output on both sides. Then the inverse DCT does a part of the averaging, and the mean difference
    is up to 1 of 255 in benchmarks/loader.py, and below 2 in the tests.

    Args:
        box: in pixels of the full-size image.
        resolution: R, in pixels.
        interpolation: the antialiasing filter.

    Returns:
        uint8 [R, R, 3] in RGB, with the memory layout [3, R, R].

    Raises:
        Unreadable: for the same bytes whatever the box, so that the files alone decide which
            images a run leaves out.
    """
    if isinstance(source, np.ndarray):
        return _resize(source, box, resolution, interpolation)
    if (full_size := _jpeg_size(source)) is not None:
        scale = _dct_scale(box, resolution)
        pixels = _jpeg_rows(source, full_size, box[3], scale)
        if pixels is not None:
            if scale == 1:
                return _resize(pixels, box, resolution, interpolation)
            return _resize_scaled(pixels, box, scale, resolution, interpolation)
    return _resize(np.array(full_image(source)), box, resolution, interpolation)


def full_image(source: Source) -> Image.Image:
    """The full-size image in RGB, exactly as Pillow decodes and converts it.

    16-bit greys keep their upper 8 bits (Pillow would clip at 255). Transparency is dropped. Only
    the first frame of an animation is used.

    Raises:
        Unreadable: corrupt, truncated, empty, of an unknown format, or more than MAX_PIXELS.
    """
    if isinstance(source, np.ndarray):
        return Image.fromarray(source)
    image = _open(source)
    try:
        image.load()
        if image.mode.startswith("I"):
            return Image.fromarray(_upper_bits(np.asarray(image))).convert("RGB")
        image.info.pop("transparency", None)  # otherwise Pillow warns that it drops it
        return image.convert("RGB")
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes can raise anything
        raise _unreadable(error) from error


def _upper_bits(grey: np.ndarray) -> np.ndarray:
    """The upper 8 of 16 bits, from any integer type: uint8 [H, W]."""
    return np.clip(grey.astype(np.int64) >> 8, 0, 255).astype(np.uint8)


def _open(encoded: bytes) -> Image.Image:
    """Pillow's image: the header is read, the pixels are not."""
    if not encoded:
        raise Unreadable("empty file")
    try:
        image = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except MemoryError:
        raise
    except Exception as error:
        raise _unreadable(error) from error
    _check_size(*image.size)
    return image


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise Unreadable(TOO_LARGE)


def _unreadable(error: Exception) -> Unreadable:
    if isinstance(error, UnidentifiedImageError):  # its message has a memory address
        return Unreadable("not an image in a known format")
    if isinstance(error, Image.DecompressionBombError):
        return Unreadable(TOO_LARGE)
    lines = str(error).strip().splitlines()
    return Unreadable(lines[0] if lines else type(error).__name__)


def _jpeg_size(encoded: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG that simplejpeg can decode; None leaves the bytes to Pillow."""
    if not encoded.startswith(START_OF_IMAGE):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(encoded)
    except ValueError:
        return None
    if colours not in ("YCbCr", "Gray"):
        return None
    _check_size(width, height)
    return width, height


def _dct_scale(box: Box, resolution: int) -> int:
    """The largest divisor at which a JPEG's crop is at least as large as the output, or 1."""
    shorter = min(box[2] - box[0], box[3] - box[1])
    return next((scale for scale in SCALES if shorter >= scale * resolution), 1)


def _jpeg_rows(
    encoded: bytes, full_size: tuple[int, int], lower: int, scale: int
) -> np.ndarray | None:
    """A JPEG at 1/scale of its size, down to row `lower` or below: uint8 [rows, columns, 3].

    To stop early, the height in the header is reduced. libjpeg then skips the rest of the scan with
    a warning, so warnings must be allowed, and simplejpeg hides errors that follow a warning. That
    is safe only if no error can follow (`_height_offset`); other files are decoded completely.

    Returns:
        None if simplejpeg fails: Pillow decides.
    """
    width, height = full_size
    rows, strict = height, True
    offset = _height_offset(encoded)
    if offset is not None:
        # 8 more rows for pixels at 1/8 and for chroma upsampling; libjpeg decodes 16 at once
        rows, strict = min(height, -(-(lower + 8) // 16) * 16), False
        encoded = b"".join((encoded[:offset], rows.to_bytes(2, "big"), encoded[offset + 2 :]))
    shape = (-(-rows // scale), -(-width // scale))
    try:
        pixels = simplejpeg.decode_jpeg(
            encoded, min_height=shape[0], min_width=shape[1], min_factor=scale, strict=strict
        )
    except ValueError:
        return None
    return pixels if pixels.shape[:2] == shape else None


def _height_offset(encoded: bytes) -> int | None:
    """The offset of a JPEG's height (2 bytes) if the file is sequential, complete and of one scan.

    Then every 0xFF after the scan's header is a stuffed byte of entropy data, except in the last
    two bytes, the end marker. Pillow reads all such files. None for other files.
    """
    height, components, position, marker = 0, 0, 2, 0
    while marker != START_OF_SCAN:
        if position + 10 > len(encoded) or encoded[position] != 0xFF:
            return None
        marker, segment = encoded[position + 1], position + 4
        if marker in SEQUENTIAL:
            height, components = segment + 1, encoded[segment + 5]
        position += 2 + int.from_bytes(encoded[position + 2 : segment], "big")
    if not components or encoded[segment] != components:
        return None
    if encoded[position - 3 : position] != SEQUENTIAL_SCAN:
        return None
    scan = np.frombuffer(encoded, np.uint8)[position:]
    (marks,) = np.nonzero(scan == 0xFF)
    complete = encoded.endswith(END_OF_IMAGE) and len(marks) and marks[-1] == len(scan) - 2
    return height if complete and not scan[marks[:-1] + 1].any() else None


def _resize(pixels: np.ndarray, box: Box, resolution: int, interpolation: str) -> np.ndarray:
    """Crops and resizes full-size pixels."""
    left, upper, right, lower = box
    crop = torch.from_numpy(pixels[upper:lower, left:right]).permute(2, 0, 1)[None]
    side = (resolution, resolution)
    resized = F.interpolate(crop, side, mode=interpolation, antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


def _resize_scaled(
    pixels: np.ndarray, box: Box, scale: int, resolution: int, interpolation: str
) -> np.ndarray:
    """Crops and resizes pixels at 1/scale, with a box that may begin between two of them.

    torch's kernels only crop at whole pixels, which would shift the crop; Pillow's do not.
    """
    left, upper, right, lower = (edge / scale for edge in box)
    x, y = int(left), int(upper)
    crop = Image.fromarray(pixels[y : -(-box[3] // scale), x : -(-box[2] // scale)])
    inside = (left - x, upper - y, right - x, lower - y)
    side = (resolution, resolution)
    resized = np.asarray(crop.resize(side, RESAMPLING[interpolation], box=inside))
    return np.ascontiguousarray(resized.transpose(2, 0, 1)).transpose(1, 2, 0)
