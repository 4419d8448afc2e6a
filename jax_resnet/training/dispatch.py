"""How training steps reach the device: one at a time, or many in a loop that runs there."""

import os
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, Literal, assert_never

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from typing_extensions import Doc

Dispatch = Annotated[
    Literal["step", "loop", "graph"],
    Doc(
        "One step (step: XLA for CPUs runs a convolution inside a loop several times slower); many "
        "in a loop (loop); or a loop that keeps all float32 arrays in one vector and becomes one "
        "CUDA graph (graph: the step of a small net is a few hundred kernels of microseconds)."
    ),
]
GPUS = ("gpu", "cuda")  # names of the platform, of a device and of a described one
Step = Callable[..., Any]  # `(state, totals, *others)` to the next state and totals
# XLA's own list, and the last two, without which a graph ends at every convolution.
GRAPH_OPTIONS = {
    "xla_gpu_enable_command_buffer": "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,"
    "DYNAMIC_SLICE_FUSION,CONVOLUTION,WHILE"
}


def dispatch_on(platform: str) -> Dispatch:
    """What is fast on a platform."""
    match platform:
        case "cpu":
            return "step"
        case _ if platform in GPUS:
            return "graph"
        case _:
            return "loop"


class Jitted:
    """A jitted function whose compilation can be made, and timed, before the first call.

    As a graph, what it does becomes one CUDA graph, from the second call with arguments of some
    shapes on. The first one launches each kernel, since cuDNN loads its kernels when they are first
    launched, which it can't while they are recorded. `XLA_FLAGS` that name the same option take
    precedence.
    """

    def __init__(self, function: Step, graph: bool = False, **options: Any) -> None:
        self.programs = [jax.jit(function, **options)]
        self._seen: set[tuple[tuple[int, ...], ...]] = set()
        given = os.environ.get("XLA_FLAGS", "")
        if graph and next(iter(GRAPH_OPTIONS)) not in given and knows(GRAPH_OPTIONS):
            self.programs.append(jax.jit(function, compiler_options=GRAPH_OPTIONS, **options))

    def __call__(self, *arguments: Any) -> Any:
        if len(self.programs) == 1:
            return self.programs[0](*arguments)
        shapes = tuple(map(jnp.shape, jax.tree.leaves(arguments)))
        launched, graph = self.programs
        program = graph if shapes in self._seen else launched
        self._seen.add(shapes)
        return program(*arguments)

    def compile(self, *arguments: Any) -> None:
        """Compiles for arguments like these, without a step; later calls use JAX's cache."""
        for program in self.programs:
            program.lower(*arguments).compile()


def jit_steps(
    step: Step, next_step: Callable[[Any], Any], dispatch: Dispatch, sharding: Any
) -> Jitted:
    """The steps of one dispatch, jitted; they donate the state.

    They are those of one run; or of several that are at the same step, if each array has a first
    axis along which the runs lie.

    Args:
        step: one step of one run.
        next_step: the step that a dispatch reaches from a step.
        dispatch: see `Dispatch`.
        sharding: of all results.
    """
    options: dict[str, Any] = {"donate_argnums": 0, "out_shardings": sharding}
    step = of_each_run(step)
    match dispatch:
        case "step":
            return Jitted(step, **options)
        case "loop":
            return Jitted(loop(step, next_step), **options)
        case "graph":
            return Jitted(loop(step, next_step, pack), graph=True, **options)
        case _:
            assert_never(dispatch)


def of_each_run(step: Step) -> Step:
    """`step`; or that of each run, where the arrays are those of several."""

    @wraps(step)
    def steps(state: Any, *others: Any) -> Any:
        return (jax.vmap(step) if state.step.ndim else step)(state, *others)

    return steps


def step_of(state: Any) -> jax.Array:
    """The step of a run, or of several, which is the same."""
    return state.step[0] if state.step.ndim else state.step


def unpacked(tree: Any) -> tuple[Any, Callable[[Any], Any]]:
    """The tree, and the identity: as `pack`, without packing."""
    return tree, lambda same: same


def loop(
    step: Step,
    next_step: Callable[[Any], Any],
    pack: Callable[[Any], tuple[Any, Callable[[Any], Any]]] = unpacked,
) -> Step:
    """Steps in a loop on the device, which carries state and totals packed."""

    def steps(state: Any, totals: Any, *others: Any) -> Any:
        stop = next_step(step_of(state))
        packed, unpack = pack((state, totals))
        done = jax.lax.while_loop(
            lambda carry: step_of(unpack(carry)[0]) < stop,
            lambda carry: pack(step(*unpack(carry), *others))[0],
            packed,
        )
        return unpack(done)

    return steps


def pack(tree: Any) -> tuple[tuple[jax.Array, list[Any]], Callable[[Any], Any]]:
    """A tree's float32 arrays as one vector, beside its other leaves; and what undoes that.

    An optimizer's update is then a few kernels, and not one or more for each parameter.
    """
    leaves, structure = jax.tree.flatten(tree)
    is_float = [leaf.dtype == jnp.float32 for leaf in leaves]
    vector, unravel = ravel_pytree([x for x, yes in zip(leaves, is_float, strict=True) if yes])

    def unpack(packed: tuple[jax.Array, list[Any]]) -> Any:
        floats, others = iter(unravel(packed[0])), iter(packed[1])
        return jax.tree.unflatten(structure, [next(floats if f else others) for f in is_float])

    return (vector, [x for x, yes in zip(leaves, is_float, strict=True) if not yes]), unpack


def knows(options: dict[str, str]) -> bool:
    """Whether the installed XLA has these options and values; older ones don't."""
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
