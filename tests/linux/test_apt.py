"""Packages by the machine's own apt: where they come from, and what is said if they don't."""

import os

import pytest

from tailrace.cli.errors import UserError
from tailrace_sim.linux import apt
from tailrace_sim.linux.apt import DebianApt, Mirror, debian_mirror


@pytest.fixture
def tools(tmp_path, monkeypatch, program):
    """A ``PATH`` with nothing but what a test puts there: ``tools(name, text of a script)``."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def add(name, body="exit 0"):
        return program(folder / name, f"#!/bin/sh\n{body}\n")

    for name in ("apt-get", "apt-cache", "dpkg-deb"):
        add(name)
    return add


def targets(tools, *lines):
    text = "\\n".join(lines)
    tools("apt-get", f"printf '{text}\\n'")


@pytest.mark.parametrize(
    ("lines", "mirror"),
    [
        (
            ["http://x.example/debian-security|bookworm-security|main||Debian",
             "http://x.example/debian/|bookworm|main|/keys/a.gpg|Debian"],
            Mirror("http://x.example/debian/", "/keys/a.gpg"),
        ),
        # Lists that were never fetched have no origin; a field that apt does not know stays.
        (["file:/srv/debian|sid|main|$(SIGNED_BY)|"], Mirror("file:/srv/debian")),
        (["http://x.example/debian|trixie|contrib||Debian",
          "http://y.example/mirror/debian|trixie|main||"], Mirror("http://y.example/mirror/debian")),
    ],
    ids=["security first", "nothing fetched yet", "components"],
)  # fmt: skip
def test_the_mirror_is_the_machines(tools, lines, mirror):
    targets(tools, *lines)
    assert debian_mirror() == mirror


@pytest.mark.parametrize(
    "lines",
    [[], ["http://x.example/ubuntu|noble|main||Ubuntu"],
     ["http://x.example/debian-security|bookworm-security|main||Debian"]],
)  # fmt: skip
def test_no_debian_is_said(tools, lines):
    targets(tools, *lines)
    with pytest.raises(UserError, match=r"apt has no mirror of Debian.*install a QEMU of 10.1"):
        debian_mirror()


@pytest.mark.parametrize("missing", ["apt-get", "apt-cache", "dpkg-deb"])
def test_no_apt_is_said(tools, missing):
    tools(missing).unlink()
    with pytest.raises(UserError, match=f"there is no {missing} to fetch a Linux guest with"):
        debian_mirror()


def test_an_apt_that_does_not_know_its_sources(tools):
    tools("apt-get", "echo 'E: sources.list is wrong' >&2; exit 100")
    with pytest.raises(UserError, match=r"apt-get indextargets: sources.list is wrong; install"):
        debian_mirror()


@pytest.fixture
def ours(tmp_path):
    return DebianApt(tmp_path / "apt", ("stable", "stable-backports"), Mirror("http://m/", "/k"))


def test_it_has_a_state_of_its_own(tools, ours, tmp_path):
    tools("apt-get", 'echo "$@" >>arguments')
    ours.update()
    given = (tmp_path / "apt" / "arguments").read_text()
    for name in ("Dir::State", "Dir::Cache", "Dir::State::status", "Dir::Etc::SourceList"):
        assert f"{name}={tmp_path}/apt" in given
    sources = (tmp_path / "apt" / "sources.list").read_text()
    assert sources.splitlines() == [
        "deb [signed-by=/k] http://m/ stable main",
        "deb [signed-by=/k] http://m/ stable-backports main",
    ]


def test_no_network_is_said(tools, ours):
    tools("apt-get", "echo 'Err:1'; echo 'E: Could not resolve m'; echo 'E: Some more'; exit 100")
    with pytest.raises(UserError) as error:
        ours.update()
    assert "could not fetch a Linux guest: Could not resolve m; install a QEMU" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_failure_without_words(tools, ours):
    tools("apt-get", "exit 7")
    with pytest.raises(UserError, match="exit status 7"):
        ours.update()


def test_progress(tools, ours):
    tools("apt-get", "echo dlstatus:1:12.5:x; echo Get:1; echo dlstatus:2:100:y")
    seen = []
    ours.update(seen.append)
    assert seen == [0.125, 1.0]


def test_packages_with_what_they_depend_on(tools, ours, tmp_path):
    """What is fetched already is part of the answer: apt is asked as if nothing was there."""
    tools("apt-get", f"""
case "$*" in
*--print-uris*)
    [ "$PWD" = {tmp_path}/apt/nothing ] || exit 1
    echo "'http://m/a_1%3a2_amd64.deb' a_1%3a2_amd64.deb 12 SHA256:00"
    echo "'http://m/b_3_all.deb' b_3_all.deb 12 SHA256:00" ;;
*--download-only*-t\\ stable-backports\\ install\\ a) ;;
*) exit 2 ;;
esac""")  # fmt: skip
    archives = tmp_path / "apt" / "cache" / "archives"
    assert ours.fetch(["a"]) == [archives / "a_1%3a2_amd64.deb", archives / "b_3_all.deb"]


def test_the_package_that_a_name_stands_for(tools, ours):
    tools("apt-cache", "echo linux-image; echo '  Depends: linux-image-6.1.0-9-amd64'")
    pattern = r"linux-image-[\d.]+-\d+-amd64"
    assert ours.dependency("linux-image", pattern) == "linux-image-6.1.0-9-amd64"
    with pytest.raises(UserError, match="depends on no nothing"):
        ours.dependency("linux-image", "nothing")


def test_unpacking(tools, tmp_path):
    tools("dpkg-deb", 'echo "$2" >"$3/unpacked"')
    shares = []
    apt.unpack([tmp_path / "a.deb", tmp_path / "b.deb"], tmp_path / "tree", shares.append)
    assert (tmp_path / "tree" / "unpacked").read_text() == f"{tmp_path}/b.deb\n"
    assert shares == [0.5, 1.0]
    tools("dpkg-deb", "echo 'not a Debian archive' >&2; exit 2")
    with pytest.raises(UserError, match=r"a.deb: not a Debian archive; remove it and try again"):
        apt.unpack([tmp_path / "a.deb"], tmp_path / "tree", shares.append)


def test_clean_removes_archives_only(tmp_path, ours):
    for name in ("cache/archives/a.deb", "b.deb", "state/lists/x"):
        (tmp_path / "apt" / name).write_text("")
    ours.clean()
    left = [str(path.relative_to(tmp_path / "apt")) for path in (tmp_path / "apt").rglob("*")
            if path.is_file()]  # fmt: skip
    assert sorted(left) == ["sources.list", "state/lists/x", "state/status"]
    assert os.access(tmp_path / "apt", os.W_OK)
