"""The modules by their definition: extremes against a sort, heads against hand formulas, what is never selected."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chowder.models.networks import ChowderEnsemble, WeldonEnsemble, extremes

torch.set_num_threads(1)


def by_sorting(values, r):
    """R highest, highest first, then R lowest, lowest first, the last repeated when there are fewer."""
    ascending = np.sort(values)
    n = len(ascending)
    return [ascending[max(n - 1 - i, 0)] for i in range(r)] + [ascending[min(i, n - 1)] for i in range(r)]


COUNTS = [[1, 2, 4, 9, 10, 11, 57], [101, 101, 101], [3], [1, 250, 999]]


@pytest.mark.parametrize("decimals", [9, 1])  # 1: many equal values
@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("r", [1, 2, 5, 30])
def test_extremes_are_those_of_a_sort_slide_by_slide(r, counts, decimals):
    scores = torch.randn((3, sum(counts)), generator=torch.Generator().manual_seed(1)).round(decimals=decimals)
    starts = np.cumsum(counts) - counts
    found = extremes(scores, torch.tensor(starts), torch.tensor(counts), r)
    assert found.shape == (3, len(counts), 2 * r)
    for row in range(3):
        for slide, (start, count) in enumerate(zip(starts, counts, strict=True)):
            columns = found[row, slide].numpy()
            assert ((columns >= start) & (columns < start + count)).all()
            wanted = by_sorting(scores[row, start : start + count].numpy(), r)
            np.testing.assert_array_equal(scores[row, columns].numpy(), wanted)
            assert all(len(set(part[:count])) == min(r, count) for part in (columns[:r], columns[r:]))  # none twice


def test_padding_is_never_selected_even_beside_extreme_values():
    # A slide of one tile beside a long one: zero padding would win among negative values, and lose among positive.
    for sign in (-1.0, 1.0):
        scores = sign * torch.arange(1.0, 12.0)[None]
        found = extremes(scores, torch.tensor([0, 1]), torch.tensor([1, 10]), 3)
        assert (found[0, 0] == 0).all()
        assert set(found[0, 1].tolist()) == {1, 2, 3, 8, 9, 10}


def test_weldon_is_the_sum_of_the_extremes():
    model = WeldonEnsemble(2, members=2, r=2)
    with torch.no_grad():
        model.weight[:] = torch.tensor([[[1.0, 0.0]], [[0.0, -1.0]]])
    x = torch.tensor([[5.0, 1.0], [1.0, 2.0], [2.0, 3.0], [9.0, 4.0], [3.0, 50.0]])
    # member 1: 9 + 5 + 1 + 2; member 2: -1 - 2 - 50 - 4
    np.testing.assert_allclose(model(x).detach(), [17.0, -57.0])


def test_chowder_is_the_mlp_of_the_sorted_extremes():
    rng = np.random.default_rng(3)
    model = ChowderEnsemble(4, members=2, r=3, hidden=(5, 3), bias=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter[:] = torch.from_numpy(rng.normal(size=parameter.shape))
    x = rng.normal(size=(12, 4)).astype(np.float32)

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    got = model(torch.from_numpy(x)).detach().numpy()
    for m in range(2):
        (w, b), p = (model.weight, model.offset), [t.detach().numpy()[m] for t in (*model.layers, *model.biases)]
        h = np.array(by_sorting(x @ w[m, 0].detach().numpy() + b[m, 0].item(), 3))
        h = sigmoid(h @ p[0] + p[3][0])
        h = sigmoid(h @ p[1] + p[4][0])
        np.testing.assert_allclose(got[m], (h @ p[2] + p[5][0])[0], rtol=1e-5)


def test_dropout_acts_on_hidden_units_and_never_on_the_logit():
    model = ChowderEnsemble(3, members=2, r=1, hidden=(4, 3))
    model.initialise((1,))
    with torch.no_grad():
        model.biases[-1][:] = 7.0
    assert model.dropped_units == 7
    x = torch.randn((6, 3), generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(model(x, torch.ones(2, 1, 7)).detach(), model(x).detach())
    # With every hidden unit silent the logit is its bias: the logit itself was not dropped.
    np.testing.assert_allclose(model(x, torch.zeros(2, 1, 7)).detach(), [7.0, 7.0])
    only_last_layer = torch.cat([torch.ones(2, 1, 4), torch.zeros(2, 1, 3)], dim=2)
    np.testing.assert_allclose(model(x, only_last_layer).detach(), [7.0, 7.0])
    assert WeldonEnsemble(3, members=1, r=1).dropped_units == 0


def test_members_start_differently_and_do_not_depend_on_how_many_there_are():
    few, many = ChowderEnsemble(8, 2, 3), ChowderEnsemble(8, 5, 3)
    few.initialise((1, "d"))
    many.initialise((1, "d"))
    for a, b in zip(few.parameters(), many.parameters(), strict=True):
        assert torch.equal(a, b[:2])
    assert not torch.equal(few.weight[0], few.weight[1])
    limit = (6 / (1 + 8)) ** 0.5
    assert 0.5 * limit < float(many.weight.detach().abs().max()) <= limit
    assert all(float(bias.detach().abs().max()) == 0 for bias in many.biases)


def test_the_penalty_is_the_sum_of_squares_of_the_embedding_only():
    model = ChowderEnsemble(2, members=2, r=1, embeddings=2, bias=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(3.0)
        model.weight[1] = 1.0
    np.testing.assert_allclose(model.penalty().detach(), [36.0, 4.0])
