"""The parts of the supervisor: what it holds (sockets, lock), how children are born, and how long it waits for them."""
