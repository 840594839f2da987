# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from ctan_networks.errors import ConfigError, DataError
from ctan_networks.tools.monai_label.answer import AnswerMONAILabeld

VOLUMES = {"segmentation": "labels", "dose": "dose"}


def case(path: str | None, **more) -> dict:
    data = {
        "image": MetaTensor(torch.zeros(1, 4, 4, 4)),
        "labels": MetaTensor(torch.full((1, 4, 4, 4), 2.0, dtype=torch.float32).to(torch.uint8)),
        "dose": MetaTensor(torch.full((1, 4, 4, 4), 60.5)),
        "pred": MetaTensor(torch.zeros(3, 2, 2, 2)),
    }
    return data | more | ({} if path is None else {"image_path": path})


def test_elsewhere_it_does_nothing():
    data = case(None)
    assert AnswerMONAILabeld(VOLUMES)(data) == data


@pytest.mark.parametrize(
    ("path", "extension"),
    [
        ("/s/a.nii.gz", ".nii.gz"),
        ("/s/a.nrrd", ".nrrd"),
        ("/s/a.MHA", ".mha"),
        ("/s/series", ".nii.gz"),
        ("/s/pt_1/ct.csv", ".nii.gz"),
    ],
)
def test_a_label_map_in_a_format_that_can_hold_it(path, extension):
    answer = AnswerMONAILabeld(VOLUMES, ["segmentation", "dose"])(case(path))
    assert answer["result_extension"] == extension and answer["result_dtype"] == "uint8"
    assert answer["pred"].shape == (1, 4, 4, 4) and answer["pred"].unique().tolist() == [2]


@pytest.mark.parametrize(("path", "extension"), [("/s/a.jpg", ".png"), ("/s/a.png", ".png"), ("/s/a.tif", ".tif")])
def test_a_photographs_mask_has_two_axes(path, extension):
    answer = AnswerMONAILabeld({"segmentation": "labels"})(case(path, labels=torch.ones(1, 6, 5)))
    assert answer["pred"].shape == (6, 5) and answer["pred"].dtype == torch.uint8
    assert answer["result_extension"] == extension


def test_what_the_client_asks_for_stands_but_a_dose_is_no_uint8():
    asked = {"result_extension": ".nrrd", "result_dtype": "uint16"}
    labels = AnswerMONAILabeld(VOLUMES, "segmentation")(case("/s/a.nii.gz", **asked))
    assert (labels["result_extension"], labels["result_dtype"]) == (".nrrd", "uint16")
    dose = AnswerMONAILabeld(VOLUMES, "dose")(case("/s/a.nii.gz", **asked))
    assert (dose["result_extension"], dose["result_dtype"]) == (".nrrd", "float32")
    assert dose["pred"].max() == 60.5
    with pytest.raises(ConfigError, match="choose one of segmentation, dose"):
        AnswerMONAILabeld(VOLUMES, "doze")


@pytest.mark.parametrize("transform", [AnswerMONAILabeld(), AnswerMONAILabeld({"dose": "not there"}, "dose")])
def test_with_nothing_to_show_no_file_is_written(transform):
    answer = transform(case("/s/a.mha", image_meta_dict={"affine": np.eye(4)}))
    assert answer["result_write_to_file"] is False and "image_meta_dict" not in answer
    assert isinstance(answer["pred"], np.ndarray) and not isinstance(answer["image"], MetaTensor)


@pytest.mark.parametrize("shape", [(1, 4, 4, 5), (1, 4, 4, 4)])
def test_a_volume_on_another_grid_than_the_image_is_refused(shape):
    image = MetaTensor(
        torch.zeros(1, 2, 2, 2), meta={"spatial_shape": np.array([4, 4, 4]), "original_affine": np.eye(4)}
    )
    labels = MetaTensor(torch.ones(shape, dtype=torch.uint8), affine=torch.eye(4))
    if shape[-1] == 4:
        assert AnswerMONAILabeld(VOLUMES)(case("/s/a.nii.gz", image=image, labels=labels))["pred"] is labels
        labels.affine = torch.diag(torch.tensor([1.0, 1.0, 1.5, 1.0]))
    with pytest.raises(DataError, match="labels of .* does not lie on the grid of the image"):
        AnswerMONAILabeld(VOLUMES)(case("/s/a.nii.gz", image=image, labels=labels))
