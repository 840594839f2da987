# SPDX-License-Identifier: Apache-2.0
"""Write the results of an inference as DICOM."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.dicom.elements import read_dicom
from ctan_networks.radiotherapy.results import export_dicom as write
from ctan_networks.radiotherapy.results import reference_series, to_series_grid

__all__ = ["export_dicom"]


def export_dicom(
    ct: str,
    results: str,
    output_dir: str,
    structures: str | Sequence[str] | None = None,
    prescription: float | None = None,
    plan: str | None = None,
    seg: bool = True,
) -> dict[str, str]:
    """Write predicted structures (RTSTRUCT, SEG) and dose (RTDOSE) of one case, on the grid of its CT.

    Args:
        ct: the DICOM folder that was predicted on (its CT is referred to), or a volume of another form, from which a
            CT series is then written.
        results: folder of the case as inference writes it, with ``*_structures.nii.gz``, ``*_dose.nii.gz`` or both.
        output_dir: where the DICOM files go.
        structures: names of the structures in their order, separated by commas; as the bundle's ``inference.json`` has
            them. Default: the list in ``*_structures.json``, if that lies with the results.
        prescription: Gy, for the plan that is written where there is none.
        plan: RTPLAN file that the dose belongs to; default: the one in the CT's folder.
        seg: write a SEG beside the RTSTRUCT (needs highdicom).

    Returns:
        What was written.

    Raises:
        DataError: when there are no results, or names and channels do not fit.
        ConfigError: when the structures' names are missing.

    """
    folder = Path(results)
    structures_file, dose_file = (_one(folder, kind) for kind in ("structures", "dose"))
    if structures_file is None and dose_file is None:
        raise DataError(f"{folder} holds neither *_structures.nii.gz nor *_dose.nii.gz. Give a case's results.")
    series, found = reference_series(ct, output_dir, patient_id=folder.resolve().name)
    masks = dose = None
    if structures_file is not None:
        image = _load(structures_file)
        channels = np.asanyarray(image.dataobj)
        channels = channels[..., None] if channels.ndim == 3 else channels
        names = _names(structures, structures_file)
        if len(names) != channels.shape[3]:
            raise (DataError if names else ConfigError)(
                f"{structures_file} has {channels.shape[3]} structures: give as many names, in their order, as"
                f" --structures NAME,NAME,... (given: {len(names)})."
            )
        masks = {
            name: to_series_grid(channels[..., k], image.affine, series, order=0) > 0.5 for k, name in enumerate(names)
        }
    if dose_file is not None:
        image = _load(dose_file)
        dose = to_series_grid(np.asanyarray(image.dataobj), image.affine, series, order=1)
    given = read_dicom(plan) if plan else found
    written = write(series, output_dir, masks=masks, dose=dose, plan=given, prescription=prescription, seg=seg)
    return {kind: str(path) for kind, path in written.items()}


def _one(folder: Path, kind: str) -> Path | None:
    files = sorted(folder.glob(f"*_{kind}.nii.gz")) if folder.is_dir() else []
    if len(files) > 1:
        raise DataError(f"{folder} holds {len(files)} files *_{kind}.nii.gz. Give the folder of one case.")
    return files[0] if files else None


def _load(file: Path) -> nib.Nifti1Image:
    image = nib.load(file)
    if not isinstance(image, nib.Nifti1Image):
        raise DataError(f"{file} is no NIfTI file.")
    return image


def _names(given: str | Sequence[str] | None, structures_file: Path) -> list[str]:
    if given is not None:
        # fire makes numbers of names that look like numbers
        return [str(name).strip() for name in (given.split(",") if isinstance(given, str) else given)]
    listed = structures_file.with_name(structures_file.name.removesuffix(".nii.gz") + ".json")
    if not listed.is_file():
        return []
    try:
        names = json.loads(listed.read_text())
    except ValueError as error:
        raise DataError(f"{listed} is no JSON ({error}). Give the names as --structures NAME,NAME,...") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{listed} must hold a list of names. Give them as --structures NAME,NAME,...")
    return names
