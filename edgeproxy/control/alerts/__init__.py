"""What people are told when something is wrong: once when it begins, once when it is over, with what to do."""
