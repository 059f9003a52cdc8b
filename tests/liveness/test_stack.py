"""A stack as faulthandler writes it is read, by every Python that we run on."""

from __future__ import annotations

import faulthandler
import tempfile
import threading

import pytest

from actorcluster._worker.stack import Stack, read_stack

LIFELINE = """\
Thread 0x00007f67da5fe6c0 (most recent call first):
  File "/lib/actorcluster/_worker/bootstrap.py", line 238 in _watch
  File "/lib/python3.11/threading.py", line 982 in run
  File "/lib/python3.11/threading.py", line 1045 in _bootstrap_inner
  File "/lib/python3.11/threading.py", line 1002 in _bootstrap

"""
MAIN = """\
Current thread 0x00007f67dc62cb80 (most recent call first):
  File "/app/web.py", line 16 in handle
  File "/app/web.py", line 7 in main
  File "<string>", line 1 in <module>
"""
FOUND = ("/app/web.py", 16, "handle")


def place(text: str) -> tuple[str, int, str] | None:
    stack = read_stack(text)
    return None if stack is None else (stack.file, stack.line, stack.function)


@pytest.mark.parametrize(
    "text",
    [
        MAIN,
        LIFELINE + MAIN,
        # The signal was taken by another thread.
        LIFELINE.replace("Thread", "Current thread") + MAIN.replace("Current thread", "Thread"),
        # Threads have names in later versions, and more is said of them.
        LIFELINE.replace("6c0 (", "6c0 [lifeline] (") + MAIN.replace("b80 (", "b80 [python3] ("),
        MAIN.replace("  File", "  Garbage-collecting\n  File", 1),
        MAIN.replace('  File "<string>", line 1 in <module>\n', "  ...\n"),
    ],
)
def test_the_innermost_call_of_the_main_thread(text: str) -> None:
    assert FOUND == place(text)


def test_the_whole_text_is_kept() -> None:
    file, line, function = FOUND
    text = LIFELINE + MAIN
    assert Stack(file=file, line=line, function=function, text=text) == read_stack(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        LIFELINE,
        MAIN.splitlines()[0],
        "Thread 0x0 (most recent call first):\n  <no Python frame>\n",
        '  File "half a l',
    ],
)
def test_without_the_main_thread_there_is_none(text: str) -> None:
    assert None is read_stack(text)


@pytest.mark.parametrize(
    ("written", "name"),
    [(r"caf\xe9", "café"), (r"\u4e2d", "\u4e2d"), (r"\U0001f600", "\U0001f600"), ('a"b', 'a"b')],
)
def test_names_that_are_not_ascii(written: str, name: str) -> None:
    text = MAIN.replace("web.py", written).replace("handle", written)
    assert (f"/app/{name}", 16, name) == place(text)


def test_what_this_python_writes() -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        with tempfile.TemporaryFile("w+") as file:
            faulthandler.dump_traceback(file, all_threads=True)
            file.seek(0)
            stack = read_stack(file.read())
    finally:
        over.set()
        thread.join()
    assert stack is not None
    assert (__file__, test_what_this_python_writes.__name__) == (stack.file, stack.function)
