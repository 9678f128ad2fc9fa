"""The parts of the pyuvm environment by themselves, and that they can fail."""

import itertools
import random
from types import SimpleNamespace

import pytest
from pyuvm import ConfigDB

from tailrace.virtio.net_types import CsumRequest, TxFrame
from tailrace.virtio.spec import Feature
from tailrace_hw import regs
from tailrace_hw.address_map import MANAGEMENT_BLOCKS
from tailrace_hw.config import Config
from tailrace_sim.models.net_offload import receive_queue, receive_verdict
from tailrace_sim.models.scoreboard import ScoreboardError
from tailrace_sim.models.virtio_net import receive_header
from tailrace_sim.run import pick_seed
from tailrace_sim.uvm import frames, space
from tailrace_sim.uvm.config import NetConfig, Run
from tailrace_sim.uvm.coverage import CoverageError, Group, Range, bin_of
from tailrace_sim.uvm.coverage_report import write_coverage
from tailrace_sim.uvm.items import Delivered, ReceiveItem, TransmitItem
from tailrace_sim.uvm.planner import Planner
from tailrace_sim.uvm.registers import RegisterModel
from tailrace_sim.uvm.scoreboard import CoverageCollector, NetScoreboard
from tailrace_sim.uvm.sequences import DirectedReceive, DirectedTransmit


@pytest.fixture
def rng():
    seed = pick_seed()
    print(f"seed {seed} (replay: TAILRACE_SEED={seed})")
    return random.Random(seed)


@pytest.fixture
def config(rng):
    net = SimpleNamespace(
        features=Feature.NET_CSUM | Feature.NET_GUEST_CSUM,
        options=SimpleNamespace(queue_pairs=2),
    )
    made = NetConfig(
        SimpleNamespace(config=Config()), net, space.RINGS[0], space.GEOMETRIES[0], Run(rng)
    )
    made.publish()
    yield made
    ConfigDB().clear()


@pytest.fixture
def board(config, request):
    # A component's name must be new below its parent, also from one test to the next.
    made = NetScoreboard(f"board_{request.node.name}", None)
    made.build_phase()
    collector = CoverageCollector(f"collector_{request.node.name}", None)
    collector.build_phase()
    made.matched.connect(collector.analysis_export)
    return made


def small_group() -> Group:
    return Group("small", {"a": "xyz", "b": "uv", "c": "pq"})


def fill(group: Group, leave_out: tuple[str, ...] | None = None) -> None:
    for point in itertools.product(*group.dimensions.values()):
        if point[:2] != leave_out:
            group.sample(point)


def test_a_full_group_reaches_its_goal():
    group = small_group()
    fill(group)
    group.check()
    assert group.share == 1


def test_a_missing_pair_fails():
    group = small_group()
    fill(group, leave_out=("y", "v"))
    with pytest.raises(CoverageError, match="1 missing: a=y with b=v"):
        group.check()


def test_nothing_sampled_fails():
    with pytest.raises(CoverageError, match="nothing was sampled"):
        small_group().check()
    with pytest.raises(CoverageError, match="has no bin 'w'"):
        small_group().sample(("w", "u", "p"))
    with pytest.raises(CoverageError, match="no bin holds 9"):
        bin_of([Range("low", 0, 8)], 9)


def test_the_planner_needs_few_points(rng):
    group = small_group()
    planner = Planner(group, rng)
    points = list(itertools.product(*group.dimensions.values()))
    for _ in range(9):
        group.sample(planner.choose(points))
    group.check()


def test_every_pair_can_be_reached():
    """Some geometry shows each pair of chain, alignment and size, also with the longest headers."""
    shapes = {shape for g in space.GEOMETRIES for shape in space.receive_sizes(g)}
    bins = ([c.name for c in space.CHAINS], space.ALIGNMENTS, [s.name for s in space.SIZES])
    for i, j in itertools.combinations(range(3), 2):
        seen = {(shape[i], shape[j]) for shape in shapes}
        assert seen == set(itertools.product(bins[i], bins[j]))


