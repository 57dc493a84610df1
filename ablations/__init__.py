"""What is asked (studies, recipes) and one trial of it (data, training, evaluation); the command line."""
