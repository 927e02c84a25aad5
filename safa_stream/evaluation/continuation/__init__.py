"""Ways to go on and on: the stream and its rivals on one model, measured by what is heard, when, and at what cost."""
