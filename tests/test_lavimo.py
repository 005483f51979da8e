"""LAVIMO: each modality alone, any of them missing, what is aligned and what is reconstructed."""

import itertools
import math

import pytest
import torch
from torch import nn
from transformers import AutoModel

import lamp_hf


TEXT = {"model_type": "distilbert", "vocab_size": 30, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}
BERT = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
BERT |= {"model_type": "bert", "intermediate_size": 32}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
MODALITIES = ("text", "video", "motion")
SUBSETS = [some for size in (1, 2, 3) for some in itertools.combinations(MODALITIES, size)]


def config(**changes):
    values = {
        "text_config": TEXT,
        "vision_config": VISION,
        "hidden_size": 16,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "dropout": 0.0,
        "motion_layers": 2,
        "text_layers": 1,
        "video_layers": 1,
        "decoder_layers": 1,
        "projection_dim": 8,
    }
    return lamp_hf.LavimoConfig(**(values | changes))


def new_model(**changes) -> lamp_hf.LavimoModel:
    torch.manual_seed(0)
    return lamp_hf.LavimoModel(config(**changes)).eval()


@pytest.fixture
def inputs():
    torch.manual_seed(1)
    motion_mask = torch.arange(12)[None] < torch.tensor([12, 8, 12, 5])[:, None]
    return {
        "text": {
            "input_ids": torch.randint(1, 30, (4, 7)),
            "attention_mask": torch.arange(7)[None] < torch.tensor([7, 4, 6, 5])[:, None],
        },
        "video": {
            "pixel_values": torch.randn(4, 3, 3, 16, 16),
            "video_mask": torch.tensor([[1, 1, 1], [1, 1, 0], [1, 1, 1], [1, 0, 0]]),
        },
        "motion": {
            "motion_values": torch.randn(4, 12, 263) * motion_mask[..., None],
            "motion_attention_mask": motion_mask,
        },
    }


def given(inputs: dict, names) -> dict:
    return {key: value for name in names for key, value in inputs[name].items()}


