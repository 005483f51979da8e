"""Layers that take oneDNN on AMD's processors: the same results as PyTorch's, by the same parameters."""

import pytest
import torch
from torch import nn

from lamp_hf.models import onednn_layers
from lamp_hf.models.onednn_layers import Linear, TransformerEncoderLayer, _mkl_is_slow


@pytest.fixture(autouse=True)
def on_any_processor(monkeypatch):
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this PyTorch has no oneDNN")
    monkeypatch.setattr(onednn_layers, "_mkl_is_slow", lambda: True)


@pytest.fixture
def products(monkeypatch) -> list:
    """Every product that goes to oneDNN."""
    seen, by_onednn = [], onednn_layers._linear
    monkeypatch.setattr(onednn_layers, "_linear", lambda *values: seen.append(values) or by_onednn(*values))
    return seen


@pytest.mark.parametrize(
    ("capabilities", "slow"), [({"cpu_name": "AMD EPYC"}, True), ({"cpu_name": "Intel Xeon"}, False), ({}, False)]
)
def test_mkl_is_slow_on_amds_processors_alone(capabilities, slow, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    assert _mkl_is_slow.__wrapped__() == slow


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4), (0, 4)])
def test_a_linear_layer_gives_what_pytorchs_gives(shape, bias, products):
    layer, values = Linear(4, 5, bias=bias), torch.randn(shape)
    with torch.no_grad():
        made = layer(values)
    assert len(products) == 1
    torch.testing.assert_close(made, nn.functional.linear(values, layer.weight, layer.bias))


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("kind", ["none", "padding", "padding in numbers", "causal", "soft", "causal and padding"])
def test_a_transformer_gives_what_pytorchs_gives_under_every_mask(kind, norm_first, products):
    layer = TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True, norm_first=norm_first)
    transformer = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    values, past = torch.randn(3, 5, 8), torch.ones(5, 5, dtype=torch.bool).tril()
    padding = torch.arange(5) >= torch.tensor([[5], [3], [1]])
    options = {
        "none": {},
        "padding": {"src_key_padding_mask": padding},
        "padding in numbers": {"src_key_padding_mask": torch.zeros(3, 5).masked_fill(padding, -torch.inf)},
        "causal": {"mask": ~past},
        "soft": {"mask": past.float()},
        "causal and padding": {"mask": ~past, "src_key_padding_mask": padding},
    }[kind]
    wanted = transformer(values, **options).detach()  # with gradients, which oneDNN does not give
    assert not products
    with torch.no_grad():
        made = transformer(values, **options)
    assert len(products) == 8
    torch.testing.assert_close(made, wanted)


@pytest.mark.parametrize("why", ["gradients", "half precision", "autocast", "training", "no fast path", "hook"])
def test_what_onednn_does_not_do_or_does_anyway_is_left_to_pytorch(why, products, monkeypatch):
    layer = TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True).train(why == "training")
    values = torch.randn(2, 3, 8)
    if why == "half precision":
        layer, values = layer.bfloat16(), values.bfloat16()
    if why == "hook":
        layer.linear1.register_forward_hook(lambda *_: None)
    if why == "no fast path":
        monkeypatch.setattr(torch.backends.mha, "get_fastpath_enabled", lambda: False)
    with torch.set_grad_enabled(why == "gradients"), torch.autocast("cpu", torch.bfloat16, enabled=why == "autocast"):
        made = layer(values)
    assert not products
    assert made.requires_grad == (why == "gradients")
