"""The ledger, shown in MLflow, and MLflow's own server. Nothing here is needed for a result."""
