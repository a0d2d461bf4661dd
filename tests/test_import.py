"""`import wieldy` is quick and leaves the process as it was."""

import json
import os
import statistics

import byhand
import pytest
from processes import in_a_process

import wieldy
from wieldy.package.save import save

BUDGET_SECONDS = 0.2


def run(code, *arguments, **environment):
    """Run code in a fresh process and return the JSON that it prints last."""
    lines, said = in_a_process(code, *arguments, **environment)
    assert said == ""
    return json.loads(lines[-1])


SECONDS = """
import time
start = time.perf_counter()
import wieldy
print(time.perf_counter() - start)
"""


def test_importing_takes_less_than_a_fifth_of_a_second():
    assert statistics.median(run(SECONDS) for _ in range(5)) < BUDGET_SECONDS


LOADED = """
import json, sys
before = set(sys.modules)
import wieldy
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_importing_loads_nothing_heavy():
    loaded = {name.split(".")[0] for name in run(LOADED)}
    heavy = {
        "torch",
        "openvino",
        "numpy",
        "scipy",
        "pydantic",
        "safetensors",
        "typer",
        "rich",
        "kornia",
        "jinja2",
    }
    assert loaded.isdisjoint(heavy)
    assert "wieldy" in loaded


STATE = """
import json, logging, os, random, signal, sys, threading, warnings
import numpy as np
def state():
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": list(sys.path),
        "hooks": [repr(hook) for hook in (*sys.meta_path, *sys.path_hooks, sys.excepthook)],
        "warnings": [repr(item) for item in warnings.filters],
        "root": [logging.getLogger().level, [repr(item) for item in logging.getLogger().handlers]],
        "loggers": {name: [item.level, [repr(handler) for handler in item.handlers]]
                    for name, item in logging.Logger.manager.loggerDict.items()
                    if isinstance(item, logging.Logger) and name.startswith("wieldy")},
        "random": repr(random.getstate()),
        "numpy": repr(np.random.get_state()) + repr(np.geterr()) + repr(np.get_printoptions()),
        "signals": [repr(signal.getsignal(item)) for item in (signal.SIGINT, signal.SIGTERM)],
        "threads": threading.active_count(),
    }
before = state()
import wieldy
EXTRA
after = state()
print(json.dumps([name for name in before if before[name] != after[name]]))
"""


@pytest.mark.parametrize("extra", ["", "wieldy.open, wieldy.check, wieldy.save, wieldy.Data, wieldy.Budget"])
def test_importing_changes_nothing_in_the_process(extra):
    assert run(STATE.replace("EXTRA", extra)) == []


HOME = """
import json, os, sys
import numpy as np
import wieldy
y = wieldy.open(sys.argv[1], threads=1)(np.ones((1, 1, 6, 6), np.float32))
print(json.dumps([y.shape[1], sys.modules["openvino_telemetry"]]))
"""


def test_neither_importing_nor_running_a_package_writes_to_the_home_folder(tmp_path):
    path = save(byhand.conv_net(), tmp_path / "net.wieldy")
    home = tmp_path / "home"
    home.mkdir()
    places = {
        name: str(home) for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "TMPDIR")
    }
    assert run(HOME, path, PYTHONDONTWRITEBYTECODE="1", **places) == [3, None]
    assert os.listdir(home) == []


def test_the_public_names_are_few_and_sorted():
    assert len(wieldy.__all__) <= 16
    assert sorted(wieldy.__all__) == wieldy.__all__
    assert len(set(wieldy.__all__)) == len(wieldy.__all__)


@pytest.mark.parametrize("name", wieldy.__all__)
def test_every_public_name_is_there_and_documented(name):
    found = getattr(wieldy, name)
    assert callable(found)
    assert found.__doc__
    assert found.__name__ == name
    assert found.__module__.startswith("wieldy.")


def test_dir_offers_the_public_names_and_the_version():
    assert sorted(dir(wieldy)) == sorted([*wieldy.__all__, "__version__"])


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'wieldy' has no attribute 'compress_everything'"):
        wieldy.compress_everything  # noqa: B018


BASE = """
import json, sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, NoTorch())
import wieldy
from wieldy.core.errors import DependencyError
answers = {}
for name in wieldy.__all__:
    try:
        answers[name] = bool(getattr(wieldy, name)) and "there"
    except DependencyError as error:
        answers[name] = str(error)
print(json.dumps(answers))
"""


def test_without_torch_each_name_works_or_says_what_to_install():
    answers = run(BASE)
    there = {name for name, answer in answers.items() if answer == "there"}
    assert {"Budget", "Data", "check", "open", "save"} <= there
    for name in answers.keys() - there:
        assert answers[name].startswith(f"wieldy.{name} needs torch")
        assert "pip install 'wieldy[compress]'" in answers[name]
