"""`net.wieldy`: what ships. SPEC.md beside this file is its byte-level contract."""
