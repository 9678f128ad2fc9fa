"""What can go wrong with keys and messages."""

from tailrace.errors import TailraceError

__all__ = ["BadMessage", "InvalidTag", "KeyGone", "KeyTableFull", "SealedFileError", "TlsError"]


class BadMessage(TailraceError, ValueError):
    """The cipher engine can't do this: a length, an IV or a key that it does not take."""


class InvalidTag(TailraceError):
    """The tag is wrong: the message is forged or damaged, or it is another key's."""

    def __init__(self) -> None:
        super().__init__("the tag is wrong; nothing of the message was decrypted")


class KeyGone(TailraceError):
    """The key was deleted."""


class KeyTableFull(TailraceError):
    """No place is left in the key table; delete keys that are not needed any more."""


class SealedFileError(TailraceError):
    """A sealed file does not open."""


class TlsError(TailraceError):
    """A record can't be made or read.

    Attributes
    ----------
    alert : the alert to send for it (RFC 8446, 6.2)
    """

    def __init__(self, alert: str, what: str):
        self.alert = alert
        super().__init__(f"{alert}: {what}")
