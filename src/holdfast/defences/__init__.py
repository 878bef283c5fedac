"""What is put inside, in front of, or beside a model to make it hold."""
