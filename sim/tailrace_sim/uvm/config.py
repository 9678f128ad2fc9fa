"""The environment's configuration object, handed down through pyuvm's ConfigDB."""

import dataclasses
from random import Random

from cocotb.triggers import Event
from pyuvm import ConfigDB, uvm_component

from tailrace.virtio.net import VirtioNet
from tailrace_sim.system import System
from tailrace_sim.uvm.coverage import Coverage
from tailrace_sim.uvm.planner import Planner
from tailrace_sim.uvm.registers import RegisterModel
from tailrace_sim.uvm.space import IN_FLIGHT, Geometry, Ring, make_coverage, receive_fate

__all__ = ["NetConfig", "Run", "Window", "net_config"]

_KEY = "net_config"


class Window:
    """Receive descriptors that frames on their way take, so that none is lost for want of them.

    Parameters
    ----------
    room : descriptors
    """

    def __init__(self, room: int):
        self._room = self._free = room
        self._freed = Event()

    async def take(self, descriptors: int) -> None:
        """Wait until there is room."""
        if descriptors > self._room:
            raise ValueError(f"a frame of {descriptors} descriptors, the window has {self._room}")
        while self._free < descriptors:
            self._freed.clear()
            await self._freed.wait()
        self._free -= descriptors

    def give(self, descriptors: int) -> None:
        """The driver has taken a frame out of its buffers and posted them again."""
        self._free += descriptors
        self._freed.set()


@dataclasses.dataclass
class Run:
    """What the environments of one simulation share.

    Attributes
    ----------
    rng : of everything random
    coverage : where to sample
    planners : of the directed sequences, by group
    registers : model of the management function's registers
    """

    rng: Random
    coverage: Coverage = dataclasses.field(default_factory=make_coverage)
    planners: dict[str, Planner] = dataclasses.field(init=False)
    registers: RegisterModel = dataclasses.field(default_factory=RegisterModel)

    def __post_init__(self) -> None:
        self.planners = {
            name: Planner(self.coverage[name], self.rng) for name in ("receive", "transmit")
        }


@dataclasses.dataclass
class NetConfig:
    """What an environment is built on; a new one for each ring type.

    Attributes
    ----------
    system : the device in its slot
    net : the driver, up and running with the options that follow from ``ring`` and ``geometry``
    ring, geometry : of its queues
    run : what outlives this environment
    frames : directed frames each way under each stall pattern
    random_frames : random ones each way
    stall : who makes whom wait now, one of ``STALLS``
    window : filled by itself
    """

    system: System
    net: VirtioNet
    ring: Ring
    geometry: Geometry
    run: Run
    frames: int = 5
    random_frames: int = 12
    stall: str = "none"
    window: Window = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.window = Window(IN_FLIGHT)

    @property
    def rng(self) -> Random:
        return self.run.rng

    @property
    def queue_pairs(self) -> int:
        return self.net.options.queue_pairs

    def fate(self, data: bytes, error: bool) -> str:
        """What becomes of a frame that enters at the port."""
        port = self.system.config.port
        return receive_fate(len(data), error, (port.min_length, port.max_length))

    def publish(self) -> None:
        """Put it where every component of the next environment finds it."""
        ConfigDB().set(None, "*", _KEY, self)


def net_config(component: uvm_component) -> NetConfig:
    """The configuration of the environment that a component is part of."""
    return ConfigDB().get(component, "", _KEY)
