r"""Stage 1: train the motion tokenizer.

lamp-hf train tokenizer --recipe small/tokenizer --data mocap.parquet --output runs/tokenizer
"""

from collections.abc import Iterator

import numpy as np
import torch

from lamp_hf.models.configuration_motion_vqvae import MotionVQVAEConfig
from lamp_hf.models.feature_extraction_motion import MotionFeatureExtractor
from lamp_hf.models.modeling_common import masked_mean
from lamp_hf.models.modeling_motion_vqvae import MotionVQVAEModel
from lamp_hf.models.motion_representation import features_to_joints
from lamp_hf.models.skeleton import get_skeleton

from .command_line import parse_arguments
from .data import Clips, batched, normalised, pad_motions
from .loop import Objective, train


class WindowSource:
    """Random windows of clips; a clip shorter than the window is taken whole, padded and masked."""

    def __init__(self, clips: Clips, extractor: MotionFeatureExtractor, data: dict):
        self.motions = normalised(clips, extractor)
        self.window = data["window"]
        self.lengths = np.minimum(clips.lengths, self.window)
        self.weights = clips.rarity_weights(data["rarity_exponent"]) * np.maximum(clips.lengths / self.window, 1)

    def item(self, index: int, rng: np.random.Generator) -> dict:
        motion = self.motions[index]
        start = rng.integers(max(len(motion) - self.window, 0) + 1)
        return {"motion": motion[start : start + self.window]}

    def collate(self, items: list[dict]) -> dict:
        motion, mask = pad_motions([item["motion"] for item in items], multiple=self.window)
        return {"motion_values": motion, "motion_attention_mask": mask}


