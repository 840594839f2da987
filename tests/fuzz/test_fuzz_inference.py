# SPDX-License-Identifier: Apache-2.0
"""Odd and broken cases through each bundle's own inference, from the list of cases to the files of results."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import MANY
from corrupt import ARMED
from harness import Wrong
from inference_inputs import PHOTOS, VOLUMES, body, write_photos, write_volumes
from inference_judge import (
    PICTURES,
    PLAIN,
    Case,
    all_files,
    cases_in,
    judge_dense,
    judge_photos,
    judge_probabilities,
    judge_table,
)
from inference_judge import VOLUMES as SUFFIXES
from inference_run import CONFIGS, listening, predict, trouble
from patients import write_patient
from PIL import Image

from ctan_networks.datasets.stoic.phantoms import write_mha
from ctan_networks.errors import CTANError, DataError, causes

# Of a child; volumes are resampled to as many as 2^24 voxels.
LIMITS = {"cpu_seconds": 60.0, "memory": 4 << 30}
# Names of errors of Python and its libraries: a message with one of them tells a programmer, not a user.
INSIDE = re.compile(r"\b[A-Z]\w*(Error|Exception|Warning)\b|Traceback")


@pytest.fixture(params=[6, pytest.param(MANY, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def amount(request) -> int:
    """Distinct inputs for each bundle: a whole inference takes longer than a reader."""
    return request.param


def ours(error: BaseException) -> CTANError | None:
    """The error that a user is told last (see workflow.explain_errors), if there is one."""
    return next((cause for cause in causes(error) if isinstance(cause, CTANError)), None)


def one_patient(given: list[Case]) -> list[Case]:
    """A folder with ct.nii.gz is a patient, called as the folder; other volumes in it are taken for its masks."""
    for case in given:
        if case.path.name == "ct.nii.gz":
            case.name = case.path.parent.name
            return [case]
    return given


def no_masks(given: list[Case]) -> list[Case]:
    """Photographs alone; where two have the same name without suffix, they keep theirs."""
    photos = [case for case in given if not case.name.endswith("_segmentation")]
    same = Counter(case.name for case in photos)
    for case in photos:
        case.name = case.path.name if same[case.name] > 1 else case.name
    return photos


def read(folder: Path, bundle: str) -> str:
    """Predict, and judge what became of each case."""
    file = folder / "settings.json"
    settings = json.loads(file.read_text()) if file.is_file() else {}
    suffixes = PICTURES if bundle == "ham10000_ctan" else SUFFIXES
    # What is to happen when a file is opened is not for this look at it.
    armed = dict(ARMED)
    ARMED.clear()
    given = cases_in(folder / "cases", suffixes, settings.get("direct"), nested=bundle == "prostate_ctan")
    if bundle == "ham10000_ctan":
        given = no_masks(given)
    elif not settings.get("direct"):
        given = one_patient(given)
    data = folder / "cases" / (settings.get("direct") or "")
    out = folder.parent / "out"
    before = dict(all_files(folder.parent))
    export = {"export_dicom": bool(settings.get("export_dicom"))} if bundle == "prostate_ctan" else {}
    failure = None
    ARMED.update(armed)
    with listening() as told, trouble(settings.get("trouble"), out, [case.name for case in given]):
        try:
            predict(bundle, data, out, **export)
        except Exception as error:  # noqa: BLE001  MONAI wraps ours
            failure = ours(error)
            if failure is None:
                # MONAI's words around it are the same for all.
                raise list(causes(error))[-1] from None
    ARMED.clear()
    skips = [line for line in told.lines if line.startswith("skipped")]
    passed_over = " ".join(line for line in told.lines if "passed over" in line)
    for text in [*skips, *([str(failure)] if failure else [])]:
        if INSIDE.search(text):
            raise Wrong(f"told from inside: {text[:600]}")
    if settings.get("trouble") == "a file for the folder" and out.read_bytes() != b"precious":
        raise Wrong("a file in place of the output folder was overwritten")
    after = {name: size for name, size in all_files(folder.parent) if name != "out" and not name.startswith("out/")}
    if more := set(after.items()) - set(before.items()):
        raise Wrong(f"written outside of the output folder: {more}")
    if left := [str(p) for p in out.rglob("*") if "writing-" in p.name]:
        raise Wrong(f"half-written files: {left}")
    # What went before it was listed is no case.
    given = [c for c in given if c.path.exists() or any(c.named_in(line) for line in skips)]
    skipped = {c.path for c in given if any(c.named_in(line) for line in skips) or c.path.name in passed_over}
    needless = [case.path.name for case in given if case.path.name in settings.get("good", [])]
    if failure is not None and needless and "two cases are called" not in str(failure):
        raise Wrong(f"nothing is wrong with {needless}: {failure}")
    if any(case.path in skipped and case.path.name in needless for case in given):
        raise Wrong(f"nothing is wrong with one of {needless}: {skips}")
    if failure is not None:
        text = str(failure)
        if not any(str(place) in text for place in (folder, out)) and not any(case.named_in(text) for case in given):
            raise Wrong(f"the message names neither file nor case: {text}")
    judge(bundle, out, given, skipped, failure is None, bool(export.get("export_dicom")))
    if failure is not None:
        # The harness looks for the folder's name.
        raise DataError(f"{failure} [{folder.parent.name}]") from failure
    return "left out" if skipped else "read"


def judge(bundle: str, out: Path, given: list[Case], skipped: set[Path], whole: bool, dicom: bool) -> None:
    """Each case has its results, whole unless it was skipped or the run ended, and nothing else is there."""
    flat = bundle == "ham10000_ctan"
    config = json.loads((CONFIGS / bundle / "configs" / "inference.json").read_text())

    def one(name: str, case: Case, complete: bool) -> None:
        if flat:
            judge_photos(out, name, case, complete)
        elif bundle == "stoic_ctan":
            judge_probabilities(out, name, case, complete)
        else:
            judge_dense(out, name, case, config["structures"], config["painting_order"], complete, dicom)

    there = list(out.iterdir()) if out.is_dir() else []
    names = {p.name for p in there if p.is_dir()} - {"submission"}
    if flat:
        names = {p.name.removesuffix("_segmentation.png") for p in there if p.name.endswith("_segmentation.png")}
        names |= {p.name.removesuffix("_result.json") for p in there if p.name.endswith("_result.json")}
    rest: list[Case] = []
    for case in given:
        if not PLAIN.fullmatch(case.name) or case.name == "submission":
            rest.append(case)
        elif case.name in names or (whole and case.path not in skipped):
            one(case.name, case, whole and case.path not in skipped)
            names.discard(case.name)
    names |= {"submission"} & {p.name for p in there if p.is_dir()}
    _judge_strange(rest, names, skipped, whole, one)
    if whole and bundle in ("ham10000_ctan", "stoic_ctan"):
        table = out / ("diagnosis.csv" if flat else "probabilities.csv")
        judge_table(table, [case for case in given if case.path not in skipped])


def _judge_strange(
    rest: list[Case], names: set[str], skipped: set[Path], whole: bool, one: Callable[..., None]
) -> None:
    """Cases whose names are no file names: which folder is whose is seen from the grid."""
    wrongs = []
    for order in itertools.permutations(sorted(names), min(len(names), len(rest))):
        for some in itertools.combinations(rest, len(order)):
            left = [case for case in rest if case not in some]
            if whole and any(case.path not in skipped for case in left):
                continue
            try:
                for name, case in zip(order, some, strict=True):
                    one(name, case, whole and case.path not in skipped)
            except Wrong as error:
                wrongs.append(error)
                continue
            if len(order) == len(names):
                return
    if names or (whole and any(case.path not in skipped for case in rest)):
        raise wrongs[0] if wrongs else Wrong(f"{len(rest)} cases {[c.name for c in rest]}, but results of {names}")


def template(folder: Path) -> Path:
    """A case in each form, small."""
    cases = folder / "cases"
    cases.mkdir(parents=True)
    hu = body((18, 18, 10), "body", np.random.default_rng(0))
    affine = np.diag([-3.0, -3.0, 3.0, 1.0])
    affine[:3, 3] = [30, 20, -40]
    nib.save(nib.Nifti1Image(hu.astype(np.int16), affine), cases / "one.nii.gz")
    write_mha(cases / "two.mha", hu[:, :14].astype(np.int16), (3.0, 3.5, 4.0))
    write_patient(cases / "three")
    for file in cases.joinpath("three").iterdir():
        if file.name[:2] in ("RS", "RD"):
            file.unlink()
    return folder


@pytest.mark.parametrize("bundle", ["openkbp_ctan", "prostate_ctan", "stoic_ctan"])
def test_volumes(fuzz, tmp_path, bundle):
    pytest.importorskip("itk")
    pytest.importorskip("highdicom")
    judged = partial(read, bundle=bundle)
    fuzz(f"inference of {bundle}", template(tmp_path / "template"), judged, write_volumes, VOLUMES, **LIMITS)


def test_photographs(fuzz, tmp_path):
    cases = tmp_path / "template" / "cases"
    cases.mkdir(parents=True)
    picture = np.random.default_rng(0).integers(0, 255, (24, 40, 3)).astype(np.uint8)
    Image.fromarray(picture).save(cases / "a.jpg", quality=90)
    Image.fromarray(picture).save(cases / "b.png")
    Image.fromarray(picture[..., 0]).save(cases / "c.png")
    judged = partial(read, bundle="ham10000_ctan")
    fuzz("inference of ham10000_ctan", tmp_path / "template", judged, write_photos, PHOTOS, **LIMITS)
