"""Metrics. `evaluate.load("lamp_bertscore")` finds ours once `lamp_hf` has been imported."""

import contextlib
import hashlib
import os
from pathlib import Path


def path(name: str) -> str:
    """Folder of a metric for `evaluate.load`: a script and what a Space needs around it."""
    folder = Path(__file__).with_name(name)
    if not (folder / f"{name}.py").is_file():
        raise ValueError(f"no metric {name!r}; there is: lamp_bertscore")
    return str(folder)


def register() -> None:
    """Puts our metrics where `evaluate` keeps those that it has loaded before, so that their bare names work.

    That is in `HF_MODULES_CACHE`; left alone with `LAMP_HF_REGISTER_METRICS=0`, or where nothing can be written.
    An official metric of the same name on the Hub would take precedence.
    """
    if os.environ.get("LAMP_HF_REGISTER_METRICS") == "0":
        return
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = Path(os.environ.get("HF_HOME", os.path.join(cache, "huggingface"))).expanduser()
    modules = Path(os.environ.get("HF_MODULES_CACHE", home / "modules")) / "evaluate_modules" / "metrics"
    for name in ("lamp_bertscore",):
        script = Path(path(name), f"{name}.py").read_bytes()
        place = modules / f"evaluate-metric--{name}" / hashlib.sha256(script).hexdigest() / f"{name}.py"
        with contextlib.suppress(OSError):
            if not place.is_file():
                place.parent.mkdir(parents=True, exist_ok=True)
                temporary = place.with_name(f"{os.getpid()}.tmp")
                temporary.write_bytes(script)
                os.replace(temporary, place)
