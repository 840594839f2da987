# SPDX-License-Identifier: Apache-2.0
"""A phantom cohort of skin lesions, written exactly as HAM10000 is published.

What is to be learnt can be seen: the outline by contrast, the class by colour, texture, border and size, with overlap
between the classes.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from ctan_networks.data.phantom_cohort import write_cohort
from ctan_networks.errors import ConfigError
from ctan_networks.utils import derive_seed

__all__ = ["ham10000_cohort"]

VERSION = 1
WIDTH, HEIGHT = 128, 96
FIRST_IMAGE = 24306
MASKS = "HAM10000_segmentations_lesion_tschandl"
COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization", "dataset")
SITES = ("back", "lower extremity", "trunk", "upper extremity", "abdomen", "face", "chest", "foot", "scalp")
# As in HAM10000 nevi are the most, but rare classes are lifted so that each has lesions in every part.
SHARES = {"nv": 0.36, "mel": 0.14, "bkl": 0.14, "bcc": 0.1, "akiec": 0.09, "vasc": 0.085, "df": 0.085}
# How many images a lesion has, and how often a label is missing.
IMAGES = (0.75, 0.2, 0.05)
NO_MASK, NO_DIAGNOSIS = 0.3, 0.1


@dataclass(frozen=True)
class Look:
    """How the lesions of a class look.

    Attributes:
        colour: mean RGB.
        radius: smallest and largest mean radius, as a share of the picture's height.
        border: depth of the outline's waves, as a share of the radius.
        blur: width of the edge in pixels.
        texture: deviation and scale in pixels of the speckle.
    """

    colour: tuple[float, float, float]
    radius: tuple[float, float]
    border: float
    blur: float
    texture: tuple[float, float]


LOOKS = {
    "nv": Look((122, 78, 58), (0.16, 0.3), 0.05, 1.8, (6, 2.5)),
    "mel": Look((72, 48, 46), (0.22, 0.38), 0.16, 1.2, (22, 5.0)),
    "bkl": Look((142, 112, 88), (0.2, 0.36), 0.1, 0.7, (20, 1.0)),
    "bcc": Look((206, 138, 138), (0.18, 0.32), 0.12, 2.5, (8, 3.0)),
    "akiec": Look((202, 112, 100), (0.2, 0.34), 0.12, 2.5, (18, 1.5)),
    "vasc": Look((150, 34, 62), (0.12, 0.26), 0.06, 1.0, (14, 4.0)),
    "df": Look((164, 112, 92), (0.14, 0.24), 0.05, 3.0, (6, 2.0)),
}


def ham10000_cohort(root: str | os.PathLike, lesions: int = 250, seed: int = 0) -> str:
    """Write a phantom cohort in HAM10000's layout, unless it is there already.

    ``HAM10000_images_part_1/``, ``HAM10000_images_part_2/`` (JPG, 128 x 96), ``HAM10000_metadata.csv`` and masks
    ``ISIC_*_segmentation.png`` in a folder of their own. Some images have no mask, some no diagnosis, each has one of
    the two; some lesions have several images. The same arguments give the same bytes. A cohort is there whole or not at
    all, and is marked by ``PHANTOM.json``.

    Args:
        root: folder in which ``ham10000`` is written.
        lesions: number of lesions.
        seed: seed; each lesion draws from (seed, number).

    Returns:
        The path of ``ham10000``.

    Raises:
        ConfigError: when there is no lesion.
        DataError: when the folder is there and no phantom: it is never overwritten.

    """
    if lesions < 1:
        raise ConfigError(f"a cohort has at least one lesion, got {lesions}.")
    target = Path(os.path.abspath(root)) / "ham10000"
    details = {"data_set": "HAM10000", "version": VERSION, "lesions": lesions, "seed": seed}

    def write(folder: Path) -> None:
        rows: list[tuple[Any, ...]] = []
        for name in ("HAM10000_images_part_1", "HAM10000_images_part_2", MASKS):
            (folder / name).mkdir()
        for number, dx in enumerate(_classes(lesions, np.random.default_rng(derive_seed("ham10000", seed, "classes")))):
            rows += _write_lesion(folder, number, dx, len(rows), seed, second=2 * number >= lesions)
        with open(folder / "HAM10000_metadata.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(rows)

    write_cohort(target, details, ["HAM10000_metadata.csv"], write)
    return str(target)


def _classes(lesions: int, rng: np.random.Generator) -> list[str]:
    """Class of each lesion, with the shares as exactly as whole lesions allow."""
    ends = np.rint(np.cumsum(list(SHARES.values())) * lesions).astype(int)
    names = [name for name, count in zip(SHARES, np.diff(ends, prepend=0), strict=True) for _ in range(count)]
    return [names[k] for k in rng.permutation(len(names))]


def _write_lesion(folder: Path, number: int, dx: str, first: int, seed: int, second: bool) -> list[tuple[Any, ...]]:
    rng = np.random.default_rng(derive_seed("ham10000", seed, number))
    person = (int(rng.integers(4, 18)) * 5, str(rng.choice(["male", "female"])), str(rng.choice(SITES)))
    lesion = _Lesion(rng, LOOKS[dx], dx)
    rows = []
    for k in range(1 + int(rng.choice(len(IMAGES), p=IMAGES))):
        name = f"ISIC_{FIRST_IMAGE + first + k:07d}"
        picture, mask = lesion.photograph(rng)
        part = "HAM10000_images_part_2" if second else "HAM10000_images_part_1"
        Image.fromarray(picture).save(folder / part / f"{name}.jpg", quality=90)
        has_mask = rng.random() >= NO_MASK
        if has_mask:
            Image.fromarray(mask).save(folder / MASKS / f"{name}_segmentation.png")
        known = not has_mask or rng.random() >= NO_DIAGNOSIS
        rows.append((f"HAM_{number:07d}", name, dx if known else "", "histo", *person, "phantom"))
    return rows


class _Lesion:
    """One lesion on one skin, of which several photographs are taken."""

    def __init__(self, rng: np.random.Generator, look: Look, dx: str) -> None:
        self.look, self.dx = look, dx
        self.radius = rng.uniform(*look.radius) * HEIGHT
        orders = np.arange(2, 9)
        self.waves = rng.normal(0, look.border / orders**0.7)
        self.phases = rng.uniform(0, 2 * np.pi, orders.size)
        self.stretch = rng.uniform(0.75, 1.0)
        self.colour = np.array(look.colour) + rng.normal(0, 14) + rng.normal(0, 5, 3)
        tone = rng.uniform(-25, 15)
        self.skin = np.array([214, 168, 148]) + tone + rng.normal(0, 4, 3)
        self.seed = int(rng.integers(2**31))

    def photograph(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Picture ``[96, 128, 3]`` and mask ``[96, 128]``, uint8."""
        own = np.random.default_rng(self.seed)
        turn, zoom = rng.uniform(0, 2 * np.pi), rng.uniform(0.88, 1.15)
        shift = rng.uniform(-8, 8, 2)
        y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
        y, x = y - HEIGHT / 2 - shift[0], x - WIDTH / 2 - shift[1]
        u, v = (
            (np.cos(turn) * x + np.sin(turn) * y) / zoom,
            (-np.sin(turn) * x + np.cos(turn) * y) / zoom / self.stretch,
        )
        angle, distance = np.arctan2(v, u), np.hypot(u, v)
        orders = np.arange(2, 9)
        edge = self.radius * (1 + (self.waves * np.cos(orders * angle[..., None] + self.phases)).sum(-1))
        inside = edge - distance
        cover = 1 / (1 + np.exp(-inside / self.look.blur))
        deviation, scale = self.look.texture
        speckle = deviation * _smooth(own, scale)
        lesion = self.colour + speckle[..., None] + DETAILS[self.dx](own, u, v, inside, self.radius)
        skin = self.skin + 5 * _smooth(own, 6.0)[..., None]
        picture = skin * (1 - cover[..., None]) + lesion * cover[..., None]
        light = 1 + 0.12 * (np.cos(turn) * x + np.sin(turn) * y) / WIDTH + rng.normal(0, 0.05)
        vignette = 1 - 0.25 * ((x / WIDTH) ** 2 + (y / HEIGHT) ** 2)
        picture = picture * (light * vignette)[..., None] * (1 + rng.normal(0, 0.02, 3))
        for _ in range(rng.integers(0, 5)):
            _draw_hair(rng, picture)
        picture += rng.normal(0, 4, picture.shape)
        return np.clip(np.rint(picture), 0, 255).astype(np.uint8), ((inside > 0) * 255).astype(np.uint8)


