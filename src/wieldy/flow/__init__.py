"""The whole run: from a trained network and a budget to a package, its evidence and a page."""
