"""Models that leave: networks with what is before and after them, as files that other programs run."""
