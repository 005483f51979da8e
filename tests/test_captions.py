"""Caption metrics and BERTScore against independent implementations."""

import numpy as np
import pytest

from lamp_hf.metrics.bertscore import BertScorer
from lamp_hf.metrics.captions import bleu, caption_metrics, cider, rouge_l


REFERENCES = [
    ["a person walks forward slowly .", "someone is walking ahead", "the man walks in a straight line"],
    ["a person waves with the left hand", "the left hand waves to and fro"],
    ["a man jumps"],
    ["somebody turns left while walking , then stops", "a person walks and turns left for about 5 meters"],
]
PREDICTIONS = [
    "a person walks ahead slowly in a line",
    "a person waves with the right hand",
    "the man jumps up and down and up again",
    "a person walks and turns left",
]


@pytest.fixture(scope="module")
def words():
    return [text.split() for text in PREDICTIONS], [[text.split() for text in texts] for texts in REFERENCES]


def test_bleu_equals_that_of_sacrebleu_and_coco(words):
    sacrebleu = pytest.importorskip("sacrebleu")
    coco = pytest.importorskip("pycocoevalcap.bleu.bleu")
    longest = max(map(len, REFERENCES))
    streams = [[texts[i] if i < len(texts) else None for texts in REFERENCES] for i in range(longest)]
    ours = bleu(*words)
    for order in range(1, 5):
        metric = sacrebleu.BLEU(tokenize="none", smooth_method="none", max_ngram_order=order)
        assert ours[order - 1] == pytest.approx(metric.corpus_score(PREDICTIONS, streams).score / 100, abs=1e-6)
    scores, _ = coco.Bleu(4).compute_score(*as_coco(), verbose=0)
    np.testing.assert_allclose(ours, scores, atol=1e-6)
    assert bleu([["x"]], [[["y"]]]) == [0, 0, 0, 0]


def test_rouge_equals_that_of_rouge_score(words):
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"])
    scores = [scorer.score_multi(texts, text)["rougeL"].fmeasure for texts, text in zip(REFERENCES, PREDICTIONS)]
    plain = [[[word for word in text if word.isalnum()] for text in texts] for texts in words[1]]
    assert rouge_l(words[0], plain) == pytest.approx(np.mean(scores), abs=1e-6)


def test_cider_equals_that_of_coco(words):
    coco = pytest.importorskip("pycocoevalcap.cider.cider")
    assert cider(*words) == pytest.approx(coco.Cider().compute_score(*as_coco())[0], abs=1e-6)
    assert cider(*(part[:1] for part in words)) == 0  # a single clip: every word is in every document


def as_coco() -> tuple[dict, dict]:
    return dict(enumerate(REFERENCES)), {i: [text] for i, text in enumerate(PREDICTIONS)}


def test_the_two_conventions_are_named_and_differ():
    raw = caption_metrics(["A man Walks."], [["a man walk"]])
    lemmas = caption_metrics(["A man Walks."], [["a man walk"]], convention="lemmas")
    assert raw["convention"] == "raw" and raw["bleu_1"] == pytest.approx(100 / 3)
    assert lemmas["convention"] == "lemmas" and lemmas["bleu_1"] == 100 and lemmas["rouge_l"] == 100


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        (["a"], [], "1 predictions but 0 references"),
        ([], [], "no predictions"),
        (["a", "b"], ["a", ""], "prediction 1 has an empty reference"),
        (["a"], [[]], "prediction 0 has an empty reference"),
    ],
)
def test_captions_that_cannot_be_scored_are_refused(predictions, references, message):
    for metric in (caption_metrics, BertScorer()):
        with pytest.raises(ValueError, match=message):
            metric(predictions, references)


class TestBertScore:
    @pytest.fixture(scope="class")
    def encoder(self, tmp_path_factory) -> str:
        """Save a tiny BERT with random weights whose vocabulary is the words of the sentences."""
        import torch
        from transformers import BertConfig, BertModel, BertTokenizer

        folder = tmp_path_factory.mktemp("encoder")
        words = sorted({word for texts in [*REFERENCES, PREDICTIONS] for text in texts for word in text.split()})
        vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
        BertTokenizer(vocab=vocabulary, model_max_length=32).save_pretrained(folder)
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
        config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=32, initializer_range=0.5, **sizes)
        BertModel(config).save_pretrained(folder)
        return str(folder)

    @pytest.mark.parametrize("idf", [False, True])
    def test_it_equals_that_of_bert_score(self, encoder, idf):
        bert_score = pytest.importorskip("bert_score")
        ours = BertScorer(encoder, layer=2, idf=idf)(PREDICTIONS, REFERENCES)
        theirs = bert_score.score(PREDICTIONS, REFERENCES, model_type=encoder, num_layers=2, idf=idf, nthreads=0)
        for mine, other in zip((ours.precision, ours.recall, ours.f1), theirs):
            np.testing.assert_allclose(mine, other, atol=1e-5)

    def test_neither_order_nor_batches_change_a_score(self, encoder):
        whole = BertScorer(encoder)(PREDICTIONS, REFERENCES)
        parts = BertScorer(encoder, batch_size=1)(PREDICTIONS[::-1], REFERENCES[::-1])
        np.testing.assert_allclose(whole.f1, parts.f1[::-1], atol=1e-5)
        assert BertScorer(encoder)([""], ["a man"]).f1 == [0]

    def test_rescaling_maps_the_baseline_to_zero(self, encoder):
        raw = BertScorer(encoder)(PREDICTIONS, REFERENCES)
        scaled = BertScorer(encoder, rescale=(raw.precision[0], raw.recall[0], raw.f1[0]))(PREDICTIONS, REFERENCES)
        assert abs(scaled.f1[0]) < 1e-12 and "rescaled" in scaled.hashcode and "raw" in raw.hashcode
        with pytest.raises(ValueError, match="no baseline"):
            BertScorer(encoder, rescale=True)
        with pytest.raises(ValueError, match="layer 9"):
            BertScorer(encoder, layer=9)

    def test_roberta_reads_the_first_word_like_any_other(self, tmp_path):
        from tokenizers import ByteLevelBPETokenizer
        from transformers import RobertaConfig, RobertaModel, RobertaTokenizer

        pairs = ByteLevelBPETokenizer()
        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        pairs.train_from_iterator([f" {text}" for text in PREDICTIONS], vocab_size=400, special_tokens=special)
        pairs.save_model(str(tmp_path))
        merges = [tuple(line.split()) for line in (tmp_path / "merges.txt").read_text().splitlines()[1:]]
        RobertaTokenizer(vocab=pairs.get_vocab(), merges=merges).save_pretrained(tmp_path)
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        RobertaModel(RobertaConfig(vocab_size=pairs.get_vocab_size(), **sizes)).save_pretrained(tmp_path)
        scorer = BertScorer(str(tmp_path))
        assert scorer._pieces("person walks")[1:-1] == scorer._pieces("a person walks")[-3:-1]

    def test_the_bundled_encoder_ranks_paraphrases_above_other_sentences(self):
        scorer = BertScorer()
        scores = scorer(
            ["a man walks forward"] * 3, ["a man walks forward", "someone strolls ahead", "he does a flip"]
        )
        assert scores.f1[0] == pytest.approx(1, abs=1e-5) and scores.f1[0] > scores.f1[1] > scores.f1[2]
        assert scores.hashcode.startswith("lamp_small@")
