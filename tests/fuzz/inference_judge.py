# SPDX-License-Identifier: Apache-2.0
"""What inference may leave behind, judged from the input's and the output's bytes alone."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
from harness import Wrong
from PIL import Image, ImageOps

__all__ = ["Case", "cases_in", "judge_dense", "judge_photos", "judge_probabilities"]

VOLUMES = (".nii.gz", ".nii", ".mha")
PICTURES = (".png", ".jpg", ".jpeg")
PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
# Rounding of affines stored as float32, in mm.
NEAR_MM = 1e-3


class Case:
    """One input: its file or folder, its name, and the grid on which results belong."""

    def __init__(self, path: Path, suffix: str) -> None:
        self.path = path
        self.name = path.name[: len(path.name) - len(suffix)]

    def grid(self) -> tuple[tuple[int, ...], np.ndarray]:
        """Size, and affine to RAS in mm; by nibabel, or by the header's own words."""
        if self.path.is_dir():
            return _series_grid(self.path)
        if self.path.suffix.lower() == ".mha":
            return _mha_grid(self.path)
        image = nib.load(self.path)
        return tuple(image.shape[:3]), np.asarray(image.affine)  # type: ignore[attr-defined]

    def named_in(self, text: str) -> bool:
        """Whether a message names the case."""
        return str(self.path) in text or re.search(rf"case {re.escape(self.name)}(\b|:)", text) is not None


def cases_in(folder: Path, suffixes: tuple[str, ...], only: str | None = None, nested: bool = False) -> list[Case]:
    """What lies in a folder: visible files with a suffix, and folders with DICOM in them, or below them."""
    found = []
    for path in sorted(folder.iterdir() if folder.is_dir() else [], key=os.fsencode):
        suffix = next((s for s in suffixes if path.name.lower().endswith(s)), None)
        if (only is not None and path.name != only) or (only is None and path.name.startswith(".")):
            continue
        if suffix and path.is_file():
            found.append(Case(path, suffix))
        elif path.is_dir() and any(path.rglob("*.dcm") if nested else path.glob("*.dcm")):
            found.append(Case(path, ""))
    return found


