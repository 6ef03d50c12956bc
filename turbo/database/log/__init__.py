"""The tables of the replay log, and what one transaction does with them."""
