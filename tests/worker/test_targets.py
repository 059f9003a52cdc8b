from __future__ import annotations

import functools
import importlib.machinery
import inspect
import json
import pathlib
import re
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

from actorcluster._worker.imports import MAIN_NAME, loading_main
from actorcluster._worker.settings import Settings
from actorcluster._worker.targetchecks import check_target
from actorcluster._worker.targets import Target, load_target
from tests.worker.helpers import config_of

from . import sample_targets as sample

HERE = "tests.worker.sample_targets"
DEFAULTS = Settings()


def check(target: object, *args: object) -> Target:
    return check_target(target, args, DEFAULTS)


@pytest.fixture(autouse=True)
def _modules() -> Iterator[None]:
    """Every module that a test imports or replaces is as before afterwards."""
    before = sys.modules.copy()
    yield
    for name in set(sys.modules) - set(before):
        del sys.modules[name]
    sys.modules.update(before)


def refusal(target: object, *args: object, settings: Settings = DEFAULTS) -> str:
    """The text of the TypeError, of exactly that class."""
    with pytest.raises(TypeError) as caught:
        check_target(target, args, settings)
    assert TypeError is type(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- functions

GOOD_FUNCTIONS: list[tuple[Callable[..., Any], tuple[object, ...], str]] = [
    (sample.plain, (), "plain"),
    (sample.with_args, (80,), "with_args"),
    (sample.with_args, (80, "::"), "with_args"),
    (sample.many, (1, 2, 3), "many"),
    (sample.decorated, (), "decorated"),
    (sample.hidden, (), "hidden"),
    (sample.Server.main, (), "Server.main"),
    (sample.Server.run, (), "Server.run"),
]


@pytest.mark.parametrize(("function", "args", "qualname"), GOOD_FUNCTIONS)
def test_good_functions(
    function: Callable[..., Any], args: tuple[object, ...], qualname: str
) -> None:
    target = check(function, *args)
    expected = Target(form="function", module=HERE, qualname=qualname, module_file=sample.__file__)
    assert expected == target
    assert f"{HERE}:{qualname}" == str(target)
    assert function is load_target(target)


def without_module() -> object:
    async def nowhere(actor: object) -> None: ...

    nowhere.__module__ = None  # type: ignore[assignment]  # as odd decorators leave it
    nowhere.__qualname__ = "nowhere"
    return nowhere


def with_unknown_module() -> object:
    async def nowhere(actor: object) -> None: ...

    nowhere.__module__ = "unknown_app"
    nowhere.__qualname__ = "nowhere"
    return nowhere


BAD_OBJECTS: list[tuple[object, tuple[object, ...], str, str]] = [
    (sample.lambda_, (), f"{HERE}:<lambda>", "it is a lambda; write it as an async def"),
    (sample.make_closure(), (), "make_closure.<locals>.inner", "move it to the top of a module"),
    (sample.badly_decorated, (), "not_wrapped.<locals>.wrapper", "needs functools.wraps"),
    (sample.server.run, (), "Server.run", "it is a bound method"),
    (sample.Server.make, (), "Server.make", "it is a bound method"),
    (sample.preset, (), "with_args", "functools.partial; give the function itself and its arg"),
    (sample.Server, (), "sample_targets.Server", "it is a class; give an async function"),
    (sample.server, (), "sample_targets.Server object", "a callable object, not a function"),
    (print, (), "print", "it is a callable object, not a function; give an async function"),
    (sample.sync, (), f"{HERE}:sync", "it is a sync function; write async def"),
    (sample.sync_generator, (), f"{HERE}:sync_generator", "it is a sync function"),
    (sample.generator, (), f"{HERE}:generator", "an async generator; take the yield out"),
    (sample.hides, (), f"{HERE}:hidden", "a decorator or a later definition hides it; give what"),
    (sample.no_parameters, (), f"{HERE}:no_parameters", "takes () and would be called with (ac"),
    (sample.plain, (1,), f"{HERE}:plain", "and would be called with (actor, and 1 more): too many"),
    (sample.with_args, (), f"{HERE}:with_args", "missing a required argument: 'port'; change its"),
    (sample.keyword_only, (), f"{HERE}:keyword_only", "missing a required"),
    (without_module(), (), "None:nowhere", "(__module__ is empty); define it at the top of"),
    (with_unknown_module(), (), "unknown_app:nowhere", "its module 'unknown_app' cannot be import"),
    (5, (), "not 5", 'target must be an async function, "package.module:function" or None'),
    (b"app:web", (), "not b'app:web'", "target must be an async function"),
]


@pytest.mark.parametrize(("target", "args", "culprit", "remedy"), BAD_OBJECTS)
def test_bad_objects(target: object, args: tuple[object, ...], culprit: str, remedy: str) -> None:
    text = refusal(target, *args)
    assert culprit in text
    assert remedy in text


def test_a_coroutine_is_refused_and_closed() -> None:
    coroutine = sample.plain(None)
    text = refusal(coroutine)
    assert "it is a coroutine, the function has been called already" in text
    assert "give the function without the parentheses" in text
    assert inspect.CORO_CLOSED == inspect.getcoroutinestate(coroutine)


# ---------------------------------------------------------------- names

GOOD_NAMES: list[tuple[str, tuple[object, ...]]] = [
    ("plain", ()),
    ("with_args", (80,)),
    ("badly_decorated", ()),
    ("hides", ()),
    ("Server.main", ()),
    ("server.serve", ()),  # by name the worker does have the object
    ("preset", ()),
]


@pytest.mark.parametrize(("name", "args"), GOOD_NAMES)
def test_good_names_in_a_loaded_module(name: str, args: tuple[object, ...]) -> None:
    target = check(f"{HERE}:{name}", *args)
    expected = Target(form="name", module=HERE, qualname=name, module_file=sample.__file__)
    assert expected == target
    function: object = functools.reduce(getattr, name.split("."), sample)
    assert function == load_target(target)


BAD_NAMES: list[tuple[str, tuple[object, ...], str]] = [
    ("", (), 'not a full name; write "package.module:function"'),
    ("web", (), "cannot run 'web' in a worker: it is not a full name; write"),
    ("app.web", (), "it is not a full name"),
    (":web", (), "it is not a full name"),
    ("app:", (), "it is not a full name"),
    (".app:web", (), "it is not a full name"),
    ("app..x:web", (), "it is not a full name"),
    ("app:web:x", (), "it is not a full name"),
    ("app:web()", (), "it is not a full name"),
    ("app/web.py:main", (), "it is not a full name"),
    ("app :web", (), "it is not a full name"),
    (f"{HERE}:plian", (), f"module '{HERE}' has no 'plian'; did you mean 'plain'"),
    (f"{HERE}:xyzzy", (), f"module '{HERE}' has no 'xyzzy'; look at its spelling"),
    (f"{HERE}:Server.plain", (), "has no 'Server.plain'; did you mean 'Server', 'server'?"),
    (f"{HERE}:sync", (), "it is a sync function; write async def"),
    (f"{HERE}:generator", (), "it is an async generator; take the yield out of it"),
    (f"{HERE}:Server", (), "it is a class; give an async function"),
    (f"{HERE}:server", (), "it is of type 'Server', not an async function; name an async"),
    (f"{HERE}:number", (), "it is of type 'int', not an async function"),
    (f"{HERE}:plain", (1,), "too many positional arguments; change its parameters or the args"),
    ("unknown_app:web", (), "module 'unknown_app' cannot be found: No module named 'unknown_app'"),
    ("unknown_app.x:web", (), "module 'unknown_app.x' cannot be found: No module named 'unknown_"),
    ("json.nope:web", (), "module 'json.nope' cannot be found: No module named 'json.nope'; look"),
    ("json.decoder.x:web", (), "module 'json.decoder.x' cannot be found: __path__ attribute not"),
]


@pytest.mark.parametrize(("name", "args", "text"), BAD_NAMES)
def test_bad_names(name: str, args: tuple[object, ...], text: str) -> None:
    message = refusal(name, *args)
    assert text in message
    assert repr(name) in message


def test_a_missing_module_is_the_cause() -> None:
    with pytest.raises(TypeError) as caught:
        check("unknown_app:web")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    assert "unknown_app" == caught.value.__cause__.name


def test_a_name_without_a_signature_is_left_to_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    function: Callable[..., Any] = sample.plain
    preset = functools.partial(function, 1, 2, 3)  # inspect.signature: ValueError
    monkeypatch.setattr(sample, "preset", preset)
    assert f"{HERE}:preset" == str(check(f"{HERE}:preset"))


SHOP = """
import shop_dependency
async def web(actor, port=80): ...
def sync(actor): ...
class Server:
    async def run(self): ...
async def generator(actor): yield 1
other = web
"""


@pytest.fixture
def shop(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A package whose module must not be imported by looking at it."""
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "web.py").write_text(SHOP)
    monkeypatch.syspath_prepend(tmp_path)
    return package


def test_good_names_are_checked_without_importing(shop: pathlib.Path) -> None:
    file = str(shop / "web.py")
    for qualname, args in [("web", ()), ("web", (1,)), ("Server.run", ()), ("other", (1, 2, 3))]:
        expected = Target(form="name", module="shop.web", qualname=qualname, module_file=file)
        assert expected == check(f"shop.web:{qualname}", *args)
    assert "shop" in sys.modules  # the packages above it are imported
    assert "shop.web" not in sys.modules


SHOP_BAD: list[tuple[str, tuple[object, ...], str]] = [
    ("wbe", (), "module 'shop.web' has no 'wbe'; did you mean 'web'?"),
    ("xyzzy.y", (), "module 'shop.web' has no 'xyzzy.y'; look at its spelling"),
    ("sync", (), "it is a sync function; write async def"),
    ("Server", (), "it is a class; give an async function"),
    ("generator", (), "it is an async generator; take the yield out of it"),
    ("web", (1, 2), "it takes (actor, port=80) and would be called with (actor, and 2 more): too"),
]


@pytest.mark.parametrize(("qualname", "args", "text"), SHOP_BAD)
def test_bad_names_are_refused_without_importing(
    shop: pathlib.Path, qualname: str, args: tuple[object, ...], text: str
) -> None:
    message = refusal(f"shop.web:{qualname}", *args)
    assert text in message
    assert f"'shop.web:{qualname}'" in message
    assert "shop.web" not in sys.modules


@pytest.mark.parametrize("source", [b"async def web(", b"async def web(actor): ...\0"])
def test_a_module_that_does_not_compile(shop: pathlib.Path, source: bytes) -> None:
    (shop / "web.py").write_bytes(source)
    assert "module 'shop.web' does not compile: " in refusal("shop.web:web")


def test_what_has_no_readable_source_is_left_to_the_worker(shop: pathlib.Path) -> None:
    (shop / "web.py").write_bytes(b"# coding: utf-8\n'\xff'")
    assert "shop.web:web" == str(check("shop.web:web"))
    sys.modules.pop("_elementtree", None)
    assert "_elementtree:web" == str(check("_elementtree:web"))


def test_a_module_without_a_file() -> None:
    sys.modules.pop("__phello__", None)
    assert Target(form="name", module="__phello__", qualname="web") == check("__phello__:web")


def test_failing_packages_above_raise_their_own_error(shop: pathlib.Path) -> None:
    (shop / "__init__.py").write_text("raise LookupError('mine')")
    with pytest.raises(LookupError, match="mine"):
        check("shop.web:web")


# ---------------------------------------------------------------- the started script


def started(
    monkeypatch: pytest.MonkeyPatch, source: str, path: pathlib.Path | str | None
) -> types.ModuleType:
    """Make *source* the started script of this process, and execute it."""
    module = types.ModuleType("__main__")
    module.__dict__.update(check=check, refusal=refusal)
    if path is not None:
        module.__file__ = str(path)
        if isinstance(path, pathlib.Path):
            path.write_text(source)
    monkeypatch.setitem(sys.modules, "__main__", module)
    exec(compile(source, str(path), "exec", dont_inherit=True), vars(module))
    return module


WEB = "async def web(actor): ...\n"


def test_function_of_the_started_script(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "serve.py"
    module = started(monkeypatch, WEB, path)
    expected = Target(form="function", module="__main__", qualname="web", main={"path": str(path)})
    assert expected == check(module.web)
    assert attrs.evolve(expected, form="name") == check("__main__:web")
    found = load_target(expected)
    assert MAIN_NAME == found.__module__
    # And once more, as a worker that opens a primary of its own does it.
    assert expected == check(found)


@pytest.mark.parametrize(
    ("name", "main"),
    [("shop.serve", {"name": "shop.serve"}), ("__main__", {"path": "/usr"})],  # -m, a directory
)
def test_started_script_with_a_spec(
    monkeypatch: pytest.MonkeyPatch, name: str, main: dict[str, str]
) -> None:
    module = started(monkeypatch, WEB, "/usr/__main__.py")
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    assert config_of(main) == check(module.web).to_config()


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        (None, "this Python was started without a file (python -c, or interactively)"),
        ("<stdin>", "does not exist"),
        ("/nowhere/serve.py", "the file of the started script, '/nowhere/serve.py', does not"),
    ],
)
def test_started_script_without_a_file(
    monkeypatch: pytest.MonkeyPatch, path: str | None, problem: str
) -> None:
    module = started(monkeypatch, WEB, path)
    for culprit, target in [("__main__:web", module.web), ("the started script", None)]:
        text = refusal(target)
        assert culprit in text
        assert problem in text
        assert "put the function into a module file, or set settings.exec" in text


def test_missing_guard(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "serve.py"
    with pytest.raises(RuntimeError) as caught:
        started(monkeypatch, WEB + "def start(): check(web)\nstart()\n", path)
    text = str(caught.value)
    assert f"line 3 of {path} would run again in every worker" in text
    assert '    if __name__ == "__main__":\n        actorcluster.run(main)\n' in text


@pytest.mark.parametrize(
    "source",
    [
        WEB + 'if __name__ == "__main__":\n    check(web)\n',
        WEB + 'check("tests.worker.sample_targets:plain")\n',  # does not live in the script
    ],
)
def test_guard_present_or_not_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, source: str
) -> None:
    started(monkeypatch, source, tmp_path / "serve.py")


def test_guard_is_not_judged_without_the_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "app.zip").mkdir()
    module = types.ModuleType("__main__")
    module.__dict__.update(check=check)
    module.__file__ = str(tmp_path / "app.zip")  # exists, but cannot be read as a file
    monkeypatch.setitem(sys.modules, "__main__", module)
    exec(compile(WEB + "check(web)", "app", "exec", dont_inherit=True), vars(module))


def test_guard_is_not_judged_from_another_thread(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    found: list[Target] = []
    source = WEB + "t = Thread(target=lambda: found.append(check(web)))\nt.start()\nt.join()\n"
    path = tmp_path / "serve.py"
    path.write_text(source)
    module = types.ModuleType("__main__")
    module.__dict__.update(check=check, found=found, Thread=threading.Thread)
    module.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "__main__", module)
    exec(compile(source, str(path), "exec", dont_inherit=True), vars(module))
    assert ["__main__:web"] == [str(target) for target in found]


# ---------------------------------------------------------------- None: scripts


def test_script_from_settings(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "worker.py"
    path.write_text("")
    expected = Target(form="script", main={"path": str(path)}, script=str(path))
    assert expected == check_target(None, (), Settings(exec=str(path)))
    monkeypatch.chdir(tmp_path)
    target = check_target(None, (), Settings(exec="worker.py"))
    assert expected == target
    assert str(path) == str(target)


def test_script_that_is_a_command_line() -> None:
    target = check_target(None, (), Settings(exec=("node", "worker.js")))
    assert Target(form="script") == target
    assert "the command line of settings.exec" == str(target)


def test_script_is_the_started_one(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "serve.py"
    started(monkeypatch, "", path)
    assert Target(form="script", main={"path": str(path)}, script=str(path)) == check(None)


def test_script_of_a_worker_that_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    module = started(monkeypatch, "", "/package/actorcluster/_worker/__main__.py")
    name = "actorcluster._worker.__main__"
    module.__spec__ = types.SimpleNamespace(name=name)  # type: ignore[assignment]  # has what is looked at
    text = refusal(None)
    assert "this process is a worker that was started without a script" in text
    assert "set settings.exec" in text


def test_bad_scripts() -> None:
    assert "settings.exec '/nowhere/worker.py' does not exist; set exec to the path" in refusal(
        None, settings=Settings(exec="/nowhere/worker.py")
    )
    assert "nothing takes the 2 arguments after it; use settings.args" in refusal(None, 1, 2)


# ---------------------------------------------------------------- in the worker


def test_config_round_trip() -> None:
    examples = [
        Target(form="script"),
        Target(form="name", module="a.b", qualname="c", module_file="/a/b.py"),
        Target(form="function", module="__main__", qualname="c", main={"path": "/s.py"}),
    ]
    for target in examples:
        config = json.loads(json.dumps(target.to_config()))
        assert target == Target.from_config(config)
        assert target == Target.from_config(config | {"of a later version": 1})


@pytest.mark.parametrize(
    ("qualname", "text"),
    [
        ("plian", f"module '{HERE}' has no 'plian'; did you mean 'plain'"),
        ("sync", f"cannot run {HERE}:sync in a worker: it is a sync function"),
        ("Server", "it is a class"),
        ("number", "it is of type 'int', not an async function"),
    ],
)
def test_worker_verifies(qualname: str, text: str) -> None:
    with pytest.raises(TypeError, match=re.escape(text)):
        load_target(Target(form="name", module=HERE, qualname=qualname))


def test_worker_without_a_function() -> None:
    with pytest.raises(TypeError, match=r"has to call actorcluster.run_worker\(function\) itself"):
        load_target(Target(form="script", script="/app/worker.py"))


def test_import_errors_in_the_worker_are_the_original_ones(shop: pathlib.Path) -> None:
    target = check("shop.web:web")
    with pytest.raises(ModuleNotFoundError, match="No module named 'shop_dependency'"):
        load_target(target)
    (shop / "web.py").write_text("1 / 0")
    with pytest.raises(ZeroDivisionError):
        load_target(target)


def test_what_is_being_imported_is_known(shop: pathlib.Path) -> None:
    source = "import actorcluster._worker.imports as t\nseen = t.loading_main()\n" + WEB
    (shop / "web.py").write_text(source)
    assert loading_main() is None
    load_target(check("shop.web:web"))
    assert str(shop / "web.py") == sys.modules["shop.web"].seen
    assert loading_main() is None


def test_program_that_would_start_again_inside_a_module(shop: pathlib.Path) -> None:
    line = "from actorcluster._worker.imports import refuse_while_loading as run\nrun('run()')\n"
    (shop / "web.py").write_text(WEB + line)
    with pytest.raises(RuntimeError, match=r"while a worker imported .*/shop/web\.py"):
        load_target(check("shop.web:web"))
