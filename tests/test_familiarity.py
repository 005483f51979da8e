"""Familiarity: what a model knows, told with every motion, warned of, saved and loaded with the processor."""

import json
import shutil
import subprocess
import sys
import warnings

import pytest
import torch
from conftest import CAPTIONS, FAMILIES
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, pipeline

import lamp_hf
from lamp_hf import Familiarity, UnfamiliarPromptWarning


KNOWN, UNKNOWN = "she bows", "person forward left hand"


@pytest.fixture(scope="module")
def pipe(familiar_folder):
    return pipeline("text-to-motion", model=str(familiar_folder))


@pytest.fixture
def folder(familiar_folder, tmp_path):
    return shutil.copytree(familiar_folder, tmp_path / "model")


def axes(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32)


@pytest.fixture
def small() -> Familiarity:
    """Two sentences on one axis, and one on each of two others."""
    sentences, families = ["walk", "stroll", "bow", "jump"], ["walk", "walk", "bow", "jump"]
    return Familiarity(sentences, families, axes((1, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)), 0.5, num_neighbours=2)


class TestScores:
    def test_familiarity_is_the_mean_cosine_to_the_nearest_sentences(self, small):
        scores, _ = small(axes((1, 0, 0), (0, 1, 0), (0, 0.6, 0.8), (-1, 0, 0)))
        assert scores == pytest.approx([1.0, 0.5, 0.7, 0.0], abs=1e-3)

    def test_it_is_never_negative(self, small):
        away = -axes((1, 1, 1)) / 3**0.5
        assert small(away)[0] == [0.0]

    def test_the_nearest_sentences_are_of_different_families(self, small):
        assert small(axes((0.9, 0.4, 0.17)))[1] == [["walk", "bow", "jump"]]

    def test_sentences_without_a_family_are_all_different(self):
        vectors = axes((1, 0), (1, 0), (0.6, 0.8), (0, 1))
        plain = Familiarity(list("abcd"), [""] * 4, vectors, 0.5, num_neighbours=1)
        assert plain(axes((1, 0)))[1] == [["a", "b", "c"]]

    def test_vectors_of_another_model_are_refused(self, small):
        with pytest.raises(ValueError, match="4 numbers, those of familiarity 3"):
            small(torch.ones(1, 4))


class TestResults:
    def test_a_caption_is_familiar_and_there_is_no_warning(self, pipe):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UnfamiliarPromptWarning)
            made = pipe(KNOWN, duration=1.0, seed=0)
        assert made["familiarity"] == pytest.approx(1, abs=1e-3)
        assert made["nearest"][0] == KNOWN and len(made["nearest"]) == 3
        assert lamp_hf.Motion(**made).text == KNOWN

    def test_an_unfamiliar_text_is_warned_of_once_in_a_line(self, pipe):
        with pytest.warns(UnfamiliarPromptWarning) as caught:
            made = pipe([UNKNOWN, KNOWN, UNKNOWN], duration=1.0, seed=0, num_return_sequences=2)
        assert made[0][0]["familiarity"] < 0.99 < made[1][1]["familiarity"]
        (message,) = (str(one.message) for one in caught)
        nearest = ", ".join(f'"{text}"' for text in made[0][0]["nearest"])
        assert message == f'the model was not trained on anything like "{UNKNOWN}"; nearest it knows: {nearest}'

    def test_of_a_sequence_the_least_familiar_part_counts(self, pipe):
        with pytest.warns(UnfamiliarPromptWarning):
            alone = [pipe(text, duration=1.0, seed=0) for text in (UNKNOWN, KNOWN)]
        with pytest.warns(UnfamiliarPromptWarning, match=UNKNOWN):
            made = pipe([KNOWN, UNKNOWN], mode="sequence", duration=1.0, seed=0)
        assert made["familiarity"] == pytest.approx(alone[0]["familiarity"], abs=1e-5)
        assert made["nearest"] == alone[0]["nearest"] != alone[1]["nearest"]

    def test_a_stream_knows_it_before_the_first_frame(self, pipe):
        with pytest.warns(UnfamiliarPromptWarning):
            stream = pipe.stream([KNOWN, UNKNOWN], duration=1.0, seed=0)
        assert 0 < stream.familiarity < 0.99 and len(stream.nearest) == 3
        assert sum(len(joints) for joints in stream) == 40

    def test_an_iterator_of_texts_tells_it_too(self, pipe):
        with pytest.warns(UnfamiliarPromptWarning):
            made = list(pipe((text for text in (KNOWN, UNKNOWN)), duration=1.0, seed=0))
        assert made[0]["familiarity"] > 0.99 > made[1]["familiarity"]

    def test_an_edit_tells_it_too(self, pipe):
        motion = pipe(KNOWN, duration=1.0, seed=0)
        assert pipe(KNOWN, prefix=motion, duration=1.0, seed=0)["nearest"][0] == KNOWN

    def test_the_diffusers_pipeline_tells_it_too(self, familiar_folder):
        pipe = lamp_hf.LampTextToMotionDiffusionPipeline.from_pretrained(familiar_folder)
        with pytest.warns(UnfamiliarPromptWarning) as caught:
            made = pipe([UNKNOWN, KNOWN], duration=1.0, num_motions_per_prompt=2)
        assert len(caught) == 1
        assert [score > 0.99 for score in made.familiarity] == [False, False, True, True]
        assert made.nearest[2][0] == made.nearest[3][0] == KNOWN

    def test_a_model_that_does_not_know_says_nothing(self, model_folder):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UnfamiliarPromptWarning)
            made = pipeline("text-to-motion", model=str(model_folder))(UNKNOWN, duration=1.0)
        assert made["familiarity"] is None and made["nearest"] == []


