"""Small copies of published checkpoints: imported models compute the same; other files are refused."""

import json
import pickle

import numpy as np
import pytest
import torch
from official_networks import OfficialGenerator, OfficialLamp, OfficialTokenizer, shake
from torch import nn
from transformers import BertTokenizer

import lamp_hf
from lamp_hf.import_checkpoint import import_checkpoint
from lamp_hf.import_checkpoint.__main__ import main


HEAD_SIZE = 8
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(14))]  # and [DEC]: 20


def close(ours, theirs):
    assert ours.shape == theirs.shape
    assert theirs.ndim == 0 or theirs.detach().std(0).mean() > 0.03  # otherwise everything would be close
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def save(folder, name, key, state, **beside):
    """Save weights in the layout of the published trainers, with optimiser and scheduler beside them."""
    parameter = nn.Parameter(torch.ones(2))
    optimiser = torch.optim.AdamW([parameter])
    parameter.sum().backward()
    optimiser.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimiser, [3])
    if key != "net":
        beside |= {"scheduler": scheduler.state_dict(), "ep": 3, "total_it": 100}
    torch.save({key: state} | beside, folder / name)
    return folder / name


def texts():
    """Return ids that begin with [DEC], as in the released code where it generates, and their mask."""
    ids = torch.tensor([[19, 7, 8, 3, 0, 0], [19, 9, 10, 11, 12, 3], [19, 5, 3, 0, 0, 0]])
    return ids, (ids != 0).long()


def motions(frames=20, features=263):
    return torch.randn(3, frames, features, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def statistics(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "Mean.npy", rng.normal(size=263).astype(np.float32))
    np.save(tmp_path / "Std.npy", rng.uniform(0.5, 2, 263).astype(np.float32))
    return {"mean": tmp_path / "Mean.npy", "std": tmp_path / "Std.npy"}


@pytest.fixture
def official_lamp():
    return shake(OfficialLamp())


@pytest.fixture
def lamp_file(official_lamp, tmp_path):
    return save(tmp_path, "h3d-qformer.tar", "motion_qformer", official_lamp.state_dict(), opt_qformer={"state": {}})


@pytest.fixture
def vocabulary(tmp_path):
    return write_vocabulary(tmp_path / "bert", WORDS)


def write_vocabulary(folder, words):
    BertTokenizer(vocab={word: i for i, word in enumerate(words)}).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("net", {}),
        ("net", {"features": 251}),
        ("vq_model", {"halvings": 1}),
        ("vq_model", {"halvings": 3}),
        ("vq_model", {"books": 3}),
        ("vq_model", {"books": 1}),
    ],
)
def test_tokenizer(key, shape, tmp_path):
    torch.manual_seed(0)
    official, motion = shake(OfficialTokenizer(**shape)), motions(64, shape.get("features", 263))
    latents = official.vqvae.encoder(motion.mT).mT.detach()
    for i, book in enumerate(official.books):  # as trained, codes are where latents are
        book.copy_(latents.flatten(0, 1)[:16] if i == 0 else book * latents.std() / 2)
    source = save(tmp_path, "source", key, official.official_state())
    report = import_checkpoint(source, tmp_path / "out")
    model = lamp_hf.MotionVQVAEModel.from_pretrained(tmp_path / "out").eval()

    codes = official.encode(motion)
    assert all(len(level.unique()) > 3 for level in codes.unbind(-1))
    ours, _ = model.encode(motion)
    ours = ours if shape.get("books", 1) > 1 else ours[..., None]
    assert (ours == codes).float().mean() > 0.98  # two codes may be equally near
    close(model.encoder(motion, torch.ones(3, 64))[0], latents)
    close(model.decode(codes), official.decode(codes))
    assert report["kind"] == ("residual_vqvae" if "books" in shape else "vqvae")
    assert model.config.skeleton == ("kit" if "features" in shape else "humanml3d")
    assert model.config.num_downsamplings == shape.get("halvings", 2)
    assert model.quantizer.num_updates == 1  # training resumes with these codes


