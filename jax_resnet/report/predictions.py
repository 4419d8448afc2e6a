"""What a classifier answers to a split's images, and whether it knows how sure it may be."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jax_resnet.classifier import Classifier
from jax_resnet.data.dataset import Split
from jax_resnet.predict import predict

BINS = 15  # of equal width, as Guo et al. (2017), "On Calibration of Modern Neural Networks"


class Bin(NamedTuple):
    """Answers of about the same confidence."""

    confidence: float  # mean, 0 to 1
    accuracy: float  # 0 to 1
    size: int  # answers


@dataclasses.dataclass(frozen=True)
class Answers:
    """Probabilities for each image and class, and the labels."""

    probabilities: Float[np.ndarray, "n classes"]
    labels: Int[np.ndarray, " n"]

    @classmethod
    def of(cls, classifier: Classifier, split: Split) -> "Answers":
        """Those of `classifier` to all images of `split`."""
        return cls(predict(classifier, split.images), split.labels)

    @property
    def classes(self) -> Int[np.ndarray, " n"]:
        """The likeliest class of each image."""
        return self.probabilities.argmax(-1)

    @property
    def confidences(self) -> Float[np.ndarray, " n"]:
        """The probability of each image's likeliest class."""
        return self.probabilities.max(-1)

    @property
    def is_right(self) -> np.ndarray:
        """bool (n,)."""
        return self.classes == self.labels

    def confusion(self) -> Int[np.ndarray, "classes classes"]:
        """How many images of each class (row) were taken for each class (column)."""
        size = self.probabilities.shape[1]
        counts = np.zeros((size, size), int)
        np.add.at(counts, (self.labels, self.classes), 1)
        return counts

    def class_accuracies(self) -> Float[np.ndarray, " classes"]:
        """Share of each class's images that was told; NaN for a class without images."""
        confusion = self.confusion()
        counts = confusion.sum(1)
        return np.divide(
            confusion.diagonal(), counts, out=np.full(len(counts), np.nan), where=counts > 0
        )

    def reliability(self, bins: int = BINS) -> list[Bin]:
        """Confidence and accuracy in bins of equal width, those without answers left out."""
        which = np.minimum((self.confidences * bins).astype(int), bins - 1)
        found = []
        for i in np.unique(which):
            inside = which == i
            confidence, accuracy = self.confidences[inside].mean(), self.is_right[inside].mean()
            found.append(Bin(float(confidence), float(accuracy), int(inside.sum())))
        return found

    def calibration_error(self, bins: int = BINS) -> float:
        """Expected calibration error: mean over the answers of |accuracy - confidence|, by bin
        (Guo et al., 2017, equation 5)."""
        each = self.reliability(bins)
        return sum(b.size * abs(b.accuracy - b.confidence) for b in each) / len(self.labels)

    def mistakes(self, most: int) -> Int[np.ndarray, " k"]:
        """Images that got a wrong answer, the most confident first."""
        order = np.argsort(-self.confidences, kind="stable")
        return order[~self.is_right[order]][:most]
