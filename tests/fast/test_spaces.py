"""Memory of clients in the C++ core: maps, messages, their order; the test plays the design."""

import errno
import os
import random

import pytest

from tailrace_sim.models.usp_beats import RcMonitor, rq_beats
from tailrace_sim.models.usp_beats import read_tlp as read
from tailrace_sim.models.usp_beats import write_tlp as write
from tailrace_sim.run import pick_seed

FUNCTION = 1
INTERRUPTS = 1 << 63 | 0xFEE00000
BASE = 1 << 40
NOT_MAPPED, NO_ACCESS, NO_MASTER, NO_MESSAGE, GONE, CLIENT_ERROR = 1, 2, 3, 4, 5, 6
WRITES = 8
BAD_STATUS = 2
ENABLED = 0x66


class Client:
    """A probe whose function 1 has memory of its own, with its client."""

    def __init__(self, probe):
        self.probe = p = probe
        self.lib, self.world = p.lib, p.world
        self.space = p.lib.tr_space_of(p.world, 0, FUNCTION)
        self.space.own, self.space.interrupt_base = 1, INTERRUPTS
        p.link.extended_tag = 0xF
        self.width = p.pins["pcie__rq__tdata"][1]
        self.rc = RcMonitor(self.width)
        self.beats, self.offered = [], False
        self.files = []
        p.poke("x_pcie__rc__tready", 1)
        p.cycle()
        p.cycle()

    def file(self, data):
        made = os.memfd_create("client")
        os.write(made, data)
        self.files.append(made)
        return made

    def map(self, address, size, *, fd=-1, offset=0, access=3):
        return self.lib.tr_map(self.world, 0, FUNCTION, fd, offset, address, size, access)

    def unmap(self, address, size):
        return self.lib.tr_unmap(self.world, 0, FUNCTION, address, size)

    def step(self):
        p = self.probe
        if self.offered and p.peek("pcie__rq__tready"):
            self.beats.pop(0)
        if p.peek("pcie__rc__tvalid"):
            names = ("tdata", "tuser", "tkeep", "tlast")
            self.rc.beat(*(p.peek(f"pcie__rc__{name}") for name in names))
        self.offered = bool(self.beats)
        p.drive("pcie__rq", **(self.beats[0] | {"tvalid": 1} if self.offered else {}))
        p.cycle()

    def run(self, *tlps, idle=30):
        """These requests, and some time."""
        self.beats += rq_beats(list(tlps), self.width, random.Random(0))
        quiet = 0
        while quiet < idle:
            self.step()
            quiet = 0 if self.beats else quiet + 1

    def messages(self):
        """What the client is asked: (number, address, bytes or size)."""
        reads = self.probe.take(self.lib.TR_CLIENT_READ)
        writes = self.probe.take(self.lib.TR_CLIENT_WRITE)
        return [(event[1], event[2], event[4] if event in reads else event[5])
                for event in reads + writes]  # fmt: skip

    def answer(self, number, data=b"", good=True):
        self.lib.tr_answer(self.world, 0, FUNCTION, number, data, len(data), good)
        self.run()

    def interrupts(self):
        return [event[1] for event in self.probe.take(self.lib.TR_INTERRUPT)]

    def refused(self):
        return {index: n for index, n in enumerate(self.space.refused) if n}

    def bytes(self, number, size, place=0):
        return os.pread(self.files[number], size, place)


@pytest.fixture
def client(probe_library, probe):
    made = Client(probe(probe_library("wide")))
    yield made
    assert made.probe.take(made.lib.TR_BROKEN) == []
    for descriptor in made.files:
        os.close(descriptor)


def completions(client):
    """(tag, error code, enabled bytes) of what has come back."""
    found, client.rc.tlps = client.rc.tlps, []
    return [
        (
            dwords[2] & 0xFF,
            dwords[0] >> 12 & 15,
            bytes(
                dword >> 8 * byte & 0xFF
                for dword, enables in zip(dwords[3:], flags[3:], strict=True)
                for byte in range(4)
                if enables >> byte & 1
            ),
        )
        for dwords, flags in found
    ]


def received(client):
    """Bytes of each read that has come back, by tag."""
    found = {}
    for tag, error, data in completions(client):
        assert error == 0
        found[tag] = found.get(tag, b"") + data
    return found


