import torch
from torch.nn.functional import scaled_dot_product_attention

from diffpc.bench.device import describe, flops, matrix_rate, seconds

CPU = torch.device("cpu")


def test_flops_of_a_linear_layer():
    """7 rows through 3 x 5 weights: 2 * 7 * 3 * 5 forward, as many for the weights' and the input's gradient."""
    layer, rows = torch.nn.Linear(3, 5), torch.randn(7, 3)
    assert flops(lambda: layer(rows)) == 210
    assert flops(lambda: layer(rows).sum().backward()) == 420
    assert flops(lambda: layer(rows.requires_grad_()).sum().backward()) == 630


def test_flops_of_a_convolution():
    """A 3 x 3 kernel from 2 to 4 channels at each of 5 x 5 places."""
    assert flops(lambda: torch.nn.Conv2d(2, 4, 3, padding=1)(torch.randn(1, 2, 5, 5))) == 2 * 25 * 9 * 2 * 4


def test_flops_of_attention_on_the_cpu():
    """6 queries and 10 keys of width 8: two products forward; in the backward pass, five with the scores anew."""
    query, key, value = (torch.randn(1, 1, length, 8, requires_grad=True) for length in (6, 10, 10))
    product = 2 * 6 * 10 * 8
    assert flops(lambda: scaled_dot_product_attention(query, key, value)) == 2 * product
    assert flops(lambda: scaled_dot_product_attention(query, key, value).sum().backward()) == 7 * product


def test_the_machine_is_described():
    machine = describe(CPU)
    assert machine.threads == torch.get_num_threads()
    assert machine.versions["torch"] == torch.__version__


def test_the_matrix_rate_counts_the_work_that_was_timed():
    done = []
    assert seconds(lambda: done.append(1), CPU) > 0
    assert done == [1]
    assert matrix_rate(CPU, torch.float32, side=64, products=2) > 0
