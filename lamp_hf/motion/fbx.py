"""FBX files, by way of Blender: its Python module `bpy` turns a GLB into an FBX."""

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path


def check_blender(path: Path) -> None:
    """Check that an FBX can be written.

    Raises:
        ValueError: when Blender's module is not installed.
    """
    if importlib.util.find_spec("bpy") is None:
        raise ValueError(
            f"cannot write {path}: an FBX is written by Blender's module: pip install bpy; or write a .glb"
        )


def write_fbx(path: Path, fps: float, write_glb: Callable[[Path], object]) -> None:
    """Write a GLB and have Blender turn it into an FBX, in a process of its own: a crash of Blender is not ours.

    Args:
        path (`Path`): the FBX.
        fps (`float`): frames per second.
        write_glb (`Callable`): writes the GLB to a path.

    Raises:
        ValueError: when Blender fails, with the last line that it prints.
    """
    with tempfile.TemporaryDirectory() as folder:
        glb = Path(folder, "motion.glb")
        write_glb(glb)
        script = Path(__file__).with_name("blender_fbx.py")
        # -P: the script's folder, whose html.py and others are not Python's, is left out of what can be imported.
        command = [sys.executable, "-P", str(script), str(glb), str(path), repr(fps)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode != 0 or not path.stat().st_size:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise ValueError(f"cannot write {path}: Blender failed: {said}")
