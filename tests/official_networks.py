"""The published networks in short, under their own names of weights, to compare imported models with.

Written from the descriptions of T2M-GPT, MoMask and LaMP, each for evaluation alone (no dropout, no losses).
"""

import math

import torch
from torch import nn


def block(*modules: nn.Module, **named: nn.Module) -> nn.Module:
    """Return a module with submodules by number and by name, as in the names of weights."""
    made = nn.Module()
    for name, module in {**{str(i): m for i, m in enumerate(modules)}, **named}.items():
        made.add_module(name, module)
    return made


class ResidualConvolution(nn.Module):
    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.conv1 = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.conv2 = nn.Conv1d(width, width, 1)

    def forward(self, x):
        return x + self.conv2(torch.relu(self.conv1(torch.relu(x))))


def resnet(width: int) -> nn.Module:
    return _Model([ResidualConvolution(width, dilation) for dilation in (9, 3, 1)])


class _Model(nn.Module):
    """Layers one after another, under the name `model`."""

    def __init__(self, layers):
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, x):
        return self.model(x)


def encoder(features: int, width: int, code: int, halvings: int) -> nn.Module:
    levels = [nn.Sequential(nn.Conv1d(width, width, 4, 2, 1), resnet(width)) for _ in range(halvings)]
    first, last = nn.Conv1d(features, width, 3, padding=1), nn.Conv1d(width, code, 3, padding=1)
    return _Model([first, nn.ReLU(), *levels, last])


def decoder(features: int, width: int, code: int, doublings: int) -> nn.Module:
    levels = [
        nn.Sequential(resnet(width), nn.Upsample(scale_factor=2), nn.Conv1d(width, width, 3, padding=1))
        for _ in range(doublings)
    ]
    first, hidden = nn.Conv1d(code, width, 3, padding=1), nn.Conv1d(width, width, 3, padding=1)
    return _Model([first, nn.ReLU(), *levels, hidden, nn.ReLU(), nn.Conv1d(width, features, 3, padding=1)])


class Codebook(nn.Module):
    def __init__(self, codes: int, size: int):
        super().__init__()
        self.register_buffer("codebook", torch.randn(codes, size))


class OfficialTokenizer(nn.Module):
    """The tokenizer of T2M-GPT and LaMP, whose names begin with `vqvae.`, or with several codebooks MoMask's."""

    def __init__(self, features=263, width=8, code=6, codes=16, halvings=2, books=0):
        super().__init__()
        quantizer = Codebook(codes, code)
        if books:
            quantizer = block(layers=nn.ModuleList(Codebook(codes, code) for _ in range(books)))
        sizes = features, width, code, halvings
        parts = block(encoder=encoder(*sizes), decoder=decoder(*sizes), quantizer=quantizer)
        self.vqvae, self.residual = parts, bool(books)

    @property
    def books(self):
        quantizer = self.vqvae.quantizer
        return [layer.codebook for layer in (quantizer.layers if self.residual else [quantizer])]

    def official_state(self) -> dict:
        return (self.vqvae if self.residual else self).state_dict()

    def encode(self, motion):
        rest, codes = self.vqvae.encoder(motion.transpose(1, 2)).transpose(1, 2), []
        for book in self.books:
            codes.append(torch.cdist(rest, book[None].expand(len(rest), -1, -1)).argmin(-1))
            rest = rest - book[codes[-1]]
        return torch.stack(codes, -1)

    def decode(self, codes):
        latents = sum(book[level] for book, level in zip(self.books, codes.unbind(-1)))
        return self.vqvae.decoder(latents.transpose(1, 2)).transpose(1, 2)


EPSILON = 1e-12


def attention_module(hidden: int, context: int) -> nn.Module:
    return block(
        self=block(query=nn.Linear(hidden, hidden), key=nn.Linear(context, hidden), value=nn.Linear(context, hidden)),
        output=block(dense=nn.Linear(hidden, hidden), LayerNorm=nn.LayerNorm(hidden, EPSILON)),
    )


