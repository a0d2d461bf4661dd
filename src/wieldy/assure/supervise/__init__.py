"""Does the network know what it was not made for? Scores that tell inputs from elsewhere."""
