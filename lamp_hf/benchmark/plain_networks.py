"""The usual generators at their papers' sizes, with random weights, written down without any optimisation.

For timing alone: a masked transformer with a residual one (MoMask, CVPR 2024) and a latent diffusion of fifty steps
(MLD, CVPR 2023), both with guidance by a second pass. They follow the sizes that the papers state, not anybody's code.
"""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class MaskedSizes:
    """Sizes of a masked generator; the defaults are MoMask's for HumanML3D."""

    text_layers: int = 12
    text_size: int = 512  # CLIP ViT-B/32
    text_length: int = 77
    layers: int = 6
    residual_layers: int = 6
    size: int = 384
    heads: int = 6
    inner_size: int = 1024
    codes: int = 512
    quantizers: int = 6
    steps: int = 10
    decoder_width: int = 512


@dataclass(frozen=True)
class DiffusionSizes:
    """Sizes of a latent diffusion; the defaults are MLD's for HumanML3D."""

    text_layers: int = 12
    text_size: int = 768  # CLIP ViT-L/14
    text_length: int = 77
    layers: int = 9
    decoder_layers: int = 9
    size: int = 256
    heads: int = 4
    inner_size: int = 1024
    steps: int = 50


class PlainLayer(nn.Module):
    """A transformer layer by its formulas; with a memory, it attends to this as well."""

    def __init__(self, size: int, heads: int, inner_size: int, reads_memory: bool = False):
        super().__init__()
        self.heads = heads
        self.attentions = nn.ModuleList(
            nn.ModuleList(nn.Linear(size, size) for _ in range(4)) for _ in range(1 + reads_memory)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(2 + reads_memory))
        self.feed_forward = nn.Sequential(nn.Linear(size, inner_size), nn.GELU(), nn.Linear(inner_size, size))

    def forward(self, hidden: torch.Tensor, memory: torch.Tensor | None = None) -> torch.Tensor:
        """Return the states `(batch_size, length, size)` after the layer."""
        for index, (query, key, value, out) in enumerate(self.attentions):
            source = memory if index else hidden
            queries, keys, values = (
                part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                for part in (query(hidden), key(source), value(source))
            )
            weights = (queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5).softmax(-1)
            hidden = self.norms[index](hidden + out((weights @ values).transpose(1, 2).flatten(-2)))
        return self.norms[-1](hidden + self.feed_forward(hidden))


def _stack(count: int, size: int, heads: int, inner_size: int, reads_memory: bool = False) -> nn.ModuleList:
    return nn.ModuleList(PlainLayer(size, heads, inner_size, reads_memory) for _ in range(count))


