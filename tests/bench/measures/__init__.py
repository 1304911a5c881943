"""One module for each measure, with `measure(context) -> Finding`, and what several of them need."""
