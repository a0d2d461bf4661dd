"""The version, in the one place that the package and its metadata share."""

VERSION = "0.1.0"
