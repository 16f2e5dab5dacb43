"""skae: outlier detection with autoencoders, in the manner of scikit-learn."""

from skae._detector import AutoencoderOutlierDetector
from skae._version import __version__

__all__ = ["AutoencoderOutlierDetector", "__version__"]
