# SPDX-License-Identifier: Apache-2.0
"""Multi-task networks for medical images, their losses, metrics and data, for use in MONAI bundles."""

__version__ = "0.1.0"
