"""The live server's package. It is empty in this release; server/README.md says what will live here."""
