"""The contrastive loss and its ways with false negatives."""

from types import SimpleNamespace

import pytest
import torch
from conftest import free_port
from torch import nn

from lamp_hf.models.configuration_lamp_qformer import LampQFormerQuirks
from lamp_hf.models.contrastive import contrastive_loss, contrastive_targets, cosines, similarity
from lamp_hf.models.modeling_lamp_qformer_pretraining import qformer_contrastive_loss
from lamp_hf.models.modeling_lavimo import LavimoModel


def unit(*shape):
    return nn.functional.normalize(torch.randn(*shape), dim=-1)


@pytest.fixture
def captions():
    """Unit vectors of six captions; 1 and 2 are alike (cosine 0.8), 3 and 4 nearly the same (0.99)."""
    angle = torch.tensor([0.0, 1.5, 1.5 + 0.6435, 3.5, 3.5 + 0.1415, 5.0])
    return torch.stack([angle.cos(), angle.sin()], 1)


def test_without_ids_and_alike_captions_it_is_infonce():
    torch.manual_seed(0)
    logits = 10 * unit(6, 8) @ unit(6, 8).T
    loss = contrastive_loss(logits, *contrastive_targets(logits))
    torch.testing.assert_close(loss, nn.functional.cross_entropy(logits, torch.arange(6)))


def test_smoothing_is_pytorchs():
    torch.manual_seed(0)
    logits = 10 * unit(6, 8) @ unit(6, 8).T
    expected = nn.functional.cross_entropy(logits, torch.arange(6), label_smoothing=0.1)
    torch.testing.assert_close(contrastive_loss(logits, *contrastive_targets(logits), label_smoothing=0.1), expected)


def test_clips_and_captions_that_are_the_same_do_not_repel():
    torch.manual_seed(0)
    text, motion = unit(4, 16).requires_grad_(), unit(4, 16)
    ids = [torch.tensor([0, 1, 2, 3]), torch.tensor([5, 6, 7, 5])]

    def gradient(motion):
        loss = contrastive_loss(text @ motion.T, *contrastive_targets(text, ids))
        return torch.autograd.grad(loss, text)[0]

    other = motion.clone()
    other[3] = unit(16)  # has text 0's caption
    torch.testing.assert_close(gradient(motion)[0], gradient(other)[0])
    assert not torch.allclose(gradient(motion)[1], gradient(other)[1])


def test_filter_leaves_alike_captions_out_as_tmr(captions):
    torch.manual_seed(0)
    logits = unit(6, 8) @ unit(6, 8).T
    cosine = captions @ captions.T
    expected = logits.masked_fill((cosine > 0.6) & ~torch.eye(6, dtype=torch.bool), -torch.inf)
    expected = nn.functional.cross_entropy(expected, torch.arange(6))
    targets = contrastive_targets(logits, None, captions, "filter", 0.6)
    torch.testing.assert_close(contrastive_loss(logits, *targets), expected)


def test_soft_wants_alike_captions_in_proportion_as_lavimo(captions):
    targets, left_out = contrastive_targets(captions, None, captions, "soft", 0.6)
    assert not left_out.any()
    torch.testing.assert_close(targets.sum(1), torch.ones(6))
    assert targets[1].tolist() == pytest.approx([0, 1 / 1.8, 0.8 / 1.8, 0, 0, 0], abs=1e-3)
    half, _ = contrastive_targets(captions, None, captions, "soft", 0.6, soft_weight=0.5)
    torch.testing.assert_close(half, (targets + torch.eye(6)) / 2)


def test_soft_leaves_out_another_caption_of_the_same_clip_that_reads_unlike(captions):
    clips = [torch.tensor([0, 1, 2, 3, 4, 0])]  # the first and the last caption, of cosine 0.28
    targets, left_out = contrastive_targets(captions, clips, captions, "soft")
    assert left_out.nonzero().tolist() == [[0, 5], [5, 0]] and not targets[left_out].any()


def test_soft_of_unlike_captions_is_infonce_and_of_equal_ones_finite():
    logits = (5 * unit(4, 8) @ unit(4, 8).T).requires_grad_()
    targets, left_out = contrastive_targets(logits, None, torch.eye(4), "soft", 0.6)
    torch.testing.assert_close(targets, torch.eye(4))
    targets, left_out = contrastive_targets(logits, None, unit(1, 8).expand(4, -1), "soft", 0.6)
    loss = contrastive_loss(logits, targets, left_out)
    assert torch.autograd.grad(loss, logits)[0].isfinite().all()


def test_soft_targets_of_each_row_sum_to_one_where_rows_have_more_or_fewer_like_captions():
    angle = torch.tensor([0.0, 0.8, 1.6])  # the middle caption is like both others, which are unlike
    captions = torch.stack([angle.cos(), angle.sin()], 1)
    targets, _ = contrastive_targets(captions, None, captions, "soft")
    near = torch.cos(torch.tensor(0.8)).item()
    expected = [[1, near, 0], [near, 1, near], [0, near, 1]]
    for row, wanted in zip(targets.tolist(), expected):
        assert row == pytest.approx([value / sum(wanted) for value in wanted], abs=1e-5)


def test_captions_are_alike_from_a_cosine_of_six_tenths_by_default():
    angle = torch.tensor([0.0, 0.92, -0.94])  # cosines to the first of 0.606 and 0.590
    captions = torch.stack([angle.cos(), angle.sin()], 1)
    for way in ("filter", "soft"):
        targets, excluded = contrastive_targets(captions, None, captions, way)
        assert (targets[0] > 0).tolist() == [True, way == "soft", False]
        assert excluded[0].tolist() == [False, way == "filter", False]