class Bert(nn.Module):
    """BLIP-2's BERT: queries and text share self-attention; queries have a feed-forward of their own, and context."""

    def __init__(self, words, hidden, inner, query_inner, layers, heads, context, positions):
        super().__init__()
        self.heads = heads
        self.embeddings = block(
            word_embeddings=nn.Embedding(words, hidden, padding_idx=0),
            position_embeddings=nn.Embedding(positions, hidden),
            LayerNorm=nn.LayerNorm(hidden, EPSILON),
        )
        self.embeddings.register_buffer("position_ids", torch.arange(positions)[None])
        self.encoder = block(layer=nn.ModuleList())
        for i in range(layers):
            parts = {"attention": attention_module(hidden, hidden)}
            if i % 2 == 0:
                parts["crossattention"] = attention_module(hidden, context)
            for suffix, width in (("", inner), ("_query", query_inner)):
                parts[f"intermediate{suffix}"] = block(dense=nn.Linear(hidden, width))
                output = block(dense=nn.Linear(width, hidden), LayerNorm=nn.LayerNorm(hidden, EPSILON))
                parts[f"output{suffix}"] = output
            self.encoder.layer.append(block(**parts))

    def embed(self, ids=None, queries=None):
        parts = [] if queries is None else [queries]
        if ids is not None:
            positions = self.embeddings.position_embeddings.weight[: ids.shape[1]]
            parts.append(self.embeddings.word_embeddings(ids) + positions)
        return self.embeddings.LayerNorm(torch.cat(parts, 1))

    def attend(self, module, hidden, context, mask, past=None):
        def split(x):
            return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        inner = module.self
        key, value = split(inner.key(context)), split(inner.value(context))
        own = key, value
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        scores = split(inner.query(hidden)) @ key.transpose(2, 3) / math.sqrt(key.shape[-1])
        if mask is not None:
            scores = scores + (1.0 - mask.float()) * -10000.0
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
        return module.output.LayerNorm(hidden + module.output.dense(mixed)), own

    def forward(self, ids=None, mask=None, queries=None, context=None, context_mask=None, past=None):
        """Encode; `mask` is 1 where self-attention may look and broadcasts to `(B, 1, length, keys)`."""
        hidden, count = self.embed(ids, queries), 0 if queries is None else queries.shape[1]
        keys = []
        for i, layer in enumerate(self.encoder.layer):
            hidden, own = self.attend(layer.attention, hidden, hidden, mask, None if past is None else past[i])
            keys.append(own)
            front, text = hidden[:, :count], hidden[:, count:]
            if count and hasattr(layer, "crossattention"):
                front, _ = self.attend(layer.crossattention, front, context, context_mask)
            front = _feed(layer.intermediate_query, layer.output_query, front)
            hidden = torch.cat([front, _feed(layer.intermediate, layer.output, text)], 1)
        return hidden, keys


def _feed(intermediate, output, hidden):
    return output.LayerNorm(hidden + output.dense(nn.functional.gelu(intermediate.dense(hidden))))


def bert_with_words(words=20, hidden=16, inner=24, query_inner=20, layers=3, heads=2, context=12, positions=50):
    predictions = block(
        transform=block(dense=nn.Linear(hidden, hidden), LayerNorm=nn.LayerNorm(hidden, EPSILON)),
        decoder=nn.Linear(hidden, words),
    )
    bert = Bert(words, hidden, inner, query_inner, layers, heads, context, positions)
    predictions.decoder.weight = bert.embeddings.word_embeddings.weight
    predictions.bias = predictions.decoder.bias
    return block(bert=bert, cls=block(predictions=predictions))


class OfficialLamp(nn.Module):
    """LaMP's Q-Former, its heads, its own motion encoder, and the tokenizer that its targets come from."""

    def __init__(self, features=263, width=8, code=6, codes=16, queries=5, hidden=16, context=12, shared=10):
        super().__init__()
        self.vq_model = OfficialTokenizer(features, width, code, codes)
        self.Qformer = bert_with_words(hidden=hidden, context=context)
        self.query_tokens = nn.Parameter(torch.randn(1, queries, hidden))
        self.motion_encoder = encoder(features, width, code, 2)
        self.text_proj, self.motion_proj = nn.Linear(hidden, shared), nn.Linear(hidden, shared)
        self.itm_head = nn.Linear(hidden, 2)
        self.motion_projection = nn.Parameter(torch.randn(code, context))
        self.text_projection = nn.Parameter(torch.randn(hidden, context))
        self.motion_cls = nn.Linear(hidden, codes, bias=False)
        self.temp = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def project(self, motion):
        return self.motion_encoder(motion.transpose(1, 2)).transpose(1, 2) @ self.motion_projection

    def queries(self, motion):
        batch = self.query_tokens.expand(len(motion), -1, -1)
        return self.Qformer.bert(queries=batch, context=self.project(motion))

    def motion_features(self, motion):
        return self.motion_proj(self.queries(motion)[0])

    def text_features(self, ids, mask):
        return self.text_proj(self.Qformer.bert(ids, mask[:, None, None])[0][:, 0])

    def matching_logits(self, ids, mask, motion):
        batch = self.query_tokens.expand(len(motion), -1, -1)
        whole = torch.cat([torch.ones(batch.shape[:2]), mask], 1)[:, None, None]
        hidden, _ = self.Qformer.bert(ids, whole, batch, self.project(motion))
        return self.itm_head(hidden[:, : batch.shape[1]]).mean(1)

    def contrastive_loss(self, ids, mask, motion):
        text = nn.functional.normalize(self.text_features(ids, mask), dim=-1)
        scores = nn.functional.normalize(self.motion_features(motion), dim=-1) @ text.T  # [motions, queries, texts]
        logits = self.temp * scores.amax(1)
        targets = torch.arange(len(ids))
        losses = [nn.functional.cross_entropy(x, targets, label_smoothing=0.1) for x in (logits, logits.T)]
        return sum(losses) / 2

    def text_generation_loss(self, decoder_ids, mask, motion):
        length, (_, past) = decoder_ids.shape[1], self.queries(motion)
        own = torch.ones(length, length).tril() * mask[:, None]
        whole = torch.cat([torch.ones(len(mask), length, past[0][0].shape[2]), own], 2)[:, None]
        hidden, _ = self.Qformer.bert(decoder_ids, whole, past=past)
        head = self.Qformer.cls.predictions
        hidden = head.transform.LayerNorm(nn.functional.gelu(head.transform.dense(hidden)))
        labels = decoder_ids.masked_fill(mask == 0, -100)[:, 1:]
        logits = head.decoder(hidden)[:, :-1].transpose(1, 2)
        return nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)

    def motion_generation_loss(self, decoder_ids, mask, codes):
        text = self.Qformer.bert.embed(decoder_ids) @ self.text_projection
        batch = self.query_tokens.expand(len(text), -1, -1)
        hidden, _ = self.Qformer.bert(queries=batch, context=text, context_mask=mask[:, None, None])
        logits = self.motion_cls(hidden).transpose(1, 2)
        return nn.functional.cross_entropy(logits, codes, label_smoothing=0.1)


