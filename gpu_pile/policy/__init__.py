"""Rules by subset, and The Pile's subsets."""
