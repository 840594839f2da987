# SPDX-License-Identifier: Apache-2.0
import csv

import numpy as np
import pytest

from ctan_networks.datasets.openkbp.files import (
    affine,
    read_sparse_csv,
    read_voxel_dimensions,
    write_sparse_csv,
    write_voxel_dimensions,
)
from ctan_networks.errors import DataError


def reference(path, size):
    """The format by its definition, line by line."""
    values = np.zeros(size)
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["", "data"]
    for index, value in rows[1:]:
        values[int(index)] = float(value) if value else 1
    return values


def test_values(tmp_path):
    file = tmp_path / "dose.csv"
    file.write_text(",data\n3,7.675\n1,70\n7,1e-3\n5,0.0\n")
    array = read_sparse_csv(file, values=True, size=8)
    assert array.dtype == np.float64
    np.testing.assert_allclose(array, [0, 70, 0, 7.675, 0, 0, 0, 0.001])
    np.testing.assert_allclose(array, reference(file, 8))


def test_mask(tmp_path):
    file = tmp_path / "Larynx.csv"
    file.write_text(",data\n3,\n1,\n")
    array = read_sparse_csv(file, values=False, size=5)
    assert array.dtype == np.uint8
    assert array.tolist() == [0, 1, 0, 1, 0]


def test_default_size_is_the_grid_and_header_only_is_nothing(tmp_path):
    file = tmp_path / "PTV70.csv"
    file.write_text(",data\n")
    for values in (True, False):
        array = read_sparse_csv(file, values)
        assert array.shape == (128**3,) and not array.any()


@pytest.mark.parametrize("text", [",data\r\n2,1.5\r\n0,2\r\n", ",data\n2,1.5\n0,2"], ids=["CRLF", "no last newline"])
def test_harmless_differences_are_read(tmp_path, text):
    file = tmp_path / "ct.csv"
    file.write_bytes(text.encode())
    assert read_sparse_csv(file, True, size=3).tolist() == [2, 0, 1.5]
    mask = tmp_path / "PTV56.csv"
    mask.write_bytes(text.replace("1.5", "").replace(",2", ",").encode())
    assert read_sparse_csv(mask, False, size=3).tolist() == [1, 0, 1]


VALUES = [
    ("", "is empty"),
    ("index,data\n1,2\n", "line 1: the header is 'index,data'"),
    ("1,2\n", "line 1: the header"),
    (",data\n1,2\n8,1\n", "line 3: the index 8 is outside"),
    (",data\n-1,2\n", "line 2: the index -1 is outside"),
    (",data\n1.0,2\n", "line 2: the index '1.0' is not an integer"),
    (",data\nx,2\n", "line 2: the index 'x' is not an integer"),
    (",data\n99999999999999999999,2\n", "line 2: the index '99999999999999999999' is not an integer"),
    (",data\n1,2\n2,2\n1,3\n", "line 4: the index 1 is there for the second time"),
    (",data\n1,2\n2,abc\n", "line 3: the value 'abc' is not a finite number"),
    (",data\n1,nan\n", "line 2: the value 'nan' is not a finite number"),
    (",data\n1,1e999\n", "line 2: the value '1e999' is not a finite number"),
    (",data\n1,2\n5,", "line 3: the value '' is not a finite number"),
    (",data\n1,2\n5", "line 3: '5' is not of the form 'index,value'"),
    (",data\n1,2\n\n2,3\n", "line 3: '' is not of the form"),
    (",data\n1,2\n2,3,4\n", "line 3: '2,3,4' is not of the form"),
    (",data\n1\n2,3,4\n", "line 2: '1' is not of the form"),
    (",data\n1,2\n\x00\x00\x00,3\n", "line 3: the index"),
]
MASKS = [
    (",data\n1,\n2,1\n", "line 3: '2,1' has a value"),
    (",data\n1,\n2\n", "line 3: '2' is not of the form 'index,'"),
    (",data\n1,\n1,\n", "line 3: the index 1 is there for the second time"),
    (",data\n1,\n8,\n", "line 3: the index 8 is outside"),
    (",data\n1,\n-2,\n", "line 3: the index -2 is outside"),
    (",data\n1.5,\n2,\n", "line 2: the index '1.5' is not an integer"),
    (",data\nx,\n", "line 2: the index 'x' is not an integer"),
    (",data\n,\n", "line 2: the index '' is not an integer"),
]