Detail = Callable[[np.random.Generator, np.ndarray, np.ndarray, np.ndarray, float], Any]


def _half(rng: np.random.Generator, u: np.ndarray, v: np.ndarray, inside: np.ndarray, radius: float) -> np.ndarray:
    """Melanoma: a second, blue-grey colour on one side."""
    return np.where(u > rng.uniform(-0.2, 0.4) * radius, 1.0, 0.0)[..., None] * np.array([-25, 5, 45])


def _vessels(rng: np.random.Generator, u: np.ndarray, v: np.ndarray, inside: np.ndarray, radius: float) -> np.ndarray:
    """Basal cell carcinoma: thin red branches."""
    waves = sum(np.abs(np.sin((u * np.cos(a) + v * np.sin(a)) / 5 + p)) < 0.09 for a, p in rng.uniform(0, 6, (3, 2)))
    return (waves > 0)[..., None] * np.array([-12, -50, -42])


def _scales(rng: np.random.Generator, u: np.ndarray, v: np.ndarray, inside: np.ndarray, radius: float) -> np.ndarray:
    """Actinic keratosis: whitish scales."""
    return (_smooth(rng, 1.6) > 1.1)[..., None] * np.array([45, 70, 70])


def _dots(rng: np.random.Generator, u: np.ndarray, v: np.ndarray, inside: np.ndarray, radius: float) -> np.ndarray:
    """Benign keratosis: pale and dark dots."""
    field = _smooth(rng, 1.1)
    return (field > 1.5)[..., None] * 45.0 - (field < -1.5)[..., None] * 45.0


