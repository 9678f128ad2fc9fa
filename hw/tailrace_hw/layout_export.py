"""What is generated of jobs as they lie in host memory: constants of the driver, and a C header."""

from amaranth.hdl import Shape
from amaranth.lib import data, enum

from tailrace_hw.crypto.key_requests import KeyDescription
from tailrace_hw.crypto.types import MAX_AAD, MAX_LENGTH, TAG_LENGTHS, KeyKind, KeySize
from tailrace_hw.jobs.types import (
    MAX_COPY,
    MAX_ENTRIES,
    NO_VECTOR,
    RING_ALIGNMENT,
    Completion,
    Descriptor,
    DescriptorFlags,
    JobStatus,
    ListEntry,
    Opcode,
)

__all__ = ["c_job_memory", "python_job_memory"]

#: Structures in host memory, by the name of their constants.
_LAYOUTS = {
    "DESCRIPTOR": Descriptor,
    "LIST_ENTRY": ListEntry,
    "COMPLETION": Completion,
    "KEY_DESCRIPTION": KeyDescription,
}
_ENUMS = {"JobOpcode": Opcode, "JobStatus": JobStatus, "KeyKind": KeyKind, "KeySize": KeySize}
_NUMBERS = {
    "MAX_COPY": (MAX_COPY, "Bytes of a COPY or CRC32C."),
    "MAX_CIPHER": (MAX_LENGTH, "Bytes of payload of an operation of the cipher engine."),
    "MAX_AAD": (MAX_AAD, "Bytes of additional authenticated data."),
    "MAX_ENTRIES": (MAX_ENTRIES, "Entries of a list."),
    "NO_VECTOR": (NO_VECTOR, "Vector of a queue without interrupts."),
    "RING_ALIGNMENT": (RING_ALIGNMENT, "Of the address of a ring of descriptors."),
}
_PACKED = {1: "B", 2: "H", 4: "I", 8: "Q"}


def _doc(kind: type) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]


def _fields(kind: type[data.Struct]) -> list[tuple[str, int]]:
    """Name and bytes of each field, which must be whole bytes and lie without a gap."""
    fields, at = [], 0
    for name, field in data.Layout.cast(kind):
        width = Shape.cast(field.shape).width
        if width % 8 or field.offset != at:
            raise ValueError(f"{kind.__name__}.{name} is not of whole bytes")
        at += width
        fields.append((name, width // 8))
    return fields


def _flags() -> list[tuple[str, int]]:
    return [
        (name, 1 << field.offset)
        for name, field in data.Layout.cast(DescriptorFlags)
        if name != "reserved"
    ]


def _python_enum(name: str, kind: type[enum.Enum]) -> list[str]:
    members = kind.__members__.values()
    return [
        "", "", f"class {name}(enum.IntEnum):", f'    """{_doc(kind)}"""', "",
        *(f"    {member.name} = {member.value:#04x}" for member in members),
    ]  # fmt: skip


def python_job_memory(heading: str) -> str:
    """Module of the driver."""
    lines = ['"""Jobs, keys and completions as they lie in host memory.', "", heading, '"""', ""]
    lines += ["import enum", "import struct"]
    for name, kind in _ENUMS.items():
        lines += _python_enum(name, kind)
    lines += ["", "", "class JobFlag(enum.IntFlag):", f'    """{_doc(DescriptorFlags)}"""', ""]
    lines += [f"    {name.upper()} = {value:#04x}" for name, value in _flags()]
    lines += ["", ""]
    for name, (value, what) in _NUMBERS.items():
        lines += [f"#: {what}", f"{name} = {value:#x}"]
    lines += ["#: Bytes of a tag (SP 800-38D, 5.2.1.2).", f"TAG_LENGTHS = {TAG_LENGTHS}"]
    for name, layout in _LAYOUTS.items():
        fields = _fields(layout)
        packed = "".join(_PACKED.get(size, f"{size}s") for _, size in fields)
        lines += ["", f"#: {_doc(layout)}", f'{name} = struct.Struct("<{packed}")']
        lines += [f"{name}_FIELDS = (", *(f'    "{field}",' for field, _ in fields), ")"]
    return "\n".join(lines) + "\n"


def c_job_memory(heading: str) -> str:
    """C header."""
    lines = [f"/* {heading}", " *", " * Little-endian, whatever the host is.", " */"]
    lines += ["#pragma once", "", "#include <assert.h> /* static_assert: C11 */"]
    lines += ["#include <stdint.h>", ""]
    for name, (value, what) in _NUMBERS.items():
        lines += [f"/* {what} */", f"#define TAILRACE_{name} {value:#x}u"]
    lines.append("")
    prefixes = {"JobOpcode": "JOB", "JobStatus": "STATUS", "KeyKind": "KEY", "KeySize": "KEY"}
    for enum_name, kind in _ENUMS.items():
        lines.append(f"/* {_doc(kind)} */")
        lines += [
            f"#define TAILRACE_{prefixes[enum_name]}_{member.name} {member.value:#04x}u"
            for member in kind.__members__.values()
        ]
        lines.append("")
    lines.append(f"/* {_doc(DescriptorFlags)} */")
    lines += [f"#define TAILRACE_FLAG_{name.upper()} {value:#04x}u" for name, value in _flags()]
    for name, layout in _LAYOUTS.items():
        fields = _fields(layout)
        lines += ["", f"/* {_doc(layout)} */", "typedef struct {"]
        for field, size in fields:
            scalar = size in _PACKED
            lines.append(
                f"    uint{8 * size}_t {field};" if scalar else f"    uint8_t {field}[{size}];"
            )
        size = sum(size for _, size in fields)
        lines += [f"}} tailrace_{name.lower()}_t;"]
        lines += [f'static_assert(sizeof(tailrace_{name.lower()}_t) == {size}, "{name.lower()}");']
    return "\n".join(lines) + "\n"
