r"""Train LAVIMO's small vision encoder to locate the joints of a body in a picture of it.

    lamp-hf train vision --recipe small/vision --data mocap.parquet \
        --output runs/vision

Pictures are rendered as they are needed, each with a random body, camera, light and place. LAVIMO takes the encoder
only; the layer that predicts joints is not saved. Where CLIP's weights are available, this stage is not needed.
"""

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedModel

from lamp_hf.models.processing_lavimo import normalise_pixels
from lamp_hf.models.skeleton import get_skeleton
from lamp_hf.motion.render import draw_frames, project_joints
from lamp_hf.motion.view import random_view

from .command_line import parse_arguments
from .data import Clips, batched
from .loop import Objective, train
from .video.rendered_videos import joints_in_metres


class PictureSource:
    """One picture of a clip, and the positions of the joints in it."""

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


class PoseObjective(Objective):
    """Error of joints that one linear layer predicts from the encoder's output."""

    def __init__(self, model: PreTrainedModel, num_joints: int):
        super().__init__(model)
        self.head = nn.Linear(model.config.hidden_sizes[-1], 3 * num_joints)

    def predict(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return columns, rows and depths of the joints, `(B, num_joints, 3)`."""
        pixel_values = pixel_values.contiguous(memory_format=torch.channels_last)
        pooled = self.model(pixel_values=pixel_values).pooler_output.flatten(1)
        return self.head(pooled).float().unflatten(1, (-1, 3))

    def forward(self, pixel_values: torch.Tensor, joints: torch.Tensor):
        # Errors are seldom larger than a tenth of a picture; the factor brings them to the scale of the loss.
        loss = nn.functional.smooth_l1_loss(10 * self.predict(pixel_values), 10 * joints)
        return loss, {}


def main(command_line: list[str] | None = None) -> None:
    recipe, arguments = parse_arguments("vision", __doc__, command_line)
    data, vision = recipe["data"], recipe["vision"]
    source, validation = (
        PictureSource(Clips(arguments.data, split, data), data["skeleton"], data["image_size"])
        for split in ("train", "val")
    )
    torch.manual_seed(recipe["seed"])
    model = AutoModel.from_config(AutoConfig.for_model(**vision)).to(memory_format=torch.channels_last)
    pictures = [validation.item(i % len(validation.names), np.random.default_rng(i)) for i in range(512)]

    def validate(objective: PoseObjective) -> dict[str, float]:
        """Return mean errors in the picture, as a percentage of the body's height, and in depth, in centimetres."""
        across, depth = [], []
        for items in batched(pictures, 64):
            batch = validation.collate(items)
            truth = batch["joints"]
            error = objective.predict(batch["pixel_values"].to(next(objective.parameters()).device)).cpu() - truth
            height = (truth[..., 1].amax(1) - truth[..., 1].amin(1)).clamp(min=0.1)
            across.append(error[..., :2].norm(dim=-1).mean(1) / height)
            depth.append(error[..., 2].abs().mean(1))
        return {"in_picture_percent": 100 * torch.cat(across).mean(), "depth_cm": 100 * torch.cat(depth).mean()}

    train(PoseObjective(model, source.skeleton.num_joints), source, recipe, arguments.output, validate)


if __name__ == "__main__":
    main()