def errors(client):
    return {tag: error for tag, error, _ in completions(client)}


def test_maps(client):
    memory = client.file(bytes(0x3000))
    assert client.map(BASE, 0x1000) == 0
    for address, size in ((BASE, 0x1000), (BASE - 1, 2), (BASE + 0xFFF, 2), (0, 1 << 50)):
        assert client.map(address, size) == errno.EEXIST
    assert client.map(BASE, 0) == errno.EINVAL
    assert client.map((1 << 64) - 1, 2) == errno.EINVAL
    assert client.map((1 << 64) - 1, 1) == 0
    assert client.map(0, 0x1001, fd=memory, offset=0x2000) == errno.EINVAL
    assert client.map(0, 0x1000, fd=memory, offset=(1 << 64) - 1) == errno.EINVAL
    assert client.map(0, 0x1000, fd=999) == errno.EBADF
    assert client.map(0, 0x1000, fd=memory, offset=0x2000) == 0
    assert client.unmap(BASE, 0xFFF) == errno.ENOENT
    assert client.unmap(BASE + 1, 0xFFF) == errno.ENOENT
    assert client.unmap(BASE, 0x1000) == 0
    assert client.unmap(BASE, 0x1000) == errno.ENOENT


@pytest.mark.parametrize("first", range(16))
@pytest.mark.parametrize("last", [0, 1, 5, 9, 15])
def test_byte_enables(client, first, last):
    """Holes too; what is not enabled stays."""
    memory = client.file(bytes(0x1000))
    assert client.map(BASE, 0x800, fd=memory) == 0
    assert client.map(BASE + 0x800, 0x800) == 0
    data = bytes(range(1, 17))
    enables = [*(first >> b & 1 for b in range(4)), *[1] * 8, *(last >> b & 1 for b in range(4))]
    for place in (0, 0x800):
        client.run(write(BASE + place + 16, data, first, last))
    expected = bytes(byte * on for byte, on in zip(data, enables, strict=True))
    assert client.bytes(0, 16, 16) == expected
    told = bytearray(16)
    for _, address, part in client.messages():
        told[address - BASE - 0x810 : address - BASE - 0x810 + len(part)] = part
    assert bytes(told) == expected
    assert client.refused() == {}


def test_a_request_over_several_maps(client):
    """Neighbours of every kind, of any size: pieces of one TLP."""
    left = client.file(bytes(range(100)) + bytes(100))
    assert client.map(BASE, 10, fd=left, offset=5) == 0
    assert client.map(BASE + 10, 7) == 0
    assert client.map(BASE + 17, 47, fd=left, offset=50) == 0
    client.run(read(BASE, 16, 3))
    ((number, address, size),) = client.messages()
    assert (address, size) == (BASE + 10, 7)
    assert client.space.waiting == 1
    client.answer(number, b"ABCDEFG")
    assert client.space.waiting == 0
    expected = bytes(range(5, 15)) + b"ABCDEFG" + (bytes(range(50, 100)) + bytes(100))[:47]
    assert received(client) == {3: expected}
    # From the middle of one on.
    client.run(read(BASE + 8, 14, 4))
    ((number, address, size),) = client.messages()
    assert (address, size) == (BASE + 10, 7)
    client.answer(number, b"ABCDEFG")
    assert received(client) == {4: expected[8:]}
    data = os.urandom(64)
    client.run(write(BASE, data))
    ((number, address, part),) = client.messages()
    assert (address, part) == (BASE + 10, data[10:17])
    client.answer(number)
    assert client.bytes(0, 10, 5) == data[:10]
    assert client.bytes(0, 47, 50) == data[17:]
    # A hole: nothing of it is done.
    assert client.unmap(BASE + 10, 7) == 0
    client.run(write(BASE, bytes(64)), read(BASE, 16, 4))
    assert client.bytes(0, 10, 5) == data[:10]
    assert client.refused() == {NOT_MAPPED: 1, WRITES + NOT_MAPPED: 1}
    assert errors(client) == {4: BAD_STATUS}


