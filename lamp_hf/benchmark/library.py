"""Speed and memory of the bundled models and the motion tools."""

import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import torch
from transformers import pipeline

from .. import bundled
from ..data.preparation import prepare
from ..models.motion_representation import features_to_joints, joints_to_features
from ..models.skeleton import HUMANML3D
from ..motion.clip import Motion
from ..motion.rotations import rest_directions, rest_positions
from ..motion.view import random_view
from ..retrieval.embedder import Embedder
from .timing import median_seconds, rounded


TEXT = "a person walks forward and waves with the left hand"
BATCH_SIZE = 64


def measure_library() -> dict[str, float]:
    """Time the models on clips of six seconds, the motion tools, and imports.

    Returns:
        `dict[str, float]`: medians of several runs; names end in their unit.
    """
    generate = pipeline("text-to-motion", model=bundled())
    motion = Motion(generate(TEXT, duration=6.0, seed=0)["joints"])
    results = {
        "generate_6_seconds_s": median_seconds(lambda: generate(TEXT, duration=6.0, seed=0), 9),
        "generate_batch_of_8_s": median_seconds(lambda: generate([TEXT] * 8, duration=6.0, seed=0), 3),
        **_model_speeds(motion),
        **_representation_speeds(motion),
        **_rendering_speeds(motion),
        **_saving_seconds(),
        "prepare_clips_per_s": _preparation_speed(),
        "import_torch_s": _import_seconds("torch"),
        "import_torch_and_lamp_hf_s": _import_seconds("torch, lamp_hf"),
        "memory_mb": psutil.Process().memory_info().rss / 1e6,
        "threads": torch.get_num_threads(),
    }
    return rounded(results)


def _model_speeds(motion: Motion) -> dict[str, float]:
    caption = pipeline("motion-to-text", model=bundled("captioning"))
    lamp, lavimo = Embedder(bundled()), Embedder(bundled("video"))
    clips, texts = [motion.features] * BATCH_SIZE, [TEXT] * BATCH_SIZE
    with tempfile.TemporaryDirectory() as folder:
        video = motion.save(Path(folder) / "video.mp4", size=640)
        video_seconds = median_seconds(lambda: lavimo.embed_video(video), 3)
    return {
        "caption_6_seconds_s": median_seconds(lambda: caption(motion), 9),
        "embed_6_second_clips_per_s": BATCH_SIZE / median_seconds(lambda: lamp.embed_motions(clips), 3),
        "embed_texts_per_s": BATCH_SIZE / median_seconds(lambda: lamp.embed_texts(texts), 3),
        "embed_6_second_video_s": video_seconds,
    }


def _representation_speeds(motion: Motion) -> dict[str, float]:
    joints = torch.from_numpy(np.stack([motion.joints] * BATCH_SIZE))
    features = torch.zeros(*joints.shape[:2], 263)
    num_frames = joints.shape[0] * joints.shape[1]
    return {
        "joints_to_features_frames_per_s": num_frames / median_seconds(lambda: joints_to_features(joints), 5),
        "features_to_joints_frames_per_s": num_frames / median_seconds(lambda: features_to_joints(features), 5),
    }


def _rendering_speeds(motion: Motion, num_views: int = 10) -> dict[str, float]:
    views = [random_view("benchmark", seed) for seed in range(num_views)]

    def render_views() -> None:
        for view in views:
            motion.render(224, camera=view)

    return {
        "render_224_frames_per_s": motion.num_frames / median_seconds(lambda: motion.render(224), 1),
        "render_random_views_224_frames_per_s": num_views * motion.num_frames / median_seconds(render_views, 1),
    }


def _saving_seconds() -> dict[str, float]:
    """Time the writing of a motion of ten seconds; pictures have 256 pixels."""
    rng = np.random.default_rng(0)
    swing = np.cumsum(rng.normal(0, 0.005, (200, HUMANML3D.num_joints, 3)), 0)
    motion = Motion(_rest_body() + swing, text="a person sways")
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("bvh", "glb", "html", "npz", "mp4", "gif"):
            save = partial(motion.save, Path(folder) / f"clip.{suffix}", size=256)
            results[f"save_10_seconds_{suffix}_s"] = median_seconds(save, 3)
    return results


def _preparation_speed(num_clips: int = 3000) -> float:
    """Measure how many clips of three seconds `prepare` makes of arrays of joints in a second, on all cores."""
    body = _rest_body() + np.linspace(0, 1, 60)[:, None, None] * [0, 0, 1]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        source.mkdir()
        for i in range(num_clips):
            np.save(source / f"{i}.npy", body.astype(np.float32))
        captions = {str(i): "a person glides" for i in range(num_clips)}
        (source / "captions.json").write_text(json.dumps(captions))
        return num_clips / prepare(source, Path(folder) / "data").seconds


def _rest_body() -> np.ndarray:
    """Return a standing body, joints `(num_joints, 3)` in metres."""
    offsets = rest_directions(HUMANML3D) * np.array(HUMANML3D.bone_lengths)[:, None]
    return rest_positions(offsets, HUMANML3D.parents) + [0, 0.95, 0]


def _import_seconds(modules: str) -> float:
    return median_seconds(lambda: subprocess.run([sys.executable, "-c", f"import {modules}"], check=True), 3)
