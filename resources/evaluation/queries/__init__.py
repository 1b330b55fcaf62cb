"""Where judged queries come from: a module for each way."""
