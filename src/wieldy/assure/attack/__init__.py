"""Attacks on the saved file: found on a twin of it that has gradients, judged by the file itself."""
