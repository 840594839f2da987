# SPDX-License-Identifier: Apache-2.0
"""Data lists of CTs with contours, for networks that are given some."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ctan_networks.data.case_list import existing_path
from ctan_networks.data.pseudonyms import without_folder_name
from ctan_networks.datasets.inference_cases import prescribed_list
from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.convert import convert_patient, unmatched_rois
from ctan_networks.radiotherapy.dicom.roi_names import complete_patterns, pattern_example, unused_targets
from ctan_networks.radiotherapy.dose_check import is_target
from ctan_networks.radiotherapy.nifti_patient import CT, other_volumes
from ctan_networks.reading import is_there

__all__ = ["contoured_list"]

logger = logging.getLogger(__name__)

MASKS = (".nii.gz", ".csv")


def contoured_list(
    dataset_dir: str | os.PathLike,
    converted_dir: str | os.PathLike,
    patterns: Mapping[str, Sequence[str]],
    split: str | None = None,
    prescription: float | None = None,
    own_patterns: Mapping[str, Sequence[str] | str] | None = None,
    targets: Sequence[str] = (),
    organs: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """List what there is to predict on, with the contours that a physician drew on it.

    A case without contours, or without a target, is named in the log and left out; so are, in a warning, the organs
    that a case lacks, and ROIs that look like targets and are used for nothing.

    Args:
        dataset_dir: as of :py:func:`ctan_networks.datasets.inference_cases.inference_list`; DICOM with RTSTRUCT, NIfTI
            with a mask ``<structure>.nii.gz`` for each structure, or OpenKBP.
        converted_dir: folder in which masks are made of RTSTRUCT, without identifiers; see
            :py:func:`ctan_networks.radiotherapy.convert.convert_patient`.
        patterns: structure to patterns of ROI names, see
            :py:func:`ctan_networks.radiotherapy.dicom.roi_names.match_rois`.
        split: of OpenKBP; None: all that are there.
        prescription: in Gy, of all patients, whatever their plans state; None: what each plan states.
        own_patterns: patterns in place of the usual ones, for the structures that it names.
        targets: names of the structures of which a case needs one.
        organs: names of the structures that the network was trained to be given.

    Returns:
        One item a case: "case", "image", "segmentation" (the folder with its masks), "mask" (the file of where dose is
        possible: OpenKBP's mask, or a clinic's external contour) where there is one, and "prescription" in Gy where it
        is known.

    Raises:
        DataError: when no case with contours is there, or two have one name.

    """
    path = existing_path(dataset_dir, "to predict on")
    patterns = complete_patterns(patterns, own_patterns, [*targets, *organs])
    items = prescribed_list(path, prescription, split)
    usable = []
    for item in items:
        try:
            folder, provenance = _contours(item, Path(converted_dir), patterns)
            _check_drawn(item["case"], folder, provenance, targets, organs)
            external = folder / "possible_dose_mask.nii.gz"
            mask = {"mask": str(external)} if is_there(external) else {}
            usable.append({**item, "segmentation": str(folder), **mask})
        except DataError as error:  # noqa: PERF203  each case by itself
            logger.error("skipped: case %s: %s", item["case"], without_folder_name(str(error), item))
    if not usable:
        raise DataError(
            f"{path} holds no CT with contours: each of its {len(items)} cases was skipped, see above. Give folders"
            f" with CT and RTSTRUCT, with {CT} and masks <structure>.nii.gz, or of OpenKBP; or take the network that"
            " needs no contours."
        )
    return usable


def _contours(
    item: Mapping[str, Any], converted_dir: Path, patterns: Mapping[str, Sequence[str]]
) -> tuple[Path, dict[str, Any] | None]:
    """The folder with a case's masks; and, of DICOM, the provenance of its conversion."""
    image = Path(item["image"])
    if image.is_dir():
        target = converted_dir / item["case"]
        found = convert_patient(image, target, patterns, need_dose=None)
        if unmatched := unmatched_rois(found):
            logger.info("case %s: ROIs that match no structure: %s", item["case"], ", ".join(unmatched))
        return target, found
    if image.name == CT and (others := other_volumes(image.parent, patterns)):
        logger.warning("case %s: files that are no structure's: %s", item["case"], ", ".join(others))
    if image.name in ("ct.csv", CT):
        return image.parent, None
    raise DataError(f"{image} is a volume without contours.")


def _check_drawn(
    case: str, folder: Path, provenance: Mapping[str, Any] | None, targets: Sequence[str], organs: Sequence[str]
) -> None:
    missing, lacking = (
        [name for name in names if not any(is_there(folder / f"{name}{suffix}") for suffix in MASKS)]
        for names in (targets, organs)
    )
    unmatched = unmatched_rois(provenance) if provenance is not None else []
    if targets and len(missing) == len(targets):
        raise DataError(f"no target: {_remedy(targets, None if provenance is None else provenance['rois'], unmatched)}")
    if warning := unused_targets(missing, unmatched):
        logger.warning("case %s: %s", case, warning)
    if lacking:
        others = f". ROIs that match no structure: {', '.join(unmatched)}" if unmatched else ""
        logger.warning("case %s: no contours of %s, which the network expects%s", case, ", ".join(lacking), others)


def _remedy(targets: Sequence[str], rois: Sequence[str] | None, unmatched: Sequence[str]) -> str:
    names = ", ".join(targets)
    if rois is None:
        return f"there is no mask of {names}. Name the target's mask after the one that it is."
    if not unmatched:
        return f"none of {names} is drawn. Add contours, or take the network that finds targets by itself."
    likely = next((name for name in unmatched if is_target(name)), unmatched[0])
    return (
        f"no ROI has a name that is known for one of {names}. The ROIs are {', '.join(rois)}. If one of them is a"
        f" target, say which, {pattern_example(targets[-1], likely)}; if none is, add contours, or take the"
        " network that finds targets by itself."
    )
