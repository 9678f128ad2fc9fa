"""Inside the simulator: what the driver reads out of the device."""

import json
from pathlib import Path

import cocotb

from tailrace.regs import address_map, pcie, port, virtio_net
from tailrace.virtio.net_types import NetOptions
from tailrace_sim.run import parameters
from tailrace_sim.system import System

_COUNTERS = ((address_map.PCIE, pcie), (address_map.PORT0, port), (address_map.VIRTIO_NET0,
                                                                   virtio_net))  # fmt: skip


async def _counters(system: System) -> dict[str, int]:
    """All counters of the management function by name."""
    management = system.device.management
    found = {}
    for base, block in _COUNTERS:
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
    identity = await system.device.management.identity()
    net = await system.device.net(0, NetOptions(queue_pairs=identity.queue_pairs))
    functions = [system.device.management.function, *system.device.net_functions]
    status = net.config
    result = {
        "identity": {
            "register interface": ".".join(map(str, identity.version)),
            "configuration": f"{identity.configuration:08x}",
            "datapath width": f"{identity.width} bits",
            "ports": str(identity.ports),
            "queue pairs": str(identity.queue_pairs),
            "core clock": f"{identity.clock / 1e6:g} MHz",
            "cycles since reset": str(await system.device.management.cycles()),
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
        "counters": await _counters(system),
        "errors": [str(record) for record in await system.device.management.errors()],
    }
    Path(parameters()["work"], "info.json").write_text(json.dumps(result))
