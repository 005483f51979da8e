"""Draw docs/actions.gif, the picture of the README, with the bundled generator: python docs/pictures.py."""

from pathlib import Path

import numpy as np
from transformers import pipeline

import lamp_hf
from lamp_hf.motion.video import write_gif


SENTENCES = (
    "a person waves with the left hand",
    "an old man walks forward",
    "a person runs forward",
    "a person raises both hands",
)

generate = pipeline("text-to-motion", model=lamp_hf.bundled())
answers = generate(list(SENTENCES), duration=4.0, seed=0)
motions = [lamp_hf.Motion(answer["joints"], answer["fps"], text=answer["text"]) for answer in answers]
near = lamp_hf.View(distance=3.2)
panels = [motion.resample(10).render(216, near, caption=motion.text) for motion in motions]
frames = np.concatenate(panels, axis=2)  # [frames, 216, 4 x 216, 3]
write_gif(Path(__file__).with_name("actions.gif"), frames, fps=10)
