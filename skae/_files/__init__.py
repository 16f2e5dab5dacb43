"""A fitted detector as a file, and as an ONNX graph."""
