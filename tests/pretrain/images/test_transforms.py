"""Crops and evaluation against torchvision and Pillow, colour against colorsys and NumPy."""

from __future__ import annotations

import colorsys
import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from torchvision.transforms import InterpolationMode, v2

from pretrain.images import transforms
from pretrain.recipe import Recipe


def make_image(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth colours with noise on them."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int64)
    noisy = smooth + rng.integers(-20, 21, smooth.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


# --- the crop


def boxes(n: int, width: int, height: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([transforms.random_crop_box(rng, width, height) for _ in range(n)])


@pytest.mark.parametrize(("width", "height"), [(1000, 800), (600, 900), (500, 500)])
def test_a_crop_has_8_to_100_percent_of_the_area_and_aspect_3_4_to_4_3(
    width: int, height: int
) -> None:
    left, upper, right, lower = boxes(3000, width, height).T
    w, h = right - left, lower - upper

    assert left.min() >= 0
    assert upper.min() >= 0
    assert right.max() <= width
    assert lower.max() <= height
    # sides are rounded to pixels: by half a pixel at most
    whole = width * height
    assert np.all((w + 0.5) * (h + 0.5) >= 0.08 * whole)
    assert np.all((w - 0.5) * (h - 0.5) <= whole)
    assert np.all((w + 0.5) / (h - 0.5) >= 3 / 4)
    assert np.all((w - 0.5) / (h + 0.5) <= 4 / 3)
    # both ranges are covered up to their ends, as far as the image's aspect allows
    assert (w * h).min() < 0.1 * whole
    assert (w * h).max() > 0.9 * min(width, 4 / 3 * height) * min(height, 4 / 3 * width)
    assert (w / h).min() < 0.77
    assert (w / h).max() > 1.3


@pytest.mark.parametrize(("width", "height"), [(500, 400), (300, 900), (64, 64)])
def test_crops_have_torchvisions_distribution(width: int, height: int) -> None:
    n = 2500
    ours = boxes(n, width, height).astype(float)
    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    crop = torchvision.transforms.RandomResizedCrop.get_params
    theirs = np.array([crop(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(n)], dtype=float)
    top, left, h, w = theirs.T
    theirs = np.stack([left, top, left + w, top + h], axis=1)

    def features(box: np.ndarray) -> np.ndarray:
        left, upper, right, lower = box.T
        w, h = right - left, lower - upper
        area = w * h / (width * height)
        return np.stack([area, area**2, np.log(w / h), np.log(w / h) ** 2, left, upper])

    a, b = features(ours), features(theirs)
    sigma = np.sqrt((a.var(axis=1) + b.var(axis=1)) / n) + 1e-12
    assert np.all(np.abs(a.mean(axis=1) - b.mean(axis=1)) < 5 * sigma)


@pytest.mark.parametrize(("width", "height"), [(1000, 10), (10, 1000), (1, 1), (3, 100), (2, 1)])
def test_a_crop_of_an_extreme_image_is_inside_it(width: int, height: int) -> None:
    left, upper, right, lower = boxes(300, width, height).T

    assert np.all((left >= 0) & (left < right) & (right <= width))
    assert np.all((upper >= 0) & (upper < lower) & (lower <= height))


def test_if_no_crop_fits_the_largest_central_one_is_taken() -> None:
    """In 1000 x 10 no crop of 800 pixels or more has an aspect below 4 / 3: it takes 13 x 10."""
    assert {tuple(box) for box in boxes(100, 1000, 10).tolist()} == {(493, 0, 506, 10)}


def test_training_is_a_function_of_its_generator(tiny_recipe: Recipe) -> None:
    image = np.array(make_image(60, 50))
    one, two, other = (
        transforms.for_training(image, np.random.default_rng(seed), tiny_recipe)
        for seed in (1, 1, 2)
    )

    assert one.shape == (3, 32, 32)
    assert one.dtype == torch.uint8
    assert one.is_contiguous()
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_training_flips_half_the_time(tiny_recipe: Recipe) -> None:
    ramp = np.broadcast_to(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], (64, 64, 3))
    settings = replace(tiny_recipe, train_resolution=8)
    rng = np.random.default_rng(0)
    n = 2000

    flipped = 0
    for _ in range(n):
        row = transforms.for_training(np.ascontiguousarray(ramp), rng, settings)[0, 0].int()
        assert row[0] != row[-1]
        flipped += int(row[0] > row[-1])

    assert abs(flipped - n / 2) < 5 * math.sqrt(n) / 2


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_training_resizes_the_crop(interpolation: str, tiny_recipe: Recipe) -> None:
    """As Pillow resizes the generator's first crop box, up to rounding."""
    image = make_image(200, 160)
    settings = replace(tiny_recipe, train_resolution=40, interpolation=interpolation)
    method = getattr(Image.Resampling, interpolation.upper())
    seen = set()
    for seed in range(8):
        box = transforms.random_crop_box(np.random.default_rng(seed), 200, 160)
        resized = np.asarray(image.crop(box).resize((40, 40), method)).transpose(2, 0, 1)
        resized = resized.astype(int)
        found = transforms.for_training(np.array(image), np.random.default_rng(seed), settings)
        off = [np.abs(found.numpy() - e).max() for e in (resized, resized[:, :, ::-1])]
        assert min(off) <= 1
        seen.add(int(np.argmin(off)))
    assert seen == {0, 1}, "flipped or not"


def test_randaugment_comes_after_crop_and_flip_from_the_same_generator(tiny_recipe: Recipe) -> None:
    image = np.array(make_image(60, 50))
    settings = replace(tiny_recipe, randaugment="rand-m7-mstd0.5-inc1")
    fill = tuple(round(255 * m) for m in settings.mean)
    peer = rand_augment_transform(settings.randaugment, {"translate_const": 14, "img_mean": fill})
    for seed in range(30):
        rng = np.random.default_rng(seed)
        plain = transforms.for_training(image, rng, tiny_recipe).permute(1, 2, 0).numpy()
        number = int(rng.integers(2**32))
        random.seed(number)
        np.random.seed(number)  # noqa: NPY002
        expected = np.asarray(peer(Image.fromarray(plain)))
        found = transforms.for_training(image, np.random.default_rng(seed), settings)
        np.testing.assert_array_equal(found.permute(1, 2, 0).numpy(), expected)


# --- evaluation


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("resolution", "ratio"), [(224, 0.875), (64, 0.875), (32, 1.0), (96, 0.95)]
)
@pytest.mark.parametrize(("width", "height"), [(333, 250), (250, 333), (64, 64), (40, 31)])
def test_evaluation_is_torchvisions_pixel_for_pixel(
    width: int, height: int, resolution: int, ratio: float, interpolation: str
) -> None:
    image = make_image(width, height)
    peer = v2.Compose(
        [
            v2.Resize(math.floor(resolution / ratio), InterpolationMode(interpolation)),
            v2.CenterCrop(resolution),
            v2.PILToTensor(),
        ]
    )

    found = transforms.for_evaluation(image, resolution, ratio, interpolation)

    assert found.shape == (3, resolution, resolution)
    assert torch.equal(found, peer(image))


def test_evaluation_by_hand() -> None:
    """300 x 200 at 224 of 256: resized to 384 x 256, then cropped from (80, 16)."""
    image = make_image(300, 200)

    found = transforms.for_evaluation(image, 224, 0.875, "bilinear")

    resized = image.resize((384, 256), Image.Resampling.BILINEAR)
    expected = np.asarray(resized)[16:240, 80:304].transpose(2, 0, 1)
    np.testing.assert_array_equal(found.numpy(), expected)


def test_to_tensor_keeps_the_order_of_axes_and_channels() -> None:
    array = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)

    found = transforms.to_tensor(Image.fromarray(array))

    assert found.shape == (3, 2, 3)
    assert found.is_contiguous()
    for c in range(3):
        np.testing.assert_array_equal(found[c].numpy(), array[:, :, c])


# --- colour

CORNERS = [
    [r, g, b] for r in (0.0, 0.5, 1.0) for g in (0.0, 0.5, 1.0) for b in (0.0, 0.5, 1.0)
]  # greys, pure and mixed colours, and all ties of channels


def pixels(n: int = 500) -> np.ndarray:
    random = np.random.default_rng(0).random((n, 3))
    return np.concatenate([np.array(CORNERS), random])


def as_image(rgb: np.ndarray) -> torch.Tensor:
    """[N, 3] as [1, 3, 1, N]."""
    return torch.from_numpy(np.ascontiguousarray(rgb.T))[None, :, None]


def as_pixels(image: torch.Tensor) -> np.ndarray:
    return image[0, :, 0].T.numpy()


def circle(difference: np.ndarray) -> np.ndarray:
    """The distance of two angles, in turns."""
    return np.abs((difference + 0.5) % 1 - 0.5)


def test_rgb_to_hsv_is_colorsys() -> None:
    rgb = pixels()
    expected = np.array([colorsys.rgb_to_hsv(*p) for p in rgb])

    hue, saturation, value = (x[0, 0].numpy() for x in transforms.rgb_to_hsv(as_image(rgb)))

    assert circle(hue - expected[:, 0]).max() < 1e-12
    np.testing.assert_allclose(saturation, expected[:, 1], atol=1e-12)
    np.testing.assert_allclose(value, expected[:, 2], atol=1e-12)
    assert hue.min() >= 0


def test_hsv_to_rgb_is_colorsys() -> None:
    hsv = np.concatenate([np.random.default_rng(1).random((500, 3)), np.array(CORNERS)])
    hsv[:, 0] %= 1
    expected = np.array([colorsys.hsv_to_rgb(*p) for p in hsv])

    channels = (torch.from_numpy(hsv[:, c].copy())[None, None] for c in range(3))
    found = as_pixels(transforms.hsv_to_rgb(*channels))

    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_hsv_round_trip() -> None:
    rgb = pixels()
    there_and_back = transforms.hsv_to_rgb(*transforms.rgb_to_hsv(as_image(rgb).float()))

    np.testing.assert_allclose(as_pixels(there_and_back), rgb, atol=1e-6)


def scale(rgb: list[float] | np.ndarray, factors: list[float]) -> np.ndarray:
    image = as_image(np.atleast_2d(np.asarray(rgb, dtype=np.float64)))
    return as_pixels(transforms.scale_hsv(image, torch.tensor([factors], dtype=torch.float64)))


def test_factors_of_one_change_nothing() -> None:
    np.testing.assert_allclose(scale(pixels(), [1, 1, 1]), pixels(), atol=1e-12)


def test_a_grey_changes_only_in_brightness() -> None:
    np.testing.assert_allclose(scale([0.5, 0.5, 0.5], [1.4, 1.4, 0.6]), [[0.3, 0.3, 0.3]])
    np.testing.assert_allclose(scale([0.0, 0.0, 0.0], [1.4, 1.4, 1.4]), [[0, 0, 0]])


@pytest.mark.parametrize(
    ("hue", "scaled"),
    [
        (0.02, 0.028),  # an orange red moves away from 0
        (0.98, 0.972),  # and so does a pink red, on the other side
        (0.0, 0.0),
        (1 / 3, 1.4 / 3),
        (0.6, 1 - 0.4 * 1.4),
        (0.45, 0.63),  # past 0.5
    ],
)
def test_hue_is_scaled_from_red(hue: float, scaled: float) -> None:
    found = scale(colorsys.hsv_to_rgb(hue, 0.7, 0.8), [1.4, 1, 1])
    np.testing.assert_allclose(found, [colorsys.hsv_to_rgb(scaled, 0.7, 0.8)], atol=1e-9)


def test_saturation_and_value_are_scaled_and_clipped() -> None:
    found = scale(colorsys.hsv_to_rgb(0.3, 0.5, 0.4), [1, 0.6, 1.4])
    np.testing.assert_allclose(found, [colorsys.hsv_to_rgb(0.3, 0.3, 0.56)], atol=1e-12)

    found = scale(colorsys.hsv_to_rgb(0.3, 0.9, 0.9), [1, 1.4, 1.4])
    np.testing.assert_allclose(found, [colorsys.hsv_to_rgb(0.3, 1, 1)], atol=1e-12)


def test_each_image_has_its_own_factors() -> None:
    image = as_image(pixels(10)).float()
    factors = torch.tensor([[0.7, 1.2, 0.9], [1.3, 0.8, 1.1]])

    both = transforms.scale_hsv(image.expand(2, -1, -1, -1), factors)

    for i in range(2):
        torch.testing.assert_close(both[i : i + 1], transforms.scale_hsv(image, factors[i : i + 1]))


# AlexNet's principal components, as columns, in the order of the eigenvalues.
LAMBDA = np.array([0.2175, 0.0188, 0.0045])
P = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])