def test_tokenizer_keeps_its_statistics_and_tells_its_origin(statistics, tmp_path):
    official = shake(OfficialTokenizer())
    source = save(tmp_path, "net_last.pth", "net", official.official_state())
    report = import_checkpoint(source, tmp_path / "out", **statistics)
    extractor = lamp_hf.MotionFeatureExtractor.from_pretrained(tmp_path / "out")
    raw = motions()[0]
    expected = (raw - torch.tensor(np.load(statistics["mean"]))) / torch.tensor(np.load(statistics["std"]))
    close(extractor.normalise(raw), expected)

    assert report == json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert report["source"]["file"] == "net_last.pth" and report["source"]["bytes"] == source.stat().st_size
    assert report["used"].keys() == official.official_state().keys() and report["ignored"] == {}
    card = (tmp_path / "out" / "README.md").read_text()
    assert report["source"]["sha256"] in card and "T2M-GPT" in card and "licence" in card
    assert {path.name for path in tmp_path.iterdir()} == {"net_last.pth", "out", "Mean.npy", "Std.npy"}


def test_qformer(official_lamp, lamp_file, vocabulary, statistics, tmp_path):
    report = import_checkpoint(lamp_file, tmp_path / "out", bert=vocabulary, head_size=HEAD_SIZE, **statistics)
    model = lamp_hf.LampQFormerForPreTraining.from_pretrained(tmp_path / "out").eval()
    (ids, mask), motion = texts(), motions()
    with torch.no_grad():
        assert official_lamp.motion_features(motion).std(1).mean() > 0.03  # of queries
        close(model.lamp.get_text_features(ids, mask, normalize=False), official_lamp.text_features(ids, mask))
        ours = model.lamp.get_motion_features(motion, pool=False, normalize=False)
        close(ours, official_lamp.motion_features(motion))
        close(
            model.lamp.match(ids, mask.bool(), *model.lamp.encode_motion(motion)),
            official_lamp.matching_logits(ids, mask, motion),
        )
        codes = official_lamp.vq_model.encode(motion)[..., 0]
        clips = torch.tensor([0, 0, 1])  # of one clip, which the released code does not mind
        losses = model(ids, mask, motion, torch.ones(3, 20), codes, clips, torch.arange(3))
        close(losses.contrastive_loss, official_lamp.contrastive_loss(ids, mask, motion))
        close(losses.text_generation_loss, official_lamp.text_generation_loss(ids, mask, motion))
        close(losses.motion_generation_loss, official_lamp.motion_generation_loss(ids, mask, codes))
        tokenizer = lamp_hf.MotionVQVAEModel.from_pretrained(tmp_path / "out" / "tokenizer").eval()
        assert torch.equal(tokenizer.encode(motion)[0], codes)

    processor = lamp_hf.LampProcessor.from_pretrained(tmp_path / "out")
    assert processor(text="w0 w1")["input_ids"].tolist() == [[2, 5, 6, 3]]
    assert processor.tokenizer.bos_token_id == model.config.decoder_start_token_id == 19
    assert processor.feature_extractor.mean is not None
    lamp_hf.LampQFormerModel.from_pretrained(tmp_path / "out")
    weights = official_lamp.state_dict().keys()
    assert report["used"].keys() | report["ignored"].keys() == weights | {"opt_qformer", "scheduler", "ep", "total_it"}
    assert set(report["ignored"]) - {"opt_qformer", "scheduler", "ep", "total_it"} == {
        "Qformer.bert.embeddings.position_ids",
        "Qformer.cls.predictions.bias",
    }


@pytest.fixture
def generator_file(official_lamp, tmp_path):
    official = shake(OfficialGenerator(official_lamp), 2)
    return official, save(tmp_path, "t2m.tar", "t2m_transformer", official.state_dict(), opt_t2m_transformer={})


