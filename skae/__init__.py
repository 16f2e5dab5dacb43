"""skae: outlier detection with autoencoders, in the manner of scikit-learn."""

from skae._detector import AutoencoderOutlierDetector
from skae._display._code import CodeDisplay
from skae._display._explanation import ExplanationDisplay
from skae._display._scores import AnomalyScoreDisplay
from skae._display._training import LossCurveDisplay
from skae._files._onnx import register_onnx_converter
from skae._files._persistence import load, save
from skae._scoring._synthetic import make_synthetic_anomalies
from skae._version import __version__

__all__ = [
    "AnomalyScoreDisplay",
    "AutoencoderOutlierDetector",
    "CodeDisplay",
    "ExplanationDisplay",
    "LossCurveDisplay",
    "__version__",
    "load",
    "make_synthetic_anomalies",
    "register_onnx_converter",
    "save",
]
