# SPDX-License-Identifier: Apache-2.0
"""The structure set that belongs to a CT and its plan."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pydicom

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.ct_series import CTSeries
from ctan_networks.radiotherapy.dicom.elements import items, text
from ctan_networks.radiotherapy.dicom.rtstruct import are_same_contours, read_structures, referenced_series

__all__ = ["choose_structures", "was_drawn_on"]

logger = logging.getLogger(__name__)

Read = tuple[Path, pydicom.Dataset]


def was_drawn_on(file: Path, structure_set: pydicom.Dataset, ct: CTSeries) -> bool:
    """Whether a structure set names a CT series, or names none and lies in its frame of reference."""
    named = referenced_series(structure_set, file)
    if named:
        return ct.uid in named
    frames = {
        text(file, frame, "FrameOfReferenceUID")
        for frame in items(file, structure_set, "ReferencedFrameOfReferenceSequence")
    }
    frames |= {
        text(file, roi, "ReferencedFrameOfReferenceUID")
        for roi in items(file, structure_set, "StructureSetROISequence")
    }
    return bool(ct.frame_of_reference) and ct.frame_of_reference in frames


def choose_structures(where: str, fitting: Sequence[Read], plan: Read | None) -> Read | None:
    """Of the structure sets of a CT the plan's, or else the latest.

    Args:
        where: what errors name.
        fitting: structure sets that were drawn on the CT, with their files.
        plan: the treatment plan, with its file.

    Returns:
        One of them; None where there is none.

    Raises:
        DataError: when the plan refers to another one, and none of them was drawn after it; or when there is no plan
            and nothing tells which of several is the latest.

    """
    references = items(*plan, "ReferencedStructureSetSequence") if plan else []
    wanted = {text(where, reference, "ReferencedSOPInstanceUID") for reference in references} - {""}
    chosen = next((s for s in fitting if text(*s, "SOPInstanceUID") in wanted), None)
    if chosen is not None or not fitting:
        return chosen
    times = sorted(((_time(*s, "StructureSet"), s) for s in fitting), key=lambda timed: timed[0])
    latest_time, latest = times[-1]
    # The folder may be named after the patient.
    names = ", ".join(file.name for _, (file, _) in times)
    if len(times) > 1 and times[-2][0] == latest_time and not _are_same(latest, times[-2][1]):
        raise DataError(
            f"{where}: {len(times)} structure sets of one CT ({names}), and neither a plan nor a date tells which one"
            " counts. Leave one in the folder."
        )
    if plan and wanted:
        planned = _time(*plan, "RTPlan")
        dated = bool(latest_time[0] and planned[0])
        # On one day the times count where both are stated.
        if dated and (latest_time < planned if all((*latest_time, *planned)) else latest_time[0] < planned[0]):
            raise DataError(
                f"{where}: the plan {plan[0].name} was made on another structure set than {names}, which is older than"
                " the plan. Export the structure set that the plan refers to, or leave the plan out."
            )
        logger.warning(
            "the plan refers to another structure set than %s%s",
            names,
            ", which was drawn later and is taken" if dated else "; it is taken all the same",
        )
    if len(times) > 1:
        logger.warning("%d structure sets of one CT; the latest is taken: %s", len(times), latest[0].name)
    return latest


def _time(file: Path, data: pydicom.Dataset, what: str) -> tuple[str, str]:
    """Date and time as DICOM writes them, which sort as they are; empty where they are not stated."""
    return text(file, data, f"{what}Date"), text(file, data, f"{what}Time")


def _are_same(one: Read, other: Read) -> bool:
    first, second = (read_structures(*structure_set, quiet=True) for structure_set in (one, other))
    return [s.name for s in first] == [s.name for s in second] and all(
        are_same_contours(a.contours, b.contours) for a, b in zip(first, second, strict=True)
    )
