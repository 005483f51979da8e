"""Text-to-motion generator: its transformers, condition and decoding, and how it is loaded."""

import json

import pytest
import torch
from conftest import (
    CAPTIONS,
    open_gates,
    qformer_text_to_motion,
    residual_text_to_motion,
    tiny_lamp_config,
    tiny_text_to_motion,
)
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoProcessor

import lamp_hf
from lamp_hf.models.modeling_common import sinusoidal_positions
from lamp_hf.models.motion_transformers import MaskedMotionTransformer, attention_bias


class TestConfiguration:
    def test_switches_of_converted_checkpoints_load_from_where_older_files_have_them(self, tmp_path):
        older = {"prefix_position": False, "padded_text_length": 49}
        for given in (older, {"released_quirks": older}):
            config = lamp_hf.LampTextToMotionConfig(**given)
            config.save_pretrained(tmp_path)
            assert json.loads((tmp_path / "config.json").read_text())["released_quirks"] == older
            quirks = lamp_hf.LampTextToMotionConfig.from_pretrained(tmp_path).released_quirks
            assert (quirks.prefix_position, quirks.padded_text_length, quirks.mask_padding) == (False, 49, True)

    @pytest.mark.parametrize(
        ("older", "interval"),
        [
            ({}, (0.0, 1.0)),
            ({"guidance_schedule": "constant"}, (0.0, 1.0)),
            ({"guidance_schedule": "interval"}, (0.2, 0.8)),
        ],
    )
    def test_files_of_earlier_versions_load_under_the_new_names(self, tmp_path, older, interval):
        older = older | {"model_type": "lamp_text_to_motion", "order_noise": 5.0}
        (tmp_path / "config.json").write_text(json.dumps(older))
        config = AutoConfig.from_pretrained(tmp_path)
        assert (config.choice_temperature, config.guidance_interval) == (5.0, interval)
        config.save_pretrained(tmp_path)
        saved = json.loads((tmp_path / "config.json").read_text())
        assert saved["choice_temperature"] == 5.0 and saved["guidance_interval"] == list(interval)
        assert not saved.keys() & older.keys() - {"model_type"}

    @pytest.mark.parametrize("interval", [(0.5, 0.5), (0.8, 0.2), (-0.1, 1.0), (0.0, 1.1)])
    def test_a_guidance_interval_that_holds_no_step_is_refused(self, interval):
        with pytest.raises(ValueError, match="guidance_interval"):
            lamp_hf.LampTextToMotionConfig(guidance_interval=interval)

    def test_a_model_without_quirks_saves_none_and_an_unknown_one_is_refused(self):
        assert "released_quirks" not in lamp_hf.LampTextToMotionConfig().to_dict()
        with pytest.raises(TypeError, match="prefix_positions"):
            lamp_hf.LampTextToMotionConfig(released_quirks={"prefix_positions": False})


