"""What narrow parameters and state cost in what is learnt: three trainings, in every mode."""
