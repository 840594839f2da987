# SPDX-License-Identifier: Apache-2.0
"""MONAI Label with this collection's bundles, in one command."""

from ctan_networks.label_server.app import make_app
from ctan_networks.label_server.start import serve

__all__ = ["make_app", "serve"]
