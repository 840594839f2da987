# SPDX-License-Identifier: Apache-2.0
"""A phantom cohort of chest CTs, written exactly as STOIC2021 is published.

What is to be learnt can be seen in the CT: COVID-19 as soft ground-glass opacities at the back and rim of both lungs,
its severity by the share of the lungs that they fill. Negatives are clear, or have one dense consolidation or a
nodule, and lungs differ in density from patient to patient, so that the mean density alone does not tell.
"""

from __future__ import annotations

import csv
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy import ndimage

from ctan_networks.data.phantom_cohort import write_cohort
from ctan_networks.errors import ConfigError
from ctan_networks.utils import atomic_path, derive_seed

__all__ = ["stoic_cohort", "write_mha"]

VERSION = 1
# x to the patient's left, y to the back, z to the head, as ITK reads them.
SIZE = (80, 62, 48)
SPACING = (4.5, 4.5, 6.0)
COVID_SHARE, SEVERE_SHARE = 0.6, 0.4
# Share of the lungs that is opaque, of severe patients and of the others with COVID-19.
SEVERE_OPACITY, MILD_OPACITY = (0.26, 0.5), (0.06, 0.22)


def stoic_cohort(root: str | os.PathLike, patients: int = 80, seed: int = 0) -> str:
    """Write a phantom cohort in STOIC2021's layout, unless it is there already.

    ``data/mha/<PatientID>.mha`` (compressed, with PatientAge and PatientSex in the header) and
    ``metadata/reference.csv`` (PatientID, probCOVID, probSevere). The same arguments give the same bytes. A cohort is
    there whole or not at all, and is marked by ``PHANTOM.json``.

    Args:
        root: folder in which ``stoic2021`` is written.
        patients: number of patients.
        seed: seed; each patient draws from (seed, number).

    Returns:
        The path of ``stoic2021``.

    Raises:
        ConfigError: when there is no patient.
        DataError: when the folder is there and no phantom: it is never overwritten.

    """
    if patients < 1:
        raise ConfigError(f"a cohort has at least one patient, got {patients}.")
    target = Path(os.path.abspath(root)) / "stoic2021"
    details = {"data_set": "STOIC2021", "version": VERSION, "patients": patients, "seed": seed}
    labels = _labels(patients, np.random.default_rng(derive_seed("stoic", seed, "labels")))

    def write(folder: Path) -> None:
        (folder / "metadata").mkdir()
        with open(folder / "metadata" / "reference.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["PatientID", "probCOVID", "probSevere"])
            writer.writerows((case, covid, severe) for case, (covid, severe) in labels.items())
        for case, (covid, severe) in labels.items():
            rng = np.random.default_rng(derive_seed("stoic", seed, case))
            person = {"PatientAge": f"{rng.integers(5, 18) * 5:03d}Y", "PatientSex": str(rng.choice(["M", "F"]))}
            volume = _thorax(rng, covid, severe)
            write_mha(folder / "data" / "mha" / f"{case}.mha", volume, SPACING, (-180.0, -140.0, 0.0), person)

    files = ["metadata/reference.csv", *(f"data/mha/{case}.mha" for case in labels)]
    write_cohort(target, details, files, write)
    return str(target)


def write_mha(
    path: Path,
    volume: np.ndarray,
    spacing: tuple[float, float, float],
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0),
    extra: Mapping[str, str] | None = None,
) -> None:
    """Write a CT as a compressed MetaImage with its data in the same file.

    Args:
        path: the file.
        volume: HU ``[x, y, z]``, axes as ITK's: left, posterior, superior.
        spacing: voxel size in mm.
        offset: position of the first voxel in mm.
        extra: further lines of the header.

    """
    data = zlib.compress(np.ascontiguousarray(volume.T.astype("<i2")).tobytes(), 6)
    header = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(len(data)),
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": " ".join(f"{v:g}" for v in offset),
        "CenterOfRotation": "0 0 0",
        "AnatomicalOrientation": "RAI",
        "ElementSpacing": " ".join(f"{v:g}" for v in spacing),
        **(extra or {}),
        "DimSize": " ".join(map(str, volume.shape)),
        "ElementType": "MET_SHORT",
        "ElementDataFile": "LOCAL",
    }
    with atomic_path(path) as temporary:
        temporary.write_bytes("".join(f"{k} = {v}\n" for k, v in header.items()).encode() + data)


