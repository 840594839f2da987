# SPDX-License-Identifier: Apache-2.0
"""Readers that refuse what is broken must not refuse what clinics, scanners and publishers write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from ctan_networks.data import MaskReader, PhotoReader, photo_list
from ctan_networks.datasets.case_reader import CaseReader
from ctan_networks.datasets.ham10000.data_list import ham10000_list
from ctan_networks.datasets.inference_cases import inference_list, prescribed_list
from ctan_networks.datasets.openkbp.data_list import openkbp_list
from ctan_networks.radiotherapy.dicom.rtdose import read_dose
from ctan_networks.radiotherapy.dicom.rtstruct import read_structures
from ctan_networks.radiotherapy.dicom.stored_dvh import read_stored_dvhs

pytestmark = [pytest.mark.realdata, pytest.mark.timeout(1800)]


def folder(real_data: Path, name: str) -> Path:
    if not (real_data / name).is_dir():
        pytest.skip(f"no {name} in CTAN_DATA")
    return real_data / name


@pytest.mark.parametrize("split", ["train", "validation"])
def test_openkbp(real_data, split):
    items = openkbp_list(folder(real_data, "provided-data"), split)
    assert len(items) == len(list((real_data / "provided-data" / f"{split}-pats").glob("pt_*"))) > 0
    reader = CaseReader()
    for item in items:
        for key in ("image", "segmentation", "dose", "mask"):
            array, _ = reader.get_data(Path(item[key]))
            assert array.shape == (128, 128, 128) and np.isfinite(array).all(), item[key]


def test_ham10000_and_isic(real_data):
    given = [str(folder(real_data, name)) for name in ("ham10000", "isic2018_task1")]
    items = ham10000_list(given)
    stored = [p for place in given for p in Path(place).rglob("*.jpg")]
    assert len(items) == len({p.stem for p in stored}) > 10_000
    photo, mask = PhotoReader(), MaskReader()
    for item in items:
        assert photo.get_data(Path(item["image"]))[0].shape[-1] == 3
        if item.get("segmentation"):
            assert mask.get_data(Path(item["segmentation"]))[0].max() > 0, item["segmentation"]
    assert len(photo_list(given[0])) == len(list(Path(given[0]).rglob("*.jpg")))


def test_dicom_rt(real_data):
    plans = folder(real_data, "dicom_rt")
    seen: dict[str, int] = {}
    for file in sorted(p for p in plans.rglob("*") if p.is_file()):
        try:
            modality = str(pydicom.dcmread(file, stop_before_pixels=True).Modality)
        except pydicom.errors.InvalidDicomError:
            continue
        seen[modality] = seen.get(modality, 0) + 1
        if modality == "RTSTRUCT":
            assert any(structure.contours for structure in read_structures(file))
        elif modality == "RTDOSE":
            assert read_dose(file).dose.max() > 0
            assert read_stored_dvhs(file, prescription=14.0)
    assert seen.keys() >= {"CT", "RTSTRUCT", "RTDOSE", "RTPLAN"}
    (case,) = prescribed_list(plans / "matrad_phantom")
    assert CaseReader().get_data(Path(case["image"]))[0].shape == (200, 200, 100)


def test_pelvis_ct(real_data):
    items = inference_list(folder(real_data, "dicom_rt") / "pelvis_ct")
    assert items
    for item in items:
        array, _ = CaseReader().get_data(Path(item["image"]))
        assert array.ndim == 3 and np.isfinite(array).all()
