# SPDX-License-Identifier: Apache-2.0
"""The unit test of a new bundle, in the style of Model Zoo's: random data, one epoch, every workflow."""

from __future__ import annotations

from ctan_networks.tools.authoring.plan import Plan

__all__ = ["unit_test"]

# @NAME@ and the like are filled in; braces are Python's own.
TEMPLATE = '''# SPDX-License-Identifier: Apache-2.0
"""Trains, evaluates and infers with random data for one epoch: python -m unittest @NAME@/tests/test_@NAME@.py"""

import csv
import tempfile
import unittest
from pathlib import Path

@IMPORTS@
import numpy as np
from monai.bundle import ConfigWorkflow
@MORE_IMPORTS@
BUNDLE = Path(__file__).resolve().parents[1]
TASKS = @TASKS@
SIZE = @SIZE@
PARTS = ["train"] * 4 + ["validation"] * 2 + ["test"]
SMALL = {"network_def#channels": [8, 8, 16], "network_def#norm": ["GROUP", {"num_groups": 2}]}
QUICK = {"epochs": 1, "batch_size": 2, "num_workers": 0, "val_interval": 1, "warmup_steps": 1, "@WINDOW@": @SIDES@}


@WRITE@


def write_data(folder):
    """Random images and labels, and their list."""
    random = np.random.default_rng(0)
    columns = ["case", "image", *TASKS, "split"]
    with open(folder / "cases.csv", "w", newline="") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        for number, part in enumerate(PARTS):
            row = {"case": f"case_{number}", "split": part}
            row["image"] = write(folder / f"image_{number}", @RANDOM_IMAGE@)
            for task, (kind, channels) in TASKS.items():
                if kind == "classification":
                    row[task] = CLASSES[task][number % channels]
                    continue
                label = random.integers(0, channels + 1, SIZE).astype(np.uint8)
                if kind == "regression":
                    label = random.random((*SIZE, channels)).astype(np.float32)
                row[task] = write(folder / f"{task}_{number}", label)
            table.writerow(row)
    return str(folder / "cases.csv")


class Test@CLASS@(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.data = write_data(self.root)
        self.given = {
            "dataset_dir": self.data,
            "output_dir": str(self.root / "run"),
            "cache_dir": str(self.root / "cache"),
            **SMALL,
            **QUICK,
        }

    def tearDown(self):
        self.folder.cleanup()

    def check(self, files, workflow_type, **override):
        configs = [str(BUNDLE / "configs" / f"{file}.json") for file in files]
        workflow = ConfigWorkflow(config_file=configs, workflow_type=workflow_type, logging_file=False, **override)
        workflow.initialize()
        self.assertEqual(workflow.check_properties(), [])
        workflow.run()
        workflow.finalize()

    def test_train_evaluate_infer(self):
        self.check(["train"], "train", **self.given)
        self.assertTrue((self.root / "run" / "model.pt").is_file())
        self.check(["train", "evaluate"], "train", **self.given)
        self.assertTrue((self.root / "run" / "evaluation_validation" / "summary.json").is_file())
        weights = str(self.root / "run" / "model.pt")
        out = self.root / "out"
        self.check(["inference"], "infer", dataset_dir=self.data, checkpoint=weights, output_dir=str(out), **SMALL)
        self.assertTrue(any(file.is_file() for file in out.rglob("*")))


if __name__ == "__main__":
    unittest.main()
'''

WRITE_VOLUME = '''def write(path, values):
    """Write a volume and return its name."""
    file = path.with_name(f"{path.name}.nii.gz")
    nib.save(nib.Nifti1Image(np.squeeze(values), np.eye(4)), file)
    return file.name'''

WRITE_PICTURE = '''def write(path, values):
    """Write a picture, or an array of numbers, and return its name."""
    if values.dtype == np.uint8:
        file = path.with_name(f"{path.name}.png")
        Image.fromarray(np.squeeze(values)).save(file)
    else:
        file = path.with_name(f"{path.name}.npy")
        np.save(file, values)
    return file.name'''


def unit_test(plan: Plan) -> str:
    """The test as the text of a Python file."""
    side = 2 * plan.stride
    tasks = {task.name: (task.kind, task.channels) for task in plan.tasks}
    if plan.volume:
        image = f"random.random((*SIZE, {plan.in_channels})).astype(np.float32)"
    else:
        image = f"random.integers(0, 256, (*SIZE, {plan.in_channels})).astype(np.uint8)"
    filled = {
        "NAME": plan.name,
        "CLASS": "".join(part[:1].upper() + part[1:] for part in plan.name.split("_")),
        "IMPORTS": "import nibabel as nib" if plan.volume else "",
        "MORE_IMPORTS": "" if plan.volume else "from PIL import Image\n",
        "TASKS": _literal(tasks) + f"\nCLASSES = {_literal(plan.classes)}",
        "SIZE": repr((side,) * plan.spatial_dims),
        "WINDOW": "crop_size" if plan.sliding else "image_size",
        "SIDES": repr([side] * plan.spatial_dims),
        "WRITE": WRITE_VOLUME if plan.volume else WRITE_PICTURE,
        "RANDOM_IMAGE": image,
    }
    text = TEMPLATE if plan.volume else TEMPLATE.replace("@IMPORTS@\n", "")
    for name, value in filled.items():
        text = text.replace(f"@{name}@", value)
    return text


def _literal(entries: dict) -> str:
    """A dictionary as source code, one entry a line where it is long."""
    short = repr(entries).replace("'", '"')
    if len(short) <= 100:
        return short
    lines = "".join(f'    "{key}": {value!r},\n'.replace("'", '"') for key, value in entries.items())
    return "{\n" + lines + "}"
