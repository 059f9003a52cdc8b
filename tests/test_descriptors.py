"""What tests of descriptors rely on."""

from __future__ import annotations

import errno
import os

import pytest

from tests.descriptors import memfd, no_free_descriptor


@pytest.mark.parametrize("but", [0, 1, 3])
def test_so_many_are_free(but: int) -> None:
    """Also where numbers between are free; and all of them afterwards."""
    some = [memfd() for _ in range(4)]
    os.close(some.pop(1))
    try:
        with no_free_descriptor(but=but):
            some += [memfd() for _ in range(but)]
            with pytest.raises(OSError, match="Too many open files") as caught:
                memfd()
        assert errno.EMFILE == caught.value.errno
        some.append(memfd())
    finally:
        for fd in some:
            os.close(fd)
