"""The one route from motion tokens to joints in metres, for a whole clip, a batch and a stream."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from .feature_extraction_motion import MotionFeatureExtractor
from .modeling_motion_vqvae import MotionVQVAEModel
from .motion_representation import features_to_joints, fit_bone_lengths, lift_above_floor, rotate_y
from .skeleton import Skeleton, get_skeleton


class MotionDecoder:
    """Turns tokens into features, and features into joints.

    tokens -> tokenizer's decoder -> normalised features -> statistics, bone lengths, floor -> features -> root
    integrated -> joints -> metres

    Args:
        vqvae ([`MotionVQVAEModel`]): the tokenizer.
        feature_extractor ([`MotionFeatureExtractor`]): holds the statistics and names the skeleton.
    """

    def __init__(self, vqvae: MotionVQVAEModel, feature_extractor: MotionFeatureExtractor):
        self.vqvae, self.feature_extractor = vqvae, feature_extractor
        self.skeleton = get_skeleton(feature_extractor.skeleton)

    def features(self, values: torch.Tensor, fit_bones: bool = True) -> torch.Tensor:
        """Undo the normalisation, in single precision on the CPU.

        Args:
            values (`torch.FloatTensor` of shape `(..., num_frames, feature_size)`): normalised features.
            fit_bones (`bool`): give every body the skeleton's bone lengths, see [`fit_bone_lengths`].

        Feet that are below the floor are lifted, see [`lift_above_floor`].
        """
        features = self.feature_extractor.denormalise(values.float().cpu())
        features = fit_bone_lengths(features, self.skeleton) if fit_bones else features
        return lift_above_floor(features, self.skeleton)

    def decode(self, codes: torch.LongTensor) -> torch.Tensor:
        """Decode one clip's tokens `(1, num_tokens, num_quantizers)` to features `(num_frames, feature_size)`.

        Bodies keep the bone lengths that were decoded.
        """
        return self.features(self.vqvae.decode(codes)[0], fit_bones=False)

    def clip(self, values: torch.Tensor, fit_bones: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Turn the normalised features of one clip into joints and features.

        Args:
            values (`torch.FloatTensor` of shape `(num_frames, feature_size)`): normalised features.
            fit_bones (`bool`): see `features`.

        Returns:
            Joints `(num_frames, num_joints, 3)` in metres and features `(num_frames, feature_size)`, both float32.
        """
        features = self.features(values, fit_bones)
        return self.to_metres(features_to_joints(features, self.skeleton)), features.numpy()

    def stream(
        self, chunks: Iterable[torch.LongTensor], num_frames: int, fit_bones: bool = True
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Turn tokens into joints and features as they come.

        Args:
            chunks (`Iterable[torch.LongTensor]` of shape `(1, n, num_quantizers)`): consecutive tokens of one motion.
            num_frames (`int`): frames to yield altogether; what the tokens hold beyond is dropped.
            fit_bones (`bool`): see `features`.

        Yields:
            Joints and features of the next frames, see `clip`.
        """
        to_joints, remaining = JointsStream(self.skeleton), num_frames
        for values in decode_stream(self.vqvae, chunks):
            if not remaining:
                return
            features = self.features(values[:remaining], fit_bones)
            remaining -= len(features)
            yield self.to_metres(to_joints(features)), features.numpy()

    def to_metres(self, joints: torch.Tensor) -> np.ndarray:
        """Convert joints from the skeleton's units to float32 metres."""
        return (joints * self.skeleton.metres).numpy().astype(np.float32)


@torch.no_grad()
def decode_stream(vqvae: MotionVQVAEModel, chunks: Iterable[torch.LongTensor]) -> Iterator[torch.Tensor]:
    """Decode tokens as they come to normalised features `(n, feature_size)`, equal to those of the whole motion.

    A frame is decoded when all tokens that it depends on have arrived; no more tokens than that are kept.
    """
    reach, factor = vqvae.config.decoder_reach, vqvae.config.downsampling_factor
    codes, num_decoded = None, 0  # tokens at hand, and how many of them have been decoded
    for chunk in chunks:
        codes = chunk if codes is None else torch.cat([codes, chunk], 1)
        if (ready := codes.shape[1] - reach) > num_decoded:
            yield vqvae.decode(codes)[0, num_decoded * factor : ready * factor]
            dropped = max(ready - reach, 0)
            codes, num_decoded = codes[:, dropped:], ready - dropped
    if codes is not None:
        yield vqvae.decode(codes)[0, num_decoded * factor :]


class JointsStream:
    """Turns features that come in parts into joints; each part continues where the last one ended."""

    def __init__(self, skeleton: Skeleton):
        self.skeleton = skeleton
        self.last_features: torch.Tensor | None = None
        # Of the last frame, in the first frame's facing.
        self.heading, self.position = 0.0, torch.zeros(3, dtype=torch.float32)

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Turn features `(n, feature_size)` into joints `(n, num_joints, 3)` in the skeleton's units."""
        count = len(features)
        if self.last_features is not None:
            features = torch.cat([self.last_features[None], features])
        joints = features_to_joints(features, self.skeleton)
        joints = rotate_y(joints, joints.new_tensor(self.heading)) + self.position
        self.last_features = features[-1]
        self.heading -= 2 * float(features[:-1, self.skeleton.slices["root_yaw"]].double().sum())
        self.position = joints[-1, 0] * joints.new_tensor([1.0, 0.0, 1.0])
        return joints[-count:]


__all__ = ["JointsStream", "MotionDecoder", "decode_stream"]
