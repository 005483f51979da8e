"""One call reads and checks a motion once, and decodes a video once."""

import numpy as np
import pytest
from conftest import make_motion
from transformers import pipeline

import lamp_hf
from lamp_hf.retrieval.embedder import Embedder


class CountingExtractor(lamp_hf.MotionFeatureExtractor):
    """Feature extractor that counts how often it reads a motion."""

    reads = 0

    def read(self, *args, **kwargs) -> np.ndarray:
        self.reads += 1
        return super().read(*args, **kwargs)


class CountingMotion(lamp_hf.Motion):
    """Motion that counts how often its features are computed."""

    computations = 0

    @property
    def features(self) -> np.ndarray:
        self.computations += 1
        return super().features


class CountingVideo(lamp_hf.Video):
    """Video that counts how often its file is decoded."""

    decodings = 0

    def _decode(self, file):
        self.decodings += 1
        return super()._decode(file)


def count_reads(processor) -> CountingExtractor:
    processor.feature_extractor = CountingExtractor.from_dict(processor.feature_extractor.to_dict())
    return processor.feature_extractor


@pytest.fixture
def motion() -> CountingMotion:
    return CountingMotion(make_motion(500))  # in several parts


@pytest.fixture(scope="module")
def video_file(tmp_path_factory):
    return lamp_hf.Motion(make_motion(240)).save(tmp_path_factory.mktemp("videos") / "clip.mp4", size=64)


def test_captioning_reads_a_motion_once(captioner_folder, motion):
    pipe = pipeline("motion-to-text", model=str(captioner_folder))
    extractor = count_reads(pipe.processor)
    assert len(pipe(motion)[0]["chunks"]) > 0
    assert extractor.reads == motion.computations == 1


def test_classification_reads_a_motion_once(model_folder, motion):
    pipe = pipeline("zero-shot-motion-classification", model=str(model_folder))
    extractor = count_reads(pipe.processor)
    pipe(motion, candidate_labels=["walks", "bows"])
    assert extractor.reads == motion.computations == 1


def test_an_index_reads_a_motion_once(model_folder, motion):
    index = lamp_hf.MotionIndex(str(model_folder))
    extractor = count_reads(index.embedder.processor)
    index.add([motion], ids=["a"])
    assert extractor.reads == motion.computations == 1


@pytest.mark.slow
def test_embedding_decodes_a_long_video_once(video_file):
    video = CountingVideo(video_file)
    vectors, _ = Embedder(lamp_hf.bundled("video")).embed_video(video)
    assert len(vectors) > 1 and video.decodings == 1


class TestParts:
    @pytest.fixture
    def lavimo(self, processor):
        return lamp_hf.LavimoProcessor(processor.feature_extractor, processor.tokenizer, 4, 16)

    @pytest.mark.parametrize(("longest", "parts"), [(20.0, 1), (5.0, 3)])
    def test_a_video_is_decoded_once_whatever_the_number_of_parts(self, lavimo, video_file, longest, parts):
        video = CountingVideo(video_file)
        spans = [(start, end) for _, start, end in lavimo.split_video(video, longest)]
        assert video.decodings == 1
        edges = np.linspace(0, 12, parts + 1)
        np.testing.assert_allclose(spans, np.stack([edges[:-1], edges[1:]], 1), atol=0.1)

    def test_a_file_that_is_shorter_than_its_header_says_has_the_parts_of_what_is_there(self, lavimo, video_file):
        video = CountingVideo(video_file)
        video.duration = 60.0
        spans = [(start, end) for _, start, end in lavimo.split_video(video, 20.0)]
        assert spans == [(0, pytest.approx(12, abs=0.2))]
