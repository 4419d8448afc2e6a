"""The trees of several runs as one, whose arrays have a first axis along which the runs lie."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp


def stack(trees: Sequence[Any]) -> Any:
    """One tree; the tree itself where there is only one."""
    return _stack(trees) if len(trees) > 1 else trees[0]


def unstack(tree: Any, count: int) -> list[Any]:
    """The trees of `stack`."""
    return _unstack(tree, count) if count > 1 else [tree]


@jax.jit
def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@partial(jax.jit, static_argnames="count")
def _unstack(tree: Any, count: int) -> list[Any]:
    return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(count)]
