# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from monai.transforms import Compose, EnsureChannelFirstd, LoadImage, LoadImaged, Orientationd

from ctan_networks.datasets.openkbp.files import (
    GRID,
    STRUCTURES,
    read_sparse_csv,
    write_sparse_csv,
    write_voxel_dimensions,
)
from ctan_networks.datasets.openkbp.reader import OpenKBPReader
from ctan_networks.errors import ConfigError, DataError

DIMENSIONS = (3.906, 4.688, 2.5)
LARYNX, PTV70 = STRUCTURES.index("Larynx"), STRUCTURES.index("PTV70")


@pytest.fixture
def patient(tmp_path):
    folder = tmp_path / "pt_3"
    ct, dose = np.zeros(GRID), np.zeros(GRID)
    ct[10, 20, 30], ct[11, 20, 30], ct[12, 20, 30] = 1024, 2048, 24
    dose[10, 20, 30] = 65.432
    write_sparse_csv(folder / "ct.csv", ct)
    write_sparse_csv(folder / "dose.csv", dose)
    for name, rows in (("possible_dose_mask", slice(10, 13)), ("Larynx", slice(10, 12)), ("PTV70", slice(11, 13))):
        mask = np.zeros(GRID, bool)
        mask[rows, 20, 30] = True
        write_sparse_csv(folder / f"{name}.csv", mask, mask=True)
    write_voxel_dimensions(folder / "voxel_dimensions.csv", DIMENSIONS)
    return folder


def read(path, **kwargs):
    reader = OpenKBPReader(**kwargs)
    return reader.get_data(reader.read(path))


def test_arrays(patient):
    ct, _ = read(patient / "ct.csv")
    assert ct.shape == GRID and ct.dtype == np.float32
    assert ct[10:13, 20, 30].tolist() == [0, 1024, -1000] and ct[0, 0, 0] == -1024
    dose, _ = read(patient / "dose.csv")
    assert dose.dtype == np.float32 and dose[10, 20, 30] == np.float32(65.432) and dose.sum() == dose[10, 20, 30]
    for name in ("possible_dose_mask", "Larynx"):
        mask, _ = read(patient / f"{name}.csv")
        assert mask.dtype == np.uint8 and mask[9:14, 20, 30].tolist() == [0, 1, 1, name != "Larynx", 0]


def test_bit_field(patient):
    bits, meta = read(patient)
    assert bits.dtype == np.int16
    assert bits[10:13, 20, 30].tolist() == [1 << LARYNX, (1 << LARYNX) | (1 << PTV70), 1 << PTV70]
    assert np.count_nonzero(bits) == 3
    assert meta["present"] == [name in ("Larynx", "PTV70") for name in STRUCTURES]
    bits, meta = read(patient, structures=["PTV70", "Larynx"])
    assert bits[10:13, 20, 30].tolist() == [2, 3, 1] and meta["present"] == [True, True]


def test_meta(patient):
    for path in (patient / "ct.csv", patient):
        _, meta = read(path)
        dx, dy, dz = DIMENSIONS
        expected = [[0, -dy, 0, 0], [-dx, 0, 0, 0], [0, 0, -dz, 0], [0, 0, 0, 1]]
        np.testing.assert_allclose(meta["affine"], expected)
        np.testing.assert_allclose(meta["original_affine"], expected)
        assert tuple(meta["spatial_shape"]) == GRID and meta["space"] == "RAS"
        assert meta["original_channel_dim"] == "no_channel" and meta["filename_or_obj"] == str(path)


def test_submission_file(tmp_path, patient):
    dose = np.zeros(GRID, np.float32)
    dose[1, 2, 3] = 12.5
    write_sparse_csv(tmp_path / "results" / "pt_3.csv", dose)
    array, meta = read(tmp_path / "results" / "pt_3.csv")
    np.testing.assert_array_equal(array, dose)
    np.testing.assert_array_equal(np.abs(meta["affine"]).sum(0), 1)
    write_sparse_csv(patient / "my_dose.csv", dose)
    assert read(patient / "my_dose.csv")[1]["affine"][2, 2] == -2.5


