# SPDX-License-Identifier: Apache-2.0
"""Python reads this file at its start when its folder is on PYTHONPATH: what MONAI Label 0.8.5 needs mended.

Two imports stop it (both only there so that optional parts can work):

- pydicom-seg 0.4.1 imports ``pydicom._storage_sopclass_uids``, which pydicom 3 does not have; its names are in
  ``pydicom.uid``. Where pydicom-seg is not installed, an empty module takes its place: it serves DICOMweb datastores.
- torchvision from PyPI is built for CUDA. Beside torch for the CPU its operators do not load, and its import ends in
  "operator torchvision::nms does not exist". Declared beforehand, they are not missed: MONAI Label draws with it.

Nothing is imported here; both wait for the import that needs them.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from typing import Any


class _Mend(importlib.abc.MetaPathFinder):
    """Finder that mends what a module needs just before it is found by the others."""

    def __init__(self) -> None:
        self.library: Any = None
        self.looking = False

    def find_spec(self, fullname, path=None, target=None):
        if self.looking or fullname not in ("torchvision", "pydicom_seg"):
            return None
        if fullname == "torchvision":
            self._declare_operators()
            return None
        import pydicom.uid

        sys.modules.setdefault("pydicom._storage_sopclass_uids", pydicom.uid)
        self.looking = True
        try:
            found = importlib.util.find_spec(fullname)
        finally:
            self.looking = False
        return found or importlib.machinery.ModuleSpec(fullname, _Empty())

    def _declare_operators(self) -> None:
        if self.library is not None:
            return
        import torch

        if torch.version.cuda is None and torch.version.hip is None:
            # The fragment lives as long as this object does.
            self.library = torch.library.Library("torchvision", "FRAGMENT")
            for operator in ("nms", "qnms"):
                self.library.define(f"{operator}(Tensor boxes, Tensor scores, float threshold) -> Tensor")


class _Empty(importlib.abc.Loader):
    def create_module(self, spec):
        return types.ModuleType(spec.name)

    def exec_module(self, module):
        module.__doc__ = "pydicom-seg is not installed."


sys.meta_path.insert(0, _Mend())
