"""Functions, good and bad, that tests offer as targets. Not a test module."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

AsyncFunction = Callable[..., Coroutine[Any, Any, Any]]


async def plain(actor: object) -> str:
    return "plain"


async def with_args(actor: object, port: int, host: str = "localhost") -> None: ...


async def many(actor: object, *args: object, **options: object) -> None: ...


async def keyword_only(actor: object, *, needed: int) -> None: ...


async def no_parameters() -> None: ...


def sync(actor: object) -> None: ...


def sync_generator(actor: object) -> Any:
    yield actor


async def generator(actor: object) -> AsyncIterator[int]:
    yield 1


def wrapped(fn: AsyncFunction) -> AsyncFunction:
    @functools.wraps(fn)
    async def wrapper(*args: object) -> object:
        return await fn(*args)

    return wrapper


def not_wrapped(fn: AsyncFunction) -> AsyncFunction:
    async def wrapper(*args: object) -> object:
        return await fn(*args)

    return wrapper


@wrapped
async def decorated(actor: object) -> None: ...


@not_wrapped
async def badly_decorated(actor: object) -> None: ...


async def hidden(actor: object) -> None: ...


hides = hidden


async def hidden(actor: object) -> None: ...  # type: ignore[no-redef]  # hidden on purpose


lambda_ = lambda actor: None  # noqa: E731  (has to have that name)


class Server:
    async def run(self) -> None: ...

    async def serve(self, actor: object) -> None: ...

    @staticmethod
    async def main(actor: object) -> None: ...

    @classmethod
    async def make(cls, actor: object) -> None: ...

    async def __call__(self, actor: object) -> None: ...


server = Server()
preset = functools.partial(with_args, port=1)
number = 5


def make_closure() -> Callable[[object], Awaitable[None]]:
    async def inner(actor: object) -> None: ...

    return inner