def test_the_principal_components_are_orthonormal() -> None:
    vectors = transforms.EIGENVECTORS.double().numpy()
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=2e-3)
    # the first is about grey: brightness varies most
    np.testing.assert_allclose(np.abs(vectors[:, 0]), 1 / math.sqrt(3), atol=0.02)


def test_pca_noise_is_numpys() -> None:
    rng = np.random.default_rng(0)
    rgb = rng.random((4, 3, 5, 6)).astype(np.float32)
    alpha = rng.normal(0, 0.1, (4, 3)).astype(np.float32)

    found = transforms.pca_noise(torch.from_numpy(rgb), torch.from_numpy(alpha)).numpy()

    for i in range(4):
        shift = sum(P[:, k] * alpha[i, k] * LAMBDA[k] for k in range(3))
        np.testing.assert_allclose(found[i], rgb[i] + shift[:, None, None], atol=1e-6)


def test_colour_without_jitter_and_noise_only_rescales() -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16)

    found = transforms.colour(images, np.random.default_rng(0), 0, 0)

    np.testing.assert_allclose(found.numpy(), images.numpy() / 255, rtol=1e-6)


def test_jitter_is_uniform_in_1_minus_to_1_plus() -> None:
    """The factors are computed back from a coloured pixel's hue, saturation and value."""
    n = 4000
    hsv = (0.25, 0.5, 0.5)
    rgb = np.array([round(255 * x) for x in colorsys.hsv_to_rgb(*hsv)], dtype=np.uint8)
    images = torch.from_numpy(np.broadcast_to(rgb[None, :, None, None], (n, 3, 1, 1)).copy())

    found = transforms.colour(images, np.random.default_rng(0), 0.4, 0).double().numpy()

    before = np.array(colorsys.rgb_to_hsv(*(rgb / 255)))
    factors = np.array([colorsys.rgb_to_hsv(*p) for p in found[:, :, 0, 0]]) / before
    assert factors.min() >= 0.6 - 1e-5
    assert factors.max() <= 1.4 + 1e-5
    sigma = 0.4 / math.sqrt(3)
    assert np.all(np.abs(factors.mean(axis=0) - 1) < 5 * sigma / math.sqrt(n))
    np.testing.assert_allclose(factors.std(axis=0), sigma, rtol=0.05)
    correlation = np.corrcoef(factors.T) - np.eye(3)
    assert np.abs(correlation).max() < 5 / math.sqrt(n), "drawn independently"


