# SPDX-License-Identifier: Apache-2.0
"""What the fuzzer found in inference behind the readers, each fault by its smallest input."""

from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from inference_inputs import body
from inference_run import predict
from monai.data import MetaTensor
from PIL import Image
from test_fuzz_metaimage import nrrd

from ctan_networks.data import CachedDataset, photo_list
from ctan_networks.datasets.case_reader import CaseReader
from ctan_networks.datasets.inference_cases import inference_list, prescribed_list
from ctan_networks.datasets.stoic.phantoms import write_mha
from ctan_networks.engines import CaseByCaseEvaluator, PrepareMultiTaskBatch
from ctan_networks.errors import ConfigError, DataError, causes, reason_of
from ctan_networks.handlers import ProbabilityTable
from ctan_networks.radiotherapy.transforms.export_dicom import ExportDICOMd
from ctan_networks.transforms import DoseSummaryd, KeepKeysSpacingd, SaveSummaryd
from ctan_networks.utils import atomic_path, case_name, file_name, result_path
from ctan_networks.workflow import require_output

AFFINE = np.diag([-3.0, -3.0, 3.0, 1.0])


def volume(path: Path, affine: np.ndarray = AFFINE, content: str = "body") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    hu = body((16, 14, 10), content, np.random.default_rng(0))
    nib.save(nib.Nifti1Image(hu.astype(np.float32), affine), path)
    return path


@pytest.mark.parametrize("make", [inference_list, prescribed_list])
@pytest.mark.parametrize("names", [("a b.nii.gz", "a_b.nii.gz"), ("b.nii", "b.nii.gz"), ("a+b.nii", "a b.nii")])
def test_cases_whose_results_would_have_one_name_are_refused(tmp_path, make, names):
    # The second one's results replaced the first one's.
    for name in names:
        volume(tmp_path / name)
    with pytest.raises(DataError, match="two cases are called") as caught:
        make(tmp_path)
    assert all(str(tmp_path / name) in str(caught.value) for name in names)


