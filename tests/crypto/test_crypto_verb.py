"""``./tailrace crypto`` as a user runs it, on the device that the other tests have built."""

import os
import re
import sys
from pathlib import Path
from random import Random

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM as LibraryGCM

from tailrace.cli.errors import UserError
from tailrace.cli.main import main
from tailrace.crypto.cipher import Fault
from tailrace.crypto.sealed_file import Header
from tailrace_sim.cli import crypto as verb
from tailrace_sim.cli.crypto_files import look_at, new_file, read_key, sealed_name, unsealed_name

pytestmark = pytest.mark.large
PAGE = Path(__file__).resolve().parents[2] / "docs" / "crypto.md"
KEY = bytes(range(1, 33))
HEADER, CHUNK, TAG = 20, 16384, 16
NO_SELF_TEST = "the error collector was not told"


@pytest.fixture
def cli(monkeypatch, capsys):
    """Exit code, standard output's lines with blanks joined, standard error."""

    def call(*arguments) -> tuple[int, list[str], str]:
        monkeypatch.setattr(sys, "argv", ["tailrace", "crypto", *map(str, arguments)])
        with pytest.raises(SystemExit) as status:
            main()
        out, err = capsys.readouterr()
        code = status.value.code
        assert isinstance(code, int)
        return code, [" ".join(line.split()) for line in out.splitlines()], err

    return call


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(KEY)
    return path


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def contents(folder: Path) -> dict[str, bytes]:
    """Of each file; the big one is full of zeros."""
    return {path.name: path.read_bytes().rstrip(bytes(1)) for path in folder.iterdir()}


# With the device ---------------------------------------------------------------------------------


def test_self_test_and_page(cli):
    """The page shows the table as it is, but for the cycles: those have the host's delays in them.
    """
    code, lines, err = cli("selftest", "--seed", "1")
    assert (code, err) == (0, "")
    first = next(n for n, line in enumerate(lines) if "self-test" in line and "┃" in line)
    rows = [re.sub(r"\d+", "N", line) for line in lines[first:]]
    page = [re.sub(r"\d+", "N", " ".join(line.split())) for line in PAGE.read_text().splitlines()]
    at = page.index(rows[0])
    assert page[at : at + len(rows)] == rows
    assert rows[-1].startswith("passed; N faults were found")


def test_a_file_there_and_back(cli, tmp_path, key_file):
    """`cryptography` opens what the device has sealed, and the device what `cryptography` has."""
    data = Random(1).randbytes(2 * CHUNK + 100)
    file = tmp_path / "data"
    file.write_bytes(data)
    code, lines, err = cli("encrypt", file, "--key-file", key_file)
    assert (code, err) == (0, "")
    assert {"bytes in, out 32868, 32936", "chunks 3", "key AES-256, deleted again"} < set(lines)
    sealed = (tmp_path / "data.sealed").read_bytes()
    header, body = sealed[:HEADER], sealed[HEADER:]
    library = LibraryGCM(KEY)
    prefix = header[13:]
    nonces = [prefix + bytes(3) + bytes(pair) for pair in ((0, 0), (1, 0), (2, 1))]
    pieces = [body[at : at + CHUNK + TAG] for at in range(0, len(body), CHUNK + TAG)]
    opened = [library.decrypt(n, p, header) for n, p in zip(nonces, pieces, strict=True)]
    assert b"".join(opened) == data

    header = b"TRSEALED\x01" + (1000).to_bytes(4, "little") + b"another"
    pieces = [data[:1000], data[1000:1500]]
    nonces = [b"another" + bytes(3) + bytes(pair) for pair in ((0, 0), (1, 1))]
    other = header + b"".join(
        library.encrypt(n, p, header) for n, p in zip(nonces, pieces, strict=True)
    )
    (tmp_path / "other.sealed").write_bytes(other)
    code, lines, err = cli("decrypt", tmp_path / "other.sealed", "--key", KEY.hex())
    assert (code, err) == (0, "")
    assert (tmp_path / "other").read_bytes() == data[:1500]
    assert files(tmp_path) == {"key", "data", "data.sealed", "other", "other.sealed"}


@pytest.mark.parametrize(
    ("key", "damage", "words"),
    [
        (bytes(32), None, "it does not open: the key is another one, or the file is damaged"),
        (KEY, 30, "it does not open: the key is another one, or the file is damaged"),
        (KEY, -1, "it is damaged, cut off or not in its order: chunk 2 of 2 does not open"),
    ],
    ids=["another key", "first chunk", "last chunk"],
)
def test_what_does_not_open_leaves_nothing(cli, tmp_path, key, damage, words):
    header = Header(bytes(7), 50)
    library = LibraryGCM(KEY)
    sealed = bytearray(header.pack())
    for number, piece in enumerate((bytes(50), b"end")):
        sealed += library.encrypt(header.nonce(number, number == 1), piece, header.pack())
    if damage is not None:
        sealed[damage] ^= 4
    file = tmp_path / "x.sealed"
    file.write_bytes(sealed)
    code, _, err = cli("decrypt", file, "--key", key.hex())
    assert (code, err) == (1, f"tailrace: {file}: {words}\n")
    assert files(tmp_path) == {"x.sealed"}


