"""Inside the simulator: a Python prompt beside the device.

A statement with ``await`` in it is a coroutine, which runs as a task of the simulation; the prompt
waits for it. Between two statements the simulation stands still, as everything does for it while
Python runs.
"""

import ast
import code
import contextlib
import importlib
import inspect
import sys
import traceback
import types
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import cocotb
from cocotb.task import Task
from cocotb.triggers import Event, First

from tailrace.virtio.net import VirtioNet
from tailrace.virtio.net_types import NetOptions
from tailrace_sim.fast.kernel import Kernel
from tailrace_sim.fast.launch import INTERRUPTED
from tailrace_sim.fast.process import running
from tailrace_sim.run import parameters
from tailrace_sim.shell_names import BANNER, names_of
from tailrace_sim.system import System

_TOP_LEVEL_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


class Prompt:
    """Runs what is entered, and knows what Ctrl-C means at the moment.

    Parameters
    ----------
    kernel : the simulation
    names : what the user sees
    """

    def __init__(self, kernel: Kernel, names: dict[str, Any]):
        self._kernel = kernel
        self.names = names
        self._stopped = Event()
        kernel.on_interrupt = self._interrupt

    def _interrupt(self) -> None:
        self._kernel.was_interrupted = False
        self._stopped.set()

    def ask(self, question: Callable[[], str]) -> str:
        """What the user answers; an interrupt meanwhile is an exception."""
        self._kernel.raise_interrupt = True
        try:
            return question()
        finally:
            self._kernel.raise_interrupt = False

    async def wait(self, work: Awaitable[Any]) -> Any:
        """The result of what a statement awaits, unless it is interrupted.

        Raises
        ------
        KeyboardInterrupt
            So it was; the work is cancelled.
        """

        async def outcome() -> tuple[Any, BaseException | None]:
            # An exception that a task ends with would be the failure of the test that we are.
            try:
                return await work, None
            except (Exception, SystemExit) as error:
                return None, error

        self._stopped.clear()
        task: Task = cocotb.start_soon(outcome())
        await First(task, self._stopped.wait())
        if not task.done():
            task.cancel()
            # It may take steps to end: the prompt, which lets nothing run, is not to come between.
            with contextlib.suppress(CancelledError):
                await task
            raise KeyboardInterrupt
        result, error = task.result()
        if error is not None:
            raise error
        return result

    async def run(self, compiled: types.CodeType) -> Any:
        """Run a piece of code whose top level may await."""
        self._kernel.raise_interrupt = True
        try:
            result = types.FunctionType(compiled, self.names)()
        finally:
            self._kernel.raise_interrupt = False
        return await self.wait(result) if inspect.iscoroutine(result) else result


def _show(error: BaseException) -> None:
    """The user's part of a traceback: without the prompt's own frames."""
    frames = traceback.extract_tb(error.__traceback__)
    mine = next((n for n, f in enumerate(frames) if f.filename != __file__), len(frames))
    lines = traceback.format_list(frames[mine:])
    print("Traceback (most recent call last):", *(line.rstrip() for line in lines), sep="\n",
          file=sys.stderr)  # fmt: skip
    print(*traceback.format_exception_only(error), sep="", end="", file=sys.stderr)


class Script:
    """A whole text, as Python runs a file: the first exception ends it."""

    def __init__(self, prompt: Prompt, text: str, name: str):
        self._prompt = prompt
        self._text = text
        self._name = name

    async def run(self) -> int:
        """0, or the exit status of a script that failed."""
        try:
            compiled = compile(self._text, self._name, "exec", _TOP_LEVEL_AWAIT)
            await self._prompt.run(compiled)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
        except KeyboardInterrupt:
            return INTERRUPTED
        except Exception as error:
            _show(error)
            return 1
        return 0


class Plain:
    """The prompt of Python itself."""

    def __init__(self, prompt: Prompt):
        self._prompt = prompt
        self._console = code.InteractiveConsole(prompt.names)
        self._console.compile.compiler.flags |= _TOP_LEVEL_AWAIT
        self._entered: list[types.CodeType] = []
        self._console.runcode = self._entered.append  # type: ignore[method-assign,assignment]

    async def run(self) -> int:
        """Until the end of the input, or ``exit()``."""
        with contextlib.suppress(ImportError):
            # What gives the prompt its history and its keys.
            importlib.import_module("readline")
        more = False
        while True:
            try:
                mark = "... " if more else ">>> "
                line = self._prompt.ask(lambda mark=mark: input(mark))  # type: ignore[misc]
                more = self._console.push(line)
                while self._entered:
                    await self._prompt.run(self._entered.pop(0))
            except EOFError:
                print()
                return 0
            except SystemExit as end:
                return end.code if isinstance(end.code, int) else 0
            except KeyboardInterrupt:
                print("\nKeyboardInterrupt", file=sys.stderr)
                self._console.resetbuffer()
                more = False
            except Exception as error:
                _show(error)


class Rich:
    """IPython's prompt, if it is installed."""

    def __init__(self, prompt: Prompt):
        from IPython.terminal.interactiveshell import TerminalInteractiveShell

        self._prompt = prompt
        self._shell = TerminalInteractiveShell.instance(user_ns=prompt.names)

    async def run(self) -> int:
        """Until the end of the input, or ``exit``."""
        shell = self._shell
        shell.keep_running = True
        while shell.keep_running:
            try:
                cell = self._prompt.ask(shell.prompt_for_code)
            except EOFError:
                break
            except KeyboardInterrupt:
                continue
            if cell.strip():
                try:
                    await self._prompt.wait(
                        shell.run_cell_async(
                            cell, store_history=True, transformed_cell=shell.transform_cell(cell)
                        )
                    )
                except KeyboardInterrupt:
                    print("\nKeyboardInterrupt", file=sys.stderr)
        return 0


def _best(prompt: Prompt) -> Plain | Rich:
    try:
        return Rich(prompt)
    except ImportError:
        return Plain(prompt)


@cocotb.test()
async def shell(dut) -> None:
    """A prompt, or a script; its exit status goes into ``status``."""
    settings = parameters()
    system = await System.start(dut, memory_size=64 << 20)
    pairs = system.config.virtio_net.queue_pairs
    net: VirtioNet = await system.device.net(0, NetOptions(queue_pairs=pairs))
    await net.check()
    kernel = running()
    assert kernel is not None
    prompt = Prompt(kernel, names_of(system, net))
    if settings["script"] is not None:
        work: Script | Plain | Rich = Script(prompt, settings["script"], settings["name"])
    else:
        print(BANNER.format(identity=system.device.identity))
        work = _best(prompt)
    status = await work.run()
    Path("status").write_text(str(status))
