"""The study of decoding: attention maps, sweeps, pictures."""

import json

import pytest
import torch
from conftest import tiny_text_to_motion
from transformers import pipeline

from training.ablations import STUDIES, folder_name
from training.evaluation.attention import attention_maps, effective_ranks
from training.evaluation.plot_sampling import main as plot
from training.evaluation.sampling import summary


@pytest.mark.parametrize("mode", ["bidirectional", "soft_tril", "causal"])
def test_attention_maps_are_those_of_the_forward_pass(processor, mode):
    transformer = tiny_text_to_motion(processor, attention_mask_mode=mode).transformer
    codes, condition = torch.randint(32, (2, 7)), torch.randn(2, 1, 24)
    mask = torch.arange(7) < torch.tensor([[7], [4]])
    with torch.no_grad():
        before = transformer(codes, mask, condition)
        maps = attention_maps(transformer, codes, mask, condition)
        torch.testing.assert_close(transformer(codes, mask, condition), before)
    assert maps.shape == (2, 2, 2, 8, 8)  # layers, samples, heads, prefix and tokens
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 2, 2, 8))
    assert not maps[:, 1, :, :, 5:].any()  # padding
    assert bool(maps[..., 1:, 1:].triu(1).any()) == (mode != "causal")


def test_effective_rank_is_one_where_all_tokens_mix_alike_and_full_where_none_mixes(processor, model_folder):
    pipe = pipeline("text-to-motion", model=str(model_folder))
    attention = pipe.model.transformer.layers.layers[0].self_attn
    ranks = effective_ranks(pipe)
    assert len(ranks) == 2 and all(1 < rank <= 31 for rank in ranks)
    pipe.model.config.attention_mask_mode = "bidirectional"
    torch.nn.init.zeros_(attention.in_proj_weight)  # no query is like any key: all weights are equal
    assert effective_ranks(pipe)[0] == pytest.approx(1, abs=1e-3)


def test_the_studys_picture_is_drawn_from_its_numbers(tmp_path, monkeypatch):
    judged = {"action": 90.0, "style": 80.0, "frechet_ratio": 1.2}
    numbers = {
        "captions": {"well_covered": 90.0},
        "paraphrases": {"all": 80.0, "well_covered": 80.0},
        "evaluator": judged,
    }
    numbers["physics"] = {
        "skating_ratio": 1.3,
        "largest_acceleration_median": 3.0,
        "largest_acceleration_median_of_real": 2.0,
    }
    row = summary(numbers)
    assert row["acceleration_ratio"] == 1.5 and row["captions"] == 90
    steps = [row | {"num_inference_steps": count, "seconds": count / 100} for count in (1, 10)]
    guidance = [row | {"guidance_scale": 1.0, "guidance_interval": [0, 1]}]
    guidance += [row | {"guidance_scale": 2.0, "guidance_interval": interval} for interval in ([0, 1], [0.2, 0.8])]
    (tmp_path / "sampling.json").write_text(json.dumps({"steps": steps, "guidance": guidance}))
    modes = [name for name in STUDIES["text-to-motion"].variants if name.startswith("words; ")]
    for mode in modes:
        (folder := tmp_path / folder_name(mode, 300)).mkdir()
        (folder / "val.json").write_text(json.dumps(numbers | {"attention_effective_rank": [3.0, 2.0]}))
    picture = tmp_path / "sampling.png"
    arguments = ["plot", "--sampling", tmp_path / "sampling.json", "--ablations", tmp_path, "--output", picture]
    monkeypatch.setattr("sys.argv", [*map(str, arguments)])
    plot()
    assert len(modes) == 3 and picture.read_bytes().startswith(b"\x89PNG")
