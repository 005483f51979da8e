"""LaMP: its features, its queries, its scores, and the folders that it loads from."""

import math

import numpy as np
import pytest
import torch
from conftest import (
    CAPTIONS,
    make_motion,
    qformer_text_to_motion,
    residual_text_to_motion,
    tiny_lamp_config,
    tiny_qformer_config,
    tiny_text_to_motion,
)
from torch import nn
from transformers import BertModel

import lamp_hf
from lamp_hf.models.lamp_queries import LampMotionTrunk, LampQueries, queries_of_tokens
from lamp_hf.models.modeling_auto_lamp import load_lamp


LENGTHS = (33, 57, 41)


@pytest.fixture
def lamp(processor) -> lamp_hf.LampModel:
    """A new LaMP, with first weights so wide that texts and motions differ."""
    torch.manual_seed(0)
    return lamp_hf.LampModel(tiny_lamp_config(processor, initializer_range=0.3)).eval()


@pytest.fixture
def motions() -> list[np.ndarray]:
    return [lamp_hf.joints_to_features(make_motion(length, seed=length)) for length in LENGTHS]


@pytest.fixture
def parts(lamp, processor, motions):
    """Features of three texts and three motions."""
    inputs = processor(text=CAPTIONS[:3], motion=motions)
    mask = inputs["attention_mask"].bool()
    with torch.no_grad():
        text = lamp.encode_text_parts(lamp.encode_text(inputs["input_ids"], mask), mask)
        latents = lamp.encode_latents(inputs["motion_values"], inputs["motion_attention_mask"])
        return text, lamp.encode_motion_parts(*latents)


