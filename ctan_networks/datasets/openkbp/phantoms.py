# SPDX-License-Identifier: Apache-2.0
"""A phantom head-and-neck cohort, written exactly as OpenKBP is published.

Bodies are small (about 36 x 56 x 44 voxels on the 128^3 grid), so that a training step is cheap. What is to be learnt
can be seen in the CT: organs by contrast and place, tumour and nodes as bright soft tissue, which targets are
prescribed by the nodes and the tumour's size, the dose by targets and body.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from scipy import ndimage

from ctan_networks.data.phantom_cohort import write_cohort
from ctan_networks.datasets.openkbp.files import CT_OFFSET, GRID, STRUCTURES, write_sparse_csv, write_voxel_dimensions
from ctan_networks.errors import ConfigError
from ctan_networks.utils import derive_seed

__all__ = ["openkbp_cohort"]

VERSION = 1
BOX = (52, 72, 52)
PRESCRIPTIONS = {"PTV56": 56.0, "PTV63": 63.0, "PTV70": 70.0}
BEAM_ANGLES = np.deg2rad(np.arange(0, 360, 40))
# Voxel sizes of the data set's commonest scanners.
VOXEL_DIMENSIONS = ((3.906, 3.906, 2.5), (4.688, 4.688, 3.0), (3.906, 3.906, 3.0), (3.75, 3.75, 2.5), (4.68, 4.68, 3.0))
# How often an organ has no contour. In OpenKBP larynx and oesophagus lack one most often.
MISSING = {
    "Brainstem": 0.05,
    "RightParotid": 0.05,
    "LeftParotid": 0.05,
    "Esophagus": 0.4,
    "Larynx": 0.3,
    "Mandible": 0.2,
}
# Outline of the body: height, half widths along anterior-posterior and right-left, centre along anterior-posterior.
OUTLINE = np.array(
    [
        (0, 12, 10, 0),
        (3, 15, 12.5, 0),
        (8, 17, 14.3, 0),
        (15, 17, 14.3, 0),
        (22, 14.5, 12.5, 0),
        (27, 11.5, 10.5, 1),
        (32, 10.5, 10.5, 1.5),
        (36, 10.5, 15, 1.5),
        (40, 11, 24, 2),
        (52, 12, 27, 2),
    ]
)


def openkbp_cohort(root: str | os.PathLike, train: int = 24, validation: int = 6, seed: int = 0) -> str:
    """Write a phantom cohort in OpenKBP's format, unless it is there already.

    Files and number formats are those of the published data: ``ct.csv``, ``dose.csv``, ``possible_dose_mask.csv``,
    ``voxel_dimensions.csv`` and a file for each structure that a patient has. The same arguments give the same bytes.
    A cohort is there whole or not at all, and is marked by ``PHANTOM.json``.

    Args:
        root: folder in which ``provided-data`` is written.
        train: number of patients of ``train-pats`` (``pt_1`` ..), at most 200.
        validation: number of patients of ``validation-pats`` (``pt_201`` ..), at most 40.
        seed: seed; each patient draws from (seed, number).

    Returns:
        The path of ``provided-data``.

    Raises:
        ConfigError: when a number of patients is out of range.
        DataError: when ``provided-data`` is there and no phantom: it is never overwritten.

    """
    if not (0 <= train <= 200 and 0 <= validation <= 40):
        raise ConfigError(f"a cohort has up to 200 + 40 patients, as OpenKBP numbers them, got {train} + {validation}.")
    target = Path(os.path.abspath(root)) / "provided-data"
    details = {"data_set": "OpenKBP", "version": VERSION, "train": train, "validation": validation, "seed": seed}
    patients = [f"train-pats/pt_{k}" for k in range(1, train + 1)]
    patients += [f"validation-pats/pt_{k}" for k in range(201, 201 + validation)]

    def write(folder: Path) -> None:
        for patient in patients:
            _write_patient(folder / patient, np.random.default_rng(derive_seed("openkbp", seed, Path(patient).name)))

    write_cohort(target, details, [f"{patient}/voxel_dimensions.csv" for patient in patients], write)
    return str(target)


def _write_patient(folder: Path, rng: np.random.Generator) -> None:
    voxel_dimensions = VOXEL_DIMENSIONS[rng.integers(len(VOXEL_DIMENSIONS))]
    hu, body, structures = _anatomy(rng)
    dose, mask = _dose(rng, body, structures, voxel_dimensions)
    corner = np.array(GRID) // 2 - np.array(BOX) // 2 + rng.integers(-4, 5, size=3)

    def on_grid(volume: np.ndarray) -> np.ndarray:
        grid = np.zeros(GRID, volume.dtype)
        grid[tuple(slice(c, c + n) for c, n in zip(corner, BOX, strict=True))] = volume
        return grid

    write_sparse_csv(folder / "ct.csv", on_grid(np.where(body, np.round(hu) + CT_OFFSET, 0.0)))
    write_sparse_csv(folder / "dose.csv", on_grid(dose))
    write_sparse_csv(folder / "possible_dose_mask.csv", on_grid(mask), mask=True)
    for name in STRUCTURES:
        if structures[name].any() and rng.random() >= MISSING.get(name, 0.0):
            write_sparse_csv(folder / f"{name}.csv", on_grid(structures[name]), mask=True)
    write_voxel_dimensions(folder / "voxel_dimensions.csv", voxel_dimensions)


def _anatomy(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """CT in HU, body and structures of one patient, each shaped as ``BOX``.

    Lengths are in voxels of a mean patient: a to posterior and l to left of the body's axis, z down from the top.
    """
    scale = rng.uniform(0.93, 1.07, size=3)
    a, l, z = (np.arange(n, dtype=float) for n in BOX)  # noqa: E741
    a, l, z = (a - BOX[0] / 2) / scale[0], (l - BOX[1] / 2) / scale[1], (z - 3) / scale[2]  # noqa: E741
    a, l, z = np.meshgrid(a, l, z, indexing="ij")  # noqa: E741
    a = a + rng.uniform(-0.07, 0.07) * (z - 22)  # chin up or down
    l = l + rng.uniform(-0.03, 0.03) * (z - 22)  # noqa: E741

    def ellipsoid(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
        return sum(((x - c) / r) ** 2 for x, c, r in zip((a, l, z), centre, radii, strict=True)) <= 1

    def tube(
        centre_a: np.ndarray | float, centre_l: float, radii: tuple[float, float], top: float, bottom: float
    ) -> np.ndarray:
        inside = ((a - centre_a) / radii[0]) ** 2 + ((l - centre_l) / radii[1]) ** 2 <= 1
        return inside & (z >= top) & (z < bottom)

    def near(value: float, spread: float = 0.5) -> float:
        return value + float(rng.uniform(-spread, spread))

    width_a, width_l, axis = (np.interp(z, OUTLINE[:, 0], column) for column in OUTLINE[:, 1:].T)
    height = near(43, 1.5)
    section = np.hypot((a - axis) / width_a, l / width_l)
    body = (section <= 1) & (z >= 0) & (z < height)
    cord_a = np.interp(z, [8, 18, 30, 44], [3.2, 4.0, 5.0, 6.5])
    s = {}

    hu = np.where((width_a - 1.6) / width_a < section, -95.0, near(50, 6))
    skull = (section < 0.88) & (z < 15) & (z > 1.5)
    hu[skull] = 900
    hu[(section < 0.77) & (z < 14) & (z > 3)] = near(36, 3)
    hu[ellipsoid((-10, 0, 12.5), (3, near(4), 3))] = -950
    bottom = near(16.5)
    s["Brainstem"] = tube(cord_a, 0, (near(2.9, 0.3), near(2.9, 0.3)), near(7, 1), bottom)
    hu[tube(cord_a, 0, (4.0, 4.0), 6, bottom)] = 6
    hu[s["Brainstem"]] = 42

    disc = np.mod(z + rng.uniform(0, 4), 4.2) < 1.2
    vertebra = tube(cord_a - 4.2, 0, (2.4, 4.2), bottom, height)
    arch = tube(cord_a, 0, (3.6, 4.0), bottom, height) | tube(cord_a + 4.5, 0, (2.6, 0.8), bottom, height)
    hu[vertebra] = np.where(disc, 90, 380)[vertebra]
    hu[arch] = 450
    hu[tube(cord_a, 0, (2.5, 2.5), bottom, height)] = 5
    s["SpinalCord"] = tube(cord_a, 0, (1.7, 1.7), bottom, height)
    hu[s["SpinalCord"]] = 40

    jaw, chin = near(-3.5), near(23)
    arch = tube(jaw, 0, (10.6, 9.0), chin - 4, chin) & ~tube(jaw, 0, (8.4, 6.8), chin - 4, chin)
    ramus = (np.abs(np.abs(l) - 7.9) < 1.1) & (np.abs(a - 0.3) < 1.9) & (z > chin - 9) & (z < chin - 2)
    s["Mandible"] = ((arch & (a < 1.5)) | ramus) & (section < 0.92)
    hu[s["Mandible"]] = near(850, 80)

    side_height = near(18.5, 1)
    for name, side in (("RightParotid", -1), ("LeftParotid", 1)):
        gland = ellipsoid((near(4), side * near(10.3, 0.3), near(side_height)), (near(3.4), near(2.4, 0.3), near(5)))
        s[name] = gland & (section < 0.96) & ~s["Mandible"]
        hu[s[name]] = near(-28, 8)

    glottis = near(30)
    s["Larynx"] = ellipsoid((-4.4, 0, glottis), (near(3.6, 0.3), near(3.4, 0.3), near(3.8, 0.4))) & (section < 0.94)
    hu[s["Larynx"]] = 110
    s["Esophagus"] = tube(cord_a - 8.2, near(0), (1.5, 1.9), glottis + 3, height)
    hu[s["Esophagus"]] = 15
    airway = tube(near(-2.8), 0, (1.3, 2.2), 15, glottis - 2) | tube(-4.4, 0, (1.6, 1.4), glottis - 2, glottis + 3)
    airway |= tube(cord_a - 11.2, 0, (2.0, 2.0), glottis + 3, height)

    tumour_side = float(rng.choice([-1, 1]))
    radii = (near(3.45, 0.85), near(3.45, 0.85), near(3.45, 0.85))
    centre = (near(-2, 2.5), tumour_side * near(3.8, 1.2), near(23.5, 3.5))
    soft = (section < 0.9) & (hu > -50) & (hu < 120) & ~airway & ~s["SpinalCord"] & ~s["Brainstem"]
    nodes = rng.random() < 0.55
    node_centre, node_radii = (
        (near(2.5, 1), tumour_side * near(6.6, 0.3), near(29, 2)),
        (near(2.4), near(2.2, 0.3), near(3)),
    )
    tumour = ellipsoid(centre, radii) & soft
    node = ellipsoid(node_centre, node_radii) & soft if nodes else np.zeros(BOX, bool)
    hu[tumour | node] = near(98, 6)
    hu[airway & (section < 0.95)] = -980

    treatable = (section < 0.94) & body
    widened = [ellipsoid(centre, (radii[0] + m, radii[1] + m, radii[2] + m)) for m in (2.0, 3.6)]
    s["PTV70"] = widened[0] & treatable
    s["PTV63"] = np.zeros(BOX, bool)
    if nodes:
        around = ellipsoid(node_centre, (node_radii[0] + 1.7, node_radii[1] + 1.7, node_radii[2] + 1.7))
        s["PTV63"] = (around | widened[1]) & treatable & ~s["PTV70"]
    s["PTV56"] = np.zeros(BOX, bool)
    if nodes or np.mean(radii) > 3.2:
        necks = tube(2, 6.4, (4.4, 3.2), 19, 37) | tube(2, -6.4, (4.4, 3.2), 19, 37)
        s["PTV56"] = (necks | widened[1]) & treatable & ~s["PTV70"] & ~s["PTV63"]

    texture = ndimage.gaussian_filter(rng.standard_normal(BOX), 1.5)
    hu += 8 * texture / texture.std() + 10 * rng.standard_normal(BOX)
    return np.maximum(hu, -CT_OFFSET + 1), body, {name: structure & body for name, structure in s.items()}


def _dose(
    rng: np.random.Generator,
    body: np.ndarray,
    structures: dict[str, np.ndarray],
    voxel_dimensions: tuple[float, float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Dose (Gy) and possible dose mask of nine equispaced coplanar beams that cover the targets."""
    prescribed = np.zeros(BOX)
    for name, level in PRESCRIPTIONS.items():
        prescribed[structures[name]] = level
    target = prescribed > 0
    bath = sum(_beam(angle, body, prescribed, voxel_dimensions) for angle in BEAM_ANGLES) / len(BEAM_ANGLES)
    bath += 0.06 * ndimage.gaussian_filter1d(bath, 3, axis=2)  # scatter beyond the field's edges

    distance = ndimage.distance_transform_edt(~target, sampling=voxel_dimensions)
    organs = structures["SpinalCord"] | structures["Brainstem"] | structures["LeftParotid"] | structures["RightParotid"]
    spared = 1 - 0.5 * ndimage.gaussian_filter(organs.astype(float), 0.8)
    outside = bath * spared * (0.9 + 0.1 * np.exp(-distance / 6))
    ripple = ndimage.gaussian_filter(rng.standard_normal(BOX), 1.5)
    inside = prescribed * (1 + 0.012 * ripple / ripple.std())
    dose = ndimage.gaussian_filter(np.where(target, inside, outside), 0.45)
    dose *= rng.uniform(70.0, 71.5) / dose[structures["PTV70"]].mean()

    slices = np.flatnonzero(target.any(axis=(0, 1)))
    margin = rng.integers(3, 7)
    mask = body.copy()
    mask[:, :, : max(slices[0] - margin, 0)] = False
    mask[:, :, slices[-1] + margin + 1 :] = False
    return np.round(dose, 3) * mask, mask


