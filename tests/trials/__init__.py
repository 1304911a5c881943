"""Small programs that ask a real broker what it does; docs/decisions/0010 says what each was for and what it saw."""
