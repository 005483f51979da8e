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
from test_captioning import adapted

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
            ({"num_hidden_layers": 10**6}, "num_hidden_layers is 1000000; it must be from 0 to 1000"),
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
        "changes, message",
        [
            ({"hidden_size": 2.5}, "'hidden_size'.* expected int, got float"),
            ({"hidden_size": "16"}, "'hidden_size'.* expected int, got str"),
            ({"hidden_size": 10**400}, "hidden_size is 1000"),
            ({"num_attention_heads": 0}, "num_attention_heads is 0; it must be from 1 to 1000"),
            ({"num_attention_heads": 3}, "hidden_size is 16; it must be a multiple of 3"),
            ({"num_inference_steps": 10**9}, "num_inference_steps is 1000000000"),
            ({"dropout": float("nan")}, "dropout is nan; it must be from 0 to 1"),
            ({"temperature": -1.0}, "temperature is -1"),
            ({"lamp_config": {"num_query_tokens": -1}}, "num_query_tokens is -1"),
            ({"lamp_config": {"motion_config": {"codebook_size": 0}}}, "codebook_size is 0"),
            ({"lamp_config": {"motion_config": {"dilation_growth": 10**6}}}, "reach further than any motion"),
        ],
    )
    def test_numbers_that_no_model_can_have_are_refused(self, folder, changes, message):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(merge(config, changes)))
        refuse(folder, f"{folder}: config.json does not fit: .*{message}")

    def test_a_deep_configuration_is_refused(self, folder):
        (folder / "config.json").write_bytes(DEEP)
        refuse(folder, f"{folder}: config.json is nested too deeply")

    def test_layers_that_the_configuration_leaves_out_are_refused(self, folder, captioner_folder, tmp_path):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))
        refuse(folder, "unexpected weight transformer.layers.layers.1")
        captioner = shutil.copytree(captioner_folder, tmp_path / "captioner")
        config = json.loads((captioner / "config.json").read_text())
        config["language_config"]["num_hidden_layers"] = 1
        (captioner / "config.json").write_text(json.dumps(config))
        refuse(captioner, "unexpected weight language_model", lamp_hf.LampForMotionCaptioning)

    @pytest.mark.parametrize("content", [DEEP, b"[]", b"\xff"], ids=["deep", "list", "bytes"])
    @pytest.mark.parametrize("name", ["processor_config.json", "tokenizer.json", "tokenizer_config.json"])
    def test_damaged_files_of_a_processor_are_named(self, folder, name, content):
        (folder / name).write_bytes(content)
        refuse(folder, f"{folder / name}: damaged", lamp_hf.LampProcessor)

    @pytest.mark.parametrize("name, value", [
        ("feature_size", 10**9), ("sampling_rate", "x"), ("sampling_rate", 1e300), ("skeleton", "x"),
        ("padding_value", float("nan")), ("std", [1.0] * 262), ("std", 10**400),
    ])  # fmt: skip
    def test_numbers_of_a_feature_extractor_are_checked(self, tmp_path, processor, name, value):
        path = tmp_path / "preprocessor_config.json"
        processor.feature_extractor.save_pretrained(tmp_path)
        path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
        refuse(tmp_path, f"{tmp_path}: damaged: .*{name}", lamp_hf.MotionFeatureExtractor)

    @pytest.mark.parametrize("name, value", [
        ("num_video_frames", 10**9), ("image_size", 0), ("image_mean", [float("nan")] * 3), ("image_std", [0, 0, 0]),
        ("image_std", 5),
    ])  # fmt: skip
    def test_numbers_of_a_video_processor_are_checked(self, processor, name, value):
        with pytest.raises(ValueError, match=name):
            lamp_hf.LavimoProcessor(processor.feature_extractor, processor.tokenizer, **{name: value})

    @pytest.mark.parametrize(
        "content, message",
        [
            (b'{"metadata": {}, "weight_map": {"a": ".."}}', "'..' is not a file of this folder"),
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


class TestAdapters:
    @pytest.fixture
    def adapter(self, captioner_folder, tmp_path):
        adapted(lamp_hf.LampForMotionCaptioning.from_pretrained(captioner_folder)).save_pretrained(
            tmp_path / "adapter"
        )
        return tmp_path / "adapter"

    @pytest.mark.parametrize(
        "change, message",
        [
            (lambda tensor: tensor.fill_(torch.nan), "holds NaN or infinity"),
            (lambda tensor: tensor.to(torch.int64), "stored as torch.int64"),
            (lambda tensor: tensor[:1, :1].clone(), "damaged: RuntimeError"),
        ],
    )
    def test_weights_are_checked(self, adapter, captioner_folder, change, message):
        weights = load_file(adapter / "adapter_model.safetensors")
        name = next(name for name in weights if "lora_A" in name)
        save_file(weights | {name: change(weights[name])}, adapter / "adapter_model.safetensors")
        self.refuse(adapter, captioner_folder, message)

    def test_a_weight_that_nothing_takes_is_refused(self, adapter, captioner_folder):
        weights = load_file(adapter / "adapter_model.safetensors")
        save_file(weights | {"zzz": torch.zeros(3)}, adapter / "adapter_model.safetensors")
        self.refuse(adapter, captioner_folder, "unexpected weight zzz")

    @pytest.mark.parametrize(
        "name, value", [("r", 10**9), ("r", "x"), ("lora_alpha", float("nan")), ("lora_dropout", -1)]
    )
    def test_numbers_are_checked_before_memory_is_taken(self, adapter, captioner_folder, name, value):
        path = adapter / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
        self.refuse(adapter, captioner_folder, f"{name} must be")

    @pytest.mark.parametrize("content", [DEEP, b"[]", b"\xff"], ids=["deep", "list", "bytes"])
    @pytest.mark.parametrize("name", ["adapter_config.json", "captioner_config.json"])
    def test_damaged_files_are_named(self, adapter, captioner_folder, name, content):
        (adapter / name).write_bytes(content)
        self.refuse(adapter, captioner_folder, f"{name}: damaged")

    def refuse(self, adapter, captioner_folder, message: str) -> None:
        with pytest.raises(ValueError, match=f"{adapter}.*{message}") as caught:
            lamp_hf.LampForMotionCaptioning.from_pretrained(captioner_folder).load_adapter(str(adapter))
        assert "\n" not in str(caught.value)


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
            ({"spans": np.full((5, 2), -1, np.float32)}, "spans do not begin from 0"),
            ({"spans": np.array([[2, 1]] * 5, np.float32)}, "end after they begin"),
            ({"vectors": np.full((5, 16), 1e30, np.float32)}, "a vector is longer than 1"),
            ({"states": as_bytes(DEEP)}, "RecursionError"),
            ({"states": as_bytes([1] * 5)}, "states of files are not a list of dictionaries"),
            ({"states": as_bytes([None] * 4)}, "4 states"),
            ({"states": np.zeros(5, np.float32)}, "states is F32"),
            ({"ids": as_bytes(DEEP)}, "RecursionError"),
            ({"ids": as_bytes(b"\xff")}, "cannot be read"),
            ({"ids": as_bytes({"a": 1})}, "not a list of texts"),
            ({"ids": as_bytes([1, 2, 3, 4, 5])}, "not a list of texts"),
            ({"ids": as_bytes(list("abcdd"))}, "4 names"),
            ({"sources": as_bytes([""] * 4)}, "4 files"),
            ({"quantised": np.zeros(5, np.float32)}, "quantised is F32"),
            ({"vectors": None, "keys": np.zeros(5, np.int64)}, "vectors is missing"),
            ({"query_vectors": np.zeros((5, 49, 8), np.float32)}, "query_vectors is F32"),
            ({"query_vectors": np.zeros((4, 49, 8), np.float16)}, "queries of 4 rows, of 5"),
            ({"query_vectors": np.full((5, 49, 8), np.inf, np.float16)}, "a query's vector holds NaN"),
            ({"query_codes": np.zeros((5, 49, 2), np.uint8)}, "queries of 0 rows"),
            ({"quantised": as_bytes(b"IxFI" + bytes(3000))}, "the quantised codes are not of these vectors"),
        ],
    )
    def test_tensors_are_checked(self, index, tmp_path, changes, message):
        index.save(tmp_path)
        rewrite(tmp_path, lambda tensors: {k: v for k, v in (tensors | changes).items() if v is not None})
        with pytest.raises(ValueError, match=f"damaged: .*{message}.*index the motions again"):
            lamp_hf.MotionIndex.load(tmp_path)

    def test_vectors_of_another_size_than_the_models_are_refused(self, index, tmp_path):
        index.save(tmp_path)
        rewrite(tmp_path, lambda tensors: tensors | {"vectors": np.ones((5, 15), np.float32)})
        with pytest.raises(ValueError, match=r"vectors of 15 numbers, .* makes 16: index the motions again"):
            lamp_hf.MotionIndex.load(tmp_path).search("she bows")

    def test_a_model_that_is_nowhere_is_named(self, index, tmp_path):
        index.save(tmp_path)
        about = json.loads((tmp_path / "index.json").read_text())
        (tmp_path / "index.json").write_text(json.dumps(about | {"model": "nosuch/model"}))
        with pytest.raises(OSError, match="the model nosuch/model cannot be read"):
            lamp_hf.MotionIndex.load(tmp_path).search("she bows")

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
