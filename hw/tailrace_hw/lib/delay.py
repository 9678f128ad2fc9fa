"""Registers in a row, for what has to wait for its pipeline."""

from amaranth.hdl import Module, Signal

__all__ = ["delayed"]


def delayed(m: Module, value, cycles: int, name: str, *, reset: bool = False):
    """``value`` as it was ``cycles`` cycles ago (0: now).

    Registers that nothing resets become shift registers in LUTs. What says whether an item is
    there at all needs ``reset``.

    Parameters
    ----------
    m : Module
        Where the registers are added, in domain ``sync``.
    value : value or view
    cycles : int
        0 or more.
    name : str
        Of the registers; ``_1`` to ``_n`` is added.
    reset : bool
        The registers start at 0.

    Returns
    -------
    Value or view of the same shape.
    """
    if cycles < 0:
        raise ValueError(f"{name} can't be known {-cycles} cycles ahead")
    for stage in range(1, cycles + 1):
        register = Signal(value.shape(), name=f"{name}_{stage}", reset_less=not reset)
        m.d.sync += register.eq(value)
        value = register
    return value
