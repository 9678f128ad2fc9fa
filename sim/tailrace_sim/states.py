"""Values of all signals of a simulation, for tests of what is left in a component."""

from pathlib import Path

__all__ = ["States"]


class States:
    """Signals' values over time, out of a VCD file."""

    def __init__(self, path: Path):
        self._names: dict[str, list[str]] = {}
        self._changes: list[tuple[int, str, str]] = []
        scope: list[str] = []
        now = 0
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] == ["$scope"]:
                scope.append(words[2])
            elif words[:1] == ["$upscope"]:
                scope.pop()
            elif words[:1] == ["$var"]:
                self._names.setdefault(words[3], []).append(".".join([*scope, words[4]]))
            elif line[:1] == "#":
                now = int(line[1:])
            elif line[:1] in "01":
                self._changes.append((now, line[1:].strip(), line[0]))
            elif line[:1] in "bs" and len(words) == 2:
                self._changes.append((now, words[1], words[0][1:]))

    def at(self, time: int) -> dict[str, str]:
        """All values at a time, but those of the inputs."""
        values = {}
        for when, key, value in self._changes:
            if when <= time:
                for name in self._names[key]:
                    values[name] = value
        return values