class TestTextToMotion:
    @pytest.mark.parametrize(("mode", "leaks"), [("causal", False), ("soft_tril", True), ("bidirectional", True)])
    def test_only_the_causal_mask_hides_later_tokens(self, processor, mode, leaks):
        transformer = tiny_text_to_motion(processor, attention_mask_mode=mode).transformer
        codes, condition = torch.randint(32, (1, 8)), torch.randn(1, 4, 24)
        changed = codes.clone()
        changed[0, 6] = (codes[0, 6] + 1) % 32
        mask = torch.ones(1, 8, dtype=torch.bool)
        before, after = transformer(codes, mask, condition), transformer(changed, mask, condition)
        assert torch.allclose(before[0, :6], after[0, :6], atol=1e-6) != leaks

    def test_soft_tril_adds_one_to_the_past(self):
        assert attention_bias("soft_tril", 1, 2).tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]

    def test_padding_is_not_attended(self, text_to_motion_model):
        codes, condition = torch.randint(32, (1, 8)), torch.randn(1, 4, 24)
        mask = torch.arange(8)[None] < 5
        alone = text_to_motion_model.transformer(codes[:, :5], mask[:, :5], condition)
        torch.testing.assert_close(text_to_motion_model.transformer(codes, mask, condition)[:, :5], alone)

    def test_guidance_of_one_is_the_conditional_model(self, text_to_motion_model):
        codes, condition = torch.randint(32, (1, 8)), torch.randn(1, 4, 24)
        mask = torch.ones(1, 8, dtype=torch.bool)
        plain = text_to_motion_model._guided(
            text_to_motion_model.transformer, 1, codes, mask, condition, torch.zeros_like(condition)
        )
        conditional = text_to_motion_model.transformer(codes, mask, condition)
        unconditional = text_to_motion_model.transformer(codes, mask, torch.zeros_like(condition))
        torch.testing.assert_close(plain, conditional)
        guided = text_to_motion_model._guided(
            text_to_motion_model.transformer, 3, codes, mask, condition, torch.zeros_like(condition)
        )
        torch.testing.assert_close(guided, unconditional + 3 * (conditional - unconditional), atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize(("interval", "passes"), [((0.0, 1.0), [2] * 10), ((0.2, 0.8), [1, 1] + [2] * 6 + [1, 1])])
    def test_steps_outside_the_guidance_interval_take_one_pass(self, processor, interval, passes):
        model, seen = tiny_text_to_motion(processor, guidance_interval=interval), []
        model.transformer.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
        model.generate(**processor(text=CAPTIONS[:1]), num_tokens=[49], seeds=[0], num_inference_steps=10)
        assert seen == passes

    @pytest.mark.slow
    def test_compiled_transformers_give_the_same_codes(self, processor):
        model = residual_text_to_motion(processor)
        inputs = {**processor(text=CAPTIONS[:2]), "num_tokens": [9, 5], "seeds": [0, 1]}
        plain = model.generate(**inputs).codes
        for transformer in (model.transformer, model.residual_transformer):
            transformer.compile(dynamic=True, backend="aot_eager")  # traces as on a GPU, needs no compiler
        assert torch.equal(model.generate(**inputs).codes, plain)

    def test_steps_that_settle_nothing_are_left_out_of_each_sample(self, text_to_motion_model, processor):
        seen = []
        text_to_motion_model.transformer.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
        options = {"num_inference_steps": 30, "guidance_scale": 1.0}
        short = text_to_motion_model.generate(**processor(text=CAPTIONS[:1]), num_tokens=[3], seeds=[0], **options)
        assert seen == [1, 1, 1]  # a token each
        seen.clear()
        both = text_to_motion_model.generate(
            **processor(text=CAPTIONS[:2]), num_tokens=[3, 40], seeds=[0, 1], **options
        )
        assert len(seen) < 30 and seen.count(2) <= 3 <= seen.count(1)
        assert torch.equal(both.codes[0, :3], short.codes[0]) and (both.codes[both.token_mask] < 32).all()

    def test_a_sample_depends_on_its_seed_alone(self, text_to_motion_model, processor):
        inputs = processor(text=CAPTIONS[:3])
        together = text_to_motion_model.generate(**inputs, num_tokens=[9, None, 14], seeds=[1, 2, 3])
        alone = text_to_motion_model.generate(**processor(text=CAPTIONS[1]), num_tokens=[None], seeds=[2])
        length = int(alone.token_mask.sum())
        assert torch.equal(together.codes[1, :length], alone.codes[0])
        assert (together.codes[together.token_mask] < 32).all()  # no mask is left

    def test_a_longer_motion_begins_with_the_same_draws(self, processor):
        """Where logits do not know the length, the first step draws the same tokens, of a predicted length too."""
        model, drawn = tiny_text_to_motion(processor, sample_length=True), {}

        class Recording(lamp_hf.MaskedMotionScheduler):
            def step(self, logits, timestep, *arguments, **options):
                output = super().step(torch.zeros_like(logits), timestep, *arguments, **options)
                drawn.setdefault(len(logits[0]), output.pred_original_sample[0])
                return output

        inputs = processor(text=CAPTIONS[:1])
        for num_tokens in (30, 49, None):
            scheduler = Recording(model.transformer.mask_token_id)
            model.generate(**inputs, num_tokens=[num_tokens], seeds=[3], num_inference_steps=4, scheduler=scheduler)
        assert len(drawn) == 3
        shortest = min(20, *drawn)
        assert all(torch.equal(codes[:shortest], drawn[49][:shortest]) for codes in drawn.values())

    def test_lengths_come_from_the_middle_half_of_the_predicted_distribution(self, processor):
        model = tiny_text_to_motion(processor, sample_length=True)
        logits = torch.full((49,), -30.0)
        logits[[4, 9, 10, 11, 40]] = torch.tensor([0.2, 0.2, 0.2, 0.2, 0.2]).log()
        model.length_logits = lambda condition: logits.expand(len(condition), -1)
        generators = [torch.Generator().manual_seed(seed) for seed in range(100)]
        lengths = model.choose_lengths(torch.zeros(100, 1, 1), [None] * 100, generators).tolist()
        assert set(lengths) == {10, 11, 12}
        assert 20 < lengths.count(11) < 60
        told = model.length_probabilities(torch.zeros(1, 1, 1))[0]
        torch.testing.assert_close(told[8:13], torch.tensor([0, 0.3, 0.4, 0.3, 0]))
        model.config.sample_length, logits[10] = False, 0.0
        assert model.length_probabilities(torch.zeros(1, 1, 1))[0].nonzero().tolist() == [[10]]

    def test_one_generator_for_two_calls_gives_two_motions(self, processor):
        model, generator = tiny_text_to_motion(processor), torch.Generator().manual_seed(0)
        condition, mask = torch.randn(1, 1, model.config.condition_size), torch.ones(1, 12, dtype=torch.bool)
        first, second = (model.generate_codes(condition, mask, [generator]) for _ in range(2))
        assert not torch.equal(first, second)

    def test_known_tokens_stay_and_change_the_others(self, processor):
        model = residual_text_to_motion(processor)
        condition, mask = torch.randn(1, 4, 24), torch.ones(1, 40, dtype=torch.bool)
        known = torch.full((1, 40, 3), -1)
        known[:, :5] = torch.randint(32, (1, 5, 3))
        made, free = (
            model.generate_codes(condition, mask, [torch.Generator().manual_seed(0)], codes) for codes in (known, None)
        )
        assert torch.equal(made[:, :5], known[:, :5])
        assert (made[:, 5:] >= 0).all()
        assert (made[:, 5:] < 32).all()
        assert not torch.equal(made[:, 5:], free[:, 5:])

    @pytest.mark.parametrize("mode", ["query_mean", "queries", "text_mean", "query_and_text_mean"])
    def test_conditions_of_the_papers_q_former(self, processor, mode):
        model = qformer_text_to_motion(processor, mode)
        prefix = {"queries": 49, "query_and_text_mean": 2}.get(mode, 1)
        assert model.encode_text(**processor(text=CAPTIONS)).shape == (4, prefix, 32)

    def test_queries_that_read_padding_read_as_much_of_it_in_any_batch(self, processor):
        """As the released code pads; a neighbour as long as that, or longer, changes nothing."""
        model = qformer_text_to_motion(processor, released_quirks={"padded_text_length": 6})
        alone = model.encode_text(**processor(text="she bows"))
        for words in (1, 4, 8):
            neighbour = " ".join(["walks"] * words)
            together = model.encode_text(**processor(text=["she bows", neighbour]))
            torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-5)

    def test_more_tokens_than_the_model_learned_are_refused(self, processor):
        model = tiny_text_to_motion(processor)
        with pytest.raises(ValueError, match="num_tokens must be from 1 to"):
            model.generate(**processor(text="she bows"), num_tokens=[model.max_num_tokens + 1])

    @pytest.mark.parametrize("make", [tiny_text_to_motion, qformer_text_to_motion])
    def test_frozen_parts_stay_frozen_when_loaded(self, processor, tmp_path, make):
        model = make(processor)
        model.save_pretrained(tmp_path)
        loaded = lamp_hf.LampForTextToMotion.from_pretrained(tmp_path).train()
        free = {name.split(".")[0] for name, parameter in loaded.named_parameters() if parameter.requires_grad}
        assert free == {"transformer", "length_predictor"}
        assert not any(part.training for part in (loaded.lamp, loaded.vqvae))
        told = [model.encode_text(**processor(text=CAPTIONS)) for model in (model, loaded)]
        assert torch.equal(*told)

    def test_a_dropped_condition_hides_the_text_from_the_tokens_but_not_from_the_length(self, processor):
        model = tiny_text_to_motion(processor)
        codes, mask = torch.randint(32, (2, 9)), torch.ones(2, 9, dtype=torch.bool)
        drop = torch.tensor([True, False])
        texts = [processor(text=[text] * 2) for text in CAPTIONS[:2]]
        with torch.no_grad():
            one, other = (model(codes, mask, labels=codes, drop_condition=drop, **text) for text in texts)
            without = model.transformer(codes, mask, torch.zeros(2, 1, 24))
        torch.testing.assert_close(one.logits[0], without[0])
        assert torch.equal(one.logits[0], other.logits[0]) and not torch.allclose(one.logits[1], other.logits[1])
        assert not torch.allclose(one.length_logits[0], other.length_logits[0])

    def test_trains_without_touching_lamp_and_tokenizer(self, processor):
        model = qformer_text_to_motion(processor, released_quirks={"new_text_projection": True}).train()
        codes = torch.randint(32, (4, 9))
        mask = torch.ones(4, 9, dtype=torch.bool)
        drop = torch.tensor([True, False, False, False])
        model(codes, mask, labels=codes, drop_condition=drop, **processor(text=CAPTIONS)).loss.backward()
        trained = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None}
        assert trained == {"transformer", "length_predictor", "text_projection"}
        assert not model.lamp.training and not model.vqvae.training


