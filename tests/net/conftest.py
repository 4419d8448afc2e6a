"""A classifier and images for it."""

import numpy as np
import pytest
from small_net import small_classifier


@pytest.fixture(params=[(3,), (8, 8, 3)], ids=["by channel", "by pixel"])
def classifier(request):
    return small_classifier(request.param)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
