"""Pretrained models of diffusers behind the interface of every model: one file a family, on what they share."""
