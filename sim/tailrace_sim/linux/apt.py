"""Packages of a Debian release of our choice, by the machine's own apt, without being root.

Nothing is installed: apt gets a state and a cache of its own, and what it fetches is unpacked where
the caller wants it. Mirrors, proxies and keys are those of the machine's own configuration.
"""

import os
import re
import shutil
import subprocess
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tailrace.cli.errors import UserError
from tailrace_sim.tool import run_tool, tool

__all__ = ["MEND", "DebianApt", "Mirror", "debian_mirror", "unpack"]

#: What to do where packages can't be had.
MEND = "install a QEMU of 10.1 or later, or use Debian with apt and a network"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_FIELDS = ("REPO_URI", "RELEASE", "COMPONENT", "SIGNED_BY", "ORIGIN")


@dataclass(frozen=True)
class Mirror:
    """Where packages come from, and who signs them."""

    uri: str
    signed_by: str = _KEYRING


def _machine(*command: str) -> str:
    """Output of a command of the machine's own apt."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"}
        ).stdout
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or ["no reason given"]
        reason = lines[-1].removeprefix("E: ")
        raise UserError(f"{' '.join(command[:2])}: {reason}; {MEND}") from None


def debian_mirror() -> Mirror:
    """The mirror of Debian that this machine uses.

    Raises
    ------
    UserError
        There is no apt, or no Debian among its sources.
    """
    for name in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(name) is None:
            raise UserError(f"there is no {name} to fetch a Linux guest with; {MEND}")
    wanted = "|".join(f"$({field})" for field in _FIELDS)
    text = _machine("apt-get", "indextargets", "--format", wanted, "Created-By: Packages")
    for line in text.splitlines():
        uri, release, component, key, origin = (line.split("|") + [""] * 5)[:5]
        path = urllib.parse.urlparse(uri).path.rstrip("/")
        named = origin == "Debian" or path.rsplit("/", 1)[-1] == "debian"
        if named and component == "main" and not release.endswith("-security"):
            # A field that apt does not have stays as it was written.
            return Mirror(uri, key if key.startswith("/") else _KEYRING)
    raise UserError(f"apt has no mirror of Debian among its sources; {MEND}")


class DebianApt:
    """apt for one set of suites.

    Parameters
    ----------
    root : folder of its state and of what it has fetched; a second use goes on where a first one
        has ended
    suites : the last one is preferred
    mirror : of all of them
    """

    def __init__(self, root: Path, suites: Sequence[str], mirror: Mirror):
        self._root = root
        self._preferred = suites[-1]
        for part in ("state/lists/partial", "cache/archives/partial"):
            (root / part).mkdir(parents=True, exist_ok=True)
        (root / "state" / "status").touch()
        (root / "sources.list").write_text(
            "".join(
                f"deb [signed-by={mirror.signed_by}] {mirror.uri} {suite} main\n"
                for suite in suites
            )
        )
        settings = {
            "Dir::Etc::SourceList": root / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::State": root / "state",
            "Dir::State::status": root / "state" / "status",
            "Dir::Cache": root / "cache",
            "APT::Architecture": "amd64",
            "APT::Architectures": "amd64",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "APT::Update::Error-Mode": "any",
            "APT::Get::Assume-Yes": "true",
        }
        self._options = [
            part for name, value in settings.items() for part in ("-o", f"{name}={value}")
        ]

    def _run(
        self,
        *command: str,
        progress: Callable[[float], None] | None = None,
        directory: Path | None = None,
    ) -> str:
        """Run a command of apt; its output.

        Raises
        ------
        UserError
            It failed; the message has its last error.
        """
        lines = []
        with tool(
            [command[0], *self._options, "-o", "APT::Status-Fd=1", *command[1:]],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "LC_ALL": "C"}, cwd=directory or self._root,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            for line in process.stdout:
                status = re.match(r"dlstatus:\d+:([\d.]+):", line)
                if status is None:
                    lines.append(line)
                elif progress is not None:
                    progress(float(status[1]) / 100)
        code = process.returncode
        if code:
            errors = [line for line in lines if line.startswith("E: ")] or lines[-1:]
            reason = errors[0].removeprefix("E: ").strip() if errors else f"exit status {code}"
            raise UserError(f"{command[0]} could not fetch a Linux guest: {reason}; {MEND}")
        return "".join(lines)

    def update(self, progress: Callable[[float], None] | None = None) -> None:
        """Fetch what there is."""
        self._run("apt-get", "update", progress=progress)

    def dependency(self, package: str, pattern: str) -> str:
        """The package that this one depends on whose name matches.

        Raises
        ------
        UserError
            There is none.
        """
        text = self._run("apt-cache", "depends", package)
        for name in re.findall(r"Depends: (\S+)", text):
            if re.fullmatch(pattern, name):
                return name
        raise UserError(f"Debian's {package} depends on no {pattern}; {MEND}")

    def fetch(
        self, packages: Sequence[str], progress: Callable[[float], None] | None = None
    ) -> list[Path]:
        """The archives of packages and of all that they depend on; what is there already stays."""
        action = ["-t", self._preferred, "install", *packages]
        names = self._names(*action)
        self._run("apt-get", "--download-only", *action, progress=progress)
        return [self._root / "cache" / "archives" / name for name in names]

    def fetch_alone(
        self, package: str, progress: Callable[[float], None] | None = None
    ) -> list[Path]:
        """The archive of a package without what it depends on."""
        names = self._names("download", package)
        self._run("apt-get", "download", package, progress=progress)
        return [self._root / name for name in names]

    def clean(self) -> None:
        """Remove the archives."""
        shutil.rmtree(self._root / "cache")
        for path in self._root.glob("*.deb"):
            path.unlink()

    def _names(self, *command: str) -> list[str]:
        """Files of a command: what it would fetch if nothing was there."""
        nothing = self._root / "nothing"
        (nothing / "partial").mkdir(parents=True, exist_ok=True)
        listed = self._run(
            "apt-get", "-o", f"Dir::Cache::archives={nothing}", "--print-uris", "-qq", *command,
            directory=nothing,
        )  # fmt: skip
        return re.findall(r"^'[^']*' (\S+\.deb) ", listed, re.MULTILINE)


def unpack(archives: Sequence[Path], directory: Path, done: Callable[[float], None]) -> None:
    """Unpack packages over one another."""
    directory.mkdir(parents=True, exist_ok=True)
    for index, archive in enumerate(archives, 1):
        try:
            run_tool(
                ["dpkg-deb", "-x", str(archive), str(directory)],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            ).check_returncode()  # fmt: skip
        except subprocess.CalledProcessError as error:
            raise UserError(f"{archive}: {error.stderr.strip()}; remove it and try again") from None
        done(index / len(archives))
