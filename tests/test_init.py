"""`import octshard` is quick, and the names of the front door are there, for programs and for editors."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import octshard

HEAVY = {"click", "numpy", "omegaconf", "pyarrow", "pydicom", "torch", "webdataset", "zstandard"}


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_package_imports_no_other_module_of_it_and_nothing_heavy() -> None:
    """Counted in modules, not in seconds: what is not imported takes no time."""
    before = "import sys, importlib, typing; before = {*sys.modules}; import octshard; "
    modules = ast.literal_eval(python(before + "print(sorted({*sys.modules} - before))"))
    assert modules == ["octshard"]
    listed = "import sys, octshard; dir(octshard); print(sorted({m.split('.')[0] for m in sys.modules}))"
    assert not HEAVY & set(ast.literal_eval(python(listed)))


@pytest.mark.parametrize("name", octshard.__all__)
def test_every_name_is_there_and_stays_the_same(name: str) -> None:
    assert name in dir(octshard)
    assert getattr(octshard, name) is getattr(octshard, name)
    assert getattr(octshard, name).__doc__


def test_editors_and_type_checkers_see_every_name() -> None:
    """The TYPE_CHECKING block imports exactly what __all__ promises."""
    spec = importlib.util.find_spec("octshard")
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imported == set(octshard.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'octshard' has no attribute 'load_encoders'"):
        octshard.load_encoders  # noqa: B018
    assert not hasattr(octshard, "nothing")