class PlainText(nn.Module):
    """A text transformer of CLIP's size; returns one vector a text, `(batch_size, size)`."""

    def __init__(self, layers: int, size: int, length: int):
        super().__init__()
        self.words, self.length = nn.Embedding(49408, size), length
        self.layers = _stack(layers, size, size // 64 or 1, 4 * size)

    def forward(self, batch_size: int) -> torch.Tensor:
        """Encode texts of the greatest length."""
        hidden = self.words(torch.zeros(batch_size, self.length, dtype=torch.long, device=self.words.weight.device))
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden[:, -1]


class PlainMasked(nn.Module):
    """A masked transformer over base codes, a residual transformer over the others, and a convolutional decoder."""

    def __init__(self, sizes: MaskedSizes, feature_size: int = 263):
        super().__init__()
        self.sizes, size = sizes, sizes.size
        self.text = PlainText(sizes.text_layers, sizes.text_size, sizes.text_length)
        self.condition = nn.Linear(sizes.text_size, size)
        self.tokens = nn.Embedding(sizes.codes + 1, size)
        self.base = _stack(sizes.layers, size, sizes.heads, sizes.inner_size)
        self.residual = _stack(sizes.residual_layers, size, sizes.heads, sizes.inner_size)
        self.head = nn.Linear(size, sizes.codes)
        self.codebook = nn.Embedding(sizes.codes, sizes.decoder_width)
        self.decoder = _decoder(sizes.decoder_width, feature_size)

    @torch.no_grad()
    def forward(self, num_tokens: int) -> torch.Tensor:
        """Generate one motion, `(1, 4 * num_tokens, feature_size)`."""
        sizes, text = self.sizes, self.text(1)
        codes = torch.full((1, num_tokens), sizes.codes, device=text.device)
        for step in range(sizes.steps):
            logits = self._logits(self.base, self.tokens(codes), text, 4.0)
            masked = codes == sizes.codes
            drawn = torch.where(masked, torch.multinomial(logits[0].softmax(-1), 1).T, codes)
            certainty = logits.softmax(-1).gather(-1, drawn[..., None])[..., 0].masked_fill(~masked, torch.inf)
            progress = torch.tensor((step + 1) / sizes.steps)
            count = round(float(torch.cos(progress * torch.pi / 2)) * num_tokens)
            drawn[0, certainty[0].argsort()[:count]] = sizes.codes
            codes = drawn
        hidden = self.codebook(codes.clamp(max=sizes.codes - 1))
        states = self.tokens(codes)
        for _ in range(sizes.quantizers - 1):
            further = self._logits(self.residual, states, text, 5.0).argmax(-1)
            hidden, states = hidden + self.codebook(further), states + self.tokens(further)
        return self.decoder(hidden.transpose(1, 2)).transpose(1, 2)

    def _logits(self, layers: nn.ModuleList, states: torch.Tensor, text: torch.Tensor, scale: float) -> torch.Tensor:
        """Return guided logits by a pass with the text and one without."""
        passes = []
        for condition in (text, torch.zeros_like(text)):
            hidden = torch.cat([self.condition(condition)[:, None], states], 1)
            for layer in layers:
                hidden = layer(hidden)
            passes.append(self.head(hidden[:, 1:]))
        return passes[1] + scale * (passes[0] - passes[1])


def _decoder(width: int, feature_size: int) -> nn.Sequential:
    """Make T2M-GPT's decoder: two doublings of time, each after three dilated residual blocks."""
    layers: list[nn.Module] = [nn.Conv1d(width, width, 3, padding=1), nn.ReLU()]
    for _ in range(2):
        layers += [_Block(width, dilation) for dilation in (9, 3, 1)]
        layers += [nn.Upsample(scale_factor=2), nn.Conv1d(width, width, 3, padding=1)]
    return nn.Sequential(*layers, nn.Conv1d(width, width, 3, padding=1), nn.ReLU(),
                         nn.Conv1d(width, feature_size, 3, padding=1))  # fmt: skip


class _Block(nn.Module):
    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(), nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation), nn.ReLU(),
            nn.Conv1d(width, width, 1),
        )  # fmt: skip

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden + self.layers(hidden)


class PlainDiffusion(nn.Module):
    """A diffusion of one latent token, and a transformer that decodes it to frames."""

    def __init__(self, sizes: DiffusionSizes, feature_size: int = 263):
        super().__init__()
        self.sizes, size = sizes, sizes.size
        self.text = PlainText(sizes.text_layers, sizes.text_size, sizes.text_length)
        self.condition = nn.Linear(sizes.text_size, size)
        self.time = nn.Embedding(1000, size)
        self.denoiser = _stack(sizes.layers, size, sizes.heads, sizes.inner_size)
        self.frames = _stack(sizes.decoder_layers, size, sizes.heads, sizes.inner_size, reads_memory=True)
        self.head = nn.Linear(size, feature_size)

    @torch.no_grad()
    def forward(self, num_frames: int) -> torch.Tensor:
        """Generate one motion, `(1, num_frames, feature_size)`."""
        sizes, text = self.sizes, self.text(1)
        conditions = torch.cat([self.condition(text), self.condition(torch.zeros_like(text))])[:, None]
        latent = torch.randn(1, 1, sizes.size, device=text.device)
        noise_levels = torch.cos(torch.linspace(1, 0, sizes.steps + 1) * torch.pi / 2) ** 2
        for step in range(sizes.steps):
            index = torch.tensor([[999 - step * 1000 // sizes.steps]] * 2, device=text.device)
            hidden = torch.cat([latent.expand(2, -1, -1), conditions, self.time(index)], 1)
            for layer in self.denoiser:
                hidden = layer(hidden)
            guided = hidden[1:, :1] + 7.5 * (hidden[:1, :1] - hidden[1:, :1])
            now, following = (float(noise_levels[i].clamp(1e-4, 1)) for i in (step, step + 1))
            clean = (latent - (1 - now) ** 0.5 * guided) / now**0.5
            latent = following**0.5 * clean + (1 - following) ** 0.5 * guided
        hidden = torch.zeros(1, num_frames, sizes.size, device=text.device)
        for layer in self.frames:
            hidden = layer(hidden, latent)
        return self.head(hidden)
