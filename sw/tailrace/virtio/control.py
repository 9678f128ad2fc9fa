"""Control virtqueue of the virtio-net driver (virtio 1.2, 5.1.6.5)."""

from collections.abc import Awaitable, Callable

from tailrace.errors import ResponseTimeout, VirtioError
from tailrace.host import Interrupt, Mutex
from tailrace.virtio import spec
from tailrace.virtio.queue import Piece, Virtqueue

__all__ = ["ControlQueue"]

_DATA = 256  # longest command data
_ACK = spec.NET_CTRL.size + _DATA


class ControlQueue:
    """Sends one command at a time and waits for its answer.

    Parameters
    ----------
    ring : the virtqueue
    interrupt : its interrupt
    sleep : waits for an interrupt, False after the given cycles
    """

    def __init__(
        self,
        ring: Virtqueue,
        interrupt: Interrupt,
        sleep: Callable[[Interrupt, int | None], Awaitable[bool]],
    ):
        self._ring = ring
        self._interrupt = interrupt
        self._sleep = sleep
        self._memory = ring.host.alloc(_ACK + 1, 64)
        self._turn = Mutex(ring.host)

    async def command(self, klass: int, command: int, data: bytes, *, timeout: int) -> None:
        """struct virtio_net_ctrl: class and command, data, and the ack byte that comes back.

        Raises
        ------
        VirtioError
            The device answers VIRTIO_NET_ERR.
        ResponseTimeout
            It does not answer.
        """
        if len(data) > _DATA:
            raise VirtioError(f"a control command with {len(data)} bytes of data")
        async with self._turn:
            ack = await self._exchange(klass, command, data, timeout)
        if ack != spec.NET_OK:
            raise VirtioError(f"control command {klass}/{command} was refused (ack {ack})")

    async def _exchange(self, klass: int, command: int, data: bytes, timeout: int) -> int:
        address, mem = self._memory.address, self._memory.mem
        spec.NET_CTRL.pack_into(mem, 0, klass, command)
        begin = spec.NET_CTRL.size
        mem[begin : begin + len(data)] = data
        mem[_ACK] = 0xFF
        readable = [Piece(address, begin), Piece(address + begin, len(data))]
        readable = [piece for piece in readable if piece.length]
        self._interrupt.clear()
        self._ring.add(readable, [Piece(address + _ACK, 1)], None)
        ready = self._ring.enable_interrupt()
        await self._ring.kick()
        while not (ready or self._ring.used_pending()):
            if not await self._sleep(self._interrupt, timeout) and not self._ring.used_pending():
                raise ResponseTimeout(
                    f"control command {klass}/{command} was not answered within {timeout} cycles"
                )
            self._interrupt.clear()
            ready = self._ring.enable_interrupt()
        self._ring.collect()
        self._ring.disable_interrupt()
        return mem[_ACK]

    def release(self) -> None:
        self._ring.release()
        self._ring.host.free(self._memory)
