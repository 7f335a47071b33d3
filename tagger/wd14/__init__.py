"""WD14 taggers: model files, labels, the ONNX session, from image to tags."""
