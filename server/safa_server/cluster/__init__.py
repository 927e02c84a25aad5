"""The live server on many machines: engines make sound, clients talk to front ends, a head knows what is where."""
