"""What happens to a chunk between a command and the socket, told to who listens, and sent on as traces."""
