"""Wieldy."""
