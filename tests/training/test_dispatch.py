"""How a program's steps are launched."""

import jax.numpy as jnp
import pytest

from jax_resnet.training.dispatch import Jitted


def test_what_is_to_be_a_graph_is_launched_first_with_each_shape():
    jitted = Jitted(lambda x: x + 1, graph=True)
    if len(jitted.programs) == 1:
        pytest.skip("this XLA has no such graphs")
    launched, graph = jitted.programs
    seen = []
    for shape in [(1,), (1,), (2,), (1,), (2,)]:
        before = launched._cache_size(), graph._cache_size()
        jitted(jnp.zeros(shape))
        seen.append((launched._cache_size() - before[0], graph._cache_size() - before[1]))
    assert seen == [(1, 0), (0, 1), (1, 0), (0, 0), (0, 1)], "a graph is recorded too early"
