"""The bridge between plugins in hosts and the server: shared memory on one side, WebSocket on the other."""
