"""Reads the commands of generated XDC files: one a line, with braces and brackets as in Tcl.

Strict: what it does not know is an error, so that nothing in a file escapes a comparison.
"""

from dataclasses import dataclass

__all__ = ["Command", "commands"]


@dataclass(frozen=True)
class Command:
    """A command with its words; a word in brackets is a command too."""

    words: tuple["str | Command", ...]

    @property
    def name(self) -> str:
        """The first word."""
        return str(self.words[0])

    def option(self, name: str) -> "str | Command":
        """The word behind ``-name``."""
        return self.words[self.words.index(f"-{name}") + 1]

    def objects(self) -> frozenset[str]:
        """Names in the one list of names of a ``get_*`` command."""
        names = [word for word in self.words[1:] if word != "-quiet"]
        if len(names) != 1 or not isinstance(names[0], str):
            raise ValueError(f"not a command with one list of names: {self}")
        return frozenset(names[0].split())


def commands(text: str) -> list[Command]:
    """Commands of a file in order: variables replaced, of a condition only the body.

    Raises
    ------
    ValueError
        A line is none of the forms that are written.
    """
    found = []
    variables: dict[str, str | Command] = {}

    def substitute(word: str | Command) -> str | Command:
        if isinstance(word, str) and word.startswith("$"):
            return variables[word[1:]]
        return word

    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        words = _words(line)
        if words[0] == "set":
            _, name, value = words
            variables[str(name)] = value
            continue
        if words[0] == "if":
            _, _, body = words
            words = _words(str(body))
        found.append(Command(tuple(substitute(word) for word in words)))
    return found


def _words(text: str) -> tuple[str | Command, ...]:
    found: list[str | Command] = []
    rest = text.strip()
    while rest:
        if rest[0] in "{[":
            end = _closing(rest)
            inner = rest[1:end]
            found.append(inner.strip() if rest[0] == "{" else Command(_words(inner)))
            if rest[end + 1 : end + 2].strip():
                raise ValueError(f"no space behind a bracket: {text}")
            rest = rest[end + 1 :]
        else:
            word, _, rest = rest.partition(" ")
            if set(word) & set('{}[]"\\;'):
                raise ValueError(f"not a plain word: {word}")
            found.append(word)
        rest = rest.lstrip()
    return tuple(found)


def _closing(text: str) -> int:
    opened = text[0]
    closes = {"{": "}", "[": "]"}[opened]
    depth = 0
    for index, character in enumerate(text):
        depth += (character == opened) - (character == closes)
        if not depth:
            return index
    raise ValueError(f"never closed: {text}")