def test_generator(generator_file, lamp_file, statistics, tmp_path):
    official, source = generator_file
    options = {"lamp": lamp_file, "head_size": HEAD_SIZE} | statistics
    report = import_checkpoint(source, tmp_path / "out", **options)
    model = lamp_hf.LampForTextToMotion.from_pretrained(tmp_path / "out").eval()

    (ids, mask), length = texts(), 5
    padded = [nn.functional.pad(values, (0, 49 - values.shape[1])) for values in (ids, mask)]
    codes = torch.randint(17, (3, length), generator=torch.Generator().manual_seed(3))  # 16 is the mask
    with torch.no_grad():
        theirs = official.condition(*padded)
        close(model.encode_text(ids, mask)[:, 0], theirs)
        token_mask = torch.ones(3, length, dtype=torch.bool)
        close(model(codes, token_mask, condition=theirs[:, None]).logits, official.logits(codes, theirs))
        nothing = torch.zeros_like(theirs)
        close(model(codes, token_mask, condition=nothing[:, None]).logits, official.logits(codes, nothing))
        lengths = model.choose_lengths(theirs[:, None], [None, 2, None], [torch.Generator()] * 3)
        assert lengths.tolist() == [5, 2, 5]
    assert (model.config.guidance_scale, model.config.top_k) == (4, 2)
    assert report["parts"]["lamp"]["source"]["file"] == "h3d-qformer.tar"
    assert "clip2qformer.weight" in report["ignored"] and "Qformer.cls.predictions.decoder.weight" in report["ignored"]


def test_generator_takes_the_tokenizer_it_is_given(generator_file, lamp_file, statistics, tmp_path):
    official = shake(OfficialTokenizer(width=4), 5)
    other = save(tmp_path, "vq.tar", "vq_model", official.official_state(), opt_vq_model={})
    options = {"lamp": lamp_file, "tokenizer": other, "head_size": HEAD_SIZE} | statistics
    import_checkpoint(generator_file[1], tmp_path / "out", **options)
    model = lamp_hf.LampForTextToMotion.from_pretrained(tmp_path / "out").eval()
    assert torch.equal(model.vqvae.encode(motions())[0], official.encode(motions())[..., 0])
    assert model.lamp.config.motion_config.width == 8


class Bomb:
    def __reduce__(self):
        return print, ("boom",)


def broken(change):
    """Return the content of a tokenizer's file with one thing wrong."""
    state = dict(shake(OfficialTokenizer()).official_state())
    values = {"net": state}
    change(values, state)
    return values


BROKEN = {
    "missing weight vqvae.decoder.model.3.0.model.1.conv1.bias": lambda v, s: s.pop(
        "vqvae.decoder.model.3.0.model.1.conv1.bias"
    ),
    "missing weight vqvae.encoder.model.4.weight": lambda v, s: s.pop("vqvae.encoder.model.4.weight"),
    "missing weight vqvae.encoder.model.0.weight": lambda v, s: s.pop("vqvae.encoder.model.0.weight"),
    "missing weight vqvae.quantizer.codebook": lambda v, s: s.pop("vqvae.quantizer.codebook"),
    "unexpected weight vqvae.norm.weight and 1 more": lambda v, s: s.update(
        {"vqvae.norm.weight": torch.ones(1), "vqvae.norm.bias": torch.ones(1)}
    ),
    "unknown entry notes": lambda v, s: v.update(notes=1),
    r"weight vqvae.decoder.model.2.2.weight makes \[8, 8, 5\] where \[8, 8, 3\] is needed": lambda v, s: s.update(
        {"vqvae.decoder.model.2.2.weight": torch.ones(8, 8, 5)}
    ),
    "weight vqvae.encoder.model.0.weight reads 260 features": lambda v, s: s.update(
        {"vqvae.encoder.model.0.weight": torch.ones(8, 260, 3)}
    ),
    "weight vqvae.quantizer.codebook is not a tensor of finite numbers": lambda v, s: s.update(
        {"vqvae.quantizer.codebook": torch.full((16, 6), torch.nan)}
    ),
    "not a known checkpoint; it has model": lambda v, s: v.update(model=v.pop("net")),
    "a captioner of LaMP or a transformer of T2M-GPT": lambda v, s: v.update(trans=v.pop("net")),
    "MoMask's residual transformer": lambda v, s: v.update(res_transformer={}) or v.pop("net"),
    r"transformer that reads CLIP features \(MoMask\)": lambda v, s: v.update(t2m_transformer={}) or v.pop("net"),
    "refused: reading it would run": lambda v, s: s.update(bomb=Bomb()),
}


