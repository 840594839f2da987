# SPDX-License-Identifier: Apache-2.0
"""The sections of a report, one file each. A configuration names those that it needs; only they are imported."""
