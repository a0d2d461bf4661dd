"""Vocabulary that every folder below shares: errors, configs, records, seeds, digests, ledger."""
