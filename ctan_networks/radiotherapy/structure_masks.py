# SPDX-License-Identifier: Apache-2.0
"""The structures of a plan as masks on its CT, and whether they fit the CT."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.patient_folder import TreatmentPlan
from ctan_networks.radiotherapy.dicom.planes import MAX_GAP_MM, Outside, find_planes
from ctan_networks.radiotherapy.dicom.rasterise import fill_planes
from ctan_networks.radiotherapy.dicom.roi_choice import choose_rois
from ctan_networks.radiotherapy.dicom.rtstruct import Structure
from ctan_networks.radiotherapy.pseudonyms import without_patient
from ctan_networks.radiotherapy.sides import check_sides, mask_centre, side_of

__all__ = ["PlanStructures"]

logger = logging.getLogger(__name__)

# A structure with more of its outline beside the CT's pixels was not drawn on it.
MOST_BESIDE = 0.25


class PlanStructures:
    """The structures of a plan that patterns of ROI names find.

    Args:
        plan: the CT and its structure set.
        patterns: structure to patterns of ROI names; see
            :py:func:`ctan_networks.radiotherapy.dicom.roi_names.match_rois`.
        case: what the log names.

    Attributes:
        rois: structure to its ROI.
        names: of all ROIs of the CT that enclose something, as they stand in the structure set, without the patient's
            name and id.

    Raises:
        DataError: when several ROIs may be one structure, or the only one is not of this CT; names the file.

    """

    def __init__(self, plan: TreatmentPlan, patterns: Mapping[str, Sequence[str]], case: str) -> None:
        self.plan = plan
        self.case = case
        self.rois: dict[str, Structure] = {}
        self.names: list[str] = []
        if plan.structure_set is None:
            return
        file, data = plan.structure_set
        try:
            self.rois, names, remarks = choose_rois(file, data, plan.ct, patterns)
        except DataError as error:
            raise DataError(f"{file}: {self.shown(str(error).removeprefix(f'{file}: '))}") from None
        self.names = [self.shown(name) for name in names]
        for remark in remarks:
            logger.warning("case %s: %s", case, self.shown(remark))

    def shown(self, text: str) -> str:
        """A text without the patient's name and id."""
        return without_patient(text, self.plan.ct.headers[0])

    def masks(self, middles: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
        """Fill the structures, one after the other.

        What is not filled, or leaves the CT's pixels, is logged. A structure that fills no voxel is left out.

        Args:
            middles: centre of the body in each slice, ``[slices, 3]`` LPS in mm, NaN where there is none.

        Yields:
            Name of the structure, of its ROI (fit for a log), and its mask ``[columns, rows, slices]``.

        Raises:
            DataError: when a structure is tilted, leaves the CT's slices, or lies on the wrong side; names the file and
                the ROI.

        """
        if self.plan.structure_set is None:
            return
        file, ct = self.plan.structure_set[0], self.plan.ct
        centres: dict[str, np.ndarray] = {}
        halves: dict[str, float] = {}
        for structure, roi in self.rois.items():
            name = self.shown(roi.name)
            try:
                planes = find_planes(roi.contours, ct.affine)
                beside = _refuse_outside(planes.outside(ct.shape))
            except DataError as error:
                raise DataError(f"{file}: ROI {name!r}: {error}") from None
            if beside:
                logger.warning(
                    "case %s: ROI %r: %.1f %% of its outline lie beside the CT's pixels", self.case, name, 100 * beside
                )
            mask = fill_planes(planes, ct.shape)
            empty, widest = planes.open_gaps()
            if empty:
                logger.info(
                    "case %s: ROI %r has gaps of up to %.1f mm, %d slice%s in all, which are not filled: only gaps up"
                    " to the usual distance of its contours, and up to %g mm, are",
                    *(self.case, name, widest, empty, "s" if empty > 1 else "", MAX_GAP_MM),
                )
            if crossed := planes.crossed():
                logger.warning(
                    "case %s: contours of ROI %r cross one another in %d plane%s; what two of them share is left out",
                    *(self.case, name, crossed, "s" if crossed > 1 else ""),
                )
            if not mask.any():
                logger.warning("case %s: ROI %r encloses no voxel's centre: not drawn", self.case, name)
                continue
            if side_of(structure) is not None:
                centres[structure] = mask_centre(mask, ct.affine)
                shown = middles[mask.any(axis=(0, 1))]
                halves[structure] = float(np.nanmean(shown[:, 0])) if np.isfinite(shown).any() else np.nan
            yield structure, name, mask
        try:
            check_sides(centres, lambda name: halves[name] if np.isfinite(halves[name]) else None)
        except DataError as error:
            listed = ", ".join(
                f"{structure} is the ROI {self.shown(self.rois[structure].name)!r}" for structure in centres
            )
            raise DataError(f"{file}: {error} {listed}.") from None


def _refuse_outside(outside: Outside) -> float:
    """The part of the outline beside the pixels, if that is a small one."""
    if outside.beyond or outside.beside == 1:
        raise DataError(
            "its contours lie outside of the CT. Export the structures together with the CT that they were drawn on."
        )
    if outside.beside > MOST_BESIDE:
        raise DataError(
            f"{100 * outside.beside:.0f} % of its outline lie beside the CT's pixels. Export the structures together"
            " with the CT that they were drawn on."
        )
    return outside.beside
