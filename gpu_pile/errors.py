"""Errors that people meet. Each message says what, where, got, expected, and what to do now."""

from __future__ import annotations


class GpuPileError(Exception):
    """Base of every error that gpu_pile raises on purpose."""

    exit_code = 1


class UsageError(GpuPileError):
    """Wrong usage or configuration; nothing was read or written. The command exits with 2."""

    exit_code = 2


class ConfigError(UsageError):
    """The configuration is wrong. Lists every problem at once, each with its path."""


class BackendError(UsageError):
    """The backend asked for is not here."""


class DataError(GpuPileError):
    """The data, or the disk under it, cannot be used as it is. The command exits with 1."""
