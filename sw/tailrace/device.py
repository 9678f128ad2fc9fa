"""The whole device as the driver sees it: its management function and its network functions."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from tailrace.crypto.cipher import Cipher
from tailrace.crypto.keys import KeyTable
from tailrace.errors import TailraceError
from tailrace.host import Host, Interrupt, Mutex
from tailrace.jobs.queue import JobQueue
from tailrace.pci import PciFunction, scan
from tailrace.regs import address_map, errors, identity, jobs, pcie, port, virtio_net
from tailrace.regs.codes import ErrorCode, ErrorSource
from tailrace.virtio import spec
from tailrace.virtio.net import VirtioNet
from tailrace.virtio.net_types import NetOptions

__all__ = ["ErrorRecord", "Identity", "Management", "Tailrace"]

_MAGIC = int.from_bytes(b"TLRC", "little")
_NO_QUEUE = 0xFFFF
#: Of the management function: vector 0 is the error collector's, job queue n has vector 1 + n.
_JOB_VECTOR = 1
#: Blocks whose registers are counters and levels: name, base address, generated constants.
_COUNTERS: tuple[tuple[str, int, ModuleType], ...] = (
    ("pcie", address_map.PCIE, pcie),
    ("port0", address_map.PORT0, port),
    ("virtio_net0", address_map.VIRTIO_NET0, virtio_net),
)


@dataclass(frozen=True)
class Identity:
    """What the identity block says.

    Attributes
    ----------
    version : of the register interface: major, minor, patch
    configuration : first 32 bits of the configuration's SHA-256
    width : of the datapath in bits
    ports, functions, queue_pairs : numbers of each
    clock : of the core, in Hz
    """

    version: tuple[int, int, int]
    configuration: int
    width: int
    ports: int
    functions: int
    queue_pairs: int
    clock: int


@dataclass(frozen=True)
class ErrorRecord:
    """An error code that occurred: how often, and its first event."""

    code: ErrorCode
    count: int
    source: ErrorSource
    function: int
    queue: int | None
    info: int
    cycle: int

    def __str__(self) -> str:
        queue = "" if self.queue is None else f" queue {self.queue}"
        return (
            f"{self.code.name} from {self.source.name}, function {self.function}{queue},"
            f" info 0x{self.info:x}, first at cycle {self.cycle}, {self.count} times"
        )


def _field(value: int, place: tuple[int, int]) -> int:
    """A register's field from its (lowest bit, width)."""
    lowest, width = place
    return value >> lowest & (1 << width) - 1


def _registers(constants: ModuleType) -> list[tuple[str, int, int]]:
    """(name, offset, bits) of every register in a module of generated constants."""
    suffix = "_BITS"
    found = []
    for key, bits in vars(constants).items():
        if key.endswith(suffix) and "__" not in key:
            name = key.removesuffix(suffix)
            offset = getattr(constants, name)
            count = getattr(constants, f"{name}_COUNT", None)
            if count is None:
                found.append((name.lower(), offset, bits))
            else:
                stride = getattr(constants, f"{name}_STRIDE")
                found += [(f"{name.lower()}{i}", offset + i * stride, bits) for i in range(count)]
    return found


