# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can act on. Each message names the file or case, says what is wrong and what to do."""

from __future__ import annotations

__all__ = ["CTANError", "ConfigError", "DataError"]


class CTANError(Exception):
    """Base of all errors this package raises on purpose."""


class DataError(CTANError, ValueError):
    """A file, case or folder cannot be used as it is."""


class ConfigError(CTANError, ValueError):
    """A setting of a configuration or an argument of a command cannot be used as it is."""
