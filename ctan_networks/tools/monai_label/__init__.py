# SPDX-License-Identifier: Apache-2.0
"""MONAI Label: its items and answers, and its server in one command."""
