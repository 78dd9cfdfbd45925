"""Known answers, speed, demonstration."""
