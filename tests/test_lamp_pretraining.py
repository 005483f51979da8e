"""LaMP's objectives: what each of them learns, and that the losses are what they say."""

import pytest
import torch
from conftest import free_port, tiny_lamp_config
from torch import nn

import lamp_hf
from lamp_hf.models.modeling_lamp_pretraining import decorrelation_loss


OBJECTIVES = ("contrastive", "matching", "text_generation", "motion_generation", "reconstruction", "decorrelation")
CLIPS, TOKENS, WORDS = 20, 6, 5


def new_model(processor, *objectives: str, **changes) -> lamp_hf.LampForPreTraining:
    """A model without dropout that is trained by the given objectives alone."""
    torch.manual_seed(0)
    weights = {f"{name}_weight": float(name in objectives) for name in OBJECTIVES}
    values = {"dropout": 0.0, "matcher_dropout": 0.0, "num_query_tokens": 8} | weights | changes
    config = tiny_lamp_config(processor, **values)
    model = lamp_hf.LampForPreTraining(config)
    nn.init.normal_(model.lamp.get_input_embeddings().weight)  # as a trained encoder's, not nearly alike
    return model


def new_batch(processor, clips: int = CLIPS, captions: int = 1, seed: int = 1) -> dict:
    """Texts and motions of noise, as the frozen encoders might return them."""
    draw = torch.Generator().manual_seed(seed)
    texts, vocabulary = clips * captions, len(processor.tokenizer)
    lengths = torch.randint(3, WORDS + 1, (texts, 1), generator=draw)
    tokens = torch.randint(3, TOKENS + 1, (clips, 1), generator=draw)
    lengths[0], tokens[0] = WORDS, TOKENS
    return {
        "input_ids": torch.randint(vocabulary, (texts, WORDS), generator=draw),
        "attention_mask": (torch.arange(WORDS) < lengths).long(),
        "text_states": torch.randn(texts, WORDS, 32, generator=draw),
        "latents": torch.randn(clips, TOKENS, 8, generator=draw),
        "latent_mask": torch.arange(TOKENS) < tokens,
        "motion_codes": torch.randint(32, (clips, TOKENS), generator=draw),
        "clip_ids": torch.arange(clips),
        "caption_ids": torch.arange(texts),
    }


@pytest.mark.parametrize(
    ("objectives", "steps", "expected"), [(OBJECTIVES[:-1], 130, 0.06), (OBJECTIVES[-1:], 50, 0.03)]
)
def test_objectives_are_learned_by_heart(processor, objectives, steps, expected):
    """Twenty pairs, by all that predict together, and by what keeps queries apart alone."""
    model, batch = new_model(processor, *objectives), new_batch(processor)
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], 5e-3)
    for _ in range(steps):
        output = model(**batch)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
    losses = {name: output[f"{name}_loss"].item() for name in objectives}
    assert max(losses.values()) < expected, losses


def test_the_loss_is_the_weighted_sum_and_trains_everything_but_the_frozen_encoders(processor):
    weights = {f"{name}_weight": 0.5 + i for i, name in enumerate(OBJECTIVES)}
    model = new_model(processor, **weights).train()
    output = model(**new_batch(processor))
    parts = [weights[f"{name}_weight"] * output[f"{name}_loss"] for name in OBJECTIVES]
    torch.testing.assert_close(output.loss, sum(parts))
    output.loss.backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == {name for name, _ in model.named_parameters() if "_encoder." in name}


