"""Enumeration, BARs, capability list, MSI-X and function level reset."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.errors import HostError, PciError, ResponseTimeout
from tailrace.host import FunctionAddress, Mutex, poll
from tailrace.pci import CAP_MSIX, CAP_PCIE, CAP_VENDOR, PciFunction, scan
from tailrace_sim.models.pci import SoftFunction
from tailrace_sim.models.soft_host import SoftDeadlock, SoftHost


def plain(**options) -> SoftFunction:
    return SoftFunction(0x1234, 0x7A11, 0x120000, **{"bar0": 0x10000, "vectors": 8, **options})


def test_scan_finds_every_function_with_its_bars():
    soft = {0: plain(), 1: plain(bar0=0x4000), 5: plain(vectors=64)}
    host = SoftHost(soft)
    found = host.run(scan(host))[0]
    assert [f.address for f in found] == [FunctionAddress(1, 0, n) for n in (0, 1, 5)]
    for function, number in zip(found, soft, strict=True):
        assert {i: (b.size, b.bits) for i, b in function.bars.items()} == {
            i: (size, 64) for i, size in soft[number].bar_sizes.items()
        }
        for index, bar in function.bars.items():
            assert soft[number].config_read(0x10 + 4 * index, 4) & ~0xF == bar.address & 0xFFFF_FFFF
        assert function.msix is not None
        assert function.msix.vectors == soft[number].vectors
        assert [c.id for c in function.capabilities] == [1, CAP_MSIX, CAP_PCIE]
    assert found[0].capability(CAP_VENDOR) is None
    assert str(found[0]) == "01:00.0 [1234:7a11]"


def test_a_single_function_device_is_not_searched_further():
    soft = plain()
    soft.config[0x0E] = 0
    host = SoftHost({0: soft, 1: plain()})
    assert len(host.run(scan(host))[0]) == 1


@pytest.mark.parametrize(
    ("offset", "value", "words"),
    [
        (0x34, 0x20, "header"),
        (0x41, 0x40, "loop"),
        (0x61, 0x60, "loop"),
        (0x71, 0x60, "loop"),
        (0x64, 0x05, "BAR5"),
        (0x66, 0x01, "outside BAR2"),
    ],
)
def test_a_bad_capability_is_an_error(offset, value, words):
    soft = plain()
    soft.config[offset] = value
    host = SoftHost({0: soft})
    function = PciFunction(host, FunctionAddress(1, 0, 0))
    with pytest.raises(PciError, match=words):
        host.run(function.read())


def test_a_capability_that_reads_as_ones_is_an_error():
    soft = plain()
    soft.config[0x71] = 0xF0
    soft.config[0xF0:0xF2] = b"\xff\xff"
    host = SoftHost({0: soft})
    with pytest.raises(PciError, match="nothing"):
        host.run(scan(host))


def test_absent_and_unassigned_functions():
    host = SoftHost({0: plain()})
    with pytest.raises(PciError, match="no function answers"):
        host.run(PciFunction(host, FunctionAddress(1, 0, 3)).read())
    host.functions[FunctionAddress(1, 0, 0)]._reset_bars()
    (function,) = host.run(scan(host))[0]
    with pytest.raises(PciError, match="not assigned"):
        host.run(function.enable())


def test_a_masked_vector_waits_and_then_comes():
    soft = plain()
    host = SoftHost({0: soft})
    (function,) = host.run(scan(host))[0]
    host.run(function.enable())
    interrupts = host.run(function.msix.setup([0, 3]))[0]
    soft.raise_vector(3)
    soft.raise_vector(1)  # stays masked
    assert (interrupts[0].count, interrupts[3].count) == (0, 1)
    assert host.run(interrupts[3].wait(100))[0]
    interrupts[3].clear()
    assert not host.run(interrupts[3].wait(100))[0]
    host.run(function.msix.mask(3))
    soft.raise_vector(3)
    assert not interrupts[3].is_set()
    assert host.run(function.msix.pending(3), function.msix.pending(1)) == [True, True]
    host.run(function.msix.unmask(3))
    assert interrupts[3].is_set()
    assert not host.run(function.msix.pending(3))[0]
    host.run(function.msix.disable())
    soft.raise_vector(0)
    assert interrupts[0].count == 0


def test_flr_puts_back_what_was_set():
    soft = plain()
    host = SoftHost({0: soft})
    (function,) = host.run(scan(host))[0]
    host.run(function.enable())
    before = bytes(soft.config[0x04:0x28])
    host.run(function.flr(settle=10))
    assert bytes(soft.config[0x04:0x28]) == before
    soft.config[0x77] = 0
    with pytest.raises(PciError, match="no function level reset"):
        host.run(function.flr())


def test_flr_waits_for_outstanding_reads():
    soft = plain()
    host = SoftHost({0: soft})
    (function,) = host.run(scan(host))[0]
    soft.config[0x7A] = 1 << 5  # Transactions Pending for ever
    with pytest.raises(ResponseTimeout, match="end of the reads"):
        host.run(function.flr(drain=2000))


def test_an_access_that_nobody_answers_reads_ones():
    host = SoftHost({0: plain()})
    assert host.run(host.mmio_read(0x10, 4))[0] == 0xFFFF_FFFF
    assert host.unclaimed == 1


@given(
    st.lists(st.tuples(st.integers(1, 5000), st.sampled_from([1, 2, 16, 64, 4096])), max_size=30)
)
def test_allocations_do_not_overlap_and_all_come_back(wishes):
    host = SoftHost({0: plain()}, size=1 << 18, base=0x1_0000_0010)
    taken: dict[int, int] = {}
    buffers = []
    for i, (size, align) in enumerate(wishes):
        buffer = host.alloc(size, align)
        assert buffer.address % align == 0
        assert not buffer.view.any()
        for start, length in taken.items():
            assert buffer.address >= start + length or buffer.address + size <= start
        taken[buffer.address] = size
        buffer.view[:] = 0xFF
        buffers.append(buffer)
        if i % 3 == 2:
            victim = buffers.pop(0)
            host.free(victim)
            del taken[victim.address]
    for buffer in buffers:
        host.free(buffer)
    assert host.memory_in_use == 0
    assert host.alloc(1 << 18, 16).size == 1 << 18  # one piece again


def test_what_the_allocator_refuses():
    host = SoftHost({0: plain()}, size=4096)
    with pytest.raises(HostError, match="no room"):
        host.alloc(5000)
    with pytest.raises(HostError, match="aligned to 3"):
        host.alloc(1, 3)
    buffer = host.alloc(100)
    host.free(buffer)
    with pytest.raises(HostError, match="free already"):
        host.free(buffer)


def test_poll_and_mutex():
    host = SoftHost({0: plain()})
    order = []
    mutex = Mutex(host)

    async def never() -> bool:
        return False

    async def work(name: str) -> None:
        async with mutex:
            order.append(name)
            await host.delay(100)
            order.append(name)

    with pytest.raises(ResponseTimeout, match="rain did not happen within 500 cycles"):
        host.run(poll(host, "rain", never, timeout=500))
    host.run(work("a"), work("b"), work("c"))
    assert len(order) == 6
    assert order[::2] == order[1::2]


def test_a_wait_for_nothing_is_a_deadlock():
    host = SoftHost({0: plain()})
    with pytest.raises(SoftDeadlock):
        host.run(host.interrupt(FunctionAddress(1, 0, 0), 0).wait())
