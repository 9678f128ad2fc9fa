"""What ``info`` and ``shell`` have of job queues and cipher engine, on the default device."""

import sys

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM as LibraryGCM

from tailrace.cli.main import main

pytestmark = pytest.mark.large

def call(monkeypatch, capfd, *arguments: str) -> list[str]:
    """Standard output's lines, blanks joined; the simulation's own too."""
    monkeypatch.setattr(sys, "argv", ["tailrace", *arguments])
    with pytest.raises(SystemExit) as status:
        main()
    out, err = capfd.readouterr()
    assert status.value.code == 0, err
    return [" ".join(line.split()) for line in out.splitlines()]


def test_info(monkeypatch, capfd):
    lines = call(monkeypatch, capfd, "info")
    at = lines.index("job queues")
    assert lines[at : at + 10] == [
        "job queues", "queue 0 idle", "queue 1 idle", "queue 2 idle", "queue 3 idle",
        "cipher engine", "keys 1020", "AES-GCM 4 blocks of 16 bytes a cycle", "AES-XTS yes",
        "self-test passed",
    ]  # fmt: skip
    assert lines[-2:] == ["errors", "none"]


def test_shell(monkeypatch, capfd, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("""
cipher = await device.cipher()
print(cipher.shape)
gcm = await AESGCM.create(cipher, bytes(16))
print((await gcm.encrypt(bytes(12), b"secret", None)).hex())
print(await cipher.self_test(Fault.HASH_KEY), await cipher.self_test())
xts = await AESXTS.create(cipher, bytes(range(32)))
print(await xts.decrypt(1, await xts.encrypt(1, bytes(20))))
queue = await device.jobs(1)
buffer = host.alloc(9)
buffer.mem[:] = b"123456789"
print(hex((await queue.run(Job(JobOpcode.CRC32C, (buffer.address, 9)))).crc))
""")
    lines = call(monkeypatch, capfd, "shell", "--script", str(script))
    assert lines == [
        "CipherShape(keys=1020, xts=True, lanes=4)",
        LibraryGCM(bytes(16)).encrypt(bytes(12), b"secret", None).hex(),
        "False True",
        repr(bytes(20)),
        "0xe3069283",
    ]
