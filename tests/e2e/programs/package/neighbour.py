"""Imported relatively by the program."""

from __future__ import annotations

WORD = "next door"
