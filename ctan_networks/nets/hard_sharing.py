# SPDX-License-Identifier: Apache-2.0
"""Hard parameter sharing: one encoder, a decoder or classifier for each task."""

from __future__ import annotations

from ctan_networks.nets.multi_task import MultiTaskNet

__all__ = ["HardParameterSharing"]


class HardParameterSharing(MultiTaskNet):
    """Hard parameter sharing (HPS; Caruana, ICML 1993): the tasks share the encoder and nothing else.

    Arguments: see :py:class:`ctan_networks.nets.MultiTaskNet`.
    """