class TestFeatures:
    @pytest.mark.parametrize(("pool", "shape"), [(True, (4, 16)), (False, (4, 8, 8))])
    def test_of_texts_have_unit_length_and_depend_on_no_other_text(self, lamp, processor, pool, shape):
        inputs = processor(text=CAPTIONS)
        features = lamp.get_text_features(**inputs, pool=pool)
        assert features.shape == shape
        torch.testing.assert_close(features.norm(dim=-1), torch.ones(shape[:-1]))
        for caption, row, mask in zip(CAPTIONS, features, inputs["attention_mask"].bool()):
            (alone,) = lamp.get_text_features(**processor(text=caption), pool=pool)
            torch.testing.assert_close(row if pool else row[mask], alone, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize(("pool", "shape"), [(True, (3, 16)), (False, (3, 49, 8))])
    def test_of_motions_have_unit_length_and_depend_on_no_other_motion(self, lamp, processor, motions, pool, shape):
        features = lamp.get_motion_features(**processor(motion=motions), pool=pool)
        assert features.shape == shape
        torch.testing.assert_close(features.norm(dim=-1), torch.ones(shape[:-1]))
        for motion, row in zip(motions, features):
            (alone,) = lamp.get_motion_features(**processor(motion=motion), pool=pool)
            torch.testing.assert_close(row, alone, atol=1e-4, rtol=1e-4)

    def test_states_of_words_and_queries_depend_on_no_other_text_or_motion(self, lamp, processor, motions):
        inputs = processor(text=CAPTIONS)
        words, mask = lamp.get_word_states(**inputs), inputs["attention_mask"].bool()
        assert words.shape == (4, 8, 24)
        (alone,) = lamp.get_word_states(**processor(text=CAPTIONS[3]))
        torch.testing.assert_close(words[3][mask[3]], alone, atol=1e-5, rtol=1e-5)
        queries = lamp.get_text_queries(**inputs)
        assert queries.shape == (4, 49, 32)
        (alone,) = lamp.get_text_queries(**processor(text=CAPTIONS[3]))
        torch.testing.assert_close(queries[3], alone, atol=1e-5, rtol=1e-5)
        queries = lamp.get_motion_queries(**processor(motion=motions))
        (alone,) = lamp.get_motion_queries(**processor(motion=motions[0]))
        torch.testing.assert_close(queries[0], alone, atol=1e-4, rtol=1e-4)

    def test_shares_of_words_sum_to_one_and_padding_has_none(self, parts, processor):
        weights, mask = parts[0].word_weights, processor(text=CAPTIONS[:3])["attention_mask"].bool()
        torch.testing.assert_close(weights.sum(1), torch.ones(3))
        assert (weights[mask] > 0).all() and not weights[~mask].any()

    def test_words_are_read_by_a_bert(self, lamp, processor):
        bert = BertModel(lamp.config.text_config, add_pooling_layer=False).eval()
        bert.load_state_dict(lamp.text_encoder.state_dict())
        inputs = processor(text=CAPTIONS)
        states, mask = bert(**inputs).last_hidden_state, inputs["attention_mask"].bool()
        torch.testing.assert_close(lamp.encode_text(**inputs)[mask], states[mask])
        weights = mask[..., None].float()
        mean = (states * weights).sum(1) / weights.sum(1)
        torch.testing.assert_close(lamp.get_sentence_features(**inputs), mean / mean.norm(dim=-1, keepdim=True))

    def test_a_motion_with_more_tokens_than_queries_is_refused(self, lamp, processor):
        longest = processor(motion=lamp_hf.joints_to_features(make_motion(197)))
        assert longest["motion_values"].shape[1] == 196 == lamp.config.max_frames
        lamp.get_motion_features(**longest)
        with pytest.raises(ValueError, match="the motion has 50 tokens, the model reads at most 49"):
            lamp.get_motion_features(torch.zeros(1, 200, 263))

    def test_the_frozen_encoders_stay_as_they_are(self, lamp_config, processor):
        """In a new model too: what they return has no dropout in it."""
        for lamp in (lamp_hf.LampModel(lamp_config), lamp_hf.LampForPreTraining(lamp_config).lamp):
            for model in (lamp, lamp.train()):
                for part in (model.text_encoder, model.motion_encoder):
                    assert not part.training and not any(weight.requires_grad for weight in part.parameters())
                states = [model.encode_text(**processor(text=CAPTIONS[:1])) for _ in range(2)]
                assert torch.equal(*states)
            assert lamp.matcher.training and lamp.trunk.convolutions[0].weight.requires_grad


class TestWhitening:
    LATENTS = torch.randn(400, 8, generator=torch.Generator().manual_seed(0)) @ torch.randn(
        8, 8, generator=torch.Generator().manual_seed(1)
    ) + torch.arange(8.0)

    def white(self, processor, shrinkage: float) -> torch.Tensor:
        trunk = LampMotionTrunk(tiny_lamp_config(processor)).eval()
        trunk.fit_whitening(self.LATENTS, shrinkage)
        return trunk(self.LATENTS[None], torch.ones(1, 400, dtype=torch.bool))[1][0]

    def test_without_shrinkage_the_covariance_is_the_identity(self, processor):
        white = self.white(processor, 0.0)
        torch.testing.assert_close(white.mean(0), torch.zeros(8), atol=1e-4, rtol=0)
        torch.testing.assert_close(white.T.cov(), torch.eye(8), atol=1e-3, rtol=0)

    def test_in_full_it_only_centres_and_scales(self, processor):
        scale = self.LATENTS.T.cov().diagonal().mean().rsqrt()
        expected = (self.LATENTS - self.LATENTS.mean(0)) * scale
        torch.testing.assert_close(self.white(processor, 1.0), expected, atol=1e-4, rtol=1e-4)

    def test_a_new_trunk_leaves_latents_as_they_are(self, lamp):
        latents, mask = torch.randn(2, 5, 8), torch.arange(5) < torch.tensor([[5], [3]])
        states, white = lamp.trunk(latents, mask)
        torch.testing.assert_close(white, latents * mask[..., None])
        assert not states[1, 3:].any() and states[0].any(1).all()


@pytest.fixture
def one_hot(processor):
    """Queries of a context of as many channels as they have, stripped to what they read through their windows."""
    config = tiny_lamp_config(processor, hidden_size=24, trunk_size=16, query_window=1.5)  # 16 + 8 channels
    queries = LampQueries(config).eval()
    queries.init_weights()
    queries.norm = nn.Identity()
    with torch.no_grad():
        for weight in (queries.query_tokens.weight, queries.gates):
            weight.zero_()
        for layer in (queries.output, queries.feed_forward[-1], queries.query, queries.local, queries.whole):
            layer.weight.zero_()
            layer.bias.zero_()
        for layer in (queries.local, queries.whole, queries.value):
            layer.weight.copy_(torch.eye(24))
            layer.bias.zero_()
    return queries


def places(count: int) -> np.ndarray:
    """The share of a context that each of `count` queries, or words, is at the middle of."""
    return (np.arange(count) + 0.5) / count


def softmax(values: np.ndarray) -> np.ndarray:
    weights = np.exp(values)
    return weights / weights.sum(-1, keepdims=True)


class TestQueries:
    @pytest.mark.parametrize("length", [24, 7])
    def test_a_query_reads_a_gaussian_window_around_its_place(self, one_hot, length):
        """Each token of the context has a channel of its own; the mean over the context is subtracted."""
        mask = (torch.arange(24) < length)[None]
        read = one_hot(torch.eye(24)[None], mask)[0].detach().numpy()
        distance = (places(length)[None] - places(49)[:, None]) * length  # in tokens
        expected = softmax(-(distance**2) / (2 * 1.5**2)) - 1 / length
        np.testing.assert_allclose(read[:, :length], expected, atol=1e-5)
        assert not read[:, length:].any()

    def test_the_mean_over_the_context_is_given_back_by_each_querys_gate(self, one_hot):
        mask = torch.ones(1, 24, dtype=torch.bool)
        closed = one_hot(torch.eye(24)[None], mask)[0]
        with torch.no_grad():
            one_hot.gates[3] = math.atanh(0.5)
        given = one_hot(torch.eye(24)[None], mask)[0] - closed
        torch.testing.assert_close(given[3], torch.full((24,), 0.5 / 24))
        assert not given[:3].any() and not given[4:].any()

    def test_attention_is_drawn_to_the_querys_place_each_head_by_its_reach(self, one_hot):
        """With equal attention to all contents, a head averages by a Gaussian over shares of the length."""
        mask = torch.ones(1, 24, dtype=torch.bool)
        closed = one_hot(torch.eye(24)[None], mask)[0]
        with torch.no_grad():
            one_hot.output.weight.copy_(torch.eye(24))
        attended = (one_hot(torch.eye(24)[None], mask)[0] - closed).detach().numpy()
        distance = places(24)[None] - places(49)[:, None]
        reaches = np.geomspace(0.03, 0.3, 4)
        expected = np.stack([softmax(-(distance**2) / (2 * reach**2)) for reach in reaches]) - 1 / 24
        for head in range(4):
            channels = slice(6 * head, 6 * head + 6)
            np.testing.assert_allclose(attended[:, channels], expected[head][:, channels], atol=1e-5)

    def test_queries_see_their_own_part_of_a_motion(self, lamp):
        """Other latents at the end change the last queries, and the first ones hardly."""
        latents, mask = torch.randn(1, 49, 8), torch.ones(1, 49, dtype=torch.bool)
        other = latents.clone()
        other[:, 44:] = torch.randn(5, 8)
        with torch.no_grad():
            before, after = (lamp.encode_motion_parts(values, mask).queries[0] for values in (latents, other))
        change = (after - before).norm(dim=-1)
        assert change[44:].mean() > 5 * change[:30].mean()

    def test_a_token_belongs_to_the_query_at_its_place(self):
        """Seven tokens and 49 queries: every seventh, from the middle of the first seven."""
        queries = torch.arange(49.0).expand(2, -1)[..., None]
        mask = torch.arange(49) < torch.tensor([[7], [49]])
        found = queries_of_tokens(queries, mask)[..., 0]
        assert found[0, :7].tolist() == [3, 10, 17, 24, 31, 38, 45]
        assert found[1].tolist() == list(range(49))


class TestScores:
    def test_a_score_is_the_cosine_and_each_words_best_query_at_their_temperatures(self, lamp, parts):
        text, motion = ({name: values.numpy() for name, values in part.items()} for part in parts)
        lamp.word_logit_scale.data.fill_(math.log(3.0))
        whole, by_words = (logits.detach().numpy() for logits in lamp.score(*parts))
        for i in range(3):
            for j in range(3):
                assert whole[i, j] == pytest.approx(text["embeds"][i] @ motion["embeds"][j] / 0.07, abs=1e-4)
                best = [max(query @ word for query in motion["query_embeds"][j]) for word in text["word_embeds"][i]]
                wanted = 3.0 * sum(share * value for share, value in zip(text["word_weights"][i], best))
                assert by_words[i, j] == pytest.approx(wanted, abs=1e-4)

    def test_its_forward_adds_both(self, lamp, parts, processor, motions):
        output = lamp(**processor(text=CAPTIONS[:3], motion=motions))
        torch.testing.assert_close(output.logits_per_text, sum(lamp.score(*parts)))
        torch.testing.assert_close(output.text_embeds, parts[0].embeds)

    def test_a_new_model_starts_at_the_usual_temperature_and_none_is_above_a_hundred(self, lamp):
        assert lamp.temperature.item() == lamp.word_temperature.item() == pytest.approx(1 / 0.07)
        lamp.logit_scale.data.fill_(math.log(1000))
        assert lamp.temperature.item() == pytest.approx(100)

    def test_pairs_are_matched_one_by_one(self, lamp, processor, motions):
        together = lamp.get_matching_logits(**processor(text=CAPTIONS[:3], motion=motions))
        alone = [lamp.get_matching_logits(**processor(text=CAPTIONS[i], motion=motions[i])) for i in range(3)]
        torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=1e-4)

    def test_matching_trains_the_matcher_alone(self, lamp, processor, motions):
        lamp.train()
        lamp.get_matching_logits(**processor(text=CAPTIONS[:3], motion=motions)).sum().backward()
        trained = {name.split(".")[0] for name, weight in lamp.named_parameters() if weight.grad is not None}
        assert trained == {"matcher"} and all(weight.grad is not None for weight in lamp.matcher.parameters())

    @pytest.mark.parametrize("batch_size", [1, 64])
    def test_reranking_adds_the_log_odds_to_the_best_and_keeps_the_order_of_the_others(
        self, lamp, processor, motions, batch_size
    ):
        inputs = processor(text=CAPTIONS[:3], motion=motions)
        text = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        motion = {name: inputs[name] for name in ("motion_values", "motion_attention_mask")}
        logits = lamp(**inputs).logits_per_text.detach()
        made = lamp.rerank(text, motion, k=1, batch_size=batch_size)
        again = (logits == logits.amax(1, keepdim=True)) | (logits == logits.amax(0))
        rows, columns = again.nonzero().T
        pairs = {name: values[rows] for name, values in text.items()}
        pairs |= {name: values[columns] for name, values in motion.items()}
        odds = lamp.get_matching_logits(**pairs)
        torch.testing.assert_close(made[again], logits[again] + odds.detach(), atol=1e-4, rtol=1e-4)
        assert made[~again].max() < made[again].min()
        assert torch.equal(made[~again].argsort(), logits[~again].argsort())
        torch.testing.assert_close(lamp.rerank(text, motion, k=0), logits)
        everything = torch.ones_like(again)
        assert lamp.rerank(text, motion, k=99).shape == everything.shape


