# SPDX-License-Identifier: Apache-2.0
"""Which RTDOSE objects make up the dose that was planned, and of which RTPLAN: DICOM PS3.3 C.8.8.3."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pydicom

from ctan_networks.errors import DataError
from ctan_networks.radiotherapy.dicom.elements import ADVICE, items, number, read_known, text, without_comment
from ctan_networks.radiotherapy.dicom.prescription import Prescription, total_prescription
from ctan_networks.reading import library_errors

__all__ = ["PlannedDose", "choose_planned_dose", "choose_prescription", "each_once"]

Read = tuple[Path, pydicom.Dataset]
# Groups of elements that say what an object is about; the others are about the file, its way here and the patient.
CONTENT = (0x0018, 0x0020, 0x0028, 0x3004, 0x3006, 0x300A, 0x300C)
SEVERAL_PLANS = ("MULTI_PLAN", "PLAN_OVERVIEW")
TOTALS = ("PLAN", *SEVERAL_PLANS)
# TreatmentDeliveryType (300A,00CE) of beams that give no dose of the plan.
NO_TREATMENT = ("SETUP", "OPEN_PORTFILM", "TRMT_PORTFILM")


@dataclass(frozen=True, eq=False)
class PlannedDose:
    """A dose, its plans, and what they prescribe.

    Attributes:
        doses: RTDOSE files to be summed, with their headers; may be empty.
        plans: RTPLANs that the dose is of, or without a dose those of the CT.
        prescription: what they prescribe.
        kind: what the dose is, in a few words.

    """

    doses: tuple[Read, ...]
    plans: tuple[Read, ...]
    prescription: Prescription
    kind: str


def each_once(objects: Sequence[Read], pixels: bool = False) -> list[Read]:
    """Objects without the further copies of one: files with the same SOPInstanceUID.

    Args:
        objects: files and what they hold.
        pixels: compare the pixels too, which are not read yet.

    Raises:
        DataError: when two files with one SOPInstanceUID hold different things.

    """
    known: dict[str, Read] = {}
    kept: list[Read] = []
    for file, data in objects:
        uid = text(file, data, "SOPInstanceUID")
        if uid and uid in known:
            first = known[uid]
            if not _same_content(first, (file, data), pixels):
                raise DataError(
                    f"{first[0]} and {file} have the same SOPInstanceUID and different content. Leave the right one in"
                    " the folder."
                )
            continue
        known[uid] = (file, data)
        kept.append((file, data))
    return kept


def choose_planned_dose(where: str, doses: Sequence[Read], plans: Sequence[Read], frame: str) -> PlannedDose:
    """Find the dose of one plan (or the sum of several) among a patient's RTDOSE and RTPLAN objects.

    A total dose (DoseSummationType PLAN, MULTI_PLAN, PLAN_OVERVIEW) is taken if there is one; else all doses of beams,
    or of fraction groups, which are to be summed: each beam that the plan treats with must have one, and no other.

    Args:
        where: what errors name, such as the folder.
        doses: headers of the RTDOSE objects.
        plans: the RTPLAN objects.
        frame: FrameOfReferenceUID of the CT.

    Raises:
        DataError: when the objects contradict each other or do not tell what belongs together; names the files.

    """
    match = _match(where, each_once(doses, pixels=True), plans, frame)
    # Without a dose that names it, a single plan is the plan.
    known = match.found if match.uids or len(match.found) == 1 else []
    chosen, kind = _complete_dose(where, match.members, known)
    return PlannedDose(tuple(chosen), *_plans_and_prescription(match), kind)


def choose_prescription(
    where: str, doses: Sequence[Read], plans: Sequence[Read], frame: str
) -> tuple[Prescription, Read | None]:
    """What the plan of a CT prescribes, where the dose itself is not needed and may be incomplete.

    Args:
        where: what errors name, such as the folder.
        doses: headers of the RTDOSE objects; they tell which plan counts.
        plans: the RTPLAN objects.
        frame: FrameOfReferenceUID of the CT.

    Returns:
        The prescription, and the plan's total dose, where that is there and not ambiguous.

    Raises:
        DataError: when the objects contradict each other or do not tell what belongs together; names the files.

    """
    match = _match(where, doses, plans, frame)
    total = [dose for dose in match.members if _kind(dose) in TOTALS]
    return _plans_and_prescription(match)[1], total[0] if len(total) == 1 else None


class _Match(NamedTuple):
    """Doses of one plan, or of a sum of plans, and the RTPLAN objects.

    Attributes:
        uids: of the plans that the doses name.
        members: these doses.
        found: plans with these UIDs; where doses name none, all in the frame of reference.
        others: number of other plans.

    """

    uids: frozenset[str]
    members: list[Read]
    found: list[Read]
    others: int


def _match(where: str, doses: Sequence[Read], plans: Sequence[Read], frame: str) -> _Match:
    plans = each_once(plans)
    own = [dose for dose in doses if text(*dose, "FrameOfReferenceUID") == frame]
    if doses and not own:
        raise DataError(
            f"{where}: the dose lies in another frame of reference than the CT. Export the dose that was computed on"
            " this CT."
        )
    uids, members = _of_one_plan(where, own)
    stray = [dose for dose in doses if dose not in own and (not uids or _plans_of(dose) & uids)]
    if members and stray:
        raise DataError(
            f"{where}: {_names(stray)} lies in another frame of reference than the plan's other doses. Export all of"
            " them on this CT."
        )
    here = [plan for plan in plans if text(*plan, "FrameOfReferenceUID") in ("", frame)]
    elsewhere = [plan for plan in plans if plan not in here]
    if wrong := [plan for plan in elsewhere if text(*plan, "SOPInstanceUID") in uids]:
        raise DataError(
            f"{where}: the plan {_names(wrong)} lies in another frame of reference than its dose. Export both again."
        )
    found = [plan for plan in here if text(*plan, "SOPInstanceUID") in uids] if uids else here
    return _Match(uids, members, found, len(plans) - len(found))


def _of_one_plan(where: str, doses: Sequence[Read]) -> tuple[frozenset[str], list[Read]]:
    """UIDs of the plans that doses name, and these doses: those of one plan, or of a sum that holds all others."""
    named: dict[frozenset[str], list[Read]] = {}
    for dose in doses:
        named.setdefault(_plans_of(dose), []).append(dose)
    if len(named) <= 1:
        return next(iter(named.items()), (frozenset(), []))
    everything = frozenset().union(*named)
    total = [dose for dose in named.get(everything, []) if _kind(dose) in SEVERAL_PLANS]
    if not total or frozenset() in named:
        raise DataError(
            f"{where}: doses of {len(named)} plans: {_names(doses)}. Leave those of one plan, or export the sum."
        )
    return everything, total


def _complete_dose(where: str, doses: Sequence[Read], plans: Sequence[Read]) -> tuple[list[Read], str]:
    if not doses:
        return [], "no dose"
    kinds = [_kind(dose) for dose in doses]
    total = [dose for dose, kind in zip(doses, kinds, strict=True) if kind in TOTALS]
    if len(total) > 1:
        raise DataError(f"{where}: {len(total)} total doses of one plan: {_names(total)}. Leave one of them.")
    if total:
        several = _kind(total[0]) in SEVERAL_PLANS
        if not several and len(_plans_of(total[0])) > 1:
            raise DataError(
                f"{total[0][0]}: a dose of one plan (DoseSummationType PLAN) that names"
                f" {len(_plans_of(total[0]))} plans. Export it again, as the plan's dose or as the sum."
            )
        return total, "the sum of several plans" if several else "the plan's dose"
    # The dose of a fraction group holds those of its beams.
    doses = [dose for dose in doses if _kind(dose) == "FRACTION"] or doses
    kinds = [_kind(dose) for dose in doses]
    if set(kinds) not in ({"BEAM"}, {"FRACTION"}):
        shown = ", ".join(sorted({kind[:40] or "empty" for kind in kinds}))
        raise DataError(f"{where}: doses of the kind {shown} are no dose of a plan. Export the plan's total dose.")
    if kinds[0] == "BEAM":
        wanted, known = _beams(plans[0]) if len(plans) == 1 else (set(), set())
        _require_complete(where, "beam", [(dose, _beams_of(dose)) for dose in doses], wanted, known)
        return list(doses), f"the sum of {len(doses)} doses of beams"
    if len(plans) != 1:
        raise DataError(
            f"{where}: the dose of a fraction group (DoseSummationType FRACTION), without the plan that tells how many"
            " groups there are. Export the RTPLAN too, or the plan's total dose."
        )
    groups = _fraction_groups(plans[0])
    _require_complete(where, "fraction group", [(dose, _groups_of(dose)) for dose in doses], groups, groups)
    return list(doses), "the plan's one fraction group" if len(
        doses
    ) == 1 else f"the sum of {len(doses)} fraction groups"


def _require_complete(
    where: str, what: str, doses: Sequence[tuple[Read, set[int]]], wanted: set[int], known: set[int]
) -> None:
    """Refuse a part of the plan that has no dose, or two, and a dose of no part.

    Args:
        where: what errors name.
        what: a part is called.
        doses: each with the numbers of the parts that it is of; none where it does not say.
        wanted: numbers of the parts that have a dose by the plan; empty: not known.
        known: numbers of all parts of the plan; empty: not known.

    """
    if not all(numbers for _, numbers in doses):
        if wanted and len(doses) != len(wanted):
            raise DataError(
                f"{where}: {len(doses)} doses of {what}s, where the plan has {len(wanted)}. Export one for each"
                f" {what}, or the plan's total dose."
            )
        return
    first: dict[int, Path] = {}
    for (file, _), numbers in doses:
        for part in sorted(numbers):
            if part in first:
                raise DataError(
                    f"{where}: two doses of {what} {part}: {first[part].name} and {file.name}. Leave one of them."
                )
            if known and part not in known:
                raise DataError(
                    f"{where}: {file.name} is the dose of {what} {part}, which the plan does not have. Leave the doses"
                    " of one plan, or export its total dose."
                )
            first[part] = file
    if missing := sorted(wanted - first.keys()):
        raise DataError(
            f"{where}: no dose of {what} {', '.join(map(str, missing))}, which the plan treats with. Export the doses"
            f" of all {what}s, or the plan's total dose."
        )


def _plans_and_prescription(match: _Match) -> tuple[tuple[Read, ...], Prescription]:
    uids, found = match.uids, match.found
    if not found:
        if not uids:
            return (), Prescription(None, "there is no plan in the CT's frame of reference")
        others = f", though {match.others} other" if match.others else ""
        return (), Prescription(None, f"the dose's plan is not in the folder{others}")
    if uids and len(found) < len(uids):
        return tuple(found), Prescription(
            None, f"the folder lacks {len(uids) - len(found)} of the dose's {len(uids)} plans"
        )
    if not uids and len(found) > 1:
        return (), Prescription(None, f"{len(found)} plans, and no dose tells which")
    if len(uids) < 2 and any(_kind(dose) in SEVERAL_PLANS for dose in match.members):
        return tuple(found), Prescription(None, f"the dose is the sum of several plans and names {len(uids) or 'none'}")
    return tuple(found), total_prescription(found)


def _same_content(one: Read, other: Read, pixels: bool) -> bool:
    first, second = (read_known(file, pixels=True) if pixels else data for file, data in (one, other))
    with library_errors(other[0], ADVICE), without_comment():
        parts = [{e.tag: e for e in data if e.tag.group in CONTENT} for data in (first, second)]
        return bool(parts[0] == parts[1] and (not pixels or _pixels(first) == _pixels(second)))


def _pixels(data: pydicom.Dataset) -> Any:
    compressed = data.file_meta.TransferSyntaxUID.is_compressed
    return data.pixel_array.tobytes() if compressed else data.get("PixelData")


def _kind(dose: Read) -> str:
    return text(*dose, "DoseSummationType", "" if "DoseSummationType" in dose[1] else "PLAN")


def _plans_of(dose: Read) -> frozenset[str]:
    file, data = dose
    named = (text(file, plan, "ReferencedSOPInstanceUID") for plan in items(file, data, "ReferencedRTPlanSequence"))
    return frozenset(named) - {""}


def _numbers(where: Path, references: Iterable[pydicom.Dataset], name: str) -> set[int]:
    found = (number(where, reference, name) for reference in references)
    return {int(value) for value in found if value is not None}


def _group_references(dose: Read) -> list[pydicom.Dataset]:
    file, data = dose
    plans = items(file, data, "ReferencedRTPlanSequence")
    return [group for plan in plans for group in items(file, plan, "ReferencedFractionGroupSequence")]


def _groups_of(dose: Read) -> set[int]:
    return _numbers(dose[0], _group_references(dose), "ReferencedFractionGroupNumber")


def _beams_of(dose: Read) -> set[int]:
    file = dose[0]
    beams = (beam for group in _group_references(dose) for beam in items(file, group, "ReferencedBeamSequence"))
    return _numbers(file, beams, "ReferencedBeamNumber")


def _fraction_groups(plan: Read) -> set[int]:
    return _numbers(plan[0], items(*plan, "FractionGroupSequence"), "FractionGroupNumber")


def _beams(plan: Read) -> tuple[set[int], set[int]]:
    """Numbers of the beams that the plan treats with, and of all its beams."""
    file, data = plan
    kinds = {
        number(file, beam, "BeamNumber"): text(file, beam, "TreatmentDeliveryType")
        for beam in items(file, data, "BeamSequence")
    }
    metersets: dict[int, float] = {}
    for group in items(file, data, "FractionGroupSequence"):
        for beam in items(file, group, "ReferencedBeamSequence"):
            own = number(file, beam, "ReferencedBeamNumber")
            if own is not None:
                metersets[int(own)] = number(file, beam, "BeamMeterset") or 0.0
    # Some systems export no metersets at all.
    stated = any(value > 0 for value in metersets.values())
    treating = {
        beam for beam, value in metersets.items() if kinds.get(beam) not in NO_TREATMENT and (value > 0 or not stated)
    }
    return treating, set(metersets) | {int(beam) for beam in kinds if beam is not None}


def _names(objects: Sequence[Read]) -> str:
    return ", ".join(file.name for file, _ in objects)
