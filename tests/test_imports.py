import json
import subprocess
import sys

import tempprop

SCRIPT = """
import importlib, json, pkgutil, sys

def load(package):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

def loaded(*names):
    return [name for name in names if name in sys.modules]

import tempprop
light = loaded("torch", "diffusers", "numpy")
load(tempprop)
below_tempprop = loaded("ray", "prefect", "cluster", "flows")
import flows.cli
below_the_command_line = loaded("ray", "prefect", "cluster")
del sys.modules["flows.cli"], sys.modules["flows"]
import cluster
load(cluster)
print(json.dumps([light, below_tempprop, below_the_command_line, loaded("prefect", "flows")]))
"""


def test_each_floor_of_the_house_stands_on_the_ones_below_it():
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert json.loads(ended.stdout) == [[], [], [], []]
    assert ended.stderr == ""


def test_the_names_of_the_package_are_there():
    for name in tempprop.__all__:
        assert getattr(tempprop, name).__name__ == name
    assert not hasattr(tempprop, "render_film")
