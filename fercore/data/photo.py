"""What a camera and the web do to a picture: defocus and motion, sensor noise, compression, loss of colour."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy import ndimage

DARK, MIDDLE, BRIGHT = 27, 135, 218
"""The 2nd percentile, median and 98th percentile of the tones of a photograph of FERPlus, means of 1,500."""


def photograph(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    noise: float = 0.0,
    blur: float = 0.0,
    compression: float = 0.0,
    exposure: float = 0.0,
    grey: bool = False,
) -> np.ndarray:
    """A rendered picture (S, S, 3) uint8 as a camera would have left it; the same shape and type.

    noise: standard deviation of the sensor's noise, white is 1; blur: the greatest defocus (standard deviation) or
    length of motion, per cent of the side; compression: probability of a strong JPEG compression; exposure: how far
    the tones are brought to those of a photograph (`DARK`, `MIDDLE`, `BRIGHT`), 0 for not at all, 1 for wholly; grey:
    luma only.
    Every draw is made whatever the values, so that one parameter changes nothing of the others.
    """
    size = len(image)
    moves, amount, angle = rng.random() < 0.3, blur / 100 * size * rng.random() ** 2, rng.uniform(0, np.pi)
    grain = rng.normal(0, 1, image.shape)
    squeezed, quality = rng.random() < compression, int(rng.integers(12, 50))
    values = image.astype(np.float32)
    if exposure:
        tones = np.percentile(values, (0, 2, 50, 98, 100))
        usual = np.interp(values, tones, (0, DARK, MIDDLE, BRIGHT, 255))
        values = (1 - exposure) * values + exposure * usual.astype(np.float32)
    if amount > 0.05:
        values = _move(values, 3 * amount, angle) if moves else ndimage.gaussian_filter(values, (amount, amount, 0))
    if grey:
        values = np.repeat(values @ np.array([0.299, 0.587, 0.114], np.float32)[:, None], 3, axis=2)
        grain = np.repeat(grain[..., :1], 3, axis=2)
    taken = np.clip(values + 255 * noise * grain, 0, 255).round().astype(np.uint8)
    return _compress(taken, quality) if squeezed else taken


def _move(values: np.ndarray, length: float, angle: float) -> np.ndarray:
    """Mean of nine copies along a line of ``length`` pixels."""
    steps = np.linspace(-0.5, 0.5, 9) * length
    shifts = [(step * np.sin(angle), step * np.cos(angle), 0) for step in steps]
    return np.mean([ndimage.shift(values, shift, order=1, mode="nearest") for shift in shifts], axis=0)


def _compress(image: np.ndarray, quality: int) -> np.ndarray:
    """There and back through JPEG; a grey picture stays grey."""
    file = io.BytesIO()
    grey = bool((image[..., :1] == image).all())
    Image.fromarray(image[..., 0] if grey else image).save(file, "JPEG", quality=quality)
    file.seek(0)
    return np.asarray(Image.open(file).convert("RGB"))