@pytest.mark.parametrize("names", SUBSETS, ids="-".join)
@pytest.mark.parametrize("fusion", ["none", "pooled", "tokens"])
def test_any_modalities_embed_and_train(inputs, names, fusion):
    model = new_model(fusion=fusion, target="identity").train()
    output = model(**given(inputs, names), return_loss=True)
    pairs = {
        pair for pair in ("tm", "vm", "tv") if all(lamp_hf.models.modeling_lavimo.MODALITIES[i] in names for i in pair)
    }
    assert set(output.alignment_losses) == pairs
    assert (output.reconstruction_loss is not None) == ("motion" in names and fusion != "none")
    if output.loss is None:
        assert not pairs
        return
    output.loss.backward()
    trained = {name.partition(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert not trained & {"text_encoder", "vision_encoder"}  # frozen
    # Every modality that is given is in a pair with another, or is fused to reconstruct the motion.
    assert {name for name in trained if name.endswith("_tower")} == {f"{name}_tower" for name in names}


@pytest.mark.parametrize("fusion", ["pooled", "tokens"])
def test_an_embedding_does_not_change_when_others_are_given(inputs, fusion):
    model = new_model(fusion=fusion, summary_size=8)
    alone = {name: getattr(model, f"get_{name}_features")(**inputs[name]) for name in MODALITIES}
    for names in SUBSETS:
        output = model(**given(inputs, names))
        for name in names:
            torch.testing.assert_close(output[f"{name}_embeds"], alone[name], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(alone[name].norm(dim=-1), torch.ones(4))


@pytest.mark.parametrize("patch", [1, 4])
def test_padding_changes_nothing(inputs, patch):
    model = new_model(summary_size=8, motion_patch=patch)
    text, video, motion = inputs["text"], inputs["video"], inputs["motion"]
    shorter = model.get_text_features(text["input_ids"][1:2, :4])
    torch.testing.assert_close(model.get_text_features(**text)[1:2], shorter, atol=1e-5, rtol=1e-5)
    shorter = model.get_video_features(video["pixel_values"][1:2, :2])
    torch.testing.assert_close(model.get_video_features(**video)[1:2], shorter, atol=1e-5, rtol=1e-5)
    for row, frames in ((1, 8), (3, 5)):
        shorter = model.get_motion_features(motion["motion_values"][row : row + 1, :frames])
        torch.testing.assert_close(model.get_motion_features(**motion)[row : row + 1], shorter, atol=1e-5, rtol=1e-5)


def test_soft_targets_of_unlike_captions_are_symmetric_infonce(inputs):
    model = new_model(target="soft", video_target="soft", fusion="none")
    unlike = torch.eye(4)
    output = model(**given(inputs, MODALITIES), sentence_embeds=unlike, return_loss=True)
    embeds = {"t": output.text_embeds, "v": output.video_embeds, "m": output.motion_embeds}
    for pair, loss in output.alignment_losses.items():
        logits = model.logit_scale.exp() * embeds[pair[0]] @ embeds[pair[1]].T
        expected = sum(nn.functional.cross_entropy(rows, torch.arange(4)) for rows in (logits, logits.T))
        torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(output.loss, sum(output.alignment_losses.values()))


def test_a_video_shows_one_motion_whatever_its_caption(inputs):
    """Clips of one caption are no negatives of a text, but of each other's videos, unless `video_target` says so."""
    same, different = torch.zeros(4, dtype=torch.long), torch.arange(4)
    for video_target, changes in (("identity", {"tm", "tv"}), ("filter", {"tm", "tv", "vm"})):
        model = new_model(target="filter", video_target=video_target, fusion="none")
        losses = [
            model(
                **given(inputs, MODALITIES), caption_ids=ids, sentence_embeds=torch.eye(4), return_loss=True
            ).alignment_losses
            for ids in (same, different)
        ]
        assert {pair for pair in losses[0] if losses[0][pair] != losses[1][pair]} == changes


def test_a_missing_sample_counts_in_no_pair_and_leaks_nowhere(inputs):
    model = new_model(target="identity")
    present = {"video": torch.tensor([True, True, False, True])}
    changed = {name: dict(values) for name, values in inputs.items()}
    changed["video"]["pixel_values"] = inputs["video"]["pixel_values"].clone()
    changed["video"]["pixel_values"][2] = 99
    losses = [model(**given(some, MODALITIES), present=present, return_loss=True).loss for some in (inputs, changed)]
    torch.testing.assert_close(*losses)
    rows = torch.tensor([0, 1, 3])
    fewer = {name: {key: value[rows] for key, value in values.items()} for name, values in inputs.items()}
    whole = model(**given(inputs, MODALITIES), present=present, return_loss=True).alignment_losses
    part = model(**given(fewer, MODALITIES), return_loss=True).alignment_losses
    torch.testing.assert_close(whole["vm"], part["vm"])
    torch.testing.assert_close(whole["tv"], part["tv"])
    nobody = {"video": torch.zeros(4, dtype=torch.bool)}
    output = model(**given(inputs, MODALITIES), present=nobody, return_loss=True)
    assert output.alignment_losses["vm"] == 0 and output.loss.isfinite()


def test_what_is_missing_has_no_caption_either(inputs):
    """Samples without text are no positives of each other for a caption that fills their rows."""
    present = {"text": torch.tensor([True, False, False, True])}
    filler = torch.tensor([0, 7, 7, 1])
    alike = nn.functional.one_hot(filler, 8).float()
    own = torch.eye(4, 8)
    for target in ("soft", "filter"):
        model = new_model(target=target, video_target=target, fusion="none")
        losses = [
            model(
                **given(inputs, MODALITIES), present=present, caption_ids=ids, sentence_embeds=embeds, return_loss=True
            )
            for ids, embeds in ((filler, alike), (torch.arange(4), own))
        ]
        for pair, loss in losses[0].alignment_losses.items():
            torch.testing.assert_close(loss, losses[1].alignment_losses[pair])


def test_weights_that_the_configuration_does_not_leave_away_are_refused(tmp_path):
    new_model(video_layers=2).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="unexpected weight video_tower"):
        AutoModel.from_pretrained(tmp_path, video_layers=1)


def test_pooled_fusion_has_nothing_to_choose_from_and_tokens_have(inputs):
    """Attention over one key gives that key's value whatever asks: the reason why `tokens` is the default."""
    for fusion, same in (("pooled", True), ("tokens", False)):
        model = new_model(fusion=fusion)
        encoded = {"text": model.encode_text(**inputs["text"]), "video": model.encode_video(**inputs["video"])}
        there = {name: torch.ones(4, dtype=torch.bool) for name in encoded}
        queries = 5 * torch.randn(2, 4, 16)
        first, second = (model.fusion(query, encoded, there) for query in queries)
        assert torch.allclose(first, second, atol=1e-5) == same
    assert lamp_hf.LavimoConfig().fusion == "tokens"


def test_reconstruction_sees_the_other_modalities_and_no_padding(inputs):
    model = new_model()
    loss = model(**given(inputs, MODALITIES), return_loss=True, sentence_embeds=torch.eye(4)).reconstruction_loss
    padded = {name: dict(values) for name, values in inputs.items()}
    padded["motion"]["motion_values"] = inputs["motion"]["motion_values"].masked_fill(
        ~inputs["motion"]["motion_attention_mask"][..., None], 7.0
    )
    same = model(**given(padded, MODALITIES), return_loss=True, sentence_embeds=torch.eye(4)).reconstruction_loss
    torch.testing.assert_close(loss, same)
    without = model(
        **given(inputs, ("motion", "text")), return_loss=True, sentence_embeds=torch.eye(4)
    ).reconstruction_loss
    assert loss != without


def test_cached_frame_features_are_what_the_vision_encoder_gives(inputs):
    model = new_model()
    video = inputs["video"]
    features = model.encode_frames(video["pixel_values"])
    assert features.shape == (4, 3, 16)
    again = model.get_video_features(frame_features=features, video_mask=video["video_mask"])
    torch.testing.assert_close(again, model.get_video_features(**video))


def test_cached_words_are_what_the_text_encoder_gives(inputs):
    model, text = new_model(), inputs["text"]
    words = model.encode_words(**text)
    assert words.shape == (4, 7, 16)
    again = model(word_features=words, attention_mask=text["attention_mask"]).text_embeds
    torch.testing.assert_close(again, model.get_text_features(**text))


def test_any_vision_encoder_with_one_vector_a_picture_will_do(inputs):
    resnet = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1]}
    model = new_model(vision_config=resnet | {"layer_type": "basic"})
    assert model.encode_frames(inputs["video"]["pixel_values"]).shape == (4, 3, 12)
    assert model.get_video_features(**inputs["video"]).shape == (4, 8)


