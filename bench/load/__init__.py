"""Load generators, and our own clients that look at what they are given."""
