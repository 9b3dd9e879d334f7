"""8-bit codes for the moments of Adam, compared: what each makes of the step, and of long averages."""
