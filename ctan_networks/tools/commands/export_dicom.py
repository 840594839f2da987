# SPDX-License-Identifier: Apache-2.0
"""Write the results of an inference as DICOM."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from ctan_networks.datasets.case_reader import CaseReader
from ctan_networks.errors import ConfigError, DataError
from ctan_networks.radiotherapy.reference_ct import ReferenceCT, on_grid
from ctan_networks.radiotherapy.results import export_dicom as write

__all__ = ["export_dicom"]


def export_dicom(
    ct: str,
    results: str,
    output_dir: str,
    structures: str | Sequence[str] | None = None,
    prescription: float | None = None,
    seg: bool = True,
) -> dict[str, str]:
    """Write predicted structures (RTSTRUCT, SEG) and dose (RTDOSE, RTPLAN) of one case, on the grid of its CT.

    What inference noted in ``*_result.json`` is compared with the CT: results of another image are refused.

    Args:
        ct: the DICOM folder that was predicted on (its CT is referred to), or a volume of another form, from which a
            CT series is then written.
        results: folder of the case as inference writes it, with ``*_structures.nii.gz``, ``*_dose.nii.gz`` or both.
        output_dir: where the DICOM files go.
        structures: names of the structures in their order, separated by commas; as the bundle's ``inference.json`` has
            them. Default: the list in ``*_structures.json``, if that lies with the results.
        prescription: Gy, for the unapproved plan that is written with the dose; default: what the dose was predicted
            for, if ``*_result.json`` says so.
        seg: write a SEG beside the RTSTRUCT (needs highdicom).

    Returns:
        What was written.

    Raises:
        DataError: when there are no results, names and channels do not fit, or the results are of another image.
        ConfigError: when the structures' names are missing.

    """
    folder = Path(results)
    structures_file, dose_file, result_file = (
        _one(folder, end) for end in ("structures.nii.gz", "dose.nii.gz", "result.json")
    )
    if structures_file is None and dose_file is None:
        raise DataError(f"{folder} holds neither *_structures.nii.gz nor *_dose.nii.gz. Give a case's results.")
    _of_one_case(folder, structures_file, dose_file, result_file)
    noted = _read_result(result_file) if result_file is not None else {}
    _of_one_run(noted.get("image") or {}, structures_file, dose_file)
    reference = ReferenceCT.read(ct, CaseReader())
    reference.require_origin(folder, noted.get("image"))
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
            name: on_grid(structures_file, channels[..., k], image.affine, reference) > 0.5
            for k, name in enumerate(names)
        }
    if dose_file is not None:
        image = _load(dose_file)
        dose = on_grid(dose_file, np.asanyarray(image.dataobj), image.affine, reference)
    predicted_for = (noted.get("dose") or {}).get("prescription")
    series = reference.as_series(output_dir, folder.resolve().name)
    written = write(series, output_dir, masks=masks, dose=dose, prescription=prescription or predicted_for, seg=seg)
    return {kind: str(path) for kind, path in written.items()}


def _one(folder: Path, end: str) -> Path | None:
    files = sorted(folder.glob(f"*_{end}")) if folder.is_dir() else []
    if len(files) > 1:
        raise DataError(f"{folder} holds {len(files)} files *_{end}. Give the folder of one case.")
    return files[0] if files else None


def _of_one_case(folder: Path, *files: Path | None) -> None:
    """Refuse results of several cases in one folder: their names begin with the case's."""
    cases = sorted({file.name.rsplit("_", 1)[0] for file in files if file is not None})
    if len(cases) > 1:
        raise DataError(f"{folder} holds results of several cases: {', '.join(cases)}. Give the folder of one case.")


def _of_one_run(origin: Mapping[str, Any], *files: Path | None) -> None:
    """Refuse a volume that was not written together with the result: it may be of another image."""
    written = origin.get("files")
    if isinstance(written, list):
        for file in files:
            if file is not None and file.name not in written:
                raise DataError(
                    f"{file} was not written with the result beside it: it is of another run. Take it away, or predict"
                    " again."
                )


def _read_result(file: Path) -> dict[str, Any]:
    try:
        noted = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read as JSON ({error}). Get the results again.") from None
    if not isinstance(noted, dict) or not all(isinstance(noted.get(key) or {}, dict) for key in ("image", "dose")):
        raise DataError(f"{file} is not a result as inference writes it. Get the results again.")
    return noted


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
