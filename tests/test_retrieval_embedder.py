"""Embeddings: the same in any batch, of texts and motions of any length."""

import numpy as np
import pytest
from conftest import CAPTIONS, make_clip, tiny_qformer_config

import lamp_hf
from lamp_hf.retrieval.embedder import Embedder
from lamp_hf.retrieval.windows import choose_windows, windows_of


def test_embeddings_are_the_models_in_any_batch(embedder, processor):
    clips = [make_clip(seconds, seed).features for seed, seconds in enumerate((1.0, 3.0, 2.0))]
    together = embedder.embed_motions(clips)
    for clip, vector in zip(clips, together):
        alone = embedder.model.get_motion_features(**processor(motion=clip))[0].detach()
        np.testing.assert_allclose(vector, alone, atol=1e-5)
    texts = embedder.embed_texts(CAPTIONS)
    np.testing.assert_allclose(texts[2:3], embedder.embed_texts(CAPTIONS[2:3]), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm([*texts, *together], axis=1), 1, atol=1e-5)


def test_a_motion_or_text_longer_than_the_model_reads_is_the_mean_of_its_parts(embedder):
    long = make_clip(18.0).features
    parts = embedder.embed_motions(np.array_split(long, 2)).mean(0)
    np.testing.assert_allclose(embedder.embed_motions([long])[0], parts / np.linalg.norm(parts), atol=1e-5)
    words = ("a person walks forward " * 10).split()  # the model reads 14 of them
    parts = embedder.embed_texts([" ".join(words[:14]), " ".join(words[14:28]), " ".join(words[28:])]).mean(0)
    vector = embedder.embed_texts([" ".join(words)])[0]
    np.testing.assert_allclose(vector, parts / np.linalg.norm(parts), atol=1e-5)


def test_a_text_of_unknown_words_warns(embedder):
    with pytest.warns(UserWarning, match="knows no word of 'xyzzy plugh'"):
        assert np.isfinite(embedder.embed_texts(["xyzzy plugh"])).all()
    with pytest.raises(ValueError, match="empty"):
        embedder.embed_texts([" "])


def test_the_papers_q_former_embeds_a_motion_as_the_mean_of_its_queries(processor, tmp_path):
    model = lamp_hf.LampQFormerModel(tiny_qformer_config(processor, initializer_range=0.5)).eval()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    clip = make_clip().features
    queries = model.get_motion_features(**processor(motion=clip), pool=False)[0].detach().numpy()
    mean = queries.mean(0) / np.linalg.norm(queries.mean(0))
    np.testing.assert_allclose(Embedder(tmp_path).embed_motions([clip])[0], mean, atol=1e-5)


@pytest.mark.parametrize("frames", [4, 196, 197, 400, 1001])
def test_windows_cover_a_clip_to_its_last_frame(embedder, frames):
    parts = windows_of(frames, embedder.max_frames, embedder.fps)
    assert set().union(*(range(*part) for part in parts)) == set(range(frames))
    assert len(set(parts)) == len(parts) and (frames > 196 or parts == [(0, frames)])


def test_no_part_of_a_motion_is_chosen_twice():
    items = np.array([0, 0, 0, 1])
    spans = np.array([[0, 4], [2, 6], [4, 8], [0, 4]], np.float32)
    assert choose_windows([1, 0, 3, 2], items, spans, k=3) == [1, 3]
    assert choose_windows([0, 1, 2, 3], items, spans, k=4, every_match=True) == [0, 2, 3]
    assert choose_windows([0, 1, 2, 3], items, spans, k=2, every_match=True) == [0, 2]
