"""A worker that ends takes down what it has made itself, not what its fork server had imported.

Runs in: worker

Theory of operation
===================

An interpreter that ends clears its modules one by one. In a forked worker that writes to nearly all
pages that it shares with the fork server: each is copied, only to be thrown away, and that costs
more than its start. So the modules that came with the fork server (the standard library's, Trio's,
actorcluster's own) are taken out of ``sys.modules`` at the last moment: after threads, atexit
functions and the last regular collection, before modules are cleared. All others, those of
``preload`` included, end as they ever did, with whatever their objects do then.

What is spared is never freed. That must not be seen by anybody who relies on it: an object that was
put into a spared module, or is known there alone, and writes what it holds when it is freed. Hence
no module is spared as long as the worker has anything that does something at its end, be it a file
that can be written to or an object with a ``__del__`` (see `_ends`), unless it is one of the
standard streams, which the interpreter looks after itself. The same goes for what the modules of
``preload`` have made. Then nothing stays frozen either, and the end is that of any other program:
what a frozen object refers to would be freed too late to write anything.

Any other program loses something, too: what only a module knows that outlives the last collection
is freed when other modules have been cleared, and can no longer write what needs these. Functions
given to `os.register_at_fork` keep such modules alive; one of Trio's does, and by it all of Trio,
`typing`, whose list of overloads has `Primary.events`, and so most of actorcluster and what that
imports.

The moment is that of the collection in ``Py_FinalizeEx``, of which `gc.callbacks` tells. Where a
program has turned the collector off there is none, and nothing is spared.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib.util
import io
import socket
import sys
import types
from collections.abc import Iterable
from typing import Any, Final, final

__all__ = ["Spared", "leave_openssl_as_it_is"]

_ITS_OWN: Final = frozenset({"__main__", "builtins", "sys"})
"""Modules that the interpreter takes down in its own way, or that are the program's."""
_HOLD_NOTHING: Final = frozenset(
    {socket.socket, io.BufferedReader, io.BytesIO, io.FileIO, io.StringIO}
)
"""Their objects' end is to be closed, or nothing: the end of the process does it as well."""
_ALL: Final = 2  # the generation whose collection is that of all objects
_STREAMS: Final = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__")
_LAST: Final = ("last_exc", "last_type", "last_value", "last_traceback")
"""What `sys` keeps of an exception that nobody caught, and so all frames that it went through."""
_NO_ATEXIT: Final = 0x0008_0000  # OPENSSL_INIT_NO_ATEXIT


@final
class Spared:
    """The modules that workers spare; to be made before any of ``preload`` is imported.

    An interpreter calls first what was registered last, so this hears of the end after them.
    """

    def __init__(self) -> None:
        self._modules: dict[str, types.ModuleType] = {}
        self._known: set[int] = set()
        self._spares = False
        self._is_worker = False
        atexit.register(self._at_exit)

    def choose(self) -> None:
        """Spare what has been imported by now."""
        self._modules = {k: v for k, v in sys.modules.items() if k not in _ITS_OWN}
        self._known = {id(it) for it in _with_an_end(gc.get_objects())}

    def confirm(self) -> None:
        """Spare nothing if what was imported since has made anything that does something then."""
        found = (id(it) for it in _with_an_end(gc.get_objects()))
        self._spares = self._known.issuperset(found)
        self._known = set()
        # For ever: what nobody refers to any more is freed.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._modules))

    def forked(self) -> None:
        """In a worker: its end is to come."""
        self._is_worker = True

    def _at_exit(self) -> None:
        if not self._is_worker:
            return
        for name in _LAST:  # the interpreter would do that next, after the collection
            vars(sys).pop(name, None)
        if gc.isenabled():
            gc.callbacks.append(self._collected)
        else:
            self._spare_nothing()

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        if phase != "stop" or info["generation"] < _ALL or not sys.is_finalizing():
            return
        gc.callbacks.remove(self._collected)
        streams = _streams()
        # Those of the fork server are frozen, and not among them.
        if self._spares and all(id(it) in streams for it in _with_an_end(gc.get_objects())):
            self._spare()
        else:
            self._spare_nothing()

    def _spare(self) -> None:
        modules = sys.modules
        for name, module in self._modules.items():
            if modules.get(name) is module:
                del modules[name]

    def _spare_nothing(self) -> None:
        self._modules.clear()  # the interpreter clears sooner, and better, what nobody else has
        gc.unfreeze()


def _streams() -> set[int]:
    """The objects behind the standard streams."""
    found = set()
    for name in _STREAMS:
        stream: Any = getattr(sys, name, None)
        for attribute in (None, "buffer", "raw"):
            if attribute is not None:
                stream = getattr(stream, attribute, None)
            found.add(id(stream))
    return found


def _with_an_end(objects: Iterable[object]) -> Iterable[object]:
    """Those among these that do something when they are freed."""
    types_of_them = {type(it) for it in objects}
    ending = {it for it in types_of_them if _ends(it)}
    return [it for it in objects if type(it) in ending] if ending else []


def _ends(it: type) -> bool:
    """Whether its objects have a finalizer, in Python or in C, and something to do in it."""
    return it not in _HOLD_NOTHING and any("__del__" in vars(base) for base in it.__mro__)


def leave_openssl_as_it_is() -> None:
    """Have OpenSSL not tidy up when a process exits: that, too, is memory to be thrown away.

    To be called before anything has used it, as `OPENSSL_init_crypto` demands.
    """
    with contextlib.suppress(OSError, AttributeError, ImportError):
        spec = importlib.util.find_spec("_ssl")
        library = ctypes.CDLL(None if spec is None else spec.origin)
        library.OPENSSL_init_crypto(ctypes.c_uint64(_NO_ATEXIT), None)