def test_what_is_refused(client):
    memory = client.file(bytes(0x1000))
    for place, access in ((0, 1), (0x10000, 2)):
        assert client.map(BASE + place, 0x1000, fd=memory, access=access) == 0
    client.run(write(BASE, bytes(4)), read(BASE + 0x10000, 1, 1), read(BASE + 0x5000, 1, 2))
    client.run(write(INTERRUPTS, bytes(8)), write(INTERRUPTS, bytes(4), first_be=3))
    assert client.interrupts() == []
    assert errors(client) == {1: BAD_STATUS, 2: BAD_STATUS}
    client.probe.poke("pcie__cfg_function_status", 0x22)
    client.run(write(BASE, bytes(4)), read(BASE, 1, 3), write(INTERRUPTS, bytes(4)))
    assert errors(client) == {3: BAD_STATUS}
    assert client.refused() == {
        NOT_MAPPED: 1, NO_ACCESS: 1, NO_MASTER: 1,
        WRITES + NO_ACCESS: 1, WRITES + NO_MASTER: 2, WRITES + NO_MESSAGE: 2,
    }  # fmt: skip
    assert client.space.refused_at[NOT_MAPPED] == BASE + 0x5000
    client.probe.poke("pcie__cfg_function_status", ENABLED)
    assert client.space.read_tlps == client.space.write_tlps == 0


def test_a_file_that_becomes_shorter(client):
    memory = client.file(bytes(0x2000))
    assert client.map(BASE, 0x2000, fd=memory) == 0
    client.run(write(BASE + 0x1000, b"abcd"), read(BASE + 0x1000, 1, 1))
    assert received(client) == {1: b"abcd"}
    os.ftruncate(memory, 0x1000)
    client.run(write(BASE + 0x1000, b"efgh"), read(BASE + 0x1000, 1, 2), read(BASE, 1, 3))
    assert client.refused() == {GONE: 1, WRITES + GONE: 1}
    assert errors(client) == {2: BAD_STATUS, 3: 0}


def test_order_behind_a_write_by_message(client):
    """Bytes, interrupts and reads of bytes wait for it; messages follow it at once."""
    memory = client.file(bytes(0x1000))
    assert client.map(BASE, 0x1000, fd=memory) == 0
    assert client.map(BASE + 0x1000, 0x1000) == 0
    client.run(
        write(BASE + 0x1000, b"1111"), read(BASE + 0x1000, 1, 1), write(BASE, b"2222"),
        write(INTERRUPTS, bytes([7, 0, 0, 0])), read(BASE, 1, 2), write(BASE + 0x1004, b"3333"),
    )  # fmt: skip
    by_address = {(address, data): number for number, address, data in client.messages()}
    assert set(by_address) == {(BASE + 0x1000, 4), (BASE + 0x1000, b"1111")}
    assert client.bytes(0, 4) == bytes(4)
    assert client.space.held == 4
    client.answer(by_address[BASE + 0x1000, 4], b"1111")
    assert received(client) == {1: b"1111"}
    assert client.interrupts() == []
    client.answer(by_address[BASE + 0x1000, b"1111"])
    assert client.bytes(0, 4) == b"2222"
    assert client.interrupts() == [7]
    assert received(client) == {2: b"2222"}
    ((number, address, data),) = client.messages()
    assert (address, data) == (BASE + 0x1004, b"3333")
    client.answer(number)
    assert client.space.held == 0


def test_errors_of_the_client(client):
    assert client.map(BASE, 0x1000) == 0
    client.run(read(BASE, 4, 1), read(BASE, 4, 2), write(BASE, b"1234"),
               write(INTERRUPTS, bytes(4)))  # fmt: skip
    numbers = [number for number, _, _ in client.messages()]
    client.answer(numbers[0], good=False)
    client.answer(numbers[1], b"short")
    assert errors(client) == {1: BAD_STATUS, 2: BAD_STATUS}
    assert client.interrupts() == []
    client.answer(numbers[2], good=False)
    assert client.interrupts() == [0]
    # Again, and of nobody: no harm.
    client.answer(numbers[0], bytes(16))
    client.answer(999999, bytes(16))
    assert completions(client) == []


