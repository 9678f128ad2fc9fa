"""Stream ports of a Verilated component under cocotb, driven and sampled once a cycle."""

from collections import deque
from collections.abc import Callable
from random import Random
from types import SimpleNamespace

from amaranth.lib import data

__all__ = ["Codec", "Sink", "Source"]


class Codec:
    """Packs and unpacks a layout of the gateware; the layout is the only description of it."""

    def __init__(self, shape):
        self.fields = [
            (str(key), field.offset, field.width, self._nested(field.shape))
            for key, field in data.Layout.cast(shape)
        ]

    @staticmethod
    def _nested(shape):
        try:
            return Codec(shape)
        except TypeError:
            return None

    def pack(self, **values) -> int:
        """Members that are not given are 0."""
        word = 0
        for name, offset, width, _ in self.fields:
            value = values.pop(name, 0)
            assert 0 <= value < 1 << width, f"{name}={value} has more than {width} bits"
            word |= value << offset
        assert not values, f"no such members: {values}"
        return word

    def unpack(self, word: int) -> SimpleNamespace:
        members = {}
        for name, offset, width, nested in self.fields:
            value = word >> offset & (1 << width) - 1
            members[name] = nested.unpack(value) if nested else value
        return SimpleNamespace(**members)


class _Port:
    """A port; ``stall`` is the probability with which our side waits in a cycle."""

    def __init__(self, dut, name: str, rng: Random, stall: float):
        self.name = name
        self.valid = getattr(dut, f"{name}__valid")
        self.ready = getattr(dut, f"{name}__ready")
        self.payload = getattr(dut, f"{name}__payload")
        self.rng = rng
        self.stall = stall


class Source(_Port):
    """Offers what is in ``items`` (packed words), in order; ``taken`` counts."""

    def __init__(self, dut, name: str, rng: Random, stall: float = 0.0):
        super().__init__(dut, name, rng, stall)
        self.items: deque[int] = deque()
        self.taken = 0
        self._offering = False
        self._driven: bool | None = None
        self.valid.value = 0

    def drive(self) -> None:
        offering = self._offering or bool(
            self.items and not (self.stall and self.rng.random() < self.stall)
        )
        if offering and not self._offering:
            self.payload.value = self.items[0]
        if offering != self._driven:
            self.valid.value = int(offering)
        self._offering = self._driven = offering

    def sample(self) -> None:
        if self._offering and self.ready.value:
            self.items.popleft()
            self.taken += 1
            self._offering = False


class Sink(_Port):
    """Gives what it takes to ``use``, and insists that what is offered stays until taken."""

    def __init__(self, dut, name: str, rng: Random, stall: float, use: Callable[[int], None]):
        super().__init__(dut, name, rng, stall)
        self.use = use
        self.taken = 0
        #: Set to refuse everything.
        self.closed = False
        self._driven: bool | None = None
        self._waiting: int | None = None

    def drive(self) -> None:
        ready = not (self.closed or (self.stall and self.rng.random() < self.stall))
        if ready != self._driven:
            self.ready.value = int(ready)
        self._driven = ready

    def sample(self) -> None:
        if not self.valid.value:
            assert self._waiting is None, f"{self.name}: valid fell before the item was taken"
            return
        word = int(self.payload.value)
        assert self._waiting in (None, word), f"{self.name}: payload changed while it waited"
        if self._driven:
            self._waiting = None
            self.taken += 1
            self.use(word)
        else:
            self._waiting = word
