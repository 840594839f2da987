# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage
from PIL import Image

from ctan_networks.errors import DataError
from ctan_networks.reports.figures import to_png
from ctan_networks.reports.scores import Results
from ctan_networks.reports.section import Case
from ctan_networks.reports.sections.cases import Pictures
from ctan_networks.reports.sections.classification import Answer, ClassificationSection
from ctan_networks.reports.sections.dose import DoseSection
from ctan_networks.reports.sections.segmentation import SegmentationSection
from ctan_networks.reports.slices import planes_of, slice_plane, to_display

AFFINES = {
    "PLI": [[0, -4, 0], [-4, 0, 0], [0, 0, -2.5]],
    "RAS": [[4, 0, 0], [0, 4, 0], [0, 0, 2.5]],
    "LPS": [[-4, 0, 0], [0, -4, 0], [0, 0, 2.5]],
}
STRUCTURES = ["Cord", "PTV56", "PTV70"]
# Index axes as in OpenKBP: anterior to posterior, right to left, superior to inferior.
AFFINE = np.array([[0.0, -4.0, 0, 0], [-5, 0, 0, 0], [0, 0, -2.5, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("axcodes", AFFINES)
def test_right_anterior_superior_is_where_a_clinician_expects_it(axcodes):
    affine = np.eye(4)
    affine[:3, :3] = AFFINES[axcodes]
    volume = np.zeros((1, 6, 6, 6))
    # The voxel that lies furthest to the right, front and top, by the affine.
    corners = np.array(list(np.ndindex(2, 2, 2))) * 5
    world = corners @ affine[:3, :3].T
    corner = corners[np.argmax(world @ [1, 1, 1])]
    volume[(0, *corner)] = 1
    shown = to_display(volume, affine)
    # axial: anterior up (row 0), the patient's right on the left (column 0); coronal and sagittal: superior up.
    assert slice_plane(shown, "axial", 0)[0, 0, 0] == 1
    assert slice_plane(shown, "coronal", 0)[0, 0, 0] == 1
    assert slice_plane(shown, "sagittal", 0)[0, 0, 0] == 1


def drawn(sections, item: dict, image_key: str = "image", window=None):
    """What was kept of a case, and its figure."""
    pictures = Pictures(sections, 1, (), window)
    case = Case("x", None, item, image_key)
    for section in sections:
        section.score(case)
    kept = pictures.arrays(case)
    return kept, pictures.figure(case, kept)[1]


def plan(**changes) -> dict[str, torch.Tensor]:
    ct = np.full((1, 20, 24, 16), -1000.0, np.float32)
    ct[:, 2:18, 2:22, 1:15] = 30
    masks = np.zeros((3, 20, 24, 16), np.float32)
    masks[0, 12:14, 11:13, 2:14] = 1
    masks[1, 4:8, 4:8, 4:8] = 1
    masks[2, 8:12, 14:18, 9:13] = 1
    dose = np.where(ct > 0, 20, 0).astype(np.float32) + 50 * masks[2:]
    everything = {
        "image": ct,
        "reference_segmentation": masks,
        "predicted_segmentation": np.roll(masks, 1, 1),
        "reference_dose": dose,
        "predicted_dose": dose * 0.9,
        "mask": np.ones_like(ct),
    } | changes
    return {k: MetaTensor(torch.from_numpy(v), affine=AFFINE) for k, v in everything.items() if v is not None}


PLAN = [SegmentationSection("segmentation", STRUCTURES), DoseSection("dose", STRUCTURES)]


def test_a_marker_is_drawn_where_a_clinician_expects_it():
    given = plan()
    given["image"][0, 9, 3, 10] = 3000  # far right of the patient, at the height of the target's centre
    _, figure = drawn(PLAN, given)
    axial, coronal = figure.axes[0], figure.axes[4]
    shown = np.asarray(axial.images[0].get_array())
    _, column = np.unravel_index(shown.argmax(), shown.shape)
    assert shown.max() == 3000 and column < shown.shape[1] / 4, "the patient's right is on the left"
    assert {t.get_text() for t in axial.texts} == {"R", "L", "A", "P"}
    left, right, bottom, top = axial.images[0].get_extent()
    assert bottom > top, "row 0 is on top"
    # In millimetres, so that the aspect is that of the patient.
    assert right - left == pytest.approx(shown.shape[1] * 4) and bottom - top == pytest.approx(shown.shape[0] * 5)
    extent = coronal.images[0].get_extent()
    assert extent[2] - extent[3] == pytest.approx(coronal.images[0].get_array().shape[0] * 2.5)


def test_planes_go_through_the_target_with_the_highest_dose():
    kept, _ = drawn(PLAN, plan())
    for plane in ("axial", "coronal", "sagittal"):
        assert kept[f"{plane}/reference_segmentation"][2].any()
        assert not kept[f"{plane}/reference_segmentation"][1].any()


@pytest.mark.parametrize(
    ("missing", "sections", "panels"),
    [
        ((), PLAN, 12),
        (("predicted_segmentation",), PLAN[1:], 12),
        (("reference_segmentation", "predicted_segmentation"), PLAN[1:], 9),
        (("reference_dose",), PLAN, 6),
        (("reference_dose", "predicted_dose"), PLAN[:1], 3),
    ],
)
def test_what_a_case_lacks_is_left_out(missing, sections, panels):
    _, figure = drawn(sections, plan(**dict.fromkeys(missing)))
    assert len([axis for axis in figure.axes if axis.images]) == panels
    assert to_png(figure, dpi=30).startswith(b"\x89PNG")


def test_unknown_dose_voxels_do_not_break_a_figure():
    dose = plan()["reference_dose"].numpy().copy()
    dose[0, :4] = np.nan
    kept, figure = drawn(PLAN, plan(reference_dose=dose))
    assert to_png(figure, dpi=30) and to_png(PLAN[1].draw(kept), dpi=30)


def test_dvh_is_solid_for_the_reference_and_dashed_for_the_prediction():
    masks = plan()["reference_segmentation"].numpy().copy()
    masks[1] = np.nan
    kept, _ = drawn(PLAN, plan(reference_segmentation=masks))
    axis = PLAN[1].draw(kept).axes[0]
    assert [line.get_linestyle() for line in axis.lines] == ["-", "--"] * 2, "two known structures"
    assert axis.lines[0].get_color() == axis.lines[1].get_color() != axis.lines[2].get_color()
    x, y = axis.lines[2].get_data()
    assert np.interp(69.5, x, y) == pytest.approx(100) and np.interp(70.5, x, y) == pytest.approx(0)


LESION = SegmentationSection("lesion")


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_a_photograph_is_shown_as_it_was_taken(tmp_path, kind):
    picture = np.full((300, 400, 3), 200, np.uint8)
    picture[:60, 340:] = [0, 0, 255]  # blue at the top right
    picture[240:, :80] = [255, 0, 0]  # red at the bottom left
    Image.fromarray(picture).save(tmp_path / "photo.png")
    loaded = LoadImage(image_only=True, ensure_channel_first=True)(tmp_path / "photo.png")
    assert loaded.shape == (3, 400, 300), "x first"
    mask = torch.zeros(1, 400, 300)
    mask[:, 340:, :60] = 1
    item = {"photo": loaded.to(kind), "reference_lesion": mask, "predicted_lesion": MetaTensor(mask)}
    kept, figure = drawn([LESION], item, "photo")
    photo = planes_of(kept, "image")["photo"]
    assert photo.shape == (192, 256, 3) and photo.dtype == np.uint8
    assert photo[5, -5].tolist() == [0, 0, 255] and photo[-5, 5].tolist() == [255, 0, 0]
    small = np.asarray(Image.fromarray(picture).resize((256, 192), Image.Resampling.BOX))
    np.testing.assert_allclose(photo, small, atol=1)
    for kind_of_mask in ("reference", "predicted"):
        rows, columns = np.nonzero(kept[f"photo/{kind_of_mask}_lesion"][0])
        assert rows.max() < 192 / 4 and columns.min() > 256 * 0.8
    styles = [line.get_linestyle() for line in figure.axes[0].collections]
    assert len(styles) == 2 and styles[0] != styles[1], "solid and dashed"
    assert not figure.axes[0].texts, "a photograph has no left and right of the patient"


def test_unknown_masks_are_not_drawn_and_other_ranges_are_stretched():
    unknown = torch.full((1, 50, 30), torch.nan)
    item = {"photo": torch.linspace(-2, 3, 50 * 30).reshape(1, 50, 30), "reference_lesion": unknown}
    kept, figure = drawn([LESION], {**item, "predicted_lesion": torch.zeros(1, 50, 30)}, "photo")
    photo = planes_of(kept, "image")["photo"]
    assert "photo/reference_lesion" not in kept and "photo/predicted_lesion" in kept and photo.shape == (30, 50, 3)
    assert photo.min() == 0 and photo.max() == 255 and not figure.axes[0].collections


def saliency_of(monkeypatch, maps: dict[str, np.ndarray]) -> None:
    def stub(network, image, task, index):
        return maps[task]

    monkeypatch.setattr("ctan_networks.reports.sections.classification.grad_cam", stub)


def answers(*tasks: str) -> dict[str, torch.Tensor]:
    return {f"predicted_{task}": torch.tensor([0.2, 0.8]) for task in tasks}


def test_saliency_of_a_photograph_is_drawn_over_the_input_of_the_network(monkeypatch):
    section = ClassificationSection("diagnosis", ["mel", "nv"], network=torch.nn.Identity())
    item = {"photo": torch.zeros(3, 50, 30), "image": torch.randn(3, 24, 16), **answers("diagnosis")}
    saliency = np.zeros((24, 16), np.float32)
    saliency[20, 3] = 1  # right, above the middle
    saliency_of(monkeypatch, {"diagnosis": saliency})
    kept, figure = drawn([section], item, "photo")
    np.testing.assert_allclose(kept["input"], item["image"], atol=2e-3)
    _, axis = figure.axes
    shown = np.asarray(axis.images[1].get_array())
    assert np.unravel_index(shown.argmax(), shown.shape) == (3, 20) and axis.get_title() == "Diagnosis: nv"
    assert axis.images[0].get_extent() == axis.images[1].get_extent()


@pytest.mark.parametrize("axcodes", ["RAS", "LPI"])
def test_planes_go_through_the_highest_saliency(monkeypatch, axcodes):
    affine = np.diag([3.0, 3, 3, 1] if axcodes == "RAS" else [-3.0, -3, -3, 1])
    volume = torch.zeros(1, 20, 24, 16)
    saliency = np.zeros((20, 24, 16), np.float32)
    ras = np.array([15, 18, 12])  # towards right, anterior, superior
    place = tuple(ras) if axcodes == "RAS" else tuple(np.array(saliency.shape) - 1 - ras)
    volume[(0, *place)] = saliency[place] = 1
    saliency_of(monkeypatch, {"covid": saliency, "severity": np.zeros_like(saliency)})
    sections = [ClassificationSection(task, ["no", "yes"], torch.nn.Identity()) for task in ("covid", "severity")]
    kept, figure = drawn(sections, {"image": MetaTensor(volume, affine=affine), **answers("covid", "severity")})
    np.testing.assert_array_equal(kept["input_affine"], affine)
    assert len(figure.axes) == 6 and figure.axes[0].get_title("left") == "Covid: yes"
    for axis, (row, column) in zip(figure.axes, [(5, 4), (3, 4), (3, 5)], strict=False):
        for image in axis.images:
            shown = np.asarray(image.get_array())
            # First row on top: anterior or superior; first column on the left: the patient's right, or anterior.
            assert np.unravel_index(shown.argmax(), shown.shape) == (row, column)
    assert {t.get_text() for t in figure.axes[0].texts} == {"R", "L", "A", "P"}
    assert to_png(figure, dpi=30)


def test_sides_of_a_volume_without_affine_are_not_named():
    _, figure = drawn(
        [ClassificationSection("covid", ["no", "yes"])], {"image": torch.rand(1, 8, 8, 8), **answers("covid")}
    )
    assert len(figure.axes) == 3 and not figure.axes[0].texts, "slices of the middle"


def test_errors_say_what_is_wrong():
    plain, seen = ClassificationSection("a", ["b", "c"]), ClassificationSection("a", ["b", "c"], torch.nn.Identity())
    for image, found in ((None, "NoneType"), (torch.zeros(5, 4), r"\[5, 4\]")):
        with pytest.raises(DataError, match=f"x: 'photo' must be a picture .* found {found}"):
            drawn([plain], {"photo": image, **answers("a")}, "photo")
    with pytest.raises(DataError, match="x: no 'image'"):
        drawn([seen], {"photo": torch.zeros(3, 4, 4), **answers("a")}, "photo")
    item = {"photo": torch.zeros(3, 4, 4), "predicted_lesion": torch.zeros(1, 5, 5)}
    with pytest.raises(DataError, match=r"x: 'photo' has shape \[3, 4, 4\], not \[channels, 5, 5\]"):
        drawn([LESION], item, "photo")


def test_pictures_of_the_extremes_only_are_kept():
    section = ClassificationSection("a", ["b", "c"])
    pictures = Pictures([section], 2, (), None)
    cases = []
    for k, p in enumerate((0.6, 0.9, 0.7, 0.8, 0.65)):
        item = {"image": torch.rand(1, 6, 6), "predicted_a": torch.tensor([p, 1 - p]), "reference_a": torch.tensor(0)}
        case = Case(f"c{k}", None, item)
        section.score(case)
        pictures.offer(case)
        cases.append(case)
    assert set(pictures.kept) == {"c1", "c3"} and len(list(pictures.kept["c1"].parent.iterdir())) == 2
    results = Results(cases)
    shown = pictures.draw(cases, section.scores(results))
    assert [(p["case"], p["volume"], p["answers"][0]["reference"]) for p in shown] == [
        ("c1", False, "b"),
        ("c3", False, "b"),
    ]
    assert isinstance(cases[1].facts["a"], Answer)
    pictures.close()
