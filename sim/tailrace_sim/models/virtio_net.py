"""virtio-net device in pure Python (virtio 1.2, 5.1): golden functions and a soft device."""

import random
import struct
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from tailrace_sim.models import checksum
from tailrace_sim.models.net_offload import receive_queue, receive_verdict
from tailrace_sim.models.virtio_pci import QueueState, SoftVirtioFunction
from tailrace_sim.models.virtqueue import Chain, DeviceQueue, QueueFault

__all__ = ["SoftVirtioNet", "Transmitted", "receive_header", "transmit"]

F_CSUM, F_GUEST_CSUM, F_MTU, F_MAC, F_MRG_RXBUF, F_STATUS = 0, 1, 3, 5, 15, 16
F_CTRL_VQ, F_MQ = 17, 22

#: struct virtio_net_hdr (5.1.6).
_HEADER = struct.Struct("<BBHHHHH")
_NEEDS_CSUM, _DATA_VALID = 1, 2
_MIN_FRAME = 14


class Transmitted(NamedTuple):
    """What becomes of the readable bytes of a transmit chain.

    Attributes
    ----------
    frame : what goes to the wire, None if it is dropped
    error : name of the ``ErrorCode`` of the drop, "" if there is none
    """

    frame: bytes | None
    error: str = ""


def transmit(data: bytes, *, csum: bool, max_frame: int) -> Transmitted:
    """Golden model of transmission (5.1.6.2): ``data`` is header and frame as the driver wrote it.

    Parameters
    ----------
    csum : VIRTIO_NET_F_CSUM was negotiated; without it the request is ignored (5.1.6.2.2)
    max_frame : longest frame that the port sends
    """
    if len(data) < _HEADER.size + _MIN_FRAME:
        return Transmitted(None, "NET_TX_TOO_SHORT")
    flags, gso_type, _, _, start, offset, _ = _HEADER.unpack_from(data)
    frame = data[_HEADER.size :]
    if len(frame) > max_frame:
        return Transmitted(None, "NET_TX_TOO_LONG")
    if gso_type != 0:
        return Transmitted(None, "NET_TX_BAD_HEADER")
    if csum and flags & _NEEDS_CSUM:
        if start + offset + 2 > len(frame):
            return Transmitted(None, "NET_TX_BAD_CSUM")
        frame = checksum.insert(frame, start, offset)
    return Transmitted(frame)


def receive_header(frame: bytes, *, guest_csum: bool, buffers: int) -> bytes:
    """Golden struct virtio_net_hdr of a received frame (5.1.6.4)."""
    valid = guest_csum and receive_verdict(frame)
    return _HEADER.pack(_DATA_VALID if valid else 0, 0, 0, 0, 0, 0, buffers)


