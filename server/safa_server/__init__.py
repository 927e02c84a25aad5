"""The live server: sessions on the air by WebSocket, OSC, HTTP and sound device; server/README.md."""
