# SPDX-License-Identifier: Apache-2.0
"""Fuzzing by coverage, with atheris, for as long as one likes; what it finds belongs into test_found.py.

    pip install atheris                                                   # Linux; not among the extras
    python tests/fuzz/coverage_guided.py openkbp -max_total_time=600      # or ct, rtstruct, rtdose
    python tests/fuzz/coverage_guided.py openkbp crash-...                # one input again

Further arguments are libFuzzer's. An input is one file; a reader may refuse it with an error that names it, or read it.
For OpenKBP, what is read is compared with the format's definition. Whatever else comes out ends the run.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import atheris

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]
# Where there is one, a disk in memory.
SHARED = "/dev/shm" if os.path.isdir("/dev/shm") else None
LIMITS = ["-timeout=20", "-rss_limit_mb=4096", "-max_len=20000"]

with atheris.instrument_imports(include=["ctan_networks.data", "ctan_networks.radiotherapy.dicom", "pydicom"]):
    import numpy as np
    from harness import Wrong
    from patients import write_patient
    from test_fuzz_openkbp import expected

    from ctan_networks.datasets.case_reader import CaseReader
    from ctan_networks.datasets.openkbp.files import read_sparse_csv, read_voxel_dimensions
    from ctan_networks.errors import DataError
    from ctan_networks.radiotherapy.dicom.rtdose import read_dose
    from ctan_networks.radiotherapy.dicom.rtstruct import read_structures
    from ctan_networks.radiotherapy.dicom.stored_dvh import read_stored_dvhs


def openkbp(folder: Path) -> None:
    """A file of values, of a mask, or of the voxel's size: the first byte says which."""
    content = (folder / "input").read_bytes()
    kind = content[:1]
    file = folder / {b"m": "PTV70.csv", b"v": "voxel_dimensions.csv"}.get(kind, "dose.csv")
    file.write_bytes(content[1:])
    if kind == b"v":
        if not all(0.01 <= side <= 100 for side in read_voxel_dimensions(file)):
            raise Wrong("voxels that no scanner makes")
        return
    array = read_sparse_csv(file, values=kind != b"m", size=SMALL**3)
    if not np.array_equal(array, expected(file, kind == b"m", (SMALL, SMALL, SMALL)).ravel()):
        raise Wrong("other values than the text")


def ct(folder: Path) -> None:
    """One slice of three."""
    (folder / "input").replace(folder / SLICE)
    array, meta = CaseReader().get_data(folder)
    if array.ndim != 3 or not np.isfinite(array).all() or not np.isfinite(meta["affine"]).all():
        raise Wrong("a volume that is not three-dimensional, or not finite")


def rtstruct(folder: Path) -> None:
    for structure in read_structures(folder / "input"):
        for contour in structure.contours:
            if contour.shape[1:] != (3,) or not np.isfinite(contour).all():
                raise Wrong("a contour that is no list of finite points")


def rtdose(folder: Path) -> None:
    dose = read_dose(folder / "input").dose
    if dose.ndim != 3 or not np.isfinite(dose).all() or dose.min() < 0:
        raise Wrong("a dose that is negative or not finite")
    read_stored_dvhs(folder / "input", prescription=60.0)


READERS = {"openkbp": openkbp, "ct": ct, "rtstruct": rtstruct, "rtdose": rtdose}
SLICE = "CT_0003.dcm"
# The grid's side for OpenKBP: the code is the same for all, and a small one takes less time.
SMALL = 8


def seeds(name: str, good: Path) -> list[bytes]:
    """Good input to begin with."""
    if name == "openkbp":
        return [
            b"d,data\n0,0.5\n17,1500.0\n511,1e-3\n",
            b"m,data\n3,\n4,\n100,\n",
            b"v3.906250000000000000e+00\n3.906250000000000000e+00\n2.500000000000000000e+00\n",
        ]
    return [(good / {"ct": SLICE, "rtstruct": "RS.dcm", "rtdose": "RD.dcm"}[name]).read_bytes()]


def main() -> None:
    """Set up a good patient, and hand over to atheris."""
    if len(sys.argv) < 2 or sys.argv[1] not in READERS:
        sys.exit(__doc__)
    name = sys.argv.pop(1)
    with tempfile.TemporaryDirectory(dir=SHARED) as place:
        good, folder, corpus = (Path(place) / part for part in ("good", "input", "corpus"))
        write_patient(good)
        folder.mkdir()
        corpus.mkdir()
        if name == "ct":
            for file in good.glob("CT_000[2-4]*"):
                (folder / file.name).write_bytes(file.read_bytes())
        for k, seed in enumerate(seeds(name, good)):
            (corpus / str(k)).write_bytes(seed)

        def one(content: bytes) -> None:
            (folder / "input").write_bytes(content)
            try:
                READERS[name](folder)
            except DataError as error:
                if str(folder) not in str(error):
                    raise Wrong(f"the message does not name the file: {error}") from error

        given = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
        atheris.Setup([sys.argv[0], *LIMITS, *sys.argv[1:], *([] if given else [str(corpus)])], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
