"""A top without a design: what a design would drive is an input of its own.

So a test plays the design, beat by beat, in front of the C++ core. And a port without a simulation,
for peers.
"""

import queue
import types

import pytest

from tailrace_sim.bfm.mac_port import WireFrame
from tailrace_sim.fast.interface import load
from tailrace_sim.fast.library import Library, build_library
from tailrace_sim.fast.network.address import open_peer
from tailrace_sim.fast.network.peer import Limits

#: Bits of tuser of RQ, RC, CQ, CC by width (PG213).
_USER = {256: (62, 75, 88, 33), 512: (137, 161, 183, 81)}
#: Bits of the TLP streams and of the port.
WIDTHS = {"narrow": (256, 64), "wide": (512, 1024)}
PERIOD = 4000
ENABLED = 0x66


def _stream(name: str, width: int, keep: int, user: int, *, driven: bool) -> list[tuple]:
    """(name, bits, whether the design drives it) of a stream's ports."""
    fields = [("tdata", width), ("tkeep", keep), ("tuser", user), ("tlast", 1), ("tvalid", 1)]
    ports = [(f"{name}__{field}", bits, driven) for field, bits in fields]
    return [*ports, (f"{name}__tready", 1, not driven)]


def probe_verilog(width: int, port: int) -> str:
    """Verilog with the ports that the core looks for; ``x_NAME`` drives output ``NAME``."""
    rq, rc, cq, cc = _USER[width]
    ports = [
        *[(name, 1, False) for name in ("clk", "rst", "port0_clk", "port0_rst")],
        *_stream("pcie__rq", width, width // 32, rq, driven=True),
        *_stream("pcie__rc", width, width // 32, rc, driven=False),
        *_stream("pcie__cq", width, width // 32, cq, driven=False),
        *_stream("pcie__cc", width, width // 32, cc, driven=True),
        *[(f"pcie__pcie_rq_seq_num{k}", 6, False) for k in range(2)],
        *[(f"pcie__pcie_rq_seq_num_vld{k}", 1, False) for k in range(2)],
        ("pcie__cfg_function_status", 16, False),
        *_stream("port0__rx", port, port // 8, 1, driven=False),
        *_stream("port0__tx", port, port // 8, 1, driven=True),
    ]
    lines = []
    for name, bits, driven in ports:
        if driven:
            lines.append(f"input [{bits - 1}:0] x_{name}")
        lines.append(f"{'output' if driven else 'input'} [{bits - 1}:0] {name}")
    body = "\n".join(f"assign {name} = x_{name};" for name, _, driven in ports if driven)
    return f"module probe({', '.join(lines)});\n{body}\nendmodule\n"


class Probe:
    """A probe in the core, by C calls only; every cycle is one of :meth:`cycle`.

    Attributes
    ----------
    events : so far: (kind, a, b, c, d, payload)
    seen : values of the watched pins before each edge
    """

    def __init__(self, library: Library, *, devices: int = 1, seed: int = 1):
        self.ffi, self.lib = load(library.path)
        self.world = self.lib.tr_new(devices, seed)
        self.pins = {pin.name: (index, pin.bits) for index, pin in enumerate(library.pins)}
        self.events: list[tuple] = []
        for device in range(devices):
            for name in {"clk", "port0_clk"} & set(self.pins):
                self.lib.tr_clock(self.world, device, self.pins[name][0], PERIOD, 0)
            self.lib.tr_watch(self.world, device, 1 << self.pins["clk"][0])
            if "pcie__rq__tvalid" in self.pins:
                self.poke("pcie__cfg_function_status", ENABLED, device)
                self.link = self.lib.tr_pcie_of(self.world, 0)
        self.port = self.lib.tr_port_of(self.world, 0, 0)

    def close(self) -> None:
        self.lib.tr_free(self.world)

    def poke(self, name: str, value: int, device: int = 0) -> None:
        index, bits = self.pins[name]
        words = [value >> 32 * k & 0xFFFFFFFF for k in range((bits + 31) // 32)]
        self.lib.tr_poke(self.world, device, index, words)

    def peek(self, name: str, device: int = 0) -> int:
        index, bits = self.pins[name]
        words = self.ffi.new("uint32_t[]", (bits + 31) // 32)
        self.lib.tr_peek(self.world, device, index, words)
        return sum(word << 32 * k for k, word in enumerate(words))

    def drive(self, stream: str, device: int = 0, **fields: int) -> None:
        """What the design drives on a stream; fields that are not given become 0."""
        for field in ("tdata", "tkeep", "tuser", "tlast", "tvalid"):
            self.poke(f"x_{stream}__{field}", fields.get(field, 0), device)

    def cycle(self) -> None:
        """On to just before the next edge."""
        while self.lib.tr_run(self.world, 1 << 62) != self.lib.TR_EDGE:
            self._collect()
        self._collect()

    def _collect(self) -> None:
        array = self.ffi.new("const tr_event **")
        count = self.lib.tr_events(self.world, array)
        self.events += [
            (e.kind, e.a, e.b, e.c, e.d, bytes(self.ffi.buffer(e.data, e.length)))
            for e in array[0][0:count]
        ]

    def take(self, kind: int) -> list[tuple]:
        """Events of a kind, which are forgotten."""
        found = [event for event in self.events if event[0] == kind]
        self.events = [event for event in self.events if event[0] != kind]
        return found


@pytest.fixture(scope="session")
def probe_library(tmp_path_factory):
    """Builds the core around a probe: of the narrowest streams, or of the widest."""

    def build(name: str, *, waves: bool = False) -> Library:
        path = tmp_path_factory.mktemp("probe") / "probe.v"
        path.write_text(probe_verilog(*WIDTHS[name]))
        return build_library(path, "probe", waves=waves)

    return build


@pytest.fixture
def probe():
    """Makes probes, and closes them: ``probe(library, devices=2)``."""
    made: list[Probe] = []

    def make(library: Library, **options) -> Probe:
        made.append(Probe(library, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


class Port:
    """As much of a port as a peer uses."""

    def __init__(self):
        self.settings = types.SimpleNamespace(waiting=0, frames_in=0, frames_out=0)
        self.received = queue.Queue()
        self.sent = []
        self.entered = []

    def send(self, frame):
        self.entered.append(frame)
        self.settings.waiting += 1

    def leave(self, frame, cycle=0):
        self.received.put(WireFrame(frame, cycle, cycle))


@pytest.fixture
def attached():
    """Opens a peer at a port, and closes it."""
    made = []

    def make(text, **limits):
        peer = open_peer(text, Limits(**limits))
        made.append(peer)
        peer.attach(Port())
        return peer, peer.port

    yield make
    for peer in made:
        peer.close()
