"""Exports of models to formats that run without torch. Nothing here imports the server, the server nothing from here."""
