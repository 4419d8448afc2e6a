"""How training steps reach the device: one at a time, or many in a loop that runs there."""

import os
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Jitted:
    """A jitted function whose compilation can be made, and timed, before the first call.

    Attributes:
        run: the function.
        programs: what `run` calls, each from `jax.jit`.
    """

    run: Step
    programs: tuple[Any, ...]

    def __call__(self, *arguments: Any) -> Any:
        return self.run(*arguments)

    def compile(self, *arguments: Any) -> None:
        """Compiles for such arguments, and runs nothing; calls then find it in JAX's cache."""
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
            return jit_once(step, **options)
        case "loop":
            return jit_once(loop(step, next_step), **options)
        case "graph":
            return jit_graph(loop(step, next_step, pack), **options)
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


def jit_once(function: Step, **options: Any) -> Jitted:
    """`jax.jit`: one program."""
    jitted = jax.jit(function, **options)
    return Jitted(jitted, (jitted,))


def jit_graph(function: Step, **options: Any) -> Jitted:
    """`jax.jit`, with what the function does as one CUDA graph, from its second call on.

    The first call with arguments of some shapes launches each kernel, since cuDNN loads its kernels
    when they are first launched, which it can't while they are recorded. `XLA_FLAGS` that name the
    same option take precedence.
    """
    if next(iter(GRAPH_OPTIONS)) in os.environ.get("XLA_FLAGS", "") or not knows(GRAPH_OPTIONS):
        return jit_once(function, **options)
    launched, seen = jax.jit(function, **options), set[tuple[tuple[int, ...], ...]]()
    graph = jax.jit(function, compiler_options=GRAPH_OPTIONS, **options)

    def run(*arguments: Any) -> Any:
        shapes = tuple(map(jnp.shape, jax.tree.leaves(arguments)))
        ready = shapes in seen
        seen.add(shapes)
        return (graph if ready else launched)(*arguments)

    return Jitted(run, (launched, graph))


def knows(options: dict[str, str]) -> bool:
    """Whether the installed XLA has these options and values; older ones don't."""
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