class TestFiles:
    def test_it_is_saved_and_loaded_with_the_processor(self, familiar_folder, tmp_path):
        first = AutoProcessor.from_pretrained(familiar_folder).familiarity
        assert (first.sentences, first.families, first.threshold, first.num_neighbours) == (
            CAPTIONS,
            FAMILIES,
            0.99,
            1,
        )
        lamp_hf.LampProcessor.from_pretrained(familiar_folder).save_pretrained(tmp_path)
        again = AutoProcessor.from_pretrained(tmp_path).familiarity
        assert torch.equal(again.embeddings, first.embeddings) and again.embeddings.dtype == torch.float16
        assert sorted(path.name for path in tmp_path.glob("*familiarity*")) == [
            "familiarity.json", "familiarity.py", "familiarity.safetensors",
        ]  # fmt: skip

    @pytest.mark.parametrize("kind", ["transformers", "diffusers"])
    def test_it_ships_with_a_pipeline(self, pipe, familiar_folder, tmp_path, kind):
        if kind == "transformers":
            pipe.save_pretrained(tmp_path)
            made = pipeline("text-to-motion", model=str(tmp_path))(KNOWN, duration=1.0)
            assert made["nearest"][0] == KNOWN
        else:
            own = lamp_hf.LampTextToMotionDiffusionPipeline
            own.from_pretrained(familiar_folder).save_pretrained(tmp_path)
            assert own.from_pretrained(tmp_path)(KNOWN, duration=1.0).nearest[0][0] == KNOWN

    def test_a_processor_without_it_leaves_none_of_another_behind(self, processor, folder):
        processor.save_pretrained(folder)
        assert AutoProcessor.from_pretrained(folder).familiarity is None

    def test_it_does_not_change_which_model_it_is(self, folder):
        from lamp_hf.fingerprint import content_digest

        before = content_digest(folder)
        for name in ("familiarity.json", "familiarity.safetensors"):
            (folder / name).unlink()
        assert content_digest(folder) == before

    @pytest.mark.parametrize(
        "changes, message",
        [
            ({"threshold": 2}, "threshold must be a number from 0 to 1, got 2"),
            ({"threshold": "0.5"}, "threshold must be a number"),
            ({"threshold": float("nan")}, "threshold must be a number"),
            ({"num_neighbours": 5}, "num_neighbours must be from 1 to 4"),
            ({"num_neighbours": True}, "num_neighbours must be"),
            ({"sentences": CAPTIONS[:3]}, r"embeddings are F16 of shape \[4, 32\], wanted F16 of \[3, size\]"),
            ({"sentences": "abcd"}, "must hold"),
            ({"sentences": [*CAPTIONS[:3], " "]}, "no text of one line"),
            ({"sentences": [*CAPTIONS[:3], "\x1b[2J"]}, "no text of one line"),
            ({"sentences": [*CAPTIONS[:3], 5]}, "sentences must be a list of texts"),
            ({"families": FAMILIES[:3]}, "4 sentences and 3 families"),
            ({"families": None}, "families must be a list of texts"),
            ({"more": 1}, "and nothing else"),
        ],
    )
    def test_damaged_settings_are_refused_in_a_line(self, folder, changes, message):
        path = folder / "familiarity.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        self.refuse(folder, message)

    @pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000])
    def test_settings_of_another_form_are_refused(self, folder, content):
        (folder / "familiarity.json").write_bytes(content)
        self.refuse(folder, "familiarity.json: ")

    @pytest.mark.parametrize(
        "change, message",
        [
            (lambda vectors: vectors.float(), "are F32"),
            (lambda vectors: vectors[:3].contiguous(), r"shape \[3, 32\]"),
            (lambda vectors: vectors.flatten(), r"shape \[128\]"),
            (lambda vectors: vectors * torch.nan, "hold NaN or infinity"),
            (lambda vectors: vectors * 2, "unit length"),
        ],
    )
    def test_damaged_vectors_are_refused_in_a_line(self, folder, change, message):
        path = folder / "familiarity.safetensors"
        save_file({"embeddings": change(load_file(path)["embeddings"])}, path)
        self.refuse(folder, message)

    def test_other_tensors_and_other_bytes_are_refused(self, folder):
        path = folder / "familiarity.safetensors"
        save_file({"vectors": load_file(path)["embeddings"]}, path)
        self.refuse(folder, "must hold embeddings")
        path.write_bytes(b"no tensors")
        self.refuse(folder, "damaged")

    @pytest.mark.parametrize("name", ["familiarity.json", "familiarity.safetensors"])
    def test_one_file_without_the_other_is_refused(self, folder, name):
        (folder / name).unlink()
        self.refuse(folder, f"{name} is missing")

    def refuse(self, folder, message: str) -> None:
        with pytest.raises(ValueError, match=message) as caught:
            lamp_hf.LampProcessor.from_pretrained(folder)
        assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