class TestWords:
    """With LaMP, every layer attends to the states of the words."""

    @pytest.mark.parametrize(("mode", "size"), [("words", 24), ("encoder_words", 32)])
    def test_the_condition_is_the_whole_text_then_its_words_then_zeros(self, processor, mode, size):
        model = tiny_text_to_motion(processor, condition_mode=mode)
        inputs = processor(text=["she bows", "a man turns to the right"])
        condition, words = model.encode_text(**inputs), model.lamp.encode_text(**inputs)
        whole = model.lamp.get_sentence_features(**inputs)
        if mode == "words":
            whole = torch.nn.functional.pad(model.lamp.get_text_features(**inputs), (0, 8))  # 16 entries of 24
            words = model.lamp.get_word_states(**inputs)
        scale = 16**0.5 if mode == "words" else 32**0.5
        assert condition.shape == (2, 1 + inputs["input_ids"].shape[1], size)
        torch.testing.assert_close(condition[:, 0], scale * whole)
        mask = inputs["attention_mask"].bool()
        placed = words + sinusoidal_positions(*words.shape[1:])  # who does what first
        torch.testing.assert_close(condition[:, 1:][mask], placed[mask])
        assert not condition[:, 1:][~mask].any()

    def test_a_whole_text_that_does_not_fit_in_a_state_of_a_word_is_refused(self, processor):
        with pytest.raises(ValueError, match="projection_dim of lamp_config must be at most its word_state_size"):
            tiny_text_to_motion(processor, lamp_config=tiny_lamp_config(processor, projection_dim=25))

    def test_a_condition_of_the_other_encoder_is_refused(self, processor):
        with pytest.raises(ValueError, match="'query_mean'; with lamp: words, encoder_words"):
            tiny_text_to_motion(processor, condition_mode="query_mean")
        with pytest.raises(ValueError, match="'words'; with lamp_qformer: query_mean, queries, text_mean"):
            qformer_text_to_motion(processor, "words")
        with pytest.raises(ValueError, match="model_type 'bert'; known: lamp, lamp_qformer"):
            lamp_hf.LampTextToMotionConfig(lamp_config={"model_type": "bert"})

    def test_gates_start_closed_and_words_are_heard_when_they_open(self, processor):
        transformer = tiny_text_to_motion(processor).transformer
        codes, mask, condition = torch.randint(32, (1, 8)), torch.ones(1, 8, dtype=torch.bool), torch.randn(1, 5, 24)
        assert all(not attention.gate.any() for attention in transformer.word_attention)
        for heard in (False, True):
            for row in (1, 4):
                other = condition.clone()
                other[:, row] = torch.randn(24)
                one, two = transformer(codes, mask, condition), transformer(codes, mask, other)
                assert torch.equal(one, two) != heard
            open_gates(transformer)

    def test_the_whole_text_is_heard_through_closed_gates(self, processor):
        transformer = tiny_text_to_motion(processor).transformer
        codes, mask, condition = torch.randint(32, (1, 8)), torch.ones(1, 8, dtype=torch.bool), torch.randn(2, 5, 24)
        condition[1, 1:] = condition[0, 1:]
        assert not torch.equal(*(transformer(codes, mask, some[None]) for some in condition))

    def test_words_of_zeros_are_padding(self, processor):
        model = tiny_text_to_motion(processor)
        open_gates(model.transformer)
        codes, mask, condition = torch.randint(32, (1, 8)), torch.ones(1, 8, dtype=torch.bool), torch.randn(1, 5, 24)
        padded = torch.nn.functional.pad(condition, (0, 0, 0, 3))
        logits = model.transformer(codes, mask, condition)
        torch.testing.assert_close(model.transformer(codes, mask, padded), logits)
        torch.testing.assert_close(model.length_logits(padded), model.length_logits(condition))
        nothing = model.transformer(codes, mask, torch.zeros(1, 1, 24))  # no word at all
        assert nothing.isfinite().all()
        torch.testing.assert_close(model.transformer(codes, mask, torch.zeros(1, 6, 24)), nothing)

    def test_the_unwanted_text_of_guidance_may_be_longer_or_shorter(self, processor):
        model = tiny_text_to_motion(processor)
        open_gates(model.transformer)
        short, long = (model.encode_text(**processor(text=text)) for text in ("she bows", "a man turns to the right"))
        assert short.shape[1] < long.shape[1]
        codes, mask = torch.randint(32, (1, 8)), torch.ones(1, 8, dtype=torch.bool)
        for wanted, unwanted in ((short, long), (long, short)):
            guided = model._guided(model.transformer, 3, codes, mask, wanted, unwanted)
            one, other = (model.transformer(codes, mask, condition) for condition in (wanted, unwanted))
            torch.testing.assert_close(guided, other + 3 * (one - other), atol=1e-5, rtol=1e-5)

    def test_gradients_reach_closed_gates_and_through_open_ones_the_attention(self, processor):
        model = tiny_text_to_motion(processor).train()
        codes, mask = torch.randint(32, (4, 9)), torch.ones(4, 9, dtype=torch.bool)
        for opened in (False, True):
            model.zero_grad()
            model(codes, mask, labels=codes, **processor(text=CAPTIONS)).loss.backward()
            for attention in model.transformer.word_attention:
                assert attention.gate.grad.all()
                assert attention.attention.v_proj_weight.grad.any() == opened
            open_gates(model.transformer)
        assert all(parameter.grad is None for parameter in model.lamp.parameters())


