# SPDX-License-Identifier: Apache-2.0
"""The words of a new bundle: README, licences, logging."""

from __future__ import annotations

import textwrap

from ctan_networks.tools.authoring.metadata import CTAN, describe_tasks
from ctan_networks.tools.authoring.plan import Plan
from ctan_networks.tools.authoring.tasks import Task

__all__ = ["DATA_LICENSE", "LICENSE", "LOGGING", "readme"]

WIDTH = 118

LICENSE = """Copyright: to be filled in (year and owner)

Licensed under the Apache License, Version 2.0 (the "License");
you may not use this bundle except in compliance with the License.
You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software
distributed under the License is distributed on an "AS IS" BASIS,
WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
See the License for the specific language governing permissions and
limitations under the License.
"""

DATA_LICENSE = """To be filled in: the data set this bundle's weights were trained on, its authors, and its licence.

This bundle holds no data. Until models/model.pt is trained on patients, weights come from phantoms that ctan_networks
makes; those are Apache-2.0, as the bundle is.
"""

LOGGING = """[loggers]
keys=root,nvimgcodec

[handlers]
keys=consoleHandler

[formatters]
keys=fullFormatter

[logger_root]
level=INFO
handlers=consoleHandler

# MONAI says each time it makes a reader that NVIDIA's DICOM decoder, which nothing here needs, is not installed.
[logger_nvimgcodec]
level=ERROR
handlers=
qualname=monai.data.nvimgcodec_pydicom_plugin

[handler_consoleHandler]
class=StreamHandler
level=INFO
formatter=fullFormatter
args=(sys.stdout,)

[formatter_fullFormatter]
format=%(asctime)s - %(name)s - %(levelname)s - %(message)s
"""

README = """# Model Overview

**No weights yet: what was trained on the phantoms that come with this bundle knows nothing about patients.**

{title}: {what}, with the network `{architecture}` of ctan-networks (`--architecture`: `ctan`, `mtan`, `hps`, `stl`) on
the encoder `{encoder}` (`--encoder`: `plain` or a backbone of MONAI's registry).

**Research use only.** Not a medical device; not for clinical decisions.

## Data

- Tasks: {tasks}
- Modality: to be filled in
- Source: to be filled in
- Format: {format}, listed in a CSV, or in a JSON file in the form of the Medical Segmentation Decathlon

`phantom/cohort/cases.csv` is an example of the list:

    case,image,{columns},group,split

Paths are relative to the list. An empty cell is an unknown label: it adds nothing to the loss and to no score.
`group` (a patient with several images) and `split` (`train`, `validation`, `test`) may be left out; without `split` the
cases are divided 70 : 15 : 15, by group, seeded (`--split_seed`); the parts are written to `split.csv` in the run's
folder.

{labels}

### Preprocessing

{preprocessing}

## Training configuration

- Loss: {losses}; summed by `--weighting equal`, `dwa` or `uncertainty`
- Optimiser: AdamW with warm-up and cosine; gradients clipped at 5; weights averaged exponentially
- Augmentation: {flips}intensity and noise{affine}
- Best weights: mean over the tasks of a score that is 0 for a trivial predictor and 1 for a perfect one: {key}
- Recipes: `phantom`, `cpu` and `gpu` in `configs/train.json`, chosen by data and machine, each value overridable

### Input

{input}

### Output

`network_def` of `inference.json` gives one tensor, whose channels are listed in `configs/metadata.json`. A run of
inference writes for each case to `<output_dir>/<case>/`:

{outputs}

## Performance

To be filled in, with the command that makes the numbers again. An evaluation writes `report.html`, `summary.json`,
`cases.csv` (one row a case), `metrics.csv`{predictions} to `runs/<run>/evaluation_<split>/`.

## MONAI Bundle Commands

Needs `ctan-networks`. `monai.bundle` warns that a configuration executes code: run bundles that you trust. Without
`--dataset_dir` each command takes the phantoms.

Train; go on after an interruption:

    python -m monai.bundle run --config_file configs/train.json --dataset_dir LIST.csv
    python -m monai.bundle run --config_file configs/train.json --dataset_dir LIST.csv --resume True

Evaluate on the validation cases, and once, for the weights that are to be reported, on the test cases:

    {evaluate} --dataset_dir LIST.csv
    {evaluate} --dataset_dir LIST.csv --split test

On several GPUs:

    torchrun --standalone --nnodes=1 --nproc_per_node=2 -m monai.bundle run {several} --dataset_dir LIST.csv

Infer (a list, {infer}). Weights are those in `models/model.pt`, else those of the last training on patients, else of
the one on phantoms; `--checkpoint FILE` takes others:

    python -m monai.bundle run --config_file configs/inference.json --dataset_dir IMAGES --output_dir OUT

Put the weights of a training into `models/`, verify and export:

    python -m monai.bundle run --config_file configs/train.json --dataset_dir LIST.csv --publish True
    python -m monai.bundle verify_metadata --meta_file configs/metadata.json --filepath eval/schema.json
    python -m monai.bundle verify_net_in_out {options}
    python -m monai.bundle ckpt_export {options} --filepath models/model.ts --ckpt_file models/model.pt

## Limitations

- To be filled in.

# References

[1] {ctan}

# License

Apache-2.0 unless you choose another; see `LICENSE`. The data: see `docs/data_license.txt`.
"""

