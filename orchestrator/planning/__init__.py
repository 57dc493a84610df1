"""Before a run: what is open, what each trial will take, gets and waits for. Asks the ledger; submits nothing."""
