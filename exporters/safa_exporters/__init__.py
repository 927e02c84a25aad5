"""Exports of models to formats that run without torch. Nothing here imports the server, nor the other way round."""
