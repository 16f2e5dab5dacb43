"""From scaled rows to scores, explanations, thresholds and a diagnosis; NumPy alone."""
