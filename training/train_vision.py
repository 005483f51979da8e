r"""LAVIMO's small vision encoder: where the joints of a body are in a picture of it.

    python -m training.train_vision --recipe training/recipes/small/vision.yaml --data mocap.parquet \
        --output runs/vision

Pictures are rendered as they are needed, each of another body, camera, light and place. What the encoder has learned
to look for is all that LAVIMO takes; the layer that names joints is left behind. Where CLIP's weights are at hand,
this stage is not needed.
"""

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedModel

from lamp_hf.models.processing_lavimo import normalise_pixels
from lamp_hf.models.skeleton import get_skeleton
from lamp_hf.motion.render import draw_frames, project_joints
from lamp_hf.motion.view import random_view

from .data import Clips
from .loop import parse_arguments, train
from .video.rendered_videos import joints_in_metres


class PictureSource:
    """One picture of a clip, with where its joints are."""

    def __init__(self, clips: Clips, skeleton: str, image_size: int):
        self.skeleton, self.image_size = get_skeleton(skeleton), image_size
        self.joints = [joints_in_metres(motion, self.skeleton) for motion in clips.motions]
        self.names, self.lengths, self.weights = clips.names, np.ones(len(clips)), None

    def item(self, index: int, rng: np.random.Generator) -> dict:
        size = self.image_size
        view = random_view(self.names[index], int(rng.integers(2**31)))
        numbers = rng.integers(0, len(self.joints[index]), 1)
        (picture,) = draw_frames(self.joints[index], self.skeleton, size, view, frame_indices=numbers)
        return {"picture": picture, "joints": project_joints(self.joints[index], self.skeleton, view, numbers)[0]}

    def collate(self, items: list[dict]) -> dict:
        pictures = torch.from_numpy(np.stack([item["picture"] for item in items]))
        joints = np.stack([item["joints"] for item in items]).clip(-2, 2)
        return {
            "pixel_values": normalise_pixels(pictures),
            "joints": torch.from_numpy(joints).float(),
        }


class PoseObjective(nn.Module):
    """Joints from what the encoder makes of a picture, by one linear layer."""

    def __init__(self, model: PreTrainedModel, num_joints: int):
        super().__init__()
        self.model, self.head = model, nn.Linear(model.config.hidden_sizes[-1], 3 * num_joints)

    def see(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """`(B, num_joints, 3)`."""
        pixel_values = pixel_values.contiguous(memory_format=torch.channels_last)
        pooled = self.model(pixel_values=pixel_values).pooler_output.flatten(1)
        return self.head(pooled).float().unflatten(1, (-1, 3))

    def forward(self, pixel_values: torch.Tensor, joints: torch.Tensor):
        # Ten times: joints are seldom further than a tenth of a picture from where they are thought to be.
        loss = nn.functional.smooth_l1_loss(10 * self.see(pixel_values), 10 * joints)
        return loss, {}


def main() -> None:
    recipe, arguments = parse_arguments(__doc__)
    data, vision = recipe["data"], recipe["vision"]
    source, validation = (
        PictureSource(Clips(arguments.data, split, data), data["skeleton"], data["image_size"])
        for split in ("train", "val")
    )
    torch.manual_seed(recipe["seed"])
    model = AutoModel.from_config(AutoConfig.for_model(**vision)).to(memory_format=torch.channels_last)
    pictures = [validation.item(i % len(validation.names), np.random.default_rng(i)) for i in range(512)]

    def validate(objective: PoseObjective) -> dict[str, float]:
        """Mean distances: in the picture, as percent of the body's height there, and in depth, centimetres."""
        across, depth = [], []
        for first in range(0, len(pictures), 64):
            batch = validation.collate(pictures[first : first + 64])
            truth = batch["joints"]
            error = objective.see(batch["pixel_values"].to(next(objective.parameters()).device)).cpu() - truth
            height = (truth[..., 1].amax(1) - truth[..., 1].amin(1)).clamp(min=0.1)
            across.append(error[..., :2].norm(dim=-1).mean(1) / height)
            depth.append(error[..., 2].abs().mean(1))
        return {"in_picture_percent": 100 * torch.cat(across).mean(), "depth_cm": 100 * torch.cat(depth).mean()}

    train(PoseObjective(model, source.skeleton.num_joints), source, recipe, arguments.output, validate)


if __name__ == "__main__":
    main()
