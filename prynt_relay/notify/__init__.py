"""E-mails to the operators, through an outbox in the store: written with what they tell of."""
