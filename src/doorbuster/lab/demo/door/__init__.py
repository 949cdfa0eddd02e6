"""The third act of the demo: a sale with a waiting room, at many times its capacity, with bots, while things break."""
