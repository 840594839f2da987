# SPDX-License-Identifier: Apache-2.0
"""Folders to predict on, in which everything lies together and some of it is broken."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from harness import Wrong
from patients import write_patient

from ctan_networks.datasets.case_reader import CaseReader
from ctan_networks.datasets.inference_cases import inference_list, prescribed_list
from ctan_networks.datasets.stoic.phantoms import write_mha
from ctan_networks.errors import DataError


@pytest.fixture
def mixed(tmp_path):
    folder = tmp_path / "template"
    write_patient(folder / "dicom")
    volume = np.random.default_rng(0).integers(-1000, 400, (5, 4, 3)).astype(np.int16)
    nib.save(nib.Nifti1Image(volume, np.diag([2.0, 2, 3, 1])), folder / "a.nii.gz")
    write_mha(folder / "b.mha", volume, (1.0, 1.0, 2.0))
    (folder / "nifti").mkdir()
    shutil.copy(folder / "a.nii.gz", folder / "nifti" / "ct.nii.gz")
    (folder / "pt_1").mkdir()
    (folder / "pt_1" / "ct.csv").write_text(",data\n7,1024.0\n")
    (folder / "pt_1" / "voxel_dimensions.csv").write_text("3\n3\n2\n")
    (folder / "readme.txt").write_text("hello\n")
    return folder


def read(folder: Path) -> str:
    """List, then read as inference does: a case that cannot be read is named, and does not stop the rest."""
    broken = 0
    for make in (inference_list, prescribed_list):
        items = make(folder)
        for item in items:
            try:
                array, _ = CaseReader(["Bladder"]).get_data(Path(item["image"]))
            except DataError as error:
                if folder.parent.name not in str(error):
                    raise Wrong(f"the error names no file: {error}") from None
                broken += 1
                continue
            if array.ndim != 3 or not np.isfinite(array).all():
                raise Wrong(f"{item}: {array.shape}, or not finite")
    return "left out" if broken else "read"


def test_folders(fuzz, mixed):
    pytest.importorskip("itk")
    fuzz("folders to predict on", mixed, read)
