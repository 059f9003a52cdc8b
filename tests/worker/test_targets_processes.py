"""Targets by way of real processes: what the primary names, the worker finds."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import textwrap
import zipfile
from typing import Any

import pytest

from actorcluster._worker import targets
from actorcluster._worker.imports import MAIN_NAME
from actorcluster._worker.targets import Target
from tests.worker.helpers import config_of

ROOT = pathlib.Path(targets.__file__).parents[2]  # where actorcluster is imported from


# ---------------------------------------------------------------- real processes

PRIMARY = """
import json, sys, trio
from actorcluster._worker.settings import Settings
from actorcluster._worker.imports import refuse_while_loading
from actorcluster._worker.targetchecks import check_target

async def web(actor):
    return __name__, sys.modules["__main__"].__name__, web is sys.modules["__main__"].web

def run():
    refuse_while_loading("run()")
    trio.run(main)

async def main():
    await trio.lowlevel.checkpoint()
    try:
        targets = [check_target(t, (), Settings()).to_config() for t in (web, None)]
    except Exception as error:
        print(json.dumps([type(error).__name__, str(error)]))
    else:
        print(json.dumps(targets))
"""
GUARDED = PRIMARY + '\nif __name__ == "__main__":\n    run()\n'
UNGUARDED = PRIMARY + "\nrun()\n"
WORKER = """
import json, sys
from actorcluster._worker.targets import Target, load_target
sys.path[:0] = json.loads(sys.argv[2])
fn = load_target(Target.from_config(json.loads(sys.argv[1])))
try:
    fn(None).send(None)
except StopIteration as stop:
    print(json.dumps(stop.value))
"""


def python(*argv: object, cwd: pathlib.Path) -> Any:
    """What a program of one line of JSON says."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"PYTHONPATH": path}
    command = [sys.executable, *map(str, argv)]
    return json.loads(subprocess.check_output(command, cwd=cwd, env=env, text=True))


def run_in_worker(config: dict[str, Any], cwd: pathlib.Path) -> None:
    """Load the target in a process of its own and call it."""
    expected = [MAIN_NAME, MAIN_NAME, True]
    path = json.dumps([str(cwd)])
    assert expected == python("-c", WORKER, json.dumps(config), path, cwd=pathlib.Path("/"))


def test_process_started_from_a_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "serve.py"
    path.write_text(GUARDED)
    main = {"path": str(path)}
    script = Target(form="script", main=main, script=str(path)).to_config()
    assert [config_of(main), script] == python("serve.py", cwd=tmp_path)
    run_in_worker(config_of(main), tmp_path)


@pytest.mark.parametrize(("argument", "name"), [("shop.serve", "serve"), ("shop", "__main__")])
def test_process_started_from_a_module(tmp_path: pathlib.Path, argument: str, name: str) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / f"{name}.py").write_text("from . import __name__ as package\n" + GUARDED)
    main = {"name": f"shop.{name}"}
    script = Target(form="script", main=main, script=str(package / f"{name}.py")).to_config()
    assert [config_of(main), script] == python("-m", argument, cwd=tmp_path)
    run_in_worker(config_of(main), tmp_path)


def test_process_started_from_a_directory_or_zip_file(tmp_path: pathlib.Path) -> None:
    directory, archive = tmp_path / "app", tmp_path / "app.zip"
    directory.mkdir()
    (directory / "__main__.py").write_text(GUARDED)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("__main__.py", GUARDED)
    for path in (directory, archive):
        main = {"path": str(path)}
        script = Target(form="script", main=main, script=str(path)).to_config()
        assert [config_of(main), script] == python(path.name, cwd=tmp_path)
        run_in_worker(config_of(main), tmp_path)


def test_process_started_from_a_command(tmp_path: pathlib.Path) -> None:
    name, text = python("-c", GUARDED, cwd=tmp_path)
    assert "TypeError" == name
    assert "cannot run __main__:web in a worker" in text
    assert "python -c" in text


def test_process_without_the_guard(tmp_path: pathlib.Path) -> None:
    (tmp_path / "serve.py").write_text(UNGUARDED)
    for argv in (["serve.py"], ["-m", "serve"]):
        name, text = python(*argv, cwd=tmp_path)
        assert "RuntimeError" == name
        assert f"of {tmp_path / 'serve.py'} would run again in every worker" in text
    # What the parent cannot see the worker does.
    program = textwrap.dedent(
        """
        import json, sys
        from actorcluster._worker.targets import Target, load_target
        try:
            load_target(Target.from_config(json.loads(sys.argv[1])))
        except RuntimeError as error:
            print(json.dumps(str(error)))
        """
    )
    config = json.dumps(config_of({"path": str(tmp_path / "serve.py")}))
    text = python("-c", program, config, cwd=tmp_path)
    assert f"run() was reached while a worker imported {tmp_path / 'serve.py'}" in text
