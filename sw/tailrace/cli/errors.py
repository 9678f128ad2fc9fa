"""The error that a user can do something about."""

__all__ = ["UserError"]


class UserError(Exception):
    """One line: what is wrong and what to do. Shown without a traceback, exit code 1."""
