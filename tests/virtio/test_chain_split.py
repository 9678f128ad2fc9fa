"""Two clients on one engine: every answer to whom it belongs."""

import pytest

from tailrace_hw.virtio.chain_split import ChainSplit
from tailrace_hw.virtio.interfaces import TakeAction
from tailrace_sim.streams import receive, send
from tailrace_sim.unit import expect_silence, seeded, simulate

QUEUES = 3
ITEMS = 120


def test_available():
    dut = ChainSplit(QUEUES)

    async def body(ctx):
        for value in range(1 << (QUEUES + 1)):
            ctx.set(dut.engine.available, value)
            assert ctx.get(dut.transmit.available) == value & 0b111
            assert ctx.get(dut.control.available) == value >> QUEUES

    simulate(dut, body)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_takes_and_segments(stall):
    dut = ChainSplit(QUEUES)
    rng = seeded()
    actions = list(TakeAction)
    takes = {
        "transmit": [
            {"queue": rng.randrange(QUEUES), "action": rng.choice(actions)} for _ in range(ITEMS)
        ],
        "control": [{"queue": 0, "action": rng.choice(actions)} for _ in range(ITEMS // 4)],
    }
    answered = (TakeAction.TAKE, TakeAction.TAKE_COMMIT)
    seen: list = []
    answers: list = []

    def client(name):
        port = getattr(dut, name)

        async def requests(ctx):
            await send(ctx, port.take, takes[name], rng, stall)

        async def segments(ctx):
            wanted = [t["queue"] for t in takes[name] if t["action"] in answered]
            number = 0
            for queue in wanted:
                while True:
                    (segment,) = await receive(ctx, port.segments, 1, rng, stall)
                    # ``none`` answers carry no queue: only the order says whose they are.
                    assert segment.none or segment.queue == queue
                    assert segment.address >> 32 == (name == "control")
                    assert segment.address & 0xFFFF == number
                    number += 1
                    if segment.last:
                        break
            assert number

        return requests, segments

    async def engine_takes(ctx):
        count = sum(len(t) for t in takes.values())
        for _ in range(count):
            (take,) = await receive(ctx, dut.engine.take, 1, rng, stall)
            seen.append((take.queue, take.action))
            if take.action in answered:
                answers.append(take.queue)
        await expect_silence(ctx, dut.engine.take)

    async def engine_segments(ctx):
        given = {False: 0, True: 0}
        total = sum(t["action"] in answered for ts in takes.values() for t in ts)
        for index in range(total):
            while len(answers) <= index:
                await ctx.tick()
            queue = answers[index]
            control = queue == QUEUES
            none = rng.random() < 0.2
            count = 1 if none else rng.randint(1, 4)
            for position in range(count):
                item = {
                    "queue": rng.getrandbits(8) if none else queue,
                    "address": control << 32 | given[control],
                    "last": position == count - 1,
                    "none": none,
                }
                given[control] += 1
                await send(ctx, dut.engine.segments, [item], rng, stall)

    transmit, control = client("transmit"), client("control")
    simulate(dut, *transmit, *control, engine_takes, engine_segments)
    sent = [(t["queue"], t["action"]) for t in takes["transmit"]]
    assert [take for take in seen if take[0] != QUEUES] == sent
    commands = [(QUEUES, t["action"]) for t in takes["control"]]
    assert [take for take in seen if take[0] == QUEUES] == commands


def test_an_engine_that_does_not_answer_stops_the_requests():
    dut = ChainSplit(QUEUES)
    taken = 0

    async def requests(ctx):
        nonlocal taken
        ctx.set(dut.engine.take.ready, 1)
        ctx.set(dut.transmit.take.valid, 1)
        for _ in range(60):
            _, _, valid = await ctx.tick().sample(dut.engine.take.valid)
            taken += valid

    simulate(dut, requests)
    assert taken == 16


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_completions_keep_groups_together(stall):
    dut = ChainSplit(QUEUES)
    rng = seeded()

    def completions(queues):
        items = [
            {"queue": rng.choice(queues), "id": i, "more": rng.random() < 0.4} for i in range(ITEMS)
        ]
        items[-1]["more"] = False
        return items

    transmit = completions(range(QUEUES))
    control = completions([0])

    async def transmit_side(ctx):
        await send(ctx, dut.transmit.complete, transmit, rng, stall)

    async def control_side(ctx):
        await send(ctx, dut.control.complete, control, rng, stall)

    async def engine(ctx):
        got = await receive(ctx, dut.engine.complete, 2 * ITEMS, rng, stall)
        sides = [item.queue == QUEUES for item in got]
        for previous, side, item in zip(sides, sides[1:], got, strict=False):
            assert not item.more or previous == side, "a group was torn apart"
        assert [i.id for i in got if i.queue == QUEUES] == list(range(ITEMS))
        others = [(i.queue, i.id, i.more) for i in got if i.queue != QUEUES]
        assert others == [(i["queue"], i["id"], i["more"]) for i in transmit]
        await expect_silence(ctx, dut.engine.complete)

    simulate(dut, transmit_side, control_side, engine)
