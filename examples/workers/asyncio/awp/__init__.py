"""AWP, the actorcluster worker protocol, for asyncio: standard library and msgpack."""