class Management:
    """The management function's registers.

    Parameters
    ----------
    function : PF0, enabled
    """

    def __init__(self, function: PciFunction):
        self.function = function
        self._base = function.bars[address_map.BAR].address
        #: CODE_SELECT is one register for all codes: its users take turns.
        self._selecting = Mutex(function.host)

    async def read(self, offset: int) -> int:
        """32-bit register at an offset in BAR 0."""
        return await self.function.host.mmio_read(self._base + offset, 4)

    async def write(self, offset: int, value: int) -> None:
        await self.function.host.mmio_write(self._base + offset, value, 4)

    async def read64(self, offset: int) -> int:
        """64-bit counter: reading the low half holds the high half."""
        low = await self.read(offset)
        return low | await self.read(offset + 4) << 32

    async def identity(self) -> Identity:
        base = address_map.IDENTITY
        magic = await self.read(base + identity.MAGIC)
        if magic != _MAGIC:
            raise TailraceError(f"{self.function} is no Tailrace: magic is 0x{magic:08x}")
        version = await self.read(base + identity.VERSION)
        shape = await self.read(base + identity.SHAPE)
        return Identity(
            version=(
                _field(version, identity.VERSION__MAJOR_VERSION),
                _field(version, identity.VERSION__MINOR_VERSION),
                _field(version, identity.VERSION__PATCH_VERSION),
            ),
            configuration=await self.read(base + identity.CONFIGURATION),
            width=8 * _field(shape, identity.SHAPE__WIDTH_BYTES),
            ports=_field(shape, identity.SHAPE__PORTS),
            functions=_field(shape, identity.SHAPE__FUNCTIONS),
            queue_pairs=_field(shape, identity.SHAPE__QUEUE_PAIRS),
            clock=await self.read(base + identity.CLOCK),
        )

    async def cycles(self) -> int:
        """Core clock cycles since reset."""
        return await self.read64(address_map.IDENTITY + identity.CYCLES)

    async def errors(self) -> list[ErrorRecord]:
        """Every code that has occurred since it was cleared."""
        pending = await self.read64(address_map.ERRORS + errors.PENDING)
        return [await self._error(code) for code in range(64) if pending >> code & 1]

    async def _error(self, code: int) -> ErrorRecord:
        async with self._selecting:
            return await self._selected_error(code)

    async def _selected_error(self, code: int) -> ErrorRecord:
        base = address_map.ERRORS
        await self.write(base + errors.CODE_SELECT, code)
        who = await self.read(base + errors.FIRST_WHO)
        queue = _field(who, errors.FIRST_WHO__QUEUE)
        return ErrorRecord(
            code=ErrorCode(code),
            count=await self.read(base + errors.COUNT),
            source=ErrorSource(_field(who, errors.FIRST_WHO__SOURCE)),
            function=_field(who, errors.FIRST_WHO__FUNCTION_NUMBER),
            queue=None if queue == _NO_QUEUE else queue,
            info=await self.read64(base + errors.FIRST_INFO),
            cycle=await self.read64(base + errors.FIRST_WHEN),
        )

    async def clear_error(self, code: ErrorCode) -> None:
        """Clear count and capture of one code."""
        async with self._selecting:
            await self.write(address_map.ERRORS + errors.CODE_SELECT, code)
            await self.write(address_map.ERRORS + errors.CLEAR, 1)

    async def counters(self) -> dict[str, dict[str, int]]:
        """Every register of the counting blocks, by block and name."""
        return {
            block: {
                name: await (self.read64 if bits == 64 else self.read)(base + offset)
                for name, offset, bits in _registers(constants)
            }
            for block, base, constants in _COUNTERS
        }

    async def withhold(self, features: int) -> None:
        """Choose the features that the network function does not offer, from its next reset on.

        ``features`` are bits of :class:`~tailrace.virtio.spec.Feature`; the device leaves out those
        that require one of them as well, and offers VERSION_1 always.
        """
        offset = address_map.VIRTIO_NET0 + virtio_net.FEATURES_WITHHELD
        for half in range(2):
            await self.write(offset + 4 * half, features >> 32 * half & 0xFFFF_FFFF)

    async def total_errors(self) -> int:
        return await self.read(address_map.ERRORS + errors.TOTAL)


