# SPDX-License-Identifier: Apache-2.0
"""Odd but readable CTs and photographs, drawn by hypothesis and written as files to predict on."""

from __future__ import annotations

import gzip
import itertools
import json
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from hypothesis import strategies as st
from PIL import Image

from ctan_networks.datasets.stoic.phantoms import write_mha

__all__ = ["PHOTOS", "VOLUMES", "axis_turn", "body", "write_photos", "write_volume", "write_volumes"]

TURNS = [(order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)]
STRANGE_NAMES = [
    "a b", "a_b", "a  b", "\u00e4\u4e2d", "b..c", "c.d.e", "-n", "%s%n", "a'b\"c", "a;b,c", "(1)", "a\nb", "=1+1", "~",
    " lead", "trail ", "a.", ".hidden", "..x", ".", "..", "...", "submission", "probabilities.csv", "diagnosis.csv",
    "1.2.840.113619.2.55.3.604688119.868.1130398723.789", "x" * 140, "x" * 200, "x" * 246, "\u00e9" * 120,
    "\U0001f600" * 60, "n." * 120 + "n", "a\udcff", "a\udcfe", "ct_structures", "p_segmentation", "case",
]  # fmt: skip
NAMES = st.one_of(st.sampled_from(["ct", "pt_1", "pt_2"]), st.sampled_from(STRANGE_NAMES))
SIDES = st.one_of(st.integers(8, 32), st.integers(1, 48), st.sampled_from([1, 2, 3, 48]))
WIDTHS = st.one_of(st.sampled_from([1.0, 2.0, 3.0]), st.floats(0.5, 6.0))
# Voxels of about 3 mm: many for a small network, and more than are resampled at all.
LONG, HUGE = 30_000, 80_000_000
# Most voxels as scanners make them; what is strongly anisotropic or out of any range costs more time.
SPACINGS = st.one_of(
    st.tuples(WIDTHS, WIDTHS, WIDTHS),
    st.tuples(WIDTHS, WIDTHS, WIDTHS),
    st.tuples(WIDTHS, WIDTHS, st.sampled_from([0.011, 0.05, 12.0, 40.0, 99.0])),
    st.tuples(*[st.sampled_from([0.009, 0.011, 0.1, 0.7, 8.0, 15.0, 99.0, 101.0])] * 3),
)
CONTENTS = [
    "body", "body", "body", "bodies", "borders", "all", "air", "constant 0", "constant 40", "bone", "noise", "tiny",
    "offset", "million", "huge", "beyond float32", "lungs", "one voxel", "couch",
]  # fmt: skip
KINDS = ["i2", "i2", "i2", "f4", "f8", "i1", "u1", "u2", "i4", "u4", "i8", "u8"]
SCALES = [None, None, None, (1, -1024), (2.5, -1000), (0.5, 3), (-1, 0), (0, 5), (np.nan, 1), (1e-3, 0), (1e6, 0)]

