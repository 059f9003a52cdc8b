from __future__ import annotations

import compileall
import pathlib
import sys
import types
import zipfile
from collections.abc import Iterator

import pytest

from actorcluster._worker.imports import (
    MAIN_NAME,
    load_main,
    load_module,
    loading_main,
    refuse_while_loading,
    while_loading,
)

SCRIPT = """
import sys
from __main__ import __name__ as seen_as
counter = 0
async def web(actor):
    global counter
    counter += 1
    return __name__, __package__
if __name__ == "__main__":
    raise SystemExit("would run the program again")
"""


@pytest.fixture(autouse=True)
def _modules() -> Iterator[None]:
    """Every module that a test imports or replaces is as before afterwards."""
    before = sys.modules.copy()
    yield
    for name in set(sys.modules) - set(before):
        del sys.modules[name]
    sys.modules.update(before)


def check_main(module: types.ModuleType) -> None:
    assert module is sys.modules["__main__"]
    assert module is sys.modules[MAIN_NAME]
    assert MAIN_NAME == module.__name__
    assert MAIN_NAME == module.seen_as
    assert MAIN_NAME == module.web.__module__
    assert vars(module) is module.web.__globals__


def test_main_from_a_file_without_leaving_a_cache(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "serve"  # as the scripts in bin are called
    path.write_text(SCRIPT)
    module = load_main({"path": str(path)})
    check_main(module)
    assert module.__spec__ is None
    assert str(path) == module.__file__
    assert [path] == list(tmp_path.iterdir())
    assert module is load_main({"path": str(path)})


def test_main_from_a_compiled_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "serve.py").write_text(SCRIPT)
    assert compileall.compile_dir(str(tmp_path), quiet=2, legacy=True)
    check_main(load_main({"path": str(tmp_path / "serve.pyc")}))


def test_main_from_a_directory(tmp_path: pathlib.Path) -> None:
    (tmp_path / "__main__.py").write_text(SCRIPT)
    module = load_main({"path": str(tmp_path)})
    check_main(module)
    assert str(tmp_path / "__main__.py") == module.__file__


def test_main_from_a_zip_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "app.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__main__.py", SCRIPT)
    module = load_main({"path": str(path)})
    check_main(module)
    assert str(path / "__main__.py") == module.__file__


def test_main_from_a_name(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "other.py").write_text("value = 7")
    (package / "serve.py").write_text("from .other import value\n" + SCRIPT)
    monkeypatch.syspath_prepend(tmp_path)
    module = load_main({"name": "shop.serve"})
    check_main(module)
    assert "shop" == module.__package__
    assert module.__spec__ is not None
    assert "shop.serve" == module.__spec__.name
    assert "shop.serve" not in sys.modules


def test_main_that_is_gone(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_main({"path": str(tmp_path / "gone.py")})
    with pytest.raises(ModuleNotFoundError, match="No module named 'gone_app'"):
        load_main({"name": "gone_app"})


def test_main_without_code() -> None:
    with pytest.raises(ImportError, match="no code to be had for _struct"):
        load_main({"name": "_struct"})


def test_failing_main_raises_its_own_error_and_leaves_nothing(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "serve.py"
    path.write_text("raise LookupError('mine')")
    before = sys.modules["__main__"]
    with pytest.raises(LookupError, match="mine"):
        load_main({"path": str(path)})
    assert before is sys.modules["__main__"]
    assert MAIN_NAME not in sys.modules


def test_module_by_name() -> None:
    assert pathlib is load_module("pathlib", None)
    assert pathlib is load_module("pathlib", "/somewhere/else.py")


def test_module_from_its_file_when_nobody_knows_the_name(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "test_x.py"
    path.write_text("async def web(actor): return __name__")
    module = load_module("unknown_tests.worker.test_x", str(path))
    assert module is sys.modules["unknown_tests.worker.test_x"]
    assert "unknown_tests.worker.test_x" == module.web.__module__


@pytest.mark.parametrize("file", [None, "/nowhere/unknown_app.py", "/nowhere/unknown_app.txt"])
def test_module_that_is_nowhere(file: str | None) -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'unknown_app'"):
        load_module("unknown_app", file)


def test_module_whose_own_import_fails(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shop_module.py"
    path.write_text("import not_installed")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="No module named 'not_installed'"):
        load_module("shop_module", str(path))


def test_module_that_fails_from_its_file_leaves_nothing(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "test_x.py"
    path.write_text("raise LookupError('mine')")
    with pytest.raises(LookupError, match="mine"):
        load_module("unknown_app", str(path))
    assert "unknown_app" not in sys.modules


def test_starting_the_program_is_refused_while_loading() -> None:
    assert loading_main() is None
    refuse_while_loading("actorcluster.run()")
    with while_loading("/app/serve.py"):
        assert "/app/serve.py" == loading_main()
        with pytest.raises(RuntimeError) as caught:
            refuse_while_loading("actorcluster.run()")
    assert loading_main() is None
    text = str(caught.value)
    assert "actorcluster.run() was reached while a worker imported /app/serve.py" in text
    assert '    if __name__ == "__main__":\n        actorcluster.run(main)\n' in text