def test_photographs_whose_results_would_have_one_name_are_refused(tmp_path):
    for name in ("a/x.jpg", "b/x.jpg", "a_x.jpg.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 20)).save(tmp_path / name)
    with pytest.raises(DataError, match=r"two cases are called a_x.jpg"):
        photo_list(tmp_path)


@pytest.mark.parametrize("name", ["..", ".", "...", ".hidden", "../../x", "/", "", "a/../..", "\\..\\x", "..\n.."])
def test_a_name_does_not_lead_out_of_the_output_folder(tmp_path, name):
    out = tmp_path / "out"
    SaveSummaryd(out, tmp_path / "model.pt", tmp_path)({"case": name, "result": {"a": 1}})
    assert {p.name for p in tmp_path.iterdir()} == {"out"}
    (folder,) = out.iterdir()
    assert folder.is_dir() and not folder.name.startswith(".")
    assert [p.name for p in folder.iterdir()] == [f"{folder.name}_result.json"]


def test_a_file_called_dot_dot(tmp_path):
    file = volume(tmp_path / "in" / "...nii.gz")
    predict("stoic_ctan", file, tmp_path / "out")
    assert {p.name for p in tmp_path.iterdir()} == {"in", "out"}
    assert (tmp_path / "out" / "_" / "__result.json").is_file()


@pytest.mark.parametrize("name", ["x" * 248, "\u00e9" * 124, "\U0001f600" * 62, "n." * 124])
def test_long_names(tmp_path, name):
    other = file_name(name[:-1] + "y")
    assert file_name(name) != other and len(os.fsencode(file_name(name))) <= 150
    volume(tmp_path / "in" / f"{name}.nii")
    predict("openkbp_ctan", tmp_path / "in", tmp_path / "out")
    (folder,) = (tmp_path / "out").iterdir()
    assert len(list(folder.iterdir())) == 4


def test_names_that_fit_stay_as_they_are():
    for name in ("pt_1", "b..c", "1.2.840.113619", "\u00e4\u4e2d", "a-b", "x" * 150):
        assert case_name({"case": name}) == name


def test_long_names_are_different_patients_in_dicom(tmp_path):
    # Planning systems take what has one PatientID for one patient.
    pytest.importorskip("highdicom")
    ids = []
    for k in range(2):
        case = {"case": "x" * 70 + str(k)}
        image = volume(tmp_path / f"{case['case']}.nii.gz")
        dose = MetaTensor(torch.ones(1, 16, 14, 10), affine=torch.tensor(AFFINE), meta={"filename_or_obj": str(image)})
        ExportDICOMd([], tmp_path / "out", enabled=True)({**case, "image": dose, "predicted_dose": dose})
        ids.append(pydicom.dcmread(tmp_path / "out" / case["case"] / "dicom" / "RTDOSE.dcm").PatientID)
    assert len(set(ids)) == 2 and max(map(len, ids)) <= 64


def test_a_temporary_file_has_a_short_suffix(tmp_path):
    with atomic_path(tmp_path / ("a." * 100 + "nii.gz")) as path:
        assert path.name.endswith(".nii.gz") and path.name.count(".") < 25
        path.write_bytes(b"x")
    assert len(list(tmp_path.iterdir())) == 1


def test_names_that_are_no_unicode(tmp_path):
    item = {"case": "a\udcff", "image": 1}
    assert CachedDataset([item], lambda d: d)[0]["case"] == "a\udcff"
    engine = _engine([item], lambda d: {**d, "predicted_x": torch.tensor([0.25, 0.75])})
    ProbabilityTable(tmp_path / "t.csv", {"x": ["a", "b"]}).attach(engine)
    engine.run()
    assert (tmp_path / "t.csv").read_text(encoding="utf-8").splitlines()[1] == "a\\udcff,0.25,0.75,b"


def test_a_folder_that_goes_while_it_is_listed(tmp_path, monkeypatch):
    volume(tmp_path / "a.nii.gz")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.csv").write_bytes(b"")
    # Python's glob raises what the system says, depending on its version.
    monkeypatch.setattr(Path, "glob", lambda *args: _raise(FileNotFoundError(2, "gone"))(args))
    assert [item["case"] for item in inference_list(tmp_path)] == ["a"]


def _engine(items: list[dict[str, Any]], post: Any, forward: Any = None) -> CaseByCaseEvaluator:
    return CaseByCaseEvaluator(
        device=torch.device("cpu"),
        val_data_loader=[
            {"case": [item["case"]], "image": torch.full((1, 1, 2, 2), float(item["image"]))} for item in items
        ],
        network=torch.nn.Identity(),
        inferer=forward or (lambda image, network: network(image)),
        prepare_batch=PrepareMultiTaskBatch([]),
        postprocessing=post,
    )


ITEMS = [{"case": name, "image": k} for k, name in enumerate(("one", "two", "three"))]


@pytest.mark.parametrize("where", ["network", "postprocessing"])
def test_a_case_that_goes_wrong_does_not_end_the_run(caplog, where):
    seen = []

    def fail(image: torch.Tensor) -> torch.Tensor:
        if image.max() == 1:
            raise IndexError("of no case in particular")
        return image

    def post(data: Any) -> Any:
        if where == "postprocessing":
            fail(data["image"])
        seen.append(data["case"])
        return data

    engine = _engine(ITEMS, post, (lambda image, network: fail(image)) if where == "network" else None)
    with caplog.at_level(logging.ERROR):
        engine.run()
    assert seen == ["one", "three"]
    assert "skipped: case two: IndexError: of no case in particular" in caplog.text
    assert "skipped 1 of 3 cases" in caplog.text


def _raise(error: Exception) -> Any:
    def post(data: Any) -> Any:
        raise error

    return post


def test_a_run_without_a_result_ends_with_an_error(caplog):
    with pytest.raises(DataError, match="none of 3 cases has results. The first: case one: not this one"):
        _engine(ITEMS, _raise(DataError("not this one"))).run()


@pytest.mark.parametrize("error", [ConfigError("wrong setting"), OSError(errno.ENOSPC, "no space")])
def test_what_concerns_all_cases_ends_the_run_at_once(caplog, error):
    with pytest.raises(RuntimeError) as caught:
        _engine(ITEMS, _raise(error)).run()
    assert error in list(causes(caught.value)) and "skipped" not in caplog.text


def test_memory_that_cannot_be_had_is_told_as_such():
    assert "more memory than there is" in reason_of(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    assert "more memory than there is" in reason_of(MemoryError())


def test_a_result_that_cannot_be_written_names_its_file(tmp_path):
    (tmp_path / "taken").write_bytes(b"precious")
    with pytest.raises(DataError, match=str(tmp_path / "taken" / "a.json")), result_path(tmp_path / "taken" / "a.json"):
        pass
    with pytest.raises(DataError, match="no space"), result_path(tmp_path / "b.json"):
        raise OSError(errno.ENOSPC, "no space")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


def test_an_output_folder_that_cannot_be_is_told_before_the_first_case(tmp_path, caplog):
    volume(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "out").write_bytes(b"precious")
    with pytest.raises(Exception) as caught:
        predict("stoic_ctan", tmp_path / "in", tmp_path / "out")
    assert str(tmp_path / "out") in reason_of(caught.value) and "case a" not in caplog.text
    assert (tmp_path / "out").read_bytes() == b"precious"
    require_output(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []


@pytest.mark.parametrize("codes", [(1, 1), (2, 1), (1, 0), (0, 1)])
def test_a_volume_lies_where_nifti_says_whatever_its_voxel_size(tmp_path, codes):
    # pixdim as the qform: MONAI took that, and results did not lie on the image.
    other = AFFINE.copy()
    other[:3, :3] *= 1.5
    image = nib.load(volume(tmp_path / "in" / "a.nii.gz"))
    image.set_sform(other, codes[0])
    image.set_qform(AFFINE, codes[1])
    nib.save(image, tmp_path / "in" / "a.nii.gz")
    wanted = nib.load(tmp_path / "in" / "a.nii.gz").affine
    np.testing.assert_allclose(CaseReader().get_data(tmp_path / "in" / "a.nii.gz")[1]["affine"], wanted)
    predict("openkbp_ctan", tmp_path / "in", tmp_path / "out")
    np.testing.assert_allclose(nib.load(tmp_path / "out" / "a" / "a_dose.nii.gz").affine, wanted, atol=1e-4)


def test_a_metaimage_without_voxel_size(tmp_path):
    pytest.importorskip("itk")
    write_mha(tmp_path / "a.mha", np.zeros((5, 4, 3), np.int16), (3.0, 3.0, 3.0))
    content = (tmp_path / "a.mha").read_bytes()
    (tmp_path / "a.mha").write_bytes(content.replace(b"ElementSpacing", b"ElementSpac?ng"))
    with pytest.raises(DataError, match="no ElementSpacing") as caught:
        CaseReader().get_data(tmp_path / "a.mha")
    assert str(tmp_path / "a.mha") in str(caught.value)


def test_values_that_float32_does_not_hold(tmp_path):
    array = np.zeros((5, 4, 3))
    array[2, 2, 1] = -1e300
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match="larger than float32 holds") as caught:
        CaseReader().get_data(tmp_path / "a.nii.gz")
    assert str(tmp_path / "a.nii.gz") in str(caught.value)


def test_voxels_too_coarse_to_resample():
    image = MetaTensor(torch.zeros(1, 48, 48, 48), affine=torch.diag(torch.tensor([99.0, 99, 99, 1])))
    with pytest.raises(DataError, match=r"99 x 99 x 99 mm are too coarse: resampled, 48 x 48 x 48"):
        KeepKeysSpacingd("image", pixdim=[3.906, 3.906, 2.5])({"image": image})
    assert not image.pending_operations and image.shape == (1, 48, 48, 48)


def test_volume_of_a_sheared_voxel(tmp_path):
    affine = AFFINE.copy()
    affine[0, 1] = 3.0
    dose = MetaTensor(torch.ones(1, 4, 4, 4), affine=torch.tensor(affine))
    found = DoseSummaryd("dose", ["a"])({"dose": dose, "predicted_segmentation": torch.ones(1, 4, 4, 4)})["result"]
    assert found["dose"]["structures"]["a"]["volume_cc"] == pytest.approx(64 * 27 / 1000)


def test_results_agree_with_the_volumes(tmp_path):
    volume(tmp_path / "in" / "a.nii.gz")
    predict("prostate_ctan", tmp_path / "in", tmp_path / "out")
    said = json.loads((tmp_path / "out" / "a" / "a_result.json").read_text())["dose"]
    assert said["maximum"] == pytest.approx(float(nib.load(said["file"]).get_fdata().max()), abs=1e-3)


def test_a_nrrd_without_the_size_of_its_voxels(tmp_path):
    pytest.importorskip("itk")
    content = nrrd("raw") + np.zeros(7 * 6 * 5, "<i2").tobytes()
    (tmp_path / "a.nrrd").write_bytes(content)
    assert CaseReader().get_data(tmp_path / "a.nrrd")[0].shape == (7, 6, 5)
    (tmp_path / "a.nrrd").write_bytes(content.replace(b"space directions", b"space ?irections"))
    with pytest.raises(DataError, match=r"a\.nrrd: the header states no size of the voxels"):
        CaseReader().get_data(tmp_path / "a.nrrd")