def _mha_grid(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    lines = (line.split(b"=", 1) for line in path.read_bytes()[:2000].split(b"\n") if b"=" in line)
    words = {pair[0].strip(): pair[1].split() for pair in lines}
    affine = np.eye(4)
    # MetaImage's own defaults, where the damage is in the name of a line.
    turn = np.array([float(v) for v in words.get(b"TransformMatrix", b"1 0 0 0 1 0 0 0 1".split())]).reshape(3, 3).T
    affine[:3, :3] = turn * np.array([float(v) for v in words[b"ElementSpacing"]])
    affine[:3, 3] = [float(v) for v in words.get(b"Offset", [b"0"] * 3)]
    return tuple(int(v) for v in words[b"DimSize"]), np.diag([-1.0, -1, 1, 1]) @ affine


def _series_grid(folder: Path) -> tuple[tuple[int, ...], np.ndarray]:
    files = [file for file in folder.rglob("*.dcm") if file.is_file()]
    # From memory: a damaged length then asks for no more than there is.
    headers = [pydicom.dcmread(io.BytesIO(file.read_bytes()), force=True) for file in files]
    slices = [header for header in headers if header.get("Modality") == "CT"]
    row, column = np.split(np.array(slices[0].ImageOrientationPatient, float), 2)
    normal = np.cross(row, column)
    slices.sort(key=lambda s: float(np.array(s.ImagePositionPatient, float) @ normal))
    first, last = (np.array(slices[k].ImagePositionPatient, float) for k in (0, -1))
    between_rows, between_columns = (float(v) for v in slices[0].PixelSpacing)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([row * between_columns, column * between_rows, (last - first) / (len(slices) - 1)])
    affine[:3, 3] = first
    return (slices[0].Columns, slices[0].Rows, len(slices)), np.diag([-1.0, -1, 1, 1]) @ affine


def _volume(file: Path, grid: tuple[tuple[int, ...], np.ndarray]) -> np.ndarray:
    image = nib.load(file)
    values = np.asanyarray(image.dataobj)  # type: ignore[attr-defined]
    shape, affine = grid
    corners = np.array([[*corner, 1] for corner in itertools.product(*[(0, n - 1) for n in shape])]).T
    away = np.abs((np.asarray(image.affine) - affine) @ corners).max()  # type: ignore[attr-defined]
    if values.shape[:3] != shape or not away <= NEAR_MM + 1e-6 * np.abs(affine @ corners).max():
        raise Wrong(f"{file.name} has the shape {values.shape}, {away:g} mm off; the input has {shape}")
    if not np.isfinite(values).all():
        raise Wrong(f"{file.name} is not finite")
    return values


def _same(what: str, said: float, counted: float) -> None:
    if not abs(said - counted) <= 2e-4 + 1e-4 * abs(counted):
        raise Wrong(f"{what}: result.json says {said}, the volumes {counted}")


def judge_dense(
    out: Path, name: str, case: Case, structures: list[str], painting: list[str], whole: bool, dicom: bool
) -> None:
    """Masks, label map, dose and ``result.json`` of one case; ``whole``: all of them must be there."""
    folder, grid = out / name, case.grid()
    files = {end: folder / f"{name}_{end}" for end in ("structures.nii.gz", "labels.nii.gz", "dose.nii.gz")}
    summary = folder / f"{name}_result.json"
    if whole and (missing := [str(f) for f in (*files.values(), summary) if not f.is_file()]):
        raise Wrong(f"{case.path.name} was not skipped, and these are missing: {missing}")
    found = {end: _volume(file, grid) for end, file in files.items() if file.is_file()}
    masks, labels, dose = (found.get(end) for end in files)
    if masks is not None and (masks.shape[3:] != (len(structures),) or not np.isin(masks, (0, 1)).all()):
        raise Wrong(f"masks of shape {masks.shape} with {np.unique(masks)[:9]}")
    if labels is not None and masks is not None:
        wanted = np.zeros(labels.shape, int)
        for structure in painting:
            wanted[masks[..., structures.index(structure)] == 1] = structures.index(structure) + 1
        if not np.array_equal(labels, wanted):
            raise Wrong(f"the label map is not that of the masks: {np.unique(labels)} and {np.unique(wanted)}")
    if dose is not None and (dose.ndim != 3 or dose.min() < 0):
        raise Wrong(f"dose of shape {dose.shape}, at least {dose.min()}")
    if summary.is_file():
        _judge_doses(json.loads(summary.read_text(encoding="utf-8"))["dose"], masks, dose, structures, grid[1])
    if whole and dicom:
        _judge_dicom(folder / "dicom", dose, grid)


def _judge_doses(said: dict, masks: Any, dose: Any, structures: list[str], affine: np.ndarray) -> None:
    _same("maximum", said["maximum"], float(dose.max()))
    there = {name: dose[masks[..., k] == 1] for k, name in enumerate(structures) if masks[..., k].any()}
    if there.keys() != said["structures"].keys():
        raise Wrong(f"structures {sorted(said['structures'])} in result.json, {sorted(there)} in the masks")
    for name, values in there.items():
        row = said["structures"][name]
        _same(f"{name} volume", row["volume_cc"], len(values) * abs(np.linalg.det(affine[:3, :3])) / 1000)
        _same(f"{name} mean", row["mean"], float(values.mean(dtype=np.float64)))
        _same(f"{name} maximum", row["maximum"], float(values.max()))
        low, high = np.quantile(values, 0.05, method="lower"), np.quantile(values, 0.05, method="higher")
        # Of a structure of less than 0.03 cc its minimum.
        least = row["D_95"] if row["volume_cc"] > 0.04 else float(values.min())
        if not low - 1e-3 <= row["D_95"] <= high + 1e-3 or not least - 1e-3 <= row["D_0.03_cc"] <= row["maximum"]:
            raise Wrong(f"{name}: {row}; the 5th percentile of its voxels is {low} to {high}")


def _judge_dicom(folder: Path, dose: np.ndarray, grid: tuple[tuple[int, ...], np.ndarray]) -> None:
    """The dose by DICOM's words: as many voxels, the same hottest one, at the same place."""
    data = pydicom.dcmread(folder / "RTDOSE.dcm")
    stored = data.pixel_array * float(data.DoseGridScaling)
    if sorted(np.shape(np.atleast_3d(stored))) != sorted(dose.shape):
        raise Wrong(f"RTDOSE of shape {stored.shape}, dose of {dose.shape}")
    if not np.isclose(stored.max(), dose.max(), rtol=1e-3, atol=1e-6):
        raise Wrong(f"RTDOSE has at most {stored.max()} Gy, the dose {dose.max()}")
    frame, row, column = np.unravel_index(np.argmax(stored), stored.shape)
    across, down = np.split(np.array(data.ImageOrientationPatient, float), 2)
    position = np.array(data.ImagePositionPatient, float)
    position += across * column * float(data.PixelSpacing[1]) + down * row * float(data.PixelSpacing[0])
    position += np.cross(across, down) * float(data.GridFrameOffsetVector[frame])
    index = np.linalg.inv(np.diag([-1.0, -1, 1, 1]) @ grid[1]) @ [*position, 1]
    nearest = tuple(np.clip(np.rint(index[:3]).astype(int), 0, np.array(dose.shape) - 1))
    if np.abs(index[:3] - nearest).max() > 0.05 or dose[nearest] < dose.max() - 1e-3 * max(1.0, dose.max()):
        raise Wrong(f"RTDOSE's hottest voxel lies at {index[:3]}, where the dose is {dose[nearest]} of {dose.max()}")


def _probabilities(said: dict, task: str) -> dict[str, float]:
    values = said[task]["probabilities"]
    if not all(0 <= v <= 1 for v in values.values()) or abs(sum(values.values()) - 1) > 1e-3:
        raise Wrong(f"{task}: no probabilities: {values}")
    if values[said[task]["prediction"]] < max(values.values()):
        raise Wrong(f"{task}: {said[task]['prediction']} is not the most probable of {values}")
    return values


def judge_probabilities(out: Path, name: str, case: Case, whole: bool) -> None:
    """The two answers and ``result.json`` of a case of STOIC."""
    folder = out / name
    files = {"covid": folder / "probability-covid-19.json", "severity": folder / "probability-severe-covid-19.json"}
    summary = folder / f"{name}_result.json"
    if whole and not all(f.is_file() for f in (*files.values(), summary)):
        raise Wrong(f"{case.path.name} was not skipped, and has not all of its files")
    for task, file in files.items():
        value = json.loads(file.read_text()) if file.is_file() else 0.5
        if not 0 <= value <= 1:
            raise Wrong(f"{file.name}: {value}")
        if file.is_file() and summary.is_file():
            _same(file.name, list(_probabilities(json.loads(summary.read_text()), task).values())[1], value)


def judge_photos(out: Path, name: str, case: Case, whole: bool) -> None:
    """The mask and ``result.json`` of a photograph."""
    mask, summary = out / f"{name}_segmentation.png", out / f"{name}_result.json"
    if whole and not (mask.is_file() and summary.is_file()):
        raise Wrong(f"{case.path.name} was not skipped, and has not all of its files")
    if mask.is_file():
        with Image.open(mask) as image, Image.open(case.path) as photo:
            upright = ImageOps.exif_transpose(photo).size
            if image.mode != "L" or image.size != upright or not np.isin(np.asarray(image), (0, 255)).all():
                raise Wrong(f"{mask.name}: {image.mode} {image.size}, the photograph {upright}")
    if summary.is_file():
        _probabilities(json.loads(summary.read_text()), "diagnosis")


def judge_table(table: Path, done: list[Case]) -> None:
    """The CSV of all cases: a row each, probabilities that sum to 1."""
    if not done:
        return
    with open(table, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if len(rows) != len(done):
        raise Wrong(f"{len(rows)} rows in {table.name} for {len(done)} cases")
    for row in rows:
        tasks = [key for key in row if key != "case" and not key.startswith("p_")]
        for task in tasks:
            total = sum(float(v) for key, v in row.items() if key.startswith(f"p_{task}_"))
            if abs(total - 1) > 1e-3:
                raise Wrong(f"{table.name}: {row}")


def all_files(folder: Path) -> Iterator[tuple[str, int]]:
    """Every file below a folder with its size."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path.relative_to(folder).as_posix(), path.stat().st_size