def test_noise_has_the_covariance_of_its_components() -> None:
    n = 20_000
    images = torch.full((n, 3, 1, 1), 128, dtype=torch.uint8)

    found = transforms.colour(images, np.random.default_rng(0), 0, 0.1).double().numpy()

    shift = found[:, :, 0, 0] - 128 / 255
    expected = 0.01 * P @ np.diag(LAMBDA**2) @ P.T
    scale_of = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.abs(shift.mean(axis=0)).max() < 5 * math.sqrt(expected.max() / n)
    assert np.abs((np.cov(shift.T) - expected) / scale_of).max() < 5 * math.sqrt(2 / n)


def test_colour_is_one_shift_per_image_and_a_function_of_its_generator() -> None:
    images = torch.full((3, 3, 4, 4), 100, dtype=torch.uint8)
    one, two, other = (
        transforms.colour(images, np.random.default_rng(seed), 0.4, 0.1) for seed in (5, 5, 6)
    )

    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(one, one[:, :, :1, :1].expand_as(one))
    assert not torch.equal(one[0], one[1])


def test_normalise_is_numpys() -> None:
    rgb = np.random.default_rng(0).random((2, 3, 4, 5)).astype(np.float32)
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.25, 0.5)

    found = transforms.normalise(torch.from_numpy(rgb), mean, std).numpy()

    expected = (rgb - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
