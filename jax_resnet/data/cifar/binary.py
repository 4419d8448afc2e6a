"""The records of the original "binary version" of CIFAR-10 and CIFAR-100.

A file is a run of records: one byte for each label, then 3,072 of pixels, channel by channel.
"""

from pathlib import Path

import numpy as np

from jax_resnet.data.cifar import Layout
from jax_resnet.data.cifar.original import Original, channels_last
from jax_resnet.errors import UserError


def read_binary(layout: Layout, contents: dict[str, bytes], path: Path) -> Original:
    """The data set in the contents of its files; `path` is what messages name.

    Raises:
        UserError: for files that are too short or too long.
    """
    images, labels, kinds = {}, {}, len(layout.names)
    for split, files in layout.files.items():
        data = np.frombuffer(b"".join(contents[file] for file in files), np.uint8)
        shape = (layout.counts[split], kinds + 3 * 32 * 32)
        if len(data) != shape[0] * shape[1]:
            raise UserError(
                f"{path} is truncated or altered: {', '.join(files)} should have "
                f"{shape[0] * shape[1]} bytes, but {len(data)} are there"
            )
        records = data.reshape(shape)
        labels[split] = records[:, :kinds]
        images[split] = channels_last(records[:, kinds:])
    return Original(images, labels)
