"""Networks with which the demo and the tests work; they need torch."""
