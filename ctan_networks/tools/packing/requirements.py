# SPDX-License-Identifier: Apache-2.0
"""What must be installed to run a packed bundle, from what its part of this package imports."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from configparser import ConfigParser
from functools import cache
from importlib import metadata
from typing import Any

from ctan_networks.tools.packing.closure import ROOT, third_party

__all__ = ["Requirements", "declared_requirements", "distribution"]

DISTRIBUTION = "ctan-networks"
# Where a distribution is not called as its module.
DISTRIBUTIONS = {
    "PIL": "pillow", "gdcm": "python-gdcm", "ignite": "pytorch-ignite", "imagehash": "ImageHash", "itk": "itk-io",
    "sklearn": "scikit-learn",
}  # fmt: skip
# monai.bundle itself, and its command line.
ALWAYS = ("monai", "torch", "numpy", "fire")
# MONAI's components that need more than MONAI, by the beginning of their names.
OF_COMPONENTS = {"TensorBoard": "tensorboard", "MLFlow": "mlflow"}


class Requirements:
    """Distributions that some configurations need.

    A package that is imported in a ``try`` is needed where the bundle's metadata list it: ITK for a data set in .mha.

    Args:
        modules: of this package, that the configurations need.
        targets: names that they instantiate, to find MONAI's components that need more than MONAI.
        listed: ``required_packages_version`` of the metadata.

    Attributes:
        needed: their names.
        optional: those that only some options need.

    """

    def __init__(self, modules: Iterable[str], targets: Iterable[str], listed: Collection[str]) -> None:
        imported = {distribution(name): required for name, required in third_party(modules).items()}
        of_components = {
            needed
            for target in targets
            for beginning, needed in OF_COMPONENTS.items()
            if target.rpartition(".")[2].startswith(beginning)
        }
        self.needed = {*ALWAYS, *of_components} | {
            name for name, required in imported.items() if required or name in listed
        }
        self.optional = set(imported) - self.needed

    def command(self) -> str:
        """The line that installs what is needed, with the least versions that this package asks for."""
        return "pip install " + " ".join(f'"{requirement}"' for requirement in _with_versions(self.needed))


def distribution(module: str) -> str:
    """The name under which a module is installed."""
    return DISTRIBUTIONS.get(module, module.replace("_", "-"))


@cache
def declared_requirements() -> tuple[list[str], Mapping[str, list[str]]]:
    """What this package requires, and what its extras do: from ``setup.cfg`` beside it, or as it was installed.

    Returns:
        Requirements such as "monai>=1.6.1"; extra to its requirements.

    """
    file = ROOT.parent / "setup.cfg"
    setup = ConfigParser()
    setup.read(file, encoding="utf-8")
    if setup.get("metadata", "name", fallback="") == DISTRIBUTION:
        options: Any = setup["options.extras_require"]
        return setup["options"]["install_requires"].split("\n")[1:], {
            extra: [line for line in options[extra].split("\n") if line and not line.startswith("#")]
            for extra in options
        }
    required: list[str] = []
    extras: dict[str, list[str]] = {}
    for line in metadata.requires(DISTRIBUTION) or []:
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        extra = re.search(r"""extra == ["']([\w-]+)["']""", marker)
        (extras.setdefault(extra[1], []) if extra else required).append(requirement)
    return required, extras


def _with_versions(distributions: Collection[str]) -> list[str]:
    """Their requirements as this package declares them, in the order of its list."""
    required, extras = declared_requirements()
    declared: dict[str, str] = {}
    for line in [*required, *(line for lines in extras.values() for line in lines)]:
        requirement = line.partition(";")[0].strip()
        declared.setdefault(re.split(r"[\s<>=!~\[]", requirement)[0], requirement)
    known = [requirement for name, requirement in declared.items() if name in distributions]
    return known + sorted(set(distributions) - declared.keys())
