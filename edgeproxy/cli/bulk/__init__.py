"""Many domains from a file."""
