# SPDX-License-Identifier: Apache-2.0
"""Losses that know structures and their dose-volume histograms."""

from ctan_networks.radiotherapy.losses.dose_loss import DoseLoss
from ctan_networks.radiotherapy.losses.moment import MomentLoss, generalised_mean_doses

__all__ = ["DoseLoss", "MomentLoss", "generalised_mean_doses"]
