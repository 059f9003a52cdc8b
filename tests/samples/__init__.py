"""Workers in other languages: examples/workers, built, tested and set to work."""

import pytest

# What is the same in all languages is asserted there; pytest is to say what was found instead.
pytest.register_assert_rewrite(*(f"{__name__}.{name}" for name in ("actor", "load", "serving")))
