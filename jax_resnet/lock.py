"""One process at a time in a run's folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jax_resnet.errors import UserError

try:
    import fcntl
except ImportError:  # Windows has none; there, nothing is locked
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Holds `folder/lock`; the system lets go of it when the process ends, however it ends.

    Args:
        folder: must be there.
        wait: for whoever holds it, another thread perhaps; by default that is an error.

    Raises:
        UserError: if another process holds it, or it can't be written.
    """
    try:
        file = (folder / "lock").open("a")
    except OSError as error:
        raise UserError(f"{folder} can't be written: {error}") from error
    with file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise UserError(
                    f"{folder} is in use by another process: wait for it, or give this run "
                    "a --name of its own"
                ) from None
            except OSError:
                pass  # a network folder that knows no locks
        yield
