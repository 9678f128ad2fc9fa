"""Inside the simulator: a host that answers ARP requests from outside through its driver."""

import dataclasses
import json
import resource
import time
from pathlib import Path

import cocotb
from cocotb.triggers import Timer
from scapy.layers.l2 import ARP, Ether

from tailrace.virtio.net import VirtioNet
from tailrace.virtio.net_types import NetOptions, TxFrame
from tailrace_sim.fast.network.address import open_peer
from tailrace_sim.fast.network.peer import Limits, Peer
from tailrace_sim.fast.pacer import Pacer
from tailrace_sim.run import parameters
from tailrace_sim.system import System

_ADDRESS = "02:54:52:00:00:01"
_IP = "10.9.0.1"
_SLICE = 20_000


def _answer(frame: bytes) -> bytes | None:
    """What a host says to a request for its address."""
    packet = Ether(frame)
    if ARP not in packet or packet[ARP].op != 1 or packet[ARP].pdst != _IP:
        return None
    asked = packet[ARP]
    reply = ARP(op=2, hwsrc=_ADDRESS, psrc=_IP, hwdst=asked.hwsrc, pdst=asked.psrc)
    return bytes(Ether(dst=asked.hwsrc, src=_ADDRESS) / reply)


async def _serve(net: VirtioNet, queue: int, seen: list[bytes], answers: list[bytes]) -> None:
    while True:
        for frame in await net.receive(queue):
            seen.append(frame.data)
            answer = _answer(frame.data)
            if answer is not None:
                answers.append(answer)
                await net.transmit([TxFrame(answer)], queue)


async def _up() -> tuple[System, list[bytes], list[bytes]]:
    (system,) = await System.start_all(memory_size=32 << 20)
    pairs = system.config.virtio_net.queue_pairs
    net = await system.device.net(0, NetOptions(packed=True, queue_pairs=pairs))
    await net.check()
    await system.wait(2000)
    seen: list[bytes] = []
    answers: list[bytes] = []
    for queue in range(pairs):
        cocotb.start_soon(_serve(net, queue, seen, answers))
    return system, seen, answers


def _open(system: System) -> Peer:
    peer = open_peer(parameters()["peer"], Limits(longest=system.config.port.max_length))
    Path("ready").write_text(peer.name)
    return peer


def _leave(peer: Peer, seen: list[bytes], answers: list[bytes], **more: float) -> None:
    found = {"counters": dataclasses.asdict(peer.counters), "seen": len(seen),
             "answers": len(answers), **more}  # fmt: skip
    Path("outcome.json").write_text(json.dumps(found))


@cocotb.test()
async def answer(dut) -> None:
    """Serve what comes until so many ARP requests are answered."""
    settings = parameters()
    system, seen, answers = await _up()
    with _open(system) as peer:
        pacer = Pacer(system.port.kernel, [peer])
        cocotb.start_soon(peer.run(system.port))
        deadline = time.monotonic() + 120
        while len(answers) < settings["answers"]:
            assert time.monotonic() < deadline, f"{peer.counters}, {len(seen)} frames seen"
            await system.wait(500)
        await system.wait(3000)
        # The system's own stack may say something at any time: what it said last is on its way.
        while len(seen) != peer.counters.frames_in - sum(settings["drops"].values()):
            assert time.monotonic() < deadline, f"{peer.counters}, {len(seen)} frames seen"
            await system.wait(500)
        pacer.stop()
        drops = {name: count for name, count in (await system.drops()).items() if count}
        assert drops == settings["drops"]
        assert peer.counters.frames_out == len(answers)
        _leave(peer, seen, answers, slept=pacer.slept)


@cocotb.test()
async def paced(dut) -> None:
    """Simulated time follows the clock; the process mostly sleeps."""
    settings = parameters()
    system, seen, answers = await _up()
    kernel = system.port.kernel
    with _open(system) as peer:
        cocotb.start_soon(peer.run(system.port))
        pacer = Pacer(kernel, [peer], settings["realtime"])
        start, begin = kernel.now(), time.monotonic()
        used = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        while time.monotonic() - begin < settings["seconds"]:
            await Timer(1, "us")
            most = (time.monotonic() - begin) * settings["realtime"] * 1e12
            assert kernel.now() - start <= most, "ahead of the clock"
        used = resource.getrusage(resource.RUSAGE_SELF).ru_utime - used
        simulated = (kernel.now() - start) / 1e12
        _leave(peer, seen, answers, slept=pacer.slept, used=used, simulated=simulated)
        pacer.stop()
