"""Methods that write a weight as a product of thinner ones."""
