"""The crunch: input comes faster than it can be processed. What must hold then, and how fast the way back is."""
