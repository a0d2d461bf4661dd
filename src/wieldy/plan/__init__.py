"""What to remove so that a budget is met, in measured milliseconds."""
