"""Train a small Stable Audio of one's own: autoencoder and transformer over waveform latents, in diffusers' layout."""
