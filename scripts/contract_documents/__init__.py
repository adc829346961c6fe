"""The documents that scripts/contract.py writes."""
