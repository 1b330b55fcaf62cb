"""Which of a pipeline's spaces serves: promoted, rolled back, retired."""
