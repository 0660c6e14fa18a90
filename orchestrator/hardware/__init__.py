"""Machines of hf-jobs, and what a training needs of them: memory, time and cost."""
