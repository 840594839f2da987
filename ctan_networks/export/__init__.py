# SPDX-License-Identifier: Apache-2.0
"""Results in the forms in which others take them."""

from ctan_networks.export.dicom_results import export_dicom, reference_series

__all__ = ["export_dicom", "reference_series"]
