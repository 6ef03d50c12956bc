"""A script that broadcasts from a process that ends in a certain way."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

NAME = "tests:Ends"


def say(text: str) -> None:
    import django

    django.setup()

    from turbo.delivery.broadcast import broadcast

    broadcast(NAME, text)


def in_process(method: str) -> None:
    process = multiprocessing.get_context(method).Process(target=say, args=("0",))
    process.start()
    process.join()


def in_two_generations() -> None:
    if os.environ.setdefault("GENERATION", "1") == "1":
        os.environ["GENERATION"] = "2"
        say("parent")
        process = multiprocessing.get_context("fork").Process(target=in_two_generations)
        process.start()
        process.join()
    else:
        in_process("fork")


def in_executor(method: str) -> None:
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        list(executor.map(say, map(str, range(5))))


def in_pool() -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(say, map(str, range(5)))
        pool.close()
        pool.join()


def late() -> None:
    """Broadcast in handlers that run after the library's own, and at first in one."""
    for number in range(3):
        atexit.register(say, f"early {number}")
    import django

    django.setup()
    for number in range(3):
        atexit.register(say, f"late {number}")


def forked() -> None:
    say("parent")
    if not (pid := os.fork()):
        say("child")
        sys.exit()
    os.waitpid(pid, 0)


def failed() -> None:
    say("0")
    raise RuntimeError("This is the end.")


def in_thread() -> None:
    import django

    django.setup()  # what it imports cannot be imported once the main thread has ended
    threading.Thread(target=say, args=("0",)).start()


def terminated() -> None:
    signal.signal(signal.SIGTERM, lambda *args: sys.exit())
    say("0")
    os.kill(os.getpid(), signal.SIGTERM)


def left_at_once() -> None:
    import turbo

    say("0")
    turbo.flush()
    os._exit(0)


def replaced() -> None:
    import turbo

    say("0")
    turbo.flush()
    os.execv(sys.executable, [sys.executable, "-c", ""])


WAYS: dict[str, tuple[Callable[[], None], list[str]]] = {
    "fork": (lambda: in_process("fork"), ["0"]),
    "spawn": (lambda: in_process("spawn"), ["0"]),
    "forkserver": (lambda: in_process("forkserver"), ["0"]),
    "generations": (in_two_generations, ["0", "parent"]),
    "executor-fork": (lambda: in_executor("fork"), [*"01234"]),
    "executor-spawn": (lambda: in_executor("spawn"), [*"01234"]),
    "executor-forkserver": (lambda: in_executor("forkserver"), [*"01234"]),
    "pool": (in_pool, [*"01234"]),
    "late": (late, [f"{when} {n}" for when in ("early", "late") for n in range(3)]),
    "os.fork": (forked, ["child", "parent"]),
    "exception": (failed, ["0"]),
    "thread": (in_thread, ["0"]),
    "terminated": (terminated, ["0"]),
    "os._exit": (left_at_once, ["0"]),
    "os.execv": (replaced, ["0"]),
}


if __name__ == "__main__":
    WAYS[sys.argv[1]][0]()
