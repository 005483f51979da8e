"""LaMP's Q-Former: its losses, its features and its scorings."""

import json
import math

import pytest
import torch
from conftest import CAPTIONS, make_motion, tiny_qformer_config

import lamp_hf
from lamp_hf.models.contrastive import similarity
from lamp_hf.models.modeling_lamp_qformer_pretraining import draw_negatives, qformer_matching_loss


@pytest.fixture
def batch(processor):
    motions = [lamp_hf.joints_to_features(make_motion(length, seed=length)) for length in (41, 57, 33, 45)]
    inputs = processor(text=CAPTIONS, motion=motions)
    tokens = inputs["motion_values"].shape[1] // 4
    ids = {"clip_ids": torch.arange(4), "caption_ids": torch.tensor([0, 1, 2, 0])}
    return dict(inputs) | {"motion_codes": torch.randint(32, (4, tokens))} | ids


class TestLamp:
    def test_all_four_losses_train_everything_but_the_frozen_motion_encoder(self, qformer_config, batch):
        model = lamp_hf.LampQFormerForPreTraining(qformer_config).train()
        output = model(**batch)
        parts = [
            output[f"{name}_loss"] for name in ("contrastive", "matching", "text_generation", "motion_generation")
        ]
        torch.testing.assert_close(output.loss, sum(parts))
        output.loss.backward()
        without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
        assert without == {name for name, _ in model.named_parameters() if "motion_encoder" in name}

    def test_features_have_unit_length_and_ignore_padding(self, qformer_config, processor, batch):
        model = lamp_hf.LampQFormerModel(qformer_config).eval()
        text = model.get_text_features(**processor(text=CAPTIONS))
        alone = model.get_text_features(**processor(text=CAPTIONS[3]))
        torch.testing.assert_close(text[3:], alone, atol=1e-5, rtol=1e-5)
        motions = [lamp_hf.joints_to_features(make_motion(length, seed=length)) for length in (33, 57)]
        motion = model.get_motion_features(**processor(motion=motions))
        alone = model.get_motion_features(**processor(motion=motions[0]))
        torch.testing.assert_close(motion[:1], alone, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(motion.norm(dim=-1), torch.ones(2))

    def test_generated_words_depend_on_the_motion_but_not_on_later_words(self, qformer_config, batch):
        model = lamp_hf.LampQFormerForPreTraining(qformer_config).eval()
        lamp = model.lamp
        for module in [*lamp.motion_encoder.modules(), lamp.motion_projection]:
            if isinstance(module, (torch.nn.Conv1d, torch.nn.Linear)):
                module.reset_parameters()  # larger than a model's first weights, under which motion is hardly heard

        def words(input_ids, motion):
            _, keys = lamp.attend(*lamp.encode_motion(motion))
            seen = {}
            hook = model.word_head.register_forward_hook(lambda module, inputs, output: seen.update(logits=output))
            model._text_generation_loss(input_ids, torch.ones_like(input_ids, dtype=torch.bool), keys)
            hook.remove()
            return seen["logits"]

        ids, motion = batch["input_ids"][:1], batch["motion_values"][:1]
        changed = ids.clone()
        changed[0, 3] = 5 if ids[0, 3] != 5 else 6
        before, after = words(ids, motion), words(changed, motion)
        torch.testing.assert_close(before[0, :3], after[0, :3])
        assert not torch.allclose(before[0, 3:], after[0, 3:])
        assert not torch.allclose(before[0, 0], words(ids, 1000 * torch.randn_like(motion))[0, 0], atol=1e-6, rtol=0)

    def test_negatives_are_never_excluded_pairs(self):
        scores = torch.full((5, 5), -50.0).fill_diagonal_(50)  # the true pair is by far the likeliest
        excluded = torch.eye(5, dtype=torch.bool)
        excluded[0, 1] = True
        excluded[4] = True
        for _ in range(50):
            columns, usable = draw_negatives(scores, excluded)
            assert not excluded[torch.arange(4), columns[:4]].any()
            assert usable.tolist() == [1, 1, 1, 1, 0]

    @pytest.mark.parametrize("mask_negatives", [True, False])
    def test_true_pairs_are_hard_negatives_only_as_released(self, mask_negatives, processor, batch):
        """Where each text is by far the nearest to its own motion, the released code draws it as the wrong pair."""
        torch.manual_seed(0)
        quirks = {"mask_negatives": mask_negatives}
        config = tiny_qformer_config(processor, released_quirks=quirks, initializer_range=0.5)
        lamp = lamp_hf.LampQFormerModel(config).eval()
        lamp.logit_scale.data.fill_(math.log(100))
        ids, mask, clips = batch["input_ids"], batch["attention_mask"].bool(), torch.arange(4)
        motion, motion_mask = lamp.encode_motion(batch["motion_values"], batch["motion_attention_mask"])
        alike = torch.eye(4, config.projection_dim)
        loss = qformer_matching_loss(lamp, ids, mask, motion, motion_mask, alike, alike[:, None], [clips, clips])
        odds = lamp.match(ids, mask, motion, motion_mask).log_softmax(-1).mean(0)
        as_released = -(odds[1] + 2 * odds[0]) / 3  # the true pairs once as right and twice as wrong
        assert torch.isclose(loss, as_released, atol=1e-4, rtol=0) != mask_negatives

    def test_a_new_model_starts_at_the_usual_temperature(self, qformer_config):
        for lamp in (lamp_hf.LampQFormerModel(qformer_config), lamp_hf.LampQFormerForPreTraining(qformer_config).lamp):
            assert lamp.temperature.item() == pytest.approx(1 / 0.07)

    @pytest.mark.parametrize(("scale", "temperature"), [(1.0, 1.0), (99.0, 99.0), (1000.0, 100.0)])
    def test_logits_are_scaled_by_at_most_a_hundred(self, qformer_config, scale, temperature):
        lamp = lamp_hf.LampQFormerModel(qformer_config)
        lamp.logit_scale.data.fill_(math.log(scale))
        assert lamp.temperature.item() == pytest.approx(temperature)

    def test_the_released_temperature_is_no_exponential(self, processor):
        quirks = {"exponentiate_temperature": False}
        lamp = lamp_hf.LampQFormerModel(tiny_qformer_config(processor, released_quirks=quirks))
        assert lamp.temperature.item() == pytest.approx(math.log(1 / 0.07))

    def test_switches_of_older_files_load_into_released_quirks(self, tmp_path):
        older = {"position_motion": False, "grounding_text": "embeddings"}
        lamp_hf.LampQFormerConfig(**older).save_pretrained(tmp_path)
        saved = json.loads((tmp_path / "config.json").read_text())
        assert saved["released_quirks"] == older and not older.keys() & saved.keys()
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "lamp_qformer"} | older))
        quirks = lamp_hf.LampQFormerConfig.from_pretrained(tmp_path).released_quirks
        assert (quirks.position_motion, quirks.grounding_text, quirks.mask_negatives) == (False, "embeddings", True)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"text_pooling": "CLS"}, "unknown text_pooling 'CLS'; known: cls, mean"),
            ({"false_negatives": "hard"}, "unknown false_negatives 'hard'; known: none, filter, soft"),
            ({"contrastive_scoring": "best"}, "unknown contrastive_scoring 'best'; known: max, mean, both"),
            ({"released_quirks": {"grounding_text": "embedding"}}, "'embedding'; known: hidden_states, embeddings"),
            ({"grounding_text": "embedding"}, "unknown grounding_text 'embedding'"),  # as in older files
        ],
    )
    def test_unknown_choices_are_refused(self, changes, message):
        with pytest.raises(ValueError, match=message):
            lamp_hf.LampQFormerConfig(**changes)

    def test_a_summary_counts_where_a_mean_cannot(self, processor):
        """The same token once and many times: sums over time differ, whatever the weights."""
        torch.manual_seed(0)
        summary = lamp_hf.LampQFormerModel(tiny_qformer_config(processor, summary_size=8, dropout=0.0)).motion_summary
        for convolution in summary.convolutions:
            torch.nn.init.normal_(convolution.weight)
        latents = torch.randn(1, 1, 8).expand(1, 30, 8)
        seen = []
        summary.head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0][0]))
        for length in (20, 30):
            summary(latents, torch.arange(30)[None] < length)
        (mean, _, total), (mean_of_more, _, total_of_more) = (values.split(8) for values in seen)
        assert (total_of_more - total).norm() / total.norm() > 4 * (mean_of_more - mean).norm() / mean.norm()
        torch.testing.assert_close(total_of_more - total, (mean_of_more * 30 - mean * 20) / 16, atol=1e-4, rtol=1e-4)

    def test_the_scorings(self):
        text = torch.tensor([[1.0, 0.0]])
        motion = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.8, 0.6], [0.8, 0.6]]])
        assert similarity(text, motion, "max").tolist() == [pytest.approx([1.0, 0.8])]
        assert similarity(text, motion, "mean").tolist() == [pytest.approx([0.5**0.5, 0.8])]
        assert similarity(text, motion, "euclidean").tolist() == [pytest.approx([-(0.5**0.5), -(0.4**0.5)])]
        with pytest.raises(ValueError, match="unknown scoring"):
            similarity(text, motion, "dot")

    def test_matching_reads_pairs_one_by_one(self, qformer_config, processor):
        torch.manual_seed(0)
        model = lamp_hf.LampQFormerModel(qformer_config).eval()
        motions = [lamp_hf.joints_to_features(make_motion(length, seed=length)) for length in (33, 57)]
        together = model.get_matching_logits(**processor(text=CAPTIONS[:2], motion=motions))
        alone = model.get_matching_logits(**processor(text=CAPTIONS[0], motion=motions[0]))
        torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-4)

    def test_pretrained_bert_gives_the_same_hidden_states(self, processor):
        from transformers import BertConfig, BertModel

        torch.manual_seed(0)
        size = len(processor.tokenizer)
        bert = BertModel(
            BertConfig(
                vocab_size=size - 1, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
            )
        ).eval()
        model = lamp_hf.LampQFormerModel(tiny_qformer_config(processor)).eval()
        model.load_text_encoder(bert, list(range(size - 1)))
        inputs = processor(text=CAPTIONS)
        mine, theirs = model.encode_text(**inputs), bert(**inputs).last_hidden_state
        mask = inputs["attention_mask"].bool()
        torch.testing.assert_close(mine[mask], theirs[mask], atol=1e-5, rtol=1e-4)
