"""How each proxy of the comparison is configured and started."""
