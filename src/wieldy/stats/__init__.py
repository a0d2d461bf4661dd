"""What methods look at, collected once and shared."""
