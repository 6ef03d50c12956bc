"""What observers and their clients say to each other."""
