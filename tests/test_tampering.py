"""Models and galleries that somebody tampered with: a `ValueError` of one line, before memory is taken."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from conftest import unit_vectors
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file

import lamp_hf
from lamp_hf.retrieval import vector_search


DEEP = b"[" * 100_000
NESTED_LAYERS = {"lamp_config": {"motion_config": {"num_quantizers": 10**6}}}


@pytest.fixture
def folder(model_folder, tmp_path):
    return shutil.copytree(model_folder, tmp_path / "model")


def refuse(folder, message: str, kind=lamp_hf.LampForTextToMotion) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        kind.from_pretrained(folder)
    assert "\n" not in str(caught.value)


class TestModels:
    @pytest.mark.parametrize(
        "change, message",
        [
            (lambda tensor: tensor.fill_(torch.nan), "holds NaN or infinity"),
            (lambda tensor: tensor.fill_(torch.inf), "holds NaN or infinity"),
            (lambda tensor: tensor.to(torch.int64), "stored as I64, not as floating point"),
            (lambda tensor: tensor.bool(), "stored as BOOL"),
        ],
    )
    @pytest.mark.parametrize("name", ["lamp.logit_scale", "vqvae.quantizer.codebook", "length_predictor.1.weight"])
    def test_weights_are_finite_and_floating_point(self, folder, name, change, message):
        weights = load_file(folder / "model.safetensors")
        weights[name] = change(weights[name])
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        refuse(folder, f"{name} (is )?{message}")

    @pytest.mark.parametrize(
        "changes, message",
        [
            ({"num_hidden_layers": 10**6}, "num_hidden_layers is 1000000; a model has at most 1000"),
            ({"num_residual_layers": 10**6}, "num_residual_layers is 1000000"),
            (NESTED_LAYERS, "num_quantizers is 1000000"),
            ({"intermediate_size": 10**9}, "the configuration describes .* the files hold"),
            ({"lamp_config": {"text_config": {"vocab_size": 10**9}}}, "the configuration describes"),
            ({"lamp_config": {"motion_config": {"width": 10**9}}}, "do not fit: Storage size"),
        ],
    )
    def test_sizes_are_compared_with_the_files_first(self, folder, changes, message):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(merge(config, changes)))
        refuse(folder, message)

    @pytest.mark.parametrize(
        "content, message",
        [
            (b'{"metadata": {}, "weight_map": {"a": "../other.safetensors"}}', "is not a file of this folder"),
            (b'{"metadata": {}, "weight_map": {"a": "/etc/passwd"}}', "'/etc/passwd' is not a file of this folder"),
            (b'{"metadata": {}}', "damaged: KeyError"),
            (b'{"weight_map": {}}', "damaged: KeyError"),
            (b"[]", "damaged: TypeError"),
            (DEEP, "damaged: RecursionError"),
        ],
    )
    def test_an_index_of_shards_names_files_of_its_folder(self, folder, content, message):
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_bytes(content)
        refuse(folder, message)

    @pytest.mark.parametrize("name, values", [
        ("std", 0.0), ("std", -1.0), ("std", float("nan")), ("std", 1e-60), ("mean", float("inf")), ("mean", 1e60),
        ("mean", None), ("std", "x"),
    ])  # fmt: skip
    def test_statistics_are_finite_and_deviations_positive(self, folder, name, values):
        path = folder / "processor_config.json"
        config = json.loads(path.read_text())
        config["feature_extractor"][name][7] = values
        path.write_text(json.dumps(config))
        refuse(folder, f"{name} must be", lamp_hf.LampProcessor)

    def test_statistics_are_as_many_as_features(self):
        with pytest.raises(ValueError, match="mean must be 263 finite numbers"):
            lamp_hf.MotionFeatureExtractor(mean=[0.0] * 251, std=[1.0] * 251)
        with pytest.raises(ValueError, match="belong together"):
            lamp_hf.MotionFeatureExtractor(std=[1.0] * 263)
        with pytest.raises(ValueError, match="sampling_rate"):
            lamp_hf.MotionFeatureExtractor(sampling_rate=0)


def merge(config: dict, changes: dict) -> dict:
    for name, value in changes.items():
        config[name] = merge(config[name], value) if isinstance(value, dict) else value
    return config


def as_bytes(content) -> np.ndarray:
    return np.frombuffer(content if isinstance(content, bytes) else json.dumps(content).encode(), np.uint8)


class TestGalleries:
    @pytest.mark.parametrize(
        "changes, message",
        [
            *(({name: None}, f"{name} is missing") for name in ("vectors", "items", "spans", "ids", "sources")),
            ({"vectors": np.zeros((5, 16), np.int32)}, "vectors is I32"),
            ({"vectors": np.zeros((5, 16), np.float64)}, "vectors is F64"),
            ({"vectors": np.zeros(80, np.float32)}, "not F32 of 2 dimensions"),
            ({"vectors": np.zeros((4, 16), np.float32)}, "4 vectors, items"),
            ({"vectors": np.full((5, 16), np.nan, np.float32)}, "a vector holds NaN"),
            ({"items": np.full(5, 5, np.int32)}, "vectors of motions 5 to 5, of 5"),
            ({"items": np.full(5, -1, np.int32)}, "vectors of motions -1"),
            ({"items": np.zeros(5, np.int64)}, "items is I64"),
            ({"spans": np.full((5, 2), np.inf, np.float32)}, "spans hold NaN"),
            ({"spans": np.zeros((5, 3), np.float32)}, "spans"),
            ({"ids": as_bytes(DEEP)}, "RecursionError"),
            ({"ids": as_bytes(b"\xff")}, "cannot be read"),
            ({"ids": as_bytes({"a": 1})}, "not a list of texts"),
            ({"ids": as_bytes([1, 2, 3, 4, 5])}, "not a list of texts"),
            ({"ids": as_bytes(list("abcdd"))}, "4 names"),
            ({"sources": as_bytes([""] * 4)}, "4 files"),
            ({"quantised": np.zeros(5, np.float32)}, "quantised is F32"),
            ({"quantised": as_bytes(b"IxFI" + bytes(3000))}, "the quantised codes are not of these vectors"),
        ],
    )
    def test_tensors_are_checked(self, index, tmp_path, changes, message):
        index.save(tmp_path)
        rewrite(tmp_path, lambda tensors: {k: v for k, v in (tensors | changes).items() if v is not None})
        with pytest.raises(ValueError, match=f"damaged: .*{message}.*index the motions again"):
            lamp_hf.MotionIndex.load(tmp_path)

    def test_a_manifest_of_another_form_is_refused(self, index, tmp_path):
        index.save(tmp_path)
        about = json.loads((tmp_path / "index.json").read_text())
        for content in (DEEP, *(json.dumps(about | {key: 1}).encode() for key in ("model", "origin", "file"))):
            (tmp_path / "index.json").write_bytes(content)
            with pytest.raises(ValueError, match="describes no motion index"):
                lamp_hf.MotionIndex.load(tmp_path)

    def test_each_byte_around_the_quantised_codes_is_checked(self):
        vectors = unit_vectors(1000)
        whole = vector_search.VectorStore(vectors, vector_search.product_quantise(vectors)).to_tensors()
        assert len(vector_search.VectorStore.from_tensors(whole)) == 1000
        dimension = vectors.shape[1]
        end = len(whole["quantised"]) - 1024 * dimension // 4
        for place in (*range(32), *range(33, 69), *range(end - 36, end)):
            codes = whole["quantised"].copy()
            codes[place] ^= 0x40
            with pytest.raises(ValueError, match="the quantised codes"):
                vector_search.VectorStore.from_tensors(whole | {"quantised": codes})
        for codes in (whole["quantised"][:-1], whole["quantised"][:60], np.zeros(0, np.uint8)):
            with pytest.raises(ValueError, match="the quantised codes"):
                vector_search.VectorStore.from_tensors(whole | {"quantised": codes})


def rewrite(folder, change) -> None:
    """Change the tensors of a gallery, and its manifest with them."""
    about = json.loads((folder / "index.json").read_text())
    path = folder / about["file"]
    save_arrays(change(load_arrays(path)), path)
    about["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "index.json").write_text(json.dumps(about))
