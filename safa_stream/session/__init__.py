"""Live sessions without input and output: commands in, sound and events out, on a clock that counts samples."""
