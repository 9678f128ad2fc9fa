"""Values of parameters as the command line has them, for the two readers of Verilog."""

import re
from collections.abc import Mapping

from tailrace_sim.synth.yosys import SynthError

__all__ = ["as_literal", "wrapper"]

_INTEGER = re.compile(r"-?(\d[\d_]*|0[xX][0-9a-fA-F_]+|0[bB][01_]+)\Z")
_SIZED = re.compile(r"(\d*)'([sS]?[bodhBODH][0-9a-fA-FxXzZ_?]+)\Z")
_CONSTANT = re.compile(r"\w+::\w+\Z")


def _integer(text: str) -> str | None:
    """Verilog of a number; None if it is none."""
    sized = _SIZED.match(text)
    if sized:
        return f"{sized[1] or 32}'{sized[2]}"
    if not _INTEGER.match(text):
        return None
    digits = text.lstrip("-").replace("_", "")
    value = int(digits, 10 if digits.isdigit() else 0)
    if text.startswith("-"):
        bits = max(32, value.bit_length() + 1)
        return f"{bits}'sh{(-value) % 2**bits:x}"
    return str(value) if value < 2**31 else f"{value.bit_length() + 1}'sh{value:x}"


def _string(text: str) -> bytes:
    content = text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
    if not content.isprintable():
        raise SynthError(f"{text!r} is no value of a parameter: it has unprintable characters")
    return content.encode()


def as_literal(text: str) -> str:
    """Verilog of a value; without a blank or a quote in a string, for a command of Yosys."""
    number = _integer(text)
    if number is not None or _CONSTANT.match(text):
        return number or text
    plain = (chr(code) if chr(code).isalnum() and code < 128 else f"\\{code:03o}"
             for code in _string(text))  # fmt: skip
    return f'"{"".join(plain)}"'


def wrapper(name: str, top: str, parameters: Mapping[str, str]) -> str:
    """A module that is an instance of ``top``: one that lacks a parameter is an error."""
    given = ", ".join(f".{key}({as_literal(text)})" for key, text in parameters.items())
    return f"module {name};\n{top} #({given}) top ();\nendmodule\n"