# Without -----------------------------------------------------------------------------------------


@pytest.fixture
def no_simulation(monkeypatch):
    def build(*_, **__):
        raise AssertionError("it was built before all was checked")

    monkeypatch.setattr(verb, "build_for_user", build)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["encrypt"], "Missing argument 'FILE'"),
        (["encrypt", "data"], "give the key with --key-file FILE, or with --key HEX"),
        (["encrypt", "data", "--key", "00", "--key-file", "key"], "with --key HEX, not both"),
        (["decrypt", "data", "--key", "00", "--key-file", "key"], "with --key HEX, not both"),
        (["encrypt", "data", "--key", "00"], "--key must be 32, 48 or 64 hex digits"),
        (["encrypt", "data", "--key", "x" * 32], "--key must be 32, 48 or 64 hex digits"),
        (["encrypt", "data", "--key-file", "none"], "none: No such file"),
        (["encrypt", "data", "--key-file", "data"], "data has 5 bytes; a key is 16, 24 or 32"),
        (["encrypt", "none", "--key-file", "key"], "none: No such file"),
        (["encrypt", ".", "--key-file", "key"], ". is no regular file"),
        (["encrypt", "big", "--key-file", "key"], "and a simulation takes 67108864; cut it"),
        (["encrypt", "data", "--key-file", "key", "-o", "."], "is a directory; name a file in it"),
        (["encrypt", "data", "--key-file", "key", "-o", ""], "is a directory; name a file in it"),
        (["encrypt", "data", "--key-file", "key", "-o", "/dev/null"], "is no regular file"),
        (["encrypt", "data", "--key-file", "key", "-o", "data"], "data is the input too; choose"),
        (["encrypt", "data", "--key-file", "key", "-o", "./data"], "data is the input too; choose"),
        (["encrypt", "data", "--key-file", "key", "-o", "link"], "link is the input too; choose"),
        (["encrypt", "data", "--key-file", "key", "-o", "hard"], "hard is the input too; choose"),
        (["decrypt", "twice.sealed", "--key-file", "key", "-o", "twice.sealed"], "the input too"),
        (["encrypt", "data", "--key-file", "key", "-o", "key"], "key is the key file too; choose"),
        (["decrypt", "twice.sealed", "--key-file", "key", "-o", "./key"], "the key file too"),
        (["encrypt", "data", "--key-file", "key", "--config", "c.toml", "-o", "c.toml"],
         "c.toml is the configuration too; choose another file with -o"),
        (["encrypt", "data", "--key-file", "key", "--trace", "pcie", "--trace-file", "data"],
         "data is the input too; choose another file with --trace-file"),
        (["encrypt", "data", "--key-file", "key", "--trace", "pcie", "--trace-file", "key"],
         "key is the key file too; choose another file with --trace-file"),
        (["decrypt", "twice.sealed", "-o", "x", "--key-file", "key", "--trace", "pcie",
          "--trace-file", "./x"], "x is the output too; choose another file with --trace-file"),
        (["encrypt", "data", "--key-file", "key", "--trace", "pcie", "--trace-file",
          "data.sealed"], "data.sealed is the output too"),
        (["encrypt", "data", "--key-file", "key", "-o", "no/x"], "cannot be written: No such"),
        (["encrypt", "data", "--key-file", "key", "--backend", "x"], "must be fast or cocotb"),
        (["encrypt", "data", "--key-file", "key", "--config", "none.toml"], "without cipher"),
        (["decrypt", "data", "--key-file", "key"], "data does not end in .sealed; say with -o"),
        (["decrypt", ".", "--key-file", "key"], ". is no regular file"),
        (["decrypt", "no_tag.sealed", "--key-file", "key"], "no_tag.sealed: it is cut off"),
        (["decrypt", "part.sealed", "--key-file", "key"], "part.sealed: it is cut off"),
        (["decrypt", "twice.sealed", "--key-file", "key"], "twice exists; say with -o where"),
        (["decrypt", "data", "-o", "x", "--key-file", "key"], "data: it is not a sealed file"),
        (["decrypt", "short.sealed", "--key-file", "key"], "it is cut off in its header"),
        (["selftest", "--config", "none.toml"], "give it keys = 1024 below [jobs]"),
        (["selftest", "--config", "c.toml", "--trace", "pcie", "--trace-file", "c.toml"],
         "c.toml is the configuration too; choose another file with --trace-file"),
        (["selftest", "--width", "77"], "width must be one of"),
        (["selftest", "--trace", "x"], "no kind 'x'"),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, list) else None,
)  # fmt: skip
def test_a_bad_argument_gives_one_line(
    cli, no_simulation, monkeypatch, tmp_path, key_file, arguments, words
):
    monkeypatch.chdir(tmp_path)
    Path("data").write_bytes(b"12345")
    Path("link").symlink_to("data")
    Path("hard").hardlink_to("data")
    Path("twice").touch()
    Path("twice.sealed").write_bytes(Header.new().pack() + bytes(TAG))
    Path("short.sealed").write_bytes(b"TRSEALED")
    Path("no_tag.sealed").write_bytes(Header.new().pack() + bytes(TAG - 1))
    Path("part.sealed").write_bytes(Header(bytes(7), 50).pack() + bytes(50 + 2 * TAG - 1))
    Path("c.toml").touch()
    with open("big", "wb") as big:
        big.truncate((64 << 20) + 1)
    if "--config" in arguments:
        Path("none.toml").write_text("[jobs]\nkeys = 0\n")
    before = contents(tmp_path)
    code, _, err = cli(*arguments)
    assert code != 0
    assert words in err
    assert err.startswith("tailrace: ")
    assert err.count("\n") == 1, err
    assert contents(tmp_path) == before


