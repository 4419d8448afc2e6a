"""The recordings of `tests/parity` are what PyTorch computes."""

import numpy as np
import pytest
from parity.cases import CASES, FILE


@pytest.mark.parametrize("case", [case for case in CASES if case.depth == 8], ids=str)
def test_a_recording_is_made_again(case):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from parity.record import record

    with np.load(FILE) as kept:
        for name, array in record(case).items():
            largest = np.abs(array).max(-1, keepdims=True)
            np.testing.assert_array_less(np.abs(array - kept[f"{case}/{name}"]) / largest, 1e-11)