def test_an_end_refuses_reads_and_drops_writes(client):
    memory = client.file(bytes(0x1000))
    assert client.map(BASE, 0x1000, fd=memory) == 0
    assert client.map(BASE + 0x1000, 0x1000) == 0
    client.run(write(BASE + 0x1000, b"1111"), write(BASE, b"2222"), read(BASE, 1, 1),
               read(BASE + 0x1000, 1, 2))  # fmt: skip
    numbers = [number for number, _, _ in client.messages()]
    client.lib.tr_space_end(client.world, 0, FUNCTION)
    client.run()
    assert errors(client) == {1: BAD_STATUS, 2: BAD_STATUS}
    for number in numbers:
        client.answer(number, b"1111")
    assert client.bytes(0, 4) == bytes(4)
    assert completions(client) == []
    client.run(write(BASE, b"3333"), read(BASE, 1, 1))
    assert received(client) == {1: b"3333"}


def test_a_read_that_is_given_up_is_forgotten(client):
    """Its late answer does not become that of the next one with its tag."""
    assert client.map(BASE, 0x1000) == 0
    client.run(read(BASE, 1, 5))
    ((old, _, _),) = client.messages()
    client.lib.tr_pcie_end(client.world, 0, FUNCTION, 8)
    client.run()
    assert errors(client) == {5: 8}
    client.run(read(BASE, 1, 5))
    ((new, _, _),) = client.messages()
    client.answer(old, b"old!")
    assert completions(client) == []
    client.answer(new, b"new!")
    assert received(client) == {5: b"new!"}


def test_small_messages(client):
    """A client that takes few bytes at a time."""
    assert client.map(BASE, 0x1000) == 0
    client.space.message_limit = 5
    data = os.urandom(64)
    client.run(read(BASE, 16, 1))
    for number, address, size in client.messages():
        assert size <= 5
        client.answer(number, data[address - BASE : address - BASE + size])
    assert received(client) == {1: data}
    client.run(write(BASE, data))
    assert b"".join(part for _, _, part in client.messages()) == data


def test_a_client_that_answers_nothing_is_held_up(client):
    """No request is taken any more when too many wait; all come out in the end."""
    assert client.map(BASE, 0x1000) == 0
    tlps = [write(BASE, bytes(4)) for _ in range(1100)]
    client.beats += rq_beats(tlps, client.width, random.Random(0))
    for _ in range(2500):
        client.step()
    waiting = [number for number, _, _ in client.messages()]
    assert 1024 <= len(waiting) < 1030
    assert client.beats
    for number in waiting:
        client.lib.tr_answer(client.world, 0, FUNCTION, number, b"", 0, 1)
    client.run()
    assert len(client.messages()) == 1100 - len(waiting)


def test_maps_that_come_and_go(client):
    """Random traffic over random maps, against a model."""
    seed = pick_seed()
    print(f"seed {seed}")
    rng = random.Random(seed)
    size, pages = 1 << 12, 8
    client.file(bytes(size * pages))
    model, mapped = bytearray(size * pages), {}
    for _ in range(300):
        page = rng.randrange(pages)
        if rng.random() < 0.3:
            if page in mapped:
                assert client.unmap(BASE + page * size, size) == 0
                del mapped[page]
            else:
                access = rng.choice([1, 2, 3, 3, 3])
                fd, offset = client.files[0], page * size
                assert client.map(BASE + offset, size, fd=fd, offset=offset, access=access) == 0
                mapped[page] = access
        count = rng.randrange(1, 33)
        place = page * size + 4 * rng.randrange(1024 - count)
        before = sum(client.space.refused)
        if rng.random() < 0.5:
            data = rng.randbytes(4 * count)
            client.run(write(BASE + place, data), idle=3)
            good = bool(mapped.get(page, 0) & 2)
            if good:
                model[place : place + 4 * count] = data
        else:
            client.run(read(BASE + place, count, 9), idle=15)
            good = bool(mapped.get(page, 0) & 1)
            if good:
                assert received(client) == {9: bytes(model[place : place + 4 * count])}
            else:
                assert errors(client) == {9: BAD_STATUS}
        assert sum(client.space.refused) == before + (not good)
        assert client.bytes(0, len(model)) == model


def test_other_functions_keep_the_hosts_memory(client):
    """A function without memory of its own does not reach a client's."""
    memory = client.file(bytes(0x1000))
    assert client.map(BASE, 0x1000, fd=memory) == 0
    tlp = write(BASE, b"abcd")
    tlp.function = 0
    client.beats += rq_beats([tlp], client.width, random.Random(0))
    for _ in range(30):
        client.step()
    assert client.bytes(0, 4) == bytes(4)
    assert len(client.probe.take(client.lib.TR_REFUSED)) == 1
