# SPDX-License-Identifier: Apache-2.0
"""Public names of release 0.1 that have moved, importable under their old paths for one release.

Bundles that were packed or copied before name them. Imported under its old path, a name warns of the new one.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["keep_old_packages", "moved_name"]

# (old package, new module): names, old=new where the name is another
MOVED = {
    ("phantoms", "data.phantom_marker"): "is_phantom mark_phantom",
    ("data", "datasets.case_reader"): "CaseReader",
    ("data", "datasets.contoured_list"): "contoured_list",
    ("data", "datasets.inference_cases"): (
        "dicom_rt_inference_list=prescribed_list inference_list volume_list=inference_list"
    ),
    ("data", "datasets.ham10000"): "ham10000_list inspect_photos",
    ("phantoms", "datasets.ham10000"): "ham10000_cohort",
    ("data", "datasets.openkbp"): "OpenKBPReader openkbp_list",
    ("phantoms", "datasets.openkbp"): "openkbp_cohort",
    ("transforms", "datasets.openkbp"): "SaveSubmissiond",
    ("data", "datasets.prostate"): "dicom_rt_list",
    ("phantoms", "datasets.prostate"): "prostate_cohort",
    ("data", "datasets.stoic"): "stoic_list",
    ("phantoms", "datasets.stoic"): "stoic_cohort",
    ("transforms", "datasets.stoic"): "LungMaskd lung_mask",
    ("data", "datasets.table"): "TaskReader case_images case_table map_deviation",
    ("phantoms", "datasets.table"): "task_cohort",
    ("data", "radiotherapy"): "convert_patient",
    ("metrics", "radiotherapy"): (
        "DVHScore DoseScore GammaPassRate Goal GoalResult VolumesAtDose check_goals compute_dose_score "
        "compute_dvh_metrics dose_at_volume dose_statistics dvh_columns dvh_curve gamma_pass_rate "
        "homogeneity_index paddick_conformity parse_goals v_at volume_at_dose"
    ),
    ("transforms", "radiotherapy"): (
        "BodyMaskd CheckSited DoseInGrayd DoseSummaryd ExportDICOMd GivenContoursd KeepGivenContoursd "
        "PrescribedDosed body_mask"
    ),
    ("handlers", "reports.old_names"): "ClassificationReport EvaluationReport",
    ("handlers", "reports.report"): "Report",
    ("transforms", "tools.monai_label.answer"): "AnswerMONAILabeld",
    ("data", "tools.monai_label.item"): "MONAILabelItem is_from_server",
}
NEW_PLACE = {
    (package, name.partition("=")[0]): (module, name.rpartition("=")[2])
    for (package, module), names in MOVED.items()
    for name in names.split()
}
# Packages of which nothing is left.
GONE = ("phantoms",)


def moved_name(package: str, name: str) -> Any:
    """The object that was ``package.name``, for the ``__getattr__`` of a package.

    Raises:
        AttributeError: when the package has never had such a name.

    """
    root, _, old = package.partition(".")
    place = NEW_PLACE.get((old, name))
    if place is None:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    module, new = place
    warnings.warn(f"{package}.{name} has moved to {root}.{module}.{new}.", DeprecationWarning, stacklevel=3)
    return getattr(import_module(f"{root}.{module}"), new)


def keep_old_packages(root: str) -> None:
    """Make the packages importable of which nothing is left but moved names."""
    for old in GONE:
        module = ModuleType(f"{root}.{old}", "Moved: see ctan_networks._moved.")
        module.__getattr__ = lambda name, package=module.__name__: moved_name(package, name)  # type: ignore[method-assign,misc]
        sys.modules.setdefault(module.__name__, module)
