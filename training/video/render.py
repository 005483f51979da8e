r"""Render a split as video files, on all cores.

    python -m training.video.render --data mocap.parquet --split test --seeds 0 1 --output videos/

Writes `videos/seed-1/NAME.mp4` for each clip. The seed `fixed` is the view of `Motion.render`. Existing files are
skipped.
"""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lamp_hf.models.skeleton import get_skeleton
from lamp_hf.motion.files import write_atomically
from lamp_hf.motion.render import draw_frames
from lamp_hf.motion.video import write_video

from ..data import Clips
from .rendered_videos import FIXED, all_cores, joints_in_metres, view_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="parquet file or folder in HumanML3D's layout")
    parser.add_argument("--split", default="train", choices=["train", "val", "test"])
    parser.add_argument("--seeds", nargs="+", default=["fixed"], help="seeds of random views, or fixed")
    parser.add_argument("--size", default=224, type=int, help="width and height, in pixels")
    parser.add_argument("--skeleton", default="humanml3d", choices=["humanml3d", "kit"])
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args()
    clips = Clips(arguments.data, arguments.split, {"skeleton": arguments.skeleton, "mirrored": False})
    jobs = []
    for seed in arguments.seeds:
        folder = arguments.output / f"seed-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        jobs += [
            (
                motion,
                name,
                FIXED if seed == "fixed" else int(seed),
                arguments,
                folder / f"{name.replace('/', '_')}.mp4",
            )
            for motion, name in zip(clips.motions, clips.names)
        ]
    with all_cores() as pool:
        written = sum(tqdm(pool.map(render_file, *zip(*jobs), chunksize=4), total=len(jobs), unit=" videos"))
    print(f"{arguments.output}: {written} videos written, {len(jobs) - written} skipped")


def render_file(motion: np.ndarray, name: str, seed: int, arguments: argparse.Namespace, path: Path) -> bool:
    """Render one video; return False if the file exists."""
    if path.exists():
        return False
    skeleton = get_skeleton(arguments.skeleton)
    view = view_of(name, seed)
    pictures = draw_frames(joints_in_metres(motion, skeleton), skeleton, arguments.size, view)
    write_atomically(path, lambda temporary: write_video(temporary, pictures, skeleton.fps))
    return True


if __name__ == "__main__":
    main()
