"""Every method in one table that can be read: config type to what it does."""

from wieldy.methods.registry import METHODS, Method, by_name

__all__ = ["METHODS", "Method", "by_name"]