class TokenizerObjective(Objective):
    """The model's own loss (LaMP section 3) and, beyond the paper, seven errors of the decoded body.

    The features describe a pose in several ways that need not agree. The geometric terms compare what people see:
    where the joints are and how they move, the lengths of bones, feet that stay where they touch the ground, hands
    that wave as widely as they should. The joint that is farthest off counts again, since one foot that kicks is lost
    in the mean. All are in metres, except for raised hands: see `raised_hands`.
    """

    def __init__(self, model: MotionVQVAEModel, extractor: MotionFeatureExtractor, weights: dict[str, float]):
        super().__init__(model)
        self.extractor, self.weights = extractor, weights
        self.skeleton = get_skeleton(model.config.skeleton)

    def forward(self, motion_values: torch.Tensor, motion_attention_mask: torch.Tensor):
        output = self.model(motion_values, motion_attention_mask)
        mask = output.token_mask.repeat_interleave(self.model.config.downsampling_factor, 1)
        truth = self.extractor.denormalise(motion_values[:, : mask.shape[1]])
        terms = self.geometry(self.extractor.denormalise(output.reconstruction.float()), truth, mask)
        loss = output.loss + sum(self.weights[name] * term for name, term in terms.items())
        logs = {"reconstruction": output.reconstruction_loss, "perplexity": output.perplexity}
        return loss, {name: value.detach() for name, value in (logs | terms).items()}

    def geometry(self, decoded: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the error terms of denormalised features `(B, T, feature_size)`, by the names of their weights."""
        metres = self.skeleton.metres
        contacts = truth[:, :-1, self.skeleton.slices["contacts"]]
        decoded = features_to_joints(decoded, self.skeleton) * metres
        truth = features_to_joints(truth, self.skeleton) * metres
        steps = decoded[:, 1:] - decoded[:, :-1]
        true_steps = truth[:, 1:] - truth[:, :-1]
        wrists = [self.skeleton.joint_names.index(name) for name in ("left_wrist", "right_wrist")]
        bones = self.skeleton.bones(decoded).norm(dim=-1)
        reference = metres * torch.tensor(self.skeleton.bone_lengths, device=bones.device)
        relative = (decoded - decoded[:, :, :1]) - (truth - truth[:, :, :1])
        slip = (steps - true_steps)[:, :, self.skeleton.feet].norm(dim=-1) * contacts
        return {
            "joints": masked_mean(relative.norm(dim=-1), mask),
            "farthest_joint": masked_mean(relative.norm(dim=-1).amax(-1), mask),
            "velocities": masked_mean((steps - true_steps).norm(dim=-1), mask[:, 1:]),
            "feet": masked_mean(slip, mask[:, 1:]),
            "hands": masked_mean((steps - true_steps)[:, :, wrists].norm(dim=-1), mask[:, 1:]),
            "bones": masked_mean((bones - reference).abs(), mask),
            "raised_hands": self.raised_hands(decoded, truth, mask[:, 1:]),
        }

    def raised_hands(self, decoded: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the error of the movement of hands above their elbows, relative to how fast they move in the clip.

        In millimetres a gentle wave is so small that without this term no code is spent on it, and the hand stands
        still.
        """
        index = self.skeleton.joint_names.index
        shoulders, elbows, wrists = (
            [index(f"{side}_{name}") for side in ("left", "right")] for name in ("shoulder", "elbow", "wrist")
        )
        steps, true_steps = ((body[:, :, wrists] - body[:, :, shoulders]).diff(dim=1) for body in (decoded, truth))
        up = (truth[:, 1:, wrists, 1] > truth[:, 1:, elbows, 1]) & mask[..., None]
        speed = (true_steps.norm(dim=-1) * up).sum(1, keepdim=True) / up.sum(1, keepdim=True).clamp(min=1)
        slowest = 0.005  # metres a frame; slower movement is trembling
        return masked_mean((steps - true_steps).norm(dim=-1) / (speed + slowest), up)


@torch.no_grad()
def reconstructions(
    model: MotionVQVAEModel, extractor: MotionFeatureExtractor, motions: list[torch.Tensor]
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Encode and decode whole clips, batch after batch in their order.

    Args:
        model ([`MotionVQVAEModel`]): the tokenizer.
        extractor ([`MotionFeatureExtractor`]): its feature extractor.
        motions (`list[torch.FloatTensor]` of shape `(num_frames, feature_size)`): whole clips, normalised.

    Yields:
        Decoded and true features `(B, T, feature_size)`, the mask `(B, T)` of frames, and the codes in use.
    """
    model.eval()
    factor = model.config.downsampling_factor
    for batch in batched(motions, 32):
        values, mask = pad_motions(batch, factor)
        codes, token_mask = model.encode(values.to(model.device), mask.to(model.device))
        decoded = extractor.denormalise(model.decode(codes, token_mask).float().cpu())
        frames = token_mask.cpu().repeat_interleave(factor, 1)
        yield decoded, extractor.denormalise(values), frames, codes[token_mask]


def reconstruction_errors(
    model: MotionVQVAEModel, extractor: MotionFeatureExtractor, motions: list[torch.Tensor]
) -> dict[str, float]:
    """Return the mean error of root-relative joints in mm, as they are and with the facing aligned, and codebook use.

    The arguments are those of [`reconstructions`].
    """
    skeleton = get_skeleton(model.config.skeleton)
    errors, local_errors, used = [], [], set()
    for decoded, truth, frames, codes in reconstructions(model, extractor, motions):
        relative = [features_to_joints(clip, skeleton) for clip in (decoded, truth)]
        relative = [joints - joints[:, :, :1] for joints in relative]
        errors.append((relative[0] - relative[1]).norm(dim=-1)[frames].mean(-1))
        positions = [clip[..., skeleton.slices["positions"]].unflatten(-1, (-1, 3)) for clip in (decoded, truth)]
        heights = [clip[..., None, skeleton.slices["root_height"]] for clip in (decoded, truth)]
        up = torch.tensor([0.0, 1.0, 0.0])
        relative = [position - height * up for position, height in zip(positions, heights)]
        # As in the literature, the root counts among the joints though it has no error.
        local_errors.append((relative[0] - relative[1]).norm(dim=-1)[frames].sum(-1) / skeleton.num_joints)
        used |= set((codes if codes.ndim == 1 else codes[..., 0]).tolist())
    scale = 1000 * skeleton.metres
    return {
        "joint_error_mm": scale * torch.cat(errors).mean().item(),
        "joint_error_facing_aligned_mm": scale * torch.cat(local_errors).mean().item(),
        "codes_used": len(used) / model.config.codebook_size,
    }


@torch.no_grad()
def renormalise(model: MotionVQVAEModel, before: MotionFeatureExtractor, after: MotionFeatureExtractor) -> None:
    """Let a tokenizer read and write motions that are normalised by other statistics.

    Its first and last convolutions take over the difference. Only within their reach of the ends of a clip, where they
    are padded with the mean, latents change.
    """
    mean, std, new_mean, new_std = (torch.tensor(values) for one in (before, after) for values in (one.mean, one.std))
    first, last = model.encoder.conv_in, model.decoder.conv_out
    first.bias += torch.einsum("oik,i->o", first.weight, (new_mean - mean) / std)
    first.weight *= (new_std / std)[None, :, None]
    last.weight *= (std / new_std)[:, None, None]
    last.bias.mul_(std / new_std).add_((mean - new_mean) / new_std)


def main(command_line: list[str] | None = None) -> None:
    recipe, arguments = parse_arguments("tokenizer", __doc__, command_line)
    data = recipe["data"]
    clips = Clips(arguments.data, "train", data)
    extractor = MotionFeatureExtractor.from_statistics(clips.motions, data["skeleton"])
    clips.compose(data["composed"], recipe["seed"])
    validation = normalised(Clips(arguments.data, "val", data), extractor)
    torch.manual_seed(recipe["seed"])
    model = MotionVQVAEModel(
        MotionVQVAEConfig(skeleton=data["skeleton"], feature_size=extractor.feature_size, **recipe["model"])
    )
    if recipe["start"]:
        start = MotionVQVAEModel.from_pretrained(recipe["start"])
        renormalise(start, MotionFeatureExtractor.from_pretrained(recipe["start"]), extractor)
        model.load_state_dict(start.state_dict())

    train(
        TokenizerObjective(model, extractor, recipe["geometry_weights"]),
        WindowSource(clips, extractor, data),
        recipe,
        arguments.output,
        evaluate=lambda objective: reconstruction_errors(objective.model, extractor, validation),
        processor=extractor,
    )


if __name__ == "__main__":
    main()
