"""Default reference data, and the program that generates its calendars."""
