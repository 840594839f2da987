# SPDX-License-Identifier: Apache-2.0
"""A patient in DICOM-RT that is written in a moment, to be changed by a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from ctan_networks.radiotherapy.dicom.write_ct import write_ct_series
from ctan_networks.radiotherapy.dicom.write_rtdose import write_rtdose
from ctan_networks.radiotherapy.dicom.write_rtplan import write_rtplan
from ctan_networks.radiotherapy.dicom.write_rtstruct import write_rtstruct

__all__ = [
    "AFFINE",
    "MASKS",
    "PATTERNS",
    "SHAPE",
    "change",
    "copy_of",
    "list_beams",
    "name_part",
    "write_small_patient",
]

SHAPE = (20, 16, 10)
AFFINE = np.diag([4.0, 4.0, 3.0, 1.0])
AFFINE[:3, 3] = [-40, -32, 100]
PATTERNS = {"PTV": ["ptv"], "Bladder": ["bladder"]}
MASKS = {name: np.zeros(SHAPE, bool) for name in ("PTV", "Bladder")}
MASKS["PTV"][7:13, 6:11, 3:7] = True
MASKS["Bladder"][7:13, 3:8, 4:9] = True


def write_small_patient(
    folder: Path, prescription: float | None = 60.0, shares: tuple[float, ...] = (1.0,), root: str = "1"
) -> Path:
    """Write CT, RTSTRUCT, RTPLAN and RTDOSE: 60 Gy in the target, 30 around it, 6 elsewhere.

    Args:
        folder: where.
        prescription: what the plan states.
        shares: of the dose, one for each beam; of one there is a total dose.
        root: patients with different ones are different patients.

    """
    hu = np.full(SHAPE, -1000.0, np.float32)
    hu[2:18, 2:14] = 20
    ct = write_ct_series(folder, hu, AFFINE, name=f"Nobody{root}^N", patient_id=f"ID{root}", uid_root=root)
    structures = write_rtstruct(folder / "RS.dcm", MASKS, ct, uid_root=root)
    plan = write_rtplan(folder / "RP.dcm", ct, structures, prescription_gy=prescription, uid_root=root)
    dose = np.full(SHAPE, 6.0)
    dose[5:15, 3:13, 2:9] = 30
    dose[MASKS["PTV"]] = 60
    for k, share in enumerate(shares, start=1):
        # Beams come from different sides.
        beam = share * dose * (1 if len(shares) == 1 else np.linspace(1, 1 + 0.01 * k, SHAPE[0])[:, None, None])
        kind = "PLAN" if len(shares) == 1 else "BEAM"
        write_rtdose(folder / f"RD{k}.dcm", beam, ct, plan, bits=16, uid_root=f"{root}/{k}", summation=kind)
    return folder


def change(file: Path, edit: Callable[[Dataset], None], to: str | None = None) -> Path:
    """Edit a file in place, or write the edited copy beside it."""
    data = pydicom.dcmread(file)
    edit(data)
    target = file if to is None else file.with_name(to)
    data.save_as(target)
    return target


def copy_of(file: Path, to: str, edit: Callable[[Dataset], None] = lambda data: None) -> Path:
    """Write an edited copy under a SOPInstanceUID of its own."""

    def renew(data: Dataset) -> None:
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        edit(data)

    return change(file, renew, to)


def list_beams(plan: Path, kinds: tuple[str, ...]) -> None:
    """Write beams 1, 2, ... into a plan, by their TreatmentDeliveryType."""

    def edit(data: Dataset) -> None:
        group = data.FractionGroupSequence[0]
        group.NumberOfBeams, group.NumberOfFractionsPlanned = len(kinds), 30
        data.BeamSequence, group.ReferencedBeamSequence = Sequence(), Sequence()
        for k, kind in enumerate(kinds, start=1):
            beam, reference = Dataset(), Dataset()
            beam.BeamNumber, beam.TreatmentDeliveryType = k, kind
            reference.ReferencedBeamNumber = k
            if kind == "TREATMENT":
                reference.BeamMeterset = 100
            data.BeamSequence.append(beam)
            group.ReferencedBeamSequence.append(reference)

    change(plan, edit)


def name_part(dose: Path, group: int = 1, beam: int | None = None) -> None:
    """Let a dose say which fraction group, or which beam of it, it is of."""

    def edit(data: Dataset) -> None:
        reference = Dataset()
        reference.ReferencedFractionGroupNumber = group
        if beam is not None:
            item = Dataset()
            item.ReferencedBeamNumber = beam
            reference.ReferencedBeamSequence = Sequence([item])
        data.ReferencedRTPlanSequence[0].ReferencedFractionGroupSequence = Sequence([reference])

    change(dose, edit)
