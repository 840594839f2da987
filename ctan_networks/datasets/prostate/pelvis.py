# SPDX-License-Identifier: Apache-2.0
"""A phantom male pelvis: CT, structures and the dose of a prostate plan, as arrays.

What is to be learnt can be seen in the CT: organs by contrast and place, the target by the prostate, the dose by target
and body.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

__all__ = ["Pelvis", "make_pelvis"]

# Seven equispaced coplanar beams, none through the couch.
BEAM_ANGLES = np.deg2rad(np.arange(0, 360, 360 / 7))


@dataclass(frozen=True, eq=False)
class Pelvis:
    """One phantom patient; arrays are ``[i, j, k]``: to the left, to posterior, to superior.

    Attributes:
        hu: CT in HU, float32.
        structures: name to mask: Bladder, Rectum, FemoralHeadLeft, FemoralHeadRight, PTV, CTV, Body, Couch.
        beams: dose of each beam in Gy, float32; their sum is the plan's dose.
        affine: ``[4, 4]``, from (i, j, k) to LPS coordinates in mm.
        prescription: Gy.

    """

    hu: np.ndarray
    structures: dict[str, np.ndarray]
    beams: list[np.ndarray]
    affine: np.ndarray
    prescription: float

    @property
    def dose(self) -> np.ndarray:
        """Dose of the plan in Gy."""
        return np.sum(self.beams, axis=0)


def make_pelvis(rng: np.random.Generator) -> Pelvis:
    """Draw a patient.

    Args:
        rng: source of all that varies.

    """
    spacing = np.array([float(rng.choice([4.0, 4.0, 3.9]))] * 2 + [3.0])
    shape = (100, 68, int(rng.integers(44, 57)))
    affine = np.diag([*spacing, 1.0])
    # Where the scanner's origin lies differs; the prostate is near the middle of the scan.
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * spacing + rng.uniform(-20, 20, 3)
    x, y, z = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)), indexing="ij"
    )
    body_scale = rng.uniform(0.92, 1.08)
    organ_shift = rng.uniform(-6, 6, 3)

    def near(value: float, spread: float) -> float:
        return value + float(rng.uniform(-spread, spread))

    def ellipsoid(
        centre: tuple[float, float, float], radii: tuple[float, float, float], power: float = 2
    ) -> np.ndarray:
        moved = (x - centre[0], y - centre[1], z - centre[2])
        return sum(np.abs(p / r) ** power for p, r in zip(moved, radii, strict=True)) <= 1  # type: ignore[return-value]

    width, depth = 168 * body_scale, near(106, 6) * body_scale
    section = (np.abs(x / (width * (1 + 0.0005 * z))) ** 2.5 + np.abs(y / depth) ** 2.5) ** (1 / 2.5)
    body = section <= 1
    hu = np.where(body, -98.0, -1000.0)
    fat = near(24, 8)
    hu[section <= 1 - fat / depth] = near(52, 5)
    # Fat between the organs.
    hu[ellipsoid((0, 2, 10), (62, 58, 90))] = near(-85, 5)

    structures: dict[str, np.ndarray] = {}
    for name, side in (("FemoralHeadRight", -1), ("FemoralHeadLeft", 1)):
        centre = (side * near(88 * body_scale, 3), near(-2, 3), near(12, 4))
        socket = ellipsoid((centre[0] - side * 8, centre[1], centre[2] + 6), (32, 30, 34))
        hu[socket] = near(320, 30)
        wing = ellipsoid((side * 84 * body_scale, 14, 74), (28, 34, 52))
        hu[wing] = near(260, 30)
        radius = near(23, 1.5)
        head = ellipsoid(centre, (radius, radius, radius))
        hu[ellipsoid(centre, (radius + 4, radius + 4, radius + 4))] = near(70, 10)
        neck = ellipsoid((centre[0] + side * 26, centre[1] + 4, centre[2] - 18), (26, 15, 20))
        shaft = ellipsoid((centre[0] + side * 34, centre[1] + 6, centre[2] - 70), (15, 15, 50), 4)
        hu[(neck | shaft) & (section < 0.93)] = near(480, 40)
        hu[head] = near(620, 50)
        structures[name] = head
    hu[ellipsoid((0, 74 * body_scale, 42), (40, 14, 52)) & (section < 0.92)] = near(290, 30)
    hu[ellipsoid((0, -52, -14), (30, 12, 12)) & (section < 0.9)] = near(420, 40)  # symphysis

    prostate_centre = (organ_shift[0] / 3, near(4, 3), near(-8, 5))
    radii = (near(24, 4), near(19, 3), near(22, 4))
    prostate = ellipsoid(prostate_centre, radii)
    vesicles = ellipsoid(
        (prostate_centre[0], prostate_centre[1] + 12, prostate_centre[2] + radii[2] + 3), (near(24, 3), 7, 8)
    )
    fill = near(1.0, 0.28)
    bladder_radii = (36 * fill, 27 * fill, 27 * fill)
    bladder_centre = (
        prostate_centre[0] + near(0, 3),
        prostate_centre[1] - 10,
        prostate_centre[2] + radii[2] + bladder_radii[2] - 4,
    )
    bladder = ellipsoid(bladder_centre, bladder_radii, 2.4) & ~prostate & ~vesicles
    rectum_y = prostate_centre[1] + radii[1] + 16 + 0.0035 * (z + 10) ** 2
    rectum_x = near(0, 4) + 9 * np.sin((z + near(0, 30)) / 45)
    wide = near(15, 3) * (1 + 0.25 * np.sin((z + near(0, 40)) / 28))
    rectum = ((x - rectum_x) ** 2 / wide**2 + (y - rectum_y) ** 2 / (0.9 * wide) ** 2 <= 1) & (z > -48) & (z < 62)
    rectum &= ~prostate & ~vesicles
    lumen = ((x - rectum_x) ** 2 + (y - rectum_y) ** 2 <= (0.55 * wide) ** 2) & rectum
    hu[prostate] = near(46, 4)
    hu[vesicles] = near(38, 4)
    hu[bladder] = near(6, 4)
    hu[rectum] = near(36, 5)
    hu[lumen] = np.where(np.sin((z[lumen] + near(0, 20)) / 16) > 0.2, -700.0, near(20, 10))

    ctv = prostate | vesicles
    margin = near(7, 1)
    ptv = (ndimage.distance_transform_edt(~ctv, sampling=spacing) <= margin) & (section < 0.9)
    structures |= {"Bladder": bladder, "Rectum": rectum, "CTV": ctv, "PTV": ptv, "Body": body}

    couch_top = near(depth + 12, 3)
    couch = (np.abs(y - couch_top) < 6) & (np.abs(x) < 190) if rng.random() < 0.7 else np.zeros(shape, bool)
    hu[couch] = -120
    structures["Couch"] = couch
    texture = ndimage.gaussian_filter(rng.standard_normal(shape), 1.2)
    hu = np.where(body | couch, hu + 7 * texture / texture.std() + 12 * rng.standard_normal(shape), hu)
    prescription = float(rng.choice([78, 78, 78, 74, 70, 60]))
    beams = _beams(rng, body, ptv, rectum | bladder, spacing, prescription, (x, y))
    return Pelvis(np.clip(hu, -1024, 3000).astype(np.float32), structures, beams, affine, prescription)


def _beams(
    rng: np.random.Generator,
    body: np.ndarray,
    ptv: np.ndarray,
    spared_organs: np.ndarray,
    spacing: np.ndarray,
    prescription: float,
    position: tuple[np.ndarray, np.ndarray],
) -> list[np.ndarray]:
    """Dose of each beam; together they give the target its prescription, and spare bladder and rectum a little."""
    x, y = position
    raw = []
    for angle in BEAM_ANGLES:
        # 0 degrees comes from anterior, 90 from the patient's left.
        towards = np.sin(angle) * x - np.cos(angle) * y
        across = np.cos(angle) * x + np.sin(angle) * y
        column = np.round((across - across.min()) / spacing[0]).astype(int)
        height = np.broadcast_to(np.arange(x.shape[2]), x.shape)
        open_field = np.zeros((column.max() + 1, x.shape[2]))
        np.maximum.at(open_field, (column[ptv], height[ptv]), 1.0)
        open_field = ndimage.gaussian_filter(open_field, (1.0, 1.0))
        skin = np.full(open_field.shape, -1e9)
        np.maximum.at(skin, (column[body], height[body]), towards[body])
        depth = np.maximum(skin[column, height] - towards, 0)
        transmitted = np.exp(-0.0042 * depth) * (1 - 0.6 * np.exp(-depth / 7))
        raw.append(np.where(body, open_field[column, height] * transmitted, 0.0))
    bath = np.sum(raw, axis=0)
    bath /= bath[ptv].mean()
    distance = ndimage.distance_transform_edt(~ptv, sampling=spacing)
    spared = 1 - 0.35 * ndimage.gaussian_filter((spared_organs & ~ptv).astype(float), 0.8)
    ripple = ndimage.gaussian_filter(rng.standard_normal(ptv.shape), 1.5)
    # Fields are a little wider than the target, so that its border gets the dose too.
    covered = ndimage.binary_dilation(ptv, iterations=1)
    wanted = np.where(covered, 1 + 0.01 * ripple / ripple.std(), bath * spared * (0.86 + 0.14 * np.exp(-distance / 8)))
    wanted = ndimage.gaussian_filter(wanted, 0.5) * body
    wanted *= prescription * rng.uniform(1.0, 1.02) / wanted[ptv].mean()
    share = wanted / np.maximum(np.sum(raw, axis=0), 1e-6)
    return [np.where(np.sum(raw, axis=0) > 1e-6, part * share, 0.0).astype(np.float32) for part in raw]