def test_what_only_training_uses_can_stay_behind(inputs, tmp_path):
    model = new_model(fusion="tokens")
    model.save_pretrained(tmp_path)
    bare = AutoModel.from_pretrained(tmp_path, fusion="none")
    assert not any("fusion" in name or "decoder" in name for name, _ in bare.named_parameters())
    for name, values in model(**given(inputs, MODALITIES)).items():
        torch.testing.assert_close(bare(**given(inputs, MODALITIES))[name], values)
    blind = AutoModel.from_pretrained(tmp_path, use_video=False)
    torch.testing.assert_close(blind.get_text_features(**inputs["text"]), model.get_text_features(**inputs["text"]))


def test_without_a_video_tower_it_is_a_text_motion_model(inputs):
    model = new_model(use_video=False, target="identity")
    assert not any("video" in name or "vision" in name for name, _ in model.named_parameters())
    assert set(model(**given(inputs, ("text", "motion")), return_loss=True).alignment_losses) == {"tm"}
    with pytest.raises(ValueError, match="no video tower"):
        model.get_video_features(**inputs["video"])


def test_it_comes_back_from_a_folder_the_same(inputs, tmp_path):
    model = new_model(summary_size=8)
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    assert type(again) is lamp_hf.LavimoModel and again.config.text_config.dim == 16
    for name, values in model(**given(inputs, MODALITIES)).items():
        torch.testing.assert_close(again(**given(inputs, MODALITIES))[name], values)


@pytest.mark.parametrize("text", [TEXT, BERT], ids=["without a pooler", "with a pooler"])
@pytest.mark.parametrize("frozen", [(), ("text",), ("text", "vision")], ids=str)
def test_encoders_are_frozen_as_configured_in_new_models_and_loaded_ones(text, frozen, tmp_path):
    options = {f"freeze_{name}": name in frozen for name in ("text", "vision")}
    new = new_model(text_config=text, **options)
    new.save_pretrained(tmp_path)
    for model in (new.train(), lamp_hf.LavimoModel.from_pretrained(tmp_path).train()):
        trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
        assert not any("text_encoder.pooler" in name for name in trained)  # which is not used
        for name in ("text", "vision"):
            assert any(f"{name}_encoder" in weight for weight in trained) == (name not in frozen)
            assert getattr(model, f"{name}_encoder").training == (name not in frozen)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusion": "sum"}, "unknown fusion"),
        ({"target": "hard"}, "unknown target"),
        ({"alignment_pairs": ["tm", "xm"]}, "unknown pair 'xm'"),
    ],
)
def test_unknown_choices_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        new_model(**changes)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_reads_what_the_processor_gives(inputs, dtype):
    model, half = new_model(summary_size=4), new_model(summary_size=4).to(dtype)
    with torch.no_grad():
        for name in MODALITIES:
            get = f"get_{name}_features"
            torch.testing.assert_close(
                getattr(half, get)(**inputs[name]), getattr(model, get)(**inputs[name]), atol=0.05, rtol=0
            )


@pytest.mark.parametrize(("scale", "temperature"), [(1.0, 1.0), (99.0, 99.0), (1000.0, 100.0)])
def test_logits_are_scaled_by_at_most_a_hundred(scale, temperature):
    model = new_model(fusion="none")
    model.logit_scale.data.fill_(math.log(scale))
    assert model.temperature.item() == pytest.approx(temperature)


def test_a_motion_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="300 frames, the model reads at most 196"):
        new_model().get_motion_features(torch.zeros(1, 300, 263))