VOLUME = st.fixed_dictionaries(
    {
        "name": NAMES,
        "suffix": st.sampled_from([".nii.gz", ".nii.gz", ".nii", ".NII.GZ", ".mha"]),
        "shape": st.tuples(SIDES, SIDES, SIDES),
        "spacing": SPACINGS,
        "turn": st.sampled_from(TURNS),
        "angles": st.one_of(st.just(None), st.just(None), st.tuples(*[st.floats(-45, 45)] * 3)),
        "shear": st.sampled_from([0.0, 0.0, 0.0, 0.02, 0.2]),
        "origin": st.sampled_from([(0.0, 0.0, 0.0), (-120.5, 80.25, -300.0), (1e5, 0.0, 0.0)]),
        "codes": st.sampled_from([(1, 1), (1, 1), (1, 0), (0, 1), (0, 0), (2, 1), (4, 3)]),
        "disagree": st.sampled_from([None, None, None, "qform spacing", "qform turn", "sform spacing", "pixdim"]),
        "kind": st.sampled_from(KINDS),
        "order": st.sampled_from("<<>"),
        "scale": st.sampled_from(SCALES),
        "dimensions": st.sampled_from(["3", "3", "3", "3", "4 of 1", "4 of 2", "5 of 1", "2"]),
        "content": st.sampled_from(CONTENTS),
        "seed": st.integers(0, 9),
    }
)
TROUBLES = [
    None, None, None, None, None, "a file for the folder", "a file for the case", "read-only", "full", "too large",
    "vanishes", "renaming fails",
]  # fmt: skip
VOLUMES = st.fixed_dictionaries(
    {
        "cases": st.lists(VOLUME, min_size=1, max_size=2),
        "trouble": st.sampled_from(TROUBLES),
        "direct": st.sampled_from([False, False, False, True]),
        "export_dicom": st.booleans(),
    }
)
PIXELS = st.sampled_from([1, 2, 15, 16, 17, 24, 40, 64, 100])
PHOTO = st.fixed_dictionaries(
    {
        "name": NAMES,
        "suffix": st.sampled_from([".jpg", ".png", ".png", ".JPG", ".jpeg"]),
        "size": st.one_of(
            st.tuples(PIXELS, PIXELS),
            st.tuples(st.sampled_from([1, 16, 20]), st.sampled_from([1000, 20000])),
            st.tuples(st.sampled_from([1000, 20000]), st.sampled_from([1, 16, 20])),
        ),
        "mode": st.sampled_from(["RGB", "RGB", "RGB", "L", "LA", "RGBA", "P", "PA", "CMYK", "1", "I;16", "YCbCr"]),
        "turn": st.sampled_from([None, None, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        "content": st.sampled_from(["noise", "noise", "black", "white", "half"]),
        "seed": st.integers(0, 9),
    }
)
PHOTOS = st.fixed_dictionaries(
    {
        "cases": st.lists(PHOTO, min_size=1, max_size=2),
        "trouble": st.sampled_from(TROUBLES),
        "direct": st.sampled_from([False, False, False, True]),
    }
)


def body(shape: tuple[int, ...], content: str, rng: np.random.Generator) -> np.ndarray:
    """Values in HU, float64."""
    grid = np.meshgrid(*[np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape], indexing="ij")
    distance = np.sqrt(sum(axis**2 for axis in grid))
    hu = np.full(shape, -1000.0)
    tissue = rng.normal(40, 30, shape)
    if content in ("body", "offset", "million", "huge", "beyond float32", "lungs", "couch"):
        inside = distance < 0.8
        hu[inside] = tissue[inside]
        hu[distance < 0.2] = 700
    if content == "bodies":
        inside = (np.abs(grid[0]) > 0.3) & (distance < 1)
        hu[inside] = tissue[inside]
    elif content in ("borders", "all"):
        hu = tissue
    elif content == "tiny":
        inside = distance < 0.1
        hu[inside] = tissue[inside]
    elif content == "one voxel":
        hu[tuple(n // 2 for n in shape)] = 40
    elif content == "noise":
        hu = rng.uniform(-1024, 3000, shape)
    elif content == "bone":
        hu[:] = 1500
    elif content.startswith("constant"):
        hu[:] = float(content.split()[1])
    elif content == "offset":
        hu += 1024
    elif content == "lungs":
        hu[(distance < 0.6) & (distance > 0.25)] = -800
    elif content == "couch":
        hu[:, -1:] = 100
    extreme = {"million": 1e6, "huge": 1e30, "beyond float32": 1e300}.get(content)
    if extreme:
        some = rng.random(shape) < 0.05
        hu[some] = rng.choice([-extreme, extreme], int(some.sum()))
    return hu


def axis_turn(order: tuple[int, ...], signs: tuple[int, ...]) -> np.ndarray:
    """The matrix that exchanges and flips axes."""
    return np.eye(3)[:, list(order)] * np.array(signs)


def geometry(drawn: dict[str, Any]) -> np.ndarray:
    """Affine of a drawn volume."""
    matrix = axis_turn(*drawn["turn"])
    for axis, angle in enumerate(np.deg2rad(drawn["angles"] or (0, 0, 0))):
        a, b = [k for k in range(3) if k != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    shear = np.eye(3)
    shear[0, 1] = drawn["shear"]
    affine = np.eye(4)
    affine[:3, :3] = matrix @ shear * np.array(drawn["spacing"])
    affine[:3, 3] = drawn["origin"]
    return affine


def _fewer(drawn: dict[str, Any]) -> dict[str, Any]:
    """With fewer voxels where coarse ones would become a volume that takes minutes, but is not too large."""
    shape = list(drawn["shape"])
    while LONG < (size := np.prod([max(1.0, n * s / 3) for n, s in zip(shape, drawn["spacing"], strict=True)])) < HUGE:
        widest = int(np.argmax(np.array(shape) * drawn["spacing"] * (np.array(shape) > 1)))
        shape[widest] = max(1, min(shape[widest] - 1, int(shape[widest] * LONG / size)))
    return {**drawn, "shape": tuple(shape)}


def write_volume(file: Path, drawn: dict[str, Any]) -> None:
    """Write a drawn volume as NIfTI or MetaImage."""
    drawn = _fewer(drawn)
    values = body(drawn["shape"], drawn["content"], np.random.default_rng(drawn["seed"]))
    if drawn["suffix"] == ".mha":
        with np.errstate(all="ignore"):
            write_mha(file, np.clip(np.rint(values), -32768, 32767).astype(np.int16), tuple(drawn["spacing"]))
        return
    kind, scale = np.dtype(drawn["kind"]), drawn["scale"]
    slope, offset = scale if scale and scale[0] and np.isfinite(scale).all() else (1, 0)
    stored = (values - offset) / slope
    with np.errstate(all="ignore"):
        if kind.kind != "f":
            limits = np.iinfo(kind)
            # As float64, which has no number at the end of 64 bits.
            stored = np.clip(np.rint(stored), float(limits.min), float(limits.max) * (1 - 2**-50))
        stored = stored.astype(kind)
    extra = {"4 of 1": (1,), "4 of 2": (2,), "5 of 1": (1, 1)}.get(drawn["dimensions"], ())
    if drawn["dimensions"] == "2":
        stored = stored[:, :, 0]
    elif extra:
        stored = np.broadcast_to(stored.reshape(*stored.shape, *[1] * len(extra)), (*stored.shape, *extra))
    affine = geometry(drawn)
    header = nib.Nifti1Header(endianness=drawn["order"])
    header.set_data_shape(stored.shape)
    header.set_data_dtype(kind)
    image = nib.Nifti1Image(stored, None, header)
    other = affine.copy()
    if drawn["disagree"] in ("qform spacing", "sform spacing"):
        other[:3, :3] *= 1.5
    elif drawn["disagree"] == "qform turn":
        other[:3, :3] = other[:3, [1, 0, 2]]
    sform, qform = (other, affine) if drawn["disagree"] == "sform spacing" else (affine, other)
    image.set_qform(qform, drawn["codes"][1], strip_shears=True)
    image.set_sform(sform, drawn["codes"][0])
    if drawn["disagree"] == "pixdim":
        image.header["pixdim"][1:4] *= 1.7
    content, at = bytearray(image.to_bytes()), image.header.template_dtype.fields
    if scale:
        for name, value in zip(("scl_slope", "scl_inter"), scale, strict=True):
            start = at[name][1]
            content[start : start + 4] = np.array(value, drawn["order"] + "f4").tobytes()
    if file.name.lower().endswith(".gz"):
        content = bytearray(gzip.compress(bytes(content), 1, mtime=0))
    file.write_bytes(bytes(content))


def _sane_volume(drawn: dict[str, Any]) -> bool:
    """Whether nothing is wrong with it, so that leaving it out is a fault."""
    return (
        drawn["content"] in ("body", "bodies", "borders", "all", "lungs", "couch")
        and drawn["kind"] in ("i2", "i4", "f4", "f8")
        and drawn["scale"] in (None, (0.5, 3), (2.5, -1000))
        and drawn["dimensions"] in ("3", "4 of 1", "5 of 1")
        and min(drawn["shape"]) >= 8
        and all(n * width >= 30 for n, width in zip(drawn["shape"], drawn["spacing"], strict=True))
        and all(0.5 <= width <= 6 for width in drawn["spacing"])
        and not drawn["disagree"]
        and not drawn["shear"]
    )


def _sane_photo(drawn: dict[str, Any]) -> bool:
    return min(drawn["size"]) >= 16


def _write_all(folder: Path, drawn: dict[str, Any], write: Any, sane: Any) -> str:
    cases = folder / "cases"
    for old in sorted(cases.rglob("*"), reverse=True):
        old.rmdir() if old.is_dir() else old.unlink()
    first, good = None, []
    for case in drawn["cases"]:
        name = case["name"]
        # A file system takes 255 bytes.
        while len(os.fsencode(name + case["suffix"])) > 255:
            name = name[:-1]
        file = cases / f"{name}{case['suffix']}"
        write(file, case)
        first = first or file
        if sane(case) and file.name not in good:
            good.append(file.name)
        elif not sane(case) and file.name in good:
            good.remove(file.name)
    settings = {key: value for key, value in drawn.items() if key != "cases"}
    settings["direct"] = first.name if drawn["direct"] else None  # type: ignore[union-attr]
    settings["good"] = [] if drawn["trouble"] else good
    (folder / "settings.json").write_text(json.dumps(settings, sort_keys=True))
    return repr(drawn)


def write_volumes(folder: Path, drawn: dict[str, Any]) -> str:
    """For the ``fuzz`` fixture: cases in place of the template's, and what else is drawn in ``settings.json``."""
    return _write_all(folder, drawn, write_volume, _sane_volume)


def write_photo(file: Path, drawn: dict[str, Any]) -> None:
    """Write a drawn photograph; a format that does not know the mode gets RGB."""
    width, height = drawn["size"]
    rng = np.random.default_rng(drawn["seed"])
    picture = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    if drawn["content"] in ("black", "white"):
        picture[:] = 255 * (drawn["content"] == "white")
    elif drawn["content"] == "half":
        picture[: height // 2] = 0
    image = Image.fromarray(picture)
    if drawn["mode"] == "I;16":
        image = Image.fromarray(picture[..., 0].astype(np.uint16) * 257)
    elif drawn["mode"] == "PA":
        image = image.convert("P").convert("PA")
    elif drawn["mode"] != "RGB":
        image = image.convert(drawn["mode"])
    kind = "PNG" if drawn["suffix"] == ".png" else "JPEG"
    exif = Image.Exif()
    if drawn["turn"]:
        exif[0x0112] = drawn["turn"]
    try:
        image.save(file, kind, exif=exif)
    except OSError:
        image.convert("RGB").save(file, kind, exif=exif)


def write_photos(folder: Path, drawn: dict[str, Any]) -> str:
    """For the ``fuzz`` fixture, as :py:func:`write_volumes`."""
    return _write_all(folder, drawn, write_photo, _sane_photo)