@pytest.mark.parametrize("way", ["none", "filter", "soft"])
def test_no_row_is_compared_with_a_filler_and_a_filler_has_no_loss(captions, way):
    torch.manual_seed(0)
    present = torch.tensor([True, True, False, True, True, True])
    logits = 10 * unit(6, 8) @ unit(6, 8).T
    targets, excluded = contrastive_targets(logits, None, captions, way, present=present)
    assert excluded[:, 2].tolist() == [True, True, False, True, True, True]  # its own pair stays
    assert not targets[present][:, 2].any()
    loss = contrastive_loss(logits, targets, excluded, present=present)
    rows = present.nonzero()[:, 0]
    fewer = logits[rows][:, rows]
    torch.testing.assert_close(loss, contrastive_loss(fewer, *contrastive_targets(fewer, None, captions[rows], way)))
    assert contrastive_loss(logits, targets, excluded, present=torch.zeros(6, dtype=torch.bool)) == 0


def test_smoothing_is_spread_over_the_pairs_of_each_row_that_are_compared():
    logits = torch.zeros(3, 3)
    targets, excluded = contrastive_targets(logits, [torch.tensor([0, 0, 1])])
    logits = torch.tensor([[2.0, 9.0, 0.0], [9.0, 2.0, 0.0], [1.0, 1.0, 2.0]])
    rows = [torch.tensor(row).log_softmax(0) for row in ([2.0, 0.0], [2.0, 0.0], [2.0, 1.0, 1.0])]
    expected = torch.stack([-(0.7 * row[0] + 0.3 * row.mean()) for row in rows]).mean()
    torch.testing.assert_close(contrastive_loss(logits, targets, excluded, label_smoothing=0.3), expected)


def test_similarity_is_that_of_plain_loops():
    torch.manual_seed(0)
    text, motion = unit(2, 5), unit(3, 4, 5)
    best = [[max(float(row @ query) for query in queries) for queries in motion] for row in text]
    means = [queries.mean(0) / queries.mean(0).norm() for queries in motion]
    mean = [[float(row @ vector) for vector in means] for row in text]
    distance = [[-float((row - queries.mean(0)).norm()) for queries in motion] for row in text]
    for scoring, expected in {"max": best, "mean": mean, "euclidean": distance}.items():
        torch.testing.assert_close(similarity(text, motion, scoring), torch.tensor(expected))
    assert torch.equal(similarity(text, motion), similarity(text, motion, "max"))


def test_bad_ways_are_refused():
    with pytest.raises(ValueError, match="unknown false_negatives 'hard'; known: none, filter, soft"):
        contrastive_targets(torch.eye(2), None, torch.eye(2), "hard")
    with pytest.raises(ValueError, match="needs sentence_embeds"):
        contrastive_targets(torch.eye(2), false_negatives="soft")


def rows_of_eight():
    torch.manual_seed(0)
    captions = unit(4, 3)[[0, 0, 1, 2, 3, 1, 0, 2]]
    return unit(8, 5), unit(8, 5), torch.arange(8) // 2, captions


def symmetric_loss(text, motion, ids, captions, way):
    """LaMP's own, of two queries a motion, and LAVIMO's, of pairs of which one is missing."""
    lamp = SimpleNamespace(
        temperature=torch.tensor(9.0),
        config=SimpleNamespace(
            released_quirks=LampQFormerQuirks(), false_negatives=way, false_negative_threshold=0.6, soft_weight=0.7,
            contrastive_scoring="both", label_smoothing=0.1,
        ),
    )  # fmt: skip
    queries = nn.functional.normalize(torch.stack([motion, motion.flip(-1)], 1), dim=-1)
    loss = qformer_contrastive_loss(lamp, text, queries, [ids], captions)
    target = {"none": "identity"}.get(way, way)
    lavimo = SimpleNamespace(
        temperature=torch.tensor(7.4), config=SimpleNamespace(target_threshold=0.6, soft_weight=0.7)
    )
    present = ids != 3  # both rows of one process's last clip
    return loss + LavimoModel._align(lavimo, text, motion, present, [ids], captions, target)


def process(rank: int, port: int, way: str, expected: tuple):
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    mine = slice(4 * rank, 4 * rank + 4)
    text, motion, ids, captions = rows_of_eight()
    text, motion = text[mine].requires_grad_(), motion[mine].requires_grad_()
    loss = symmetric_loss(text, motion, ids[mine], captions[mine], way)
    gradients = torch.autograd.grad(loss / 2, (text, motion))  # training averages over the two
    for ours, theirs in zip(gradients, expected):
        torch.testing.assert_close(ours, theirs[mine])
    if rank == 0:
        with torch.no_grad():  # the first evaluates alone, and waits for nobody
            assert symmetric_loss(text, motion, ids[mine], captions[mine], way).isfinite()
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["none", "filter", "soft"])
def test_two_processes_get_the_gradients_of_one(way):
    text, motion, ids, captions = rows_of_eight()
    inputs = text.requires_grad_(), motion.requires_grad_()
    expected = torch.autograd.grad(symmetric_loss(*inputs, ids, captions, way), inputs)
    torch.multiprocessing.spawn(process, (free_port(), way, expected), nprocs=2)


def test_cosines_keep_single_precision_under_autocast():
    left, right = unit(4, 64), unit(4, 64)
    with torch.autocast("cpu", torch.bfloat16):
        assert (left @ right.T).dtype == torch.bfloat16
        made = cosines(left, right)
    torch.testing.assert_close(made, left @ right.T)
