"""A network as plain data and as a module over the same nodes, and what couples its channels."""
