"""DMA rates as a share of what the PCIe link can carry.

The limit is that of the link, Gen3 x16 at a 250 MHz core clock: 16 lanes of 8 GT/s with 128b/130b
coding are 63.0 bytes a cycle in each direction. Of these a TLP takes, beside its payload, 8 bytes
of framing (STP token with the sequence number, LCRC) and its header: 16 bytes for requests to
64-bit addresses, 12 for completions (PCIe 5.0, 2.2.1, 4.2.2). DLLPs and skip ordered sets are not
counted, so the limit is a little higher than any device can reach. Completions carry
Max_Payload_Size; a read request asks for Max_Read_Request_Size or the request's size.

Both directions at once: reads take their requests' 24 bytes from the upstream direction, and the
write limit is what is left of it when reads run at their own limit.
"""

import json
import sys
from pathlib import Path

from tailrace_sim.build import build, emit
from tailrace_sim.run import run

PCIE_TESTS = Path(__file__).parents[1] / "pcie"
WIDTH = 512
MAX_PAYLOAD = 256
MAX_READ = 512
#: Round trip of host memory, beside the model's own, in cycles.
LATENCY = 60
GOALS = {4096: 95.0, 256: 90.0}
LINK = 16 * 8e9 * 128 / 130 / 8 / 250e6
_FRAMING = 8
_REQUEST = _FRAMING + 16
_COMPLETION = _FRAMING + 12


def limits(kinds: list[str], size: int) -> dict[str, float]:
    """Payload bytes a cycle that the link can carry."""
    payload = min(size, MAX_PAYLOAD)
    read = LINK * payload / (payload + _COMPLETION)
    upstream = LINK
    if "read" in kinds:
        upstream -= read / min(size, MAX_READ) * _REQUEST
    return {"read": read, "write": upstream * payload / (payload + _REQUEST)}


def measure() -> list[dict]:
    """Rates of reads, writes and both, at 4 KiB and 256 bytes."""
    sys.path.insert(0, str(PCIE_TESTS))
    from dma_top import DmaTop

    source = (PCIE_TESTS / "dma_top.py").read_text()
    model = build(emit(lambda: DmaTop(WIDTH), "dma_top", WIDTH, source), "dma_top")
    entries = []
    for size, goal in GOALS.items():
        for kinds in (["read"], ["write"], ["read", "write"]):
            name = f"{'_'.join(kinds)}_{size}"
            # A simulation each: a measurement starts with nothing in flight.
            result = run(
                model, "dma_bench_cocotb", name=f"bench_dma_{name}", tests=[name], seed=1,
                parameters={"max_payload": MAX_PAYLOAD, "max_read": MAX_READ, "latency": LATENCY},
                python_path=[Path(__file__).parent, PCIE_TESTS],
            )  # fmt: skip
            rates = json.loads((result.directory / f"{name}.json").read_text())
            bound = limits(kinds, size)
            for kind in kinds:
                share = 100 * rates[kind] / bound[kind]
                entries.append(
                    {
                        "bench": "dma",
                        "measure": f"{kind} {size} B" + (", both ways" if len(kinds) > 1 else ""),
                        "value": round(share, 1),
                        "unit": "% of the payload limit",
                        "goal": goal,
                        "met": share >= goal,
                    }
                )
    return entries
