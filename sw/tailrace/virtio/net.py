"""virtio-net driver (virtio 1.2, 5.1)."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tailrace.errors import DeviceNeedsReset, ResponseTimeout, VirtioError
from tailrace.host import Host, Interrupt, Mutex
from tailrace.pci import PciFunction
from tailrace.virtio import spec
from tailrace.virtio.control import ControlQueue
from tailrace.virtio.net_config import NetConfig, read_config
from tailrace.virtio.net_rx import ReceiveQueue
from tailrace.virtio.net_tx import TransmitQueue
from tailrace.virtio.net_types import Frame, NetOptions, TxFrame
from tailrace.virtio.packed import PackedQueue
from tailrace.virtio.pci_transport import PciTransport
from tailrace.virtio.queue import Virtqueue
from tailrace.virtio.spec import DeviceStatus, Feature
from tailrace.virtio.split import SplitQueue

__all__ = ["QueuePair", "VirtioNet"]

#: A sleeping task looks at the configuration interrupt this often (cycles).
_SLICE = 4096


@dataclass(frozen=True, eq=False)
class QueuePair:
    """receiveq and transmitq of one number (5.1.2) with their interrupts."""

    rx: ReceiveQueue
    tx: TransmitQueue
    rx_interrupt: Interrupt
    tx_interrupt: Interrupt


class VirtioNet:
    """A virtio network device, from reset to traffic.

    ::

        net = await VirtioNet.open(function, NetOptions(queue_pairs=4))
        await net.transmit([TxFrame(frame)])
        frames = await net.receive(timeout=10_000)

    Any number of tasks may transmit and receive at once, one task a queue and direction.
    A device that asks for a reset makes every call raise :class:`DeviceNeedsReset`; :meth:`reset`
    brings it back.

    Parameters
    ----------
    transport : an open virtio-pci transport
    options : how to drive it
    cause : asked for the reason when the device needs a reset

    Attributes
    ----------
    features : as negotiated
    config : device configuration, read again after each change notification
    config_changes : configuration change notifications handled
    pairs : the queue pairs in use
    """

    def __init__(
        self,
        transport: PciTransport,
        options: NetOptions | None = None,
        cause: Callable[[], Awaitable[str]] | None = None,
    ):
        self.transport = transport
        self.host: Host = transport.host
        self.options = options or NetOptions()
        self.features = Feature(0)
        self.config = NetConfig()
        self.config_changes = 0
        self.pairs: list[QueuePair] = []
        self._cause = cause
        self._control: ControlQueue | None = None
        self._config_interrupt: Interrupt | None = None
        self._config_seen = 0
        self._broken: DeviceNeedsReset | None = None
        self._vectors = 0
        self._changing = Mutex(self.host)

    @classmethod
    async def open(
        cls,
        function: PciFunction,
        options: NetOptions | None = None,
        cause: Callable[[], Awaitable[str]] | None = None,
    ) -> "VirtioNet":
        """Open the transport of a PCI function and bring the device up."""
        chosen = options or NetOptions()
        net = cls(await PciTransport.open(function, timeout=chosen.timeout), chosen, cause)
        await net.start()
        return net

    # Life cycle ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Device initialization in the order of 3.1.1, with 5.1.5 as its step 7."""
        transport = self.transport
        await transport.begin()
        self._broken = None
        self.features = await transport.negotiate(self.options.features)
        try:
            self.config = await read_config(self.transport)
            await self._setup_queues()
        except VirtioError:
            await transport.fail()
            raise
        await transport.driver_ok()
        # No notification before DRIVER_OK (3.1.1).
        for pair in self.pairs:
            await pair.rx.ring.kick()
        if Feature.NET_MQ in self.features:
            await self._set_pairs(self.options.queue_pairs)

    async def stop(self) -> list[Any]:
        """Reset the device and give all memory back; tags of transmit frames that were lost."""
        await self.transport.reset()
        lost = [tag for pair in self.pairs for tag in pair.tx.detach()]
        for pair in self.pairs:
            pair.rx.release()
            pair.tx.release()
        self.pairs = []
        if self._control is not None:
            self._control.release()
            self._control = None
        return lost

    async def reset(self) -> list[Any]:
        """Full reset and a new start, at any time; tasks that wait go on with the new queues.

        Returns the tags of the transmit frames that the device had and never returned.
        """
        async with self._changing:
            lost = await self.stop()
            await self.start()
        return lost

    async def reset_pair(self, number: int) -> list[Any]:
        """Reset both rings of one queue pair and use them again (2.6.1, VIRTIO_F_RING_RESET).

        Returns the tags of the lost transmit frames.
        """
        async with self._changing:
            pair = self._used_pair(number)
            await self.transport.queue_reset(pair.tx.ring.index)
            lost = pair.tx.detach()
            await self.transport.queue_reset(pair.rx.ring.index)
            pair.rx.detach()
            pair.rx.fill()
            for ring in (pair.tx.ring, pair.rx.ring):
                await self._enable(ring)
            await pair.rx.ring.kick()
        return lost

    async def _setup_queues(self) -> None:
        """5.1.5 steps 1 to 3: queues, control queue, receive buffers; one vector a queue."""
        options = self.options
        multi = Feature.NET_MQ in self.features
        if options.queue_pairs > (self.config.max_pairs if multi else 1):
            raise VirtioError(
                f"{options.queue_pairs} queue pairs wanted, the device has"
                f" {self.config.max_pairs if multi else 1}"
            )
        control = Feature.NET_CTRL_VQ in self.features
        queues = 2 * options.queue_pairs + control
        self._vectors = await self.transport.setup_interrupts(1 + queues)
        await self.transport.set_config_vector(0)
        self._config_interrupt = self.transport.interrupts[0]
        self._config_seen = self._config_interrupt.count
        for number in range(options.queue_pairs):
            self.pairs.append(await self._make_pair(number))
        if control:
            # 5.1.2: behind all pairs that could be, not behind those in use.
            index = 2 * (self.config.max_pairs if multi else 1)
            ring = await self._make_ring(index, 64)
            await self._enable(ring)
            self._control = ControlQueue(ring, self._interrupt(index), self._sleep)

    async def _make_pair(self, number: int) -> QueuePair:
        options = self.options
        max_frame = self.config.mtu + spec.ETHERNET_HEADER + spec.VLAN_TAGS
        mergeable = Feature.NET_MRG_RXBUF in self.features
        largest = spec.NET_HDR_LENGTH + max_frame
        rx = ReceiveQueue(
            await self._make_ring(2 * number, options.rx_size),
            number,
            buffer=options.rx_buffer or (2048 if mergeable else largest),
            pieces=options.rx_pieces,
            count=options.rx_count,
            mergeable=mergeable,
        )
        tx = TransmitQueue(
            await self._make_ring(2 * number + 1, options.tx_size),
            max_frame,
            can_csum=Feature.NET_CSUM in self.features,
        )
        if options.rx_count is None and rx.capacity < largest:
            # 5.1.4.2: at least one packet of the largest size must find room.
            raise VirtioError(
                f"receive queue {number} has room for {rx.capacity} bytes, a frame takes {largest}"
            )
        rx.fill()
        for ring in (rx.ring, tx.ring):
            await self._enable(ring)
        return QueuePair(rx, tx, self._interrupt(2 * number), self._interrupt(2 * number + 1))

    async def _make_ring(self, index: int, size: int) -> Virtqueue:
        largest = await self.transport.queue_max_size(index)
        if largest == 0:
            raise VirtioError(f"queue {index} does not exist")
        kind = PackedQueue if Feature.RING_PACKED in self.features else SplitQueue
        return kind(self.transport, index, min(size, largest), self.options.chain_limit)

    async def _enable(self, ring: Virtqueue) -> None:
        vector = self._vector(ring.index)
        await self.transport.queue_enable(ring.index, ring.size, ring.areas, vector)

    def _vector(self, queue: int) -> int:
        """A vector for each queue after the configuration's, as far as there are enough."""
        if self._vectors == 1:
            return 0
        queue = min(queue, 2 * self.options.queue_pairs)  # the control queue follows the pairs
        return 1 + queue % (self._vectors - 1)

    def _interrupt(self, queue: int) -> Interrupt:
        return self.transport.interrupts[self._vector(queue)]

    # Traffic -------------------------------------------------------------------------------------

    async def transmit(
        self, frames: Iterable[TxFrame], queue: int = 0, *, batch: int = 64, timeout: int = 500_000
    ) -> int:
        """Send frames in order, notifying the device once a ``batch``; how many.

        Returns when all are posted; :meth:`flush` waits until the device is done with them.
        ``timeout`` is what the device has to return something when the ring is full.
        """
        count = 0
        for count, frame in enumerate(frames, start=1):
            while not (pair := await self._pair(queue)).tx.post(frame):
                await self._make_room(pair, queue, timeout)
            if count % batch == 0:
                await (await self._pair(queue)).tx.ring.kick()
        await (await self._pair(queue)).tx.ring.kick()
        return count

    async def _make_room(self, pair: QueuePair, queue: int, timeout: int) -> None:
        if pair.tx.reclaim():
            return
        await pair.tx.ring.kick()
        if not await self._wait_transmit(pair, timeout):
            await self.check()
            raise ResponseTimeout(f"transmit queue {queue} stays full for {timeout} cycles")

    async def flush(self, queue: int = 0, *, timeout: int = 500_000) -> None:
        """Wait until the device has returned every frame of a transmit queue.

        Raises
        ------
        ResponseTimeout
            Nothing came back for ``timeout`` cycles.
        """
        while True:
            pair = await self._pair(queue)
            pair.tx.reclaim()
            if not pair.tx.outstanding:
                return
            await pair.tx.ring.kick()
            if not await self._wait_transmit(pair, timeout):
                await self.check()
                raise ResponseTimeout(
                    f"transmit queue {queue}: {pair.tx.outstanding} frames not returned within"
                    f" {timeout} cycles"
                )

    async def receive(
        self, queue: int = 0, *, limit: int | None = None, timeout: int | None = None
    ) -> list[Frame]:
        """Frames of a receive queue: those that are there, else wait for some.

        An empty list means that none came within ``timeout`` cycles (None: no limit).
        """
        deadline = None if timeout is None else self.host.cycles() + timeout
        while True:
            pair = await self._pair(queue)
            pair.rx_interrupt.clear()
            frames = pair.rx.receive(limit)
            await pair.rx.ring.kick()  # the buffers are posted again
            if frames:
                return frames
            if pair not in self.pairs:
                continue  # reset meanwhile: the ring's memory is not ours any more
            left = None if deadline is None else deadline - self.host.cycles()
            if left is not None and left <= 0:
                await self.check()
                return []
            if not pair.rx.ring.enable_interrupt():
                pair.rx.stats.waits += 1
                woken = await self._sleep(pair.rx_interrupt, left)
                pair.rx.stats.interrupts += woken
            if pair in self.pairs:
                pair.rx.ring.disable_interrupt()

    async def _wait_transmit(self, pair: QueuePair, timeout: int) -> bool:
        """Sleep until a transmit queue has a used chain; False after ``timeout`` cycles."""
        if pair not in self.pairs:
            return True
        pair.tx_interrupt.clear()
        woken = True
        if not pair.tx.ring.enable_interrupt():
            pair.tx.stats.waits += 1
            woken = await self._sleep(pair.tx_interrupt, timeout)
            pair.tx.stats.interrupts += woken
            if pair not in self.pairs:
                return True  # reset meanwhile: the ring's memory is not ours any more
        pair.tx.ring.disable_interrupt()
        return woken or pair.tx.ring.used_pending()

    async def _sleep(self, interrupt: Interrupt, timeout: int | None) -> bool:
        """Wait for an interrupt, with an eye on the configuration's."""
        deadline = None if timeout is None else self.host.cycles() + timeout
        while True:
            left = _SLICE if deadline is None else min(_SLICE, deadline - self.host.cycles())
            if left > 0 and await interrupt.wait(left):
                return True
            await self._poll_config()
            if self._broken is not None:
                raise self._broken
            if deadline is not None and self.host.cycles() >= deadline:
                return False

    async def _pair(self, number: int) -> QueuePair:
        """A queue pair, once nobody is resetting it."""
        async with self._changing:
            if self._broken is not None:
                raise self._broken
            return self._used_pair(number)

    def _used_pair(self, number: int) -> QueuePair:
        if not 0 <= number < len(self.pairs):
            raise VirtioError(f"queue pair {number} is not in use; there are {len(self.pairs)}")
        return self.pairs[number]

    # Configuration and control -------------------------------------------------------------------

    async def set_pairs(self, number: int) -> None:
        """Use only the first ``number`` queue pairs from now on."""
        async with self._changing:
            await self._set_pairs(number)

    async def _set_pairs(self, number: int) -> None:
        """VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET (5.1.6.5.5)."""
        if self._control is None or Feature.NET_MQ not in self.features:
            raise VirtioError("VIRTIO_NET_F_MQ was not negotiated")
        await self._control.command(
            spec.NET_CTRL_MQ,
            spec.NET_CTRL_MQ_VQ_PAIRS_SET,
            spec.NET_CTRL_MQ_PAIRS.pack(number),
            timeout=self.options.timeout,
        )

    async def control(self, klass: int, command: int, data: bytes) -> None:
        """Any other command of the control virtqueue (5.1.6.5)."""
        async with self._changing:
            if self._control is None:
                raise VirtioError("VIRTIO_NET_F_CTRL_VQ was not negotiated")
            await self._control.command(klass, command, data, timeout=self.options.timeout)

    async def wait_config_change(self, timeout: int) -> bool:
        """Wait for a configuration change notification (4.1.5.4); False if none came."""
        assert self._config_interrupt is not None
        seen = self.config_changes
        deadline = self.host.cycles() + timeout
        while self.config_changes == seen and self.host.cycles() < deadline:
            self._config_interrupt.clear()
            if self._config_interrupt.count == self._config_seen:
                await self._config_interrupt.wait(deadline - self.host.cycles())
            await self._poll_config()
        return self.config_changes != seen

    async def check(self) -> None:
        """Raise :class:`DeviceNeedsReset` if the device asks for one (2.1.2)."""
        if DeviceStatus.DEVICE_NEEDS_RESET in await self.transport.status():
            cause = [] if self._cause is None else [await self._cause()]
            self._broken = DeviceNeedsReset(self.transport.function.address, *cause)
            raise self._broken

    async def _poll_config(self) -> None:
        interrupt = self._config_interrupt
        if interrupt is None or interrupt.count == self._config_seen:
            return
        self._config_seen = interrupt.count
        await self.check()
        self.config = await read_config(self.transport)
        self.config_changes += 1
