"""The object store on disk, below every face that serves it."""
