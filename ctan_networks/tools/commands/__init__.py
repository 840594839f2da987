# SPDX-License-Identifier: Apache-2.0
"""Commands of ``python -m ctan_networks``: one a file, each a thin face on the rooms above."""

from ctan_networks.tools.commands.compare import compare
from ctan_networks.tools.commands.constant_dose import constant_dose
from ctan_networks.tools.commands.dvh import dvh
from ctan_networks.tools.commands.export import export
from ctan_networks.tools.commands.export_dicom import export_dicom
from ctan_networks.tools.commands.inspect import inspect
from ctan_networks.tools.commands.label_server import label_server
from ctan_networks.tools.commands.new_bundle import new_bundle
from ctan_networks.tools.commands.pack import pack
from ctan_networks.tools.commands.phantoms import phantoms
from ctan_networks.tools.commands.subgroups import subgroups
from ctan_networks.tools.commands.trivial_scores import trivial_scores
from ctan_networks.tools.commands.unpack import unpack

__all__ = [
    "compare",
    "constant_dose",
    "dvh",
    "export",
    "export_dicom",
    "inspect",
    "label_server",
    "new_bundle",
    "pack",
    "phantoms",
    "subgroups",
    "trivial_scores",
    "unpack",
]
