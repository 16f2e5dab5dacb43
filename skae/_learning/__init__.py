"""From rows to a Model; the only room that imports Keras and TensorFlow."""
