"""A driver and two engines around the virtio transport, in Amaranth's simulator."""

from random import Random

from amaranth.sim import Simulator

from tailrace_hw import regs
from tailrace_hw.virtio.interfaces import QueueOp
from tailrace_hw.virtio.spec import DeviceStatus, Feature, feature_mask
from tailrace_hw.virtio.transport import VirtioTransport

__all__ = ["MAP", "READY", "Bench", "Engine"]

MAP = regs.load("virtio/regs.rdl")
S = DeviceStatus
#: Status of a driver before it asks for the features.
READY = S.ACKNOWLEDGE | S.DRIVER


class Engine:
    """Answers commands after ``delay`` cycles; ``hold`` makes it keep the answers back."""

    def __init__(self, command, ack, notify, delay=3):
        self.command, self.ack, self.notify = command, ack, notify
        self.delay = delay
        self.hold = False
        self.commands: list = []
        self.notified: list[int] = []
        self.enabled: dict[int, object] = {}

    async def serve(self, ctx):
        """Take a command, answer it, take the next; take notifications all the time."""
        command, ack, notify = self.command, self.ack, self.notify
        current, waited = None, 0
        ctx.set(command.ready, 1)
        ctx.set(notify.ready, 1)
        async for _, _, offered, payload, answered, rung, queue in ctx.tick().sample(
            command.valid, command.payload, ack.ready, notify.valid, notify.payload.queue
        ):
            if rung:
                assert queue in self.enabled, "a notification of a queue the engine doesn't know"
                self.notified.append(queue)
            if current is None:
                if offered:
                    current, waited = payload, 0
                    self.commands.append(payload)
            elif ctx.get(ack.valid):
                if answered:
                    current = None
                    ctx.set(ack.valid, 0)
            elif waited < self.delay or self.hold:
                waited += 1
            else:
                self._execute(current)
                ctx.set(ack.payload, current.queue)
                ctx.set(ack.valid, 1)
            ctx.set(command.ready, current is None)

    def _execute(self, command):
        if command.op == QueueOp.ENABLE:
            assert command.queue not in self.enabled, "a queue was enabled twice"
            self.enabled[command.queue] = command
        else:
            assert command.queue in self.enabled, "a queue was reset that was not enabled"
            del self.enabled[command.queue]


class Bench:
    """The transport with engines, and a driver's accesses.

    Parameters are the transport's. ``run`` executes a coroutine as the driver.
    """

    def __init__(self, pairs=2, max_size=256, vectors=8, **options):
        self.dut = VirtioTransport(pairs, max_size=max_size, vectors=vectors, **options)
        self.pairs = pairs
        self.rng = Random(0)
        self.rx = Engine(self.dut.rx_command, self.dut.rx_ack, self.dut.rx_notify)
        self.tx = Engine(self.dut.tx_command, self.dut.tx_ack, self.dut.tx_notify)
        self.errors: list = []
        self.interrupts: list[int] = []
        self.cycles = 0

    def run(self, body):
        done = []

        async def driver(ctx):
            self.ctx = ctx
            ctx.set(self.dut.function, 1)
            ctx.set(self.dut.mac, int.from_bytes(bytes.fromhex("020406080a0c"), "little"))
            ctx.set(self.dut.mtu, 1500)
            ctx.set(self.dut.bus.response.ready, 1)
            await ctx.tick()
            await body(self)
            done.append(True)

        sim = Simulator(self.dut)
        sim.add_clock(4e-9)
        sim.add_testbench(driver)
        for engine in (self.rx, self.tx):
            sim.add_testbench(engine.serve, background=True)
        sim.add_testbench(self._watch, background=True)
        sim.run()
        assert done, "the driver did not come to its end"

    async def _watch(self, ctx):
        dut = self.dut
        ctx.set(dut.errors.ready, 1)
        ctx.set(dut.interrupt.ready, 1)
        async for _, _, error, event, interrupt, request in ctx.tick().sample(
            dut.errors.valid, dut.errors.payload, dut.interrupt.valid, dut.interrupt.payload
        ):
            self.cycles += 1
            if error:
                self.errors.append((event.code, event.queue, event.info))
            if interrupt:
                assert request.function == 1
                self.interrupts.append(request.vector)

    async def access(self, address, write, value, strobe):
        ctx, bus = self.ctx, self.dut.bus
        ctx.set(
            bus.request.payload,
            {"address": address, "write": write, "data": value, "strobe": strobe},
        )
        ctx.set(bus.request.valid, 1)
        await ctx.tick().until(bus.request.ready)
        ctx.set(bus.request.valid, 0)
        return await ctx.tick().sample(bus.response.payload).until(bus.response.valid)

    async def read_at(self, address, size):
        shift = address % 4
        strobe = ((1 << size) - 1) << shift
        (answer,) = await self.access(address - shift, 0, 0, strobe)
        assert not answer.error, f"no register at {address:#x}"
        return (answer.data >> 8 * shift) & ((1 << 8 * size) - 1)

    async def write_at(self, address, size, value):
        shift = address % 4
        strobe = ((1 << size) - 1) << shift
        # What is not enabled is noise: a target that takes it is found out.
        noise = self.rng.getrandbits(32) & ~(((1 << 8 * size) - 1) << 8 * shift)
        (answer,) = await self.access(address - shift, 1, noise | value << 8 * shift, strobe)
        assert not answer.error, f"no register at {address:#x}"

    async def read(self, name):
        return await self.read_at(MAP[name].address, MAP[name].width // 8)

    async def write(self, name, value):
        await self.write_at(MAP[name].address, MAP[name].width // 8, value)

    async def tick(self, cycles=1):
        for _ in range(cycles):
            await self.ctx.tick()

    async def reset(self):
        await self.write("device_status", 0)
        for _ in range(1000):
            if await self.read("device_status") == 0:
                return
        raise AssertionError("the reset does not end")

    async def features(self):
        value = 0
        for word in range(2):
            await self.write("device_feature_select", word)
            value |= await self.read("device_feature") << 32 * word
        return value

    async def negotiate(self, features):
        """Up to FEATURES_OK; whether the device accepted."""
        mask = feature_mask(features)
        await self.reset()
        await self.write("device_status", S.ACKNOWLEDGE)
        await self.write("device_status", READY)
        for word in range(2):
            await self.write("driver_feature_select", word)
            await self.write("driver_feature", mask >> 32 * word & 0xFFFF_FFFF)
        await self.write("device_status", READY | S.FEATURES_OK)
        return bool(await self.read("device_status") & S.FEATURES_OK)

    async def set_queue(self, index, size=64, desc=0, driver=0, device=0, vector=None):
        await self.write("queue_select", index)
        await self.write("queue_size", size)
        if vector is not None:
            await self.write("queue_msix_vector", vector)
        for name, value in (("desc", desc), ("driver", driver), ("device", device)):
            await self.write(f"queue_{name}_low", value & 0xFFFF_FFFF)
            await self.write(f"queue_{name}_high", value >> 32)

    async def start(self, features, queues=(0, 1), size=64):
        """Everything up to DRIVER_OK."""
        assert await self.negotiate([Feature.VERSION_1, *features])
        for index in queues:
            base = 0x1_0000_0000 * (index + 1)
            await self.set_queue(index, size, base, base + 0x1000, base + 0x2000, index)
            await self.write("queue_enable", 1)
            assert await self.read("queue_enable") == 1
        await self.write("device_status", READY | S.FEATURES_OK | S.DRIVER_OK)
        await self.tick(20 * len(queues))

    async def notify(self, index, size=2):
        await self.write_at(MAP["notify"].addresses[index], size, index)
