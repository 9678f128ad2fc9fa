"""Inside the simulator: what the driver reads out of the device."""

import json
from pathlib import Path

import cocotb

from tailrace.crypto.cipher import CipherShape, self_test_state
from tailrace.device import Management
from tailrace.host import poll
from tailrace.jobs.queue_registers import QueueRegisters
from tailrace.regs import address_map, crypto, jobs, pcie, port, virtio_net
from tailrace.virtio.net_types import NetOptions
from tailrace_sim.run import parameters
from tailrace_sim.system import System

_COUNTERS = (
    (address_map.PCIE, pcie), (address_map.PORT0, port), (address_map.VIRTIO_NET0, virtio_net),
    (address_map.JOBS, jobs),
)  # fmt: skip
_CIPHER_COUNTERS = ((address_map.CRYPTO, crypto),)


async def _cipher(management: Management) -> dict[str, str]:
    """What the cipher engine is; nothing if there is none."""
    shape = await CipherShape.read(management)
    if not shape.keys:
        return {}
    state = ""

    async def over() -> bool:
        nonlocal state
        state = await self_test_state(management)
        return state != "busy"

    # We are so early that the one after reset may still be under way.
    await poll(management.function.host, "the end of the self-test", over, timeout=100_000)
    return {
        "keys": str(shape.keys),
        "AES-GCM": f"{shape.lanes} blocks of 16 bytes a cycle",
        "AES-XTS": "yes" if shape.xts else "no",
        "self-test": state,
    }


async def _queues(system: System) -> dict[str, str]:
    """The job queues and what they are doing."""
    found = {}
    for index in range(system.config.jobs.queues):
        state = await QueueRegisters(system.device.management, index).state()
        found[f"queue {index}"] = str(state).removeprefix("it is ").removeprefix("it ")
    return found


async def _counters(management: Management, *, cipher: bool) -> dict[str, int]:
    """All counters of the management function by name."""
    found = {}
    for base, block in (*_COUNTERS, *(_CIPHER_COUNTERS if cipher else ())):
        name = block.__name__.rsplit(".", 1)[-1]
        for register, bits in vars(block).items():
            if not register.endswith("_BITS"):
                continue
            register = register.removesuffix("_BITS")
            if not hasattr(block, f"{register}__VALUE"):
                continue
            for index in range(getattr(block, f"{register}_COUNT", 1)):
                offset = base + getattr(block, register)
                offset += index * getattr(block, f"{register}_STRIDE", 0)
                read = management.read64 if bits == 64 else management.read
                suffix = f"[{index}]" if hasattr(block, f"{register}_COUNT") else ""
                found[f"{name}.{register.lower()}{suffix}"] = await read(offset)
    return found


@cocotb.test()
async def info(dut) -> None:
    """Leave ``info.json`` with identity, functions, features, counters and errors."""
    system = await System.start(dut)
    management = system.device.management
    identity = await management.identity()
    cipher = await _cipher(management)
    net = await system.device.net(0, NetOptions(queue_pairs=identity.queue_pairs))
    functions = [management.function, *system.device.net_functions]
    status = net.config
    result = {
        "identity": {
            "register interface": ".".join(map(str, identity.version)),
            "configuration": f"{identity.configuration:08x}",
            "datapath width": f"{identity.width} bits",
            "ports": str(identity.ports),
            "queue pairs": str(identity.queue_pairs),
            "core clock": f"{identity.clock / 1e6:g} MHz",
            "cycles since reset": str(await management.cycles()),
        },
        "functions": {
            f"{function.address}": f"{function.vendor_id:04x}:{function.device_id:04x}, "
            + ", ".join(
                f"BAR{index} {bar.size // 1024} KiB" for index, bar in function.bars.items()
            )
            for function in functions
        },
        "features": [feature.name for feature in net.features if feature.name],
        "network": {
            "MAC": status.mac.hex(":") if status.mac else "none",
            "MTU": str(status.mtu),
            "link": "up" if status.link_up else "down",
            "queue pairs offered": str(status.max_pairs),
        },
        "cipher engine": cipher or {"none": "jobs.keys is 0 in this configuration"},
        "job queues": await _queues(system),
        "counters": await _counters(management, cipher=bool(cipher)),
        "errors": [str(record) for record in await management.errors()],
    }
    Path(parameters()["work"], "info.json").write_text(json.dumps(result))
