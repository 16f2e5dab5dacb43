"""skae: outlier detection with autoencoders, in the manner of scikit-learn."""

from skae._detector import AutoencoderOutlierDetector
from skae._display import AnomalyScoreDisplay
from skae._persistence import load, save
from skae._version import __version__

__all__ = [
    "AnomalyScoreDisplay",
    "AutoencoderOutlierDetector",
    "__version__",
    "load",
    "save",
]