def test_bench_is_that_of_the_benchmarks(monkeypatch, cli):
    asked = []
    monkeypatch.setattr(verb, "run_bench", lambda *given: asked.append(given))
    assert cli("bench", "--json", "x.json")[0] == 0
    assert asked == [(["crypto"], Path("x.json"), None)]


@pytest.mark.parametrize("size", [16, 24, 32])
def test_keys_from_files(tmp_path, size):
    path = tmp_path / "key"
    for content in (KEY[:size], KEY[:size].hex().encode(), f" {KEY[:size].hex()}\n".encode()):
        path.write_bytes(content)
        assert read_key(None, path) == KEY[:size]
    assert read_key(KEY[:size].hex().upper(), None) == KEY[:size]
    # What has as many characters as a key of 32 bytes, and not only digits, is one.
    path.write_bytes(b"g" * 32)
    assert read_key(None, path) == b"g" * 32
    path.write_bytes(bytes(5000))
    with pytest.raises(UserError, match="has 1024 bytes or more; a key is"):
        read_key(None, path)


def test_names_are_not_those_of_other_files(tmp_path):
    file = tmp_path / "a.tar"
    assert sealed_name(file) == tmp_path / "a.tar.sealed"
    assert unsealed_name(tmp_path / "a.tar.sealed") == file
    (tmp_path / "a.tar.sealed").touch()
    with pytest.raises(UserError, match=r"a\.tar\.sealed exists; say with -o"):
        sealed_name(file)
    with pytest.raises(UserError, match="does not end in"):
        unsealed_name(tmp_path / ".sealed")


def test_sizes_of_files(tmp_path):
    file = tmp_path / "x"
    for size, chunks in ((0, 1), (1, 1), (CHUNK, 1), (CHUNK + 1, 2)):
        file.write_bytes(bytes(size))
        assert look_at(file, encrypts=True) == (size, chunks)
        file.write_bytes(Header.new().pack() + bytes(size + TAG * chunks))
        assert look_at(file, encrypts=False) == (size, chunks)


def test_a_new_file_comes_whole_or_not(tmp_path):
    path = tmp_path / "x"
    with new_file(path) as part:
        part.write_bytes(b"one")
        assert not path.exists()
    assert path.read_bytes() == b"one"
    link = tmp_path / "link"
    link.symlink_to("x")
    with new_file(link) as part:
        part.write_bytes(b"two")
    assert link.is_symlink()
    assert path.read_bytes() == b"two"

    def fail():
        with new_file(path) as part:
            part.write_bytes(b"three")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"two"
    assert files(tmp_path) == {"x", "link"}
    assert os.stat(path).st_mode & 0o100 == 0


def runs(**changes) -> dict:
    """What a self-test that is as it must be leaves, with changes to its second run."""
    faults = [None, *(fault.name for fault in Fault), None]
    made = [
        {"fault": fault, "passed": fault is None, "cycles": 9,
         "job": "SELF_TEST" if fault else "OK"} for fault in faults
    ]  # fmt: skip
    made[1].update(changes)
    return {"runs": made, "refused": 2, "errors": {"CIPHER_SELF_TEST": "so it is"}}


def test_what_is_wrong_with_a_self_test(cli, monkeypatch):
    assert verb._selftest_wrong(runs()) == []
    for change in ({"passed": True}, {"job": "OK"}, {"job": "wrong result"}):
        assert verb._selftest_wrong(runs(**change)) == ["run 2"]
    assert verb._selftest_wrong(runs(fault=None)) == ["run 2", "a run is missing"]
    [refused] = verb._selftest_wrong({**runs(), "refused": 1})
    assert refused.startswith("1 jobs counted as refused in place of 2")
    [silent] = verb._selftest_wrong({**runs(), "errors": {}})
    assert silent.startswith(NO_SELF_TEST)
    assert verb._selftest_wrong(
        {**runs(), "errors": {"CIPHER_SELF_TEST": "", "JOB_BAD_RING": "bad ring"}}
    ) == ["bad ring"]
    monkeypatch.setattr(verb, "_build", lambda device: None)
    monkeypatch.setattr(verb, "_run", lambda *_: runs(job="OK"))
    code, lines, err = cli("selftest")
    assert code == 1
    assert err == "tailrace: the self-test is not as it must be: run 2\n"
    assert any("round key" in line and "no" in line for line in lines)
