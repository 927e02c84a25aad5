"""Installations that run by themselves: a programme by time of day, chance and sensors, carried out in a session."""
