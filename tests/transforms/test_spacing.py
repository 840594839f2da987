# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import monai
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Spacingd
from monai.utils import version_geq

from ctan_networks.transforms import KeepKeysSpacingd


def nifti_like() -> MetaTensor:
    # Spacingd knows a NIfTI image by its file's name.
    meta = {"filename_or_obj": "/a/b.nii.gz"}
    return MetaTensor(torch.rand(1, 6, 5, 4), affine=torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0])), meta=meta)


def test_other_keys_that_begin_with_the_images_name_pass_untouched():
    image, more = nifti_like(), {"image_path": "/a/b.nii.gz", "image_id": 3, "case": "b"}
    if version_geq(monai.__version__, "1.7.dev"):
        # MONAI mended this: when 1.6 is no longer supported, the class can go.
        Spacingd("image", pixdim=1.0)({"image": image.clone(), **more})
    else:
        with pytest.raises(AttributeError, match="update"):
            Spacingd("image", pixdim=1.0)({"image": image.clone(), **more})
    spaced = KeepKeysSpacingd("image", pixdim=1.0)({"image": image.clone(), **more})
    assert {k: spaced[k] for k in more} == more
    alone = Spacingd("image", pixdim=1.0)({"image": image.clone()})["image"]
    assert torch.equal(spaced["image"].as_tensor(), alone.as_tensor()) and spaced["image"].shape == (1, 11, 9, 10)


def test_its_own_keys_and_metadata_are_not_held_back():
    data = {"image": nifti_like(), "mask": nifti_like(), "image_meta_dict": {"a": 1}}
    spaced = KeepKeysSpacingd(["image", "mask"], pixdim=1.0)(data)
    assert spaced["mask"].shape == spaced["image"].shape == (1, 11, 9, 10)
    assert spaced["image_meta_dict"]["a"] == 1
