"""Bytes and Unicode on the CPU: columns of documents, compiled building blocks, plain references. No GPU, no files."""
