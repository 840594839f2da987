# SPDX-License-Identifier: Apache-2.0
"""From a patient's DICOM-RT folder to NIfTI files without identifiers, so that training reads DICOM once."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

import ctan_networks
from ctan_networks.radiotherapy.convert_dose import dose_for_nifti, prescription_of_plan
from ctan_networks.radiotherapy.dicom.ct_series import CTSeries
from ctan_networks.radiotherapy.dicom.patient_folder import read_treatment_plan, scan_folder
from ctan_networks.radiotherapy.hounsfield import as_hounsfield
from ctan_networks.radiotherapy.nifti_patient import CT, DOSE
from ctan_networks.radiotherapy.patients import warn_of_position
from ctan_networks.radiotherapy.sides import body_middles
from ctan_networks.radiotherapy.structure_masks import PlanStructures
from ctan_networks.reading import walk_folder

__all__ = ["PROVENANCE", "convert_patient", "read_provenance", "unmatched_rois"]

PROVENANCE = "provenance.json"
# Counts up when converted cases must be made anew.
FORMAT = 4
WORKPLACE = ".converting-"
# Seconds after which a workplace is no longer one in which another process is converting.
LEFT_OVER = 3600.0
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def convert_patient(
    folder: str | os.PathLike,
    target: str | os.PathLike,
    patterns: Mapping[str, Sequence[str]],
    need_structures: bool = True,
    need_dose: bool | None = True,
) -> dict[str, Any]:
    """Convert one patient, unless that was done before with the same files and patterns.

    Writes ``ct.nii.gz`` (HU, int16), ``<structure>.nii.gz`` (0 and 1, on the CT's grid: a voxel is in when its centre
    is inside the contours), ``dose.nii.gz`` (Gy, on the grid of the RTDOSE; doses a beam are summed) and
    ``provenance.json``. Of the DICOM header nothing but geometry and prescription is kept: neither names, dates nor
    UIDs; only hashes by which the source can be recognised by those who have it.

    Args:
        folder: what a planning system exported for the patient, in any files and sub-folders.
        target: folder to be made; a former conversion there is replaced.
        patterns: structure to patterns of ROI names, see
        :py:func:`ctan_networks.radiotherapy.dicom.roi_names.match_rois`.
        need_structures: refuse a patient without structures.
        need_dose: refuse a patient without dose; None: leave doses aside, whatever they are.

    Returns:
        The provenance: among others "structures" (of each its ROI and volume), "rois" (the names of all ROIs, as they
        stand in the structure set, without the patient's name and id); and where the patient was converted just now,
        "unmatched": ROI names that belong to no structure.

    Raises:
        DataError: names the folder, what was found and what to do.

    """
    source, out = Path(folder), Path(target)
    key = _fingerprint(source, patterns, need_structures, need_dose)
    known = read_provenance(out)
    if known is not None and known.get("fingerprint") == key:
        return known
    plan = read_treatment_plan(scan_folder(source), need_structures, need_dose)
    warn_of_position(plan.ct, out.name)
    drawn = PlanStructures(plan, patterns, out.name)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=WORKPLACE) as workplace:
        new = Path(workplace) / "new"
        new.mkdir()
        affine = LPS_TO_RAS @ plan.ct.affine
        hu = as_hounsfield(plan.ct.volume(), source)
        _write(new / CT, np.rint(hu).astype(np.int16), affine)
        middles = body_middles(hu, plan.ct.affine)
        del hu
        structures = _write_structures(new, drawn, middles, plan.ct)
        provenance: dict[str, Any] = {
            "format": FORMAT,
            "made_by": f"ctan-networks {ctan_networks.__version__}",
            "fingerprint": key,
            "series": _hash(plan.ct.uid),
            "ct": {"shape": list(plan.ct.shape), "spacing_mm": [round(s, 4) for s in plan.ct.spacing]},
            "structures": structures,
            "rois": drawn.names,
            "prescription_gy": plan.prescription,
            "prescription": prescription_of_plan(plan),
        }
        if plan.doses:
            dose, provenance["dose"] = dose_for_nifti(plan, new, structures)
            _write(new / DOSE, dose.dose, LPS_TO_RAS @ dose.affine)
        (new / PROVENANCE).write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
        _exchange(new, out, Path(workplace) / "old", key)
    return provenance | {"unmatched": unmatched_rois(provenance)}


def unmatched_rois(provenance: Mapping[str, Any]) -> list[str]:
    """Names of the ROIs that belong to no structure, as they stand in the structure set."""
    used = {found["roi"] for found in provenance["structures"].values()}
    return [name for name in provenance["rois"] if name not in used]


def remove_workplaces(converted_dir: Path) -> None:
    """Remove what a conversion that was killed left half written."""
    for place in converted_dir.glob(f"{WORKPLACE}*"):
        # It may go while it is looked at.
        with suppress(OSError):
            if time.time() - place.stat().st_mtime >= LEFT_OVER:
                shutil.rmtree(place)


def _exchange(new: Path, out: Path, old: Path, key: str) -> None:
    """Put a conversion in its place, unless another run that shares the folder has put the same one there meanwhile."""
    for last in (False, True):
        known = read_provenance(out)
        if known is not None and known.get("fingerprint") == key:
            return
        try:
            if out.exists():
                os.replace(out, old)
            os.replace(new, out)
            return
        except OSError:
            # The other one was there between the look and the renaming.
            if last:
                raise


def _write_structures(folder: Path, structures: PlanStructures, middles: np.ndarray, ct: CTSeries) -> dict[str, Any]:
    voxel = abs(np.linalg.det(ct.affine[:3, :3])) / 1000
    written = {}
    for structure, roi, mask in structures.masks(middles):
        _write(folder / f"{structure}.nii.gz", mask.astype(np.uint8), LPS_TO_RAS @ ct.affine)
        written[structure] = {"roi": roi, "volume_cc": round(float(mask.sum() * voxel), 3)}
    return written


def _write(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def read_provenance(folder: Path) -> dict[str, Any] | None:
    """The provenance of a converted patient; None where it is absent or damaged, or one of its files is missing."""
    try:
        content = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not isinstance(content.get("structures", {}), dict):
        return None
    stated = content.get("prescription_gy")
    # bool is an int; NaN is a number of Python's JSON.
    if stated is not None and not (type(stated) in (int, float) and 0 < stated < math.inf):
        return None
    files = [CT, *(f"{name}.nii.gz" for name in content.get("structures", {})), *([DOSE] if "dose" in content else [])]
    return content if all((folder / file).is_file() for file in files) else None


def _fingerprint(folder: Path, *settings: Any) -> str:
    """Changes when a file of the folder, or a setting, does."""
    parts = [f"{FORMAT} {settings!r}"]
    for parent, _, files in walk_folder(folder):
        for name in files:
            relative = os.path.relpath(Path(parent) / name, folder)
            try:
                status = os.stat(Path(parent) / name)
            except OSError as error:
                # A link to nothing, or a file that has gone.
                parts.append(f"{relative} {error.errno}")
            else:
                parts.append(f"{relative} {status.st_size} {status.st_mtime_ns}")
    return _hash("\n".join(parts))


def _hash(text: str) -> str:
    # Names of files may be any bytes.
    return sha256(os.fsencode(text)).hexdigest()[:32]
