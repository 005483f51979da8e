"""Numbers about motions and captions. After `import lamp_hf`, `evaluate.load("lamp_bertscore")` finds ours."""

import contextlib
import hashlib
import os
from pathlib import Path


NAMES = ("lamp_bertscore",)


def path(name: str) -> str:
    """Return the folder of a metric for `evaluate.load`, which works in every version and from any folder.

    Args:
        name (`str`): `"lamp_bertscore"`.

    Raises:
        ValueError: when there is no metric of this name.
    """
    if name not in NAMES:
        raise ValueError(f"no metric {name!r}; there is: {', '.join(NAMES)}")
    return str(Path(__file__).with_name(name))


def register() -> None:
    """Make `evaluate.load` find our metrics by their bare names, online and offline.

    Called when `evaluate` is imported. Copies each metric's script to where `evaluate` keeps the ones that it has
    loaded before, in `HF_MODULES_CACHE`. Does nothing if `LAMP_HF_REGISTER_METRICS=0`, or if the folder cannot be
    written. A metric of the same name on the Hub takes precedence.
    """
    if os.environ.get("LAMP_HF_REGISTER_METRICS") == "0":
        return
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = Path(os.environ.get("HF_HOME", os.path.join(cache, "huggingface"))).expanduser()
    modules = Path(os.environ.get("HF_MODULES_CACHE", home / "modules")) / "evaluate_modules" / "metrics"
    for name in NAMES:
        script = Path(path(name), f"{name}.py").read_bytes()
        output = modules / f"evaluate-metric--{name}" / hashlib.sha256(script).hexdigest() / f"{name}.py"
        with contextlib.suppress(OSError):
            if not output.is_file():
                output.parent.mkdir(parents=True, exist_ok=True)
                temporary = output.with_name(f"{os.getpid()}.tmp")
                temporary.write_bytes(script)
                os.replace(temporary, output)
