"""Bounds on what a network answers for every input of a box, proved and not sampled."""
