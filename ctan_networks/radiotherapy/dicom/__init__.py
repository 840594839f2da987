# SPDX-License-Identifier: Apache-2.0
"""DICOM-RT objects as arrays, and arrays as DICOM-RT objects. Knows nothing of data sets, tasks or networks."""

from ctan_networks.radiotherapy.dicom.ct_series import CTSeries, make_series

__all__ = ["CTSeries", "make_series"]
