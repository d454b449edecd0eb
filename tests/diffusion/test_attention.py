import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0

from diffpc.diffusion.attention import attended, processed_by, projected, projected_out


@pytest.fixture
def attention():
    torch.manual_seed(0)
    return Attention(query_dim=8, cross_attention_dim=6, heads=2, dim_head=4)


def test_the_parts_are_the_librarys_attention_bit_for_bit(attention):
    states, text = torch.randn(2, 5, 8), torch.randn(2, 3, 6)
    attention.processor = AttnProcessor2_0()
    mixed = attended(attention.to_q(states), projected(attention, text), attention.heads)
    assert torch.equal(projected_out(attention, mixed), attention(states, encoder_hidden_states=text))


def test_each_head_has_its_own_weights():
    """Two heads of width 1; both keys of the second head are equal, so that it takes the mean of the values."""
    query = torch.tensor([[[100.0, 1.0]]])
    keys = torch.tensor([[[1.0, 3.0], [-1.0, 3.0]]])
    values = torch.tensor([[[10.0, 20.0], [30.0, 40.0]]])
    assert attended(query, (keys, values), heads=2).flatten().tolist() == [10.0, 30.0]


def test_processors_are_restored_after_an_error_too(attention):
    before = attention.processor

    def other(*_):
        return torch.zeros(1)

    with pytest.raises(KeyError), processed_by({attention: other}):
        assert attention.processor is other
        raise KeyError
    assert attention.processor is before