class SoftVirtioNet(SoftVirtioFunction):
    """A network device whose wire is a list.

    Frames that the driver sends go to ``wire`` (or to ``on_transmit``); :meth:`inject` brings one
    from outside. It looks at a queue only after a notification, until it finds it empty and has
    asked for the next one: a driver that forgets to notify makes it stand still.

    Parameters
    ----------
    pairs : queue pairs
    seed : of how much it does in a step
    loop_back : send what comes back to the receive queue of the same number

    Attributes
    ----------
    wire : transmitted frames as (queue pair, frame)
    counters : frames and drops by name
    """

    def __init__(
        self,
        *,
        pairs: int = 1,
        features: int | None = None,
        max_size: int = 256,
        vectors: int = 16,
        mac: bytes = bytes.fromhex("02005e000001"),
        mtu: int = 1500,
        seed: int = 0,
        loop_back: bool = False,
    ):
        self.pairs, self.mac, self.mtu = pairs, mac, mtu
        self.link_up = True
        self.wire: deque[tuple[int, bytes]] = deque()
        self.backlog: deque[tuple[bytes, int | None]] = deque()
        self.counters: Counter[str] = Counter()
        self.on_transmit: Callable[[int, bytes], None] | None = None
        self.active_pairs = 1
        self._loop_back = loop_back
        self._random = random.Random(seed)
        if features is None:
            bits = [F_CSUM, F_GUEST_CSUM, F_MTU, F_MAC, F_MRG_RXBUF, F_STATUS, 28, 29, 32, 34, 40]
            bits += [F_CTRL_VQ, F_MQ] if pairs > 1 else []
            features = sum(1 << bit for bit in bits)
        super().__init__(
            1,
            features,
            2 * pairs + bool(features >> F_CTRL_VQ & 1),
            class_code=0x020000,
            max_size=max_size,
            vectors=vectors,
        )

    # Outside -------------------------------------------------------------------------------------

    def inject(self, frame: bytes, queue: int | None = None) -> None:
        """A frame from the wire; ``queue`` overrides the steering."""
        self.backlog.append((frame, queue))

    def set_link(self, up: bool) -> None:
        self.link_up = up
        self.config_changed()

    # Function ------------------------------------------------------------------------------------

    def device_reset(self) -> None:
        self.active_pairs = 1

    def device_config(self, offset: int, size: int) -> int:
        """struct virtio_net_config (5.1.4)."""
        layout = self.mac + struct.pack("<HHH", int(self.link_up), self.pairs, self.mtu)
        return int.from_bytes(layout.ljust(64, b"\0")[offset : offset + size], "little")

    def work(self) -> bool:
        control = 2 * (self.pairs if self.has(F_MQ) else 1)
        busy = False
        for index, queue in enumerate(self.queues):
            if queue.ring is None or not queue.notified:
                continue
            if index % 2 and index < control:
                busy |= self._guarded(index, queue, self._transmit_some)
            elif index == control and self.has(F_CTRL_VQ):
                busy |= self._guarded(index, queue, self._control_some)
        return self._deliver_some() or busy

    def _guarded(
        self, index: int, queue: QueueState, act: Callable[[int, DeviceQueue], bool]
    ) -> bool:
        """Let a queue work; when it finds its ring empty, ask for a notification and look again."""
        assert queue.ring is not None
        try:
            queue.ring.listen(False)
            if act(index, queue.ring):
                return True
            queue.ring.listen(True)
            queue.notified = act(index, queue.ring)
        except QueueFault as fault:
            self.fault(fault, index)
        return queue.notified

    def _transmit_some(self, index: int, ring: DeviceQueue) -> bool:
        done = 0
        for _ in range(self._random.randint(1, 8)):
            chain = ring.pop()
            if chain is None:
                break
            self._transmit_chain(index // 2, ring, chain)
            ring.push(chain, 0)
            done += 1
        if ring.flush():
            self.queue_interrupt(index)
        return done > 0

    def _transmit_chain(self, pair: int, ring: DeviceQueue, chain: Chain) -> None:
        if chain.writable:
            self.counters["QUEUE_BAD_DIRECTION"] += 1
            return
        data = self._gather(ring, chain)
        result = transmit(data, csum=self.has(F_CSUM), max_frame=self.mtu + 14 + 2 * 4)
        if result.frame is None:
            self.counters[result.error] += 1
            return
        self.counters["transmitted"] += 1
        if self._loop_back:
            self.backlog.append((result.frame, pair))
        elif self.on_transmit is not None:
            self.on_transmit(pair, result.frame)
        else:
            self.wire.append((pair, result.frame))

    @staticmethod
    def _gather(ring: DeviceQueue, chain: Chain) -> bytes:
        return b"".join(
            ring.memory(s.address, s.length, "QUEUE_DATA_FAULT")
            for s in chain.segments
            if not s.writable
        )

    @staticmethod
    def _scatter(ring: DeviceQueue, chain: Chain, data: bytes) -> None:
        for segment in chain.segments:
            if segment.writable:
                part, data = data[: segment.length], data[segment.length :]
                if part:
                    where = ring.memory(segment.address, len(part), "QUEUE_DATA_FAULT")
                    where[:] = part

    def _control_some(self, index: int, ring: DeviceQueue) -> bool:
        """One command of the control virtqueue (5.1.6.5)."""
        chain = ring.pop()
        if chain is None:
            return False
        command = self._gather(ring, chain)
        ok = False
        if command[:2] == bytes([4, 0]) and len(command) == 4 and self.has(F_MQ):
            pairs = int.from_bytes(command[2:], "little")
            ok = 1 <= pairs <= self.pairs
            self.active_pairs = pairs if ok else self.active_pairs
        self._scatter(ring, chain, bytes([0 if ok else 1]))
        ring.push(chain, 1)
        if ring.flush():
            self.queue_interrupt(index)
        return True

    # Receive -------------------------------------------------------------------------------------

    def _deliver_some(self) -> bool:
        """Bring waiting frames into receive buffers; a queue without buffers lets them wait."""
        touched: set[int] = set()
        for _ in range(self._random.randint(1, 8)):
            if not self.backlog:
                break
            frame, wish = self.backlog[0]
            pair = receive_queue(frame, self.active_pairs) if wish is None else wish
            try:
                if not self._deliver(pair, frame):
                    break
            except QueueFault as fault:
                self.fault(fault, 2 * pair)
                return True
            self.backlog.popleft()
            touched.add(2 * pair)
        for index in touched:
            ring = self.queues[index].ring
            if ring is not None and ring.flush():
                self.queue_interrupt(index)
        return bool(touched)

    def _deliver(self, pair: int, frame: bytes) -> bool:
        """Write one frame into one or more chains (5.1.6.4); False when buffers are missing."""
        queue = self.queues[2 * pair]
        if queue.ring is None or not queue.notified:
            return False
        ring, need = queue.ring, _HEADER.size + len(frame)
        chains: list[Chain] = []
        while sum(chain.writable for chain in chains) < need:
            chain = ring.pop()
            if chain is None:
                # Ask for a notification, then look once more: a buffer may have come meanwhile.
                ring.listen(True)
                chain = ring.pop()
            if chain is None:
                for taken in reversed(chains):
                    ring.unpop(taken)
                queue.notified = False
                self.counters["waited_for_buffers"] += 1
                return False
            chains.append(chain)
            if not self.has(F_MRG_RXBUF) and chain.writable < need:
                ring.push(chain, 0)
                self.counters["NET_RX_TOO_LONG"] += 1
                return True
        ring.listen(False)
        header = receive_header(frame, guest_csum=self.has(F_GUEST_CSUM), buffers=len(chains))
        data = header + frame
        for chain in chains:
            part, data = data[: chain.writable], data[chain.writable :]
            self._scatter(ring, chain, part)
            ring.push(chain, len(part))
        self.counters["received"] += 1
        return True
