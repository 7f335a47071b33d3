"""What pages ask of trainings and runs, as routes."""