def test_through_monai_unchanged_by_reorientation(patient):
    keys = ["image", "segmentation", "dose", "mask"]
    paths = [patient / "ct.csv", patient, patient / "dose.csv", patient / "possible_dose_mask.csv"]
    load = Compose(
        [
            LoadImaged(keys, reader=OpenKBPReader()),
            EnsureChannelFirstd(keys),
            Orientationd(keys, axcodes="PLI", labels=None),
        ]
    )
    data = load({key: str(path) for key, path in zip(keys, paths, strict=True)})
    for key, path in zip(keys, paths, strict=True):
        array, meta = read(path)
        assert data[key].shape == (1, *GRID)
        torch.testing.assert_close(data[key][0].as_tensor(), torch.from_numpy(array.astype(np.float32)))
        np.testing.assert_allclose(data[key].affine, meta["affine"])
        np.testing.assert_allclose(data[key].pixdim, DIMENSIONS)
    assert data["segmentation"].meta["present"][LARYNX] is True


def test_verify_suffix(patient, tmp_path):
    reader = OpenKBPReader()
    assert reader.verify_suffix(patient) and reader.verify_suffix(str(patient / "ct.csv"))
    assert reader.verify_suffix([patient, patient / "dose.csv"])
    assert not reader.verify_suffix(tmp_path) and not reader.verify_suffix("ct.nii.gz")
    assert not reader.verify_suffix([patient, "ct.nii.gz"])
    (patient / "ct.csv").unlink()
    assert reader.verify_suffix(patient)


def test_errors_reach_the_user_through_monai(patient):
    (patient / "dose.csv").write_text(",data\n1,2\n5,")
    with pytest.raises(DataError, match=r"dose\.csv, line 3"):
        LoadImage(reader=OpenKBPReader())(patient / "dose.csv")


def test_wrong_use(patient):
    for path, message in ((patient / "voxel_dimensions.csv", "holds no volume"), (patient / "no.csv", "is not there")):
        with pytest.raises(DataError, match=message):
            read(path)
    with pytest.raises(DataError, match="one path"):
        OpenKBPReader().read([patient, patient])
    with pytest.raises(ConfigError, match="at most 15"):
        OpenKBPReader([f"R{k}" for k in range(16)])
    (patient / "ct.csv").write_text(",data\n")
    with pytest.raises(DataError, match="a CT cannot be empty"):
        read(patient / "ct.csv")
    (patient / "voxel_dimensions.csv").unlink()
    with pytest.raises(DataError, match=r"voxel_dimensions\.csv is not there"):
        read(patient / "dose.csv")


@pytest.mark.realdata
def test_anatomy_lies_where_the_affine_says(real_data):
    """Right of, in front of and above, in mm of RAS: the affine, not the index, decides."""
    checked = dict.fromkeys(("right", "anterior", "superior", "larynx"), 0)
    for folder in sorted((real_data / "provided-data").glob("*/pt_*"))[::3]:
        meta = read(folder / "Brainstem.csv")[1] if (folder / "Brainstem.csv").exists() else None
        if meta is None:
            continue
        centre = {}
        for name in STRUCTURES[:7]:
            if (folder / f"{name}.csv").exists():
                mask = read_sparse_csv(folder / f"{name}.csv", False).reshape(GRID)
                centre[name] = (meta["affine"] @ [*np.argwhere(mask).mean(0), 1])[:3]
        if {"RightParotid", "LeftParotid"} <= centre.keys():
            assert centre["RightParotid"][0] > centre["LeftParotid"][0] + 40, folder.name
            checked["right"] += 1
        if {"Mandible", "SpinalCord"} <= centre.keys():
            assert centre["Mandible"][1] > centre["SpinalCord"][1] + 20, folder.name
            checked["anterior"] += 1
        if "SpinalCord" in centre:
            assert centre["Brainstem"][2] > centre["SpinalCord"][2] + 20, folder.name
            checked["superior"] += 1
        if "Larynx" in centre:
            assert centre["Brainstem"][2] > centre["Larynx"][2] + 20, folder.name
            checked["larynx"] += 1
    assert min(checked.values()) >= 10, checked