class TestFolders:
    def features(self, lamp, processor, motions) -> torch.Tensor:
        inputs = processor(text=CAPTIONS[:3], motion=motions)
        with torch.no_grad():
            return torch.cat([lamp(**inputs).logits_per_text, lamp.get_matching_logits(**inputs)[None]])

    def test_a_saved_model_comes_back_the_same(self, lamp, processor, motions, tmp_path):
        lamp.trunk.fit_whitening(torch.randn(100, 8))
        lamp.save_pretrained(tmp_path)
        loaded = lamp_hf.LampModel.from_pretrained(tmp_path).eval()
        assert torch.equal(*(self.features(model, processor, motions) for model in (lamp, loaded)))
        assert not any(weight.requires_grad for weight in loaded.text_encoder.parameters())
        loaded, report = lamp_hf.LampModel.from_pretrained(tmp_path, output_loading_info=True)
        assert not report["missing_keys"] and not loaded.motion_encoder.conv_in.weight.requires_grad

    @pytest.mark.parametrize("make", [tiny_text_to_motion, residual_text_to_motion])
    def test_it_loads_from_the_folder_of_a_generator(self, make, processor, motions, tmp_path):
        """Which stores the motion encoder once, as a part of the tokenizer, if both are the same."""
        generator = make(processor)
        generator.save_pretrained(tmp_path)
        for load in (lamp_hf.LampModel.from_pretrained, load_lamp):
            loaded = load(tmp_path).eval()
            both = (self.features(model, processor, motions) for model in (generator.lamp, loaded))
            torch.testing.assert_close(*both, atol=1e-5, rtol=1e-5)
        inputs = processor(motion=motions)
        both = (lamp.get_motion_features(**inputs) for lamp in (generator.lamp, load_lamp(tmp_path, motion_only=True)))
        torch.testing.assert_close(*both, atol=1e-5, rtol=1e-5)

    def test_it_loads_from_the_folder_of_its_pretraining(self, lamp_config, processor, motions, tmp_path):
        pretraining = lamp_hf.LampForPreTraining(lamp_config).eval()
        pretraining.save_pretrained(tmp_path)
        loaded = lamp_hf.LampModel.from_pretrained(tmp_path).eval()
        assert torch.equal(*(self.features(model, processor, motions) for model in (pretraining.lamp, loaded)))
        again = lamp_hf.LampForPreTraining.from_pretrained(tmp_path)
        assert torch.equal(again.code_head.weight, pretraining.code_head.weight)

    @pytest.mark.parametrize("kind", ["lamp", "lamp_qformer"])
    def test_encoders_are_frozen_also_where_a_loaded_model_has_a_lamp_inside(self, kind, processor, tmp_path):
        if kind == "lamp":
            model = lamp_hf.LampForPreTraining(tiny_lamp_config(processor))
        else:
            model = lamp_hf.LampQFormerForPreTraining(tiny_qformer_config(processor))
        model.save_pretrained(tmp_path)
        loaded = type(model).from_pretrained(tmp_path).train()
        frozen = {name.split(".")[1] for name, weight in loaded.named_parameters() if not weight.requires_grad}
        assert frozen == {"motion_encoder", *["text_encoder"] * (kind == "lamp")}
        assert not any(getattr(loaded.lamp, name).training for name in frozen) and loaded.lamp.training

    def test_a_folder_is_loaded_as_what_it_holds(self, processor, lamp_folder, tmp_path):
        assert isinstance(load_lamp(lamp_folder), lamp_hf.LampModel)
        assert type(load_lamp(lamp_folder, motion_only=True)) is lamp_hf.LampMotionModel
        lamp_hf.LampQFormerModel(tiny_qformer_config(processor)).save_pretrained(tmp_path / "qformer")
        qformer_text_to_motion(processor).save_pretrained(tmp_path / "generator")
        for name in ("qformer", "generator"):
            assert isinstance(load_lamp(tmp_path / name), lamp_hf.LampQFormerModel)
            assert type(load_lamp(tmp_path / name, motion_only=True)) is lamp_hf.LampQFormerMotionModel
        lamp_hf.MotionVQVAEModel(tiny_lamp_config(processor).motion_config).save_pretrained(tmp_path / "tokenizer")
        with pytest.raises(ValueError, match="a model of type 'motion_vqvae', which contains no LaMP"):
            load_lamp(tmp_path / "tokenizer")

    def test_a_q_former_of_an_earlier_version_is_no_lamp_until_it_is_called_by_its_name(self, processor, tmp_path):
        lamp_hf.LampQFormerModel(tiny_qformer_config(processor)).save_pretrained(tmp_path / "old")
        config = tmp_path / "old" / "config.json"
        new = config.read_text()
        config.write_text(new.replace('"lamp_qformer"', '"lamp"'))
        for load in (load_lamp, lamp_hf.LampModel.from_pretrained):
            with pytest.raises(ValueError, match="the configuration of a Q-Former: its model_type is lamp_qformer"):
                load(tmp_path / "old")
        config.write_text(new)
        assert isinstance(load_lamp(tmp_path / "old"), lamp_hf.LampQFormerModel)

    def test_a_missing_weight_is_refused(self, lamp, tmp_path):
        del lamp.matcher.head
        lamp.save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=r"missing weight matcher\.head"):
            lamp_hf.LampModel.from_pretrained(tmp_path)
