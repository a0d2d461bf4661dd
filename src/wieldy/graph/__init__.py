"""A network as plain data (Program), as a module over the same nodes (GraphNetwork), and what couples its channels."""
