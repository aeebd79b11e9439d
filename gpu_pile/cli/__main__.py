"""python -m gpu_pile.cli"""

from gpu_pile.cli import main

main()