class TestResidualCodes:
    """MoMask's option: a transformer that fills the codebooks behind the first."""

    def test_the_generator_fills_all_codebooks_and_comes_back_from_a_folder(self, processor, tmp_path):
        model = residual_text_to_motion(processor)
        inputs = processor(text=CAPTIONS[:2])
        made = model.generate(**inputs, num_tokens=[5, 9], seeds=[0, 1])
        assert made.codes.shape == (2, 9, 3)
        alone = model.generate(**processor(text=CAPTIONS[0]), num_tokens=[5], seeds=[0])
        assert torch.equal(alone.codes[0], made.codes[0, :5])
        model.save_pretrained(tmp_path)
        reloaded = lamp_hf.LampForTextToMotion.from_pretrained(tmp_path)
        assert torch.equal(reloaded.generate(**inputs, num_tokens=[5, 9], seeds=[0, 1]).codes, made.codes)
        encoders = reloaded.vqvae.encoder.conv_in.weight, reloaded.lamp.motion_encoder.conv_in.weight
        assert not torch.equal(*encoders)  # a tokenizer of its own is not tied to LaMP's
        lamp = lamp_hf.LampModel.from_pretrained(tmp_path)
        assert torch.equal(lamp.motion_encoder.conv_in.weight, model.lamp.motion_encoder.conv_in.weight)

    def test_each_level_is_trained_from_those_before_it(self, processor):
        model = residual_text_to_motion(processor)
        codes, condition = torch.randint(32, (2, 7, 3)), torch.randn(2, 4, 24)
        mask, levels = torch.ones(2, 7, dtype=torch.bool), torch.tensor([1, 2])
        before = model.residual_transformer(codes, mask, condition, levels)
        later = codes.clone()
        later[0, :, 1:] = (later[0, :, 1:] + 1) % 32
        later[1, :, 2:] = (later[1, :, 2:] + 1) % 32
        torch.testing.assert_close(model.residual_transformer(later, mask, condition, levels), before)
        output = model(codes[..., 0], mask, codes[..., 0], condition=condition, all_codes=codes, levels=levels)
        torch.testing.assert_close(output.loss, output.token_loss + 0.1 * output.length_loss + output.residual_loss)


