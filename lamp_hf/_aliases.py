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


NEW_PATHS = {
    "lamp_hf.convert": "lamp_hf.import_checkpoint",
    "lamp_hf.demo": "lamp_hf.serve.demo",
    "lamp_hf.metrics.evaluators": "lamp_hf.evaluators.motion_evaluator",
    "lamp_hf.metrics.guo": "lamp_hf.evaluators.guo",
}


class _OldPaths(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and loads the modules of [`NEW_PATHS`] and their submodules under their old names."""

    def find_spec(self, name, path=None, target=None) -> ModuleSpec | None:
        new = importlib.util.find_spec(_new_path(name)) if _new_path(name) else None
        if new is None:
            return None
        return importlib.util.spec_from_loader(name, self, is_package=new.submodule_search_locations is not None)

    def exec_module(self, module) -> None:
        name = module.__name__
        if name in NEW_PATHS:  # and not again for its submodules
            warnings.warn(_message(name), DeprecationWarning, stacklevel=2)
        sys.modules[name] = importlib.import_module(_new_path(name))

    def get_code(self, name):
        """Return the code to run for `python -m`, whose user sees warnings of `__main__` only."""
        warnings.warn_explicit(_message(name), DeprecationWarning, name, 1, module="__main__")
        return importlib.util.find_spec(_new_path(name)).loader.get_code(_new_path(name))


def install() -> None:
    """Make the old paths importable."""
    sys.meta_path.insert(0, _OldPaths())


def _new_path(name: str) -> str | None:
    """Translate an old path, or the path of a module below it; None for any other module."""
    old = next((old for old in NEW_PATHS if f"{name}.".startswith(f"{old}.")), None)
    return NEW_PATHS[old] + name.removeprefix(old) if old else None


def _message(name: str) -> str:
    old, new = (path.removesuffix(".__main__") for path in (name, _new_path(name)))
    return f"{old} is now {new}; the old name goes away in the next version"