def _centre(rng: np.random.Generator, u: np.ndarray, v: np.ndarray, inside: np.ndarray, radius: float) -> np.ndarray:
    """Dermatofibroma: a white centre."""
    return np.exp(-(np.hypot(u, v) ** 2) / (0.4 * radius) ** 2)[..., None] * np.array([70, 90, 90])


def _lacunae(rng: np.random.Generator, u: np.ndarray, v: np.ndarray, inside: np.ndarray, radius: float) -> np.ndarray:
    """Vascular lesion: darker lakes."""
    return (_smooth(rng, 3.0) > 0.3)[..., None] * np.array([-45, -15, 5])


def _plain(rng: np.random.Generator, u: np.ndarray, v: np.ndarray, inside: np.ndarray, radius: float) -> np.ndarray:
    """Nevus: darker towards the middle."""
    return -14 * np.clip(inside / radius, 0, 1)[..., None]


DETAILS: dict[str, Detail] = {
    "mel": _half,
    "nv": _plain,
    "bcc": _vessels,
    "akiec": _scales,
    "bkl": _dots,
    "df": _centre,
    "vasc": _lacunae,
}


def _smooth(rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Smooth noise with mean 0 and deviation 1."""
    noise = ndimage.gaussian_filter(rng.standard_normal((HEIGHT, WIDTH)), sigma)
    return (noise - noise.mean()) / noise.std()


def _draw_hair(rng: np.random.Generator, picture: np.ndarray) -> None:
    start, end, bend = rng.uniform(0, 1, (3, 2)) * (HEIGHT, WIDTH)
    t = np.linspace(0, 1, 300)[:, None]
    path = np.rint((1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end).astype(int)
    path = path[(path[:, 0] < HEIGHT) & (path[:, 1] < WIDTH)]
    picture[path[:, 0], path[:, 1]] *= 0.45
