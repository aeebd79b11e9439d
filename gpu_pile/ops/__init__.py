"""One operation a file. gpu_pile.op.load_all() finds them."""
