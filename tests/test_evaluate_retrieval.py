"""`training.evaluate retrieval`: the ways of scoring, compared query by query, and matching on hard negatives."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import make_clip, tiny_lamp, tiny_qformer_config
from training_stages import evaluate

import lamp_hf
from training.evaluation.lamp_pairs import baseline_scores, encode_pairs, lamp_scores
from training.evaluation.matching import judged, matching_numbers
from training.evaluation.retrieval import hits, labelled, paired_differences
from training.train_dual_encoder import DualEncoderConfig, DualEncoderModel
from training.train_tmr import TmrConfig, TmrModel


TEXTS = ["a person walks forward", "someone waves with the left hand", "a man turns", "she bows", "she turns"]


@pytest.fixture(scope="module")
def folder(processor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lamp")
    tiny_lamp(processor).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pairs(processor):
    model = tiny_lamp(processor, initializer_range=0.5)
    motions = [make_clip(1.5 + 0.4 * seed, seed).features for seed in range(5)]
    return model, encode_pairs(model, processor, TEXTS, motions), motions


def test_lamp_is_evaluated_by_all_scorings_and_compared_with_baselines(
    folder, humanml3d_folder, bert_folder, tmp_path
):
    plain, tmr = tmp_path / "plain", tmp_path / "tmr"
    DualEncoderModel(DualEncoderConfig(latent_size=8, sentence_size=32, hidden_size=8)).save_pretrained(plain)
    TmrModel(TmrConfig(latent_size=8, sentence_size=32, hidden_size=8, num_layers=1)).save_pretrained(tmr)
    options = ("--data", humanml3d_folder, "--model", folder, "--sentence-encoder", bert_folder)
    numbers = evaluate("retrieval", tmp_path / "numbers.json", *options, "--baseline", tmr, plain, "--rerank", 1)
    parts = {"whole", "words", "both", "words, mean query"}
    assert set(numbers["scorings"]) == parts | {"re-ranked", "plain baseline", "TMR"}
    assert numbers["scorings"]["both"]["all"]["text_to_motion"]["gallery"] == numbers["clips"] == 2
    wanted = {"both - plain baseline", "both - TMR", "both - whole", "words - words, mean query", "re-ranked - both"}
    assert set(numbers["differences"]) == wanted
    assert len(numbers["differences"]["both - TMR"]["text_to_motion"]["intervals"]["R@1"]) == 2
    assert numbers["differences"]["both - whole"]["motion_to_text"]["R@10"] == 0  # two clips: all are among the ten
    searched = numbers["motion_index"]
    assert searched["R@1"] == numbers["scorings"]["both"]["all"]["text_to_motion"]["R@1"] and searched["R@10"] == 100
    assert searched["exact_difference"]["R@1"] == 0 and "one_stage_difference" in searched
    alone = evaluate("retrieval", tmp_path / "alone.json", *options, "--rerank", 0)
    assert set(alone["scorings"]) == parts and alone["scorings"]["both"] == numbers["scorings"]["both"]


def test_the_papers_q_former_is_evaluated_by_its_own_scorings(processor, humanml3d_folder, bert_folder, tmp_path):
    lamp_hf.LampQFormerModel(tiny_qformer_config(processor)).save_pretrained(tmp_path / "qformer")
    processor.save_pretrained(tmp_path / "qformer")
    options = (
        "--data",
        humanml3d_folder,
        "--model",
        tmp_path / "qformer",
        "--sentence-encoder",
        bert_folder,
        "--rerank",
        1,
    )
    numbers = evaluate("retrieval", tmp_path / "numbers.json", *options)
    assert set(numbers["scorings"]) == {"max", "mean", "euclidean", "re-ranked"}
    assert "differences" not in numbers and "matching" not in numbers


def test_baselines_that_do_not_fit_are_refused(folder, pairs, tmp_path):
    encoded = pairs[1]
    TmrModel(TmrConfig(latent_size=4, sentence_size=16, hidden_size=8, num_layers=1)).save_pretrained(tmp_path / "tmr")
    with pytest.raises(ValueError, match="frozen encoders of another LaMP"):
        baseline_scores([tmp_path / "tmr"], encoded)
    with pytest.raises(ValueError, match="it must be dual_encoder or tmr"):
        baseline_scores([folder], encoded)
    plain = tmp_path / "plain"
    DualEncoderModel(DualEncoderConfig(latent_size=8, sentence_size=32, hidden_size=8)).save_pretrained(plain)
    with pytest.raises(ValueError, match="the plain baseline is compared already"):
        baseline_scores([plain, plain], encoded)


@torch.no_grad()
def test_the_parts_of_lamps_score(pairs, processor):
    model, encoded, motions = pairs
    scores = lamp_scores(model, encoded)
    inputs = processor(text=TEXTS, motion=motions)
    torch.testing.assert_close(scores["both"], model(**inputs).logits_per_text, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scores["both"], scores["whole"] + scores["words"])
    # One query in place of the set: the best cosine of each word is that with the normalised mean.
    mean = torch.nn.functional.normalize(model.get_motion_features(**inputs, pool=False).mean(1), dim=-1)
    cosines = torch.einsum("nwp,mp->nmw", encoded.text.word_embeds, mean)
    expected = model.word_temperature * (cosines * encoded.text.word_weights[:, None]).sum(-1)
    torch.testing.assert_close(scores["words, mean query"], expected, rtol=1e-4, atol=1e-4)


def test_differences_are_of_the_same_queries():
    right = np.eye(40)
    wrong = right.copy()
    wrong[:10] = 0
    wrong[:10, 30] = 1  # ten texts find the same wrong clip first, and their own among equals
    families = ["walk"] * 35 + ["kick"] * 5
    numbers = paired_differences(right, wrong, families, seed=0)
    assert numbers["text_to_motion"]["R@1"] == 25 and numbers["text_to_motion"]["first_hit_family"] == 0
    low, high = numbers["text_to_motion"]["intervals"]["R@1"]
    assert 5 < low < 25 < high < 45
    same = paired_differences(wrong, wrong, families, seed=0)
    assert same["text_to_motion"]["intervals"]["R@1"] == [0, 0]  # paired: nothing differs, so nothing varies
    assert "first_hit_family" not in hits(right, [""] * 40)
    assert set(paired_differences(right, wrong, [""] * 40, 0)["motion_to_text"]) == {"R@1", "R@10", "intervals"}


def test_the_family_of_the_first_hit_counts_where_clips_have_families():
    class Labels:
        families, actions, styles = ["walk", "walk", "kick"], ["", "", ""], ["", "", ""]

    scores = np.array([[0, 1, 0], [0, 0, 1], [0, 0, 1.0]])  # the first finds a walk, the second a kick
    assert labelled(scores, Labels, seed=0) == {"first_hit_family": pytest.approx(200 / 3)}


def test_pairs_are_judged_at_even_odds_and_at_the_share_of_training():
    odds = np.array([2.0, -0.5, -3.0, -1.0, -0.6, 1.0])  # two true pairs, four wrong ones
    numbers = judged(odds, num_true=2)
    assert numbers["balanced_accuracy"] == pytest.approx(100 * (1 / 2 + 3 / 4) / 2)
    assert numbers["balanced_accuracy_at_prior"] == pytest.approx(100 * (2 / 2 + 2 / 4) / 2)
    assert numbers["auc"] == pytest.approx(7 / 8)
    loss = [math.log(1 + math.exp(x)) for x in (-2.0, 0.5, -3.0, -1.0, -0.6, 1.0)]
    assert numbers["loss"] == pytest.approx(sum(loss) / 6)


@torch.no_grad()
def test_the_best_scored_wrong_pairs_of_unlike_captions_are_hard(pairs, processor):
    model, encoded, motions = pairs
    scores = torch.eye(5) * 9
    scores[0, 1] = scores[1, 4] = scores[3, 4] = 5.0  # the second text is like the fifth
    alike = np.zeros((5, 5), bool)
    alike[1, 4] = alike[4, 1] = True
    alike[2] = alike[:, 2] = True  # has no wrong pair at all
    numbers = matching_numbers(model, encoded, scores, alike)["hardest"]
    texts, clips = [0, 1, 2, 3, 4] + [0, 1, 3, 4] + [1, 0, 0, 3], [0, 1, 2, 3, 4] + [1, 0, 4, 0] + [0, 1, 3, 4]
    inputs = processor(text=[TEXTS[i] for i in texts], motion=[motions[i] for i in clips])
    expected = judged(model.get_matching_logits(**inputs).double().numpy(), 5)
    assert numbers == pytest.approx(expected, abs=1e-4)
    assert matching_numbers(model, encoded, scores, np.ones((5, 5), bool)) == {}


@torch.no_grad()
def test_wrong_pairs_are_drawn_by_their_scores_and_never_of_alike_captions(pairs):
    _, encoded, _ = pairs
    scores = torch.zeros(5, 5)
    scores[0, 1] = scores[0, 2] = 50.0  # by far the likeliest, of which one is alike
    alike = np.zeros((5, 5), bool)
    alike[0, 1] = alike[1, 0] = True
    asked = []
    matcher = SimpleNamespace(match=lambda *parts: asked.append(parts[-2:]) or torch.zeros(len(parts[-1]), 2))
    matching_numbers(matcher, encoded, scores, alike)
    texts, clips = asked[0]
    chosen = list(zip(texts[5:10].tolist(), clips[5:10].tolist()))
    assert chosen[0] == (0, 2) and all(text != clip for text, clip in chosen)
