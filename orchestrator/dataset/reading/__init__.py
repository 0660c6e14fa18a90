"""From a file to rows: JSONL, JSON, CSV, Parquet, plain or compressed, a module each."""
