"""Measures of sounds, seams, drift and speed, each beside the figure that real recordings or rival methods get."""
