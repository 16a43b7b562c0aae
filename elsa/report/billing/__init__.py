"""Bills: what usage cost, by user, group, job or tag."""
