"""What checkout decides: pure, with the time as an argument."""
