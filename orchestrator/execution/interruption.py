"""Ctrl-C and SIGTERM as one thing: the first ends a command in good order, the second at once.

SIGTERM is what `scancel`, `ray job stop` and Kubernetes send. Ray installs handlers that abort the process at it.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_received: list[int] = []
"""The signal that has interrupted the command, if one has."""


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Within the context SIGINT and SIGTERM raise `KeyboardInterrupt`, and a second one ends the process at once.

    SIGTERM is blocked in every thread that begins in the context, so that it never reaches Ray's handlers; a thread of
    its own waits for it and interrupts the main thread. Call it before there are other threads.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _received.clear()
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # as in a shell's background jobs
    ended = threading.Event()

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if number in expected:
            expected.discard(number)
        elif ignored:
            return
        elif _received:
            os._exit(128 + number)
        else:
            _received.append(number)
        raise KeyboardInterrupt

    def wait_for_sigterm() -> None:
        while True:
            signal.sigwait({signal.SIGTERM})
            if ended.is_set():
                return
            if _received:
                os._exit(128 + signal.SIGTERM)
            _received.append(signal.SIGTERM)
            expected.add(signal.SIGINT)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    expected: set[int] = set()
    before = signal.signal(signal.SIGINT, interrupt)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    _unblocked[:] = [mask]
    watcher = threading.Thread(target=wait_for_sigterm, name="SIGTERM", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        signal.pthread_kill(watcher.ident or 0, signal.SIGTERM)
        watcher.join()
        _unblocked.clear()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, before)


@contextmanager
def sigterm_handler_kept() -> Iterator[None]:
    """After the context SIGTERM has the handler it had before it, or interrupts where it had none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, _interrupt if before in (signal.SIG_DFL, None) else before)


def raise_if_interrupted() -> None:
    """Raise the `KeyboardInterrupt` of a signal once more, in case the code that it hit has swallowed it."""
    if _received:
        raise KeyboardInterrupt


def exit_status() -> int:
    """The exit status of a command that was interrupted: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (_received[0] if _received else signal.SIGINT)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


_unblocked: list[set[int | signal.Signals]] = []
"""The signal mask of before `signals_interrupt`, while it is in force; the processes that Ray starts have it."""


def _unblock_in_child() -> None:
    if _unblocked:
        signal.pthread_sigmask(signal.SIG_SETMASK, _unblocked[0])


os.register_at_fork(after_in_child=_unblock_in_child)