def expected_contrastive_loss(model, batch, left_out: set, left_out_of_texts: set | None = None) -> torch.Tensor:
    """Written down as loops.

    `left_out`: pairs of a text and a motion that are neither right nor wrong; `left_out_of_texts`: those for motions
    that look for their texts, if they are others.
    """
    left_out_of_texts = left_out if left_out_of_texts is None else left_out_of_texts
    mask = batch["attention_mask"].bool()
    text = model.lamp.encode_text_parts(batch["text_states"], mask)
    motion = model.lamp.encode_motion_parts(batch["latents"], batch["latent_mask"])
    captions = len(mask) // len(batch["clip_ids"])
    whole, words = model.lamp.score(text, motion)
    losses = []
    for logits in (whole + words, whole, words):
        rows = []
        for i, row in enumerate(logits):
            compared = [j for j in range(len(row)) if (i, j) not in left_out]
            rows.append(row[compared].logsumexp(0) - row[i // captions])
        losses.append(torch.stack(rows).mean())
        columns = []
        for j, column in enumerate(logits.T):
            compared = [i for i in range(len(column)) if (i, j) not in left_out_of_texts]
            right = column[j * captions : (j + 1) * captions]
            columns.append(column[compared].logsumexp(0) - right.mean())
        losses.append(torch.stack(columns).mean())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("captions", [1, 3])
def test_every_caption_of_a_clip_is_a_right_answer(processor, captions):
    model, batch = new_model(processor, "contrastive"), new_batch(processor, 6, captions)
    torch.testing.assert_close(model(**batch).contrastive_loss, expected_contrastive_loss(model, batch, set()))


def test_alike_captions_equal_captions_and_the_same_clip_are_no_wrong_answers(processor):
    """Clips 0 and 1 share a caption, 2 and 3 have captions that read alike, 4 and 5 are one clip."""
    model, batch = new_model(processor, "contrastive"), new_batch(processor, 7)
    batch["caption_ids"][1] = batch["caption_ids"][0]
    batch["clip_ids"][5] = batch["clip_ids"][4]
    for name in ("text_states", "attention_mask"):
        batch[name][3] = batch[name][2]
    batch["text_states"][3] += 0.1 * torch.randn(WORDS, 32)
    left_out = {(0, 1), (1, 0), (2, 3), (3, 2), (4, 5), (5, 4)}
    torch.testing.assert_close(model(**batch).contrastive_loss, expected_contrastive_loss(model, batch, left_out))


def test_a_caption_that_is_like_one_of_another_clips_leaves_that_clip_out(processor):
    """Two captions a clip: the second of clip 0 is the first of clip 2."""
    model, batch = new_model(processor, "contrastive"), new_batch(processor, 4, 2)
    batch["caption_ids"][1] = batch["caption_ids"][4]
    alike = {(1, 2), (4, 0)}  # the clips' other captions are still wrong ones
    expected = expected_contrastive_loss(model, batch, alike, alike)
    torch.testing.assert_close(model(**batch).contrastive_loss, expected)


def test_clips_of_the_same_caption_are_no_wrong_pairs(processor):
    """Two clips with the same caption make no wrong pair: the loss is that of the right ones."""
    model, batch = new_model(processor, "matching"), new_batch(processor, 2)
    batch["caption_ids"][:] = 0
    mask, rows = batch["attention_mask"].bool(), torch.arange(2)
    text = model.lamp.encode_text_parts(batch["text_states"], mask)
    motion = model.lamp.encode_motion_parts(batch["latents"], batch["latent_mask"])
    logits = model.lamp.match(batch["text_states"], mask, text, motion, rows, rows)
    expected = nn.functional.cross_entropy(logits, torch.ones(2, dtype=torch.long))
    torch.testing.assert_close(model(**batch).matching_loss, expected)


def test_words_are_predicted_from_the_motion_and_the_words_before_them(processor):
    model, batch = new_model(processor), new_batch(processor, 2)
    embeddings = model.lamp.get_input_embeddings()
    words, queries = embeddings(batch["input_ids"][:1]), torch.randn(1, 8, 32)
    changed = words.clone()
    changed[:, 3] += 1
    before, after = (model.caption_decoder(some, queries, embeddings.weight)[0] for some in (words, changed))
    torch.testing.assert_close(before[:3], after[:3])
    assert not torch.allclose(before[3:], after[3:])
    assert not torch.allclose(before, model.caption_decoder(words, torch.randn(1, 8, 32), embeddings.weight)[0])


def test_padding_changes_no_loss(processor):
    model, batch = new_model(processor, *OBJECTIVES), new_batch(processor, 5)
    padded = dict(batch)
    for name in ("input_ids", "attention_mask", "text_states", "latents", "latent_mask", "motion_codes"):
        values = batch[name]
        padded[name] = nn.functional.pad(values, (0, 0) * (values.ndim - 2) + (0, 2), value=0)
    for name in set(OBJECTIVES) - {"matching"}:  # which draws its wrong pairs
        torch.testing.assert_close(model(**padded)[f"{name}_loss"], model(**batch)[f"{name}_loss"], msg=name)


class TestDecorrelation:
    DIRECTIONS = torch.eye(4)

    def loss(self, *directions: int) -> float:
        """The loss of two clips with opposite queries along the given axes, around a constant."""
        queries = self.DIRECTIONS[list(directions)]
        return decorrelation_loss(torch.stack([5 + queries, 5 - queries])).item()

    def test_equal_queries_lose_one_and_orthogonal_ones_nothing(self):
        assert self.loss(0, 0, 0) == pytest.approx(1, abs=1e-5)
        assert self.loss(0, 1, 2, 3) == pytest.approx(0, abs=1e-5)

    def test_it_is_the_mean_over_pairs_of_queries(self):
        assert self.loss(0, 0, 1) == pytest.approx(1 / 3, abs=1e-5)

    def test_opposite_queries_say_the_same(self):
        queries = torch.stack([self.DIRECTIONS[0], -self.DIRECTIONS[0]])
        assert decorrelation_loss(torch.stack([queries, -queries])).item() == pytest.approx(1, abs=1e-5)


SHARED = tuple(name for name in OBJECTIVES if name != "matching")  # whose wrong pairs each process draws by itself


def losses_and_gradients(model, batch) -> tuple[dict, dict]:
    output = model(**batch)
    output.loss.backward()
    losses = {name: output[f"{name}_loss"].detach() for name in SHARED}
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return losses, gradients


def process(rank: int, port: int, model, batch: dict, expected: tuple[dict, dict]):
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    mine = {name: values.unflatten(0, (2, -1))[rank] for name, values in batch.items()}
    if rank:  # texts of the second process are shorter
        longest = int(mine["attention_mask"].sum(1).max())
        mine |= {name: mine[name][:, :longest] for name in ("input_ids", "attention_mask", "text_states")}
    for values, wanted in zip(losses_and_gradients(model, mine), expected):
        assert values.keys() == wanted.keys()
        for name, value in values.items():
            torch.distributed.all_reduce(value)
            torch.testing.assert_close(value / 2, wanted[name], atol=1e-4, rtol=1e-4, msg=name)
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_have_the_losses_and_gradients_of_one(processor):
    model, batch = new_model(processor, *SHARED), new_batch(processor, 8, 2)
    batch["attention_mask"][8:, WORDS - 1] = 0
    batch["caption_ids"][9] = batch["caption_ids"][2]  # excluded across the processes
    model.lamp.matcher.requires_grad_(False)
    expected = losses_and_gradients(model, batch)
    model.zero_grad(set_to_none=True)
    torch.multiprocessing.spawn(process, (free_port(), model, batch, expected), nprocs=2)