@pytest.mark.parametrize("message", BROKEN)
def test_refuses(message, tmp_path, capsys):
    torch.save(broken(BROKEN[message]), tmp_path / "net_last.pth")
    with pytest.raises(ValueError, match=message) as error:
        import_checkpoint(tmp_path / "net_last.pth", tmp_path / "out")
    assert "\n" not in str(error.value) and "net_last.pth" in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["net_last.pth"]
    assert "boom" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04", pickle.dumps([Bomb()], 2)])
def test_refuses_what_is_no_checkpoint(content, tmp_path, capsys):
    (tmp_path / "file.tar").write_bytes(content)
    with pytest.raises(ValueError, match="refused") as error:
        import_checkpoint(tmp_path / "file.tar", tmp_path / "out")
    assert "\n" not in str(error.value) and "boom" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("temp"), "missing weight temp"),
        (
            lambda s: s.pop("Qformer.bert.encoder.layer.2.attention.self.query.bias"),
            "layer.2.attention.self.query.bias",
        ),
        (lambda s: s.pop("Qformer.bert.encoder.layer.2.crossattention.self.key.weight"), "layer.2.crossattention"),
        (lambda s: s.update(motion_pos=torch.ones(3)), "unexpected weight motion_pos"),
        (lambda s: s.update(motion_projection=torch.ones(12, 6)), r"motion_projection makes \[6, 12\]"),
        (lambda s: s.update({"text_proj.weight": torch.ones(3)}), r"text_proj.weight has the shape \[3\]"),
        (lambda s: s.update({"Qformer.cls.predictions.decoder.weight": torch.ones(20, 16)}), "to which it is tied"),
    ],
)
def test_refuses_another_qformer(official_lamp, change, message, tmp_path):
    state = dict(official_lamp.state_dict())
    change(state)
    source = save(tmp_path, "h3d-qformer.tar", "motion_qformer", state)
    with pytest.raises(ValueError, match=message):
        import_checkpoint(source, tmp_path / "out", head_size=HEAD_SIZE)


def test_refuses_wrong_arguments(lamp_file, generator_file, statistics, vocabulary, tmp_path):
    for message, source, options in (
        ("give both", lamp_file, {"mean": statistics["mean"]}),
        ("std: every value must be above zero", lamp_file, {"mean": statistics["mean"], "std": np.zeros(263)}),
        ("mean: 263 finite numbers", lamp_file, {"mean": np.zeros(251), "std": statistics["std"]}),
        ("whole number of attention heads of 64", lamp_file, {"head_size": 64}),
        ("unknown kind 'gan'", lamp_file, {"kind": "gan"}),
        ("no weights under the key net or vq_model", lamp_file, {"kind": "vqvae"}),
        ("mean and std", generator_file[1], {}),
        ("needs the Q-Former's file", generator_file[1], statistics),
        ("No such file", tmp_path / "none.tar", {}),
    ):
        with pytest.raises(ValueError, match=message):
            import_checkpoint(source, tmp_path / "out", **{"head_size": HEAD_SIZE} | options)
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="exists already"):
        import_checkpoint(lamp_file, tmp_path / "out")
    short = write_vocabulary(tmp_path / "short", WORDS[:-1])
    with pytest.raises(ValueError, match=r"19 words with \[DEC\], the checkpoint has 20"):
        import_checkpoint(lamp_file, tmp_path / "new", bert=short, head_size=HEAD_SIZE)


def test_command_line(tmp_path, capsys):
    source = save(tmp_path, "net_last.pth", "net", shake(OfficialTokenizer()).official_state())
    arguments = [str(source), "--output", str(tmp_path / "out")]
    main(arguments)
    assert json.loads(capsys.readouterr().out)["kind"] == "vqvae"
    with pytest.raises(SystemExit):
        main(arguments)
    assert capsys.readouterr().err == f"lamp-hf: {tmp_path / 'out'} exists already: name a new folder\n"
