"""Measures of a server that runs: how soon it is heard, how much it carries, and what it withstands."""
