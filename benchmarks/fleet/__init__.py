"""A night of many repositories: a selection for each, while others ask for named images."""
