"""The DMA engines between streams that the testbench drives and the integrated block."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tailrace_hw.errors import ErrorEvent
from tailrace_hw.pcie.dma import DmaReadPort, DmaWritePort
from tailrace_hw.pcie.dma_events import DmaCounts
from tailrace_hw.pcie.dma_read import DmaReadEngine
from tailrace_hw.pcie.dma_write import DmaWriteEngine
from tailrace_hw.pcie.requester import Requester
from tailrace_hw.pcie.usp import UspSignature, UspStatus

CLIENTS = 3
FUNCTIONS = 2
TIMEOUT = 4096


class DmaTop(wiring.Component):
    """Three read and three write clients, two functions."""

    def __init__(self, width: int):
        self.width = width
        super().__init__(
            {
                "pcie": Out(UspSignature(width)),
                "reads": In(DmaReadPort(width)).array(CLIENTS),
                "writes": In(DmaWritePort(width)).array(CLIENTS),
                "read_errors": Out(stream.Signature(ErrorEvent)),
                "write_errors": Out(stream.Signature(ErrorEvent)),
                "read_counts": Out(DmaCounts),
                "write_counts": Out(DmaCounts),
                "extended_tags": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        pcie = self.pcie
        m.submodules.status = status = UspStatus(FUNCTIONS)
        m.submodules.read = read = DmaReadEngine(
            CLIENTS, self.width, functions=FUNCTIONS, timeout=TIMEOUT
        )
        m.submodules.write = write = DmaWriteEngine(
            CLIENTS, self.width, functions=FUNCTIONS, timeout=TIMEOUT
        )
        m.submodules.requester = requester = Requester(self.width)
        wiring.connect(m, requester.rq, wiring.flipped(pcie.rq))
        wiring.connect(m, read.rc, wiring.flipped(pcie.rc))
        wiring.connect(m, read.rq, requester.read)
        wiring.connect(m, write.rq, requester.write)
        wiring.connect(m, read.errors, wiring.flipped(self.read_errors))
        wiring.connect(m, write.errors, wiring.flipped(self.write_errors))
        for mine, theirs in zip([*self.reads, *self.writes], [*read.clients, *write.clients],
                                strict=True):  # fmt: skip
            wiring.connect(m, wiring.flipped(mine), theirs)
        for index, state in enumerate(status.state):
            m.d.comb += [read.functions[index].eq(state), write.functions[index].eq(state)]
        m.d.comb += [
            status.max_payload.eq(pcie.cfg_max_payload),
            status.max_read.eq(pcie.cfg_max_read_req),
            status.function_status.eq(pcie.cfg_function_status),
            status.flr_in_process.eq(pcie.cfg_flr_in_process),
            status.lnk_up.eq(1),
            pcie.cfg_flr_done.eq(pcie.cfg_flr_in_process & ~(read.busy | write.busy).replicate(4)),
            pcie.cq.tready.eq(1),
            pcie.cfg_ext.read_data_valid.eq(1),
            pcie.cfg_config_space_enable.eq(1),
            read.extended_tags.eq(self.extended_tags),
            requester.write_follows.eq(write.rq_follows),
            write.seq_num_valid[0].eq(pcie.pcie_rq_seq_num_vld0),
            write.seq_num[0].eq(pcie.pcie_rq_seq_num0),
            write.seq_num_valid[1].eq(pcie.pcie_rq_seq_num_vld1),
            write.seq_num[1].eq(pcie.pcie_rq_seq_num1),
            self.read_counts.eq(read.counts),
            self.write_counts.eq(write.counts),
        ]
        return m
