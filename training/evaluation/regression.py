"""A plain baseline of text to motion: a perceptron that regresses frames from sentence, length and time."""

import numpy as np
import torch
from torch import nn

from lamp_hf.models.feature_extraction_motion import MotionFeatureExtractor
from lamp_hf.models.motion_representation import fit_bone_lengths

from ..data import Clips, draw, normalised
from ..progress import progress


CLIPS_PER_STEP = 32
LEARNING_RATE = 1e-3
HIDDEN_SIZE = 512
_LONGEST = 200.0  # frames; lengths and times are told as shares of it
_OCTAVES = 6  # of the sinusoids that tell them, from one half period on


def make_regressor(sentence_size: int, feature_size: int) -> nn.Sequential:
    """Make a perceptron from [`frame_inputs`] to normalised features of frames.

    Trained on the squared error, it tells the mean of all motions that a text may mean: it knows nothing of chance, of
    the frame before, or of single words.

    Args:
        sentence_size (`int`): size of the embeddings of a frozen sentence encoder.
        feature_size (`int`): features per frame.
    """
    return nn.Sequential(
        nn.Linear(sentence_size + 3 * 2 * _OCTAVES, HIDDEN_SIZE),
        nn.GELU(),
        nn.Linear(HIDDEN_SIZE, HIDDEN_SIZE),
        nn.GELU(),
        nn.Linear(HIDDEN_SIZE, feature_size),
    )


def frame_inputs(sentence: torch.Tensor, num_frames: int) -> torch.Tensor:
    """Tell the text, and, as sinusoids, the share of the motion that is over, the time and the length.

    Args:
        sentence (`torch.FloatTensor` of shape `(sentence_size,)`): unit-norm embedding of the text.
        num_frames (`int`): length of the motion.

    Returns:
        `torch.FloatTensor` of shape `(num_frames, sentence_size + 36)`: inputs of each frame.
    """
    frame = torch.arange(num_frames, dtype=torch.float32)
    length = torch.full_like(frame, num_frames)
    place = torch.stack([frame / length, frame / _LONGEST, length / _LONGEST], 1)
    angles = (place[..., None] * torch.pi * 2 ** torch.arange(_OCTAVES)).flatten(1)
    # Scaled, since entries of a unit vector are small beside sinusoids.
    sentences = (len(sentence) ** 0.5 * sentence).expand(num_frames, -1)
    return torch.cat([sentences, angles.sin(), angles.cos()], 1)


def fit_regressor(
    clips: Clips, sentences: torch.Tensor, extractor: MotionFeatureExtractor, steps: int, seed: int
) -> nn.Sequential:
    """Train the baseline on all frames of clips, each with one of its captions, by the mean squared error.

    Args:
        clips ([`Clips`]): the training split.
        sentences (`torch.FloatTensor` of shape `(num_texts, sentence_size)`): unit-norm embeddings of its distinct
            captions, in the order of `clips.indexed_captions()`.
        extractor ([`MotionFeatureExtractor`]): normalises features.
        steps (`int`): of 32 clips each, with a rate that falls as a cosine.
        seed (`int`): seed of weights, clips and captions.
    """
    torch.manual_seed(seed)
    rng, motions, (_, captions) = np.random.default_rng(seed), normalised(clips, extractor), clips.indexed_captions()
    model = make_regressor(sentences.shape[1], extractor.feature_size)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in progress(range(steps), "regression"):
        rows = rng.integers(len(clips), size=CLIPS_PER_STEP)
        target = [motions[row] for row in rows]
        inputs = [frame_inputs(sentences[draw(captions[row], rng)], len(motion)) for row, motion in zip(rows, target)]
        loss = nn.functional.mse_loss(model(torch.cat(inputs)), torch.cat(target))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    return model


@torch.no_grad()
def regress(
    model: nn.Sequential, sentences: torch.Tensor, lengths: list[int], extractor: MotionFeatureExtractor
) -> list[np.ndarray]:
    """Return features `(num_frames, feature_size)` of texts, with the bone lengths of the skeleton.

    Args:
        model (`nn.Sequential`): the trained baseline.
        sentences (`torch.FloatTensor` of shape `(num_texts, sentence_size)`): unit-norm embeddings of the texts.
        lengths (`list[int]`): frames of each motion.
        extractor ([`MotionFeatureExtractor`]): the one that normalised the training clips.
    """
    motions = (extractor.denormalise(model(frame_inputs(*pair))) for pair in zip(sentences, lengths))
    return [fit_bone_lengths(motion, extractor.skeleton).numpy() for motion in motions]
