"""CIFAR-10 and CIFAR-100 (https://www.cs.toronto.edu/~kriz/cifar.html): what they consist of."""

import dataclasses
import posixpath

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


@dataclasses.dataclass(frozen=True)
class Layout:
    """What a data set and its original, the "binary version", consist of."""

    name: str  # also in TFDS
    num_classes: int  # all of them have equally many images
    class_names: tuple[str, ...] | None  # where they are known beforehand
    fingerprints: dict[str, str] | None  # of each split, where they are known beforehand
    url: str  # of the authors' archive
    size: int  # of that archive, in bytes; this and `sha256` are as registered in TFDS
    sha256: str
    folder: str  # what the archive holds, and unpacks to
    pickled: tuple[str, str]  # folder and archive of the Python version, which is never opened
    files: dict[str, tuple[str, ...]]  # of each split, in order
    label_files: dict[str, str]  # each label's TFDS key and file of names; the class is the last
    counts: dict[str, int]  # images of each split

    @property
    def archive(self) -> str:
        """The archive's file name."""
        return posixpath.basename(self.url)


_CIFAR10 = Layout(
    name="cifar10",
    num_classes=10,
    class_names=CIFAR10_CLASSES,
    fingerprints={
        "train": "3b42cd734d79cf22b17acd86b0875a49",
        "test": "01a220f3431e101ef608853e9d5d0a48",
    },
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    size=170_052_171,
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    folder="cifar-10-batches-bin",
    pickled=("cifar-10-batches-py", "cifar-10-python.tar.gz"),
    files={
        "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        "test": ("test_batch.bin",),
    },
    label_files={"label": "batches.meta.txt"},
    counts={"train": 50_000, "test": 10_000},
)
_CIFAR100 = Layout(
    name="cifar100",
    num_classes=100,
    class_names=None,
    fingerprints=None,
    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    size=168_513_733,
    sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    folder="cifar-100-binary",
    pickled=("cifar-100-python", "cifar-100-python.tar.gz"),
    files={"train": ("train.bin",), "test": ("test.bin",)},
    label_files={"coarse_label": "coarse_label_names.txt", "label": "fine_label_names.txt"},
    counts={"train": 50_000, "test": 10_000},
)
LAYOUTS = {layout.name: layout for layout in (_CIFAR10, _CIFAR100)}