def _beam(
    angle: float, body: np.ndarray, prescribed: np.ndarray, voxel_dimensions: tuple[float, float, float]
) -> np.ndarray:
    """Dose of one beam that sees the highest prescription on each of its rays; 0 degrees comes from anterior."""
    a, l = ((np.arange(n) - n / 2) * size for n, size in zip(BOX[:2], voxel_dimensions[:2], strict=True))  # noqa: E741
    towards_source = -np.cos(angle) * a[:, None] + np.sin(angle) * l
    across = np.sin(angle) * a[:, None] + np.cos(angle) * l
    column = np.round((across - across.min()) / voxel_dimensions[0]).astype(int)
    columns = np.broadcast_to(column[:, :, None], BOX)
    heights = np.broadcast_to(np.arange(BOX[2]), BOX)
    along = np.broadcast_to(towards_source[:, :, None], BOX)

    fluence, skin = np.zeros((2, column.max() + 1, BOX[2]))
    np.maximum.at(fluence, (columns, heights), prescribed)
    np.maximum.at(skin, (columns[body], heights[body]), along[body])
    fluence = ndimage.gaussian_filter(fluence, 0.8)
    depth = np.maximum(skin[columns, heights] - along, 0)
    transmitted = np.exp(-0.004 * depth) * (1 - 0.5 * np.exp(-depth / 6))
    return fluence[columns, heights] * transmitted / transmitted[prescribed > 0].mean()