WITHOUT_THE_PACKAGE = """
import importlib.util, sys
from transformers import pipeline
assert importlib.util.find_spec("lamp_hf") is None
pipe = pipeline("text-to-motion", model=sys.argv[1], trust_remote_code=True)
print(pipe("she bows", duration=1.0, seed=0, num_candidates=2)["nearest"][0])
"""


@pytest.mark.slow
def test_it_works_where_the_package_is_not_installed(pipe, strangers_python, tmp_path):
    pipe.save_pretrained(tmp_path / "model")
    done = subprocess.run(
        [strangers_python, "-c", WITHOUT_THE_PACKAGE, tmp_path / "model"],
        capture_output=True, text=True, cwd=tmp_path, env={"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == KNOWN


class TestCommandLine:
    def test_it_lists_what_a_model_knows(self, familiar_folder, monkeypatch, capsys):
        told = json.loads(self.run(monkeypatch, capsys, "actions", "--model", str(familiar_folder), "--json").out)
        assert told["sentences"] == 4 and [action["action"] for action in told["actions"]] == [
            "bow", "walk", "walk turn", "wave left hand",
        ]  # fmt: skip
        assert told["actions"][0] == {"action": "bow", "sentences": 1, "examples": ["she bows"]}
        text = self.run(monkeypatch, capsys, "actions", "--model", str(familiar_folder)).out
        assert 'bow (1): "she bows"' in text.splitlines()

    def test_a_model_that_does_not_know_is_named(self, model_folder, monkeypatch, capsys):
        printed = self.run(monkeypatch, capsys, "actions", "--model", str(model_folder), code=1)
        assert printed.out == "" and printed.err.count("\n") == 1 and "familiarity.json" in printed.err

    def test_a_warning_is_one_line_and_part_of_the_json(self, familiar_folder, tmp_path, monkeypatch, capsys):
        arguments = ("generate", UNKNOWN, "-o", str(tmp_path / "out.npy"), "--model", str(familiar_folder), "--json")
        printed = self.run(monkeypatch, capsys, *arguments, "--duration", "1", "--seed", "3")
        made = json.loads(printed.out)
        assert made["unfamiliar"] is True and made["familiarity"] < 0.99 and made["seed"] == 3
        (line,) = (line for line in printed.err.splitlines() if line.startswith("lamp-hf: "))
        assert line.startswith(f'lamp-hf: the model was not trained on anything like "{UNKNOWN}"; nearest it knows: "')

    def run(self, monkeypatch, capsys, *arguments, code: int = 0):
        from lamp_hf.cli import main

        monkeypatch.setattr("sys.argv", ["lamp-hf", *arguments])
        with pytest.raises(SystemExit) as ended, warnings.catch_warnings():
            warnings.simplefilter("default")
            main()
        assert (ended.value.code or 0) == code
        return capsys.readouterr()


def test_the_names_are_at_the_front_door():
    assert issubclass(UnfamiliarPromptWarning, UserWarning) and {"Familiarity", "UnfamiliarPromptWarning"} <= set(
        lamp_hf.__all__
    )
    assert sys.modules[Familiarity.__module__].__name__ == "lamp_hf.models.familiarity"
