"""Pure vector arithmetic that training, search and evaluation share."""
