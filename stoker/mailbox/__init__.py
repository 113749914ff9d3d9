"""What passes between processes: messages up, control down, tasks to a worker, intents from the command line."""
