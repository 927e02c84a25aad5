"""From chunks to files: loudness, peaks, rate and channels, file formats, metadata, pictures."""
