"""From rows to the files that a service takes: subset, groups, order, splits, summary."""
