"""The wire side: frames into the port and out of it."""

from pyuvm import uvm_agent, uvm_analysis_port, uvm_driver, uvm_monitor, uvm_sequencer

from tailrace_sim.uvm.config import net_config

__all__ = ["WireAgent", "WireDriver", "WireMonitor"]


class WireDriver(uvm_driver):
    """Sends :class:`ReceiveItem` s in order, back to back as far as the window has room.

    Attributes
    ----------
    ap : each item, before its first beat
    """

    def build_phase(self):
        self.config = net_config(self)
        self.ap = uvm_analysis_port("ap", self)

    async def run_phase(self):
        config = self.config
        while True:
            item = await self.seq_item_port.get_next_item()
            if config.fate(item.data, item.error) == "delivered":
                await config.window.take(config.geometry.descriptors(len(item.data)))
            self.ap.write(item)
            config.system.port.send(item.data, error=item.error)
            self.seq_item_port.item_done()


class WireMonitor(uvm_monitor):
    """Watches the port's output.

    Attributes
    ----------
    ap : bytes of each frame that left the device
    """

    def build_phase(self):
        self.ap = uvm_analysis_port("ap", self)
        self._watching = True
        net_config(self).system.port.monitor.add_callback(self._observe)

    def _observe(self, frame):
        if self._watching:
            self.ap.write(frame.data)

    def final_phase(self):
        """The port outlives the environment: what comes later belongs to the next one."""
        self._watching = False


class WireAgent(uvm_agent):
    """Sequencer, driver and monitor of one port."""

    def build_phase(self):
        super().build_phase()
        self.monitor = WireMonitor.create("monitor", self)
        if self.active():
            self.sequencer = uvm_sequencer.create("sequencer", self)
            self.driver = WireDriver.create("driver", self)

    def connect_phase(self):
        if self.active():
            self.driver.seq_item_port.connect(self.sequencer.seq_item_export)
