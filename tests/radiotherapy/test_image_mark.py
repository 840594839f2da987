# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.image_mark import is_marked, mark, series_content, voxel_content

UID = "1.2.840.113619.2.55.20200101.101010"


def test_a_mark_is_known_by_its_content_alone():
    one, another = mark(series_content(UID)), mark(series_content(UID))
    assert one != another and UID not in one
    assert is_marked(series_content(UID), one) and is_marked(series_content(UID), another)
    assert not is_marked(series_content(UID + "1"), one) and not is_marked(UID.encode(), one)


@pytest.mark.parametrize("stated", ["", None, 7, UID, "md5$1$00$00", "pbkdf2_sha256$0$00$00", "pbkdf2_sha256$x$00$00",
                                    "pbkdf2_sha256$1$zz$00", "pbkdf2_sha256$999999999999$00$00"])  # fmt: skip
def test_what_is_no_mark(stated):
    with pytest.raises(DataError, match="no mark of an image"):
        is_marked(b"", stated)


def test_voxels_are_the_same_in_any_orientation_and_data_type():
    hu = np.random.default_rng(0).integers(-1500, 4000, (4, 5, 6)).astype(np.float32)
    image = nib.Nifti1Image(hu, np.diag([2.0, 2.0, 3.0, 1.0]))
    content = voxel_content(hu, image.affine)
    for axes in ("LPS", "SPL", "AIR"):
        turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes))
        turned = image.as_reoriented(turn)
        assert voxel_content(turned.get_fdata(), turned.affine) == content
    # What is padded with -2000 or -1024 is air; what is clipped to 12 bit is metal.
    assert voxel_content(np.clip(hu, -1024, 3071), image.affine) == content
    assert voxel_content(hu.astype(np.int16), image.affine) == content
    hu[1, 2, 3] = 40 if hu[1, 2, 3] != 40 else 41
    assert voxel_content(hu, image.affine) != content
    assert voxel_content(hu.reshape(5, 4, 6), image.affine) != voxel_content(hu, image.affine)