def _labels(patients: int, rng: np.random.Generator) -> dict[str, tuple[int, int]]:
    """PatientID to (probCOVID, probSevere), with the shares as exactly as whole patients allow."""
    positive = round(COVID_SHARE * patients)
    severe = round(SEVERE_SHARE * positive)
    kinds = [(1, 1)] * severe + [(1, 0)] * (positive - severe) + [(0, 0)] * (patients - positive)
    numbers = sorted(rng.choice(np.arange(1, max(10000, patients + 1)), patients, replace=False).tolist())
    return {str(n): kinds[k] for n, k in zip(numbers, rng.permutation(patients), strict=True)}


def _thorax(rng: np.random.Generator, covid: int, severe: int) -> np.ndarray:
    """HU ``[x, y, z]`` of one patient."""
    x, y, z = (
        (np.arange(n)[tuple(slice(None) if k == axis else None for k in range(3))] - (n - 1) / 2) * mm
        for axis, (n, mm) in enumerate(zip(SIZE, SPACING, strict=True))
    )
    scale = rng.uniform(0.92, 1.06)

    def ellipsoid(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
        away = [((a - c * scale) / (r * scale)) ** 2 for a, c, r in zip((x, y, z), centre, radii, strict=True)]
        return away[0] + away[1] + away[2] < 1

    hu = np.full(SIZE, -1000.0)
    body = ((x / (165 * scale)) ** 2 + (y / (112 * scale)) ** 2 < 1) & np.ones(SIZE, bool)
    hu[body] = -90
    hu[((x / (150 * scale)) ** 2 + (y / (98 * scale)) ** 2 < 1) & np.ones(SIZE, bool)] = 45
    lungs = ellipsoid((-72, 2, 0), (58, 84, 122)) | ellipsoid((72, 2, 0), (55, 84, 122))
    rim = ndimage.binary_dilation(lungs) & ~lungs
    ribs = rim & (np.sin((z + 0.5 * y) / 5.5) > 0.55)
    hu[ribs] = 350
    hu[ellipsoid((14, -26, -42), (52, 44, 62))] = 40
    lungs &= ~ellipsoid((14, -26, -42), (54, 46, 64))
    # Upwards from the diaphragm.
    lungs &= z > -105 * scale - 25 * np.exp(-((np.abs(x) - 72) ** 2 + y**2) / 4000)
    hu[((x**2 + (y - 78 * scale) ** 2) < (19 * scale) ** 2) & np.ones(SIZE, bool)] = 300
    hu[lungs] = rng.uniform(-870, -790)
    hu += np.where(lungs, _texture(rng, 1.2) * rng.uniform(25, 50), 0)
    hu[lungs & (_texture(rng, 0.8) > 2.1)] = 20
    opacity = _opacity(rng, lungs, y, z, covid, severe)
    density = rng.uniform(-620, -420) + 90 * _texture(rng, 1.5)
    hu = np.where(lungs, (1 - opacity) * hu + opacity * density, hu)
    if not covid and rng.random() < 0.5:
        # One dense lobe or a nodule: opaque, but no ground glass on both sides.
        seat = np.argwhere(lungs)[rng.integers(lungs.sum())]
        away = sum(
            ((np.arange(n)[(None,) * k + (slice(None),) + (None,) * (2 - k)] - seat[k]) * SPACING[k]) ** 2
            for k, n in enumerate(SIZE)
        )
        hu[lungs & (away < rng.uniform(10, 34) ** 2)] = rng.uniform(-20, 60)
    hu[:, int(SIZE[1] / 2 + 118 * scale / SPACING[1]) :][:, :1] = -250
    hu += rng.normal(0, 18, SIZE)
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)


def _opacity(
    rng: np.random.Generator, lungs: np.ndarray, y: np.ndarray, z: np.ndarray, covid: int, severe: int
) -> np.ndarray:
    """Share of ground glass in each voxel: smooth blobs, most of them at the back, the base and the rim."""
    if not covid:
        return np.zeros(lungs.shape)
    share = rng.uniform(*(SEVERE_OPACITY if severe else MILD_OPACITY))
    depth = ndimage.distance_transform_edt(lungs, sampling=SPACING)
    field = _texture(rng, 2.2) + 0.9 * np.exp(-depth / 14) + y / 130 - z / 320
    level = np.quantile(field[lungs], 1 - share)
    return np.clip((field - level) / 0.35, 0, 1) * lungs


def _texture(rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Smooth noise with mean 0 and deviation 1; ``sigma`` in voxels of the first two axes."""
    noise = ndimage.gaussian_filter(rng.standard_normal(SIZE), (sigma, sigma, sigma * SPACING[0] / SPACING[2]))
    return (noise - noise.mean()) / noise.std()
