"""The docstrings of the public names: their sections, and their examples."""

import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest

import fad_onnx

PACKAGE = Path(fad_onnx.__file__).parent
SECTION = re.compile(r"^(\w+)\n-+$", re.MULTILINE)
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if ">>>" in path.read_text("utf-8")
)


def methods_of(cls):
    """The public methods of a class and of its bases in this package, and its properties."""
    for owner in cls.__mro__:
        if owner.__module__.startswith("fad_onnx."):
            for name, member in vars(owner).items():
                if not name.startswith("_") and not isinstance(member, str | int | float | tuple):
                    yield name, getattr(member, "__func__", member)


def missing(function):
    """The sections that the docstring of a function or of a class lacks."""
    doc = inspect.getdoc(function) or ""
    signature = inspect.signature(function)
    needed = {"Parameters"} if set(signature.parameters) - {"self", "cls"} else set()
    if not inspect.isclass(function) and signature.return_annotation != "None":
        needed.add("Yields" if "Yields\n" in doc else "Returns")
        raises = re.search(r"^\s+raise (?!Attribute)\w+", inspect.getsource(function), re.MULTILINE)
        needed |= {"Raises"} if raises else set()
    return needed - set(SECTION.findall(doc)) if doc else {"a docstring"}


@pytest.mark.parametrize("name", fad_onnx.__all__)
def test_a_public_name_is_documented_whole(name):
    public = getattr(fad_onnx, name)
    assert not missing(public)
    assert ">>> " in inspect.getdoc(public)
    for method, member in methods_of(public) if inspect.isclass(public) else ():
        if inspect.isfunction(member):
            assert not missing(member), f"{name}.{method}"
        elif isinstance(member, property):
            assert member.__doc__, f"{name}.{method}"


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_run(module):
    failed, tried = doctest.testmod(importlib.import_module(f"fad_onnx.{module}"))
    assert tried and not failed


def test_what_is_undocumented_is_found():
    def bare(number) -> int:
        """The next number."""
        if number < 0:
            raise ValueError
        return number + 1

    assert missing(bare) == {"Parameters", "Returns", "Raises"}
