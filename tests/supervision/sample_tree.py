"""A tree at the top of a module, as programs write it; nothing is looked up when it is imported."""

from __future__ import annotations

from typing import Any

from actorcluster._cluster.tree import Child, Pool, RetryAfter, Supervisor

__all__ = ["TREE", "main"]


async def main(actor: Any, number: int = 0) -> None:
    """Run nowhere."""


TREE = Supervisor(
    children=[
        Child("clock", main, args=[1], run="task"),
        Supervisor(
            "mail",
            strategy="rest_for_one",
            on_exhausted=RetryAfter(60),
            children=[
                Child("store", "no.such.module:main"),
                Child("smtp", main, env={"PORT": "25"}, shutdown=30),
            ],
        ),
        Pool("web", main, count=4, ready="listening", on_exhausted="park"),
        Child("node", None, exec=["node", "server.js"]),
    ]
)
