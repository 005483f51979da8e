"""Which sentences tell a generator what it knows, which threshold is chosen, and what the evaluation reports."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import CAPTIONS, unit_vectors
from datasets import Dataset
from training_stages import evaluate

import lamp_hf
from training.augmentation.descriptions import FamilyDescriptions
from training.evaluation.familiarity import area_under_curve, choose_threshold, embed, read_prompts, separation
from training.familiarity import caption_families, choose_sentences, main, shares, typical, with_descriptions


def test_a_caption_belongs_to_the_family_whose_clips_have_it_most_often():
    rows = {"captions": [["he  bows", "hi"], ["he bows"], ["hi\n"], ["a\x1bb"]], "family": ["bow", "bow", "wave", "x"]}
    assert caption_families(Dataset.from_dict(rows)) == {"he bows": "bow", "hi": "bow"}


def test_descriptions_of_the_families_that_captions_have_are_known_too(tmp_path):
    path = tmp_path / "descriptions.yaml"
    path.write_text("bow: {any: [bends low, he bows]}\nkick: {any: [boots it]}\n")
    known = with_descriptions({"he bows": "bow", "hi": "wave"}, FamilyDescriptions(path))
    assert known == {"bends low": "bow", "he bows": "bow", "hi": "wave"}


def test_families_share_equally_what_they_have():
    assert shares({"walk": 900, "bow": 3, "kick": 40}, 100) == {"bow": 3, "kick": 40, "walk": 57}
    assert shares({"walk": 900, "kick": 400}, 100) == {"walk": 50, "kick": 50}
    assert shares({"walk": 5, "kick": 5, "bow": 5}, 2) == {"walk": 1, "kick": 1, "bow": 1}  # each has some


def test_each_cluster_lends_its_most_central_sentence_the_largest_first():
    angles = torch.tensor([1.5, 0.0, 0.1, 0.2, 3.0, 3.1, 3.13])
    vectors = torch.stack([angles.cos(), angles.sin()], 1)
    assert typical(vectors, 3)[0] in (2, 5) and typical(vectors, 3)[2] == 0 and set(typical(vectors, 3)) == {2, 5, 0}
    assert sorted(typical(vectors, 7)) == [0, 1, 2, 3, 4, 5, 6]
    assert typical(torch.ones(3, 1), 2) == [0]  # equal ones are one cluster


def test_every_family_has_sentences_and_none_occurs_twice():
    families = {f"text {i}": "walk" if i < 60 else f"family {i % 7}" for i in range(100)}
    rows = choose_sentences(families, torch.from_numpy(unit_vectors(100)), 30)
    assert len(rows) == len(set(rows)) == 30
    assert {list(families.values())[row] for row in rows} == set(families.values())


def test_a_threshold_is_the_lowest_that_warns_of_most_prompts_unlike_the_data():
    outside = np.arange(1, 11) / 20  # 0.05 to 0.5
    assert choose_threshold(outside, warned=0.9) == 0.46 and choose_threshold(outside) == 0.46
    assert choose_threshold(np.ones(3)) == 1.0


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order():
    inside, outside = np.array([0.9, 0.8, 0.7, 0.3]), np.array([0.1, 0.2, 0.4, 0.5])
    assert area_under_curve(inside, outside) == 14 / 16
    assert area_under_curve(np.ones(3), np.ones(2)) == 0.5


def test_the_halves_of_the_prompts_share_none_and_have_all_kinds():
    val, test = read_prompts("val"), read_prompts("test")
    kinds = {"inside", "nonsense", "language", "object", "animal", "human_action", "paraphrases"}
    assert val.keys() == test.keys() == kinds
    assert not any(set(val[name]) & set(test[name]) for name in kinds)
    assert all(len(val[name]) == len(test[name]) for name in kinds - {"paraphrases"})
    assert len(val["inside"]) == 50 and len(val["human_action"]) == 20
    assert (len(val["paraphrases"]), len(test["paraphrases"])) == (58, 120)


def test_shares_of_prompts_that_are_warned_of_are_told():
    known = lamp_hf.Familiarity(["bow", "walk"], ["bow", "walk"], torch.eye(2), 0.5, num_neighbours=1)
    near, far = torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]])
    prompts = {"inside": ["a", "b"], "nonsense": ["c"], "human_action": ["d"], "paraphrases": ["e", "f"]}
    vectors = dict(zip(prompts, (torch.cat([near, far]), far, near, torch.cat([near, far]))))
    numbers = separation(known, prompts, vectors)
    assert numbers["warned_inside"] == numbers["warned_outside"] == numbers["warned_paraphrases"] == 50
    assert numbers["warned_by_kind"] == {"nonsense": 100, "human_action": 0}
    assert numbers["auc"] == (1 + 0.5 + 0.5 + 0) / 4 and numbers["auc_human_actions"] == 0.25
    assert numbers["wrongly_warned"] == ["b", "f"]


def test_embeddings_keep_the_order_of_their_texts(text_to_motion_model, processor):
    lamp = text_to_motion_model.lamp
    vectors = embed(lamp, processor, CAPTIONS, batch_size=2)
    for text, vector in zip(CAPTIONS, vectors):
        torch.testing.assert_close(vector, lamp.get_sentence_features(**processor(text=text))[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))


@pytest.fixture
def long_reader(processor, tmp_path):
    """The tiny generator, with room for the prompts of the evaluation."""
    from conftest import tiny_lamp_config
    from transformers import BertTokenizer

    tokenizer = BertTokenizer(vocab=processor.tokenizer.get_vocab(), bos_token="[DEC]", model_max_length=64)
    config = tiny_lamp_config(processor)
    config.text_config.max_position_embeddings = 64
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = lamp_hf.LampForTextToMotion(lamp_hf.LampTextToMotionConfig(lamp_config=config, **sizes))
    model.save_pretrained(tmp_path / "model")
    lamp_hf.LampProcessor(processor.feature_extractor, tokenizer).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_the_files_are_made_and_evaluated(long_reader, humanml3d_folder, tmp_path, capsys):
    main(["--data", str(humanml3d_folder), "--model", str(long_reader), "--num-neighbours", "2"])
    assert "sentences of" in capsys.readouterr().out
    known = lamp_hf.LampProcessor.from_pretrained(long_reader).familiarity
    assert set(CAPTIONS) <= set(known.sentences) and known.num_neighbours == 2
    numbers = evaluate("familiarity", tmp_path / "numbers.json", "--data", humanml3d_folder, "--model", long_reader)
    assert numbers["threshold"] == known.threshold and numbers["sentences"] == len(known.sentences)
    assert 0 <= numbers["auc"] <= 1 and set(numbers["warned_by_kind"]) >= {"nonsense", "human_action"}


def test_a_model_that_does_not_know_is_not_evaluated(long_reader, humanml3d_folder, tmp_path):
    with pytest.raises(ValueError, match="has no familiarity"):
        evaluate("familiarity", tmp_path / "numbers.json", "--data", humanml3d_folder, "--model", long_reader)


def test_a_bundle_has_what_the_model_knows(familiar_folder, tmp_path, monkeypatch):
    from training import bundle

    source = shutil.copytree(familiar_folder, tmp_path / "source")
    monkeypatch.setattr("sys.argv", ["bundle", "--model", str(source), "--output", str(tmp_path / "bundle")])
    bundle.main()
    kept = json.loads((tmp_path / "bundle" / "familiarity.json").read_text())
    assert kept["sentences"] == CAPTIONS
    assert lamp_hf.LampProcessor.from_pretrained(tmp_path / "bundle").familiarity is not None