class OfficialGenerator(nn.Module):
    """LaMP's masked transformer, and the Q-Former that it is conditioned on."""

    def __init__(
        self, lamp: OfficialLamp, codes=16, code=6, size=16, inner=24, layers=2, heads=2, hidden=16, context=12
    ):
        super().__init__()
        self.input_process = block(poseEmbedding=nn.Linear(code, size))
        self.position_enc = nn.Module()
        angles = torch.arange(60)[:, None] * torch.exp(torch.arange(0, size, 2) * (-math.log(10000.0) / size))
        self.position_enc.register_buffer("pe", torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, None])
        layer = nn.TransformerEncoderLayer(size, heads, inner, 0.2, "gelu")
        self.seqTransEncoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.cond_emb = nn.Linear(hidden, size)
        dense, norm, final = nn.Linear(size, size), nn.LayerNorm(size, EPSILON), nn.Linear(size, codes)
        self.output_process = block(dense=dense, LayerNorm=norm, poseFinal=final)
        self.token_emb = nn.Embedding(codes + 2, code)
        self.Qformer = bert_with_words(hidden=hidden, context=context)
        self.Qformer.load_state_dict(lamp.Qformer.state_dict())
        self.query_tokens = nn.Parameter(lamp.query_tokens.detach().clone())
        self.text2former = nn.Linear(hidden, context)
        self.clip2qformer = nn.Linear(7, hidden)

    def condition(self, ids, mask):
        """Return the condition of texts padded to 49 tokens; the queries read the padding too."""
        text = self.text2former(self.Qformer.bert(ids, mask[:, None, None])[0])
        batch = self.query_tokens.expand(len(ids), -1, -1)
        return self.Qformer.bert(queries=batch, context=text)[0].mean(1)

    def logits(self, codes, condition):
        tokens = self.input_process.poseEmbedding(self.token_emb(codes)).transpose(0, 1)  # [L, B, C]
        tokens = tokens + self.position_enc.pe[: len(tokens)]
        whole = torch.cat([self.cond_emb(condition)[None], tokens])
        hidden = self.seqTransEncoder(whole, mask=torch.ones(len(whole), len(whole)).tril())[1:]
        out = self.output_process
        hidden = out.LayerNorm(nn.functional.gelu(out.dense(hidden)))
        return out.poseFinal(hidden).transpose(0, 1)


def shake(module: nn.Module, seed: int = 0) -> nn.Module:
    """Randomise all weights, norms and biases too, so widely that inputs and queries stay apart."""
    generator = torch.Generator().manual_seed(seed)
    norms = {id(m.weight) for m in module.modules() if isinstance(m, nn.LayerNorm)}
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if id(parameter) in norms or parameter.ndim == 0:
                parameter.add_(0.3 * noise)
            elif parameter.ndim == 1:
                parameter.copy_(0.3 * noise)
            else:
                parameter.copy_(1.5 * noise * parameter[0].numel() ** -0.5)
        if hasattr(module, "query_tokens"):
            module.query_tokens.copy_(torch.randn(module.query_tokens.shape, generator=generator))
    return module.eval()