class Tailrace:
    """A Tailrace device: ``await Tailrace.find(host)``.

    Attributes
    ----------
    host : where it is
    management : PF0's registers
    identity : what it says about itself
    net_functions : virtio-net functions in their order
    """

    def __init__(self, management: Management, who: Identity, net_functions: list[PciFunction]):
        self.host: Host = management.function.host
        self.management = management
        self.identity = who
        self.net_functions = net_functions
        self._interrupts: dict[int, Interrupt] | None = None
        self._job_queues: dict[int, JobQueue] = {}
        self._key_tables: dict[int, KeyTable] = {}
        self._setting_up = Mutex(self.host)

    @classmethod
    async def find(cls, host: Host) -> "Tailrace":
        """Enumerate the host's functions, enable the management function and check who it is."""
        functions = await scan(host)
        virtio_net = spec.PCI_DEVICE_ID_BASE + spec.DEVICE_ID_NET
        nets = [
            f for f in functions if (f.vendor_id, f.device_id) == (spec.PCI_VENDOR_ID, virtio_net)
        ]
        for function in functions:
            if function.address.function == 0 and address_map.BAR in function.bars:
                await function.enable()
                management = Management(function)
                return cls(management, await management.identity(), nets)
        raise TailraceError("no Tailrace device was found")

    async def net(self, number: int = 0, options: NetOptions | None = None) -> VirtioNet:
        """Bring up a network function; an error of it is explained by the error collector."""
        if not 0 <= number < len(self.net_functions):
            count = len(self.net_functions)
            raise TailraceError(f"network function {number} does not exist; there are {count}")
        function = self.net_functions[number]
        return await VirtioNet.open(function, options, self._cause(function.address.function))

    async def jobs(
        self, index: int = 0, function: int = 0, *, size: int = 64, timeout: int = 500_000
    ) -> JobQueue:
        """Start a job queue whose DMA, keys and interrupts are those of a PCI function.

        That of the management function (0) has an interrupt. The vectors of a network function
        belong to its virtio driver, so its queues are polled.

        Parameters
        ----------
        index : of the queue
        function : number of the PCI function
        size : entries of each ring
        timeout : cycles that the device has to end a job
        """
        owner = self._function(function)
        if (other := self._job_queues.get(index)) is not None and not other.closed:
            raise TailraceError(f"{other} is in use; close it first")
        vector, interrupt = None, None
        if owner is self.management.function:
            interrupts = await self._job_interrupts()
            vector = _JOB_VECTOR + index
            interrupt = interrupts.get(vector)
            vector = vector if interrupt else None
        else:
            await owner.enable()
        queue = await JobQueue.open(
            self.management, owner, index, size=size, vector=vector, interrupt=interrupt,
            timeout=timeout, cause=self._cause(function),
        )  # fmt: skip
        self._job_queues[index] = queue
        return queue

    async def cipher(self, queue: int = 0, function: int = 0, **options: Any) -> Cipher:
        """The cipher engine through a job queue of its own; ``options`` are those of `jobs`.

        All that are opened for a function share its places in the key table.
        """
        opened = await self.jobs(queue, function, **options)
        try:
            cipher = await Cipher.on(opened, self._key_tables.get(function))
        except BaseException:
            await opened.close()
            raise
        self._key_tables[function] = cipher.table
        return cipher

    def _function(self, number: int) -> PciFunction:
        for function in (self.management.function, *self.net_functions):
            if function.address.function == number:
                return function
        raise TailraceError(f"PCI function {number} is none of the device's")

    async def _job_interrupts(self) -> dict[int, Interrupt]:
        """Vectors of the management function, set up once: setting up masks all others.

        The error collector's is among them, lest it be masked when somebody has it in use.
        """
        async with self._setting_up:
            msix = self.management.function.msix
            if self._interrupts is None and msix is not None:
                count = min(msix.vectors, _JOB_VECTOR + jobs.STATE_COUNT)
                self._interrupts = await msix.setup(list(range(count)))
            return self._interrupts or {}

    def _cause(self, function: int) -> Callable[[], Awaitable[str]]:
        async def cause() -> str:
            found = [e for e in await self.management.errors() if e.function == function]
            return "; ".join(map(str, found)) or "the error collector has nothing about it"

        return cause
