"""Events for others: from the outbox of the store to the endpoints of webhooks, signed as Standard Webhooks has it."""
