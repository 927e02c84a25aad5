"""A server on more than one machine: engines, front ends, and the directory that says which session is where."""
