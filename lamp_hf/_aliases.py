"""Import paths that README and docs named before modules moved; they work until the next version.

Importing an old path gives the module at the new path and a `DeprecationWarning` that names it. Nothing is imported
before it is asked for.
"""

import importlib
import importlib.abc
import importlib.util
import sys
import warnings
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any


NEW_PATHS = {
    "lamp_hf.convert": "lamp_hf.import_checkpoint",
    "lamp_hf.demo": "lamp_hf.serve.demo",
    "lamp_hf.metrics.evaluators": "lamp_hf.evaluators.motion_evaluator",
    "lamp_hf.metrics.guo": "lamp_hf.evaluators.guo",
}


class _OldPathFinder(importlib.abc.MetaPathFinder):
    """Finds the modules of [`NEW_PATHS`], and their submodules, by their old names."""

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        moved = next((old for old in NEW_PATHS if f"{name}.".startswith(f"{old}.")), None)
        new = importlib.util.find_spec(NEW_PATHS[moved] + name.removeprefix(moved)) if moved else None
        if new is None:
            return None
        is_package = new.submodule_search_locations is not None
        return importlib.util.spec_from_loader(name, _MovedModule(name, new), is_package=is_package)


class _MovedModule(importlib.abc.Loader):
    """Loads a module from where it is now."""

    def __init__(self, old_name: str, new: ModuleSpec):
        self._old_name, self._new = old_name, new

    def exec_module(self, module: ModuleType) -> None:
        if self._old_name in NEW_PATHS:  # its submodules need no warning of their own
            warnings.warn(self._message(), DeprecationWarning, stacklevel=2)
        sys.modules[self._old_name] = importlib.import_module(self._new.name)

    def get_code(self, name: str) -> CodeType:
        """Return the code that `python -m` runs; its user sees warnings of `__main__` only."""
        warnings.warn_explicit(self._message(), DeprecationWarning, name, 1, module="__main__")
        loader: Any = self._new.loader
        return loader.get_code(self._new.name)

    def _message(self) -> str:
        old, new = (path.removesuffix(".__main__") for path in (self._old_name, self._new.name))
        return f"{old} is now {new}; the old name goes away in the next version"


def install() -> None:
    """Make the old paths importable."""
    sys.meta_path.insert(0, _OldPathFinder())
