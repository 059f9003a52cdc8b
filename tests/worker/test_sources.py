from __future__ import annotations

import textwrap

import pytest

from actorcluster._worker.sources import is_unguarded, look

LOOK: list[tuple[str, str, str]] = [
    ("async def web(actor): ...", "web", "async"),
    ("if x:\n  async def web(actor): ...", "web", "async"),
    ("try:\n  import x\nexcept E as error:\n  async def web(actor): ...", "web", "async"),
    ("class C:\n  def web(self): ...\nasync def web(actor): ...", "web", "async"),
    ("def f():\n  web = 1\nasync def web(actor): ...", "web", "async"),
    ("async def web(actor):\n  async def inner():\n    yield 1", "web", "async"),
    ("async def web(actor):\n  yield 1", "web", "asyncgen"),
    ("def web(actor): ...", "web", "sync"),
    ("if x:\n  def web(actor): ...\nelse:\n  def web(actor): ...", "web", "sync"),
    ("class web: ...", "web", "class"),
    # certainly not there
    ("", "web", "missing"),
    ("print(web)", "web", "missing"),
    ("def f():\n  async def web(actor): ...", "web", "missing"),
    ("class C:\n  async def web(self): ...", "web", "missing"),
    ("import a.web, b as c\nfrom d import e", "web", "missing"),
    ("", "C.web", "missing"),
    # doubt
    ("web = make()", "web", "unknown"),
    ("web: object = make()", "web", "unknown"),
    ("from app.other import web", "web", "unknown"),
    ("from app.other import x as web", "web", "unknown"),
    ("import web.app", "web", "unknown"),
    ("for web in x: ...", "web", "unknown"),
    ("with x as (web, y): ...", "web", "unknown"),
    ("try: ...\nexcept E as web: ...", "web", "unknown"),
    ("match x:\n  case [*web]: ...", "web", "unknown"),
    ("match x:\n  case {**web}: ...", "web", "unknown"),
    ("match x:\n  case C() as web: ...", "web", "unknown"),
    ("(web := 1)", "web", "unknown"),
    ("def f():\n  global web\n  web = 1", "web", "unknown"),
    ("from x import *", "web", "unknown"),
    ("def __getattr__(name): ...", "web", "unknown"),
    ("globals()['web'] = 1", "web", "unknown"),
    ("import sys\nsys.modules[__name__] = 1", "web", "unknown"),
    ("@deco\ndef web(actor): ...", "web", "unknown"),
    ("@deco\nasync def web(actor): ...", "web", "unknown"),
    ("def web(actor): ...\nweb = asyncify(web)", "web", "unknown"),
    ("async def web(actor): ...\nasync def web(actor): ...", "web", "unknown"),
    ("class C:\n  async def web(self): ...", "C.web", "unknown"),
]


@pytest.mark.parametrize(("source", "name", "kind"), LOOK)
def test_look(source: str, name: str, kind: str) -> None:
    assert kind == look(source, name).kind


def test_look_lists_the_names_of_a_module_that_lacks_one() -> None:
    assert ("a", "b", "C") == look("a = 1\nimport b.c\nclass C: ...", "x").names


@pytest.mark.parametrize("source", ["def", "return 1", "await x", "\0"])
def test_look_at_what_does_not_compile(source: str) -> None:
    with pytest.raises((SyntaxError, ValueError)):
        look(source, "web")


BIND: list[tuple[str, int, bool]] = [
    ("actor", 1, True),
    ("actor", 2, False),
    ("", 1, False),
    ("actor, /, port", 2, True),
    ("actor, /, port", 1, False),
    ("actor, port=1, host=2", 1, True),
    ("actor, port=1, host=2", 3, True),
    ("actor, port=1, host=2", 4, False),
    ("*args", 5, True),
    ("actor, *, key", 1, False),
    ("actor, *, key=1", 1, True),
    ("actor, **options", 1, True),
    ("actor, **options", 2, False),
]


@pytest.mark.parametrize(("parameters", "count", "fits"), BIND)
def test_signature_binds_as_the_function_itself_would(
    parameters: str, count: int, fits: bool
) -> None:
    found = look(f"async def web({parameters}): ...", "web")
    assert f"({parameters})" == found.parameters
    assert found.signature is not None
    try:
        found.signature.bind(*range(count))
    except TypeError:
        assert not fits
    else:
        assert fits


# `>>>` stands before the line that runs just now.
GUARD: list[tuple[str, bool]] = [
    (">>> run(main)", True),
    ("x = 1\n>>> run(\n    main,\n)", True),
    ("try:\n>>>     run(main)\nexcept KeyboardInterrupt:\n    pass", True),
    ("with x:\n>>>     run(main)", True),
    ("for x in y:\n>>>     run(main)", True),
    ("if x:\n    y = 1\n>>> run(main)", True),
    ("class C:\n>>>     run(main)", True),
    ('if __name__ == "__main__":\n>>>     run(main)', False),
    ('if "__main__" == __name__ and x:\n>>>     run(main)', False),
    ('if __name__ != "__main__":\n    pass\nelse:\n>>>     run(main)', False),
    ('if __name__ != "__main__":\n    raise ImportError\n>>> run(main)', False),
    ('assert __name__ == "__main__"\n>>> run(main)', False),
    ('>>> __name__ == "__main__" and run(main)', False),
    ('>>> run(main) if __name__ == "__main__" else None', False),
    ('match __name__:\n    case "__main__":\n>>>         run(main)', False),
    ("if sys.argv:\n>>>     run(main)", False),
    ("with x:\n    if y:\n>>>         run(main)", False),
    ("@run\n>>> # nothing stands here\ndef f(): ...", False),
]


@pytest.mark.parametrize(("script", "unguarded"), GUARD)
def test_is_unguarded(script: str, unguarded: bool) -> None:
    line = next(n for n, text in enumerate(script.split("\n"), 1) if text.startswith(">>> "))
    source = script.replace(">>> ", "")
    code = compile(source, "script.py", "exec", dont_inherit=True)
    assert unguarded == is_unguarded(source.encode(), code, line)


def test_nothing_is_certain_about_a_script_that_was_edited() -> None:
    code = compile("run(main)", "script.py", "exec", dont_inherit=True)
    assert is_unguarded(b"run(main)", code, 1)
    assert not is_unguarded(b"run(other)", code, 1)
    assert not is_unguarded(b"run(", code, 1)


def test_code_is_recognised_whatever_it_consists_of() -> None:
    source = textwrap.dedent(
        """
        from __future__ import annotations
        import dataclasses
        @dataclasses.dataclass
        class C:
            x: int = 5
            def f(self, *, y=(1, 2.0, "ä")): return [lambda: y for _ in range(3) if y]
        async def web(actor):
            async with actor as x:
                return {k: v for k, v in x}
        start(web)
        """
    )
    code = compile(source, "script.py", "exec", dont_inherit=True)
    assert is_unguarded(source.encode(), code, source.count("\n"))