EVALUATE = "python -m monai.bundle run --config_file \"['configs/train.json','configs/evaluate.json']\""
OPTIONS = "--net_id network_def --meta_file configs/metadata.json --config_file configs/inference.json"
SEVERAL = "--config_file \"['configs/train.json','configs/multi_gpu_train.json']\""
LOSSES = {
    "segmentation": "Dice and binary cross entropy",
    "regression": "mean absolute error in units of `scales`",
    "classification": "cross entropy weighted by how rare classes are (`class_balance`)",
}
KEYS = {
    "segmentation": "Dice",
    "regression": "mean absolute error against that of the mean map",
    "classification": "balanced accuracy",
}


def readme(plan: Plan) -> str:
    """README in the sections of Model Zoo's; what only the author knows is marked "to be filled in"."""
    kinds = list(dict.fromkeys(task.kind for task in plan.tasks))
    text = README.format(
        title=plan.title,
        what=describe_tasks(plan),
        architecture=plan.architecture,
        encoder=plan.encoder,
        tasks="; ".join(f"`{task.name}` ({task.kind})" for task in plan.tasks),
        format=".nii.gz, .nii, .mha, .nrrd or DICOM folders" if plan.volume else ".jpg, .png, .bmp or .tif",
        columns=",".join(task.name for task in plan.tasks),
        labels="\n".join(f"- `{task.name}`: {_label(plan, task)}" for task in plan.tasks),
        preprocessing=_preprocessing(plan),
        losses="; ".join(LOSSES[kind] for kind in kinds),
        flips="flips, " if plan.flips else "no flips (names tell sides apart), ",
        affine="" if plan.sliding else ", small rotations and scalings",
        key="; ".join(KEYS[kind] for kind in kinds),
        input=f"{plan.in_channels} channel{'s' if plan.in_channels > 1 else ''}"
        + (", on the last axis of the file." if plan.volume and plan.in_channels > 1 else "."),
        outputs="\n".join(f"- {line}" for line in _outputs(plan)),
        predictions=" and `predictions.csv`" if plan.classifications else "",
        infer="a volume, a DICOM series, a folder of either" if plan.volume else "a picture, a folder of pictures",
        evaluate=EVALUATE,
        options=OPTIONS,
        several=SEVERAL,
        ctan=CTAN,
    )
    return "\n\n".join(_wrapped(paragraph) for paragraph in text.split("\n\n"))


def _wrapped(paragraph: str) -> str:
    """Prose is filled; headings, and commands, which stand on one line, stay."""
    lines = paragraph.split("\n")
    if paragraph.startswith("- "):
        return "\n".join(_filled(line, "  ") for line in lines)
    if paragraph.startswith(("    ", "#")):
        return paragraph
    return _filled(" ".join(lines), "") + ("\n" if paragraph.endswith("\n") else "")


def _filled(text: str, indent: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _label(plan: Plan, task: Task) -> str:
    if task.kind == "classification":
        return f"{', '.join(task.names)} (or the number from 0, unless names are numbers)"
    if task.kind == "regression":
        kind = "a volume" if plan.volume else "a picture (16-bit or floating-point ones with their own values) or .npy"
        return f"{kind} of {task.channels} channel{'s' if task.channels > 1 else ''}, on the image's grid"
    listed = ", ".join(f"{k + 1} {name}" for k, name in enumerate(task.names))
    if task.channels == 1:
        return f"a mask of {task.names[0]} on the image's grid: 0 outside and one other value inside"
    masks = f"one file with {task.channels} masks on its last axis"
    return f"a label map (0 background, {listed}), or {masks}, where structures overlap; on the image's grid"


def _preprocessing(plan: Plan) -> str:
    start = ["Axes to right, anterior, superior", "resampled to `pixdim` (mm; null: not)"] if plan.volume else []
    if not plan.sliding:
        start.append("resized to `image_size`")
    start.append(
        "each channel normalised to mean 0 and deviation 1 (`normalisation`, the same in train.json and inference.json)"
    )
    text = "; ".join(start)
    text = text[:1].upper() + text[1:] + "."
    if plan.sliding:
        text += " Training takes windows of `crop_size`, evaluation and inference slide them over the whole volume."
    return text


def _outputs(plan: Plan) -> list[str]:
    lines = []
    for task in plan.dense:
        if task.kind == "segmentation":
            several = task.channels > 1
            if plan.volume:
                more = f", and `<case>_{task.name}_structures.nii.gz`, one mask a structure" if several else ""
                lines.append(f"`<case>_{task.name}.nii.gz`: label map on the image's grid{more}")
            else:
                more = f", and `<case>_{task.name}_<structure>.png`" if several else ""
                lines.append(
                    f"`<case>_{task.name}.png`: {'label map' if several else 'mask'} of the image's size{more}"
                )
        elif plan.volume:
            lines.append(f"`<case>_{task.name}.nii.gz`: the map on the image's grid")
        else:
            lines.append(f"`<case>_{task.name}.{'tif' if task.channels == 1 else 'npy'}`: the map")
    if plan.classifications:
        lines.append(
            "`<case>_result.json`: prediction and probabilities; of all cases `<output_dir>/probabilities.csv`"
        )
    return lines
