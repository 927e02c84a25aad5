"""What evaluates a model's graphs: ONNX Runtime's providers, OpenVINO, torch; named, checked, and chosen by measure."""
