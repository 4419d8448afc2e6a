"""What a classifier predicts for a split, and how well its confidences are calibrated."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jax_resnet.classifier import Classifier
from jax_resnet.data import Split
from jax_resnet.predict import predict

BINS = 15  # of equal width, as in Guo et al. (2017), "On Calibration of Modern Neural Networks"


class Bin(NamedTuple):
    """Predictions of similar confidence.

    Attributes:
        confidence: the mean, in [0, 1].
        accuracy: in [0, 1].
        size: number of predictions.
    """

    confidence: float
    accuracy: float
    size: int


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Class probabilities of a split's images.

    Attributes:
        probabilities: float32, each row sums to 1.
        labels: int32, the true class of each image.
    """

    probabilities: Float[np.ndarray, "n classes"]
    labels: Int[np.ndarray, " n"]

    @classmethod
    def of(cls, classifier: Classifier, split: Split) -> "Predictions":
        """The predictions of `classifier` for all images of `split`."""
        return cls(predict(classifier, split.images), split.labels)

    @property
    def classes(self) -> Int[np.ndarray, " n"]:
        """The predicted class of each image, the one with the highest probability."""
        return self.probabilities.argmax(-1)

    @property
    def confidences(self) -> Float[np.ndarray, " n"]:
        """The probability of each image's predicted class."""
        return self.probabilities.max(-1)

    @property
    def correct(self) -> Bool[np.ndarray, " n"]:
        """Whether each prediction is correct."""
        return self.classes == self.labels

    def confusion_matrix(self) -> Int[np.ndarray, "classes classes"]:
        """Number of images by true class (row) and predicted class (column)."""
        size = self.probabilities.shape[1]
        counts = np.zeros((size, size), int)
        np.add.at(counts, (self.labels, self.classes), 1)
        return counts

    def class_accuracies(self) -> Float[np.ndarray, " classes"]:
        """Accuracy on the images of each class; NaN for a class without images."""
        confusion = self.confusion_matrix()
        counts = confusion.sum(1)
        return np.divide(
            confusion.diagonal(), counts, out=np.full(len(counts), np.nan), where=counts > 0
        )

    def reliability(self, bins: int = BINS) -> list[Bin]:
        """Confidence and accuracy in `bins` bins of equal width; empty bins are left out."""
        which = np.minimum((self.confidences * bins).astype(int), bins - 1)
        found = []
        for i in np.unique(which):
            inside = which == i
            confidence, accuracy = self.confidences[inside].mean(), self.correct[inside].mean()
            found.append(Bin(float(confidence), float(accuracy), int(inside.sum())))
        return found

    def calibration_error(self, bins: int = BINS) -> float:
        """Expected calibration error: |accuracy - confidence| of each bin, weighted by its size
        (ECE; Guo et al., 2017, section 2)."""
        each = self.reliability(bins)
        return sum(b.size * abs(b.accuracy - b.confidence) for b in each) / len(self.labels)

    def mistakes(self, limit: int) -> Int[np.ndarray, " k"]:
        """Indices of at most `limit` misclassified images, the most confident first."""
        ranking = np.argsort(-self.confidences, kind="stable")
        return ranking[~self.correct[ranking]][:limit]
