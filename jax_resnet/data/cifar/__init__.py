"""CIFAR-10 and CIFAR-100 (https://www.cs.toronto.edu/~kriz/cifar.html): what they consist of."""

import dataclasses
import posixpath

from jax_resnet.data.cifar.names import CIFAR10_CLASSES, COARSE_NAMES, FINE_NAMES


@dataclasses.dataclass(frozen=True)
class Parquet:
    """A file of Hugging Face's copy, which holds one split."""

    url: str
    size: int  # in bytes
    sha256: str

    @property
    def name(self) -> str:
        """The file's name."""
        return posixpath.basename(self.url)


@dataclasses.dataclass(frozen=True)
class Layout:
    """What a data set and its original, the "binary version", consist of; and its other forms."""

    name: str  # also in TFDS
    names: dict[str, tuple[str, ...]]  # of each kind of label, by TFDS's key; the class is the last
    fingerprints: dict[str, str] | None  # of each split, where they are known beforehand
    url: str  # of the authors' archive
    size: int  # of that archive, in bytes; this and `sha256` are as registered in TFDS
    sha256: str
    folder: str  # what the archive holds, and unpacks to
    files: dict[str, tuple[str, ...]]  # of each split, in order
    counts: dict[str, int]  # images of each split
    pickled: tuple[str, str]  # folder and archive of the Python version
    pickled_sha256: str | None  # of that archive; None where `fingerprints` say more
    pickled_files: dict[str, tuple[str, ...]]  # of each split, in order
    pickled_labels: tuple[bytes, ...]  # the key of each kind of label
    parquet: dict[str, Parquet]  # of each split
    hub: str  # folder of these files in the cache of Hugging Face's hub; * is the revision
    columns: tuple[str, ...]  # of each kind of label

    @property
    def archive(self) -> str:
        """The archive's file name."""
        return posixpath.basename(self.url)


_CIFAR10_PARQUET = (
    "https://huggingface.co/datasets/uoft-cs/cifar10/resolve/"
    "0b2714987fa478483af9968de7c934580d0bb9a2/plain_text"
)
_CIFAR100_PARQUET = (
    "https://huggingface.co/datasets/uoft-cs/cifar100/resolve/"
    "aadb3af77e9048adbea6b47c21a81e47dd092ae5/cifar100"
)
_CIFAR10 = Layout(
    name="cifar10",
    names={"label": CIFAR10_CLASSES},
    fingerprints={
        "train": "3b42cd734d79cf22b17acd86b0875a49",
        "test": "01a220f3431e101ef608853e9d5d0a48",
    },
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    size=170_052_171,
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    folder="cifar-10-batches-bin",
    files={
        "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        "test": ("test_batch.bin",),
    },
    counts={"train": 50_000, "test": 10_000},
    pickled=("cifar-10-batches-py", "cifar-10-python.tar.gz"),
    pickled_sha256=None,
    pickled_files={
        "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
        "test": ("test_batch",),
    },
    pickled_labels=(b"labels",),
    parquet={
        "train": Parquet(
            f"{_CIFAR10_PARQUET}/train-00000-of-00001.parquet",
            119_705_255,
            "8428b53a88a11ac374111006708df51469e315a22ac6d66470afd9c78d2ae883",
        ),
        "test": Parquet(
            f"{_CIFAR10_PARQUET}/test-00000-of-00001.parquet",
            23_940_850,
            "841389e6f2d64f28bf17310e430aebac20ec3ba611a3c5e231dc93c645ce84de",
        ),
    },
    hub="datasets--uoft-cs--cifar10/snapshots/*/plain_text",
    columns=("label",),
)
_CIFAR100 = Layout(
    name="cifar100",
    names={"coarse_label": COARSE_NAMES, "label": FINE_NAMES},
    fingerprints=None,
    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    size=168_513_733,
    sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    folder="cifar-100-binary",
    files={"train": ("train.bin",), "test": ("test.bin",)},
    counts={"train": 50_000, "test": 10_000},
    pickled=("cifar-100-python", "cifar-100-python.tar.gz"),
    pickled_sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    pickled_files={"train": ("train",), "test": ("test",)},
    pickled_labels=(b"coarse_labels", b"fine_labels"),
    parquet={
        "train": Parquet(
            f"{_CIFAR100_PARQUET}/train-00000-of-00001.parquet",
            118_518_617,
            "694865d6b990e234804f01268586c41e88bcbbb75e20858432c05ad4081aca23",
        ),
        "test": Parquet(
            f"{_CIFAR100_PARQUET}/test-00000-of-00001.parquet",
            23_772_751,
            "98776c529bb146a9c791229df74a5cf076be9b43d82dbbd334b6a7788d73dc68",
        ),
    },
    hub="datasets--uoft-cs--cifar100/snapshots/*/cifar100",
    columns=("coarse_label", "fine_label"),
)
LAYOUTS = {layout.name: layout for layout in (_CIFAR10, _CIFAR100)}
