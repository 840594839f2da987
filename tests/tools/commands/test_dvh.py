# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from drawn_patient import discs, edit, write_drawn_patient
from pydicom.uid import generate_uid

from ctan_networks.datasets.prostate import prostate_cohort
from ctan_networks.errors import ConfigError, DataError
from ctan_networks.tools.commands import dvh

FRAME = "ReferencedFrameOfReferenceUID"


@pytest.fixture(scope="module")
def patient(tmp_path_factory) -> Path:
    cohort = Path(prostate_cohort(tmp_path_factory.mktemp("cohort"), patients=1))
    return next(p for p in sorted(cohort.iterdir()) if p.is_dir())


def test_table_curves_and_page(patient, tmp_path, capsys):
    dvh(str(patient), output_dir=str(tmp_path), levels=[30, 60], structures="blase,rectum,PTV 74")
    table = pd.read_csv(tmp_path / "dvh.csv").set_index("structure")
    assert sorted(table.index) == ["PTV 74", "blase", "rectum"]
    assert (table["minimum"] <= table["mean"]).all() and (table["mean"] <= table["maximum"]).all()
    assert (table["D_98"] <= table["D_2"]).all() and (table["V_60_Gy"] <= table["V_30_Gy"]).all()
    curves = pd.read_csv(tmp_path / "dvh_curves.csv")
    for _, curve in curves.groupby("structure"):
        assert curve["volume_percent"].iloc[0] == pytest.approx(100) and curve["volume_percent"].is_monotonic_decreasing
    page = (tmp_path / "dvh.html").read_text()
    assert "data:image/png" in page and "Research use only" in page and "blase" in page and "PHANTOM" in page
    assert "rectum" in capsys.readouterr().out


def test_json_for_machines(patient, capsys):
    dvh(str(patient), structures=["blase"], json_output=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert row["structure"] == "blase" and row["mean"] > 0 and row["stored_mean"] is None


def test_what_is_missing_is_named(patient, tmp_path):
    with pytest.raises(ConfigError, match="no structure is called Liver"):
        dvh(str(patient), structures="Liver")
    with pytest.raises(DataError, match="no dose"):
        dvh(str(tmp_path))


def test_one_roi_in_another_frame_of_reference_is_left_out_alone(tmp_path, capsys, caplog):
    rois = [("Bladder", discs(range(4, 9))), ("of the MR", discs(range(4, 9)))]
    write_drawn_patient(tmp_path / "P1", rois, prescription=60.0)
    edit(tmp_path / "P1", lambda data: data.StructureSetROISequence[1].__setattr__(FRAME, generate_uid()))
    dvh(str(tmp_path / "P1"), json_output=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert row["structure"] == "Bladder" and row["mean"] == pytest.approx(60, rel=1e-3)
    assert "of the MR has no DVH: " in caplog.text and "frame of reference" in caplog.text
