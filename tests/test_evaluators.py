"""Networks that judge motions: Guo et al.'s and the project's own."""

import io
import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from conftest import make_motion
from safetensors.torch import load_file, save_file
from torch import nn

import lamp_hf
from lamp_hf.evaluators.guo import GuoEvaluator, GuoEvaluatorConfig, GuoEvaluatorModel
from lamp_hf.evaluators.motion_evaluator import MotionEvaluatorConfig, MotionEvaluatorModel, MotionTextEvaluator
from lamp_hf.import_checkpoint.guo import convert_guo_evaluator, main
from lamp_hf.retrieval.embedder import Embedder


def npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


class TestGuo:
    TEXT = "a man walks to the zzz#a/DET man/NOUN walk/VERB to/ADP the/DET zzz/NOUN#0.0#0.0\n"

    @pytest.fixture(scope="class")
    def files(self, tmp_path_factory):
        """Write the files that its authors publish, with random weights."""
        folder = tmp_path_factory.mktemp("guo")
        torch.manual_seed(0)
        model = GuoEvaluatorModel(GuoEvaluatorConfig())
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.05)
        names = ("movement_encoder", "motion_encoder", "text_encoder")
        torch.save({name: getattr(model, name).state_dict() for name in names} | {"epoch": 3}, folder / "finest.tar")
        rng = np.random.default_rng(0)
        np.save(folder / "mean.npy", rng.normal(size=263))
        np.save(folder / "std.npy", rng.uniform(0.5, 2, 263))
        words = ["sos", "eos", "unk", "a", "man", "walk", "to", "the"]
        np.save(folder / "our_vab_data.npy", rng.normal(size=(8, 300)))
        (folder / "our_vab_words.pkl").write_bytes(pickle.dumps(words))
        (folder / "our_vab_idx.pkl").write_bytes(pickle.dumps({word: 7 - i for i, word in enumerate(words)}))
        (folder / "texts").mkdir()
        (folder / "texts" / "1.txt").write_text(self.TEXT + "a man#a/DET man/NOUN#0.0#0.0\n")
        return folder

    @pytest.fixture(scope="class")
    def evaluator(self, files):
        convert_guo_evaluator(files / "finest.tar", files, files, files / "converted")
        return GuoEvaluator(files / "converted", files / "texts")

    def test_texts_are_embedded_as_by_hand(self, evaluator, files):
        together = evaluator.embed_texts(["a man walks to the zzz", "a man"])
        np.testing.assert_allclose(together[1:], evaluator.embed_texts(["a man"]), atol=1e-5)
        vectors = np.load(files / "our_vab_data.npy")
        index = pickle.loads((files / "our_vab_idx.pkl").read_bytes())
        tokens = [("sos", 14), ("a", 2), ("man", 1), ("walk", 12), ("to", 3), ("the", 2), ("unk", 14), ("eos", 14)]
        words = torch.tensor(np.stack([vectors[index[word]] for word, _ in tokens]), dtype=torch.float32)
        encoder = evaluator.model.text_encoder
        with torch.no_grad():
            states = encoder.input_emb(
                words + encoder.pos_emb.weight[:, [part for _, part in tokens]].T + encoder.pos_emb.bias
            )
            _, last = encoder.gru(states[None], encoder.hidden)
            expected = encoder.output_net(torch.cat([last[0], last[1]], -1))
        np.testing.assert_allclose(together[:1], expected, atol=1e-5)

    def test_motions_are_embedded_without_contacts_and_leftover_frames(self, evaluator):
        motion = lamp_hf.joints_to_features(make_motion(43))  # 42 frames: ten movements, two frames over
        longer = np.concatenate([motion[:40], 5 + motion[40:]])
        longer[:, -4:] = 1 - longer[:, -4:]
        (first, second) = evaluator.embed_motions([motion, longer])
        np.testing.assert_allclose(first, second, atol=1e-6)
        assert first.shape == (512,)
        model = evaluator.model  # by hand: padded to 196 frames, as in the literature
        padded = torch.zeros(1, 196, 259)
        padded[0, :40] = ((torch.from_numpy(motion[:40]) - model.mean) / model.std)[:, :-4]
        with torch.no_grad():
            expected = model.motion_encoder(model.movement_encoder(padded), torch.tensor([10]))[0]
        np.testing.assert_allclose(first, expected, atol=1e-6)
        with pytest.raises(ValueError, match="motion 0 has 3 frames"):
            evaluator.embed_motions([motion[:3]])

    def test_a_caption_without_tags_a_foreign_file_and_a_harmful_pickle_are_refused(self, evaluator, files, tmp_path):
        with pytest.raises(ValueError, match="no tagged words for the caption 'she runs'"):
            evaluator.embed_texts(["she runs"])
        torch.save({"epoch": 1}, tmp_path / "other.tar")
        with pytest.raises(ValueError, match="it lacks movement_encoder"):
            convert_guo_evaluator(tmp_path / "other.tar", files, files, tmp_path / "out")

        class Harm:
            def __reduce__(self):
                return os.system, ("touch harmed",)

        for name in ("our_vab_data.npy", "our_vab_idx.pkl"):
            (tmp_path / name).write_bytes((files / name).read_bytes())
        (tmp_path / "our_vab_words.pkl").write_bytes(pickle.dumps(Harm()))
        with pytest.raises(ValueError, match=r"our_vab_words\.pkl: refused"):
            convert_guo_evaluator(files / "finest.tar", files, tmp_path, tmp_path / "out")
        torch.save({"movement_encoder": Harm()}, tmp_path / "harm.tar")
        with pytest.raises(ValueError, match=r"harm\.tar: refused: reading it would run"):
            convert_guo_evaluator(tmp_path / "harm.tar", files, files, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("finest.tar", b"no checkpoint", "refused: it is not a PyTorch checkpoint, or it is damaged"),
            ("finest.tar", b"", "refused: it is not a PyTorch checkpoint, or it is damaged"),
            ("mean.npy", b"", "it is not a NumPy array of numbers, or it is damaged"),
            ("std.npy", npy(np.full(263, np.nan)), "it holds NaN or infinity"),
            ("our_vab_data.npy", npy(np.zeros(8)), "an array of numbers with 2 dimensions is needed"),
            ("our_vab_words.pkl", pickle.dumps(["sos", "eos"])[:-4], "refused"),
            ("our_vab_words.pkl", b"", "refused: it is no pickle, or it is damaged"),
            ("our_vab_words.pkl", pickle.dumps({"sos": 1}), "it holds no list of words"),
            ("our_vab_idx.pkl", pickle.dumps({"sos": 0, "eos": 1, "unk": 8}), "each word's row of the 8 vectors"),
        ],
    )
    def test_damaged_files_are_refused_in_a_line_and_leave_nothing_behind(
        self, files, tmp_path, name, content, message, capsys
    ):
        folder = tmp_path / "files"
        shutil.copytree(files, folder, ignore=shutil.ignore_patterns("converted"))
        (folder / name).write_bytes(content)
        arguments = [f"--{option}={folder}" for option in ("meta", "glove")]
        arguments += [f"--checkpoint={folder / 'finest.tar'}", f"--output={tmp_path / 'out'}"]
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        error = capsys.readouterr().err
        assert stopped.value.code == 1 and error.startswith(f"lamp-hf: {folder / name}: ") and message in error
        assert error.count("\n") == 1 and list(tmp_path.iterdir()) == [folder]

    def test_a_folder_that_exists_is_not_overwritten(self, files, evaluator):
        with pytest.raises(ValueError, match="converted exists already: name a new folder"):
            convert_guo_evaluator(files / "finest.tar", files, files, files / "converted")
        assert not list(files.glob(".converted*"))


