# SPDX-License-Identifier: Apache-2.0
"""First read of a case, from its files to arrays; the same from the cache; and what follows the cache.

The challenge's own way of OpenKBP is pandas.read_csv and numpy.put, as its published loader does it: for each file a
table of indices and values, put into an array of zeros. Structures go into one float64 array of ten channels, which is
part of that way's cost; a second row has pandas fill arrays as small as the package's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import BUNDLES, interleaved, parser, ratio, show, spread
from monai.bundle import ConfigParser
from monai.transforms import Compose

from ctan_networks.data import CachedDataset
from ctan_networks.datasets.case_reader import CaseReader
from ctan_networks.datasets.openkbp.files import GRID, STRUCTURES

# Keys here, names of the files there.
VOLUMES = {"ct": "ct", "dose": "dose", "mask": "possible_dose_mask"}


def challenge(patient: Path) -> dict[str, np.ndarray]:
    """CT, dose, mask and structures of a patient with pandas and numpy.put, all float64 as the challenge has them."""

    def table(name: str) -> tuple[np.ndarray, np.ndarray]:
        read = pd.read_csv(patient / f"{name}.csv", index_col=0)
        return read.index.to_numpy(), np.ones(1) if read.isna().to_numpy().any() else read["data"].to_numpy()

    arrays = {key: np.zeros(GRID) for key in VOLUMES}
    for key, name in VOLUMES.items():
        np.put(arrays[key], *table(name))
    masks = np.zeros((*GRID, len(STRUCTURES)))
    for k, name in enumerate(STRUCTURES):
        if (patient / f"{name}.csv").is_file():
            np.put(masks, len(STRUCTURES) * table(name)[0] + k, 1)
    return {**arrays, "masks": masks}


def packed(patient: Path) -> dict[str, np.ndarray]:
    """The same readers, but arrays as small as the package's: what is left is the time of parsing."""
    volumes = {}
    for key, name in VOLUMES.items():
        read = pd.read_csv(patient / f"{name}.csv", index_col=0)
        volumes[key] = np.zeros(GRID, np.uint8 if key == "mask" else np.float32)
        np.put(volumes[key], read.index.to_numpy(), 1 if key == "mask" else read["data"].to_numpy())
    bits = np.zeros(int(np.prod(GRID)), np.int16)
    for k, name in enumerate(STRUCTURES):
        if (patient / f"{name}.csv").is_file():
            index = pd.read_csv(patient / f"{name}.csv", index_col=0).index.to_numpy()
            bits[index] |= 1 << k
    return {**volumes, "masks": bits.reshape(GRID)}


def ours(patient: Path) -> dict[str, np.ndarray]:
    """The same with the package's reader; structures as bits."""
    reader = CaseReader()
    names = {"ct": "ct.csv", "dose": "dose.csv", "mask": "possible_dose_mask.csv", "masks": ""}
    return {key: reader.get_data(patient / name)[0] for key, name in names.items()}


def check(patient: Path) -> None:
    """Both ways give the same voxels."""
    one, other = challenge(patient), ours(patient)
    np.testing.assert_allclose(one["ct"], other["ct"] + 1024)
    np.testing.assert_allclose(one["dose"], other["dose"], rtol=1e-6)
    np.testing.assert_array_equal(one["mask"], other["mask"])
    for k in range(len(STRUCTURES)):
        np.testing.assert_array_equal(one["masks"][..., k], other["masks"] >> k & 1)
    lean = packed(patient)
    np.testing.assert_array_equal(lean["ct"] - 1024, other["ct"])
    for key in ("dose", "mask", "masks"):
        np.testing.assert_array_equal(lean[key], other[key])


def bundle_parts(name: str, data: str | list[str] | None, cases: int) -> tuple[list[dict], list, list]:
    """The first training cases of a bundle, and its transforms before and behind the cache."""
    parser = ConfigParser()
    parser.read_config(BUNDLES / name / "configs" / "train.json")
    folder = tempfile.mkdtemp()
    given: dict[str, Any] = {"bundle_root": str(BUNDLES / name), "output_dir": folder, "cache_dir": folder}
    if data is not None:
        given["dataset_dir"] = data
    parser.update(given)
    parser.parse()
    dataset = parser.get_parsed_content("train#dataset")
    transforms = parser.get_parsed_content("train#preprocessing").flatten().transforms
    first = len(dataset._cached_transforms())
    return dataset.data[:cases], list(transforms[:first]), list(transforms[first:])


def all_of(dataset: CachedDataset) -> list:
    """Every case once."""
    return [dataset[k] for k in range(len(dataset))]


def through(cases: list[dict], transform: Compose) -> list:
    """What a transform makes of every case."""
    return [transform(dict(case)) for case in cases]


def main() -> None:
    """Print the two tables."""
    arguments = parser(__doc__, "OpenKBP's provided-data; default: the bundle's phantoms")
    arguments.add_argument("--ham10000", nargs="*", help="folders of HAM10000 and ISIC 2018 Task 1; default: phantoms")
    given = arguments.parse_args()
    rounds, cases = (2, 2) if given.quick else (5, 8)

    items, before, behind = bundle_parts("openkbp_ctan", given.data, cases)
    patients = [Path(item["image"]).parent for item in items]
    check(patients[0])
    each: dict[str, Callable[[], Any]] = {
        "pandas.read_csv, numpy.put": lambda: [challenge(p) for p in patients],
        "the same, into packed arrays": lambda: [packed(p) for p in patients],
        "CaseReader": lambda: [ours(p) for p in patients],
    }
    times = interleaved(each, rounds)
    reference = times["pandas.read_csv, numpy.put"]
    show(
        f"First read of an OpenKBP patient ({'patients' if given.data else 'phantoms'}, {len(patients)} cases)",
        ["way", "ms a patient: median (range)", "times as fast", "target"],
        [
            (name, spread(values, 1000 / len(patients), 0), ratio(reference, values), "1, aim 2" if k == 2 else "")
            for k, (name, values) in enumerate(times.items())
        ],
    )

    rows = []
    for name, data in (("openkbp_ctan", given.data), ("ham10000_ctan", given.ham10000), ("stoic_ctan", None)):
        if name != "openkbp_ctan":
            items, before, behind = bundle_parts(name, data, cases if name == "stoic_ctan" else 16 * cases)
        with tempfile.TemporaryDirectory() as folder:
            fresh = CachedDataset(items, Compose(before), None)
            cached = CachedDataset(items, Compose([*before]), folder)
            prepared = [cached[k] for k in range(len(items))]
            rest = Compose(behind)
            times = interleaved(
                {
                    "first": partial(all_of, fresh),
                    "cache": partial(all_of, cached),
                    "behind": partial(through, prepared, rest),
                },
                rounds,
            )
        size = f"{name} ({'real' if data else 'phantoms'}, {len(items)})"
        unit = 1000 / len(items)
        rows.append(
            (
                size,
                spread(times["first"], unit, 1),
                spread(times["cache"], unit, 1),
                ratio(times["first"], times["cache"]),
                "10",
                spread(times["behind"], unit, 1),
            )
        )
    show(
        "From the cache",
        ["data", "files to packed arrays (ms)", "cache to the same (ms)", "times as fast", "target", "behind it (ms)"],
        rows,
    )


if __name__ == "__main__":
    main()
