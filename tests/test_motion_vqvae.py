"""Motion tokenizer: codes of a clip, alone or padded, its codebook's training, and residual codebooks."""

import subprocess
import sys

import pytest
import torch
from conftest import residual_config, residual_text_to_motion
from safetensors.torch import load_file
from transformers import AutoModel

import lamp_hf


@pytest.fixture
def tokenizer_model():
    torch.manual_seed(0)
    config = lamp_hf.MotionVQVAEConfig(width=16, codebook_dim=8, codebook_size=32)
    model = lamp_hf.MotionVQVAEModel(config)
    model.train()(torch.randn(4, 64, 263))  # the first batch fills the codebook
    return model.eval()


class TestTokenizer:
    def test_a_clip_has_the_same_codes_and_decoding_alone_and_padded(self, tokenizer_model):
        motion = torch.randn(2, 64, 263)
        mask = torch.arange(64) < torch.tensor([[64], [38]])
        codes, token_mask = tokenizer_model.encode(motion, mask)
        alone, _ = tokenizer_model.encode(motion[1:, :38])
        assert token_mask.sum(1).tolist() == [16, 9]
        assert torch.equal(codes[1, :9], alone[0])
        together = tokenizer_model.decode(codes, token_mask)
        torch.testing.assert_close(together[1, :36], tokenizer_model.decode(alone)[0], atol=1e-5, rtol=1e-5)
        assert (together[1, 36:] == 0).all()

    def test_padding_takes_no_part_in_the_loss(self, tokenizer_model):
        motion = torch.randn(1, 32, 263)
        padded = torch.cat([motion, 100 * torch.randn(1, 32, 263)], 1)
        mask = torch.arange(64)[None] < 32
        torch.testing.assert_close(tokenizer_model(motion).loss, tokenizer_model(padded, mask).loss)

    def test_codebook_state_is_saved_and_goes_on_after_loading(self, tokenizer_model, tmp_path):
        tokenizer_model.save_pretrained(tmp_path)
        loaded = lamp_hf.MotionVQVAEModel.from_pretrained(tmp_path)
        motion = torch.randn(4, 64, 263)
        for model in (tokenizer_model, loaded):
            model.train()(motion)
        assert loaded.quantizer.num_updates == 2
        torch.testing.assert_close(loaded.quantizer.codebook, tokenizer_model.quantizer.codebook)

    def test_codes_that_nobody_uses_are_drawn_anew(self, tokenizer_model):
        quantizer = tokenizer_model.quantizer
        quantizer.codebook[0] = quantizer.code_sum[0] = 1e3
        quantizer.code_count[0] = 1e-3
        latents = torch.randn(8, 16, 8)
        quantizer._update(latents, torch.ones(8, 16, dtype=torch.bool))
        nearest = (latents.flatten(0, 1) - quantizer.codebook[0]).norm(dim=-1).min()
        assert nearest < 1e-4

    def test_each_codebook_brings_the_motion_closer(self):
        torch.manual_seed(0)
        model = lamp_hf.MotionVQVAEModel(residual_config())
        latents, mask = torch.randn(16, 20, 8), torch.ones(16, 20, dtype=torch.bool)
        for _ in range(30):
            _, codes, _ = model.quantise(latents, mask)
        assert codes.shape[-1] in (1, 2, 3)  # training stops after a random number of books
        model.eval()
        _, codes, _ = model.quantise(latents, mask)
        assert codes.shape == (16, 20, 3)
        books = [model.quantizer, *model.residual_quantizers]
        sums = [sum(book.codebook[codes[..., i]] for i, book in enumerate(books[:n])) for n in (1, 2, 3)]
        errors = [(latents - total).square().mean() for total in sums]
        assert errors[0] > 1.5 * errors[1] > 2 * errors[2]
        motion = torch.randn(2, 24, 263)
        codes, mask = model.encode(motion)
        assert codes.shape == (2, 6, 3)
        assert not torch.equal(model.decode(codes, mask), model.decode(codes[..., 0], mask))
        torch.testing.assert_close(model.decode(codes[..., :1], mask), model.decode(codes[..., 0], mask))


class TestNamesInFiles:
    """Weight files name the residual quantizers `refinements`, as the first release did; models do not."""

    @pytest.fixture
    def model(self):
        torch.manual_seed(0)
        model = AutoModel.from_config(residual_config())
        for quantizer in model.residual_quantizers:
            quantizer.codebook.normal_()
        return model

    def test_files_keep_their_names_when_they_are_loaded_and_saved_again(self, model, tmp_path):
        model.save_pretrained(tmp_path / "new")
        loaded = lamp_hf.MotionVQVAEModel.from_pretrained(tmp_path / "new")
        loaded.save_pretrained(tmp_path / "again")
        first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("new", "again"))
        assert first.keys() == second.keys() and "refinements.1.codebook" in first
        assert all(torch.equal(values, model.state_dict()[name]) for name, values in loaded.state_dict().items())

    def test_a_generator_renames_those_of_its_tokenizer(self, processor, tmp_path):
        model = residual_text_to_motion(processor)
        model.save_pretrained(tmp_path)
        assert "vqvae.refinements.1.codebook" in load_file(tmp_path / "model.safetensors")
        loaded = lamp_hf.LampForTextToMotion.from_pretrained(tmp_path).vqvae.residual_quantizers
        for ours, theirs in zip(model.vqvae.residual_quantizers, loaded, strict=True):
            assert torch.equal(ours.codebook, theirs.codebook)

    def test_training_checkpoints_of_the_first_release_are_resumed(self, model):
        holder = torch.nn.ModuleDict({"model": lamp_hf.MotionVQVAEModel(residual_config())})
        names = {name: name.replace("residual_quantizers", "refinements") for name in model.state_dict()}
        holder.load_state_dict({f"model.{names[name]}": values for name, values in model.state_dict().items()})
        assert torch.equal(holder["model"].residual_quantizers[1].codebook, model.residual_quantizers[1].codebook)

    @pytest.mark.slow
    def test_remote_code_renames_too(self, model, tmp_path):
        model.save_pretrained(tmp_path)
        code = f"""
import sys
from transformers import AutoModel
model = AutoModel.from_pretrained({str(tmp_path)!r}, trust_remote_code=True)
assert "lamp_hf" not in sys.modules
print(float(model.residual_quantizers[1].codebook.sum()))
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert float(done.stdout) == pytest.approx(float(model.residual_quantizers[1].codebook.sum()), rel=1e-4)