@pytest.mark.parametrize("geometry", space.GEOMETRIES, ids=str)
def test_descriptors_are_counted_as_the_driver_cuts_them(geometry):
    edges = [geometry.buffer * i // geometry.pieces for i in range(geometry.pieces + 1)]
    lengths = [b - a for a, b in itertools.pairwise(edges)]
    for size in range(14, 9022, 7):
        left, used = space.HEADER + size, 0
        for length in itertools.cycle(lengths):
            if left <= 0:
                break
            left -= length
            used += 1
        assert geometry.descriptors(size) == used


def test_frames_are_what_they_are_called(rng):
    for _ in range(40):
        size = rng.randint(54, 400)
        for protocol in ("tcp", "udp"):
            frame = frames.transport(rng, size, protocol, 3)
            assert len(frame) == size
            assert frame[11] == 3
            assert receive_verdict(frame)
        assert not receive_verdict(frames.wrong(rng, size))
        assert not receive_verdict(frames.plain(rng, size))


def test_directed_items_show_their_points(config, rng):
    """What a sequence says of an item is true of it."""
    for stall, geometry in itertools.product(space.STALLS, space.GEOMETRIES):
        config.geometry = geometry
        config.stall = stall
        planner = config.run.planners["receive"]
        for item in itertools.islice(DirectedReceive(config, 9, planner).items(), 9):
            size = len(item.data)
            assert item.point[1] == bin_of(space.CHAINS, geometry.descriptors(size))
            assert item.point[2] == space.alignment_of(geometry.tail(size))
            assert item.point[3] == bin_of(space.SIZES, size)
            assert (item.point[4] == "right") == receive_verdict(item.data)
        planner = config.run.planners["transmit"]
        for item in itertools.islice(DirectedTransmit(config, 9, planner).items(), 9):
            frame = item.frame
            assert item.point[1] == bin_of(space.CHAINS, len(frame.cuts) + 1)
            assert item.point[2] == space.alignment_of(frame.shift)
            assert item.point[3] == bin_of(space.SIZES, len(frame.data))
            assert (item.point[4] == "none") == (frame.csum is None)
            assert frame.data[11] == item.queue


def receive_one(board, config, rng):
    data = frames.transport(rng, 200, "udp")
    board.predict_receive(ReceiveItem(data))
    header = receive_header(data, guest_csum=True, buffers=1)
    return header, data, receive_queue(data, config.queue_pairs)


def test_the_scoreboard_takes_what_is_right(board, config, rng):
    board.check_delivered(Delivered(*receive_one(board, config, rng)))
    data = frames.plain(rng, 100, 1)
    board.predict_transmit(TransmitItem(TxFrame(data), queue=1))
    assert board.pending == 1
    board.check_on_wire(data)
    board.check_phase()
    fates = config.run.coverage["receive fate"]
    assert fates.samples == 1


@pytest.mark.parametrize("fault", ["header", "data", "queue", "twice"])
def test_the_scoreboard_finds_a_wrong_delivery(board, config, rng, fault):
    header, data, queue = receive_one(board, config, rng)
    if fault == "header":
        header = bytes([header[0] ^ 2]) + header[1:]
    elif fault == "data":
        data = data[:-1] + bytes([data[-1] ^ 1])
    elif fault == "queue":
        queue = 1 - queue
    else:
        board.check_delivered(Delivered(header, data, queue))
    with pytest.raises(ScoreboardError):
        board.check_delivered(Delivered(header, data, queue))


def test_the_scoreboard_finds_what_is_missing(board, config, rng):
    with pytest.raises(ScoreboardError, match="nothing was compared"):
        board.check_phase()
    receive_one(board, config, rng)
    with pytest.raises(ScoreboardError, match="1 frames did not come"):
        board.check_phase()


def test_dropped_frames_must_be_counted_and_must_not_come(board, rng):
    board.predict_receive(ReceiveItem(bytes(100), error=True))
    board.predict_receive(ReceiveItem(bytes(5)))
    board.predict_transmit(TransmitItem(TxFrame(bytes(5))))
    board.predict_transmit(TransmitItem(TxFrame(bytes(50), CsumRequest(50, 0))))
    moved = board.expected_counts()
    assert moved["port0", "rx_drop_runt"] == 1
    assert moved["virtio_net0", "rx_drop_marked"] == 2
    board.check_counts(moved)
    with pytest.raises(ScoreboardError, match="rx_drop_runt moved by 0, 1 expected"):
        board.check_counts(moved | {("port0", "rx_drop_runt"): 0})
    with pytest.raises(ScoreboardError, match="was not expected"):
        board.check_on_wire(bytes(50))


def test_the_register_model_has_every_register():
    model = RegisterModel()
    wanted = sum(
        register.count or 1
        for block in MANAGEMENT_BLOCKS
        for register in regs.load(block.source).registers
    )
    assert len(model.names()) == wanted
    limits = model["port0", "limits"]
    assert limits.get_address() == 0x1004
    assert [f.get_access() for f in limits.get_fields()] == ["RW", "RW"]
    assert model["pcie", "read_failed5"].get_address() == 0x834
    assert model["errors", "clear"].get_fields()[0].get_access() == "WO"
    assert model["identity", "magic"].get_reset() == 0x43524C54


def test_the_report_shows_gaps(tmp_path):
    group = small_group()
    fill(group, leave_out=("y", "v"))
    write_coverage(tmp_path / "coverage.html", {"small": group.to_dict()}, seed=1)
    page = (tmp_path / "coverage.html").read_text()
    assert "Missing: a=y with b=v." in page
    assert "<svg" in page
