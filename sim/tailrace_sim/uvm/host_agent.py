"""The host's side: frames into the transmit queues and out of the receive queues."""

import cocotb
from pyuvm import uvm_agent, uvm_analysis_port, uvm_driver, uvm_monitor, uvm_sequencer

from tailrace.virtio import spec
from tailrace.virtio.net_types import Frame, TxFrame
from tailrace_sim.uvm.config import net_config
from tailrace_sim.uvm.items import Delivered

__all__ = ["HostAgent", "HostDriver", "HostMonitor"]

#: Cycles from the driver's notification of buffers until the device has fetched them: at once, and
#: for each descriptor, as it walks one chain or indirect table after the other.
_REFILL = {"none": (300, 20), "wire": (300, 20), "host": (1000, 60), "both": (1000, 60)}
#: A monitor that is to stop looks up after so many cycles without a frame.
_SLICE = 500


class HostDriver(uvm_driver):
    """Posts :class:`TransmitItem` s and kicks the queues when an item says so.

    Attributes
    ----------
    ap : each item, before it is posted
    """

    def build_phase(self):
        self.config = net_config(self)
        self.ap = uvm_analysis_port("ap", self)

    async def run_phase(self):
        waiting: dict[int, list[TxFrame]] = {}
        while True:
            item = await self.seq_item_port.get_next_item()
            self.ap.write(item)
            waiting.setdefault(item.queue, []).append(item.frame)
            if item.kick:
                for queue, frames in waiting.items():
                    await self.config.net.transmit(frames, queue)
                waiting.clear()
            self.seq_item_port.item_done()


class HostMonitor(uvm_monitor):
    """Takes what the driver delivers from every receive queue, and gives the window back.

    Attributes
    ----------
    ap : :class:`Delivered` frames
    """

    def build_phase(self):
        self.config = net_config(self)
        self.ap = uvm_analysis_port("ap", self)
        self._running = True
        self._tasks: list = []

    async def run_phase(self):
        self._tasks = [
            cocotb.start_soon(self._watch(queue)) for queue in range(self.config.queue_pairs)
        ]

    async def _watch(self, queue: int) -> None:
        while self._running:
            for frame in await self.config.net.receive(queue, timeout=_SLICE):
                self.observe(frame)
                cocotb.start_soon(self._give_back(len(frame.data)))

    async def _give_back(self, size: int) -> None:
        """Room for others, once the device has fetched the buffers again."""
        once, each = _REFILL[self.config.stall]
        descriptors = self.config.geometry.descriptors(size)
        await self.config.system.wait(once + descriptors * each)
        self.config.window.give(descriptors)

    def observe(self, frame: Frame) -> None:
        """Publish a frame that the driver got."""
        header = spec.NET_HDR.pack(
            frame.flags, spec.GSO_NONE, 0, 0, frame.csum_start, frame.csum_offset, frame.buffers
        )
        self.ap.write(Delivered(header, frame.data, frame.queue))

    async def stop(self) -> None:
        """No task of this monitor uses the driver any more."""
        self._running = False
        for task in self._tasks:
            await task


class HostAgent(uvm_agent):
    """Sequencer, driver and monitor on the virtio-net driver model."""

    def build_phase(self):
        super().build_phase()
        self.monitor = HostMonitor.create("monitor", self)
        if self.active():
            self.sequencer = uvm_sequencer.create("sequencer", self)
            self.driver = HostDriver.create("driver", self)

    def connect_phase(self):
        if self.active():
            self.driver.seq_item_port.connect(self.sequencer.seq_item_export)
