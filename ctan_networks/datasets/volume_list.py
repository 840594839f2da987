# SPDX-License-Identifier: Apache-2.0
"""Data lists of volumes to predict on, in whatever folders they lie."""

from __future__ import annotations

import os
from pathlib import Path

from ctan_networks.data.case_list import Items, cases_inside, existing_path, refuse_same_names
from ctan_networks.data.pseudonyms import tell_renamed
from ctan_networks.datasets.stoic.data_list import STOIC_VOLUMES, stoic_root
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.ct_slices import ct_slices
from ctan_networks.radiotherapy.pseudonyms import case_of_folder

__all__ = ["volume_list"]

VOLUMES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")


def volume_list(dataset_dir: str | os.PathLike) -> Items:
    """List the volumes to predict on. Labels are neither needed nor looked at.

    Args:
        dataset_dir: one of

            - one volume (NIfTI, MHA, MHD, NRRD), or one folder with the slices of a DICOM CT series;
            - a folder of volumes, of such series (each in its own folder), or of both;
            - the published STOIC2021 folder (it holds ``data/mha``), or the folder that holds it.

    Returns:
        One item a case, in natural order, with "case" (name of the file without its suffix, or of the folder, or a
        pseudonym where the folder is named after the patient) and the absolute path "image".

    Raises:
        DataError: when nothing to predict on is there, or when two cases have the same name.

    """
    path = existing_path(dataset_dir, "to predict on")
    items = as_volume(path)
    if not items and path.is_dir():
        root = stoic_root(path)
        items = cases_inside(path if root is None else root / STOIC_VOLUMES, as_volume)
    if not items:
        raise DataError(
            f"{path} holds nothing to predict on. Give a volume ({', '.join(VOLUMES)}), a folder with the slices of one"
            " DICOM CT series, or a folder of such volumes or series."
        )
    tell_renamed(items)
    refuse_same_names(items, "Rename one, or give one of the two folders")
    return items


def as_volume(path: Path) -> Items:
    """The path itself as the only case (a volume, a folder with a DICOM CT series), or an empty list."""
    if path.is_dir():
        return [{"case": case_of_folder(path), "image": str(path)}] if next(ct_slices(path), None) else []
    suffix = next((s for s in VOLUMES if path.name.lower().endswith(s)), None)
    return [{"case": path.name[: -len(suffix)], "image": str(path)}] if suffix and path.is_file() else []
