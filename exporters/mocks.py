"""Mocks for packages that originals import but never use to compute an embedding."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

UNNEEDED = ("torchvision", "torchaudio", "transformers", "PIL")


class _StandIns(MetaPathFinder, Loader):
    """Finds any module below the given packages, and fills it with mocks."""

    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = packages

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> Any:
        if fullname.partition(".")[0] in self.packages:
            return ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class _StandIn(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = MagicMock(name=f"{self.__name__}.{name}")
        setattr(self, name, value)
        return value


@contextlib.contextmanager
def stand_ins(*packages: str) -> Iterator[None]:
    """Give mocks for imports of packages, within a ``with`` statement.

    The mocks are gone afterwards, because torch and others ask whether the real packages are
    installed.

    Parameters
    ----------
    *packages : str
        Names of packages, whether they are installed or not; by default, those of UNNEEDED that are
        missing.

    Examples
    --------
    >>> with stand_ins():
    ...     import laion_clap
    """
    names = packages or [one for one in UNNEEDED if importlib.util.find_spec(one) is None]
    finder = _StandIns(names)
    real = _withdrawn(finder.packages)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        _withdrawn(finder.packages)
        sys.modules.update(real)


def _withdrawn(packages: Sequence[str]) -> dict[str, ModuleType]:
    """Remove the modules of these packages from the imported ones, and return them."""
    names = [name for name in sys.modules if name.partition(".")[0] in packages]
    return {name: sys.modules.pop(name) for name in names}