def test_evaluator_embeds_padded_clips_as_it_embeds_them_alone():
    torch.manual_seed(0)
    model = MotionEvaluatorModel(MotionEvaluatorConfig(actions=["a", "b"], styles=["c"], width=8)).eval()
    motion = torch.randn(1, 64, 263)
    mask = torch.arange(64)[None] < 40
    torch.testing.assert_close(model(motion, mask).embedding, model(motion[:, :40], mask[:, :40]).embedding)


def test_the_evaluator_embeds_alone_as_in_a_batch_and_loads_whole_or_not_at_all(bert_folder, tmp_path):
    motions = [lamp_hf.joints_to_features(make_motion(30 + 12 * i, seed=i)) for i in (2, 0, 1)]
    labels = {"actions": ["a", "b"], "styles": ["c"]}
    config = MotionEvaluatorConfig(**labels, width=8, text_encoder=str(bert_folder), text_size=16)
    MotionEvaluatorModel(config).save_pretrained(tmp_path)
    lamp_hf.MotionFeatureExtractor.from_statistics(motions).save_pretrained(tmp_path)
    evaluator = MotionTextEvaluator(tmp_path)
    np.testing.assert_allclose(evaluator.embed_motions(motions)[1:2], evaluator.embed_motions(motions[1:2]), atol=1e-5)
    assert evaluator.recognise(motions) == [evaluator.recognise([motion])[0] for motion in motions]
    texts = ["a man turns to the right", "she bows"]
    np.testing.assert_allclose(evaluator.embed_texts(texts)[1:], evaluator.embed_texts(texts[1:]), atol=1e-5)
    weights = load_file(tmp_path / "model.safetensors")
    save_file({name: values for name, values in weights.items() if "text_head" not in name},
              tmp_path / "model.safetensors", {"format": "pt"})  # fmt: skip
    with pytest.raises(ValueError, match="missing weight text_head"):
        MotionTextEvaluator(tmp_path)


def test_lamp_embeds_alone_as_in_a_batch(model_folder):
    evaluator = Embedder(model_folder)
    motions = [lamp_hf.joints_to_features(make_motion(30 + 12 * i, seed=i)) for i in range(3)]
    together = evaluator.embed_motions(motions)
    np.testing.assert_allclose(together[1:2], evaluator.embed_motions(motions[1:2]), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert evaluator.embed_texts(["a man walks", "she bows"]).shape == (2, 16)
