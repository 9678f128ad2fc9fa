"""What the cipher engine's self-test does, step by step."""

from dataclasses import dataclass
from typing import Any

from tailrace_hw.crypto import known_answers
from tailrace_hw.crypto.known_answers import payload_bytes
from tailrace_hw.crypto.types import KeyKind, KeySize, Operation, Status

__all__ = ["InstallStep", "PacketStep", "steps"]


@dataclass(frozen=True)
class InstallStep:
    """A key is installed over the one before, and must be taken."""

    kind: Any
    size: Any


@dataclass(frozen=True)
class PacketStep:
    """A packet is sent, and must end like this.

    Attributes
    ----------
    tag : to compare with
    status, answer_tag, output : how it ends; an empty output is no packet
    """

    operation: Any
    payload: bytes
    output: bytes
    tag: bytes = bytes(16)
    answer_tag: bytes = bytes(16)
    status: Any = Status.OK


def steps(lanes: int, *, xts: bool) -> list[InstallStep | PacketStep]:
    """Every key size in both directions, and a tag with a wrong bit.

    A packet that must not leave is never the last one: if it leaves, the next step meets it.
    """
    length = payload_bytes(lanes)
    plain = known_answers.PLAINTEXT[:length]
    result: list[InstallStep | PacketStep] = []
    for size in KeySize:
        cipher = known_answers.CIPHERTEXT[size][:length]
        tag = known_answers.TAGS[size, length]
        wrong = tag[:-1] + bytes([tag[-1] ^ 0x80])
        result += [
            InstallStep(KeyKind.GCM, size),
            PacketStep(Operation.GCM_ENCRYPT, plain, cipher, answer_tag=tag),
            PacketStep(
                Operation.GCM_DECRYPT, cipher, b"", wrong, status=Status.AUTHENTICATION_FAILED
            ),
            PacketStep(Operation.GCM_DECRYPT, cipher, plain, tag),
        ]
    for size in (KeySize.AES_128, KeySize.AES_256) if xts else ():
        cipher = known_answers.DATA_UNITS[size, length]
        result += [
            InstallStep(KeyKind.XTS, size),
            PacketStep(Operation.XTS_ENCRYPT, plain, cipher),
            PacketStep(Operation.XTS_DECRYPT, cipher, plain),
        ]
    return result
