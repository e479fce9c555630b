"""The map of modules in the package's docstring, against the modules that there are."""

import re
from pathlib import Path

import dpm_lib


def test_every_module_is_on_the_map():
    there = {path.stem for path in Path(dpm_lib.__file__).parent.glob("*.py") if not path.stem.startswith("__")}
    named = re.findall(r"``(\w+)``", dpm_lib.__doc__.split("Conventions")[0])
    assert sorted(named) == sorted(there | {"widgets"})
