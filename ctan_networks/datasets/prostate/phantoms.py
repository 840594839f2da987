# SPDX-License-Identifier: Apache-2.0
"""A phantom prostate cohort in DICOM-RT: one folder a patient, with files and names as clinics have them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from ctan_networks.data.phantom_cohort import write_cohort
from ctan_networks.datasets.prostate.pelvis import Pelvis, make_pelvis
from ctan_networks.errors import ConfigError
from ctan_networks.radiotherapy.dicom.write_ct import write_ct_series
from ctan_networks.radiotherapy.dicom.write_rtdose import write_rtdose
from ctan_networks.radiotherapy.dicom.write_rtplan import write_rtplan
from ctan_networks.radiotherapy.dicom.write_rtstruct import write_rtstruct
from ctan_networks.utils import derive_seed

__all__ = ["prostate_cohort"]

VERSION = 1
# All phantoms were "planned" on this day, so that the same arguments give the same bytes.
DATE = "20200101120000"
DESCRIPTION = "PHANTOM, no patient"
ROI_NAMES = {
    "Bladder": ("Bladder", "BLADDER_O", "blase"),
    "Rectum": ("Rectum", "Rectum_O", "rectum"),
    "FemoralHeadLeft": ("Fem_Head_L", "FemoralHeadLt", "Femoral Head Lt"),
    "FemoralHeadRight": ("Fem_Head_R", "FemoralHeadRt", "Femoral Head Rt"),
    "CTV": ("CTV", "CTV", "ctv"),
    "Body": ("BODY", "External", "Aussenkontur"),
    "Couch": ("Couch", "CouchSurface", "Tisch"),
}
# How often an organ has no contour.
MISSING = {"FemoralHeadLeft": 0.06, "FemoralHeadRight": 0.06}
BEAM_DOSES = 0.25
BEAM_GROUPS = ((0, 1, 2), (3, 4), (5, 6))
DOSE_SPACING = (3.5, 3.5, 3.0)


def prostate_cohort(root: str | os.PathLike, patients: int = 25, seed: int = 0) -> str:
    """Write a phantom cohort, unless it is there already.

    Each patient ``P001`` .. has a CT series, an RTSTRUCT, one RTDOSE or one a group of beams, and an RTPLAN with the
    prescription, in one folder or in sub-folders, under file names of three manners. ROI names differ between
    patients, and there are ROIs that nobody asked for. The same arguments give the same bytes. A cohort is there whole
    or not at all, and is marked by ``PHANTOM.json``.

    Args:
        root: folder in which ``prostate`` is written.
        patients: number of patients, at most 999.
        seed: seed; each patient draws from (seed, name).

    Returns:
        The path of ``prostate``.

    Raises:
        ConfigError: when the number of patients is out of range.
        DataError: when ``prostate`` is there and no phantom: it is never overwritten.

    """
    if not 1 <= patients <= 999:
        raise ConfigError(f"a cohort has 1 to 999 patients, got {patients}.")
    target = Path(os.path.abspath(root)) / "prostate"
    names = [f"P{number:03d}" for number in range(1, patients + 1)]

    def write(folder: Path) -> None:
        for name in names:
            _write_patient(folder / name, np.random.default_rng(derive_seed("prostate", seed, name)), f"{seed}/{name}")

    details = {"data_set": "prostate", "version": VERSION, "patients": patients, "seed": seed}
    write_cohort(target, details, names, write)
    return str(target)


def _write_patient(folder: Path, rng: np.random.Generator, uid_root: str) -> None:
    pelvis = make_pelvis(rng)
    manner = int(rng.integers(3))
    # In one folder with suffix; in sub-folders without suffix; in one folder, numbered through.
    ct_name = ("CT.{:04d}.dcm", "CT/IM{:04d}", "{:06d}")[manner]
    names = {
        "RTSTRUCT": ("RS.{}.dcm", "RS/RS{:04d}", "9{:05d}")[manner],
        "RTPLAN": ("RP.{}.dcm", "RP/RP{:04d}", "8{:05d}")[manner],
        "RTDOSE": ("RD.{}.dcm", "RD/RD{:04d}", "7{:05d}")[manner],
    }
    ct = write_ct_series(
        folder,
        pelvis.hu,
        pelvis.affine,
        name="Phantom^Pelvis",
        patient_id=f"ID-{derive_seed(uid_root) % 10**8:08d}",
        uid_root=uid_root,
        series_description=DESCRIPTION,
        file_name=ct_name,
        date=DATE,
    )
    common: dict[str, Any] = {"description": DESCRIPTION, "date": DATE}
    structures = write_rtstruct(
        folder / names["RTSTRUCT"].format(1),
        _rois(pelvis, rng),
        ct,
        roi_types={"BODY": "EXTERNAL", "External": "EXTERNAL", "Aussenkontur": "EXTERNAL"},
        uid_root=uid_root,
        **common,
    )
    plan = write_rtplan(
        folder / names["RTPLAN"].format(1),
        ct,
        structures,
        prescription_gy=pelvis.prescription,
        uid_root=uid_root,
        **common,
    )
    doses = [pelvis.dose]
    if rng.random() < BEAM_DOSES:
        doses = [np.sum([pelvis.beams[k] for k in group], axis=0) for group in BEAM_GROUPS]
    affine, shape = _dose_grid(pelvis, rng)
    for k, dose in enumerate(doses, start=1):
        to_ct = np.linalg.inv(pelvis.affine) @ affine
        write_rtdose(
            folder / names["RTDOSE"].format(k),
            ndimage.affine_transform(
                dose.astype(np.float64), np.diag(to_ct)[:3], to_ct[:3, 3], output_shape=shape, order=1
            ),
            ct,
            plan,
            affine=affine,
            bits=int(rng.choice([16, 16, 32])),
            uid_root=f"{uid_root}/{k}",
            summation="PLAN" if len(doses) == 1 else "BEAM",
            **common,
        )


def _rois(pelvis: Pelvis, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """ROIs in an order and under names that differ between patients."""
    clinic = int(rng.integers(3))
    rois = {
        names[clinic]: pelvis.structures[name]
        for name, names in ROI_NAMES.items()
        if rng.random() >= MISSING.get(name, 0.0)
    }
    rois[("PTV", f"PTV_{pelvis.prescription:.0f}00", f"PTV {pelvis.prescription:.0f}")[clinic]] = pelvis.structures[
        "PTV"
    ]
    rois["optBladder"] = pelvis.structures["Bladder"] & ~pelvis.structures["PTV"]
    rois["Dose 95%"] = np.zeros_like(pelvis.structures["PTV"])
    order = rng.permutation(len(rois))
    return {name: rois[name] for name in (list(rois)[k] for k in order)}


def _dose_grid(pelvis: Pelvis, rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, int, int]]:
    """A grid of the dose's own: it holds the body, and does not share its voxels with the CT."""
    body = np.array([[inside.min(), inside.max()] for inside in np.nonzero(pelvis.structures["Body"])], dtype=float)
    scale, origin = np.diag(pelvis.affine)[:3], pelvis.affine[:3, 3]
    low, high = origin + scale * body[:, 0], origin + scale * body[:, 1]
    affine = np.diag([*DOSE_SPACING, 1.0])
    affine[:3, 3] = low + rng.uniform(0, 0.4, 3) * DOSE_SPACING
    # Frames lie on slices.
    affine[2, 3] = low[2]
    return affine, tuple(int(n) for n in np.floor((high - affine[:3, 3]) / DOSE_SPACING) + 1)  # type: ignore[return-value]
