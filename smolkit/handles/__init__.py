"""What a user holds: the client, the machines, the processes."""
