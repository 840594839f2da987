# SPDX-License-Identifier: Apache-2.0
"""Bundles as one file: pack, unpack, inspect; networks in exchange formats."""