class TestLoading:
    def test_auto_classes_know_the_models(self, model_folder, processor):
        assert isinstance(AutoConfig.from_pretrained(model_folder), lamp_hf.LampTextToMotionConfig)
        assert isinstance(AutoProcessor.from_pretrained(model_folder), lamp_hf.LampProcessor)
        model = AutoModel.from_pretrained(model_folder).eval()
        inputs = processor(text=CAPTIONS[:1])
        expected = tiny_text_to_motion(processor).generate(**inputs, num_tokens=[9], seeds=[0])
        torch.testing.assert_close(
            model.generate(**inputs, num_tokens=[9], seeds=[0]).motion_values, expected.motion_values
        )

    @pytest.mark.parametrize("damage", ["missing", "renamed", "truncated", "reshaped"])
    def test_incomplete_or_foreign_weights_are_refused(self, model_folder, tmp_path, damage):
        for file in model_folder.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        path = tmp_path / "model.safetensors"
        weights = load_file(path)
        name = "transformer.head.0.weight"
        if damage == "truncated":
            path.write_bytes(path.read_bytes()[:-1000])
        else:
            tensor = weights.pop(name)
            if damage == "renamed":
                weights["transformer.head.9.weight"] = tensor
            if damage == "reshaped":
                weights[name] = tensor[:-1].contiguous()
            save_file(weights, path, metadata={"format": "pt"})
        with pytest.raises(ValueError):
            AutoModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("mode", ["causal", "soft_tril", "bidirectional"])
@pytest.mark.parametrize("pre_norm", [False, True])
def test_inference_computes_what_training_does(mode, pre_norm, processor):
    """PyTorch has another path for inference, with its own idea of masks."""
    changes = {"attention_mask_mode": mode, "pre_norm": pre_norm, "token_convolution": 3, "dropout": 0.0}
    config = tiny_text_to_motion(processor, **changes).config
    torch.manual_seed(0)
    transformer = MaskedMotionTransformer(config).eval()
    codes = torch.randint(transformer.mask_token_id, (2, 6))
    token_mask = torch.arange(6) < torch.tensor([[6], [4]])
    condition = torch.randn(2, 3, config.condition_size)
    with_gradient = transformer(codes, token_mask, condition).detach()
    with torch.no_grad():
        without = transformer(codes, token_mask, condition)
    torch.testing.assert_close(without[token_mask], with_gradient[token_mask], atol=1e-5, rtol=1e-5)
