"""The stage substrings: what kept documents repeat of earlier text, found exactly and verified on the texts.

stage     the order of the steps, what is done, what later stages read
tasks     spills and the jobs over records: equal contexts and windows, shared grams, sorted matches, compared digests
texts     the jobs that read texts: contexts, windows, and what is cut
windows   windows of bytes or of tokens, and their hashes
"""