@pytest.mark.parametrize(
    ("text", "message", "values"), [(*case, True) for case in VALUES] + [(*case, False) for case in MASKS]
)
def test_malformed_files_are_refused_by_file_line_and_reason(tmp_path, text, message, values):
    file = tmp_path / "dose.csv"
    file.write_bytes(text.encode())
    with pytest.raises(DataError) as error:
        read_sparse_csv(file, values, size=8)
    assert str(file) in str(error.value) and message in str(error.value) and "Restore" in str(error.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DataError, match="is not there"):
        read_sparse_csv(tmp_path / "ct.csv", True)
    with pytest.raises(DataError, match="cannot be read"):
        read_sparse_csv(tmp_path, True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_write_values(tmp_path, dtype):
    array = (np.random.default_rng(0).normal(size=(4, 5, 6)) * 100).astype(dtype)
    file = tmp_path / "results" / "pt_7.csv"
    write_sparse_csv(file, array)
    back = read_sparse_csv(file, True, size=120).astype(dtype)
    np.testing.assert_array_equal(back, np.maximum(array, 0).ravel())
    np.testing.assert_allclose(reference(file, 120), np.maximum(array, 0).ravel(), rtol=1e-6)


def test_write_in_the_published_form(tmp_path):
    write_sparse_csv(tmp_path / "ct.csv", np.array([0, 18, 0, 1017]))
    assert (tmp_path / "ct.csv").read_bytes() == b",data\n1,18.0\n3,1017.0\n"
    write_sparse_csv(tmp_path / "Larynx.csv", np.array([False, True, True]), mask=True)
    assert (tmp_path / "Larynx.csv").read_bytes() == b",data\n1,\n2,\n"
    write_voxel_dimensions(tmp_path / "voxel_dimensions.csv", (3.906, 3.906, 2.5))
    expected = "3.906000000000000139e+00\n3.906000000000000139e+00\n2.500000000000000000e+00\n"
    assert (tmp_path / "voxel_dimensions.csv").read_text() == expected
    assert read_voxel_dimensions(tmp_path / "voxel_dimensions.csv") == (3.906, 3.906, 2.5)


def test_what_is_not_finite_is_not_written(tmp_path):
    file = tmp_path / "pt_1.csv"
    write_sparse_csv(file, np.ones(3))
    with pytest.raises(DataError, match="1 values are not finite"):
        write_sparse_csv(file, np.array([1, np.nan]))
    assert file.read_text().count("\n") == 4 and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "text", ["", "3.9\n3.9\n", "1\n2\n3\n4\n", "3.9\n0\n2.5\n", "3.9\n-1\n2.5\n", "a\n1\n2\n", "nan\n1\n2\n"]
)
def test_wrong_voxel_dimensions(tmp_path, text):
    file = tmp_path / "voxel_dimensions.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=r"voxel_dimensions\.csv"):
        read_voxel_dimensions(file)


def test_affine_directions():
    matrix = affine((1.0, 2.0, 3.0))
    np.testing.assert_array_equal(matrix @ [1, 0, 0, 1], [0, -1, 0, 1])  # to posterior, against anterior
    np.testing.assert_array_equal(matrix @ [0, 1, 0, 1], [-2, 0, 0, 1])  # to left, against right
    np.testing.assert_array_equal(matrix @ [0, 0, 1, 1], [0, 0, -3, 1])  # to inferior, against superior


@pytest.mark.realdata
def test_published_files_read_as_by_definition(real_data):
    patient = real_data / "provided-data" / "validation-pats"
    for folder in sorted(patient.iterdir())[:3]:
        for file in folder.glob("*.csv"):
            if file.stem != "voxel_dimensions":
                values = file.stem in ("ct", "dose")
                np.testing.assert_allclose(read_sparse_csv(file, values), reference(file, 128**3), rtol=1e-12)


@pytest.mark.realdata
def test_a_published_file_comes_back_byte_for_byte(real_data, tmp_path):
    folder = sorted((real_data / "provided-data" / "validation-pats").iterdir())[0]
    for name, values in (("ct", True), ("possible_dose_mask", False), ("PTV70", False)):
        write_sparse_csv(tmp_path / "again.csv", read_sparse_csv(folder / f"{name}.csv", values), mask=not values)
        assert (tmp_path / "again.csv").read_bytes() == (folder / f"{name}.csv").read_bytes()
